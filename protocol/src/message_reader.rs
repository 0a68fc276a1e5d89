//! Reads WebSocket messages under a cap that holds before a frame is buffered: the daemon those of gateways, the embedded gateway
//! those of its clients.
//!
//! The frame parser of actix-http waits for a whole frame before it compares the length, and reserves what the peer announces;
//! so reading is done here: the header decides, and memory grows with the bytes that came, never with those announced.

use bytes::{Buf, Bytes, BytesMut};

use crate::frame_header::{FrameHeader, FrameSender, Opcode};

/// What the peer sent: fragments are joined, text is UTF-8.
#[derive(Debug)]
pub enum WsMessage<P> {
    /// A text message, and what covers its memory.
    Text(String, Option<P>),
    /// A binary message, and what covers its memory.
    Binary(Vec<u8>, Option<P>),
    /// To be answered at once with its payload: a gateway drops a client that doesn't within 25 s.
    Ping(Bytes),
    /// An answer to our ping, or a word of its own.
    Pong(Bytes),
    /// Goodbye; nothing comes after it.
    Close {
        /// None where the frame had none.
        code: Option<u16>,
        /// For people; empty where there is none. What isn't UTF-8 of it is replaced.
        reason: String,
    },
}

impl<P> WsMessage<P> {
    /// A text message without cover, for scripts.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into(), None)
    }
}

/// By what was said: what covers its memory is no part of it.
impl<P> PartialEq for WsMessage<P> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one, _), Self::Text(other, _)) => one == other,
            (Self::Binary(one, _), Self::Binary(other, _)) => one == other,
            (Self::Ping(one), Self::Ping(other)) | (Self::Pong(one), Self::Pong(other)) => one == other,
            (Self::Close { code, reason }, Self::Close { code: other, reason: words }) => {
                code == other && reason == words
            }
            _ => false,
        }
    }
}

/// Why nothing more can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFault<E> {
    /// More than the cap.
    TooLarge {
        /// What the headers announced, in bytes.
        announced: u64,
        /// What is allowed, in bytes.
        cap: usize,
    },
    /// Against RFC 6455.
    Protocol(&'static str),
    /// There is no memory for it.
    Memory(E),
}

/// A message under way.
#[derive(Debug)]
struct Message<P> {
    is_text: bool,
    content: Vec<u8>,
    /// Bytes announced by the headers so far.
    announced: usize,
    /// None between two frames.
    frame: Option<FramePart>,
    /// Whether the present frame is the last one.
    is_final: bool,
    permit: Option<P>,
}

/// Of the present frame: bytes still to come, and bytes that came (which is where its mask stands).
#[derive(Debug, Clone, Copy)]
struct FramePart {
    missing: usize,
    came: usize,
    mask: [u8; 4],
}

/// Turns bytes into messages. After a fault nothing more must be read from it. `P` covers the memory of a message.
#[derive(Debug)]
pub struct MessageReader<P> {
    sender: FrameSender,
    first_reserve: usize,
    message: Option<Message<P>>,
}

enum Filled<P> {
    NeedsMore,
    /// The frame is whole, the message isn't.
    Frame,
    Whole(WsMessage<P>),
}

impl<P> MessageReader<P> {
    /// A reader at the start of the stream of frames. A message is given `first_reserve` bytes at first.
    pub fn new(sender: FrameSender, first_reserve: usize) -> Self {
        Self { sender, first_reserve, message: None }
    }

    /// Bytes held for a message that isn't whole yet.
    pub fn held_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.content.capacity())
    }

    /// Takes what it can from `source`: the next message, or nothing while it isn't whole. What stays in `source` is at most an
    /// incomplete header or control frame. `cap` counts for the frame headers that are read. `cover` is asked before a message
    /// grows to so many bytes.
    ///
    /// # Errors
    /// Too large, no memory, or a broken protocol.
    pub fn read<E>(
        &mut self,
        source: &mut BytesMut,
        cap: usize,
        mut cover: impl FnMut(&mut Option<P>, usize) -> Result<(), E>,
    ) -> Result<Option<WsMessage<P>>, ReadFault<E>> {
        loop {
            if self.message.as_ref().is_some_and(|message| message.frame.is_some()) {
                match self.fill(source, &mut cover)? {
                    Filled::NeedsMore => return Ok(None),
                    Filled::Frame => continue,
                    Filled::Whole(message) => return Ok(Some(message)),
                }
            }
            let header = FrameHeader::read(source, self.sender).map_err(|broken| ReadFault::Protocol(broken.0))?;
            let Some(header) = header else { return Ok(None) };
            if !header.opcode.is_control() {
                source.advance(header.header_length);
                self.begin(header, cap)?;
                continue;
            }
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

    /// A frame of a message begins.
    fn begin<E>(&mut self, header: FrameHeader, cap: usize) -> Result<(), ReadFault<E>> {
        let message = match (header.opcode, self.message.take()) {
            (Opcode::Continuation, Some(message)) => message,
            (Opcode::Continuation, None) => return Err(ReadFault::Protocol("a continuation without a beginning")),
            (_, Some(_)) => return Err(ReadFault::Protocol("a new message began inside another one")),
            (opcode, None) => Message {
                is_text: opcode == Opcode::Text,
                content: Vec::new(),
                announced: 0,
                frame: None,
                is_final: false,
                permit: None,
            },
        };
        let so_far = message.announced;
        let announced = u64::try_from(so_far).unwrap_or(u64::MAX).saturating_add(header.length);
        let sum = usize::try_from(announced).ok().filter(|sum| *sum <= cap);
        let sum = sum.ok_or(ReadFault::TooLarge { announced, cap })?;
        let frame = Some(FramePart { missing: sum.saturating_sub(so_far), came: 0, mask: header.mask });
        self.message = Some(Message { announced: sum, frame, is_final: header.is_final, ..message });
        Ok(())
    }

    /// Moves what came of the present frame into the message.
    fn fill<E>(
        &mut self,
        source: &mut BytesMut,
        cover: &mut impl FnMut(&mut Option<P>, usize) -> Result<(), E>,
    ) -> Result<Filled<P>, ReadFault<E>> {
        let Some(message) = &mut self.message else { return Ok(Filled::NeedsMore) };
        let Some(frame) = message.frame else { return Ok(Filled::Frame) };
        let mut part = source.split_to(frame.missing.min(source.len()));
        unmask(&mut part, frame.mask, frame.came);
        message.reserve(part.len(), self.first_reserve, cover)?;
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
            Some(message) => message.deliver().map(Filled::Whole),
            None => Ok(Filled::NeedsMore),
        }
    }
}

impl<P> Message<P> {
    /// Makes room for `more` bytes, doubling up to what was announced.
    fn reserve<E>(
        &mut self,
        more: usize,
        first: usize,
        cover: &mut impl FnMut(&mut Option<P>, usize) -> Result<(), E>,
    ) -> Result<(), ReadFault<E>> {
        let needed = self.content.len() + more;
        if needed > self.content.capacity() {
            let room = self.content.capacity().saturating_mul(2).max(first).min(self.announced).max(needed);
            cover(&mut self.permit, room).map_err(ReadFault::Memory)?;
            self.content.reserve_exact(room - self.content.len());
        }
        Ok(())
    }

    fn deliver<E>(self) -> Result<WsMessage<P>, ReadFault<E>> {
        if !self.is_text {
            return Ok(WsMessage::Binary(self.content, self.permit));
        }
        match String::from_utf8(self.content) {
            Ok(text) => Ok(WsMessage::Text(text, self.permit)),
            Err(_) => Err(ReadFault::Protocol("a text message that is not UTF-8")),
        }
    }
}

/// Removes the mask of a stretch of payload that begins `came` bytes into its frame. A server's is not masked.
fn unmask(part: &mut [u8], mask: [u8; 4], came: usize) {
    if mask == [0; 4] {
        return;
    }
    let key = mask.iter().cycle().skip(came % 4);
    for (byte, key) in part.iter_mut().zip(key) {
        *byte ^= key;
    }
}

fn control<P, E>(opcode: Opcode, payload: &[u8]) -> Result<WsMessage<P>, ReadFault<E>> {
    match (opcode, payload.split_first_chunk::<2>()) {
        (Opcode::Ping, _) => Ok(WsMessage::Ping(Bytes::copy_from_slice(payload))),
        (Opcode::Pong, _) => Ok(WsMessage::Pong(Bytes::copy_from_slice(payload))),
        // The reason is for people: a broken one is shown as far as it goes instead of hiding the code.
        (_, Some((code, reason))) => Ok(WsMessage::Close {
            code: Some(u16::from_be_bytes(*code)),
            reason: String::from_utf8_lossy(reason).into_owned(),
        }),
        (_, None) if payload.is_empty() => Ok(WsMessage::Close { code: None, reason: String::new() }),
        (_, None) => Err(ReadFault::Protocol("a close frame with half a code")),
    }
}

#[cfg(test)]
mod tests;
