//! What is known of one connection, shared by its stream, by the middleware that serves its requests, and by
//! [`Connections`](crate::Connections), which may end it.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;

use crate::connections::Shared;

/// What the kernel holds for a client that doesn't read, about.
const KERNEL_BUFFER: usize = 64 * 1024;

/// Why a connection was ended from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyEnded {
    /// Its client took nothing of an answer for too long.
    WriteStalled,
    /// What it sent did not become a request in time.
    HalfOpen,
    /// All connections together held too many bytes, and it was blocked for the longest.
    OverBudget,
    /// The head of its request was too long.
    HeadTooLong,
    /// Its place was needed: it had shown no good key, or its key has far more than its share.
    Replaced,
}

impl WhyEnded {
    /// In the order in which they are counted.
    pub const ALL: [Self; 5] =
        [Self::WriteStalled, Self::HalfOpen, Self::OverBudget, Self::HeadTooLong, Self::Replaced];

    /// A stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WriteStalled => "write_stalled",
            Self::HalfOpen => "half_open",
            Self::OverBudget => "over_budget",
            Self::HeadTooLong => "head_too_long",
            Self::Replaced => "replaced",
        }
    }
}

/// What may be read of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// The next request's head.
    Head,
    /// So many bytes of the body of the request that is being served.
    Body(usize),
}

/// One connection. Its requests are served on one thread; it may be ended from any.
pub struct Connection {
    pub(crate) id: u64,
    pub(crate) network: IpAddr,
    all: Weak<Shared>,
    /// Whose key came in on it; 0: nobody's.
    holder: AtomicU64,
    served: AtomicUsize,
    wanted: AtomicUsize,
    /// The body of a request that is being served is not there to its end.
    awaits_body: AtomicBool,
    /// Bytes of a body that nobody reads and that are still to come: actix-http throws them away.
    left_of_body: AtomicU64,
    /// Something was read from the socket and is held back.
    pub(crate) holds_back: AtomicBool,
    /// Milliseconds at which bytes came that are no request yet, and at which a write began to wait; 0: none.
    unanswered_since: AtomicU64,
    blocked_since: AtomicU64,
    /// What counts against the budget of all.
    bytes: AtomicUsize,
    ended: AtomicU8,
    reader: AtomicWaker,
}

impl Connection {
    pub(crate) fn new(id: u64, network: IpAddr, all: Weak<Shared>) -> Self {
        Self {
            id,
            network,
            all,
            holder: AtomicU64::new(0),
            served: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            awaits_body: AtomicBool::new(false),
            left_of_body: AtomicU64::new(0),
            holds_back: AtomicBool::new(false),
            unanswered_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            ended: AtomicU8::new(0),
            reader: AtomicWaker::new(),
        }
    }

    /// A good key came in on it, which this number names: it isn't ended in favour of newcomers, unless this key has far more than
    /// its share.
    pub fn mark_known(&self, holder: NonZeroU64) {
        self.holder.store(holder.get(), Ordering::Relaxed);
    }

    /// A request begins to be served. Until the returned value is dropped nothing is read but what is asked for by
    /// [`Connection::want`].
    pub fn begin(self: &Arc<Self>) -> BeingServed {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.unanswered_since.store(0, Ordering::Relaxed);
        BeingServed(self.clone())
    }

    /// So many bytes of the present request's body may be read from here on.
    pub fn want(&self, bytes: usize) {
        if self.wanted.swap(bytes, Ordering::Relaxed) < bytes {
            self.reader.wake();
        }
    }

    /// A request with a body begins; until [`Connection::body_is_over`] its client is waited for.
    pub(crate) fn awaits_body(&self) {
        self.awaits_body.store(true, Ordering::Relaxed);
    }

    /// The body is there to its end, or nobody reads on though so many bytes are still to come.
    pub(crate) fn body_is_over(&self, left: u64) {
        self.want(0);
        self.awaits_body.store(false, Ordering::Relaxed);
        self.left_of_body.store(left, Ordering::Relaxed);
    }

    /// So many bytes came; how many of them are not the rest of a body that nobody reads.
    pub(crate) fn beyond_body(&self, bytes: usize) -> usize {
        let left = self.left_of_body.load(Ordering::Relaxed);
        let of_body = left.min(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.left_of_body.store(left - of_body, Ordering::Relaxed);
        bytes.saturating_sub(usize::try_from(of_body).unwrap_or(usize::MAX))
    }

    /// A good key doesn't stand for it any more.
    pub fn mark_unknown(&self) {
        self.holder.store(0, Ordering::Relaxed);
    }

    /// Why it was ended, where it was.
    pub fn why_ended(&self) -> Option<WhyEnded> {
        match self.ended.load(Ordering::Acquire) {
            0 => None,
            number => WhyEnded::ALL.get(usize::from(number) - 1).copied(),
        }
    }

    /// Resolves when it is ended: for who waits for nothing else of it.
    pub async fn when_ended(&self) {
        std::future::poll_fn(|cx| {
            self.register(cx.waker());
            if self.why_ended().is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    pub(crate) fn allowance(&self) -> Allowance {
        if self.served.load(Ordering::Relaxed) == 0 {
            Allowance::Head
        } else {
            Allowance::Body(self.wanted.load(Ordering::Relaxed))
        }
    }

    pub(crate) fn took_of_body(&self, bytes: usize) {
        let wanted = self.wanted.load(Ordering::Relaxed);
        self.wanted.store(wanted.saturating_sub(bytes), Ordering::Relaxed);
    }

    /// Whoever reads is woken when it is ended, or when there is something that may be read after all.
    pub(crate) fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    /// Bytes came in that are no request yet.
    pub(crate) fn received(&self) {
        if self.unanswered_since.load(Ordering::Relaxed) == 0
            && let Some(all) = self.all.upgrade()
        {
            self.unanswered_since.store(all.now_ms(), Ordering::Relaxed);
        }
    }

    /// A write of so many bytes waits for the client.
    pub(crate) fn blocked(&self, offered: usize) {
        let Some(all) = self.all.upgrade() else { return };
        self.blocked_since.store(all.now_ms(), Ordering::Relaxed);
        let held = offered.saturating_add(KERNEL_BUFFER);
        let before = self.bytes.swap(held, Ordering::Relaxed);
        all.count_bytes(before, held);
    }

    /// The client takes bytes again.
    pub(crate) fn unblocked(&self) {
        self.blocked_since.store(0, Ordering::Relaxed);
        self.give_bytes_back();
        // Nothing was read meanwhile.
        self.reader.wake();
    }

    pub(crate) fn give_bytes_back(&self) {
        let before = self.bytes.swap(0, Ordering::Relaxed);
        if before > 0
            && let Some(all) = self.all.upgrade()
        {
            all.count_bytes(before, 0);
        }
    }

    /// Since when a write waits, in milliseconds.
    pub(crate) fn blocked_since(&self) -> Option<u64> {
        Some(self.blocked_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// Since when bytes are there that are no request, in milliseconds.
    pub(crate) fn unanswered_since(&self) -> Option<u64> {
        Some(self.unanswered_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// Whose key came in on it, where one did.
    pub(crate) fn holder(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.holder.load(Ordering::Relaxed))
    }

    /// Whether it is the client that is waited for, be it for a request, for the rest of its body, or to read the answer.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.served.load(Ordering::Relaxed) == 0
            || self.awaits_body.load(Ordering::Relaxed)
            || self.blocked_since().is_some()
    }

    /// Ends it: its stream fails at the next step, which comes at once. False where it was ended before.
    pub(crate) fn end(&self, why: WhyEnded) -> bool {
        let number = WhyEnded::ALL.iter().position(|one| *one == why).unwrap_or_default();
        let number = u8::try_from(number).unwrap_or_default().saturating_add(1);
        let is_first = self.ended.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_first {
            self.give_bytes_back();
            self.reader.wake();
        }
        is_first
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("network", &self.network).finish_non_exhaustive()
    }
}

/// A request that is being served, from its head to the last byte of its answer.
#[derive(Debug)]
pub struct BeingServed(Arc<Connection>);

impl Drop for BeingServed {
    fn drop(&mut self) {
        self.0.wanted.store(0, Ordering::Relaxed);
        if self.0.served.fetch_sub(1, Ordering::Relaxed) == 1 && self.0.holds_back.load(Ordering::Relaxed) {
            self.0.reader.wake();
        }
    }
}
