//! Reads a client's WebSocket frames under a cap that holds before a frame is buffered.
//!
//! The parser of actix-http waits for a whole frame before it compares the length, and reserves what the peer announces; so
//! reading is done here: the header decides, and memory grows with the bytes that came, never with those announced. (The daemon
//! reads the frames of gateways by the same rules.)

use bytes::{Buf, Bytes, BytesMut};
use gatewarden_protocol::frame_header::{FrameHeader, FrameSender, Opcode};

use crate::connection_limits::{COUNTED_FROM, MemoryBudget, MemoryPermit};

/// Memory that a message is given at first.
const FIRST_RESERVE: usize = 4 * 1024;

#[derive(Debug)]
pub(super) enum Incoming {
    /// A text or binary message: real gateways read both alike.
    Message(Held),
    Ping(Bytes),
    Pong,
    Close(Option<u16>),
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    _permit: Option<MemoryPermit>,
}

/// Why a connection can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameFault {
    #[error("a message of {announced} bytes or more, where {cap} are allowed")]
    TooLarge { announced: u64, cap: usize },
    /// Too many large messages at once, of all clients together.
    #[error("too many large messages at once")]
    Overloaded,
    /// Against RFC 6455.
    #[error("{0}")]
    Protocol(&'static str),
}

#[derive(Debug)]
struct Message {
    is_text: bool,
    content: Vec<u8>,
    /// Bytes announced by the headers so far.
    announced: usize,
    /// Of the present frame: bytes still to come, and bytes that came (which is where its mask stands). None between two frames.
    frame: Option<FramePart>,
    is_final: bool,
    permit: Option<MemoryPermit>,
}

#[derive(Debug, Clone, Copy)]
struct FramePart {
    missing: usize,
    came: usize,
    mask: [u8; 4],
}

/// Turns bytes into messages. After a fault nothing more must be read from it.
#[derive(Debug)]
pub(super) struct FrameReader {
    cap: usize,
    budget: MemoryBudget,
    message: Option<Message>,
}

impl FrameReader {
    pub(super) fn new(cap: usize, budget: MemoryBudget) -> Self {
        Self { cap, budget, message: None }
    }

    /// Changes the cap; counts from the next frame header on.
    pub(super) fn set_cap(&mut self, bytes: usize) {
        self.cap = bytes;
    }

    /// Takes what it can from `source`: the next message, or nothing while it isn't whole. What stays in `source` is at most an
    /// incomplete header or control frame.
    pub(super) fn read(&mut self, source: &mut BytesMut) -> Result<Option<Incoming>, FrameFault> {
        loop {
            if self.message.as_ref().is_some_and(|message| message.frame.is_some()) {
                match self.fill(source)? {
                    Filled::NeedsMore => return Ok(None),
                    Filled::Frame => continue,
                    Filled::Whole(message) => return Ok(Some(message)),
                }
            }
            let header =
                FrameHeader::read(source, FrameSender::Client).map_err(|broken| FrameFault::Protocol(broken.0))?;
            let Some(header) = header else { return Ok(None) };
            match header.opcode {
                Opcode::Text | Opcode::Binary => {
                    source.advance(header.header_length);
                    self.begin(header)?;
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
                    let mut payload = source.split_to(length);
                    unmask(&mut payload, header.mask, 0);
                    return control(header.opcode, &payload).map(Some);
                }
            }
        }
    }

    fn begin(&mut self, header: FrameHeader) -> Result<(), FrameFault> {
        if self.message.is_some() {
            return Err(FrameFault::Protocol("a new message began inside another one"));
        }
        let length = self.admit(0, header.length)?;
        self.message = Some(Message {
            is_text: header.opcode == Opcode::Text,
            content: Vec::new(),
            announced: length,
            frame: Some(FramePart { missing: length, came: 0, mask: header.mask }),
            is_final: header.is_final,
            permit: None,
        });
        Ok(())
    }

    fn proceed(&mut self, header: FrameHeader) -> Result<(), FrameFault> {
        let so_far = self.message.as_ref().map(|message| message.announced);
        let so_far = so_far.ok_or(FrameFault::Protocol("a continuation without a beginning"))?;
        let length = self.admit(so_far, header.length)?;
        if let Some(message) = &mut self.message {
            message.announced = so_far.saturating_add(length);
            message.frame = Some(FramePart { missing: length, came: 0, mask: header.mask });
            message.is_final = header.is_final;
        }
        Ok(())
    }

    /// The length of a frame that may come on top of `so_far`.
    fn admit(&self, so_far: usize, length: u64) -> Result<usize, FrameFault> {
        let announced = u64::try_from(so_far).unwrap_or(u64::MAX).saturating_add(length);
        match usize::try_from(announced) {
            Ok(sum) if sum <= self.cap => Ok(sum.saturating_sub(so_far)),
            _ => Err(FrameFault::TooLarge { announced, cap: self.cap }),
        }
    }

    fn fill(&mut self, source: &mut BytesMut) -> Result<Filled, FrameFault> {
        let Some(message) = &mut self.message else { return Ok(Filled::NeedsMore) };
        let Some(frame) = message.frame else { return Ok(Filled::Frame) };
        let mut part = source.split_to(frame.missing.min(source.len()));
        unmask(&mut part, frame.mask, frame.came);
        reserve(message, part.len(), &self.budget)?;
        message.content.extend_from_slice(&part);
        let missing = frame.missing - part.len();
        if missing > 0 {
            message.frame = Some(FramePart { missing, came: frame.came.wrapping_add(part.len()), ..frame });
            return Ok(Filled::NeedsMore);
        }
        message.frame = None;
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
    NeedsMore,
    /// The frame is whole, the message isn't.
    Frame,
    Whole(Incoming),
}

/// Removes the mask of a stretch of payload that begins `came` bytes into its frame.
fn unmask(part: &mut [u8], mask: [u8; 4], came: usize) {
    let key = mask.iter().cycle().skip(came % 4);
    for (byte, key) in part.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Makes room for `more` bytes, doubling up to what was announced, and counts it against the budget where it is large.
fn reserve(message: &mut Message, more: usize, budget: &MemoryBudget) -> Result<(), FrameFault> {
    let needed = message.content.len() + more;
    if needed <= message.content.capacity() {
        return Ok(());
    }
    let room = message.content.capacity().saturating_mul(2).max(FIRST_RESERVE).min(message.announced).max(needed);
    if room > COUNTED_FROM && !message.permit.get_or_insert_with(|| budget.empty_permit()).grow_to(room) {
        return Err(FrameFault::Overloaded);
    }
    message.content.reserve_exact(room - message.content.len());
    Ok(())
}

fn deliver(message: Message) -> Result<Incoming, FrameFault> {
    if message.is_text && std::str::from_utf8(&message.content).is_err() {
        return Err(FrameFault::Protocol("a text message that is not UTF-8"));
    }
    Ok(Incoming::Message(Held { bytes: message.content, _permit: message.permit }))
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Incoming, FrameFault> {
    match opcode {
        Opcode::Ping => Ok(Incoming::Ping(Bytes::copy_from_slice(payload))),
        Opcode::Pong => Ok(Incoming::Pong),
        _ => match payload.first_chunk::<2>() {
            Some(code) => Ok(Incoming::Close(Some(u16::from_be_bytes(*code)))),
            None if payload.is_empty() => Ok(Incoming::Close(None)),
            None => Err(FrameFault::Protocol("a close frame with half a code")),
        },
    }
}

#[cfg(test)]
mod tests;
