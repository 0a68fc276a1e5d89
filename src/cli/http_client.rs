//! A small HTTP client for commands: one request on a connection of its own, everything bounded. Blocking.

mod answer;
mod encryption;

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

pub(super) use self::answer::{Body, Head};
pub(super) use self::encryption::Trust;

/// Longest wait for a connection, and for each piece of an answer, unless a request says otherwise.
pub(super) const LIMIT: Duration = Duration::from_secs(15);
/// Longest wait for one address to take the connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest answer that is read as a whole, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    /// Tried in turn until one takes the connection.
    pub(super) to: &'a [SocketAddr],
    /// What stands in `Host`, and the name of the certificate; none: the first address.
    pub(super) host: Option<&'a str>,
    pub(super) trust: Trust<'a>,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Headers beside those of every request: the credential comes this way.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a Value>,
    /// Longest wait for each piece of the answer.
    pub(super) patience: Duration,
}

/// An answer that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.status
    }

    /// The body; null where it is no JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// What the bytes travel on.
trait Wire: Read + Write {}
impl<W: Read + Write> Wire for W {}

impl<'a> Request<'a> {
    /// A `GET` of this machine's own service, without a credential.
    pub(super) fn get(to: &'a [SocketAddr], path: &'a str) -> Self {
        Self { to, host: None, trust: Trust::Plain, method: "GET", path, headers: &[], body: None, patience: LIMIT }
    }

    /// Sends it and reads the whole answer.
    pub(super) fn send(&self) -> std::io::Result<Answer> {
        let (head, body) = self.open()?;
        let mut bytes = Vec::new();
        body.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST) {
            return Err(std::io::Error::other(format!("the answer is longer than {} MiB", LONGEST / 1024 / 1024)));
        }
        Ok(Answer { head, text: String::from_utf8_lossy(&bytes).into_owned() })
    }

    /// Sends it; the answer's body is still to be read.
    pub(super) fn open(&self) -> std::io::Result<(Head, Body)> {
        let stream = connect(self.to)?;
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        let mut wire: Box<dyn Wire> = match &self.trust {
            Trust::Plain => Box::new(stream),
            trust => {
                let peer = stream.peer_addr()?;
                Box::new(encryption::encrypted(trust, self.host, peer, stream)?)
            }
        };
        wire.write_all(&self.bytes()?)?;
        wire.flush()?;
        answer::read(BufReader::new(wire))
    }

    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let address = self.to.first().map(SocketAddr::to_string).unwrap_or_default();
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: gatewarden/{}\r\nConnection: close\r\n",
            self.method,
            self.path,
            self.host.unwrap_or(&address),
            env!("CARGO_PKG_VERSION"),
        );
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            text.push_str("Accept: application/json\r\n");
        }
        for (name, value) in self.headers {
            if value.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::InvalidInput,
                    format!("the value for the header {name} holds control characters"),
                ));
            }
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.map(Value::to_string).unwrap_or_default();
        if self.body.is_some() {
            text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(&body);
        Ok(text.into_bytes())
    }
}

fn connect(to: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no address to connect to");
    for address in to {
        match TcpStream::connect_timeout(address, CONNECT_LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
