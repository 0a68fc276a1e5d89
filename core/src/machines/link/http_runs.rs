//! Runs over HTTP: started by `POST /spawn`, told of by the list of sessions alone.

use std::time::Duration;

use gatewarden_protocol::Dialect;
use gatewarden_protocol::decoding::Meter;

use super::calls::Waiter;
use super::http_dialect::read_body;
use super::look_up::find;
use super::run_words::{News, Weight};
use super::{CallToken, Count, Effect, Link, Moment};
use crate::dialing::{DialFailure, DialStep, HttpReply};
use crate::run::{RunFinding, RunStage};

/// Between looks at the list of sessions while runs are open that only the list tells of.
const EVERY: Duration = Duration::from_secs(15);

impl Link {
    /// The answer to `POST /spawn`.
    pub(super) fn http_run_answered(
        &mut self,
        moment: Moment,
        call: CallToken,
        answer: Result<HttpReply, DialFailure>,
        meter: &mut dyn Meter,
    ) {
        let (counted, failure, certain) = match answer {
            Ok(reply) if (200..300).contains(&reply.status) => match read_body(&reply, meter) {
                Ok(payload) => {
                    self.push(Effect::Count(Count::Rpc("spawn".to_owned(), "ok")));
                    return self.taken(moment, call, "", payload);
                }
                Err(failure) => ("lost", self.http_unasked(&failure), false),
            },
            Ok(reply) => {
                // A proxy that lost its gateway, or a fault half-way through, doesn't say that nothing was started.
                let certain = !(500..600).contains(&reply.status) || matches!(reply.status, 501 | 503);
                ("refused", self.http_refusal("spawn", &reply), certain)
            }
            Err(DialFailure::Timeout { step: DialStep::Request }) => ("timeout", self.overdue("spawn"), false),
            Err(failure) => {
                let certain = matches!(failure.step(), DialStep::Resolve | DialStep::Connect | DialStep::Tls);
                ("lost", self.http_unasked(&failure), certain)
            }
        };
        self.push(Effect::Count(Count::Rpc("spawn".to_owned(), counted)));
        if certain {
            self.not_taken(call, failure);
        } else {
            self.run_unanswered(call, failure);
        }
    }

    /// The answer to `GET /sessions`, asked for a look-up.
    pub(super) fn http_looked_up(
        &mut self,
        moment: Moment,
        waiter: Waiter,
        answer: Result<HttpReply, DialFailure>,
        meter: &mut dyn Meter,
    ) {
        let Waiter::LookUp(call) = waiter else { return };
        match answer {
            Ok(reply) if (200..300).contains(&reply.status) => match read_body(&reply, meter) {
                Ok(document) => self.look_up_answered(moment, call, Ok(document)),
                Err(failure) => {
                    let failure = self.http_unasked(&failure);
                    self.found(call, Err(failure));
                }
            },
            Ok(reply) => {
                let failure = self.http_refusal("sessions.list", &reply);
                self.found(call, Err(failure));
            }
            Err(failure) => {
                let failure = self.http_unasked(&failure);
                self.found(call, Err(failure));
            }
        }
    }

    /// Over HTTP only the list of sessions tells how runs go on: it is read more often while any is open.
    pub(super) fn watch_http_runs(&mut self, moment: Moment) {
        let open = self.runs.watch.has_open();
        if let Some(live) = self.live.as_mut().filter(|live| open && live.dialect == Dialect::Http) {
            live.reading.want_sessions_within(moment.now + EVERY);
        }
    }

    /// What the list that was just read tells of open runs.
    pub(super) fn runs_after_http_list(&mut self, moment: Moment) {
        let Some(live) = self.live.as_deref().filter(|live| live.dialect == Dialect::Http) else { return };
        let rows = live.sessions.newest_first();
        let ends: Vec<(String, RunStage)> = self
            .runs
            .watch
            .open_runs()
            .filter_map(|(run_id, key, own)| match find(rows.iter().map(|row| &***row), run_id, key, own) {
                RunFinding::Ended(stage) => Some((run_id.to_owned(), stage)),
                RunFinding::Running | RunFinding::NotKnown => None,
            })
            .collect();
        for (run_id, stage) in ends {
            self.word(moment, run_id, News::Ended { stage, weight: Weight::Certain });
        }
        self.watch_http_runs(moment);
    }
}
