//! A store that takes longer than every deadline: what was written takes effect, what wasn't doesn't.

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};

use super::spawns::{keyed, starts, two_ready};
use super::*;
use crate::gateway_record::GatewayRecord;
use crate::spawn::SpawnState;

/// The store's own deadline in these tests.
const DEADLINE: Duration = Duration::from_millis(500);

/// Another process that holds the database.
struct Stall(SqliteConnection);

impl Stall {
    /// With nothing else under way, behind which what is tested would wait and be withdrawn.
    async fn of(house: &House) -> Self {
        house.registry.send(Ping).await.unwrap();
        house.audit.flush().await;
        while house.store.flush().await.is_err() {}
        let path = house._dir.path().join("gatewarden.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    /// Holds it for several deadlines of the job under way, then lets it go.
    async fn end(mut self) {
        tokio::time::sleep(DEADLINE * 3).await;
        self.0.batch_execute("COMMIT").unwrap();
    }
}

async fn house() -> House {
    House::open_on(at_once(), RestartSettings::default(), None, |options| {
        options.job_deadline = DEADLINE;
        options.busy_timeout = Duration::from_secs(60);
    })
    .await
}

/// What readers see, and what is stored.
async fn both(house: &House) -> (Vec<GatewayRecord>, Vec<GatewayRecord>) {
    let mut seen: Vec<_> = house.roster.list().iter().map(|view| (*view.record).clone()).collect();
    seen.sort_by_key(|record| record.id);
    (seen, house.store.load_gateways().await.unwrap())
}

#[actix::test]
async fn a_gateway_that_is_created_changed_or_deleted_late_is_so_in_memory_too() {
    let mut house = house().await;
    let first = house.create("first", 1).await.record.id;
    house.script.heard().await;

    let stall = Stall::of(&house).await;
    let (created, ()) =
        futures_util::future::join(house.registry.send(CreateGateway(gateway("late", 2).into())), stall.end()).await;
    let late = created.unwrap().unwrap().0.record.id;
    assert!(matches!(house.script.heard().await, (id, Heard::Started { .. }) if id == late));
    let (seen, stored) = both(&house).await;
    assert_eq!((seen.len(), &seen), (2, &stored));

    let stall = Stall::of(&house).await;
    let change = GatewayChange { priority: Some(9), ..GatewayChange::default() };
    let (changed, ()) =
        futures_util::future::join(house.registry.send(UpdateGateway { id: first, change, from: None }), stall.end())
            .await;
    assert_eq!(changed.unwrap().unwrap().record.priority, 9);
    assert!(matches!(house.script.heard().await.1, Heard::Record(record) if record.priority == 9));
    let (seen, stored) = both(&house).await;
    assert_eq!(seen, stored);

    let stall = Stall::of(&house).await;
    let (deleted, ()) = futures_util::future::join(house.registry.send(DeleteGateway(late)), stall.end()).await;
    assert!(deleted.unwrap().unwrap());
    assert!(matches!(house.script.heard().await, (id, Heard::ShutDown) if id == late));
    let (seen, stored) = both(&house).await;
    assert_eq!((seen.len(), &seen), (1, &stored));
}

#[actix::test]
async fn a_spawn_that_is_recorded_late_is_sent_then_and_its_replay_waits_for_it() {
    let mut house = house().await;
    let (prod, _) = two_ready(&mut house).await;
    let stall = Stall::of(&house).await;
    let first = house.registry.send(keyed("k", "a"));
    let (first, ()) = futures_util::future::join(first, stall.end()).await;
    let first = first.unwrap().unwrap();
    assert_eq!(first.state, SpawnState::Accepted);
    assert_eq!(starts(&mut house).await, [prod]);
    let again = house.registry.send(keyed("k", "a")).await.unwrap().unwrap();
    assert_eq!((again.spawn_id, again.state), (first.spawn_id, SpawnState::Accepted));
    assert!(starts(&mut house).await.is_empty());
}

#[actix::test]
async fn a_client_who_left_while_a_spawn_was_recorded_changes_nothing() {
    let mut house = house().await;
    let (prod, _) = two_ready(&mut house).await;
    let stall = Stall::of(&house).await;
    // Sent and no longer waited for.
    house.registry.do_send(keyed("k", "a"));
    stall.end().await;
    let again = loop {
        match house.registry.send(keyed("k", "a")).await.unwrap() {
            Ok(answer) => break answer,
            Err(failure) => assert!(failure.retry_after.is_some(), "{failure}"),
        }
    };
    assert!(again.state != SpawnState::Recorded, "{:?}", again.state);
    assert_eq!(starts(&mut house).await, [prod], "sent once");
}

#[actix::test]
async fn a_spawn_whose_turn_to_be_recorded_has_not_come_at_the_daemons_stop_never_is() {
    let mut house = House::open_on(at_once(), RestartSettings::default(), None, |options| {
        options.busy_timeout = Duration::from_secs(60);
    })
    .await;
    two_ready(&mut house).await;
    let stall = Stall::of(&house).await;
    let spawns = futures_util::future::join_all(["a", "b"].map(|key| house.registry.send(keyed(key, "a"))));
    let (spawns, drained, ()) = futures_util::future::join3(spawns, house.registry.send(Drain), stall.end()).await;
    drained.unwrap();
    for spawn in spawns {
        assert_eq!(spawn.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    }
    assert_eq!(house.store.list_spawns(1, 0).await.unwrap().1, 0, "the next daemon has nobody to ask about");
}

#[actix::test]
async fn what_is_stored_and_neither_sent_nor_ended_is_not_replayed() {
    let mut house = House::open(at_once()).await;
    two_ready(&mut house).await;
    let SpawnWork { request, text, idempotency_key } = keyed("k", "a");
    house.store.record_spawn(request.record, text, idempotency_key).await.unwrap();
    let failure = house.registry.send(keyed("k", "a")).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert!(failure.retry_after.is_some());
    assert!(starts(&mut house).await.is_empty());
}
