//! `/api/ws`.

use std::time::Duration;

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::stream::unfold;
use gatewarden_actors::event::EventKind;
use gatewarden_actors::event_hub::messages::EndStreams;
use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::support::{Ask, Harness, Stream};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client's end.
struct Socket {
    stream: Stream,
    sender: UnboundedSender<Bytes>,
    got: Vec<u8>,
}

fn upgrade(ask: Ask) -> Ask {
    ask.header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

impl Socket {
    async fn open(harness: &Harness, ask: Ask) -> Self {
        let (sender, receiver) = unbounded_channel();
        let sent = unfold(receiver, |mut receiver| async move {
            let bytes: Bytes = receiver.recv().await?;
            Some((Ok::<_, PayloadError>(bytes), receiver))
        });
        let stream = harness.exchange(upgrade(ask), sent).await;
        assert_eq!(stream.status, 101);
        Self { stream, sender, got: Vec::new() }
    }

    /// Sends a frame, masked with zeros.
    fn send(&self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | payload.len() as u8),
            Ok(length) => {
                frame.push(0xfe);
                frame.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                frame.push(0xff);
                frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.sender.send(frame.into()).unwrap();
    }

    /// The next frame but keepalives: opcode and payload; `None` at the end.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let frame = self.frame().await?;
            if !frame.1.starts_with(br#"{"type":"keepalive""#) {
                return Some(frame);
            }
        }
    }

    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [first, second, rest @ ..] = &self.got[..] {
                let (skip, length) = match (second, rest) {
                    (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                    (127, length) if length.len() >= 8 => {
                        (10, u64::from_be_bytes(length[..8].try_into().unwrap()) as usize)
                    }
                    (126 | 127, _) => panic!("half a head"),
                    (length, _) => (2, usize::from(*length)),
                };
                if self.got.len() >= skip + length {
                    let opcode = first & 0x0f;
                    let payload = self.got[skip..skip + length].to_vec();
                    self.got.drain(..skip + length);
                    return Some((opcode, payload));
                }
            }
            self.got.extend(self.stream.next_bytes().await?);
        }
    }

    async fn message(&mut self) -> Value {
        let (opcode, payload) = self.next().await.unwrap();
        assert_eq!(opcode, TEXT, "{payload:?}");
        serde_json::from_slice(&payload).unwrap()
    }

    /// The close frame that must come next, and the end after it.
    async fn closed(&mut self) -> (u16, String) {
        let (opcode, payload) = self.next().await.unwrap();
        assert_eq!(opcode, CLOSE, "{payload:?}");
        assert_eq!(self.next().await, None);
        let (code, reason) = payload.split_at(2);
        (u16::from_be_bytes(code.try_into().unwrap()), String::from_utf8(reason.to_vec()).unwrap())
    }
}

#[actix_web::test]
async fn a_keepalive_says_how_far_the_client_is_and_what_time_it_is_here() {
    let harness = Harness::start().await;
    let mut socket = Socket::open(&harness, harness.ask(Role::Viewer, "GET", "/api/ws?types=session.update")).await;
    let begin = keepalive(&mut socket).await;
    harness.events.publish(EventKind::GatewayStatus, json!({}));
    harness.events.publish(EventKind::SessionUpdate, json!({ "n": 1 }));
    let told = socket.message().await;
    assert!(told["id"].as_u64().unwrap() >= begin["last_id"].as_u64().unwrap() + 2, "{told}");
    let later = keepalive(&mut socket).await;
    assert!(later["last_id"].as_u64().unwrap() >= told["id"].as_u64().unwrap(), "{later}");
    assert!(later["ts"].as_i64().unwrap() >= begin["ts"].as_i64().unwrap() + 14_000, "{later}");
}

async fn keepalive(socket: &mut Socket) -> Value {
    loop {
        let (_, payload) = socket.frame().await.unwrap();
        if payload.starts_with(br#"{"type":"keepalive""#) {
            return serde_json::from_slice(&payload).unwrap();
        }
    }
}

#[actix_web::test]
async fn events_come_as_text_messages_with_their_number() {
    let harness = Harness::start().await;
    let mut socket = Socket::open(&harness, harness.ask(Role::Viewer, "GET", "/api/ws?types=session.update")).await;
    harness.events.publish(EventKind::GatewayStatus, json!({}));
    harness.events.publish(EventKind::SessionUpdate, json!({ "n": 1 }));
    let message = socket.message().await;
    assert_eq!((&message["type"], &message["data"]), (&json!("session.update"), &json!({ "n": 1 })));
    assert!(message["ts"].is_i64());
    let seen = message["id"].as_u64().unwrap();
    for n in 2..=500 {
        harness.events.publish(EventKind::SessionUpdate, json!({ "n": n }));
    }
    let path = format!("/api/ws?last_event_id={seen}");
    let mut back = Socket::open(&harness, harness.ask(Role::Viewer, "GET", &path)).await;
    for n in 2..=500 {
        let message = back.message().await;
        assert_eq!((message["id"].as_u64(), &message["data"]["n"]), (Some(seen + n - 1), &json!(n)));
    }
}

#[actix_web::test]
async fn an_id_that_cannot_be_served_is_answered_with_a_reset() {
    let harness = Harness::start().await;
    let mut socket = Socket::open(&harness, harness.admin("GET", "/api/ws?last_event_id=17")).await;
    let reset = socket.message().await;
    assert_eq!(reset["type"], "reset");
    assert!(reset["last_id"].as_u64().unwrap() > 1_000_000_000_000_000);
}

#[actix_web::test]
async fn audit_events_go_to_admins_only() {
    let harness = Harness::start().await;
    let mut viewer = Socket::open(&harness, harness.ask(Role::Viewer, "GET", "/api/ws")).await;
    let mut admin = Socket::open(&harness, harness.admin("GET", "/api/ws")).await;
    harness.events.publish(EventKind::Audit, json!({}));
    harness.events.publish(EventKind::SessionUpdate, json!({}));
    assert_eq!(viewer.message().await["type"], "session.update");
    assert_eq!(admin.message().await["type"], "audit");
    assert_eq!(admin.message().await["type"], "session.update");
}

#[actix_web::test]
async fn what_is_no_websocket_or_has_no_key_in_a_header_is_refused() {
    let harness = Harness::start().await;
    let plain = harness.send(harness.admin("GET", "/api/ws")).await;
    assert_eq!((plain.status.as_u16(), plain.error_code().as_str()), (400, "invalid_request"));
    let path = format!("/api/ws?api_key={}", harness.key(Role::Admin));
    let in_url = harness.send(upgrade(Ask::new("GET", &path))).await;
    assert_eq!((in_url.status.as_u16(), in_url.error_code().as_str()), (401, "unauthorized"));
    let unknown = harness.send(upgrade(harness.admin("GET", "/api/ws?types=nonsense"))).await;
    assert_eq!((unknown.status.as_u16(), unknown.error_code().as_str()), (400, "invalid_request"));
}

#[actix_web::test]
async fn a_browsers_socket_must_come_from_our_own_pages() {
    let harness = Harness::start().await;
    let login = Ask::new("POST", "/api/auth/login").json(json!({"api_key": harness.key(Role::Viewer)}));
    let answer = harness.send(login).await;
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let ask = |origin: &str| Ask::new("GET", "/api/ws").header("cookie", &cookie).header("origin", origin);
    let refused = harness.send(upgrade(ask("http://evil.example"))).await;
    assert_eq!((refused.status.as_u16(), refused.error_code().as_str()), (403, "cross_origin"));
    Socket::open(&harness, ask("http://127.0.0.1:3000")).await;
}

#[actix_web::test]
async fn a_client_is_pinged_and_closed_when_it_answers_no_ping() {
    let harness = Harness::start().await;
    let mut silent = Socket::open(&harness, harness.admin("GET", "/api/ws?types=gateway.primary")).await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    for _ in 0..2 {
        assert_eq!(silent.next().await, Some((PING, Vec::new())));
    }
    assert_eq!(silent.closed().await, (1002, "no pong for 45 s".to_owned()));
    let waited = started.elapsed();
    assert!(waited > Duration::from_secs(44) && waited < Duration::from_secs(46), "{waited:?}");
    let mut alive = Socket::open(&harness, harness.admin("GET", "/api/ws?types=gateway.primary")).await;
    for _ in 0..10 {
        assert_eq!(alive.next().await, Some((PING, Vec::new())));
        alive.send(PONG, b"");
    }
    assert!(started.elapsed() > Duration::from_secs(190));
}

#[actix_web::test]
async fn a_socket_ends_with_the_key_behind_it() {
    let harness = Harness::start().await;
    let (key, text) = harness.app.keys.create(&harness.store, "short", Role::Viewer, None).await.unwrap();
    let ask = Ask::new("GET", "/api/ws").header("x-api-key", text.expose());
    let mut socket = Socket::open(&harness, ask).await;
    harness.app.keys.revoke(&harness.store, key.id).await.unwrap();
    tokio::time::pause();
    assert_eq!(socket.closed().await.0, 1008);
}

#[actix_web::test]
async fn sockets_close_as_going_away_when_the_daemon_stops() {
    let harness = Harness::start().await;
    let mut socket = Socket::open(&harness, harness.admin("GET", "/api/ws")).await;
    harness.events.publish(EventKind::SessionUpdate, json!({}));
    harness.app.event_hub.send(EndStreams).await.unwrap();
    assert_eq!(socket.message().await["type"], "session.update", "what was queued is still sent");
    assert_eq!(socket.closed().await, (1001, "the daemon stops".to_owned()));
}

#[actix_web::test]
async fn what_clients_send_is_ignored_unless_it_is_too_large_or_no_frame() {
    let harness = Harness::start().await;
    let mut socket = Socket::open(&harness, harness.admin("GET", "/api/ws")).await;
    socket.send(TEXT, b"{\"type\":\"hello\"}");
    socket.send(2, &[0xff; 60_000]);
    socket.send(PING, b"are you there");
    assert_eq!(socket.next().await, Some((PONG, b"are you there".to_vec())));
    socket.send(TEXT, &[b'x'; 65_537]);
    assert_eq!(socket.closed().await.0, 1009);
    let mut socket = Socket::open(&harness, harness.admin("GET", "/api/ws")).await;
    socket.sender.send(Bytes::from_static(&[0x81, 0x01, b'x'])).unwrap();
    assert_eq!(socket.closed().await.0, 1002, "an unmasked frame");
    let mut socket = Socket::open(&harness, harness.admin("GET", "/api/ws")).await;
    socket.send(CLOSE, &[0x03, 0xe8]);
    assert_eq!(socket.closed().await, (1000, String::new()));
}

#[actix_web::test]
async fn a_slow_reader_is_told_what_it_lost_and_closed_when_it_stays_slow() {
    let harness = Harness::start().await;
    let mut slow = Socket::open(&harness, harness.admin("GET", "/api/ws?types=session.update")).await;
    let mut quick = Socket::open(&harness, harness.admin("GET", "/api/ws?types=session.update")).await;
    for round in 1..=4 {
        for n in 0..300 {
            harness.events.publish(EventKind::SessionUpdate, json!({ "n": n }));
            assert_eq!(quick.message().await["data"]["n"], n);
        }
        assert_eq!(slow.message().await, json!({ "type": "lagged", "dropped": 44 }));
        if round < 4 {
            for n in 44..300 {
                assert_eq!(slow.message().await["data"]["n"], n);
            }
        }
    }
    let (code, reason) = slow.closed().await;
    assert_eq!((code, reason.contains("176 events")), (1013, true), "{reason}");
}

#[actix_web::test]
async fn a_long_replay_is_handed_to_the_connection_in_batches() {
    let harness = Harness::start().await;
    let first = Socket::open(&harness, harness.admin("GET", "/api/ws")).await;
    harness.events.publish(EventKind::SessionUpdate, json!({}));
    drop(first);
    let mut probe = Socket::open(&harness, harness.admin("GET", "/api/ws?types=session.update")).await;
    harness.events.publish(EventKind::SessionUpdate, json!({}));
    let seen = probe.message().await["id"].as_u64().unwrap();
    for _ in 0..1_000 {
        harness.events.publish(EventKind::SessionUpdate, json!({ "text": "x".repeat(2_000) }));
    }
    let path = format!("/api/ws?last_event_id={seen}");
    let mut back = harness.exchange(upgrade(harness.admin("GET", &path)), futures_util::stream::pending()).await;
    let mut total = 0;
    while total < 2_000_000 {
        let piece = back.next_bytes().await.unwrap().len();
        assert!(piece <= 40 * 1024, "{piece} bytes at once");
        total += piece;
    }
}
