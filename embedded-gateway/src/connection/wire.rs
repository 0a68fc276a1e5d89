//! A client's socket, and the two directions of the WebSocket on it: messages in, frames out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::ws::{CloseReason, OpCode, Parser};
use bytes::BytesMut;
use gatewarden_listener::{ClientSocket, MemoryBudget, MemoryPermit};
use gatewarden_protocol::message_reader::{FrameSender, MessageReader, ReadFault, WsMessage};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connection_limits::COUNTED_FROM;
use crate::outbound::UnreadShare;

/// Encoded frames up to this length are collected into one write, in bytes.
const BATCH: usize = 32 * 1024;
/// Memory that a message is given at first, in bytes.
const FIRST_RESERVE: usize = 4 * 1024;
/// Read from the socket at a time, in bytes.
const READ_AT_ONCE: usize = 8 * 1024;
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
const LINGER: Duration = Duration::from_secs(1);
/// Longest reason of a close frame (RFC 6455: 125 bytes with the code).
const MAX_REASON: usize = 123;

#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl ClientSocket for Socket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Encrypted(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Encrypted(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Encrypted(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Encrypted(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Encrypted(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// Why reading ended.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// The client hung up without a close frame, or the network did.
    Lost,
    /// The client broke the rules, or there are too many large messages at once, of all clients together.
    Fault(ReadFault<Overloaded>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overloaded;

pub(super) type Incoming = WsMessage<MemoryPermit>;

#[derive(Debug)]
pub(super) struct Receiver {
    half: ReadHalf<Socket>,
    source: BytesMut,
    reader: MessageReader<MemoryPermit>,
    cap: usize,
    budget: MemoryBudget,
}

/// What goes out. Cancelling a flush loses nothing: what wasn't written stays in the buffer.
#[derive(Debug)]
pub(super) struct Sender {
    half: WriteHalf<Socket>,
    buffer: BytesMut,
    shares: Vec<UnreadShare>,
}

/// A socket after its upgrade, with what had been read beyond the HTTP head.
pub(super) fn open(socket: Socket, early: BytesMut, cap: usize, budget: MemoryBudget) -> (Receiver, Sender) {
    let (read, write) = split(socket);
    let reader = MessageReader::new(FrameSender::Client, FIRST_RESERVE);
    let receiver = Receiver { half: read, source: early, reader, cap, budget };
    (receiver, Sender { half: write, buffer: BytesMut::new(), shares: Vec::new() })
}

impl Receiver {
    /// The next message or control frame. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Incoming, ReadEnd> {
        loop {
            let cover = |permit: &mut Option<MemoryPermit>, bytes: usize| {
                let is_small = bytes <= COUNTED_FROM;
                let fits = is_small || permit.get_or_insert_with(|| self.budget.empty_permit()).grow_to(bytes);
                if fits { Ok(()) } else { Err(Overloaded) }
            };
            if let Some(incoming) = self.reader.read(&mut self.source, self.cap, cover).map_err(ReadEnd::Fault)? {
                return Ok(incoming);
            }
            self.source.reserve(READ_AT_ONCE);
            let mut limited = (&mut self.half).take(READ_AT_ONCE as u64);
            match limited.read_buf(&mut self.source).await {
                Ok(0) | Err(_) => return Err(ReadEnd::Lost),
                Ok(_) => {}
            }
        }
    }

    pub(super) fn set_cap(&mut self, bytes: usize) {
        self.cap = bytes;
    }

    /// Gives the buffer's memory back when a large message has passed.
    pub(super) fn trim(&mut self) {
        if self.source.is_empty() && self.source.capacity() > 2 * READ_AT_ONCE {
            self.source = BytesMut::new();
        }
    }
}

impl Sender {
    /// Whether more may be encoded before the next flush.
    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() < BATCH
    }

    pub(super) fn text(&mut self, text: &str) {
        Parser::write_message(&mut self.buffer, text, OpCode::Text, true, false);
    }

    /// What was encoded last counts as unread until it is written.
    pub(super) fn keep_until_written(&mut self, share: UnreadShare) {
        self.shares.push(share);
    }

    pub(super) fn ping(&mut self) {
        Parser::write_message(&mut self.buffer, "", OpCode::Ping, true, false);
    }

    pub(super) fn pong(&mut self, payload: &[u8]) {
        Parser::write_message(&mut self.buffer, payload, OpCode::Pong, true, false);
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        // Looked at first: what is written is no part of the capacity any more, and takes memory all the same.
        let is_large = self.buffer.capacity() > 2 * BATCH;
        while !self.buffer.is_empty() {
            if self.half.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        if is_large {
            self.buffer = BytesMut::new();
        }
        self.shares = Vec::new();
        self.half.flush().await
    }
}

/// Says why, waits a moment for the client to answer, and closes. None: the code of a client that gave none.
pub(super) async fn close(mut receiver: Receiver, mut sender: Sender, code: Option<u16>, reason: &str) {
    let reason = code.map(|code| CloseReason { code: code.into(), description: shortened(reason) });
    Parser::write_close(&mut sender.buffer, reason, false);
    let sent = tokio::time::timeout(CLOSE_WITHIN, async {
        sender.flush().await?;
        sender.half.shutdown().await
    });
    if matches!(sent.await, Ok(Ok(()))) {
        // Closing with unread input would reset the connection, and the client could lose the frame that says why.
        let rest = async {
            let mut sink = [0_u8; 1024];
            while matches!(receiver.half.read(&mut sink).await, Ok(count) if count > 0) {}
        };
        let _ = tokio::time::timeout(LINGER, rest).await;
    } else {
        drop_now(receiver, sender);
    }
}

pub(super) fn drop_now(receiver: Receiver, sender: Sender) {
    receiver.half.unsplit(sender.half).discard_when_closed();
}

fn shortened(reason: &str) -> Option<String> {
    let end = reason.floor_char_boundary(MAX_REASON);
    reason.get(..end).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let cut = shortened(&"ä".repeat(100)).unwrap();
        assert_eq!(cut.len(), 122);
        assert_eq!(shortened(""), None);
    }
}
