//! Two clients without anything between them and the bytes: one HTTP connection kept open, one WebSocket to a gateway.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::support::daemon::ADMIN_KEY;

/// One HTTP connection to the daemon, used again and again.
pub(crate) struct Rest {
    to: SocketAddr,
    stream: TcpStream,
    got: Vec<u8>,
}

impl Rest {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("connected");
        stream.set_nodelay(true).expect("a plain option");
        Self { to, stream, got: Vec::new() }
    }

    /// One request and its answer: status and body.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {ADMIN_KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.to,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).expect("sent");
        self.got.clear();
        let mut buffer = [0; 64 * 1024];
        loop {
            let count = self.stream.read(&mut buffer).expect("an answer");
            assert!(count > 0, "the daemon closed the connection");
            self.got.extend_from_slice(&buffer[..count]);
            let Some(end) = self.got.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.got[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|value| value.trim().parse().ok()).expect("a length");
            if self.got.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
                return (status, String::from_utf8_lossy(&self.got[end + 4..]).into_owned());
            }
        }
    }
}

/// One WebSocket straight to a gateway that lets everybody in.
pub(crate) struct Straight {
    socket: WebSocket<TcpStream>,
    asked: u64,
}

impl Straight {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_nodelay(true).expect("a plain option");
        let (socket, _) = client(format!("ws://127.0.0.1:{port}/"), stream).expect("upgraded");
        let mut straight = Self { socket, asked: 0 };
        let challenge = straight.next();
        assert_eq!(challenge["event"], "connect.challenge");
        let hello = straight.ask(
            "connect",
            &json!({
                "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.admin"], "caps": [],
                "client": {"id": "cli", "mode": "cli", "version": "1", "platform": "linux"}, "auth": {},
            }),
        );
        assert_eq!(hello["ok"], true, "{hello}");
        straight
    }

    fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.socket.read().expect("a message") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    /// One request and its first reply; events and later replies are passed over.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.asked += 1;
        let id = format!("s-{}", self.asked);
        let request = json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        self.socket.send(Message::text(request)).expect("sent");
        loop {
            let frame = self.next();
            if frame["id"] == id.as_str() {
                return frame;
            }
        }
    }
}
