//! Following the gateway's log: feeds [`LogTail`](crate::machines::log_tail::LogTail) from the connection, and makes entries of lines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::capabilities::LogSource;
use gatewarden_protocol::{LogEntry, Method, WireError, read_log_event, read_log_line, read_log_tail};
use serde_json::{Value, json};

use super::calls::Waiter;
use super::{Effect, Link, LogNews, Moment};
use crate::error::{ErrorCode, Failure};
use crate::gateway_report::Phase;
use crate::machines::log_tail::{Begin, LogStep, MAX_WATCHERS, POLL_BYTES, TailQuestion, WatchToken};

impl Link {
    /// Somebody wants to follow the log. Answered once, with [`LogNews::Welcome`] or [`LogNews::Refused`].
    pub fn on_watch_logs(&mut self, moment: Moment, watch: WatchToken, begin: Begin) {
        let source = self.live.as_ref().filter(|_| self.phase == Phase::Ready).map(|live| live.capabilities.logs());
        let refused = match source {
            None => Some(self.unavailable()),
            Some(LogSource::Nowhere) => Some(self.no_logs()),
            Some(_) if self.logs.watchers() >= MAX_WATCHERS => Some(self.too_many_followers()),
            Some(_) => None,
        };
        match refused {
            Some(failure) => self.push(Effect::Logs(LogNews::Refused { watch, failure })),
            None => {
                self.logs.join(moment.now, watch, begin);
                let failure = self.too_many_followers();
                self.tell_log_steps(&failure);
                self.ask_logs(moment);
            }
        }
        self.settle(moment);
    }

    /// A follower is gone.
    pub fn on_unwatch_logs(&mut self, watch: WatchToken) {
        self.logs.leave(watch);
    }

    /// When the gateway is to be asked for new lines. While it restarts it isn't asked.
    pub(super) fn logs_deadline(&self) -> Option<Instant> {
        (self.phase == Phase::Ready).then(|| self.logs.next_deadline()).flatten()
    }

    /// Asks for new lines, if that is due.
    pub(super) fn ask_logs(&mut self, moment: Moment) {
        if self.logs_deadline().is_none_or(|due| moment.now < due) {
            return;
        }
        let question = self.logs.on_deadline(moment.now);
        let failure = self.unavailable();
        self.tell_log_steps(&failure);
        if let Some(TailQuestion { cursor, limit }) = question {
            let params = match cursor {
                Some(cursor) => json!({ "cursor": cursor, "limit": limit, "maxBytes": POLL_BYTES }),
                None => json!({ "limit": limit, "maxBytes": POLL_BYTES }),
            };
            self.ask(moment, Method::LogsTail.as_str(), &params, Waiter::Logs);
        }
    }

    /// The gateway answered a question for its log.
    pub(super) fn logs_answered(
        &mut self,
        moment: Moment,
        method: &str,
        outcome: Result<Value, WireError>,
        unknown: bool,
    ) {
        match outcome.map(read_log_tail) {
            Ok(Some(reply)) => {
                self.logs.on_reply(moment.now, reply);
                let failure = self.unavailable();
                self.tell_log_steps(&failure);
            }
            Ok(None) => {
                let failure = self.not_understood(method);
                self.logs_unread(moment, failure);
            }
            Err(_) if unknown => {
                self.logs.on_unsupported();
                let failure = self.no_logs();
                self.tell_log_steps(&failure);
            }
            Err(error) => {
                let failure = self.refused(method, &error);
                self.logs_unread(moment, failure);
            }
        }
        self.ask_logs(moment);
    }

    /// A question for the log came to nothing.
    pub(super) fn logs_unread(&mut self, moment: Moment, failure: Failure) {
        self.logs.on_failure(moment.now);
        self.tell_log_steps(&failure);
    }

    /// A `log` event: passed on while somebody follows, else not even read.
    pub(super) fn log_event(&mut self, payload: &Value) {
        if self.logs.wants_events()
            && let Some(entry) = read_log_event(payload)
        {
            let news = LogNews::Entries { entries: vec![Arc::new(entry)], cursor: None, known: Vec::new() };
            self.push(Effect::Logs(news));
        }
    }

    pub(super) fn logs_connected(&mut self, moment: Moment) {
        let Some(live) = &self.live else { return };
        let source = live.capabilities.logs();
        self.logs.on_connected(moment.now, source);
        let failure = self.no_logs();
        self.tell_log_steps(&failure);
    }

    pub(super) fn logs_lost(&mut self) {
        self.logs.on_disconnected();
        let failure = self.connection_ended();
        self.tell_log_steps(&failure);
    }

    /// Another gateway stands behind the record.
    pub(super) fn forget_logs(&mut self) {
        self.logs.forget();
        let failure = self.unavailable();
        self.tell_log_steps(&failure);
    }

    /// Tells what the machine says; `failure` is why somebody is refused by now, or why it is over.
    fn tell_log_steps(&mut self, failure: &Failure) {
        for step in self.logs.take_steps() {
            let news = match step {
                LogStep::Welcome { watch, lines, cursor, gap } => {
                    LogNews::Welcome { watch, entries: entries(&lines), cursor, gap }
                }
                LogStep::Refused(watch) => LogNews::Refused { watch, failure: failure.clone() },
                LogStep::Lines { lines, cursor, known } => {
                    LogNews::Entries { entries: entries(&lines), cursor: Some(cursor), known }
                }
                LogStep::Gap(gap) => LogNews::Gap(gap),
                LogStep::Interrupted => LogNews::Interrupted,
                LogStep::Resumed => LogNews::Resumed,
                LogStep::Over => LogNews::Over(failure.clone()),
            };
            self.push(Effect::Logs(news));
        }
    }

    fn no_logs(&self) -> Failure {
        self.not_supported(Method::LogsTail.as_str())
    }

    fn not_understood(&self, method: &str) -> Failure {
        Failure::new(
            ErrorCode::GatewayRefused,
            format!("Gateway \"{}\" answered {method} with something that is no part of a log", self.record.name),
        )
        .with_help("Update the gateway, or read its log where it runs.")
    }

    fn too_many_followers(&self) -> Failure {
        Failure::new(
            ErrorCode::GatewayBusy,
            format!("{MAX_WATCHERS} clients already follow the log of gateway \"{}\"", self.record.name),
        )
        .with_help("Close streams that nobody reads, and try again in a few seconds.")
        .with_retry_after(Duration::from_secs(10))
    }
}

/// What the entries of one reply may take with the values beside their texts, bytes.
const MAX_ENTRIES_BYTES: usize = 4 * 1024 * 1024;

/// Of many lines with large values, those that come first keep them.
fn entries(lines: &[String]) -> Vec<Arc<LogEntry>> {
    let mut bytes = 0_usize;
    let read = lines.iter().map(|line| {
        let mut entry = read_log_line(line);
        if bytes.saturating_add(entry.weight()) > MAX_ENTRIES_BYTES {
            entry.drop_extra();
        }
        bytes = bytes.saturating_add(entry.weight());
        Arc::new(entry)
    });
    read.collect()
}
