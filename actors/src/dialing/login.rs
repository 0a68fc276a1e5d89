//! One login on an open socket, by hand: for checks that want to know each step and keep no connection. Gateways that are
//! supervised are logged in to by `machines::connection`, on the same handshake.

use std::time::Duration;

use futures_util::StreamExt;
use gatewarden_protocol::Dialect;
use gatewarden_protocol::frame::{Frame, FrameError};
use gatewarden_protocol::handshake::{Challenge, Handshake, HandshakeConfig, Step, is_challenge};
use gatewarden_protocol::hello::Hello;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};
use tokio::time::{Instant, timeout_at};

use super::Dialed;
use super::Incoming;
use super::failure::SocketError;
use crate::clock::Clock;

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
    /// The largest frame that it may send from the login on, bytes.
    pub max_frame: usize,
}

/// How a login went.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Let in or not.
    pub outcome: Result<Box<Hello>, Refusal>,
    /// From the start to the challenge, where one came.
    pub challenged_after: Option<Duration>,
    /// How far the gateway's clock is ahead of ours, ms, where its challenge tells the time. Negative: behind.
    pub clock_ahead_ms: Option<i64>,
    /// All together.
    pub took: Duration,
}

/// Logs in, or finds out why not. The socket stays open.
pub async fn log_in(dialed: &mut Dialed, config: HandshakeConfig, patience: LoginPatience, clock: &Clock) -> Login {
    let started = Instant::now();
    let mut trial = Trial {
        handshake: Handshake::new(config),
        strange: 0,
        due: started + patience.challenge,
        ask_info_at: None,
        challenged_at: None,
        clock_ahead_ms: None,
    };
    let outcome = loop {
        let until = trial.ask_info_at.map_or(trial.due, |at| at.min(trial.due));
        let step = match timeout_at(until, dialed.incoming.next()).await {
            Ok(Some(Ok(Incoming::Ping(payload)))) => match dialed.outgoing.pong(payload) {
                Ok(()) => Step::Wait,
                Err(error) => refused(&error),
            },
            Ok(heard) => trial.heard(heard, clock),
            Err(_) => trial.late(),
        };
        match step {
            Step::Wait => {}
            Step::Ready(hello) => break Ok(hello),
            Step::Refused(refusal) => break Err(refusal),
            Step::Send(text) => {
                dialed.frame_cap.set(patience.max_frame);
                if let Err(error) = dialed.outgoing.try_send_text(text) {
                    break Err(Refusal::new(error.before_login(false), &error.to_string()));
                }
                trial.sent(patience.login);
            }
        }
    };
    Login {
        outcome,
        challenged_after: trial.challenged_at.map(|at| at.saturating_duration_since(started)),
        clock_ahead_ms: trial.clock_ahead_ms,
        took: started.elapsed(),
    }
}

struct Trial {
    handshake: Handshake,
    strange: u32,
    due: Instant,
    /// When to ask a silent `rpc` gateway for its info.
    ask_info_at: Option<Instant>,
    challenged_at: Option<Instant>,
    clock_ahead_ms: Option<i64>,
}

fn refused(error: &SocketError) -> Step {
    Step::Refused(Refusal::new(error.before_login(false), &error.to_string()))
}

impl Trial {
    fn heard(&mut self, heard: Option<Result<Incoming, SocketError>>, clock: &Clock) -> Step {
        match heard {
            None => self.handshake.on_close(None, ""),
            Some(Err(error)) => refused(&error),
            Some(Ok(Incoming::Text(text))) => self.message(text.as_bytes(), clock),
            Some(Ok(Incoming::Binary(bytes))) => self.message(&bytes, clock),
            Some(Ok(Incoming::Ping(_) | Incoming::Pong(_))) => Step::Wait,
            Some(Ok(Incoming::Close { code, reason })) => self.handshake.on_close(code.or(Some(1005)), &reason),
        }
    }

    fn message(&mut self, bytes: &[u8], clock: &Clock) -> Step {
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                self.strange += 1;
                if matches!(error, FrameError::NotAFrame) && self.strange < MAX_STRANGE_FRAMES {
                    return Step::Wait;
                }
                return Step::Refused(Refusal::new(RefusalCode::NotAGateway, &error.to_string()));
            }
        };
        let wall_ms = clock.wall_ms();
        if let Frame::Event(event) = &frame
            && is_challenge(event)
            && self.challenged_at.is_none()
        {
            self.challenged_at = Some(Instant::now());
            let told = Challenge::read(&event.payload).and_then(|challenge| challenge.ts_ms);
            self.clock_ahead_ms = told.map(|told| told.saturating_sub(wall_ms));
        }
        self.handshake.on_frame(&frame, wall_ms)
    }

    /// Nothing came in time.
    fn late(&mut self) -> Step {
        if self.ask_info_at.take().is_some_and(|at| at <= Instant::now()) {
            return self.handshake.on_challenge_timeout();
        }
        if self.handshake.is_authenticating() {
            self.handshake.on_deadline()
        } else {
            self.handshake.on_challenge_timeout()
        }
    }

    fn sent(&mut self, patience: Duration) {
        let now = Instant::now();
        let by_rpc = self.handshake.dialect() == Dialect::Rpc;
        // The question for its info buys a silent gateway no more time; a late challenge does.
        if !by_rpc || now >= self.due {
            self.ask_info_at = by_rpc.then(|| now + INFO_AFTER);
            self.due = now + patience;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatewarden_protocol::{DeviceIdentity, Secret};
    use serde_json::json;

    use super::super::{ScriptedPeer, Sent};
    use super::*;

    const WALL: i64 = 1_795_253_714_441;
    const PATIENCE: LoginPatience =
        LoginPatience { challenge: Duration::from_secs(3), login: Duration::from_secs(5), max_frame: 1 << 20 };

    fn config() -> HandshakeConfig {
        let identity = Arc::new(DeviceIdentity::from_seed(&[7; 32]));
        HandshakeConfig {
            shared_token: Some(Secret::new("right")),
            ..HandshakeConfig::with_device(identity, "0.1.0", "check")
        }
    }

    /// The peer stays there until the login has ended.
    async fn login_with(peer: impl AsyncFnOnce(ScriptedPeer) -> ScriptedPeer) -> Login {
        let clock = Clock::simulated(WALL, 1);
        let (mut dialed, other) = Dialed::scripted();
        let (login, _peer) = tokio::join!(log_in(&mut dialed, config(), PATIENCE, &clock), peer(other));
        login
    }

    fn say(peer: &ScriptedPeer, frame: serde_json::Value) {
        peer.says.send(Ok(Incoming::text(frame.to_string()))).unwrap();
    }

    async fn heard(peer: &mut ScriptedPeer) -> String {
        match peer.sent.recv().await {
            Some(Sent::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[actix::test]
    async fn a_gateway_that_lets_us_in_tells_its_clock_on_the_way() {
        tokio::time::pause();
        let login = login_with(async |mut peer| {
            let payload = json!({"nonce": "n", "ts": WALL + 600_000});
            say(&peer, json!({"type": "event", "event": "connect.challenge", "payload": payload}));
            assert!(heard(&mut peer).await.contains("connect"));
            say(
                &peer,
                json!({"type": "res", "id": "connect", "ok": true, "payload": {"type": "hello-ok", "protocol": 4}}),
            );
            peer
        })
        .await;
        assert_eq!(login.outcome.unwrap().protocol, Some(4));
        assert_eq!(login.clock_ahead_ms, Some(600_000));
        assert!(login.challenged_after.is_some());
    }

    #[actix::test]
    async fn a_socket_that_stays_silent_is_given_up_after_both_patiences() {
        tokio::time::pause();
        let login = login_with(async |mut peer| {
            assert!(heard(&mut peer).await.contains("auth"));
            assert!(heard(&mut peer).await.contains("gateway.info"));
            peer
        })
        .await;
        assert_eq!(login.outcome.unwrap_err().code, RefusalCode::ChallengeTimeout);
        let patience = PATIENCE.challenge + PATIENCE.login;
        assert!((patience..patience + Duration::from_millis(50)).contains(&login.took), "{:?}", login.took);
    }

    #[actix::test]
    async fn what_is_no_frame_is_no_gateway_and_a_close_is_read() {
        tokio::time::pause();
        let login = login_with(async |peer| {
            peer.says.send(Ok(Incoming::text("hello there"))).unwrap();
            peer
        })
        .await;
        assert_eq!(login.outcome.unwrap_err().code, RefusalCode::NotAGateway);
        let login = login_with(async |peer| {
            let close = Incoming::Close { code: Some(1013), reason: "gateway starting".to_owned() };
            peer.says.send(Ok(close)).unwrap();
            peer
        })
        .await;
        assert_eq!(login.outcome.unwrap_err().code, RefusalCode::GatewayStarting);
    }
}
