//! A small HTTP/1.1 client that sends exactly what it is told, well-formed or not, and shows the whole answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(40);

/// An answer as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON; null where it isn't.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The first header of this name (lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The status, else a panic that shows the body.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "unexpected answer: {}", self.text);
        self
    }
}

/// Sends one request and reads the answer to its end.
pub(crate) fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> io::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {to}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    // A machine that stood still between the connection and its request: the request has not begun.
    let mut answers = std::iter::repeat_with(|| raw(to, &bytes)).take(3);
    let is_late = |answer: &io::Result<Answer>| answer.as_ref().is_ok_and(|answer| answer.status == 408);
    answers.find(|answer| !is_late(answer)).unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends these bytes and reads whatever comes back as an answer.
pub(crate) fn raw(to: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    // a server may answer and close before it has read a body that is too large for it
    let sent = stream.write_all(bytes);
    let mut got = Vec::new();
    let read = stream.read_to_end(&mut got);
    match parse(&got) {
        Some(answer) => Ok(answer),
        None => Err(sent.and(read.map(drop)).err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = &bytes[at + 4..];
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let announced = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    if announced.is_some_and(|length: usize| body.len() < length) {
        return None;
    }
    let body = if is_chunked { unchunk(body)? } else { body.to_vec() };
    Some(Answer { status, headers, text: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let at = body.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..at]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        let start = at + 2;
        whole.extend_from_slice(body.get(start..start + size)?);
        body = body.get(start + size + 2..)?;
    }
}
