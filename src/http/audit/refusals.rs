//! How many refusals one caller may leave in the audit log. Without a bound, whoever reaches the port could fill the disk
//! without a key, one 401 after the other.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::http::rate_limit::AddressBlock;

/// Refusals of one source in one window; what is beyond is only counted.
const MOST_A_SOURCE: u32 = 30;
/// Refusals of all in one window.
const MOST: u32 = 600;
const WINDOW: Duration = Duration::from_secs(60);

/// Whose refusals they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// Somebody with this key.
    Key(i64),
    /// Somebody without one.
    Address(AddressBlock),
}

/// Counts them.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    admitted: u32,
    /// Bounded, since only what is admitted is counted here.
    by_source: HashMap<Source, u32>,
    left_out: u64,
}

impl Refusals {
    /// Whether one more may have an entry of its own.
    pub(super) fn admit(&self, source: Source, now: Instant) -> bool {
        self.with(|window| {
            if window.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
                window.began = Some(now);
                window.admitted = 0;
                window.by_source.clear();
            }
            let of_source = window.by_source.get(&source).copied().unwrap_or(0);
            if of_source >= MOST_A_SOURCE || window.admitted >= MOST {
                window.left_out += 1;
                return false;
            }
            window.admitted += 1;
            window.by_source.insert(source, of_source + 1);
            true
        })
    }

    /// How many had none since the last call.
    pub(crate) fn take_left_out(&self) -> u64 {
        self.with(|window| std::mem::take(&mut window.left_out))
    }

    /// It is held for a few moves only and nothing in there panics, so poison carries no meaning.
    fn with<T>(&self, action: impl FnOnce(&mut Window) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatewarden_actors::clock::Clock;

    #[test]
    fn one_source_leaves_so_many_entries_and_does_not_use_up_those_of_others() {
        let refusals = Refusals::default();
        let now = Clock::simulated(0, 1).now();
        let admitted = |key, at| (0..100).filter(|_| refusals.admit(Source::Key(key), at)).count();
        assert_eq!(admitted(1, now), 30);
        assert_eq!(admitted(2, now), 30);
        assert_eq!(refusals.take_left_out(), 140);
        assert_eq!(refusals.take_left_out(), 0);
        assert_eq!(admitted(1, now + Duration::from_secs(59)), 0);
        assert_eq!(admitted(1, now + Duration::from_secs(60)), 30);
    }

    #[test]
    fn all_sources_together_are_bounded_too() {
        let refusals = Refusals::default();
        let now = Clock::simulated(0, 1).now();
        let admitted = (0..10_000).filter(|key| refusals.admit(Source::Key(*key), now)).count();
        assert_eq!(admitted, 600);
        assert_eq!(refusals.take_left_out(), 9_400);
    }
}
