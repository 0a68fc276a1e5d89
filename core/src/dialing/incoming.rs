//! What a gateway says, joined and checked.

use std::ops::{Deref, DerefMut};

use gatewarden_protocol::message_reader::WsMessage;

use super::memory_budget::MemoryPermit;

/// A message from a gateway, with what covers it in the gateway's memory budget.
pub type Incoming = WsMessage<MemoryPermit>;

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
