//! Getting in: from the upgraded socket to a hello or a refusal, as decisions without a clock or a socket.

use serde_json::{Value, json};

use crate::dialect::Dialect;
use crate::fields;
use crate::frame::{Event, Frame, Response, WireError, encode_request};
use crate::hello::Hello;
use crate::refusal::{Pairing, Refusal, RefusalClass, RefusalCode, classify_close, classify_error};

mod challenge;
mod config;
mod request;

pub use challenge::Challenge;
pub use config::{ClientInfo, DeviceMode, HandshakeConfig, OPERATOR_SCOPES, ProtocolRange};

/// The id of the connect request. The table of pending requests is not in use before the handshake is done.
const CONNECT_ID: &str = "connect";
/// The id of the request that asks a silent `rpc` gateway whether the `auth` was taken.
const INFO_ID: &str = "info";

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing: wait for a frame or a timeout.
    Wait,
    /// Send this text frame.
    Send(String),
    /// The gateway let us in; the handshake is done.
    Ready(Box<Hello>),
    /// It didn't; the handshake is done.
    Refused(Refusal),
}

/// Where the handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitingChallenge,
    AwaitingHello,
    AwaitingAuth { asked: bool },
    Done,
}

/// One handshake on one connection.
#[derive(Debug)]
pub struct Handshake {
    config: HandshakeConfig,
    state: State,
    documented: bool,
    credentials_sent: bool,
    /// The `rpc` dialect was tried since no challenge came in time.
    spoke_first: bool,
}

impl Handshake {
    /// A handshake that has just begun: the gateway speaks first.
    pub fn new(config: HandshakeConfig) -> Self {
        Self { config, state: State::AwaitingChallenge, documented: false, credentials_sent: false, spoke_first: false }
    }

    /// Whether anything was sent that a gateway may count as a login.
    pub fn credentials_sent(&self) -> bool {
        self.credentials_sent
    }

    /// Whether the connect (or `auth`) request is out, so that larger frames may come.
    pub fn is_authenticating(&self) -> bool {
        !matches!(self.state, State::AwaitingChallenge)
    }

    /// The dialect as far as it is known: `rpc` only after the challenge stayed away.
    pub fn dialect(&self) -> Dialect {
        match self.state {
            State::AwaitingAuth { .. } => Dialect::Rpc,
            _ => Dialect::Openclaw,
        }
    }

    /// Takes a frame in. `wall_ms` is the own clock, signed only where the challenge has no time.
    pub fn on_frame(&mut self, frame: &Frame, wall_ms: i64) -> Step {
        match (self.state, frame) {
            (State::Done, _) => Step::Wait,
            // A late challenge always wins over the assumption that none comes. A second one changes nothing.
            (State::AwaitingChallenge | State::AwaitingAuth { .. }, Frame::Event(event)) if is_challenge(event) => {
                self.on_challenge(event, wall_ms)
            }
            (State::AwaitingHello, Frame::Response(response)) => self.on_connect_reply(response),
            (State::AwaitingAuth { .. }, Frame::Response(response)) => self.on_auth_reply(response),
            (State::AwaitingAuth { .. }, Frame::Event(event)) => self.on_auth_event(event),
            // An error before we asked for anything is meant for the connection.
            (State::AwaitingChallenge, Frame::Response(Response { outcome: Err(error), .. })) => self.refuse(error),
            _ => Step::Wait,
        }
    }

    /// The challenge has not come in time. Switches to the `rpc` dialect where the transport allows it; called again, it
    /// asks a gateway that doesn't answer the `auth` for its info, since document 004 shows no reply to `auth`.
    pub fn on_challenge_timeout(&mut self) -> Step {
        match self.state {
            State::AwaitingChallenge if self.config.allow_rpc => {
                self.state = State::AwaitingAuth { asked: false };
                self.spoke_first = true;
                self.credentials_sent = self.config.has_shared();
                Step::Send(request::auth(&self.config))
            }
            State::AwaitingChallenge => self.done(Refusal::new(RefusalCode::ChallengeTimeout, "")),
            State::AwaitingAuth { .. } => self.ask_info(),
            State::AwaitingHello | State::Done => Step::Wait,
        }
    }

    /// The whole handshake has not ended in time.
    pub fn on_deadline(&mut self) -> Step {
        let code = match self.state {
            State::Done => return Step::Wait,
            State::AwaitingChallenge | State::AwaitingAuth { .. } => RefusalCode::ChallengeTimeout,
            State::AwaitingHello => RefusalCode::ConnectTimeout,
        };
        self.done(Refusal::new(code, ""))
    }

    /// The connection was closed: with a code, or just so.
    pub fn on_close(&mut self, code: Option<u16>, reason: &str) -> Step {
        if self.state == State::Done {
            return Step::Wait;
        }
        let refusal = classify_close(code, reason, false);
        let refusal = self.complete(refusal);
        self.done(refusal)
    }

    fn on_challenge(&mut self, event: &Event, wall_ms: i64) -> Step {
        let Some(challenge) = Challenge::read(&event.payload) else {
            return self.done(Refusal::new(RefusalCode::Garbage, "a challenge without a nonce"));
        };
        let Some(range) = challenge.common(self.config.protocols) else {
            let offered = format!("the challenge offers protocols {:?}", challenge.protocols);
            return self.done(Refusal::new(RefusalCode::ProtocolMismatch, &offered));
        };
        self.documented = challenge.is_documented;
        self.state = State::AwaitingHello;
        self.credentials_sent = true;
        let params = request::connect(&self.config, &challenge, range, wall_ms);
        Step::Send(encode_request(Dialect::Openclaw, CONNECT_ID, "connect", &params))
    }

    fn on_connect_reply(&mut self, response: &Response) -> Step {
        match &response.outcome {
            // A frame that can't be matched to a request is answered under the id "invalid".
            Err(error) if matches!(response.id.as_str(), CONNECT_ID | "invalid" | "") => self.refuse(error),
            Ok(payload) if response.id == CONNECT_ID => {
                self.state = State::Done;
                Step::Ready(Box::new(Hello::read_connect(payload)))
            }
            _ => Step::Wait,
        }
    }

    fn on_auth_reply(&mut self, response: &Response) -> Step {
        match &response.outcome {
            Err(error) if response.id == INFO_ID && error.is_unknown_method() => {
                self.done(Refusal::new(RefusalCode::NotAGateway, &error.message))
            }
            // Without a login of its own, it may still be a gateway: what it says of itself decides.
            Err(error) if error.is_unknown_method() => self.ask_info(),
            Err(error) => self.refuse(error),
            Ok(payload) if denies(payload) => self.refuse(&WireError::from_value(payload.clone())),
            Ok(payload) => self.rpc_ready(payload),
        }
    }

    fn ask_info(&mut self) -> Step {
        if self.state != (State::AwaitingAuth { asked: false }) {
            return Step::Wait;
        }
        self.state = State::AwaitingAuth { asked: true };
        Step::Send(encode_request(Dialect::Rpc, INFO_ID, "gateway.info", &json!({})))
    }

    /// Some servers answer with an event instead of a reply.
    fn on_auth_event(&mut self, event: &Event) -> Step {
        match event.name.as_str() {
            "auth.ok" | "auth.success" | "authenticated" | "ready" | "hello" => self.rpc_ready(&event.payload),
            "auth" if !denies(&event.payload) => self.rpc_ready(&event.payload),
            "auth" | "auth.error" | "auth.failed" | "error" => {
                let error = WireError::from_value(event.payload.clone());
                self.refuse(&error)
            }
            _ => Step::Wait,
        }
    }

    fn rpc_ready(&mut self, payload: &Value) -> Step {
        self.state = State::Done;
        Step::Ready(Box::new(Hello::read_rpc(payload)))
    }

    fn refuse(&mut self, error: &WireError) -> Step {
        let mut refusal = classify_error(error);
        // Which token is meant, the gateway can't know: a device token that it no longer takes is to real releases a wrong
        // shared token, and to 2026.2.19 a wrong shared token is a device token. We know what we sent.
        let meant = match refusal.code {
            RefusalCode::DeviceTokenMismatch if !self.sent_device_token() => Some(RefusalCode::TokenMismatch),
            RefusalCode::TokenMismatch if self.sent_device_token() && !self.config.has_shared() => {
                Some(RefusalCode::DeviceTokenMismatch)
            }
            // Real releases take a token for a wrong password.
            RefusalCode::PasswordMismatch if self.config.shared_password().is_none() => {
                Some(RefusalCode::PasswordRequired)
            }
            _ => None,
        };
        if let Some(code) = meant {
            refusal = Refusal { words: refusal.words, ..Refusal::new(code, "") };
        }
        // Where the one credential is a shared one, to refuse without a reason is to refuse it.
        let unexplained = matches!(refusal.code, RefusalCode::RefusedByGateway | RefusalCode::Unauthorized);
        if unexplained && refusal.class == RefusalClass::Blocked && matches!(self.state, State::AwaitingAuth { .. }) {
            let code = match self.credentials_sent {
                true if self.config.shared().is_none() => RefusalCode::PasswordMismatch,
                true => RefusalCode::TokenMismatch,
                false => RefusalCode::TokenMissing,
            };
            refusal = Refusal { words: refusal.words, ..Refusal::new(code, "") };
        }
        let refusal = self.complete(refusal);
        self.done(refusal)
    }

    fn sent_device_token(&self) -> bool {
        self.dialect() == Dialect::Openclaw && self.config.sends_device_token(self.documented)
    }

    /// Adds what we know better than the gateway says.
    fn complete(&self, mut refusal: Refusal) -> Refusal {
        // A gateway that greets late refuses our first word as no `connect`: it has nothing against us, and the next attempt tells.
        let is_about_first_word = match refusal.code {
            RefusalCode::InvalidHandshake => true,
            RefusalCode::RefusedByGateway => self.state == State::AwaitingHello,
            _ => false,
        };
        if self.spoke_first && is_about_first_word {
            refusal = Refusal { words: refusal.words, ..Refusal::new(RefusalCode::ChallengeTimeout, "") };
        }
        if refusal.code == RefusalCode::PairingRequired {
            let pairing = refusal.pairing.get_or_insert_with(Pairing::default);
            if pairing.device_id.is_none() {
                pairing.device_id = self.config.device_id().map(str::to_owned);
            }
        }
        refusal.counts_as_failed_auth &= self.state != State::AwaitingChallenge;
        refusal
    }

    fn done(&mut self, refusal: Refusal) -> Step {
        self.state = State::Done;
        Step::Refused(refusal)
    }
}

/// Whether an event is a challenge. After a `Ready` of the `rpc` dialect it means that the gateway speaks `openclaw`
/// after all: connect again, and wait longer for it.
pub fn is_challenge(event: &Event) -> bool {
    event.name == "connect.challenge"
}

/// A reply that is a success as a frame and a refusal in words: `{"ok": false}`, `{"authenticated": false}`.
fn denies(payload: &Value) -> bool {
    fields::flag(payload, &["ok", "authenticated", "success"]) == Some(false)
        || payload.get("error").is_some_and(|error| !error.is_null())
}

#[cfg(test)]
mod tests;
