//! One line a second and address about connections that were turned away, however many there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Between two lines about one address.
const EVERY: Duration = Duration::from_secs(1);

/// Addresses that have lines of their own at one time.
const MAX_ADDRESSES: usize = 64;

/// What was said lately.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    /// When each address was last spoken of, and how often it was turned away since. `None` stands for the others.
    lately: HashMap<Option<IpAddr>, (Duration, u64)>,
}

impl RefusalLog {
    /// Counts a refusal; how many there were since the last line, where it is time for one. `now` is any clock's.
    pub(crate) fn note(&mut self, address: IpAddr, now: Duration) -> Option<u64> {
        let mut key = Some(address);
        if !self.lately.contains_key(&key) && self.lately.len() >= MAX_ADDRESSES {
            self.lately.retain(|_, (said, _)| now.saturating_sub(*said) < EVERY);
            if self.lately.len() >= MAX_ADDRESSES {
                key = None;
            }
        }
        match self.lately.get_mut(&key) {
            Some((said, count)) => {
                *count += 1;
                if now.saturating_sub(*said) < EVERY {
                    return None;
                }
                *said = now;
                Some(std::mem::take(count))
            }
            None => {
                self.lately.insert(key, (now, 0));
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_line_a_second_that_tells_how_many() {
        let mut log = RefusalLog::default();
        let (one, two) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let at = Duration::from_millis;
        assert_eq!(log.note(one, at(0)), Some(1));
        assert_eq!(log.note(one, at(500)), None);
        assert_eq!(log.note(two, at(600)), Some(1));
        assert_eq!(log.note(one, at(1_000)), Some(2));
        assert_eq!(log.note(one, at(1_999)), None);
    }

    #[test]
    fn many_addresses_share_a_line() {
        let mut log = RefusalLog::default();
        let said = (0..10_000_u32).filter(|n| log.note(IpAddr::from(n.to_be_bytes()), Duration::ZERO).is_some());
        assert_eq!(said.count(), MAX_ADDRESSES + 1);
        assert!(log.lately.len() <= MAX_ADDRESSES + 1);
    }
}
