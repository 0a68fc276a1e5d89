//! How many failures of one address are written to the logs: whoever fails all day long must not fill them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use gatewarden_listener::network_of;

use super::lockout::MAX_ADDRESSES;

/// Failures of one address (of IPv6: of one network) that are written within [`SPAN`].
const WRITTEN: u32 = 10;
/// After it an address starts anew.
const SPAN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct FailureLog {
    counts: HashMap<IpAddr, Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    first: Instant,
    failures: u32,
}

impl Count {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.first) >= SPAN
    }

    fn left_out(&self) -> u32 {
        self.failures.saturating_sub(WRITTEN)
    }
}

/// Failures that were not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub network: IpAddr,
    pub failures: u32,
}

impl FailureLog {
    /// An address has failed: whether to write so, and what was left out of it before, where its span is over.
    pub(crate) fn failed(&mut self, address: IpAddr, now: Instant) -> (bool, Option<LeftOut>) {
        let network = network_of(address);
        let before = self.counts.get(&network).filter(|count| count.is_over(now)).map(Count::left_out);
        if before.is_some() {
            self.counts.remove(&network);
        }
        if self.counts.len() >= MAX_ADDRESSES && !self.counts.contains_key(&network) {
            // So many addresses at once are an attack in any case: it is counted with the metrics alone.
            return (false, None);
        }
        let count = self.counts.entry(network).or_insert(Count { first: now, failures: 0 });
        count.failures = count.failures.saturating_add(1);
        let left_out = before.filter(|failures| *failures > 0).map(|failures| LeftOut { network, failures });
        (count.failures <= WRITTEN, left_out)
    }

    /// What was left out of addresses whose span is over; they are forgotten.
    pub(crate) fn take_over(&mut self, now: Instant) -> Vec<LeftOut> {
        let mut left_out: Vec<LeftOut> = Vec::new();
        self.counts.retain(|network, count| {
            let over = count.is_over(now);
            if over && count.left_out() > 0 {
                left_out.push(LeftOut { network: *network, failures: count.left_out() });
            }
            !over
        });
        left_out.sort_by_key(|one| one.network);
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn ten_failures_a_minute_are_written_and_the_rest_is_counted() {
        let mut log = FailureLog::default();
        let start = crate::clock::Now::read().at;
        let written = (0..100).filter(|_| log.failed(address(1), start).0).count();
        assert_eq!(written, 10);
        assert!(log.failed(address(2), start).0, "each address has its own count");
        assert!(log.take_over(start + SPAN / 2).is_empty());
        let left_out = LeftOut { network: address(1), failures: 90 };
        assert_eq!(log.take_over(start + SPAN), [left_out]);
        assert!(log.take_over(start + SPAN * 2).is_empty(), "it is said once");
    }

    #[test]
    fn the_first_failure_of_a_new_span_tells_what_was_left_out_of_the_last_one() {
        let mut log = FailureLog::default();
        let start = crate::clock::Now::read().at;
        for _ in 0..12 {
            log.failed(address(1), start);
        }
        let told = Some(LeftOut { network: address(1), failures: 2 });
        assert_eq!(log.failed(address(1), start + SPAN), (true, told));
        assert_eq!(log.failed(address(1), start + SPAN), (true, None));
    }

    #[test]
    fn more_addresses_than_are_kept_are_not_written() {
        let mut log = FailureLog::default();
        let start = crate::clock::Now::read().at;
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() {
            assert!(log.failed(std::net::Ipv4Addr::from_bits(number).into(), start).0);
        }
        assert_eq!(log.failed(address(1), start), (false, None));
        assert_eq!(log.counts.len(), MAX_ADDRESSES);
        log.take_over(start + SPAN);
        assert!(log.failed(address(1), start + SPAN).0);
    }
}
