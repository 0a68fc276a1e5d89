//! What a gateway says, joined and checked.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::memory_budget::MemoryPermit;

/// A whole message from the gateway: fragments are joined, text is UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(Held<String>),
    /// A binary message. Gateways mean text by it too; whether it is UTF-8 is for the reader to see.
    Binary(Held<Bytes>),
    /// Answer with a pong and the same bytes at once; a gateway drops a client that doesn't within 25 s.
    Ping(Bytes),
    /// An answer to our ping, or a word of its own.
    Pong(Bytes),
    /// Goodbye; the stream ends after it. Answer with a close of our own.
    Close {
        /// The close code; none where the frame had none.
        code: Option<u16>,
        /// The reason; empty where there is none. At most 123 bytes.
        reason: String,
    },
}

impl Incoming {
    /// A text message, for scripts.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Held::from(text.into()))
    }
}

/// Something of a gateway's, with what covers it in the gateway's memory budget: dropping it gives that back, so drop it as
/// soon as it is read.
#[derive(Debug)]
pub struct Held<T> {
    content: T,
    permit: Option<MemoryPermit>,
}

impl<T> Held<T> {
    /// Content, and what covers it.
    pub fn new(content: T, permit: Option<MemoryPermit>) -> Self {
        Self { content, permit }
    }

    /// The content alone, and its cover given back: for what is used up at once.
    pub fn into_inner(self) -> T {
        self.content
    }

    /// Both apart. Whoever drops the permit first says that the content is gone.
    pub fn into_parts(self) -> (T, Option<MemoryPermit>) {
        (self.content, self.permit)
    }
}

impl<T> From<T> for Held<T> {
    fn from(content: T) -> Self {
        Self::new(content, None)
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.content
    }
}

impl<T: PartialEq> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

impl<T: Eq> Eq for Held<T> {}
