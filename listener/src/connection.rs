//! What is known of one connection, shared by its stream, by the middleware that serves its requests, and by
//! [`Connections`](crate::Connections), which may end it.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;

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
    /// At most so many bytes of a body; where that is `measured`, no head is among them.
    Body { most: usize, measured: bool },
    /// At most so many bytes of a body that nobody reads.
    Rest(usize),
}

/// The body of the present request, as far as it came from the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// There is none, or it is there to its end.
    Over,
    /// Its client is waited for. `wanted` bytes of it may be read; `left` are still to come, where the client said so.
    Awaited { wanted: usize, left: Option<u64> },
    /// Nobody reads on, though so many bytes are still to come: actix-http throws them away.
    Abandoned { left: u64 },
}

/// One connection. Its requests are served on one thread; it may be ended from any.
pub struct Connection {
    pub(crate) id: u64,
    pub(crate) network: IpAddr,
    /// A client of another listener for whom this goes on: it ends with this one, and what is waited for is told by it.
    client: Option<Arc<Connection>>,
    /// Whose key came in on it; 0: nobody's.
    holder: AtomicU64,
    served: AtomicUsize,
    /// Under a lock, since its parts change together; it is held for no more than that.
    body: Mutex<Body>,
    /// Nobody has looked for its first request yet: that may be there already.
    is_new: AtomicBool,
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
    pub(crate) fn new(id: u64, network: IpAddr, client: Option<Arc<Self>>) -> Self {
        Self {
            id,
            network,
            client,
            holder: AtomicU64::new(0),
            served: AtomicUsize::new(0),
            body: Mutex::new(Body::Over),
            is_new: AtomicBool::new(true),
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

    /// A good key doesn't stand for it any more.
    pub fn mark_unknown(&self) {
        self.holder.store(0, Ordering::Relaxed);
    }

    /// A request begins to be served. Until the returned value is dropped nothing is read but what is wanted of its body.
    pub fn begin(self: &Arc<Self>) -> BeingServed {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.is_new.store(false, Ordering::Relaxed);
        self.unanswered_since.store(0, Ordering::Relaxed);
        BeingServed(self.clone())
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request with a body begins; until [`Connection::body_is_over`] or [`Connection::abandon_body`] its client is waited for.
    pub(crate) fn await_body(&self, length: Option<u64>) {
        *self.body() = Body::Awaited { wanted: 0, left: length };
    }

    /// So many bytes of the present request's body may be read from here on, as far as there are as many.
    pub(crate) fn want(&self, bytes: usize) {
        let is_more = match &mut *self.body() {
            Body::Awaited { wanted, left } => {
                let left = left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
                std::mem::replace(wanted, bytes.min(left)) < bytes.min(left)
            }
            Body::Over | Body::Abandoned { .. } => false,
        };
        if is_more {
            self.reader.wake();
        }
    }

    /// The body is there to its end.
    pub(crate) fn body_is_over(&self) {
        *self.body() = Body::Over;
    }

    /// Nobody reads the body on. Of one in chunks nobody knows what is still to come: after a head's length of it the connection
    /// ends.
    pub(crate) fn abandon_body(&self) {
        let mut body = self.body();
        if let Body::Awaited { left, .. } = *body {
            *body = left.filter(|left| *left > 0).map_or(Body::Over, |left| Body::Abandoned { left });
        }
    }

    pub(crate) fn allowance(&self) -> Allowance {
        let is_served = self.served.load(Ordering::Relaxed) > 0;
        match *self.body() {
            Body::Awaited { wanted, left } if is_served => Allowance::Body { most: wanted, measured: left.is_some() },
            _ if is_served => Allowance::Body { most: 0, measured: true },
            Body::Abandoned { left } | Body::Awaited { left: Some(left @ 1..), .. } => {
                Allowance::Rest(usize::try_from(left).unwrap_or(usize::MAX))
            }
            Body::Over | Body::Awaited { .. } => Allowance::Head,
        }
    }

    /// So many bytes of the body were handed over.
    pub(crate) fn took_of_body(&self, bytes: usize) {
        let mut body = self.body();
        let came = u64::try_from(bytes).unwrap_or(u64::MAX);
        *body = match *body {
            Body::Awaited { wanted, left } => {
                let left = left.map(|left| left.saturating_sub(came));
                Body::Awaited { wanted: wanted.saturating_sub(bytes), left }
            }
            Body::Abandoned { left } if left > came => Body::Abandoned { left: left - came },
            Body::Abandoned { .. } | Body::Over => Body::Over,
        };
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

    /// Whoever reads is woken when it is ended, or when there is something that may be read after all.
    pub(crate) fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    /// Bytes came in that are no request yet.
    pub(crate) fn received(&self, now_ms: u64) {
        let _ = self.unanswered_since.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A write of so many bytes waits for the client. How many bytes it held before, and holds now.
    pub(crate) fn blocked(&self, offered: usize, now_ms: u64) -> (usize, usize) {
        self.blocked_since.store(now_ms, Ordering::Relaxed);
        let held = offered.saturating_add(KERNEL_BUFFER);
        (self.bytes.swap(held, Ordering::Relaxed), held)
    }

    /// The client takes bytes again. How many it held.
    pub(crate) fn unblocked(&self) -> usize {
        self.blocked_since.store(0, Ordering::Relaxed);
        // Nothing was read meanwhile.
        self.reader.wake();
        self.give_bytes_back()
    }

    pub(crate) fn give_bytes_back(&self) -> usize {
        self.bytes.swap(0, Ordering::Relaxed)
    }

    /// Since when a write waits, in milliseconds.
    pub(crate) fn blocked_since(&self) -> Option<u64> {
        Some(self.blocked_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// Since when bytes are there that are no request, in milliseconds.
    pub(crate) fn unanswered_since(&self) -> Option<u64> {
        Some(self.unanswered_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    pub(crate) fn holder(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.holder.load(Ordering::Relaxed))
    }

    /// A request was looked for, and there was none.
    pub(crate) fn looked_in_vain(&self) {
        self.is_new.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_new(&self) -> bool {
        self.is_new.load(Ordering::Relaxed)
    }

    /// Whether it is the client that is waited for, be it for a request, for the rest of its body, or to read the answer.
    pub(crate) fn waits_for_client(&self) -> bool {
        let of = self.client.as_deref().unwrap_or(self);
        of.served.load(Ordering::Relaxed) == 0
            || matches!(*of.body(), Body::Awaited { .. })
            || of.blocked_since().is_some()
    }

    /// Ends it: its stream fails at the next step, which comes at once. False where it, or the client for whom it goes on, was ended before.
    pub(crate) fn end(&self, why: WhyEnded) -> bool {
        let number = WhyEnded::ALL.iter().position(|one| *one == why).unwrap_or_default();
        let number = u8::try_from(number).unwrap_or_default().saturating_add(1);
        let is_first = self.ended.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_first {
            self.reader.wake();
        }
        is_first && self.client.as_ref().is_none_or(|client| client.end(why))
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
        self.0.want(0);
        if self.0.served.fetch_sub(1, Ordering::Relaxed) == 1 && self.0.holds_back.load(Ordering::Relaxed) {
            self.0.reader.wake();
        }
    }
}
