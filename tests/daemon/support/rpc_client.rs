//! A client of document 004's dialect, in blocking code: `auth`, then calls without a frame type, and events with `data`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use super::daemon::PATIENCE;

/// An open socket.
#[derive(Debug)]
pub(crate) struct RpcClient<S = TcpStream> {
    socket: WebSocket<S>,
    next_id: u32,
    events: Vec<Value>,
}

impl RpcClient {
    /// Connects and shows the token; what the gateway answers to that.
    #[track_caller]
    pub(crate) fn open(to: SocketAddr, token: &str) -> (Self, Value) {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self::over(stream, &format!("ws://{to}/"), token)
    }
}

impl<S: Read + Write> RpcClient<S> {
    /// The same over a connection that there is already, to this address.
    #[track_caller]
    pub(crate) fn over(stream: S, address: &str, token: &str) -> (Self, Value) {
        let (socket, _) = client(address, stream).expect("a handshake");
        let mut opened = Self { socket, next_id: 0, events: Vec::new() };
        let answer = opened.ask("auth", json!({ "token": token }));
        (opened, answer)
    }

    /// Calls a method; the whole answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = format!("rpc-{}", self.next_id);
        let frame = json!({ "id": id, "method": method, "params": params });
        self.socket.send(Message::text(frame.to_string())).expect("the gateway takes frames");
        loop {
            let frame = self.frame();
            if frame["id"] == id.as_str() {
                return frame;
            }
            self.events.push(frame);
        }
    }

    /// Calls a method that must succeed; its result.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params);
        assert!(answer["error"].is_null(), "{method} was refused: {answer}");
        answer["result"].clone()
    }

    /// Waits for an event, also among those that came before.
    #[track_caller]
    pub(crate) fn event(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name && wanted(&event["data"])) {
                return self.events.remove(at)["data"].take();
            }
            let frame = self.frame();
            self.events.push(frame);
        }
    }

    #[track_caller]
    fn frame(&mut self) -> Value {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return serde_json::from_str(&text).expect("JSON"),
                // What was stopped for a while goes on like this.
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => drop(read.expect("a frame in time")),
            }
        }
    }
}
