//! When an election is due, what follows from it, and the deadlines of the whole fleet.

use std::time::{Duration, Instant};

use super::{Effect, Fleet, Notice, Time};
use crate::ids::GatewayId;
use crate::machines::election::Candidate;
use crate::machines::self_doubt::DoubtChange;

/// Changes that can't unseat the acting primary are gathered for this long: an election is O(gateways), and a whole
/// fleet may come and go at once.
const GATHER: Duration = Duration::from_millis(100);

/// Another gateway acts than the configured primary, or none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failover {
    /// The configured primary; where another is configured, another failover begins.
    pub configured: GatewayId,
    /// Wall ms since which it has not acted.
    pub since_ms: i64,
}

impl Fleet {
    /// Who acts as primary.
    pub fn acting(&self) -> Option<GatewayId> {
        self.election.acting()
    }

    /// The failover that lasts.
    pub fn failover(&self) -> Option<Failover> {
        self.failover
    }

    /// Wall ms at which the reason why a gateway acts ends by itself, where it does.
    pub fn acting_until_ms(&self, time: Time) -> Option<i64> {
        self.election.reason_ends().map(|until| time.wall_ms_at(until))
    }

    /// Something changed at `about` that may matter for the election. Decides at once where the acting or the configured
    /// primary is concerned or nobody acts, so that failover doesn't wait; otherwise soon.
    pub(super) fn consider_election(&mut self, time: Time, about: Option<GatewayId>) {
        let acting = self.acting();
        let concerns_primary = about.is_some_and(|id| {
            let was_configured = self.failover.is_some_and(|failover| failover.configured == id);
            acting == Some(id) || was_configured || self.members.get(&id).is_none_or(|member| member.record.is_primary)
        });
        if concerns_primary || acting.is_none() {
            self.decide(time);
        } else {
            self.decide_at.get_or_insert(time.now + GATHER);
        }
    }

    fn decide(&mut self, time: Time) {
        self.decide_at = None;
        let candidates: Vec<Candidate> = self.members.values().map(|member| member.candidate(time.now)).collect();
        let of = |fleet: &Self| (fleet.election.reason(), fleet.election.reason_ends(), fleet.failover);
        let before = of(self);
        let change = self.election.decide(time.now, &candidates, self.self_doubt.doubts());
        let lasting = |configured| self.failover.filter(|failover| failover.configured == configured);
        self.failover = (self.election.stood_in_for())
            .map(|configured| lasting(configured).unwrap_or(Failover { configured, since_ms: time.wall_ms }));
        if let Some(change) = change {
            let concerned = [change.from, change.to].into_iter().flatten().map(Effect::Publish);
            self.effects.push(Effect::Notify(Notice::PrimaryChanged(change.clone())));
            self.effects.extend(concerned);
        } else if before != of(self) {
            self.effects.push(Effect::Notify(Notice::PrimaryKept(self.acting(), self.election.reason())));
        }
    }

    pub(super) fn on_doubt_change(&mut self, time: Time, change: Option<DoubtChange>) {
        let Some(change) = change else { return };
        let ended = change == DoubtChange::Ended;
        self.effects.push(Effect::Notify(Notice::Doubt(change)));
        if ended {
            // What was put off may fail back now.
            self.decide(time);
        }
    }

    /// When [`Fleet::on_deadline`] is due, if nothing comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let held_until = self.held_down.first().map(|(until, _)| *until);
        let elections = [self.election.next_deadline(), self.self_doubt.next_deadline(), held_until, self.decide_at];
        elections.into_iter().chain([self.coalescer.next_deadline(), self.look_at]).flatten().min()
    }

    /// A deadline may have passed.
    pub fn on_deadline(&mut self, time: Time) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= time.now);
        let mut decides = is_due(self.election.next_deadline()) || is_due(self.decide_at);
        while self.held_down.first().is_some_and(|(until, _)| *until <= time.now) {
            if let Some((_, id)) = self.held_down.pop_first() {
                self.publish(id);
            }
            decides = true;
        }
        if is_due(self.self_doubt.next_deadline()) {
            let change = self.self_doubt.on_deadline(time.now);
            self.on_doubt_change(time, change);
        }
        if decides {
            self.decide(time);
        }
        if is_due(self.look_at) {
            self.look_at_spawns(time);
        }
    }
}
