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
    let first = table.insert(None, "health", now + MINUTE, 'a').unwrap();
    let second = table.insert(None, "status", now + MINUTE, 'b').unwrap();
    assert_ne!(first, second);
    let settled = Settled { id: second.clone(), method: "status".into(), waiter: 'b' };
    assert_eq!(table.on_reply(&second), Ok(settled));
    assert_eq!(table.on_reply(&second), Err(Unmatched::Duplicate));
    assert_eq!(table.len(), 1);
}

#[test]
fn a_request_goes_by_the_id_that_its_sender_chose_until_it_is_settled() {
    let now = origin();
    let mut table = PendingRequests::new("c1-", 4);
    assert_eq!(table.insert(Some("spawn-1"), "spawn", now + MINUTE, 'a').unwrap(), "spawn-1");
    assert_eq!(table.waiter("spawn-1"), Some(&'a'));
    let settled = Settled { id: "spawn-1".into(), method: "spawn".into(), waiter: 'a' };
    assert_eq!(table.on_reply("spawn-1"), Ok(settled));
    assert_eq!(table.on_reply("spawn-1"), Err(Unmatched::Foreign));
    table.insert(Some("spawn-2"), "spawn", now, 'b').unwrap();
    assert_eq!(table.expire(now).len(), 1);
    assert_eq!(table.on_reply("spawn-2"), Err(Unmatched::Foreign), "an overdue one waits no more");
}

#[test]
fn an_id_that_cannot_be_had_is_replaced_by_one_of_the_tables_own() {
    let now = origin();
    let mut table = PendingRequests::new("c1-", 4);
    table.insert(Some("s"), "spawn", now + MINUTE, 'a').unwrap();
    let second = table.insert(Some("s"), "spawn", now + MINUTE, 'b').unwrap();
    assert_ne!(second, "s", "another request waits under it");
    assert_eq!(
        table.insert(Some("c1-4"), "spawn", now + MINUTE, 'c').unwrap(),
        "c1-3",
        "the table will give that out itself"
    );
    assert_eq!((table.waiter("s"), table.waiter(&second)), (Some(&'a'), Some(&'b')));
}

#[test]
fn an_id_that_was_never_given_out_is_foreign() {
    let now = origin();
    let mut table: PendingRequests<()> = PendingRequests::new("c2-", 4);
    table.insert(None, "health", now + MINUTE, ()).unwrap();
    for id in ["c1-1", "c2-2", "c2-0", "c2-01", "c2-", "1", "", "invalid", "c2-99999999999999999999"] {
        assert_eq!(table.on_reply(id), Err(Unmatched::Foreign), "{id}");
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn requests_expire_in_the_order_of_their_deadlines_and_a_late_reply_is_a_duplicate() {
    let now = origin();
    let mut table = PendingRequests::new("r", 4);
    let late = table.insert(None, "b", now + 2 * MINUTE, 2).unwrap();
    table.insert(None, "a", now + MINUTE, 1).unwrap();
    table.insert(None, "c", now + 3 * MINUTE, 3).unwrap();
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
    let id = table.insert(None, "a", now + MINUTE, 'a').unwrap();
    assert_eq!(table.insert(None, "b", now, 'b'), Err(TableFull { cap: 1, waiter: 'b' }));
    assert!(table.on_reply(&id).is_ok());
    assert!(table.insert(None, "b", now, 'b').is_ok());
}

#[test]
fn the_end_of_a_connection_takes_everything_out_in_order() {
    let now = origin();
    let mut table = PendingRequests::new("r", 8);
    for number in 0..5 {
        table.insert(None, "m", now + MINUTE / (number + 1), number).unwrap();
    }
    let waiters: Vec<u32> = table.drain_all().into_iter().map(|settled| settled.waiter).collect();
    assert_eq!(waiters, [0, 1, 2, 3, 4]);
    assert_eq!((table.len(), table.next_deadline()), (0, None));
}

#[derive(Debug, Clone)]
enum Act {
    Insert { seconds: u64, chosen: bool },
    Reply { index: usize },
    Expire,
    Pass { seconds: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u64..20, any::<bool>()).prop_map(|(seconds, chosen)| Act::Insert { seconds, chosen }),
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
                Act::Insert { seconds, chosen } => {
                    let chosen = chosen.then(|| format!("spawn-{}", ids.len()));
                    if let Ok(id) = table.insert(chosen.as_deref(), "m", now + Duration::from_secs(seconds), ids.len()) {
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
