//! Memory for the bodies of those who have shown a good key, one budget for all of them: each one's own limit times their number
//! would be far too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};

/// Bytes in all.
const LIMIT: usize = 64 * 1024 * 1024;
/// When to try again.
const WAIT: Duration = Duration::from_secs(5);

/// Bytes in use, and how many there may be. Clones share them.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl BodyBudget {
    fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// A permit over nothing yet.
    pub fn permit(&self) -> BodyPermit {
        BodyPermit { budget: self.clone(), bytes: 0 }
    }
}

/// Bytes held of a budget; given back when dropped.
#[derive(Debug)]
pub struct BodyPermit {
    budget: BodyBudget,
    bytes: usize,
}

impl BodyPermit {
    /// Holds so many bytes in all.
    ///
    /// # Errors
    /// `unavailable`: the budget doesn't have them now.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Failure> {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.budget.limit {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return Err(Failure::new(
                ErrorCode::Unavailable,
                "Too many requests are sending their bodies at this moment",
            )
            .with_help("Wait as long as the Retry-After header says, then send the request again.")
            .with_retry_after(WAIT));
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_share_the_budget_and_give_it_back_when_dropped() {
        let budget = BodyBudget::new(100);
        let (mut one, mut other) = (budget.permit(), budget.permit());
        assert!(one.grow_to(60).is_ok() && one.grow_to(50).is_ok());
        assert_eq!(other.grow_to(41).unwrap_err().code, ErrorCode::Unavailable);
        assert!(other.grow_to(40).is_ok());
        drop(one);
        assert!(other.grow_to(100).is_ok());
        drop(other);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
