use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::clock::Now;
use crate::tests::fixture::{local, page, remote};

fn start() -> Instant {
    Now::read().at
}

fn peer(number: u32) -> Peer {
    Peer {
        remote: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | number)),
        origin: None,
        host: None,
        forwarded: false,
        tailnet: None,
    }
}

#[test]
fn failures_are_forgotten_after_a_minute_and_after_a_success() {
    let mut locks = LockOuts::new(3, Duration::from_secs(300));
    let now = start();
    assert!(!locks.failed(&remote(1), now));
    assert!(!locks.failed(&remote(1), now));
    assert!(!locks.failed(&remote(1), now + WINDOW), "the first two are too old");
    assert!(!locks.failed(&remote(1), now + WINDOW));
    locks.succeeded(&remote(1));
    assert!(!locks.failed(&remote(1), now + WINDOW));
    assert!(!locks.failed(&remote(1), now + WINDOW));
    assert!(locks.failed(&remote(1), now + WINDOW), "now it is the third");
    assert_eq!(locks.locked_for(&remote(1), now + WINDOW), Some(Duration::from_secs(300)));
    assert_eq!(locks.locked_for(&remote(1), now + WINDOW + Duration::from_secs(300)), None);
}

#[test]
fn a_page_and_a_native_client_of_one_address_are_counted_apart() {
    let mut locks = LockOuts::new(1, Duration::from_secs(300));
    let now = start();
    let from_page = Peer { origin: Some("https://app.example".into()), ..remote(1) };
    assert!(locks.failed(&from_page, now));
    assert!(locks.locked_for(&from_page, now).is_some());
    assert_eq!(locks.locked_for(&remote(1), now), None);
    assert!(locks.failed(&page("http://localhost:3000"), now));
    assert_eq!(locks.locked_for(&local(), now), None);
    assert!(!locks.failed(&local(), now), "local clients aren't counted");
}

#[test]
fn a_whole_network_of_version_6_counts_as_one() {
    let mut locks = LockOuts::new(2, Duration::from_secs(300));
    let now = start();
    let of = |address: &str| Peer {
        remote: address.parse().unwrap(),
        origin: None,
        host: None,
        forwarded: false,
        tailnet: None,
    };
    assert!(!locks.failed(&of("2001:db8::1"), now));
    assert!(locks.failed(&of("2001:db8::ffff:2"), now));
    assert!(locks.locked_for(&of("2001:db8::3"), now).is_some());
    assert_eq!(locks.locked_for(&of("2001:db8:0:1::1"), now), None);
    assert!(!locks.failed(&of("192.0.2.1"), now));
    assert!(locks.failed(&of("::ffff:192.0.2.1"), now), "a mapped address is the address that it maps");
}

#[test]
fn a_flood_of_addresses_does_not_free_one_that_is_locked() {
    let mut locks = LockOuts::new(2, Duration::from_secs(300));
    let now = start();
    locks.failed(&peer(0), now);
    locks.failed(&peer(0), now);
    for number in 1..=u32::try_from(MAX_ADDRESSES).unwrap() + 50 {
        locks.failed(&peer(number), now);
    }
    assert_eq!(locks.counts.len(), MAX_ADDRESSES);
    assert!(locks.locked_for(&peer(0), now).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against a plain model of one address: never locked with fewer failures than allowed since the last success, and
    /// never let go early.
    #[test]
    fn nobody_is_locked_too_early_or_let_go_too_early(
        most in 1_u32..6,
        steps in prop::collection::vec((0_u64..90, 0_u8..4), 1..80),
    ) {
        let lockout = Duration::from_secs(300);
        let mut locks = LockOuts::new(most, lockout);
        let mut now = start();
        let mut since_success = 0_u32;
        let mut locked_at: Option<Instant> = None;
        for (seconds, what) in steps {
            now += Duration::from_secs(seconds);
            let is_locked = locks.locked_for(&remote(1), now);
            match locked_at {
                Some(at) if now < at + lockout => prop_assert_eq!(is_locked, Some(at + lockout - now)),
                _ => {
                    prop_assert_eq!(is_locked, None);
                    locked_at = None;
                }
            }
            if is_locked.is_some() {
                continue; // nothing is checked, so nothing is counted
            }
            if what == 0 {
                locks.succeeded(&remote(1));
                since_success = 0;
            } else {
                since_success += 1;
                if locks.failed(&remote(1), now) {
                    prop_assert!(since_success >= most);
                    locked_at = Some(now);
                    since_success = 0;
                }
            }
        }
    }

    #[test]
    fn the_list_of_addresses_never_exceeds_its_bound(numbers in prop::collection::vec(0_u32..20_000, 0..200), step in 0_u64..3) {
        let mut locks = LockOuts::new(2, Duration::from_secs(300));
        let mut now = start();
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() - 20 {
            locks.failed(&peer(number), now);
        }
        for number in numbers {
            now += Duration::from_secs(step);
            locks.failed(&peer(number), now);
            prop_assert!(locks.counts.len() <= MAX_ADDRESSES);
        }
    }
}

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
