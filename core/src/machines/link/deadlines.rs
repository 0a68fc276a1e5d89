//! When the link must be looked at again, and what is done then.

use std::time::Instant;

use gatewarden_protocol::refusal::{Refusal, RefusalCode};

use super::{Link, Moment, Permit, Stage};
use crate::gateway_report::Phase;

/// What is due in one look is bounded: each round does at least one thing, and none comes back within the same instant.
const MAX_ROUNDS: u32 = 8;

impl Link {
    /// When [`Link::on_deadline`] has something to do. There is always such a time until the link is stopped.
    pub fn next_deadline(&self, moment: Moment) -> Option<Instant> {
        if self.phase == Phase::Stopping {
            return None;
        }
        let facts = self.facts(moment);
        let own = [
            self.stage_due(),
            self.heartbeat.next_deadline(),
            self.backoff.stable_at(),
            self.grace.filter(|grace| !grace.overdue).map(|grace| grace.until),
            self.probes.next_deadline(),
            self.knowledge.next_deadline(&facts, moment.now),
            self.http.as_ref().and_then(|talk| talk.next_deadline()),
            self.handshaking.as_ref().and_then(|handshaking| handshaking.ask_info_at),
            self.runs.watch.next_deadline(),
            self.look_up_deadline(),
            self.telling_deadline(moment.now),
            self.logs_deadline(),
        ];
        let live = self
            .live
            .as_ref()
            .map(|live| [live.pending.next_deadline(), live.sequence.next_deadline(), live.reading.next_deadline()]);
        own.into_iter().chain(live.into_iter().flatten()).flatten().min()
    }

    fn stage_due(&self) -> Option<Instant> {
        match (&self.stage, self.permit) {
            (Stage::Idle, Permit::Asked { again_at }) => Some(again_at),
            (Stage::Idle, Permit::Denied { until }) => Some(until),
            (
                Stage::Dialing { due }
                | Stage::AwaitingChallenge { due }
                | Stage::Authenticating { due }
                | Stage::TryingHttp { due },
                _,
            ) => Some(*due),
            (Stage::Waiting { until }, _) => Some(*until),
            (Stage::Idle | Stage::Ready | Stage::Stopped, _) => None,
        }
    }

    /// Does everything that is due.
    pub fn on_deadline(&mut self, moment: Moment) {
        for _ in 0..MAX_ROUNDS {
            self.run_due(moment);
            if self.next_deadline(moment).is_none_or(|next| next > moment.now) {
                break;
            }
        }
        self.settle(moment);
    }

    fn run_due(&mut self, moment: Moment) {
        let now = moment.now;
        self.expire_calls(moment);
        self.expire_http(moment);
        self.expire_look_ups(now);
        self.expire_runs(moment);
        self.tell_sessions(moment);
        self.run_heartbeat(moment);
        self.expire_probes(moment);
        self.grace_over(moment);
        self.backoff.on_tick(now);
        if let Some(live) = &mut self.live {
            if live.sequence.on_deadline(now) {
                live.reading.want(now);
            }
            self.read_if_wanted(moment);
        }
        self.ask_logs(moment);
        if self.handshaking.as_ref().and_then(|handshaking| handshaking.ask_info_at).is_some_and(|at| now >= at) {
            self.info_due(moment);
        }
        if self.stage_due().is_some_and(|due| now >= due) {
            self.stage_over(moment);
        }
    }

    fn stage_over(&mut self, moment: Moment) {
        match (&self.stage, self.permit) {
            (Stage::Idle, Permit::Asked { .. } | Permit::Denied { .. }) => self.ask_permit(moment),
            (Stage::Dialing { .. } | Stage::TryingHttp { .. }, _) => {
                self.end(moment, Refusal::new(RefusalCode::DialTimeout, ""));
            }
            (Stage::AwaitingChallenge { .. }, _) => self.challenge_overdue(moment),
            (Stage::Authenticating { .. }, _) if self.handshaking.is_some() => self.login_overdue(moment),
            (Stage::Authenticating { .. }, _) => self.end(moment, Refusal::new(RefusalCode::ConnectTimeout, "")),
            (Stage::Waiting { .. }, _) => self.begin(moment, "waited"),
            (Stage::Idle | Stage::Ready | Stage::Stopped, _) => {}
        }
    }
}
