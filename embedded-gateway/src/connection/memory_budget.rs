//! One limit for all connections on what they hold in memory, be it large messages that come in or what waits to be read: each
//! connection's own cap times their number would be far too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Messages up to this size are not counted, in bytes.
pub(super) const COUNTED_FROM: usize = 1024 * 1024;

/// What all counted messages may take together, in bytes.
const LARGE_MESSAGES: usize = 128 * 1024 * 1024;

/// Bytes in use. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(LARGE_MESSAGES)
    }
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub(super) fn empty_permit(&self) -> MemoryPermit {
        MemoryPermit { budget: self.clone(), bytes: 0 }
    }
}

/// Bytes held of a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct MemoryPermit {
    budget: MemoryBudget,
    bytes: usize,
}

impl MemoryPermit {
    /// Holds `bytes` in all. False, and unchanged, when the budget doesn't have them.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let sum = |used: usize| used.checked_add(more).filter(|sum| *sum <= self.budget.limit);
        let has_room = more == 0 || self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok();
        if has_room {
            self.bytes += more;
        }
        has_room
    }

    /// Gives back what it holds beyond `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.used.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_share_the_budget_and_give_it_back_when_dropped() {
        let budget = MemoryBudget::new(100);
        let (mut one, mut other) = (budget.empty_permit(), budget.empty_permit());
        assert!(one.grow_to(60));
        assert!(!other.grow_to(41), "more than is left");
        assert!(other.grow_to(40));
        assert!(!one.grow_to(usize::MAX));
        one.shrink_to(30);
        assert!(other.grow_to(70));
        drop(one);
        assert!(other.grow_to(100));
    }
}
