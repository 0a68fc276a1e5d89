use super::*;
use gatewarden_core::machines::auth_budget::{FailedLogin, WINDOW};

const HOUR_MS: i64 = 3_600_000;
/// What a slow machine may take for a few writes and reads.
const SLOW: Duration = Duration::from_secs(20);

fn failed(seconds_ago: u64, refused: bool) -> FailedLogin {
    FailedLogin { ago: Duration::from_secs(seconds_ago), refused }
}

async fn put(store: &StoreHandle, address: &str, logins: &[FailedLogin]) {
    store.put_failed_logins(vec![(address.to_owned(), logins.to_vec())]).await.unwrap();
}

/// The stored ones are these, and a moment older by now.
async fn has(store: &StoreHandle, expected: &[(&str, &[FailedLogin])]) {
    let found = store.load_failed_logins().await.unwrap();
    let addresses = |all: Vec<&str>| all.join(" ");
    assert_eq!(
        addresses(found.iter().map(|(address, _)| address.as_str()).collect()),
        addresses(expected.iter().map(|(address, _)| *address).collect())
    );
    for ((address, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{address}: {found:?}");
        for (found, expected) in found.iter().zip(*expected) {
            // The database counts in whole milliseconds.
            let older = (found.ago + Duration::from_millis(1)).checked_sub(expected.ago);
            assert!(older.is_some_and(|older| older < SLOW), "{address}: {found:?}, put as {expected:?}");
            assert_eq!(found.refused, expected.refused);
        }
    }
}

/// How many rows there are, and how many of them are still to come.
fn rows(scratch: &Scratch, now_ms: i64) -> (usize, usize) {
    let count = |filter: String| scratch.execute(format!("UPDATE failed_logins SET place = place WHERE {filter}"));
    (count("true".to_owned()).unwrap(), count(format!("at_ms > {now_ms}")).unwrap())
}

#[actix::test]
async fn failed_logins_are_kept_by_address_with_their_age() {
    let scratch = Scratch::open();
    has(&scratch.store, &[]).await;
    let both = vec![
        ("ws://b:2".to_owned(), vec![failed(30, true), failed(10, false), failed(10, true), failed(0, true)]),
        ("ws://a:1".to_owned(), vec![failed(5, false)]),
    ];
    scratch.store.put_failed_logins(both).await.unwrap();
    let scratch = scratch.reopen().await;
    let of_b = [failed(30, true), failed(10, false), failed(10, true), failed(0, true)];
    has(&scratch.store, &[("ws://a:1", &[failed(5, false)]), ("ws://b:2", &of_b)]).await;
    put(&scratch.store, "ws://b:2", &[failed(3, true)]).await;
    has(&scratch.store, &[("ws://a:1", &[failed(5, false)]), ("ws://b:2", &[failed(3, true)])]).await;
    put(&scratch.store, "ws://a:1", &[]).await;
    has(&scratch.store, &[("ws://b:2", &[failed(3, true)])]).await;
}

#[actix::test]
async fn a_failed_login_that_counts_no_more_is_neither_found_nor_kept() {
    let scratch = Scratch::open();
    put(&scratch.store, "ws://a:1", &[failed(WINDOW.as_secs() + 1, true), failed(2, true)]).await;
    put(&scratch.store, "ws://b:2", &[failed(WINDOW.as_secs() * 60, true)]).await;
    has(&scratch.store, &[("ws://a:1", &[failed(2, true)])]).await;
    assert_eq!(rows(&scratch, i64::MAX).0, 3);
    scratch.store.forget_old(&RetentionSettings::default()).await.unwrap();
    assert_eq!(rows(&scratch, i64::MAX).0, 1);
    has(&scratch.store, &[("ws://a:1", &[failed(2, true)])]).await;
}

#[actix::test]
async fn many_addresses_are_stored_at_once() {
    let scratch = Scratch::open();
    let logins = (0..500).map(|host| (format!("ws://h{host}:1"), vec![failed(1, true); 5])).collect();
    scratch.store.put_failed_logins(logins).await.unwrap();
    let found = scratch.store.load_failed_logins().await.unwrap();
    assert_eq!((found.len(), found.iter().map(|(_, failed)| failed.len()).sum::<usize>()), (500, 2_500));
}

#[actix::test]
async fn a_clock_that_was_put_back_shuts_no_address_for_longer_than_the_window() {
    let scratch = Scratch::open();
    put(&scratch.store, "ws://a:1", &[failed(50, true), failed(40, true)]).await;
    scratch.execute(format!("UPDATE failed_logins SET at_ms = at_ms + {HOUR_MS}")).unwrap();
    has(&scratch.store, &[("ws://a:1", &[failed(0, true), failed(0, true)])]).await;
    assert_eq!(scratch.store.thin_failed_logins().await.unwrap(), 0);
    let now_ms = Clock::system().wall_ms();
    assert_eq!(rows(&scratch, now_ms), (2, 0), "from the first look on they age");
    scratch.execute(format!("UPDATE failed_logins SET at_ms = at_ms - {}", WINDOW.as_millis() + 1)).unwrap();
    has(&scratch.store, &[]).await;
    assert_eq!(scratch.store.thin_failed_logins().await.unwrap(), 2);
}

#[actix::test]
async fn a_clock_that_jumps_ahead_lifts_no_count_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::simulated(1_790_000_000_000, 1);
    clock.watch(None, "boot", false);
    let key = SealingKey::load_or_create(None, dir.path()).unwrap();
    let options = StoreOptions::at(dir.path().join("gatewarden.db"));
    let store = StoreHandle::open(options, key, clock.clone(), Arc::new(())).unwrap();
    put(&store, "ws://a:1", &[failed(30, true)]).await;
    clock.jump(HOUR_MS);
    put(&store, "ws://b:2", &[failed(5, true)]).await;
    store.thin_failed_logins().await.unwrap();
    // Those of after the jump count for a moment longer, never for a shorter time.
    has(&store, &[("ws://a:1", &[failed(30, true)]), ("ws://b:2", &[failed(0, true)])]).await;
}

#[actix::test]
async fn on_a_server_no_node_s_clock_counts() {
    let Some(server) = server() else { return };
    let (database, dir) = (Database::Server(new_schema(&server)), tempfile::tempdir().unwrap());
    // One after the other, with clocks that are decades apart.
    let mut known = Vec::new();
    for (at_ms, address, logins) in [
        (5, "ws://a:1", [failed(30, true), failed(20, false)]),
        (4_000_000_000_000, "ws://b:2", [failed(10, true), failed(0, true)]),
        (1_000_000_000_000, "ws://c:3", [failed(40, true), failed(0, true)]),
    ] {
        let key = SealingKey::load_or_create(None, dir.path()).unwrap();
        let clock = Clock::simulated(at_ms, 1);
        let store = StoreHandle::open(StoreOptions::of(database.clone()), key, clock, Arc::new(())).unwrap();
        assert_eq!(store.thin_failed_logins().await.unwrap(), 0);
        put(&store, address, &logins).await;
        known.push((address, logins));
        let expected: Vec<_> = known.iter().map(|(address, logins)| (*address, logins.as_slice())).collect();
        has(&store, &expected).await;
        store.flush().await.unwrap();
        store.close_for_test().await;
    }
}
