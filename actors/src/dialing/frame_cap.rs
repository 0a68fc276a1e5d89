//! How large a gateway's message may be, and how its WebSocket frames are read under that cap. Writing (masking, close frames) is
//! left to actix-http's codec.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use gatewarden_protocol::frame_header::FrameSender;
use gatewarden_protocol::message_reader::{MessageReader, ReadFault};

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

/// Turns bytes into messages. After an error nothing more must be read from it.
#[derive(Debug)]
pub struct FrameReader {
    cap: FrameCap,
    memory: MemoryAccount,
    reader: MessageReader<MemoryPermit>,
}

impl FrameReader {
    /// A reader at the start of the stream of frames.
    pub fn new(cap: FrameCap, memory: MemoryAccount) -> Self {
        Self { cap, memory, reader: MessageReader::new(FrameSender::Server, FIRST_RESERVE) }
    }

    /// Bytes held for a message that isn't whole yet.
    pub fn held_bytes(&self) -> usize {
        self.reader.held_bytes()
    }

    /// Takes what it can from `source`: the next message, or nothing while it isn't whole. What stays in `source` is at most
    /// an incomplete header or control frame.
    ///
    /// # Errors
    /// Too large, too much at once, or a broken protocol.
    pub fn read(&mut self, source: &mut BytesMut) -> Result<Option<Incoming>, SocketError> {
        let memory = &self.memory;
        let cover = |permit: &mut Option<MemoryPermit>, bytes: usize| {
            if bytes <= COUNTED_FROM { Ok(()) } else { permit.get_or_insert_with(|| memory.permit()).grow_to(bytes) }
        };
        self.reader.read(source, self.cap.get(), cover).map_err(|fault| match fault {
            ReadFault::TooLarge { announced, cap } => SocketError::FrameTooLarge { announced, cap },
            ReadFault::Protocol(reason) => SocketError::Protocol { reason },
            ReadFault::Memory(excess) => SocketError::OutOfMemory(excess),
        })
    }
}

#[cfg(test)]
mod tests;
