//! One login on an open socket, for checks that want to know each step and keep no connection.

use std::time::Duration;

use futures_util::StreamExt;
use gatewarden_protocol::frame::Frame;
use gatewarden_protocol::handshake::{Challenge, HandshakeConfig, Step, is_challenge};
use gatewarden_protocol::hello::Hello;
use gatewarden_protocol::limits::MAX_FRAME;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};
use tokio::time::timeout_at;

use super::failure::SocketError;
use super::{Dialed, Incoming};
use crate::clock::Clock;
use crate::machines::login_attempt::LoginAttempt;
pub use crate::machines::login_attempt::LoginPatience;

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
    let started = clock.now();
    let mut attempt = LoginAttempt::new(config, started, patience);
    let (mut challenged_after, mut clock_ahead_ms) = (None, None);
    let outcome = loop {
        let heard = timeout_at(attempt.next_deadline().into(), dialed.incoming.next()).await;
        let now = clock.now();
        let step = match heard {
            Err(_) => attempt.on_deadline(now),
            Ok(None) => attempt.on_close(None, ""),
            Ok(Some(Ok(Incoming::Close { code, reason }))) => attempt.on_close(code.or(Some(1005)), &reason),
            Ok(Some(Ok(Incoming::Pong(_)))) => Step::Wait,
            Ok(Some(Ok(Incoming::Ping(payload)))) => {
                dialed.outgoing.pong(payload).map_or_else(refused, |()| Step::Wait)
            }
            Ok(Some(Err(error))) => refused(error),
            Ok(Some(Ok(message))) => match parse(&message) {
                Err(error) if attempt.on_strange_frame(&error) => {
                    Step::Refused(Refusal::new(RefusalCode::NotAGateway, &error.to_string()))
                }
                Err(_) => Step::Wait,
                Ok(frame) => {
                    let wall_ms = clock.wall_ms();
                    if let Frame::Event(event) = &frame
                        && is_challenge(event)
                        && challenged_after.is_none()
                    {
                        challenged_after = Some(now.saturating_duration_since(started));
                        let told = Challenge::read(&event.payload).and_then(|challenge| challenge.ts_ms);
                        clock_ahead_ms = told.map(|told| told.saturating_sub(wall_ms));
                    }
                    attempt.on_frame(now, wall_ms, &frame)
                }
            },
        };
        match step {
            Step::Wait => {}
            Step::Ready(hello) => break Ok(hello),
            Step::Refused(refusal) => break Err(refusal),
            Step::Send(text) => {
                dialed.frame_cap.set(MAX_FRAME);
                if let Err(error) = dialed.outgoing.try_send_text(text) {
                    break Err(refusal(&error));
                }
            }
        }
    };
    Login { outcome, challenged_after, clock_ahead_ms, took: clock.now().saturating_duration_since(started) }
}

fn parse(message: &Incoming) -> Result<Frame, gatewarden_protocol::FrameError> {
    match message {
        Incoming::Text(text, _) => Frame::parse(text.as_bytes()),
        Incoming::Binary(bytes, _) => Frame::parse(bytes),
        _ => Frame::parse(b""),
    }
}

fn refusal(error: &SocketError) -> Refusal {
    Refusal::new(error.before_login(false), &error.to_string())
}

fn refused(error: SocketError) -> Step {
    Step::Refused(refusal(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatewarden_protocol::{DeviceIdentity, Secret};
    use serde_json::json;

    use super::super::Sent;
    use super::super::tests::scripted::ScriptedPeer;
    use super::*;

    const WALL: i64 = 1_795_253_714_441;
    const PATIENCE: LoginPatience = LoginPatience { challenge: Duration::from_secs(3), login: Duration::from_secs(5) };

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
        match peer.sent.recv().await.map(|sent| *sent) {
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
