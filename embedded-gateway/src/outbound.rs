//! What waits to be sent to one client, bounded in number and bytes for it, and in bytes for all together: a client that reads
//! nothing is found out here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatewarden_listener::{MemoryBudget, MemoryPermit};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

/// What each client may leave unread without that the budget of all counts it, in bytes: who reads must not suffer when others
/// have spent the budget.
const FREE_OF_EACH: usize = 64 * 1024;
/// What the smallest thing counts for, in bytes.
const LEAST_LENGTH: usize = 64;
/// Close code and reason of a gateway that stops: real ones say this even where nothing comes back.
pub(crate) const STOPPING: (u16, &str) = (1012, "service restart");

/// One thing to send. The connection's task words it in the connection's dialect and numbers its events.
#[derive(Debug, Clone)]
pub(crate) enum OutboundItem {
    Response {
        /// The request's id as sent; none where it had none.
        request: Option<String>,
        outcome: Result<Arc<RawValue>, Arc<RawValue>>,
    },
    Event {
        name: Arc<str>,
        /// Serialized once for all who get it.
        payload: Arc<RawValue>,
        /// The version of the list that it tells, where it is `presence`.
        presence_version: Option<u64>,
    },
}

impl OutboundItem {
    /// Its length in memory, in bytes.
    fn length(&self) -> usize {
        LEAST_LENGTH
            + match self {
                Self::Response { request, outcome: Ok(raw) | Err(raw) } => {
                    request.as_ref().map_or(0, String::len) + raw.get().len()
                }
                Self::Event { name, payload, .. } => name.len() + payload.get().len(),
            }
    }
}

/// More waits than the client, or than all clients together, may leave unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slow consumer")]
pub(crate) struct Overflow;

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

#[derive(Debug)]
pub(crate) enum Next {
    /// To be sent; the share is to be kept until it is written.
    Send(OutboundItem, UnreadShare),
    /// The last of all: close with this code and reason.
    Close(u16, String),
}

/// The core actor's end of one connection's queue. Sending never waits.
#[derive(Debug)]
pub(crate) struct Outbound {
    queue: mpsc::Sender<Next>,
    /// The place of the close, kept free from the beginning.
    last: Option<mpsc::OwnedPermit<Next>>,
    unread: Arc<Mutex<Unread>>,
    most: usize,
    cut: watch::Sender<Option<(u16, String)>>,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    queue: mpsc::Receiver<Next>,
    cut: watch::Receiver<Option<(u16, String)>>,
}

impl Outbound {
    /// A queue that holds at most `most` bytes, and of all clients' `budget` what it holds beyond a small share of its own.
    pub(crate) fn new(most: usize, budget: &MemoryBudget) -> (Self, Outgoing) {
        // As many of the smallest things as there is room for, one that is larger than the room, and the close.
        let (queue, receiver) = mpsc::channel(most / LEAST_LENGTH + 2);
        let last = queue.clone().try_reserve_owned().ok();
        let unread = Unread { weight: 0, bytes: 0, permit: budget.empty_permit() };
        let (cutter, cut) = watch::channel(None);
        (
            Self { queue, last, unread: Arc::new(Mutex::new(unread)), most, cut: cutter },
            Outgoing { queue: receiver, cut },
        )
    }

    /// Queues something. The client has asked for its answers, so one fits as long as what waits before it does, however large
    /// it is, and no more than half of the bound is counted for it: events that come while it is read must find room. All
    /// clients' budget counts it whole. Sending to a connection that is gone does nothing.
    pub(crate) fn send(&self, item: OutboundItem) -> Result<(), Overflow> {
        let share = self.share(&item)?;
        // The share of what could not be sent is given back by its drop.
        match self.queue.try_send(Next::Send(item, share)) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Overflow),
            _ => Ok(()),
        }
    }

    fn share(&self, item: &OutboundItem) -> Result<UnreadShare, Overflow> {
        let length = item.length();
        let mut unread = lock(&self.unread);
        let (weight, fits) = match item {
            OutboundItem::Response { .. } => (length.min(LEAST_LENGTH + self.most / 2), unread.weight <= self.most),
            OutboundItem::Event { .. } => (length, unread.weight.saturating_add(length) <= self.most),
        };
        let bytes = unread.bytes.saturating_add(length);
        if !fits || !unread.permit.grow_to(bytes.saturating_sub(FREE_OF_EACH)) {
            return Err(Overflow);
        }
        unread.weight += weight;
        unread.bytes = bytes;
        Ok(UnreadShare { unread: Arc::clone(&self.unread), weight, bytes: length })
    }

    /// Closes after everything that waits. There is always room for this.
    pub(crate) fn close(self, code: u16, reason: String) {
        if let Some(last) = self.last {
            last.send(Next::Close(code, reason));
        }
    }

    /// Closes with this code and reason without sending first what waits: for a client that reads nothing.
    pub(crate) fn cut(&self, code: u16, reason: String) {
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
    pub(crate) fn next_waiting(&mut self) -> Option<Next> {
        self.queue.try_recv().ok()
    }

    /// The next thing to do; none once the [`Outbound`] is gone.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        self.queue.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection_limits::LARGE_MESSAGES;

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
        let (outbound, mut outgoing) = Outbound::new(1_000, &MemoryBudget::new(LARGE_MESSAGES));
        assert_eq!(outbound.send(event(600)), Ok(()));
        assert_eq!(outbound.send(event(600)), Err(Overflow));
        assert!(matches!(outgoing.next().await, Some(Next::Send(OutboundItem::Event { .. }, _))));
        assert_eq!(outbound.send(event(600)), Ok(()), "room is given back by reading");
        outbound.close(1000, "x".repeat(2_000));
        assert!(matches!(outgoing.next_waiting(), Some(Next::Send(..))));
        assert!(matches!(outgoing.next_waiting(), Some(Next::Close(1000, _))));
        assert!(outgoing.next().await.is_none(), "nothing follows a close");
    }

    #[actix::test]
    async fn no_more_things_wait_than_the_bound_has_room_for_and_the_close_keeps_its_place() {
        let (outbound, mut outgoing) = Outbound::new(1_000, &MemoryBudget::new(LARGE_MESSAGES));
        let nothing = || Arc::from(RawValue::from_string(String::from("1")).unwrap());
        let small = || OutboundItem::Event { name: "".into(), payload: nothing(), presence_version: None };
        // Even if the account of bytes were wrong.
        while outbound.send(small()).is_ok() {
            lock(&outbound.unread).weight = 0;
        }
        outbound.close(1012, String::new());
        let mut waiting = Vec::new();
        while let Some(next) = outgoing.next_waiting() {
            waiting.push(next);
        }
        assert_eq!(waiting.len(), 1_000 / LEAST_LENGTH + 2);
        assert!(matches!(waiting.last(), Some(Next::Close(1012, _))));
    }

    #[actix::test]
    async fn an_answer_larger_than_the_bound_goes_out_and_leaves_room_for_events() {
        let (outbound, mut outgoing) = Outbound::new(1_000, &MemoryBudget::new(LARGE_MESSAGES));
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
        let Some(Next::Send(item, share)) = unread.next().await else { panic!("nothing waits") };
        drop(item);
        assert_eq!(other.send(event(20_000)), Err(Overflow), "it counts until it is written");
        drop(share);
        assert_eq!(other.send(event(20_000)), Ok(()));
        drop(small);
        assert_eq!(greedy.send(event(FREE_OF_EACH + 90_000)), Ok(()), "a connection that ends gives all back");
    }

    #[actix::test]
    async fn a_cut_overtakes_what_waits() {
        let (outbound, outgoing) = Outbound::new(1_000, &MemoryBudget::new(LARGE_MESSAGES));
        assert_eq!(outbound.send(event(10)), Ok(()));
        let cut = outgoing.when_cut();
        outbound.cut(1008, "slow consumer".to_owned());
        assert_eq!(cut.await, (1008, "slow consumer".to_owned()));
    }

    #[actix::test]
    async fn the_queue_ends_when_the_core_forgets_the_connection() {
        let (outbound, mut outgoing) = Outbound::new(1_000, &MemoryBudget::new(LARGE_MESSAGES));
        drop(outbound);
        assert!(outgoing.next().await.is_none());
    }
}
