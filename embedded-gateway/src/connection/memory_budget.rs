//! One limit for all connections on the memory that large messages take: each connection's own cap times their number would be
//! far too much.

use std::cell::Cell;
use std::rc::Rc;

/// Messages up to this size are not counted, in bytes.
pub(super) const COUNTED_FROM: usize = 1024 * 1024;

/// What all counted messages may take together, in bytes.
const LARGE_MESSAGES: usize = 128 * 1024 * 1024;

/// Bytes in use by large messages. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    used: Rc<Cell<usize>>,
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
        Self { used: Rc::default(), limit }
    }

    /// A permit over nothing yet.
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
        let sum = self.budget.used.get().saturating_add(more);
        if sum > self.budget.limit {
            return false;
        }
        self.budget.used.set(sum);
        self.bytes += more;
        true
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        let used = &self.budget.used;
        used.set(used.get().saturating_sub(self.bytes));
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
        drop(one);
        assert!(other.grow_to(100));
    }
}
