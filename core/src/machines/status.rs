//! The status that the outside sees, as one function of what is known. The first row of the table that matches wins;
//! the table is in `docs/architecture.md`.

use std::time::{Duration, Instant};

use crate::gateway_report::{BreakerState, Status};

/// Heartbeat intervals after which knowledge that can go stale is not believed any more.
pub const DECAY_INTERVALS: u32 = 3;

/// Why a gateway is blocked, as far as the status cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockedAs {
    /// Not a gateway, TLS not trusted, protocol mismatch, forbidden address: nothing there to work with.
    Unreachable,
    /// Reached, but it refuses: credentials, pairing, scopes, origin, version.
    Refused,
}

/// How the last attempt to connect or probe ended, or the last connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LastAttempt {
    /// There was none yet.
    None,
    /// It reached the gateway.
    Answered,
    /// Refused, reset, unresolvable, or a connection that was cut.
    Refused,
    /// No answer in time.
    NoAnswer,
}

/// Everything that the status depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// The actor died too often.
    pub parked: bool,
    /// Blocked, and as what.
    pub blocked: Option<BlockedAs>,
    /// Starting or restarting, within the grace.
    pub in_grace: bool,
    /// State of the breaker.
    pub breaker: BreakerState,
    /// How the last attempt ended.
    pub last_attempt: LastAttempt,
    /// Authenticated.
    pub ready: bool,
    /// The last heartbeat due got no answer and no other frame came.
    pub heartbeat_missed: bool,
    /// The last heartbeat due got no answer, but other frames came.
    pub heartbeat_late: bool,
    /// Last round trip.
    pub latency: Option<Duration>,
    /// Above this a ready gateway is degraded.
    pub degraded_latency: Duration,
    /// The gateway calls itself degraded.
    pub calls_itself_degraded: bool,
    /// While an attempt is under way: when it has been without an answer for so long that this is to be said.
    pub attempt_due: Option<Instant>,
    /// Found broken after a time in which the daemon itself got none, and dialled anew: what it was before, and until when it is
    /// taken for that.
    pub kept: Option<(Status, Instant)>,
    /// When the knowledge was gained.
    pub as_of: Instant,
    /// Interval of the heartbeat, for decay.
    pub heartbeat_interval: Duration,
}

impl Facts {
    /// The status without regard to age, and whether it decays.
    fn fresh(&self, now: Instant) -> (Status, bool) {
        if self.parked {
            return (Status::Offline, false);
        }
        match self.blocked {
            Some(BlockedAs::Unreachable) => return (Status::Offline, false),
            Some(BlockedAs::Refused) => return (Status::Degraded, false),
            None => {}
        }
        if self.in_grace {
            return (Status::Degraded, false);
        }
        // Half-open is an attempt under way: until it tells, nothing is known that would be better than offline.
        if self.breaker != BreakerState::Closed {
            return (Status::Offline, false);
        }
        if let Some((status, until)) = self.kept
            && now < until
        {
            return (status, false);
        }
        if !self.ready {
            match self.last_attempt {
                LastAttempt::Refused => return (Status::Offline, false),
                // It stays so between attempts: nothing else is learned before the next one ends.
                LastAttempt::NoAnswer => return (Status::Timeout, false),
                LastAttempt::None | LastAttempt::Answered if self.attempt_due.is_some_and(|due| now >= due) => {
                    return (Status::Timeout, false);
                }
                LastAttempt::None | LastAttempt::Answered => return (Status::Unknown, false),
            }
        }
        if self.heartbeat_missed {
            return (Status::Timeout, false);
        }
        let slow = self.latency.is_some_and(|latency| latency > self.degraded_latency);
        if self.heartbeat_late || slow || self.calls_itself_degraded {
            return (Status::Degraded, true);
        }
        (Status::Online, true)
    }

    /// The status at `now`.
    pub fn status(&self, now: Instant) -> Status {
        match self.fresh(now) {
            (_, true) if now >= self.decays_at() => Status::Unknown,
            (status, _) => status,
        }
    }

    /// When the present status turns into another if nothing new is learned.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let (_, decays) = self.fresh(now);
        let decay = decays.then(|| self.decays_at());
        [decay, self.attempt_due, self.kept.map(|(_, until)| until)].into_iter().flatten().filter(|at| *at > now).min()
    }

    fn decays_at(&self) -> Instant {
        self.as_of + self.heartbeat_interval * DECAY_INTERVALS
    }
}

#[cfg(test)]
mod tests;
