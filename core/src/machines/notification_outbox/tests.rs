use proptest::prelude::*;

use super::*;
use crate::ids::GatewayId;
use crate::machines::notification::{Condition, Subject};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn waiting(row: i64, gateway: i64) -> Queued {
    Queued {
        row,
        id: format!("n{row}"),
        topic: Topic { subject: Subject::Gateway(GatewayId(gateway)), condition: Condition::Down },
        body: Bytes::from_static(b"{}"),
        created_ms: 0,
        attempts: 0,
        next_ms: 0,
    }
}

fn due(outbox: &Outbox, now_ms: i64) -> Option<i64> {
    outbox.due(now_ms).map(|one| one.row)
}

#[test]
fn what_concerns_one_gateway_is_sent_in_order_and_a_refused_one_holds_up_only_its_own() {
    let mut outbox = Outbox::new(DAY);
    for (row, gateway) in [(1, 1), (2, 1), (3, 2)] {
        outbox.push(waiting(row, gateway));
    }
    assert_eq!(due(&outbox, 0), Some(1));
    let next = outbox.failed(1, Blame::Notification, None, 0, 0.0);
    assert_eq!(next, Some(Next::Again { attempts: 1, at_ms: 5_000 }));
    assert_eq!(due(&outbox, 0), Some(3), "another gateway's goes on");
    outbox.delivered(3, 0);
    assert_eq!(due(&outbox, 4_999), None, "2 waits behind 1");
    assert_eq!(due(&outbox, 5_000), Some(1));
    outbox.delivered(1, 5_000);
    assert_eq!(due(&outbox, 5_000), Some(2));
}

#[test]
fn a_destination_that_fails_is_left_alone_for_a_while_and_everything_goes_out_when_it_is_back() {
    let mut outbox = Outbox::new(DAY);
    for row in 1..=3 {
        outbox.push(waiting(row, row));
    }
    outbox.failed(1, Blame::Destination, None, 0, 0.0);
    assert_eq!(due(&outbox, 4_999), None);
    assert_eq!(due(&outbox, 5_000), Some(2));
    outbox.failed(2, Blame::Destination, None, 5_000, 0.0);
    assert_eq!(due(&outbox, 14_999), None, "ten seconds after the second failure");
    assert_eq!(due(&outbox, 15_000), Some(3));
    outbox.failed(3, Blame::Destination, None, 15_000, 0.0);
    assert_eq!(due(&outbox, 35_000), Some(1));
    outbox.delivered(1, 35_000);
    assert_eq!(due(&outbox, 35_000), Some(2));
    outbox.delivered(2, 35_000);
    assert_eq!(due(&outbox, 35_000), Some(3));
}

#[test]
fn waits_double_up_to_ten_minutes_and_a_longer_retry_after_counts() {
    let mut outbox = Outbox::new(DAY);
    outbox.push(waiting(1, 1));
    let mut waits = Vec::new();
    for _ in 0..9 {
        match outbox.failed(1, Blame::Notification, None, 0, 0.0) {
            Some(Next::Again { at_ms, .. }) => waits.push(at_ms / 1000),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    let asked = Some(Duration::from_secs(1200));
    assert_eq!(
        outbox.failed(1, Blame::Destination, asked, 0, 0.9),
        Some(Next::Again { attempts: 10, at_ms: 1_200_000 })
    );
    assert_eq!(due(&outbox, 1_199_999), None);
    let absurd = Some(Duration::from_secs(30 * 24 * 3600));
    let Some(Next::Again { at_ms, .. }) = outbox.failed(1, Blame::Destination, absurd, 0, 0.0) else { panic!() };
    assert_eq!(at_ms, 3_600_000, "an hour is the most that is believed");
}

#[test]
fn an_old_one_is_given_up_but_never_untried() {
    let mut outbox = Outbox::new(DAY);
    outbox.push(waiting(1, 1));
    let late = 3 * 24 * 3_600_000;
    assert_eq!(outbox.take_expired(late), []);
    assert_eq!(due(&outbox, late), Some(1), "the daemon was away: it is tried once");
    assert!(matches!(outbox.failed(1, Blame::Destination, None, late, 0.0), Some(Next::Again { attempts: 1, .. })));
    outbox.push(Queued { attempts: 3, ..waiting(2, 1) });
    assert_eq!(outbox.take_expired(late).len(), 2);
    assert!(outbox.is_empty());
}

#[test]
fn attempts_are_bounded() {
    let mut outbox = Outbox::new(DAY);
    outbox.push(waiting(1, 1));
    for attempt in 1..=MAX_ATTEMPTS {
        let given_up = outbox.failed(1, Blame::Notification, None, 0, 0.0) == Some(Next::GivenUp);
        assert_eq!(given_up, attempt == MAX_ATTEMPTS);
    }
    assert_eq!(outbox.failed(1, Blame::Notification, None, 0, 0.0), None, "it is gone");
}

#[test]
fn a_clock_that_was_set_back_silences_nobody() {
    let mut outbox = Outbox::new(DAY);
    outbox.push(waiting(1, 1));
    let ahead = 400 * 24 * 3_600_000;
    outbox.failed(1, Blame::Destination, None, ahead, 0.0);
    outbox.push(Queued { next_ms: ahead, ..waiting(2, 2) });
    assert!(due(&outbox, 1_000).is_some());
}

proptest! {
    #[test]
    fn all_that_is_pushed_leaves_once_in_the_order_of_its_gateway(
        gateways in proptest::collection::vec(1..4_i64, 1..30),
        answers in proptest::collection::vec((0..4_u8, 0..100_u32), 1..400),
    ) {
        let mut outbox = Outbox::new(DAY);
        for (row, gateway) in gateways.iter().enumerate() {
            outbox.push(waiting(i64::try_from(row).unwrap(), *gateway));
        }
        let mut now_ms = 0;
        let mut taken = Vec::new();
        let mut answers = answers.into_iter();
        while !outbox.is_empty() {
            let Some(row) = due(&outbox, now_ms) else {
                now_ms += 1_000;
                prop_assert!(now_ms < 1_000_000_000, "nothing is ever due");
                continue;
            };
            // When the answers have run out the destination is well.
            match answers.next() {
                Some((0, jitter)) => { outbox.failed(row, Blame::Destination, None, now_ms, f64::from(jitter) / 100.0); }
                Some((1, jitter)) => { outbox.failed(row, Blame::Notification, None, now_ms, f64::from(jitter) / 100.0); }
                _ => {
                    outbox.delivered(row, now_ms);
                    taken.push(row);
                }
            }
        }
        for gateway in 1..4 {
            let of = |row: &&i64| gateways[usize::try_from(**row).unwrap()] == gateway;
            let rows: Vec<_> = taken.iter().filter(of).collect();
            prop_assert!(rows.is_sorted(), "gateway {gateway}: {rows:?}");
        }
        taken.sort_unstable();
        prop_assert_eq!(taken.len(), gateways.len());
        taken.dedup();
        prop_assert_eq!(taken.len(), gateways.len(), "one was sent twice");
    }
}
