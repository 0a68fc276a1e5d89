//! When a local process is started, stopped, started again and given up.
//!
//! ```text
//!  Stopped --start--> Starting --> Running --ended--> Waiting --due--> Starting
//!     ^                               |                  |
//!     |                             stop            too often, or only a person can help
//!     +------------ Stopping <--------+                  v
//!                                                     GaveUp --start--> Starting
//! ```
//!
//! Rules that hold whatever comes in (the property test throws everything at it):
//!
//! 1. One process at a time: nothing is started before the end of the former one was said.
//! 2. Nothing loops: a process that keeps ending is given up, either because it was started again more than `max_restarts`
//!    times within the window, or because it ended more often than that without ever having run for `stable_after`.
//! 3. Only an operator ends [`State::GaveUp`], and begins anew: the past is forgotten.
//! 4. A process that doesn't end in `stop_grace` after it was asked to is killed, with everything in its group.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::restart_intensity::{RestartDecision, RestartIntensity};

/// Exit codes with which a program says that only a person can help: wrong usage, wrong configuration (sysexits). An OpenClaw
/// gateway of protocol 4 ends with 78 where another one owns its port or its state.
pub const HOPELESS_CODES: [i32; 2] = [64, 78];

/// How often and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisionSettings {
    /// Restarts allowed within the window, and ends in a row without a stable run; one more gives up.
    pub max_restarts: u32,
    /// The window.
    pub window: Duration,
    /// Waits before restarts 1, 2, ...; the last one repeats.
    pub backoff: Vec<Duration>,
    /// A process that ran for this long resets the waits.
    pub stable_after: Duration,
    /// How long a process may take to end before it is killed.
    pub stop_grace: Duration,
}

impl Default for SupervisionSettings {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_secs(300),
            backoff: [1, 2, 4, 8, 16, 30].map(Duration::from_secs).to_vec(),
            stable_after: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
        }
    }
}

/// Where the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody wants it to run.
    Stopped,
    /// The program is being executed.
    Starting,
    /// It runs.
    Running,
    /// It was asked to end.
    Stopping,
    /// It ended and is started again soon.
    Waiting,
    /// It ended too often, or as only a person can put right.
    GaveUp,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows: it was not a child of ours.
    Unknown,
    /// It never ran: why.
    NotStarted(String),
}

impl Ending {
    /// A clause: `exited with code 1`.
    pub fn words(&self) -> String {
        match self {
            Self::Code(code) => format!("exited with code {code}"),
            Self::Signal(9) => "was killed (signal 9)".to_owned(),
            Self::Signal(signal) => format!("was ended by signal {signal}"),
            Self::Unknown => "ended".to_owned(),
            Self::NotStarted(reason) => format!("could not be started: {reason}"),
        }
    }
}

/// Why it was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUpBecause {
    /// Started again as often as allowed within the window, and it ended once more.
    TooOften,
    /// So many ends in a row, and never a stable run in between.
    NeverStable,
    /// The exit code says that only a person can help.
    Hopeless,
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Execute the program; say [`Supervision::started`] or [`Supervision::ended`].
    Spawn,
    /// Ask it to end: SIGTERM to the whole group.
    Terminate,
    /// SIGKILL to the whole group.
    Kill,
    /// It ended though nobody asked it to: started again after this.
    RestartIn(Duration),
    /// It is not started again.
    GiveUp(GaveUpBecause),
    /// It ended as it was asked to.
    Rests,
}

/// What follows once the process has ended as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Rest,
    Start,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inner {
    Stopped,
    Starting { asked: Option<Then> },
    Running,
    Stopping { kill_at: Instant, then: Then },
    Waiting { until: Instant },
    GaveUp,
}

/// Supervision of one process.
#[derive(Debug, Clone)]
pub struct Supervision {
    settings: SupervisionSettings,
    inner: Inner,
    intensity: RestartIntensity,
    backoff: Backoff,
    restarts: u64,
}

impl Supervision {
    /// Of a process that doesn't run.
    pub fn new(settings: SupervisionSettings) -> Self {
        Self {
            inner: Inner::Stopped,
            intensity: RestartIntensity::new(settings.max_restarts, settings.window),
            backoff: Backoff::new(settings.backoff.clone(), settings.stable_after),
            restarts: 0,
            settings,
        }
    }

    /// Where the process is.
    pub fn state(&self) -> State {
        match self.inner {
            Inner::Stopped => State::Stopped,
            Inner::Starting { asked: None } => State::Starting,
            Inner::Running => State::Running,
            Inner::Starting { asked: Some(_) } | Inner::Stopping { .. } => State::Stopping,
            Inner::Waiting { .. } => State::Waiting,
            Inner::GaveUp => State::GaveUp,
        }
    }

    /// How often it was started again without anybody's asking.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// When [`Self::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.inner {
            Inner::Stopping { kill_at, .. } => Some(kill_at),
            Inner::Waiting { until } => Some(until),
            Inner::Running => self.backoff.stable_at(),
            Inner::Stopped | Inner::Starting { .. } | Inner::GaveUp => None,
        }
    }

    /// When it is started again, while it waits for that.
    pub fn starts_at(&self) -> Option<Instant> {
        match self.inner {
            Inner::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// It shall run. Forgets the past of one that doesn't.
    pub fn start(&mut self) -> Vec<Effect> {
        match &mut self.inner {
            Inner::Running | Inner::Starting { asked: None } => Vec::new(),
            Inner::Starting { asked } => {
                *asked = Some(Then::Start);
                Vec::new()
            }
            Inner::Stopping { then, .. } => {
                *then = Then::Start;
                Vec::new()
            }
            Inner::Stopped | Inner::Waiting { .. } | Inner::GaveUp => self.begin_anew(),
        }
    }

    /// It shall not run.
    pub fn stop(&mut self, now: Instant) -> Vec<Effect> {
        self.end_and(now, Then::Rest)
    }

    /// It shall run, as another process than now.
    pub fn restart(&mut self, now: Instant) -> Vec<Effect> {
        self.end_and(now, Then::Start)
    }

    fn end_and(&mut self, now: Instant, wish: Then) -> Vec<Effect> {
        match &mut self.inner {
            Inner::Running => {
                self.inner = Inner::Stopping { kill_at: now + self.settings.stop_grace, then: wish };
                vec![Effect::Terminate]
            }
            Inner::Starting { asked } => {
                *asked = Some(wish);
                Vec::new()
            }
            Inner::Stopping { then, .. } => {
                *then = wish;
                Vec::new()
            }
            Inner::Stopped | Inner::Waiting { .. } | Inner::GaveUp if wish == Then::Start => self.begin_anew(),
            Inner::Stopped | Inner::Waiting { .. } | Inner::GaveUp => {
                self.inner = Inner::Stopped;
                vec![Effect::Rests]
            }
        }
    }

    fn begin_anew(&mut self) -> Vec<Effect> {
        self.intensity.forgive();
        self.backoff.reset();
        self.inner = Inner::Starting { asked: None };
        vec![Effect::Spawn]
    }

    /// The program was executed.
    pub fn started(&mut self, now: Instant) -> Vec<Effect> {
        match self.inner {
            Inner::Starting { asked: None } => {
                self.backoff.on_ready(now);
                self.inner = Inner::Running;
                Vec::new()
            }
            Inner::Starting { asked: Some(then) } => {
                self.inner = Inner::Stopping { kill_at: now + self.settings.stop_grace, then };
                vec![Effect::Terminate]
            }
            _ => Vec::new(),
        }
    }

    /// The process and all of its group are gone, or it could not be started. `unit` is a random number in `[0, 1)`.
    pub fn ended(&mut self, now: Instant, ending: &Ending, unit: f64) -> Vec<Effect> {
        let asked = match self.inner {
            Inner::Running | Inner::Starting { asked: None } => None,
            Inner::Starting { asked: Some(then) } | Inner::Stopping { then, .. } => Some(then),
            Inner::Stopped | Inner::Waiting { .. } | Inner::GaveUp => return Vec::new(),
        };
        match asked {
            Some(Then::Start) => self.begin_anew(),
            Some(Then::Rest) => {
                self.inner = Inner::Stopped;
                vec![Effect::Rests]
            }
            None => self.ended_unasked(now, ending, unit),
        }
    }

    fn ended_unasked(&mut self, now: Instant, ending: &Ending, unit: f64) -> Vec<Effect> {
        let pause = self.backoff.on_failure(now, unit);
        let hopeless = matches!(ending, Ending::Code(code) if HOPELESS_CODES.contains(code));
        let because = if hopeless {
            Some(GaveUpBecause::Hopeless)
        } else if self.intensity.on_death(now) == RestartDecision::Park {
            Some(GaveUpBecause::TooOften)
        } else if self.backoff.attempts() > self.settings.max_restarts {
            Some(GaveUpBecause::NeverStable)
        } else {
            None
        };
        if let Some(because) = because {
            self.inner = Inner::GaveUp;
            return vec![Effect::GiveUp(because)];
        }
        self.restarts += 1;
        self.inner = Inner::Waiting { until: now + pause };
        vec![Effect::RestartIn(pause)]
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Effect> {
        match &mut self.inner {
            Inner::Waiting { until } if now >= *until => {
                self.inner = Inner::Starting { asked: None };
                vec![Effect::Spawn]
            }
            Inner::Stopping { kill_at, .. } if now >= *kill_at => {
                // Again and again: what is stuck in the kernel may be let go at any time.
                *kill_at = now + self.settings.stop_grace.max(Duration::from_secs(1));
                vec![Effect::Kill]
            }
            Inner::Running => {
                self.backoff.on_tick(now);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
