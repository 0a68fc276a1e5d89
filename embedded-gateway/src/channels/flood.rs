//! One sender takes so many messages a minute; the rest isn't heard, which is said once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Messages of one sender in a minute.
pub(super) const PER_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// Senders that are remembered; the one that began longest ago goes first.
const MOST: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Flood {
    by_sender: BTreeMap<String, (Instant, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Fine,
    /// The first one too many.
    TooFast,
    /// One more of those.
    StillTooFast,
}

impl Flood {
    pub(super) fn count(&mut self, sender: &str, now: Instant) -> Pace {
        if self.by_sender.len() >= MOST && !self.by_sender.contains_key(sender) {
            self.by_sender.retain(|_, (since, _)| now.saturating_duration_since(*since) < MINUTE);
            let oldest = self.by_sender.iter().min_by_key(|(_, (since, _))| *since).map(|(sender, _)| sender.clone());
            if let Some(oldest) = oldest.filter(|_| self.by_sender.len() >= MOST) {
                self.by_sender.remove(&oldest);
            }
        }
        let (since, count) = self.by_sender.entry(sender.to_owned()).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= MINUTE {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        match *count {
            count if count <= PER_MINUTE => Pace::Fine,
            count if count == PER_MINUTE + 1 => Pace::TooFast,
            _ => Pace::StillTooFast,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    #[test]
    fn a_flood_is_told_of_once_and_ends_with_its_minute() {
        let (mut flood, now) = (Flood::default(), Now::read().at);
        for _ in 0..PER_MINUTE {
            assert_eq!(flood.count("1", now), Pace::Fine);
        }
        assert_eq!(flood.count("1", now), Pace::TooFast);
        assert_eq!(flood.count("1", now), Pace::StillTooFast);
        assert_eq!(flood.count("2", now), Pace::Fine, "others are heard");
        assert_eq!(flood.count("1", now + MINUTE), Pace::Fine);
    }

    #[test]
    fn a_crowd_costs_a_bounded_memory() {
        let (mut flood, now) = (Flood::default(), Now::read().at);
        for sender in 0..10_000 {
            flood.count(&sender.to_string(), now);
        }
        assert_eq!(flood.by_sender.len(), MOST);
    }
}
