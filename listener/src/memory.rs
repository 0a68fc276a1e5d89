//! Memory that clients may take, for all together: what each may take times their number would be far too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in use, of so many that there may be. Clones share them.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Holds nothing yet.
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
        let sum = |used: usize| used.checked_add(more).filter(|sum| *sum <= self.budget.limit);
        let has_room = more == 0 || self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok();
        if has_room {
            self.bytes += more;
        }
        has_room
    }

    /// Gives back what it holds beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
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
