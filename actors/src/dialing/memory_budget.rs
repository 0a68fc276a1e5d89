//! One limit for the whole process on memory that large frames take: 10,000 gateways at 26 MiB each would not fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Messages up to this size are not counted, bytes.
pub const COUNTED_FROM: usize = 1024 * 1024;

/// What all counted messages may take together, bytes.
pub const LARGE_FRAME_BUDGET: usize = 64 * 1024 * 1024;

/// A limit on bytes in use. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(LARGE_FRAME_BUDGET)
    }
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A permit over nothing yet.
    pub fn empty_permit(&self) -> MemoryPermit {
        MemoryPermit { budget: self.clone(), bytes: 0 }
    }
}

/// Bytes held of a budget; given back when dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    budget: MemoryBudget,
    bytes: usize,
}

impl MemoryPermit {
    /// Holds `bytes` in all. False, and unchanged, when the budget doesn't have them.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = |used: usize| used.checked_add(more).filter(|sum| *sum <= self.budget.limit);
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_share_the_budget_and_give_it_back_when_dropped() {
        let budget = MemoryBudget::new(100);
        let mut one = budget.empty_permit();
        let mut other = budget.empty_permit();
        assert!(one.grow_to(60));
        assert!(!other.grow_to(41), "more than is left");
        assert!(other.grow_to(40));
        assert!(one.grow_to(10), "shrinking is not asked for and keeps what is held");
        assert_eq!(budget.used(), 100);
        assert!(!one.grow_to(usize::MAX));
        drop(one);
        assert_eq!(budget.used(), 40);
        assert!(other.grow_to(100));
        drop(other);
        assert_eq!(budget.used(), 0);
    }
}
