//! Feeds the election and the self-doubt, and publishes what they decide.

use std::time::Duration;

use actix::prelude::*;
use tracing::{info, warn};

use super::RegistryActor;
use super::roster::ActingPrimary;
use crate::ids::GatewayId;
use crate::machines::election::{Candidate, PrimaryChange};
use crate::machines::self_doubt::DoubtChange;

/// Changes that can't unseat the acting primary are gathered for this long: an election is O(gateways), and a whole
/// fleet may come and go at once.
const GATHER: Duration = Duration::from_millis(100);

/// From the registry to itself: the armed deadline has come.
#[derive(Message)]
#[rtype(result = "()")]
struct DeadlineReached {
    generation: u64,
}

impl RegistryActor {
    /// Something changed at `about` that may matter for the election. Decides at once where the acting or the configured
    /// primary is concerned or nobody acts, so that failover doesn't wait; otherwise soon.
    pub(super) fn consider_election(&mut self, about: Option<GatewayId>, ctx: &mut Context<Self>) {
        let acting = self.election.acting();
        let concerns_primary = about
            .is_some_and(|id| acting == Some(id) || self.entries.get(&id).is_none_or(|entry| entry.record.is_primary));
        if concerns_primary || acting.is_none() {
            self.decide(ctx);
            return;
        }
        if !std::mem::replace(&mut self.election_pending, true) {
            ctx.run_later(GATHER, |registry, ctx| {
                if registry.election_pending {
                    registry.decide(ctx);
                }
            });
        }
    }

    fn decide(&mut self, ctx: &mut Context<Self>) {
        self.election_pending = false;
        let now = self.clock.now();
        let candidates: Vec<Candidate> =
            self.entries.values().filter(|entry| !entry.is_hidden()).map(|entry| entry.candidate(now)).collect();
        if let Some(change) = self.election.decide(now, &candidates, self.self_doubt.doubts()) {
            self.announce(&change);
        }
        self.rearm(ctx);
    }

    fn announce(&mut self, change: &PrimaryChange) {
        let name = |id: Option<GatewayId>| {
            id.and_then(|id| self.entries.get(&id)).map_or_else(|| "none".to_owned(), |entry| entry.record.name.clone())
        };
        let (from, to) = (name(change.from), name(change.to));
        info!(from, to, reason = change.reason, "acting primary changed");
        self.metrics.count_primary_change();
        self.announce_primary(change);
        self.roster.publish_acting(change.to.map(|id| ActingPrimary {
            id,
            name: to,
            reason: change.reason.to_owned(),
        }));
        for id in [change.from, change.to].into_iter().flatten() {
            self.publish(id);
        }
    }

    /// A gateway became usable or ceased to be.
    pub(super) fn note_turn(&mut self, id: GatewayId, usable: bool, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let change = if usable { self.self_doubt.on_usable(now, id) } else { self.self_doubt.on_failed(now, id) };
        self.announce_doubt(change, ctx);
    }

    /// A gateway was deleted.
    pub(super) fn note_removal(&mut self, id: GatewayId, usable: bool, ctx: &mut Context<Self>) {
        let change = self.self_doubt.on_removed(self.clock.now(), id, usable);
        self.announce_doubt(change, ctx);
    }

    fn announce_doubt(&mut self, change: Option<DoubtChange>, ctx: &mut Context<Self>) {
        match change {
            None => {}
            Some(DoubtChange::Began { reason }) => {
                warn!(reason, "the daemon doubts its own network: nothing fails back until this is over");
                self.roster.publish_self_doubt(Some(reason));
                self.metrics.set_self_doubt(true);
            }
            Some(DoubtChange::Ended) => {
                info!("the daemon trusts its own network again");
                self.roster.publish_self_doubt(None);
                self.metrics.set_self_doubt(false);
                self.consider_election(self.election.acting(), ctx);
            }
        }
        self.rearm(ctx);
    }

    /// Arms the one timer of election, hold-down and doubt.
    pub(super) fn rearm(&mut self, ctx: &mut Context<Self>) {
        self.deadline_generation += 1;
        let now = self.clock.now();
        let held_until = self.entries.values().filter_map(|entry| entry.flaps.held_until(now)).min();
        let Some(deadline) =
            [self.election.next_deadline(), self.self_doubt.next_deadline(), held_until].into_iter().flatten().min()
        else {
            return;
        };
        let generation = self.deadline_generation;
        let wait = deadline.saturating_duration_since(now);
        ctx.notify_later(DeadlineReached { generation }, wait);
    }
}

impl Handler<DeadlineReached> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: DeadlineReached, ctx: &mut Self::Context) {
        if message.generation != self.deadline_generation {
            return;
        }
        let change = self.self_doubt.on_deadline(self.clock.now());
        self.announce_doubt(change, ctx);
        self.decide(ctx);
    }
}
