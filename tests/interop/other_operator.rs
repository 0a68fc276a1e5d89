//! Somebody else who is connected to a real gateway: makes sessions and runs there that the daemon has not asked for, and
//! hears what the gateway itself says.

use std::net::TcpStream;
use std::time::Duration;

use gatewarden_protocol::DeviceIdentity;
use gatewarden_protocol::signing::{SignatureVersion, SignedFields};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::peer::Peer;

/// Any answer and any expected event comes within this.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection as `gateway-client` with a device, which keeps its scopes on every release.
#[derive(Debug)]
pub(crate) struct OtherOperator {
    socket: WebSocket<TcpStream>,
    next_id: u32,
    heard: Vec<Value>,
}

impl OtherOperator {
    /// Connects and logs in.
    pub(crate) fn connect(peer: &Peer) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", peer.port)).expect("the gateway listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let (socket, _) = client(format!("ws://127.0.0.1:{}/", peer.port), stream).expect("a WebSocket");
        let mut operator = Self { socket, next_id: 0, heard: Vec::new() };
        let challenge = operator.until_event("the challenge", |event| event["event"] == "connect.challenge");
        let identity = DeviceIdentity::from_seed(&[7; 32]);
        let scopes = ["operator.admin", "operator.read", "operator.write"].map(str::to_owned);
        let signed_at_ms = challenge["payload"]["ts"].as_i64().expect("the challenge has a time");
        let nonce = challenge["payload"]["nonce"].as_str().expect("the challenge has a nonce");
        let signed = SignedFields {
            device_id: identity.device_id(),
            client_id: "gateway-client",
            client_mode: "backend",
            role: "operator",
            scopes: &scopes,
            signed_at_ms,
            token: &peer.token,
            nonce,
            platform: "linux",
            device_family: "",
        };
        let signature = identity.sign(&signed.payload(SignatureVersion::V2));
        operator.call(
            "connect",
            json!({
                "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": scopes, "auth": { "token": peer.token },
                "client": { "id": "gateway-client", "mode": "backend", "version": "1.0.0", "platform": "linux",
                    "displayName": "somebody else" },
                "device": { "id": identity.device_id(), "publicKey": identity.public_key(), "signature": signature,
                    "signedAt": signed_at_ms, "nonce": nonce },
            }),
        );
        operator
    }

    /// Calls a method that the gateway must answer well; its payload. Of two answers the first.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = format!("other-{}", self.next_id);
        let frame = json!({ "type": "req", "id": id, "method": method, "params": params });
        self.socket.send(Message::text(frame.to_string())).expect("the gateway takes frames");
        loop {
            let frame = self.frame();
            if frame["type"] == "res" && frame["id"] == id.as_str() {
                assert_eq!(frame["ok"], true, "{method} was refused: {frame}");
                return frame["payload"].clone();
            }
        }
    }

    /// Waits for an event, also among those that came before.
    #[track_caller]
    pub(crate) fn until_event(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(heard) = self.heard.iter().find(|event| wanted(event)) {
            return heard.clone();
        }
        let watch = crate::support::wait::Stopwatch::start();
        while watch.elapsed() < LIMIT {
            let frame = self.frame();
            if frame["type"] == "event" && wanted(&frame) {
                return frame;
            }
        }
        panic!("not heard of within {LIMIT:?}: {what}");
    }

    /// The next frame. Events are kept.
    fn frame(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.socket.read().expect("a frame in time") {
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                if frame["type"] == "event" {
                    self.heard.push(frame.clone());
                }
                return frame;
            }
        }
    }
}
