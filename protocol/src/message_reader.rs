//! Reads WebSocket messages under a cap that holds before a frame is buffered: the daemon those of gateways, the embedded gateway
//! those of its clients.
//!
//! The frame parser of actix-http waits for a whole frame before it compares the length, and reserves what the peer announces;
//! so reading is done here: the header (RFC 6455, 5.2) decides as soon as it is there, and memory grows with the bytes that came, never
//! with those announced.

use bytes::{Buf, Bytes, BytesMut};

/// Longest payload of a control frame (5.5).
const MAX_CONTROL: u64 = 125;

/// Whose frames are read: clients mask theirs, servers don't, and anything else ends the connection (5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameSender {
    /// A client.
    Client,
    /// A server.
    Server,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    /// More of the message before.
    Continuation,
    /// The first, or only, frame of a text message.
    Text,
    /// The same of a binary message.
    Binary,
    /// Goodbye.
    Close,
    /// To be answered with its payload.
    Ping,
    /// The answer to that.
    Pong,
}

impl Opcode {
    /// Whether it may come between the frames of a message.
    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Everything that a frame says before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameHeader {
    /// The last frame of its message. Control frames always are.
    is_final: bool,
    /// What it is.
    opcode: Opcode,
    /// Length of the payload, in bytes. Nothing bounds it but the reader; at most 125 for control frames.
    length: u64,
    /// By which the payload is masked; zeros from a server.
    mask: [u8; 4],
    /// Length of the header itself, 2 to 14 bytes.
    header_length: usize,
}

impl FrameHeader {
    /// Reads the header at the start of `source`; nothing while it isn't whole.
    ///
    /// Fails where the peer doesn't keep to RFC 6455: at reserved bits, a mask where none belongs or none where one does, an
    /// unknown kind, a control frame in fragments or too long. Each is found with the first byte that shows it.
    fn read(source: &[u8], sender: FrameSender) -> Result<Option<Self>, &'static str> {
        let Some(&[first, second]) = source.first_chunk::<2>() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err("reserved bits are set");
        }
        let is_masked = second & 0x80 != 0;
        match sender {
            FrameSender::Client if !is_masked => return Err("a client's frame is not masked"),
            FrameSender::Server if is_masked => return Err("a server's frame is masked"),
            _ => {}
        }
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err("an unknown kind of frame"),
        };
        let is_final = first & 0x80 != 0;
        if opcode.is_control() && !is_final {
            return Err("a control frame in fragments");
        }
        let (length, before_mask) = match second & 0x7f {
            // Longer than 125 in any case.
            126 | 127 if opcode.is_control() => (MAX_CONTROL + 1, 2),
            126 => match source.first_chunk::<4>() {
                Some(&[_, _, high, low]) => (u64::from(u16::from_be_bytes([high, low])), 4),
                None => return Ok(None),
            },
            127 => match source.first_chunk::<10>() {
                Some(&[_, _, ref length @ ..]) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if opcode.is_control() && length > MAX_CONTROL {
            return Err("a control frame of more than 125 bytes");
        }
        if !is_masked {
            return Ok(Some(Self { is_final, opcode, length, mask: [0; 4], header_length: before_mask }));
        }
        let mask = source.get(before_mask..).and_then(|rest| rest.first_chunk::<4>());
        Ok(mask.map(|&mask| Self { is_final, opcode, length, mask, header_length: before_mask + 4 }))
    }
}

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
            let header = FrameHeader::read(source, self.sender).map_err(ReadFault::Protocol)?;
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
mod header_tests;
#[cfg(test)]
mod tests;
