//! What waits to be sent to one client, bounded in bytes for it and for all together: a client that reads nothing is found out
//! here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use super::memory_budget::{MemoryBudget, MemoryPermit};

/// What each client may leave unread without that the budget of all counts it, in bytes: who reads must not suffer when others
/// have spent the budget.
const FREE_OF_EACH: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub enum OutboundItem {
    Response {
        /// The request's id as sent; none where it had none.
        request: Option<String>,
        /// Serialized once, by the core actor.
        outcome: Result<Arc<RawValue>, Arc<RawValue>>,
    },
    Event {
        name: Arc<str>,
        /// Its payload, serialized once for all who get it.
        payload: Arc<RawValue>,
        presence_version: Option<u64>,
    },
    Close {
        /// For instance 1012.
        code: u16,
        /// At most 123 bytes are sent.
        reason: String,
    },
}

impl OutboundItem {
    /// Its length in memory, in bytes.
    fn length(&self) -> usize {
        64 + match self {
            Self::Response { request, outcome: Ok(raw) | Err(raw) } => {
                request.as_ref().map_or(0, String::len) + raw.get().len()
            }
            Self::Event { name, payload, .. } => name.len() + payload.get().len(),
            Self::Close { reason, .. } => reason.len(),
        }
    }

    /// What it weighs against the bound of its connection, in bytes.
    fn weight(&self, bound: usize) -> usize {
        match self {
            Self::Response { .. } => self.length().min(64 + bound / 2),
            _ => self.length(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slow consumer")]
pub struct Overflow;

#[derive(Debug)]
struct Unread {
    weight: usize,
    bytes: usize,
    permit: MemoryPermit,
}

/// One thing's share of what its client left unread; given back when dropped.
#[derive(Debug)]
pub(crate) struct UnreadShare {
    unread: Arc<Mutex<Unread>>,
    weight: usize,
    bytes: usize,
}

impl Drop for UnreadShare {
    fn drop(&mut self) {
        let mut unread = lock(&self.unread);
        unread.weight = unread.weight.saturating_sub(self.weight);
        unread.bytes = unread.bytes.saturating_sub(self.bytes);
        let counted = unread.bytes.saturating_sub(FREE_OF_EACH);
        unread.permit.shrink_to(counted);
    }
}

fn lock(unread: &Mutex<Unread>) -> MutexGuard<'_, Unread> {
    // Nothing panics between two changes that belong together.
    unread.lock().unwrap_or_else(PoisonError::into_inner)
}

type Waiting = (OutboundItem, UnreadShare);

/// The core's end of one connection's queue. Sending never waits.
#[derive(Debug, Clone)]
pub struct Outbound {
    queue: mpsc::UnboundedSender<Waiting>,
    unread: Arc<Mutex<Unread>>,
    most: usize,
    cut: Arc<watch::Sender<Option<(u16, String)>>>,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    queue: mpsc::UnboundedReceiver<Waiting>,
    cut: watch::Receiver<Option<(u16, String)>>,
}

impl Outbound {
    /// A queue that holds at most `most` bytes, and of all clients' `budget` what it holds beyond a small share of its own.
    pub(crate) fn new(most: usize, budget: &MemoryBudget) -> (Self, Outgoing) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let unread = Unread { weight: 0, bytes: 0, permit: budget.empty_permit() };
        let (cutter, cut) = watch::channel(None);
        (
            Self { queue: sender, unread: Arc::new(Mutex::new(unread)), most, cut: Arc::new(cutter) },
            Outgoing { queue: receiver, cut },
        )
    }

    /// Queues something. A `Close` always fits. The client has asked for its answers, so one fits as long as what waits before it
    /// does, however large it is, and no more than half of the bound is counted for it: events that come while it is read must
    /// find room. All clients' budget counts it whole. Sending to a connection that is gone does nothing.
    pub fn send(&self, item: OutboundItem) -> Result<(), Overflow> {
        // The share of what could not be sent is given back by its drop, once the lock is free.
        let share = self.share(&item)?;
        let _ = self.queue.send((item, share));
        Ok(())
    }

    fn share(&self, item: &OutboundItem) -> Result<UnreadShare, Overflow> {
        let weight = item.weight(self.most);
        let mut unread = lock(&self.unread);
        let fits = match item {
            OutboundItem::Close { .. } => true,
            OutboundItem::Response { .. } => unread.weight <= self.most,
            OutboundItem::Event { .. } => unread.weight.saturating_add(weight) <= self.most,
        };
        let is_close = matches!(item, OutboundItem::Close { .. });
        let bytes = if is_close { 0 } else { item.length() };
        let sum = unread.bytes.saturating_add(bytes);
        if !fits || !is_close && !unread.permit.grow_to(sum.saturating_sub(FREE_OF_EACH)) {
            return Err(Overflow);
        }
        unread.weight += weight;
        unread.bytes = sum;
        Ok(UnreadShare { unread: Arc::clone(&self.unread), weight, bytes })
    }

    /// Closes with this code and reason without sending first what waits: for a client that reads nothing.
    pub fn cut(&self, code: u16, reason: String) {
        self.cut.send_replace(Some((code, reason)));
    }
}

impl Outgoing {
    /// Resolves when the connection is [`Outbound::cut`]; never otherwise.
    pub(crate) fn when_cut(&self) -> impl Future<Output = (u16, String)> + use<> {
        let mut cut = self.cut.clone();
        async move {
            match cut.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
                Ok(Some(reason)) => reason,
                _ => std::future::pending().await,
            }
        }
    }

    /// What waits already; none where nothing does.
    pub(crate) fn next_waiting(&mut self) -> Option<(OutboundItem, UnreadShare)> {
        self.queue.try_recv().ok()
    }

    /// The next thing to send; none once every [`Outbound`] is gone.
    pub(crate) async fn next(&mut self) -> Option<(OutboundItem, UnreadShare)> {
        self.queue.recv().await
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
        let (outbound, mut outgoing) = Outbound::new(1_000, &MemoryBudget::default());
        assert_eq!(outbound.send(event(600)), Ok(()));
        assert_eq!(outbound.send(event(600)), Err(Overflow));
        assert_eq!(outbound.send(OutboundItem::Close { code: 1000, reason: "x".repeat(2_000) }), Ok(()));
        assert!(matches!(outgoing.next().await, Some((OutboundItem::Event { .. }, _))));
        assert!(matches!(outgoing.next_waiting(), Some((OutboundItem::Close { .. }, _))));
        assert!(outgoing.next_waiting().is_none());
        assert_eq!(outbound.send(event(600)), Ok(()), "room is given back by reading");
    }

    #[actix::test]
    async fn an_answer_larger_than_the_bound_goes_out_and_leaves_room_for_events() {
        let (outbound, mut outgoing) = Outbound::new(1_000, &MemoryBudget::default());
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
    async fn all_clients_share_a_budget_and_each_has_a_little_of_its_own() {
        let budget = MemoryBudget::new(100_000);
        let (greedy, mut unread) = Outbound::new(1_000_000, &budget);
        assert_eq!(greedy.send(event(FREE_OF_EACH + 90_000)), Ok(()));
        let (other, small) = Outbound::new(1_000_000, &budget);
        assert_eq!(other.send(event(FREE_OF_EACH + 20_000)), Err(Overflow));
        assert_eq!(other.send(event(FREE_OF_EACH - 10_000)), Ok(()), "who reads isn't hurt");
        assert_eq!(other.send(event(20_000)), Err(Overflow));
        let (item, share) = unread.next().await.unwrap();
        drop(item);
        assert_eq!(other.send(event(20_000)), Err(Overflow), "it counts until it is written");
        drop(share);
        assert_eq!(other.send(event(20_000)), Ok(()));
        drop(small);
        assert_eq!(greedy.send(event(FREE_OF_EACH + 90_000)), Ok(()), "a connection that ends gives all back");
    }

    #[actix::test]
    async fn a_cut_overtakes_what_waits() {
        let (outbound, outgoing) = Outbound::new(1_000, &MemoryBudget::default());
        assert_eq!(outbound.send(event(10)), Ok(()));
        let cut = outgoing.when_cut();
        outbound.cut(1008, "slow consumer".to_owned());
        assert_eq!(cut.await, (1008, "slow consumer".to_owned()));
    }

    #[actix::test]
    async fn the_queue_ends_when_the_desk_forgets_the_connection() {
        let (outbound, mut outgoing) = Outbound::new(1_000, &MemoryBudget::default());
        drop(outbound);
        assert!(outgoing.next().await.is_none());
    }
}
