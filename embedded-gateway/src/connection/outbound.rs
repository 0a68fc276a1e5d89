//! What waits to be sent to one client, bounded in bytes: a client that reads nothing is found out here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// One thing to send. The connection's task words it in the connection's dialect and numbers its events.
#[derive(Debug, Clone)]
pub enum OutboundItem {
    /// The answer of a request: payload, or the error object.
    Response {
        /// The request's id as sent; none where it had none.
        request: Option<String>,
        /// Serialized once, by the desk.
        outcome: Result<Arc<RawValue>, Arc<RawValue>>,
    },
    /// An event.
    Event {
        /// Its name.
        name: Arc<str>,
        /// Its payload, serialized once for all who get it.
        payload: Arc<RawValue>,
    },
    /// The last thing: close with this code and reason.
    Close {
        /// For instance 1012.
        code: u16,
        /// At most 123 bytes are sent.
        reason: String,
    },
}

impl OutboundItem {
    /// What it weighs against the bound, in bytes.
    fn weight(&self) -> usize {
        64 + match self {
            Self::Response { outcome: Ok(raw) | Err(raw), .. } => raw.get().len(),
            Self::Event { name, payload } => name.len() + payload.get().len(),
            Self::Close { reason, .. } => reason.len(),
        }
    }
}

/// More waits than the client may leave unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slow consumer")]
pub struct Overflow;

/// The desk's end of one connection's queue. Sending never waits.
#[derive(Debug, Clone)]
pub struct Outbound {
    queue: mpsc::UnboundedSender<OutboundItem>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// The connection's end of its queue.
#[derive(Debug)]
pub struct Outgoing {
    queue: mpsc::UnboundedReceiver<OutboundItem>,
    waiting: Arc<AtomicUsize>,
}

impl Outbound {
    /// A queue that holds at most `most` bytes.
    pub fn new(most: usize) -> (Self, Outgoing) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        (Self { queue: sender, waiting: Arc::clone(&waiting), most }, Outgoing { queue: receiver, waiting })
    }

    /// Queues something. A `Close` always fits. Sending to a connection that is gone does nothing.
    pub fn send(&self, item: OutboundItem) -> Result<(), Overflow> {
        let weight = item.weight();
        let before = self.waiting.fetch_add(weight, Ordering::Relaxed);
        if before.saturating_add(weight) > self.most && !matches!(item, OutboundItem::Close { .. }) {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
            return Err(Overflow);
        }
        if self.queue.send(item).is_err() {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Outgoing {
    /// The next thing to send; none once every [`Outbound`] is gone.
    pub async fn next(&mut self) -> Option<OutboundItem> {
        let item = self.queue.recv().await?;
        self.waiting.fetch_sub(item.weight(), Ordering::Relaxed);
        Some(item)
    }
}
