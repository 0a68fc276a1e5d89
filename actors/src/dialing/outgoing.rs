//! The queue towards a gateway: bounded in messages and bytes, so that a peer that doesn't read can't make memory grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::failure::SocketError;

/// Messages that may wait for one gateway.
pub const MAX_QUEUED: usize = 1024;

/// Bytes that may wait for one gateway.
pub const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;

/// One message on its way to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// A text message.
    Text(String),
    /// A ping.
    Ping(Bytes),
    /// The answer to a ping.
    Pong(Bytes),
    /// Goodbye: nothing is sent after it.
    Close {
        /// The close code.
        code: u16,
        /// The reason, cut to 123 bytes on the wire.
        reason: String,
    },
}

impl Sent {
    /// What it counts against [`MAX_QUEUED_BYTES`].
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ping(bytes) | Self::Pong(bytes) => bytes.len(),
            Self::Close { reason, .. } => reason.len(),
        }
    }
}

/// The sending half of a socket. Nothing here waits: a message is queued, or the socket is of no use any more.
#[derive(Debug, Clone)]
pub struct Outgoing {
    queue: mpsc::Sender<Sent>,
    queued_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

impl Outgoing {
    /// A queue, its end, and the count of bytes that the end must lower once they are written.
    pub(super) fn bounded(max_bytes: usize) -> (Self, mpsc::Receiver<Sent>, Arc<AtomicUsize>) {
        let (queue, end) = mpsc::channel(MAX_QUEUED);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        (Self { queue, queued_bytes: Arc::clone(&queued_bytes), max_bytes }, end, queued_bytes)
    }

    /// A queue without a socket, for tests: what was sent comes out of the receiver.
    pub fn scripted() -> (Self, mpsc::Receiver<Sent>) {
        let (outgoing, end, _) = Self::bounded(usize::MAX);
        (outgoing, end)
    }

    /// Queues a text message.
    ///
    /// # Errors
    /// [`SocketError::SlowPeer`] when the queue is full (drop the connection), [`SocketError::Closed`] when it is gone.
    pub fn try_send_text(&self, text: String) -> Result<(), SocketError> {
        self.push(Sent::Text(text))
    }

    /// Queues a ping of at most 125 bytes; longer ones are cut.
    ///
    /// # Errors
    /// As [`Outgoing::try_send_text`].
    pub fn ping(&self, payload: Bytes) -> Result<(), SocketError> {
        self.push(Sent::Ping(control_payload(payload)))
    }

    /// Queues the answer to a ping.
    ///
    /// # Errors
    /// As [`Outgoing::try_send_text`].
    pub fn pong(&self, payload: Bytes) -> Result<(), SocketError> {
        self.push(Sent::Pong(control_payload(payload)))
    }

    /// Queues a close frame; whatever is queued after it is not sent.
    ///
    /// # Errors
    /// As [`Outgoing::try_send_text`].
    pub fn close(&self, code: u16, reason: impl Into<String>) -> Result<(), SocketError> {
        self.push(Sent::Close { code, reason: reason.into() })
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    fn push(&self, message: Sent) -> Result<(), SocketError> {
        let weight = message.weight();
        let fits = |queued: usize| queued.checked_add(weight).filter(|sum| *sum <= self.max_bytes);
        if self.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(SocketError::SlowPeer);
        }
        self.queue.try_send(message).map_err(|refused| {
            self.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => SocketError::SlowPeer,
                mpsc::error::TrySendError::Closed(_) => SocketError::Closed,
            }
        })
    }
}

fn control_payload(payload: Bytes) -> Bytes {
    payload.slice(..payload.len().min(125))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_a_slow_peer_by_bytes_and_by_count() {
        let (outgoing, _end, _) = Outgoing::bounded(10);
        outgoing.try_send_text("1234567890".into()).unwrap();
        assert_eq!(outgoing.try_send_text("1".into()), Err(SocketError::SlowPeer));
        assert_eq!(outgoing.queued_bytes(), 10);

        let (outgoing, _end, _) = Outgoing::bounded(usize::MAX);
        for _ in 0..MAX_QUEUED {
            outgoing.pong(Bytes::new()).unwrap();
        }
        assert_eq!(outgoing.pong(Bytes::from_static(b"x")), Err(SocketError::SlowPeer));
        assert_eq!(outgoing.queued_bytes(), 0, "what was refused is not counted");
    }

    #[test]
    fn a_closed_socket_says_so() {
        let (outgoing, end, _) = Outgoing::bounded(10);
        drop(end);
        assert_eq!(outgoing.ping(Bytes::new()), Err(SocketError::Closed));
    }
}
