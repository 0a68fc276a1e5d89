//! The server side of a WebSocket with nothing between the test and the bytes: frames may be cut, lied about, split or
//! trickled, and nothing is answered by itself.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest message that the scripted gateway takes from a client.
const MAX_INCOMING: usize = 32 * 1024 * 1024;

/// How bytes leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as the socket takes them.
    Full,
    /// Each write waits first.
    Delayed(Duration),
    /// One byte at a time, each after this.
    Trickle(Duration),
}

/// What a client sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// A whole text or binary message.
    Message(Vec<u8>),
    /// A ping with its payload.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// A close frame: code and reason.
    Close(Option<u16>, String),
    /// The end of the stream, or an error on it.
    End,
}

/// A connection, before and after its upgrade.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    partial: Vec<u8>,
    /// How bytes leave; may be changed at any time.
    pub(crate) pace: Pace,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, pace: Pace) -> Self {
        Self { stream, buffer: Vec::new(), partial: Vec::new(), pace }
    }

    /// Writes raw bytes at the set pace.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.pace {
            Pace::Full => self.stream.write_all(bytes).await,
            Pace::Delayed(wait) => {
                tokio::time::sleep(wait).await;
                self.stream.write_all(bytes).await
            }
            Pace::Trickle(gap) => {
                for byte in bytes {
                    tokio::time::sleep(gap).await;
                    self.stream.write_all(&[*byte]).await?;
                }
                Ok(())
            }
        }
    }

    /// One unfragmented text message.
    pub(crate) async fn text(&mut self, text: &str) -> io::Result<()> {
        let mut bytes = header(0x1, true, text.len() as u64);
        bytes.extend_from_slice(text.as_bytes());
        self.write(&bytes).await
    }

    /// One text message in pieces of at most `piece` bytes, with a ping between the first two.
    pub(crate) async fn fragmented(&mut self, text: &str, piece: usize) -> io::Result<()> {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece.max(1)).collect();
        for (index, bytes) in pieces.iter().enumerate() {
            let mut frame = header(if index == 0 { 0x1 } else { 0x0 }, index + 1 == pieces.len(), bytes.len() as u64);
            frame.extend_from_slice(bytes);
            self.write(&frame).await?;
            if index == 0 {
                self.write(&[0x89, 0x00]).await?;
            }
        }
        Ok(())
    }

    /// A frame header alone: announces a text message of `length` bytes.
    pub(crate) async fn announce(&mut self, length: u64) -> io::Result<()> {
        self.write(&header(0x1, true, length)).await
    }

    /// Pings the client.
    pub(crate) async fn ping(&mut self) -> io::Result<()> {
        self.write(&[0x89, 0x00]).await
    }

    /// Answers a ping.
    pub(crate) async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut bytes = header(0xA, true, payload.len() as u64);
        bytes.extend_from_slice(payload);
        self.write(&bytes).await
    }

    /// Sends a close frame, its reason cut at 123 bytes as real gateways do, and ends the stream.
    pub(crate) async fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        let cut = (0..=reason.len().min(123)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        let mut bytes = header(0x8, true, 2 + cut as u64);
        bytes.extend_from_slice(&code.to_be_bytes());
        bytes.extend_from_slice(&reason.as_bytes()[..cut]);
        self.write(&bytes).await?;
        self.end().await
    }

    /// Ends our half of the stream.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Drops the connection so that the client sees a reset.
    pub(crate) fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    /// Reads up to and including the blank line of a request; the rest stays for [`Wire::body`] or [`Wire::next`].
    pub(crate) async fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.buffer.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
                // what a web server says to a TLS greeting on a plain port
                let _ = self.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.buffer.len() > 64 * 1024 || self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads a request body of known length.
    pub(crate) async fn body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// The next frame of the client, fragments joined. May be dropped while it waits without losing bytes.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            if let Some(incoming) = self.take_frame() {
                return incoming;
            }
            match self.fill().await {
                Ok(0) | Err(_) => return Incoming::End,
                Ok(_) if self.buffer.len() > MAX_INCOMING => return Incoming::End,
                Ok(_) => {}
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    fn take_frame(&mut self) -> Option<Incoming> {
        loop {
            let [first, second, ..] = *self.buffer.as_slice() else { return None };
            let (length, offset) = match second & 0x7f {
                126 => (usize::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().ok()?)), 4),
                127 => (usize::try_from(u64::from_be_bytes(self.buffer.get(2..10)?.try_into().ok()?)).ok()?, 10),
                short => (usize::from(short), 2),
            };
            if second & 0x80 == 0 {
                // a client must mask: treat anything else as the end, so that a test notices
                return Some(Incoming::End);
            }
            let mask: [u8; 4] = self.buffer.get(offset..offset + 4)?.try_into().ok()?;
            let start = offset + 4;
            let mut payload = self.buffer.get(start..start + length)?.to_vec();
            for (index, byte) in payload.iter_mut().enumerate() {
                *byte ^= mask[index % 4];
            }
            self.buffer.drain(..start + length);
            match first & 0x0f {
                0x0..=0x2 => {
                    self.partial.extend_from_slice(&payload);
                    if first & 0x80 != 0 {
                        return Some(Incoming::Message(std::mem::take(&mut self.partial)));
                    }
                }
                0x8 => {
                    let code = payload.get(..2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
                    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                    return Some(Incoming::Close(code, reason));
                }
                0x9 => return Some(Incoming::Ping(payload)),
                _ => return Some(Incoming::Pong),
            }
        }
    }
}

fn header(opcode: u8, last: bool, length: u64) -> Vec<u8> {
    let mut bytes = vec![if last { 0x80 | opcode } else { opcode }];
    match length {
        0..=125 => bytes.push(u8::try_from(length).expect("small")),
        126..=0xffff => {
            bytes.push(126);
            bytes.extend_from_slice(&u16::try_from(length).expect("checked").to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}
