//! Between a client's socket and actix-http: hands over what may be read, and watches whether the client takes what is written.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::{Allowance, BeingServed, Connection, WhyEnded};
use crate::connections::Place;
use crate::socket::ClientSocket;

/// Read at a time.
const AT_ONCE: usize = 8 * 1024;
/// Read ahead while a request is served: that a client has gone shows only when one reads.
const AHEAD: usize = 1024;

/// Longest head of a request, bytes: actix-http would gather eight times as much for each stranger.
const MAX_HEAD: usize = 16 * 1024;
/// What a client is told, as far as it still reads, before its connection ends for a longer one.
const HEAD_TOO_LONG: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A client's connection with its place.
#[derive(Debug)]
pub struct GuardedStream<S: ClientSocket> {
    socket: S,
    place: Place,
    /// Read, and not handed over yet.
    held: BytesMut,
    head: HeadEnd,
    /// Bytes of the present head so far.
    head_bytes: usize,
    /// A head is complete: the next one is not for this round.
    is_round_over: bool,
    is_write_blocked: bool,
    is_at_end: bool,
}

impl<S: ClientSocket> GuardedStream<S> {
    /// Over this socket.
    pub fn new(socket: S, place: Place) -> Self {
        Self {
            socket,
            place,
            held: BytesMut::new(),
            head: HeadEnd::default(),
            head_bytes: 0,
            is_round_over: false,
            is_write_blocked: false,
            is_at_end: false,
        }
    }

    /// What the middleware needs of it.
    pub fn connection(&self) -> &Arc<Connection> {
        self.place.connection()
    }

    /// What is underneath.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The bare socket, for a protocol that has rules of its own; with what was read and not handed over, and the place.
    pub fn into_parts(self) -> (S, BytesMut, Occupied) {
        let serving = self.place.connection().begin();
        if self.is_write_blocked {
            self.place.unblocked();
        }
        (self.socket, self.held, Occupied { _serving: serving, _place: self.place })
    }

    fn check(&self) -> io::Result<()> {
        match self.place.connection().why_ended() {
            None => Ok(()),
            Some(why) => {
                self.socket.discard_when_closed();
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, why.as_str()))
            }
        }
    }

    /// Reads into `buf` from what is held or from the socket, at most `limit` bytes. Not beyond the end of a head, where one may be
    /// among them (`has_heads`).
    fn hand_over(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        limit: usize,
        has_heads: bool,
    ) -> Poll<io::Result<usize>> {
        let given = if self.held.is_empty() {
            if self.is_at_end {
                return Poll::Ready(Ok(0));
            }
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(limit.min(AT_ONCE).min(buf.remaining())));
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut part))?;
            let read = part.filled();
            self.is_at_end = read.is_empty();
            let end = if has_heads { self.head.find(read) } else { None };
            let given = end.unwrap_or(read.len());
            self.is_round_over = end.is_some();
            self.held.extend_from_slice(read.get(given..).unwrap_or_default());
            buf.advance(given);
            given
        } else {
            let part = self.held.get(..limit.min(self.held.len()).min(buf.remaining())).unwrap_or_default();
            let end = if has_heads { self.head.find(part) } else { None };
            let given = end.unwrap_or(part.len());
            self.is_round_over = end.is_some();
            buf.put_slice(part.get(..given).unwrap_or_default());
            self.held.advance(given);
            if self.held.is_empty() {
                self.held = BytesMut::new();
            }
            given
        };
        Poll::Ready(Ok(given))
    }

    /// Ends the connection where a head grows too long.
    fn count_head(&mut self, cx: &mut Context<'_>, bytes: usize) -> io::Result<()> {
        let length = self.head_bytes.saturating_add(bytes);
        self.head_bytes = if self.is_round_over { 0 } else { length };
        if length <= MAX_HEAD {
            return Ok(());
        }
        let _ = Pin::new(&mut self.socket).poll_write(cx, HEAD_TOO_LONG);
        self.place.end(WhyEnded::HeadTooLong);
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, WhyEnded::HeadTooLong.as_str()))
    }

    /// Reads a little that is not handed over yet, to see whether the client is still there.
    fn look_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < AHEAD && !self.is_at_end {
            let mut bytes = [0_u8; AHEAD];
            let mut part = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.socket).poll_read(cx, &mut part) {
                Poll::Pending => break,
                Poll::Ready(read) => read?,
            }
            self.is_at_end = part.filled().is_empty();
            self.held.extend_from_slice(part.filled());
        }
        if self.is_at_end && self.held.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn note_held(&self) {
        self.place.connection().holds_back.store(!self.held.is_empty() || self.is_at_end, Ordering::Relaxed);
    }
}

/// A place that is taken for as long as this lives.
#[derive(Debug)]
pub struct Occupied {
    _serving: BeingServed,
    _place: Place,
}

impl<S: ClientSocket> AsyncRead for GuardedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let connection = this.place.connection().clone();
        connection.register(cx.waker());
        this.check()?;
        // Whoever takes no answers has no questions. When the write goes on, this is called again.
        if this.is_write_blocked || buf.remaining() == 0 {
            return Poll::Pending;
        }
        if std::mem::take(&mut this.is_round_over) {
            let looked = this.look_ahead(cx);
            this.note_held();
            if looked.is_pending() && (!this.held.is_empty() || this.is_at_end) {
                // Whether it may be handed over is seen in the next round, once this head has become a request, or has not.
                cx.waker().wake_by_ref();
            }
            return looked;
        }
        let handed = match connection.allowance() {
            Allowance::Head => {
                let handed = this.hand_over(cx, buf, usize::MAX, true);
                match handed {
                    Poll::Ready(Ok(bytes @ 1..)) => {
                        this.place.received();
                        this.count_head(cx, bytes)?;
                    }
                    Poll::Pending => connection.looked_in_vain(),
                    Poll::Ready(_) => {}
                }
                handed
            }
            Allowance::Body { most: 0, .. } => {
                let looked = this.look_ahead(cx);
                this.note_held();
                return looked;
            }
            Allowance::Rest(most) => {
                let handed = this.hand_over(cx, buf, most, false);
                if let Poll::Ready(Ok(bytes @ 1..)) = handed {
                    this.place.received();
                    connection.took_of_body(bytes);
                }
                handed
            }
            // Behind a body of unknown length the next head may come.
            Allowance::Body { most, measured } => {
                let handed = this.hand_over(cx, buf, most, !measured);
                if let Poll::Ready(Ok(bytes)) = handed {
                    connection.took_of_body(bytes);
                }
                handed
            }
        };
        this.note_held();
        handed.map_ok(drop)
    }
}

impl<S: ClientSocket> GuardedStream<S> {
    /// Keeps the account of what waits for the client. `offered` bytes are in the hands of the caller.
    fn watch<T>(&mut self, offered: usize, cx: &Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let connection = self.place.connection();
        match &polled {
            Poll::Pending if !self.is_write_blocked => {
                self.is_write_blocked = true;
                connection.register(cx.waker());
                self.place.blocked(offered);
                self.check()?;
            }
            Poll::Ready(_) if self.is_write_blocked => {
                self.is_write_blocked = false;
                self.place.unblocked();
            }
            Poll::Pending => connection.register(cx.waker()),
            Poll::Ready(_) => {}
        }
        polled
    }
}

impl<S: ClientSocket> AsyncWrite for GuardedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        let polled = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.watch(bytes.len(), cx, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        let polled = Pin::new(&mut this.socket).poll_flush(cx);
        this.watch(0, cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// Follows the bytes of one head after another: where a head ends, as the parser of actix-http sees it. That is at the first
/// empty line, with or without carriage returns; empty lines before the request line don't count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum HeadEnd {
    /// Nothing but empty lines so far.
    #[default]
    Before,
    /// Within a line.
    Line,
    /// A line has just ended.
    NewLine,
    /// A carriage return stands at the start of a line.
    Return,
}

impl HeadEnd {
    /// How many of these bytes belong to the present head, where it ends among them; the next head begins behind.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            *self = match (*self, byte) {
                (Self::Before, b'\r' | b'\n') => Self::Before,
                (Self::NewLine | Self::Return, b'\n') => {
                    *self = Self::Before;
                    return Some(at + 1);
                }
                (Self::NewLine, b'\r') => Self::Return,
                (_, b'\n') => Self::NewLine,
                _ => {
                    let to_line_end = bytes.get(at..).and_then(|rest| memchr(b'\n', rest));
                    match to_line_end {
                        Some(distance) => {
                            at += distance;
                            Self::NewLine
                        }
                        None => {
                            *self = Self::Line;
                            return None;
                        }
                    }
                }
            };
            at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests;
