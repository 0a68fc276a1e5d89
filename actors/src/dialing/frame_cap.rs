//! Reads WebSocket frames under a cap that holds before a frame is buffered.
//!
//! The frame parser of actix-http waits for a whole frame before it compares the length, and reserves what the peer announces;
//! so reading is done here: the header decides, and memory grows with the bytes that came, never with those announced. Writing
//! (masking, close frames) is left to actix-http's codec.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use gatewarden_protocol::frame_header::{FrameHeader, FrameSender, Opcode};

use super::Held;
use super::Incoming;
use super::failure::SocketError;
use super::memory_budget::{COUNTED_FROM, MemoryAccount, MemoryPermit};

/// Largest message before the connect reply: real gateways apply the same to us.
pub const CAP_BEFORE_CONNECT: usize = 64 * 1024;

/// Memory that a message is given at first.
const FIRST_RESERVE: usize = 16 * 1024;

/// How large a message may be, in bytes; shared between a socket and whoever owns it.
#[derive(Debug, Clone)]
pub struct FrameCap(Arc<AtomicUsize>);

impl FrameCap {
    /// The cap of a connection that isn't authenticated yet.
    pub fn before_connect() -> Self {
        Self(Arc::new(AtomicUsize::new(CAP_BEFORE_CONNECT)))
    }

    /// The cap now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes the cap; counts from the next frame header on.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// A text or binary message under way.
#[derive(Debug)]
struct Message {
    kind: Kind,
    content: Vec<u8>,
    /// Bytes announced by the headers so far.
    announced: usize,
    /// Bytes of the present frame that are still to come; none between two frames.
    missing: Option<usize>,
    /// Whether the present frame is the last one.
    is_final: bool,
    permit: Option<MemoryPermit>,
}

/// Turns bytes into messages. After an error nothing more must be read from it.
#[derive(Debug)]
pub struct FrameReader {
    cap: FrameCap,
    memory: MemoryAccount,
    message: Option<Message>,
}

impl FrameReader {
    /// A reader at the start of the stream of frames.
    pub fn new(cap: FrameCap, memory: MemoryAccount) -> Self {
        Self { cap, memory, message: None }
    }

    /// Bytes held for a message that isn't whole yet.
    pub fn held_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.content.capacity())
    }

    /// Takes what it can from `source`: the next message, or nothing while it isn't whole. What stays in `source` is at most
    /// an incomplete header or control frame.
    ///
    /// # Errors
    /// Too large, too much at once, or a broken protocol.
    pub fn read(&mut self, source: &mut BytesMut) -> Result<Option<Incoming>, SocketError> {
        loop {
            if self.message.as_ref().is_some_and(|message| message.missing.is_some()) {
                match self.fill(source)? {
                    Filled::NeedsMore => return Ok(None),
                    Filled::Frame => continue,
                    Filled::Whole(message) => return Ok(Some(message)),
                }
            }
            let header = FrameHeader::read(source, FrameSender::Server)
                .map_err(|broken| SocketError::Protocol { reason: broken.0 })?;
            let Some(header) = header else { return Ok(None) };
            match header.opcode {
                Opcode::Text | Opcode::Binary => {
                    source.advance(header.header_length);
                    let kind = if header.opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
                    self.begin(kind, header)?;
                }
                Opcode::Continuation => {
                    source.advance(header.header_length);
                    self.proceed(header)?;
                }
                Opcode::Close | Opcode::Ping | Opcode::Pong => {
                    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
                    if source.len().saturating_sub(header.header_length) < length {
                        return Ok(None);
                    }
                    source.advance(header.header_length);
                    let payload = Bytes::copy_from_slice(&source.split_to(length));
                    return control(header.opcode, payload).map(Some);
                }
            }
        }
    }

    fn begin(&mut self, kind: Kind, header: FrameHeader) -> Result<(), SocketError> {
        if self.message.is_some() {
            return Err(SocketError::Protocol { reason: "a new message began inside another one" });
        }
        let length = self.admit(0, header.length)?;
        self.message = Some(Message {
            kind,
            content: Vec::new(),
            announced: length,
            missing: Some(length),
            is_final: header.is_final,
            permit: None,
        });
        Ok(())
    }

    fn proceed(&mut self, header: FrameHeader) -> Result<(), SocketError> {
        let so_far = self.message.as_ref().map(|message| message.announced);
        let so_far = so_far.ok_or(SocketError::Protocol { reason: "a continuation without a beginning" })?;
        let length = self.admit(so_far, header.length)?;
        if let Some(message) = &mut self.message {
            message.announced = so_far.saturating_add(length);
            message.missing = Some(length);
            message.is_final = header.is_final;
        }
        Ok(())
    }

    /// The length of a frame that may come on top of `so_far`.
    fn admit(&self, so_far: usize, length: u64) -> Result<usize, SocketError> {
        let cap = self.cap.get();
        let announced = u64::try_from(so_far).unwrap_or(u64::MAX).saturating_add(length);
        match usize::try_from(announced) {
            Ok(sum) if sum <= cap => Ok(sum.saturating_sub(so_far)),
            _ => Err(SocketError::FrameTooLarge { announced, cap }),
        }
    }

    /// Moves what came of the present frame into the message.
    fn fill(&mut self, source: &mut BytesMut) -> Result<Filled, SocketError> {
        let Some(message) = &mut self.message else { return Ok(Filled::NeedsMore) };
        let missing = message.missing.unwrap_or(0);
        let part = source.split_to(missing.min(source.len()));
        reserve(message, part.len(), &self.memory)?;
        message.content.extend_from_slice(&part);
        let missing = missing - part.len();
        if missing > 0 {
            message.missing = Some(missing);
            return Ok(Filled::NeedsMore);
        }
        message.missing = None;
        if !message.is_final {
            return Ok(Filled::Frame);
        }
        match self.message.take() {
            Some(message) => deliver(message).map(Filled::Whole),
            None => Ok(Filled::NeedsMore),
        }
    }
}

enum Filled {
    /// The frame isn't whole.
    NeedsMore,
    /// The frame is whole, the message isn't.
    Frame,
    /// The message is whole.
    Whole(Incoming),
}

/// Makes room for `more` bytes, doubling up to what was announced, and has it covered where it is more than a little.
fn reserve(message: &mut Message, more: usize, memory: &MemoryAccount) -> Result<(), SocketError> {
    let needed = message.content.len() + more;
    if needed <= message.content.capacity() {
        return Ok(());
    }
    let room = message.content.capacity().saturating_mul(2).max(FIRST_RESERVE).min(message.announced).max(needed);
    if room > COUNTED_FROM {
        let permit = message.permit.get_or_insert_with(|| memory.permit());
        permit.grow_to(room).map_err(SocketError::OutOfMemory)?;
    }
    message.content.reserve_exact(room - message.content.len());
    Ok(())
}

fn deliver(message: Message) -> Result<Incoming, SocketError> {
    match message.kind {
        Kind::Binary => Ok(Incoming::Binary(Held::new(Bytes::from(message.content), message.permit))),
        Kind::Text => String::from_utf8(message.content)
            .map(|text| Incoming::Text(Held::new(text, message.permit)))
            .map_err(|_| SocketError::Protocol { reason: "a text message that is not UTF-8" }),
    }
}

fn control(opcode: Opcode, payload: Bytes) -> Result<Incoming, SocketError> {
    match opcode {
        Opcode::Ping => Ok(Incoming::Ping(payload)),
        Opcode::Pong => Ok(Incoming::Pong(payload)),
        _ => match payload.split_first_chunk::<2>() {
            // The reason is for people: a broken one is shown as far as it goes instead of hiding the code.
            Some((code, reason)) => Ok(Incoming::Close {
                code: Some(u16::from_be_bytes(*code)),
                reason: String::from_utf8_lossy(reason).into_owned(),
            }),
            None if payload.is_empty() => Ok(Incoming::Close { code: None, reason: String::new() }),
            None => Err(SocketError::Protocol { reason: "a close frame with half a code" }),
        },
    }
}

#[cfg(test)]
mod tests;
