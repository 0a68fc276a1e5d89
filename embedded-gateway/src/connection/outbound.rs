//! What waits to be sent to one client, bounded in bytes: a client that reads nothing is found out here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

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
        /// The version of the list that it tells, where it is `presence`.
        presence_version: Option<u64>,
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
    /// What it weighs against a bound, in bytes.
    fn weight(&self, bound: usize) -> usize {
        64 + match self {
            Self::Response { outcome: Ok(raw) | Err(raw), .. } => raw.get().len().min(bound / 2),
            Self::Event { name, payload, .. } => name.len() + payload.get().len(),
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
    cut: Arc<watch::Sender<Option<(u16, String)>>>,
}

/// The connection's end of its queue.
#[derive(Debug)]
pub struct Outgoing {
    queue: mpsc::UnboundedReceiver<OutboundItem>,
    waiting: Arc<AtomicUsize>,
    most: usize,
    cut: watch::Receiver<Option<(u16, String)>>,
}

impl Outbound {
    /// A queue that holds at most `most` bytes.
    pub fn new(most: usize) -> (Self, Outgoing) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (cutter, cut) = watch::channel(None);
        (
            Self { queue: sender, waiting: Arc::clone(&waiting), most, cut: Arc::new(cutter) },
            Outgoing { queue: receiver, waiting, most, cut },
        )
    }

    /// Queues something. A `Close` always fits. The client has asked for its answers, so one fits as long as what waits before it
    /// does, however large it is, and no more than half of the bound is counted for it: events that come while it is read must
    /// find room. Sending to a connection that is gone does nothing.
    pub fn send(&self, item: OutboundItem) -> Result<(), Overflow> {
        let weight = item.weight(self.most);
        let before = self.waiting.fetch_add(weight, Ordering::Relaxed);
        let fits = match item {
            OutboundItem::Close { .. } => true,
            OutboundItem::Response { .. } => before <= self.most,
            OutboundItem::Event { .. } => before.saturating_add(weight) <= self.most,
        };
        if !fits {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
            return Err(Overflow);
        }
        if self.queue.send(item).is_err() {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Closes with this code and reason without sending first what waits: for a client that reads nothing.
    pub fn cut(&self, code: u16, reason: String) {
        self.cut.send_replace(Some((code, reason)));
    }
}

impl Outgoing {
    /// Resolves when the connection is [`Outbound::cut`]; never otherwise.
    pub fn when_cut(&self) -> impl Future<Output = (u16, String)> + use<> {
        let mut cut = self.cut.clone();
        async move {
            match cut.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
                Ok(Some(reason)) => reason,
                _ => std::future::pending().await,
            }
        }
    }

    /// What waits already; none where nothing does.
    pub fn next_waiting(&mut self) -> Option<OutboundItem> {
        let item = self.queue.try_recv().ok()?;
        self.waiting.fetch_sub(item.weight(self.most), Ordering::Relaxed);
        Some(item)
    }

    /// The next thing to send; none once every [`Outbound`] is gone.
    pub async fn next(&mut self) -> Option<OutboundItem> {
        let item = self.queue.recv().await?;
        self.waiting.fetch_sub(item.weight(self.most), Ordering::Relaxed);
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> OutboundItem {
        let text = format!("\"{}\"", "x".repeat(bytes));
        OutboundItem::Event {
            name: "e".into(),
            payload: Arc::from(RawValue::from_string(text).unwrap()),
            presence_version: None,
        }
    }

    #[actix::test]
    async fn what_waits_is_bounded_in_bytes_and_a_close_always_fits() {
        let (outbound, mut outgoing) = Outbound::new(1_000);
        assert_eq!(outbound.send(event(600)), Ok(()));
        assert_eq!(outbound.send(event(600)), Err(Overflow));
        assert_eq!(outbound.send(OutboundItem::Close { code: 1000, reason: "x".repeat(2_000) }), Ok(()));
        assert!(matches!(outgoing.next().await, Some(OutboundItem::Event { .. })));
        assert!(matches!(outgoing.next_waiting(), Some(OutboundItem::Close { .. })));
        assert!(outgoing.next_waiting().is_none());
        assert_eq!(outbound.send(event(600)), Ok(()), "room is given back by reading");
    }

    #[actix::test]
    async fn an_answer_larger_than_the_bound_goes_out_and_leaves_room_for_events() {
        let (outbound, mut outgoing) = Outbound::new(1_000);
        let answer = || {
            let raw = RawValue::from_string(format!("\"{}\"", "x".repeat(5_000))).unwrap();
            OutboundItem::Response { request: Some("r".to_owned()), outcome: Ok(Arc::from(raw)) }
        };
        assert_eq!(outbound.send(answer()), Ok(()));
        assert_eq!(outbound.send(event(100)), Ok(()));
        assert_eq!(outbound.send(answer()), Ok(()));
        assert_eq!(outbound.send(answer()), Err(Overflow), "who asks on and on without reading is slow");
        assert_eq!(outbound.send(event(100)), Err(Overflow));
        while outgoing.next_waiting().is_some() {}
        assert_eq!(outbound.send(answer()), Ok(()), "as much is given back as was taken");
        assert_eq!(outbound.send(event(300)), Ok(()));
    }

    #[actix::test]
    async fn a_cut_overtakes_what_waits() {
        let (outbound, outgoing) = Outbound::new(1_000);
        assert_eq!(outbound.send(event(10)), Ok(()));
        let cut = outgoing.when_cut();
        outbound.cut(1008, "slow consumer".to_owned());
        assert_eq!(cut.await, (1008, "slow consumer".to_owned()));
    }

    #[actix::test]
    async fn the_queue_ends_when_the_desk_forgets_the_connection() {
        let (outbound, mut outgoing) = Outbound::new(1_000);
        drop(outbound);
        assert!(outgoing.next().await.is_none());
    }
}
