//! A WebSocket client of the daemon's event stream, in blocking code.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use super::daemon::PATIENCE;

/// An open socket.
#[derive(Debug)]
pub(crate) struct EventSocket(WebSocket<TcpStream>);

impl EventSocket {
    /// Opens a socket that must be let through.
    #[track_caller]
    pub(crate) fn open(to: SocketAddr, path: &str, key: &str) -> Self {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut request = format!("ws://{to}{path}").into_client_request().expect("a request");
        request.headers_mut().insert("x-api-key", key.parse().expect("a header"));
        Self(client(request, stream).expect("a handshake").0)
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Value {
        self.until(|message| message["type"] != "keepalive")
    }

    /// The next message of which this is true.
    #[track_caller]
    pub(crate) fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Message::Text(text) = self.read() {
                let message = serde_json::from_str(&text).expect("JSON");
                if is_it(&message) {
                    return message;
                }
            }
        }
    }

    #[track_caller]
    fn read(&mut self) -> Message {
        loop {
            match self.0.read() {
                // What was stopped for a while goes on like this.
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => return read.expect("a message"),
            }
        }
    }

    /// Sends a text.
    pub(crate) fn send(&mut self, text: &str) {
        // The other end may close before it has taken everything.
        let _ = self.0.send(Message::text(text));
    }

    /// Reads on until the daemon closes; its code and reason.
    #[track_caller]
    pub(crate) fn drain_to_end(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.read() {
                let frame = frame.expect("a reason");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }
}
