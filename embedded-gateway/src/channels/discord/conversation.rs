//! One connection to Discord's gateway, as far as it can be decided without IO: what is said when, and what its end means.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::{Next, after_close};
use crate::channels::service::Fault;

/// Until the first word of the gateway, and until it has let the bot in.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two heartbeats; Discord says about 41 s.
const INTERVALS: std::ops::RangeInclusive<u64> = 100..=600_000;
/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(60);
/// Between two new sessions.
const IDENTIFY_PAUSE: Duration = Duration::from_millis(5_500);
/// Between two connections that fail; and where they begin sessions, of which Discord bears 1,000 in a day before it ends the token.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_IDENTIFY_PAUSE: Duration = Duration::from_secs(300);

/// What is needed to go on where a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub id: String,
    /// Where it is gone on with.
    pub url: String,
    /// The last event that came.
    pub seq: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Say(Word),
    /// The session is there.
    Open {
        is_new: bool,
    },
    /// Somebody has written.
    Message(Value),
    /// Nothing more is said or heard.
    End {
        next: Next,
        why: Fault,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Identify,
    Resume { session: String, seq: u64 },
    Heartbeat(Option<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was said yet.
    Silent,
    Identifying,
    Resuming,
    Open,
    Over,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    every: Duration,
    at: Instant,
    is_answered: bool,
}

#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) session: Option<Session>,
    phase: Phase,
    /// Until then it has to go on, while it isn't open.
    patience: Instant,
    beat: Option<Beat>,
}

#[derive(Deserialize)]
struct Payload {
    op: u8,
    #[serde(default)]
    d: Value,
    #[serde(default)]
    s: Option<u64>,
    #[serde(default)]
    t: Option<String>,
}

impl Conversation {
    /// A connection was made; with a session, to go on with that.
    pub(super) fn new(session: Option<Session>, now: Instant) -> Self {
        Self { session, phase: Phase::Silent, patience: now + PATIENCE, beat: None }
    }

    /// What comes is new: what was missed came before.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// What came. `chance`: 0 to 1, so that not all programs beat at once.
    pub(super) fn hear(&mut self, text: &str, now: Instant, chance: f64) -> Vec<Step> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        let Ok(payload) = serde_json::from_str::<Payload>(text) else {
            return self.end(Next::Resume, Fault::Trouble("what its gateway says can't be read".to_owned()));
        };
        match payload.op {
            0 => self.dispatch(payload, now),
            1 => vec![Step::Say(Word::Heartbeat(self.seq()))],
            7 => self.end(Next::Resume, Fault::Trouble("it wants a new connection".to_owned())),
            9 => {
                let next = if payload.d == Value::Bool(true) { Next::Resume } else { Next::Anew };
                self.end(next, Fault::Trouble("it ended the session".to_owned()))
            }
            10 => self.begin(&payload.d, now, chance),
            11 => {
                if let Some(beat) = &mut self.beat {
                    beat.is_answered = true;
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, hello: &Value, now: Instant, chance: f64) -> Vec<Step> {
        let every = hello.get("heartbeat_interval").and_then(Value::as_u64).filter(|every| INTERVALS.contains(every));
        let Some(every) = every.map(Duration::from_millis) else {
            return self.end(Next::Resume, Fault::Trouble("its heartbeat makes no sense".to_owned()));
        };
        self.beat = Some(Beat { every, at: now + every.mul_f64(chance.clamp(0.0, 1.0)), is_answered: true });
        if self.phase != Phase::Silent {
            return Vec::new();
        }
        self.patience = now + PATIENCE;
        let word = match &self.session {
            Some(session) => Word::Resume { session: session.id.clone(), seq: session.seq },
            None => Word::Identify,
        };
        self.phase = if self.session.is_some() { Phase::Resuming } else { Phase::Identifying };
        vec![Step::Say(word)]
    }

    fn dispatch(&mut self, payload: Payload, now: Instant) -> Vec<Step> {
        let is_let_in = matches!(self.phase, Phase::Resuming | Phase::Open);
        if is_let_in {
            // Events that were missed come before the session counts as resumed.
            self.patience = now + PATIENCE;
            if let (Some(session), Some(seq)) = (&mut self.session, payload.s) {
                session.seq = seq;
            }
        }
        match payload.t.as_deref() {
            Some("READY") if self.phase != Phase::Silent => {
                let text = |name: &str| payload.d.get(name)?.as_str().map(str::to_owned);
                let (Some(id), Some(url)) = (text("session_id"), text("resume_gateway_url")) else {
                    return self.end(Next::Anew, Fault::Trouble("its new session has no name".to_owned()));
                };
                self.session = Some(Session { id, url, seq: payload.s.unwrap_or(0) });
                self.phase = Phase::Open;
                vec![Step::Open { is_new: true }]
            }
            Some("RESUMED") if self.phase == Phase::Resuming => {
                self.phase = Phase::Open;
                vec![Step::Open { is_new: false }]
            }
            Some("MESSAGE_CREATE") if is_let_in => vec![Step::Message(payload.d)],
            _ => Vec::new(),
        }
    }

    /// The connection was ended there.
    pub(super) fn closed(&mut self, code: Option<u16>, reason: &str) -> Vec<Step> {
        let (next, why) = after_close(code, reason);
        self.end(next, why)
    }

    /// It was ended here, or broke.
    pub(super) fn end(&mut self, next: Next, why: Fault) -> Vec<Step> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        self.phase = Phase::Over;
        if next != Next::Resume {
            self.session = None;
        }
        vec![Step::End { next, why }]
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let patience =
            matches!(self.phase, Phase::Silent | Phase::Identifying | Phase::Resuming).then_some(self.patience);
        let beat = self.beat.filter(|_| self.phase != Phase::Over).map(|beat| beat.at);
        patience.into_iter().chain(beat).min()
    }

    pub(super) fn on_time(&mut self, now: Instant) -> Vec<Step> {
        let waits = matches!(self.phase, Phase::Silent | Phase::Identifying | Phase::Resuming);
        if waits && now >= self.patience {
            let said = format!("its gateway said nothing in {} s", PATIENCE.as_secs());
            return self.end(Next::Resume, Fault::Unanswered(said));
        }
        let seq = self.seq();
        let Some(beat) = self.beat.as_mut().filter(|beat| self.phase != Phase::Over && now >= beat.at) else {
            return Vec::new();
        };
        if !std::mem::replace(&mut beat.is_answered, false) {
            return self.end(Next::Resume, Fault::Unanswered("its gateway doesn't answer heartbeats".to_owned()));
        }
        beat.at = now + beat.every;
        vec![Step::Say(Word::Heartbeat(seq))]
    }

    fn seq(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.seq)
    }
}

/// When the next connection is made.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Connections in a row that weren't good.
    failures: u32,
    opened_at: Option<Instant>,
    identified_at: Option<Instant>,
    /// The present connection has begun a session.
    has_identified: bool,
}

/// After a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) at: Instant,
    /// It is as it should be: nobody need hear of it.
    pub(super) is_usual: bool,
}

impl Attempts {
    pub(super) fn opened(&mut self, now: Instant) {
        self.opened_at = Some(now);
    }

    pub(super) fn identified(&mut self, now: Instant) {
        self.identified_at = Some(now);
        self.has_identified = true;
    }

    /// Where a session is to be gone on with may be known no more: it is asked for again.
    pub(super) fn asks_the_way(&self) -> bool {
        self.failures > 1
    }

    /// A connection ended, or none was made. `chance`: 0 to 1.
    pub(super) fn ended(&mut self, next: Next, now: Instant, chance: f64) -> Again {
        let opened_at = self.opened_at.take();
        let was_good = opened_at.is_some_and(|at| now.saturating_duration_since(at) >= GOOD);
        self.failures = if was_good { 0 } else { self.failures.saturating_add(1) };
        let power = 1_u32 << self.failures.saturating_sub(1).min(10);
        let longest = if std::mem::take(&mut self.has_identified) { LONGEST_IDENTIFY_PAUSE } else { LONGEST_PAUSE };
        let pause = if was_good { Duration::ZERO } else { Duration::from_secs(1).saturating_mul(power).min(longest) };
        let at = match next {
            Next::Resume => now + pause,
            Next::Anew | Next::Never => {
                let spread = Duration::from_secs(1) + Duration::from_secs(4).mul_f64(chance.clamp(0.0, 1.0));
                let allowed = self.identified_at.map_or(now, |at| at + IDENTIFY_PAUSE);
                (now + pause.max(spread)).max(allowed)
            }
        };
        Again { at, is_usual: self.failures == 0 || (self.failures == 1 && opened_at.is_some() && next != Next::Never) }
    }
}

#[cfg(test)]
mod tests;
