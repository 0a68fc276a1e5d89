use std::collections::HashMap;

use proptest::prelude::*;

use std::time::Duration;

use super::*;

/// Some instant: the tests only add to it.
#[expect(clippy::disallowed_methods, reason = "an origin for made-up times; nothing is measured")]
fn origin() -> Instant {
    Instant::now()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_reply_settles_its_request_and_a_second_one_is_a_duplicate() {
    let now = origin();
    let mut table = PendingRequests::new("c1-", 4);
    let first = table.insert("health", now + MINUTE, 'a').unwrap();
    let second = table.insert("status", now + MINUTE, 'b').unwrap();
    assert_ne!(first, second);
    let settled = Settled { id: second.clone(), method: "status".into(), waiter: 'b' };
    assert_eq!(table.on_reply(&second), Ok(settled));
    assert_eq!(table.on_reply(&second), Err(Unmatched::Duplicate));
    assert_eq!(table.len(), 1);
}

#[test]
fn an_id_that_was_never_given_out_is_foreign() {
    let now = origin();
    let mut table: PendingRequests<()> = PendingRequests::new("c2-", 4);
    table.insert("health", now + MINUTE, ()).unwrap();
    for id in ["c1-1", "c2-2", "c2-0", "c2-01", "c2-", "1", "", "invalid", "c2-99999999999999999999"] {
        assert_eq!(table.on_reply(id), Err(Unmatched::Foreign), "{id}");
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn requests_expire_in_the_order_of_their_deadlines_and_a_late_reply_is_a_duplicate() {
    let now = origin();
    let mut table = PendingRequests::new("r", 4);
    let late = table.insert("b", now + 2 * MINUTE, 2).unwrap();
    table.insert("a", now + MINUTE, 1).unwrap();
    table.insert("c", now + 3 * MINUTE, 3).unwrap();
    assert_eq!(table.next_deadline(), Some(now + MINUTE));
    assert!(table.expire(now).is_empty());
    let waiters: Vec<i32> = table.expire(now + 2 * MINUTE).into_iter().map(|settled| settled.waiter).collect();
    assert_eq!(waiters, [1, 2]);
    assert_eq!(table.on_reply(&late), Err(Unmatched::Duplicate));
    assert_eq!(table.next_deadline(), Some(now + 3 * MINUTE));
}

#[test]
fn a_full_table_gives_the_waiter_back_and_takes_more_once_there_is_room() {
    let now = origin();
    let mut table = PendingRequests::new("r", 1);
    let id = table.insert("a", now + MINUTE, 'a').unwrap();
    assert_eq!(table.insert("b", now, 'b'), Err(TableFull { cap: 1, waiter: 'b' }));
    assert!(table.on_reply(&id).is_ok());
    assert!(table.insert("b", now, 'b').is_ok());
}

#[test]
fn the_end_of_a_connection_takes_everything_out_in_order() {
    let now = origin();
    let mut table = PendingRequests::new("r", 8);
    for number in 0..5 {
        table.insert("m", now + MINUTE / (number + 1), number).unwrap();
    }
    let waiters: Vec<u32> = table.drain_all().into_iter().map(|settled| settled.waiter).collect();
    assert_eq!(waiters, [0, 1, 2, 3, 4]);
    assert_eq!((table.len(), table.next_deadline()), (0, None));
}

#[derive(Debug, Clone)]
enum Act {
    Insert { seconds: u64 },
    Reply { index: usize },
    Expire,
    Pass { seconds: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u64..20).prop_map(|seconds| Act::Insert { seconds }),
        4 => (0_usize..40).prop_map(|index| Act::Reply { index }),
        1 => Just(Act::Expire),
        2 => (1_u64..10).prop_map(|seconds| Act::Pass { seconds }),
    ]
}

proptest! {
    #[test]
    fn every_request_is_settled_exactly_once(acts in prop::collection::vec(act(), 0..120)) {
        let mut now = origin();
        let mut table = PendingRequests::new("p", 8);
        let mut ids: Vec<String> = Vec::new();
        let mut settled: HashMap<String, u32> = HashMap::new();
        let mut count = |gone: Vec<Settled<usize>>| {
            for one in gone {
                *settled.entry(one.id).or_default() += 1;
            }
        };
        for act in acts {
            match act {
                Act::Insert { seconds } => {
                    if let Ok(id) = table.insert("m", now + Duration::from_secs(seconds), ids.len()) {
                        prop_assert!(!ids.contains(&id));
                        ids.push(id);
                    }
                }
                Act::Reply { index } => if let Some(id) = ids.get(index) {
                    count(table.on_reply(id).into_iter().collect());
                },
                Act::Expire => count(table.expire(now)),
                Act::Pass { seconds } => now += Duration::from_secs(seconds),
            }
            prop_assert!(table.len() <= 8);
            prop_assert_eq!(table.next_deadline().is_none(), table.is_empty());
        }
        count(table.drain_all());
        prop_assert_eq!(settled.len(), ids.len());
        prop_assert!(settled.values().all(|times| *times == 1));
    }
}
