//! What gateways may make this process hold: so much each, and so much all together.
//!
//! A gateway has an [`MemoryAccount`]; whatever is held on its behalf (a message being read, the values that it becomes, rows
//! that are kept, an answer on its way to a client) is covered by a [`MemoryPermit`] of it. A gateway that wants more than its
//! own part loses its connection. Where the part of all is spent, the gateway with an open connection that holds most loses
//! it, whoever it is that asks: a modest one isn't to pay for a greedy one.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use gatewarden_protocol::decoding::{Excess, Meter};

/// What one gateway may make us hold unless it is set otherwise, bytes.
pub const DEFAULT_PER_GATEWAY: usize = 32 * 1024 * 1024;

/// What all gateways may make us hold together unless it is set otherwise, bytes.
pub const DEFAULT_TOTAL: usize = 256 * 1024 * 1024;

/// Messages and values up to this size are not counted: heartbeats and small events cost no more than they did, bytes.
pub const COUNTED_FROM: usize = 16 * 1024;

/// The limit of all gateways together. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    used: AtomicUsize,
    limit: usize,
    per_gateway: usize,
    accounts: Mutex<Vec<Weak<Account>>>,
}

#[derive(Debug)]
struct Account {
    budget: Arc<Shared>,
    used: AtomicUsize,
    /// Open connections of it: without one there is nothing to end.
    open: AtomicUsize,
    /// Whether its connection is to end for the sake of the others.
    chosen: AtomicBool,
    reader: AtomicWaker,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(DEFAULT_TOTAL)
    }
}

impl MemoryBudget {
    /// A budget of `limit` bytes for all, and [`DEFAULT_PER_GATEWAY`] for each.
    pub fn new(limit: usize) -> Self {
        Self::with_limits(limit, DEFAULT_PER_GATEWAY)
    }

    /// A budget of `limit` bytes for all and `per_gateway` for each.
    pub fn with_limits(limit: usize, per_gateway: usize) -> Self {
        Self { shared: Arc::new(Shared { used: AtomicUsize::new(0), limit, per_gateway, accounts: Mutex::default() }) }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// What all may hold together, bytes.
    pub fn limit(&self) -> usize {
        self.shared.limit
    }

    /// An account that holds nothing yet.
    pub fn account(&self) -> MemoryAccount {
        let account = Arc::new(Account {
            budget: Arc::clone(&self.shared),
            used: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            chosen: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        });
        let mut accounts = self.shared.accounts();
        if accounts.len() == accounts.capacity() {
            accounts.retain(|account| account.strong_count() > 0);
        }
        accounts.push(Arc::downgrade(&account));
        MemoryAccount { account }
    }
}

impl Shared {
    /// Held for a few moves only and nothing in there panics, so poison carries no meaning.
    fn accounts(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for `more` bytes of `asking`, which counts them as its own already. What the chosen ones hold counts as given back, as far as one gateway's part reaches:
    /// it is, as soon as their threads come to it.
    fn take(&self, asking: &Arc<Account>, more: usize) -> Result<(), Excess> {
        let fits = |limit: usize| {
            let fits = |used: usize| used.checked_add(more).filter(|sum| *sum <= limit);
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
        };
        if fits(self.limit) {
            return Ok(());
        }
        let accounts: Vec<Arc<Account>> = self.accounts().iter().filter_map(Weak::upgrade).collect();
        let holds = |account: &Account| account.used.load(Ordering::Relaxed);
        let is_open = |account: &Account| account.open.load(Ordering::Relaxed) > 0;
        let leaving = |account: &Account| account.chosen.load(Ordering::Relaxed) && is_open(account);
        let (gone, staying): (Vec<_>, Vec<_>) = accounts.iter().partition(|account| leaving(account));
        let mut coming_back: usize = gone.iter().map(|account| holds(account)).sum();
        let mut candidates: Vec<_> = staying.into_iter().filter(|account| is_open(account)).collect();
        candidates.sort_by_key(|account| holds(account));
        loop {
            let overdraft = coming_back.min(self.per_gateway);
            if fits(self.limit.saturating_add(overdraft)) {
                return Ok(());
            }
            if coming_back >= self.per_gateway {
                return Err(Excess::Shared);
            }
            match candidates.pop() {
                Some(greediest) if !Arc::ptr_eq(greediest, asking) && holds(greediest) > 0 => {
                    greediest.chosen.store(true, Ordering::Relaxed);
                    greediest.reader.wake();
                    coming_back = coming_back.saturating_add(holds(greediest));
                }
                _ => return Err(Excess::Shared),
            }
        }
    }
}

/// One gateway's part of the budget. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryAccount {
    account: Arc<Account>,
}

/// The same part; how much of it is held says nothing.
impl PartialEq for MemoryAccount {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.account, &other.account)
    }
}

impl Eq for MemoryAccount {}

/// A part of a budget of its own, for a single connection.
impl Default for MemoryAccount {
    fn default() -> Self {
        MemoryBudget::default().account()
    }
}

impl MemoryAccount {
    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.account.used.load(Ordering::Relaxed)
    }

    /// A permit over nothing yet.
    pub fn permit(&self) -> MemoryPermit {
        MemoryPermit { account: self.clone(), bytes: 0, spent: 0 }
    }

    /// Says that a connection is open, as long as what comes back lives.
    pub fn connect(&self) -> Connected {
        self.account.chosen.store(false, Ordering::Relaxed);
        self.account.open.fetch_add(1, Ordering::Relaxed);
        Connected { account: self.clone() }
    }
}

/// A connection whose end frees memory.
#[derive(Debug)]
pub struct Connected {
    account: MemoryAccount,
}

impl Connected {
    /// Whether this connection is to end so that others have room. Wakes the task when that changes.
    pub fn is_chosen(&self, waker: &Waker) -> bool {
        self.account.account.reader.register(waker);
        self.account.account.chosen.load(Ordering::Relaxed)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.account.account.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes held for a gateway; given back when dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    account: MemoryAccount,
    bytes: usize,
    /// Of these, what a [`Meter`] has given out.
    spent: usize,
}

impl MemoryPermit {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds at least `bytes` in all.
    ///
    /// # Errors
    /// The budget doesn't have them: nothing has changed.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Excess> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let account = &self.account.account;
        let fits = |used: usize| used.checked_add(more).filter(|sum| *sum <= account.budget.per_gateway);
        if account.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(Excess::Own);
        }
        let taken = account.budget.take(account, more);
        match taken {
            Ok(()) => self.bytes += more,
            Err(_) => drop(account.used.fetch_sub(more, Ordering::Relaxed)),
        }
        taken
    }

    /// Holds exactly `bytes`.
    ///
    /// # Errors
    /// The budget doesn't have them: nothing has changed.
    pub fn set_to(&mut self, bytes: usize) -> Result<(), Excess> {
        self.grow_to(bytes)?;
        self.give_back(self.bytes.saturating_sub(bytes));
        Ok(())
    }

    fn give_back(&mut self, bytes: usize) {
        self.account.account.used.fetch_sub(bytes, Ordering::Relaxed);
        self.account.account.budget.used.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// How much a permit grows by at once while values are decoded.
const STEP: usize = 64 * 1024;

/// Values of one message, decoded at the expense of a permit. The first [`COUNTED_FROM`] bytes are free.
#[derive(Debug)]
pub struct Decoding<'a> {
    permit: &'a mut MemoryPermit,
    held_before: usize,
}

impl MemoryPermit {
    /// Counts values on top of what is held.
    pub fn decoding(&mut self) -> Decoding<'_> {
        self.spent = 0;
        Decoding { held_before: self.bytes, permit: self }
    }
}

impl Decoding<'_> {
    /// What was held before is gone: the text that the values came from.
    pub fn keep_values(&mut self) {
        let bytes = self.permit.bytes.saturating_sub(self.held_before);
        self.permit.give_back(self.permit.bytes - bytes);
        self.held_before = 0;
    }
}

impl Meter for Decoding<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), Excess> {
        let spent = self.permit.spent.saturating_add(bytes);
        self.permit.spent = spent;
        let needed = self.held_before.saturating_add(spent);
        if spent <= COUNTED_FROM || needed <= self.permit.bytes {
            return Ok(());
        }
        self.permit.grow_to(needed.saturating_add(STEP)).or_else(|_| self.permit.grow_to(needed))
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

#[cfg(test)]
mod tests;
