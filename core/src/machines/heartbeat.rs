//! When to ask a connected gateway for a sign of life, and what its silence means.
//!
//! At the documented defaults: a heartbeat at once, then every 30 s; its reply is due within 10 s; after a miss the next
//! one follows in 5 s and is due within 5 s; the third miss in a row loses the connection. So a gateway that freezes right
//! after a reply shows 40 s later and is dropped a minute later. Any frame at all is a sign of life: with one, an
//! unanswered heartbeat is late, not missed.
//!
//! Work that is given to a gateway doesn't wait for that: 2 s of silence after a request bring the heartbeat forward, and until the
//! gateway is heard its replies are due within 3 s and repeated after 1 s. So a frozen gateway shows 5 s after the first request
//! that it leaves unanswered, and is dropped 8 s later.
//!
//! A reply that took too long, or is late, is asked for again in 5 s, so that one slow moment (its own start, or ours with thousands of
//! gateways to greet at once) doesn't speak against a gateway for a whole interval. Nor does a deadline that is looked at far too
//! late: then the daemon itself got no time (the machine was suspended, the process stopped), and the gateway is asked afresh.

use std::time::{Duration, Instant};

/// The longest pause between a miss and the next heartbeat.
const MAX_REPEAT: Duration = Duration::from_secs(5);
/// Silence after a request that brings the heartbeat forward.
const UNANSWERED: Duration = Duration::from_secs(2);
/// How long the reply to such a heartbeat may take, and the pause after it was missed.
const SUSPICIOUS_TIMEOUT: Duration = Duration::from_secs(3);
const SUSPICIOUS_REPEAT: Duration = Duration::from_secs(1);
/// A deadline that is looked at so late was slept through.
const OVERSLEPT: Duration = Duration::from_secs(3);
/// So many slow replies in a row are asked for again early. Beyond that it isn't a moment: a gateway that has much to do
/// must not be given more.
const MAX_RECHECKS: u32 = 3;

/// What a deadline asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatEffect {
    /// Send a heartbeat now.
    Send,
    /// No sign of life since the last one: this many misses in a row.
    Missed(u32),
    /// The heartbeat wasn't answered, but other frames came.
    Late,
    /// Too many misses in a row: drop the connection.
    Lost,
    /// We got no time ourselves: what is known is as old as that, and the next heartbeat is due at once.
    Overslept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Off,
    Waiting { send_at: Instant },
    Asked { sent: Instant, due: Instant, heard: bool },
}

/// The heartbeat of one connection.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    repeat: Duration,
    max_misses: u32,
    slow_after: Duration,
    phase: Phase,
    misses: u32,
    slow: u32,
    late: bool,
    /// The last WebSocket ping's number, which is its payload: only its own pong measures it.
    pings: u64,
    /// A request waits for its answer: when nothing has been heard for long enough to ask for a sign of life.
    suspect_at: Option<Instant>,
    /// Whether silence after a request is being looked into.
    suspicious: bool,
}

impl Heartbeat {
    /// `timeout` is cut to a third of `interval`, as is the pause after a miss; `max_misses` is at least 1. A round trip of
    /// more than `slow_after` is slow.
    pub fn new(interval: Duration, timeout: Duration, max_misses: u32, slow_after: Duration) -> Self {
        let third = interval / 3;
        Self {
            interval,
            timeout: timeout.min(third),
            repeat: MAX_REPEAT.min(third),
            max_misses: max_misses.max(1),
            slow_after,
            phase: Phase::Off,
            misses: 0,
            slow: 0,
            late: false,
            pings: 0,
            suspect_at: None,
            suspicious: false,
        }
    }

    /// The connection is ready: the first heartbeat is due at once.
    pub fn start(&mut self, now: Instant) {
        self.stop();
        self.phase = Phase::Waiting { send_at: now };
    }

    /// The connection ended.
    pub fn stop(&mut self) {
        self.phase = Phase::Off;
        self.misses = 0;
        self.slow = 0;
        self.late = false;
        self.suspect_at = None;
        self.suspicious = false;
    }

    /// Asks for a heartbeat now, unless one is under way: for a probe.
    pub fn hasten(&mut self, now: Instant) {
        if let Phase::Waiting { send_at } = self.phase {
            self.phase = Phase::Waiting { send_at: send_at.min(now) };
        }
    }

    /// A request was sent whose answer is due soon.
    pub fn on_request(&mut self, now: Instant) {
        if !self.suspicious && self.phase != Phase::Off {
            self.suspect_at.get_or_insert(now + UNANSWERED);
        }
    }

    /// No request waits any more.
    pub fn all_answered(&mut self) {
        self.suspect_at = None;
    }

    /// What is due. Call again until it says `None`.
    pub fn on_deadline(&mut self, now: Instant) -> Option<HeartbeatEffect> {
        if self.suspect_at.is_some_and(|at| now >= at) {
            self.suspect_at = None;
            self.suspicious = true;
            self.hasten(now);
            if let Phase::Asked { due, heard: false, .. } = &mut self.phase {
                *due = (*due).min(now + self.timeout.min(SUSPICIOUS_TIMEOUT));
            }
        }
        match self.phase {
            Phase::Waiting { send_at: at } | Phase::Asked { due: at, .. } if now >= at + OVERSLEPT => {
                self.phase = Phase::Waiting { send_at: now };
                Some(HeartbeatEffect::Overslept)
            }
            Phase::Waiting { send_at } if now >= send_at => {
                let patience = match self.misses {
                    _ if self.suspicious => SUSPICIOUS_TIMEOUT,
                    0 => self.timeout,
                    _ => self.repeat,
                };
                let patience = self.timeout.min(patience);
                self.phase = Phase::Asked { sent: now, due: now + patience, heard: false };
                Some(HeartbeatEffect::Send)
            }
            Phase::Asked { sent, due, heard } if now >= due => {
                if heard {
                    self.late = true;
                    self.slow = self.slow.saturating_add(1);
                    self.phase = Phase::Waiting { send_at: self.next_after(sent, due) };
                    return Some(HeartbeatEffect::Late);
                }
                self.misses = self.misses.saturating_add(1);
                if self.misses >= self.max_misses {
                    self.phase = Phase::Off;
                    return Some(HeartbeatEffect::Lost);
                }
                let repeat = if self.suspicious { self.repeat.min(SUSPICIOUS_REPEAT) } else { self.repeat };
                // Counted from when it was due, so that the rounding of timers doesn't add up.
                self.phase = Phase::Waiting { send_at: due + repeat };
                Some(HeartbeatEffect::Missed(self.misses))
            }
            Phase::Off | Phase::Waiting { .. } | Phase::Asked { .. } => None,
        }
    }

    /// The reply to the heartbeat under way came: its round trip. `None` where none is under way, and where we slept meanwhile.
    pub fn on_reply(&mut self, now: Instant) -> Option<Duration> {
        let Phase::Asked { sent, due, .. } = self.phase else { return None };
        self.misses = 0;
        self.late = false;
        (self.suspect_at, self.suspicious) = (None, false);
        if now >= due + OVERSLEPT {
            self.phase = Phase::Waiting { send_at: now };
            return None;
        }
        let round_trip = now.saturating_duration_since(sent);
        self.slow = if round_trip > self.slow_after { self.slow.saturating_add(1) } else { 0 };
        self.phase = Phase::Waiting { send_at: self.next_after(sent, now) };
        Some(round_trip)
    }

    /// The payload of a heartbeat that is sent as a WebSocket ping.
    pub fn ping(&mut self) -> [u8; 8] {
        self.pings += 1;
        self.pings.to_be_bytes()
    }

    /// A pong came: the round trip, as of a reply, where it answers the last ping.
    pub fn on_pong(&mut self, now: Instant, payload: &[u8]) -> Option<Duration> {
        let is_last = self.pings > 0 && payload == self.pings.to_be_bytes();
        if is_last { self.on_reply(now) } else { None }
    }

    /// When the next heartbeat follows one that was sent at `sent` and is over at `over`.
    fn next_after(&self, sent: Instant, over: Instant) -> Instant {
        let regular = sent + self.interval;
        let recheck = (1..=MAX_RECHECKS).contains(&self.slow);
        if recheck { regular.min(over + self.repeat) } else { regular }
    }

    /// Some frame came. True when it ended a row of misses.
    pub fn on_frame(&mut self, now: Instant) -> bool {
        if let Phase::Asked { sent, due, heard } = &mut self.phase {
            *heard = true;
            if self.suspicious {
                *due = *sent + self.timeout;
            }
        }
        self.suspicious = false;
        if let Some(at) = &mut self.suspect_at {
            *at = now + UNANSWERED;
        }
        let recovered = self.misses > 0;
        self.misses = 0;
        recovered
    }

    /// When to call [`Heartbeat::on_deadline`].
    pub fn next_deadline(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Off => return None,
            Phase::Waiting { send_at } => send_at,
            Phase::Asked { due, .. } => due,
        };
        Some(self.suspect_at.map_or(own, |at| at.min(own)))
    }

    /// Misses in a row.
    pub fn misses(&self) -> u32 {
        self.misses
    }

    /// Whether the last heartbeat went unanswered while other frames came.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// Whether a heartbeat is under way.
    pub fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asked { .. })
    }
}

#[cfg(test)]
mod tests;
