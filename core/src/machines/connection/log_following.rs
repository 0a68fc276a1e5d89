//! Following the gateway's log: feeds [`LogTail`] from the connection, and makes entries of lines.

use std::sync::Arc;
use std::time::Instant;

use gatewarden_protocol::capabilities::LogSource;
use gatewarden_protocol::{LogEntry, Method, read_log_event, read_log_line, read_log_tail};
use serde_json::{Value, json};

use super::Effect;
use super::active::{ActiveConnection, ready};
use super::turn::{NoAnswer, Outcome, PendingKind, Turn};
use crate::error::Failure;
use crate::gateway_report::Phase;
use crate::machines::log_tail::{
    Begin, LogCursor, LogGap, LogStep, LogTail, MAX_WATCHERS, POLL_BYTES, TailQuestion, WatchToken,
};

/// What the entries of one reply may take with the values beside their texts, bytes.
const MAX_ENTRIES_BYTES: usize = 4 * 1024 * 1024;

/// What followers of the gateway's log are told.
#[derive(Debug, Clone)]
pub enum LogNews {
    /// A follower is in, with what it begins with.
    Welcome {
        /// Who.
        watch: WatchToken,
        /// Its first entries.
        entries: Vec<Arc<LogEntry>>,
        /// The place after them, where the log has places.
        cursor: Option<LogCursor>,
        /// Why entries may be missing before them.
        gap: Option<LogGap>,
    },
    /// A follower could not be let in.
    Refused(WatchToken, Failure),
    /// New entries for all, except for those who have the first of them already.
    Entries {
        /// The entries.
        entries: Vec<Arc<LogEntry>>,
        /// The place after them, where the log has places.
        cursor: Option<LogCursor>,
        /// Who has how many of them.
        known: Vec<(WatchToken, usize)>,
    },
    /// Entries may be missing here, for all.
    Gap(LogGap),
    /// Nothing comes for now, for all.
    Interrupted,
    /// It goes on, for all.
    Resumed,
    /// The gateway gives out no log: it is over for all.
    Over(Failure),
}

#[derive(Debug, Default)]
pub(super) struct LogFollowing {
    tail: LogTail,
}

impl LogFollowing {
    /// Somebody wants to follow the log.
    pub(super) fn join(
        &mut self,
        turn: &mut Turn<'_>,
        active: Option<&mut ActiveConnection>,
        watch: WatchToken,
        begin: Begin,
    ) {
        let allowed = ready(turn, active).and_then(|active| match active.capabilities.logs() {
            LogSource::Nowhere => Err(turn.peer.no_logs()),
            _ if self.tail.watchers() >= MAX_WATCHERS => Err(turn.peer.too_many_followers()),
            _ => Ok(active),
        });
        match allowed {
            Err(failure) => turn.push(Effect::Logs(LogNews::Refused(watch, failure))),
            Ok(active) => {
                self.tail.join(turn.moment.now, watch, begin);
                self.tell(turn, |turn| turn.peer.too_many_followers());
                self.ask(turn, active);
            }
        }
    }

    pub(super) fn leave(&mut self, watch: WatchToken) {
        self.tail.leave(watch);
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.tail.held_bytes()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.tail.next_deadline()
    }

    /// Asks for new lines, if that is due. A gateway that restarts isn't asked.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_>, active: &mut ActiveConnection) {
        let now = turn.moment.now;
        if turn.phase != Phase::Ready || self.tail.next_deadline().is_none_or(|due| now < due) {
            return;
        }
        let question = self.tail.on_deadline(now);
        self.tell(turn, |turn| turn.unavailable());
        if let Some(TailQuestion { cursor, limit }) = question {
            let mut params = json!({ "limit": limit, "maxBytes": POLL_BYTES });
            if let (Some(cursor), Some(fields)) = (cursor, params.as_object_mut()) {
                fields.insert("cursor".to_owned(), json!(cursor));
            }
            if !active.ask(turn, Method::LogsTail.as_str(), &params, PendingKind::Logs) {
                self.failed(turn, turn.peer.busy());
            }
        }
    }

    /// The gateway answered a question for its log, or didn't.
    pub(super) fn answered(
        &mut self,
        turn: &mut Turn<'_>,
        active: &mut ActiveConnection,
        method: &str,
        outcome: Outcome,
    ) {
        match outcome.map(read_log_tail) {
            Ok(Some(reply)) => {
                self.tail.on_reply(turn.moment.now, reply);
                self.tell(turn, |turn| turn.unavailable());
            }
            Ok(None) => self.failed(turn, turn.peer.not_a_log(method)),
            Err(NoAnswer::NotOffered(_)) => {
                self.tail.on_unsupported();
                self.tell(turn, |turn| turn.peer.no_logs());
            }
            Err(no_answer) => self.failed(turn, no_answer.failure(turn.peer, method)),
        }
        self.ask(turn, active);
    }

    fn failed(&mut self, turn: &mut Turn<'_>, failure: Failure) {
        self.tail.on_failure(turn.moment.now);
        self.tell(turn, |_| failure.clone());
    }

    /// A `log` event: passed on while somebody follows, else not even read.
    pub(super) fn event(&mut self, turn: &mut Turn<'_>, payload: &Value) {
        if self.tail.wants_events()
            && let Some(entry) = read_log_event(payload)
        {
            let entries = vec![Arc::new(entry)];
            turn.push(Effect::Logs(LogNews::Entries { entries, cursor: None, known: Vec::new() }));
        }
    }

    pub(super) fn connected(&mut self, turn: &mut Turn<'_>, active: &ActiveConnection) {
        self.tail.on_connected(turn.moment.now, active.capabilities.logs());
        self.tell(turn, |turn| turn.peer.no_logs());
    }

    pub(super) fn lost(&mut self, turn: &mut Turn<'_>) {
        self.tail.on_disconnected();
        self.tell(turn, |turn| turn.peer.connection_ended());
    }

    /// Another gateway stands behind the record.
    pub(super) fn forget(&mut self, turn: &mut Turn<'_>) {
        self.tail.forget();
        self.tell(turn, |turn| turn.unavailable());
    }

    /// Tells what the tail says; `failure` is why somebody is refused by now, or why it is over.
    fn tell(&mut self, turn: &mut Turn<'_>, failure: impl Fn(&Turn<'_>) -> Failure) {
        for step in self.tail.take_steps() {
            let news = match step {
                LogStep::Welcome { watch, lines, cursor, gap } => {
                    LogNews::Welcome { watch, entries: entries(&lines), cursor, gap }
                }
                LogStep::Refused(watch) => LogNews::Refused(watch, failure(turn)),
                LogStep::Lines { lines, cursor, known } => {
                    LogNews::Entries { entries: entries(&lines), cursor: Some(cursor), known }
                }
                LogStep::Gap(gap) => LogNews::Gap(gap),
                LogStep::Interrupted => LogNews::Interrupted,
                LogStep::Resumed => LogNews::Resumed,
                LogStep::Over => LogNews::Over(failure(turn)),
            };
            turn.push(Effect::Logs(news));
        }
    }
}

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
