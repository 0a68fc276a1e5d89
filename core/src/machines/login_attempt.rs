//! One login on an open socket: the protocol's handshake, how long each of its steps may take, and how much that is no frame
//! is borne until it is done. Connections log in with it, and so do checks that keep no connection.

use std::time::{Duration, Instant};

use gatewarden_protocol::Dialect;
use gatewarden_protocol::frame::{Frame, FrameError};
use gatewarden_protocol::handshake::{Handshake, HandshakeConfig, Step};

/// JSON that is no frame: after this many it isn't believed to become one.
const MAX_STRANGE_FRAMES: u32 = 10;
/// How long an `auth` of the `rpc` dialect goes unanswered before the gateway is asked for its info.
const INFO_AFTER: Duration = Duration::from_secs(2);

/// How long a gateway may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginPatience {
    /// To say its first word.
    pub challenge: Duration,
    /// To answer the login.
    pub login: Duration,
}

/// A login under way.
#[derive(Debug)]
pub struct LoginAttempt {
    handshake: Handshake,
    patience: LoginPatience,
    due: Instant,
    /// When to ask a silent `rpc` gateway for its info.
    ask_info_at: Option<Instant>,
    strange: u32,
}

impl LoginAttempt {
    /// One that has just begun: the gateway speaks first.
    pub fn new(config: HandshakeConfig, now: Instant, patience: LoginPatience) -> Self {
        let handshake = Handshake::new(config);
        Self { handshake, patience, due: now + patience.challenge, ask_info_at: None, strange: 0 }
    }

    /// Whether anything was sent that a gateway may count as a login.
    pub fn credentials_sent(&self) -> bool {
        self.handshake.credentials_sent()
    }

    /// Whether the login is out, so that larger frames may come.
    pub fn is_authenticating(&self) -> bool {
        self.handshake.is_authenticating()
    }

    /// The dialect as far as it is known.
    pub fn dialect(&self) -> Dialect {
        self.handshake.dialect()
    }

    /// A frame came. `wall_ms` is the own clock.
    pub fn on_frame(&mut self, now: Instant, wall_ms: i64, frame: &Frame) -> Step {
        let before = self.is_authenticating();
        let step = self.handshake.on_frame(frame, wall_ms);
        self.waiting_for(step, now, before)
    }

    /// Something came that is no frame. True where it won't become a gateway any more.
    pub fn on_strange_frame(&mut self, error: &FrameError) -> bool {
        self.strange += 1;
        !matches!(error, FrameError::NotAFrame) || self.strange >= MAX_STRANGE_FRAMES
    }

    /// The socket was closed: with a code, or just so.
    pub fn on_close(&mut self, code: Option<u16>, reason: &str) -> Step {
        self.handshake.on_close(code, reason)
    }

    /// When [`LoginAttempt::on_deadline`] has something to do.
    pub fn next_deadline(&self) -> Instant {
        self.ask_info_at.map_or(self.due, |at| at.min(self.due))
    }

    /// A silent gateway is spoken to first, then asked for its info, then given up.
    pub fn on_deadline(&mut self, now: Instant) -> Step {
        let before = self.is_authenticating();
        let overdue = now >= self.due;
        if overdue && before {
            return self.handshake.on_deadline();
        }
        self.ask_info_at = overdue.then(|| now + INFO_AFTER);
        let step = self.handshake.on_challenge_timeout();
        self.waiting_for(step, now, before)
    }

    /// What is sent is waited for. The question for its info buys a silent gateway no more time; a late challenge does.
    fn waiting_for(&mut self, step: Step, now: Instant, was_authenticating: bool) -> Step {
        let is_rpc = self.dialect() == Dialect::Rpc;
        if matches!(step, Step::Send(_)) {
            if !is_rpc {
                self.ask_info_at = None;
            }
            if !(was_authenticating && is_rpc) {
                self.due = now + self.patience.login;
            }
        }
        step
    }
}
