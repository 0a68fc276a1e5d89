use super::*;
use crate::schema::spawns;
use crate::tables::spawns::request_place;
use diesel::prelude::*;
use gatewarden_core::ids::GatewayId;
use gatewarden_core::spawn::SpawnState::{self, *};
use gatewarden_core::spawn::{SpawnKind, SpawnRecord};
use serde_json::json;

const DAY_MS: i64 = 24 * 3_600_000;

pub(crate) fn new_spawn(summary: &str) -> SpawnRecord {
    SpawnRecord {
        spawn_id: uuid::Uuid::new_v4().to_string(),
        kind: SpawnKind::Command,
        summary: summary.to_owned(),
        model: Some("m".to_owned()),
        gateway_id: Some(GatewayId(3)),
        gateway_name: Some("a".to_owned()),
        route: Some("primary".to_owned()),
        agent: Some("researcher".to_owned()),
        label: Some("nightly".to_owned()),
        key_id: Some(5),
        ..SpawnRecord::default()
    }
}

pub(crate) fn text() -> Secret {
    Secret::new(json!({"command": "python", "env": {"API": "env-secret-1"}}).to_string())
}

/// What an idempotency key stands for.
#[derive(Debug, PartialEq)]
struct Keyed {
    record: SpawnRecord,
    /// Whether it was recorded before.
    replayed: bool,
}

/// Records a spawn with an idempotency key.
async fn keyed(scratch: &Scratch, spawn: SpawnRecord, key: &str, body: &str) -> Option<Keyed> {
    let new_id = spawn.spawn_id.clone();
    let recorded = scratch.store.record_spawn(spawn, Secret::new(body), Some(key.to_owned())).await.unwrap();
    recorded.map(|record| Keyed { replayed: record.spawn_id != new_id, record })
}

async fn recorded(scratch: &Scratch, summary: &str) -> SpawnRecord {
    let spawn = new_spawn(summary);
    let record = scratch.store.record_spawn(spawn.clone(), text(), None).await.unwrap().unwrap();
    assert_eq!(record.spawn_id, spawn.spawn_id);
    record
}

async fn step(scratch: &Scratch, id: &str, from: &[SpawnState], to: SpawnState) -> Option<SpawnRecord> {
    moved(scratch, id, from, to, SpawnRecord::default()).await
}

async fn moved(
    scratch: &Scratch,
    id: &str,
    from: &[SpawnState],
    to: SpawnState,
    change: SpawnRecord,
) -> Option<SpawnRecord> {
    let step = SpawnRecord { spawn_id: id.to_owned(), state: to, ..change };
    scratch.store.move_spawns(from, vec![step]).await.unwrap().pop()
}

/// The request as it opens.
async fn request(scratch: &Scratch, id: &str) -> Option<Secret> {
    let id = id.to_owned();
    let read = scratch.store.read("open the request", move |db| {
        let sealed = spawns::table.filter(spawns::spawn_id.eq(&id)).select(spawns::request);
        let sealed: String = sealed.first(db.connection)?;
        Ok(db.sealer.open_text(request_place(&id), &sealed).ok())
    });
    read.await.unwrap()
}

async fn find(scratch: &Scratch, id: &str) -> SpawnRecord {
    scratch.store.find_spawn(id.to_owned()).await.unwrap().unwrap()
}

#[actix::test]
async fn a_spawn_is_recorded_whole_and_moves_to_its_end() {
    let scratch = Scratch::open();
    let made = recorded(&scratch, "python agent.py").await;
    assert_eq!((made.state, made.completed_at_ms, made.created_at_ms), (Recorded, None, made.updated_at_ms));
    let scratch = scratch.reopen().await;
    let id = made.spawn_id.as_str();
    assert_eq!(request(&scratch, id).await, Some(text()));
    assert_eq!(find(&scratch, id).await, made);
    let to_b =
        SpawnRecord { gateway_id: Some(GatewayId(4)), gateway_name: Some("b".to_owned()), ..SpawnRecord::default() };
    let sent = moved(&scratch, id, &[Recorded], Sent, to_b).await.unwrap();
    assert_eq!((sent.state, sent.gateway_id, sent.gateway_name.as_deref()), (Sent, Some(GatewayId(4)), Some("b")));
    assert_eq!((sent.route.as_deref(), sent.agent.as_deref()), (Some("primary"), Some("researcher")));
    let runs = SpawnRecord {
        session_key: Some("agent:main".to_owned()),
        run_id: Some("run-1".to_owned()),
        pid: Some(12_345),
        ..SpawnRecord::default()
    };
    let running = moved(&scratch, id, &SpawnState::OPEN, Running, runs).await.unwrap();
    assert_eq!((running.pid, running.completed_at_ms), (Some(12_345), None), "an open spawn has no end");
    let ends = SpawnRecord {
        result: Some(json!({"exitCode": 0})),
        reason: Some("the gateway said so".to_owned()),
        ..SpawnRecord::default()
    };
    let ended = moved(&scratch, id, &[Running], Completed, ends).await.unwrap();
    assert_eq!((ended.state, ended.completed_at_ms), (Completed, Some(ended.updated_at_ms)));
    assert_eq!((&ended.result, ended.run_id.as_deref()), (&Some(json!({"exitCode": 0})), Some("run-1")));
    assert!(step(&scratch, id, &SpawnState::ALL, Failed).await.is_none());
    assert_eq!(find(&scratch, id).await, ended, "a final state never changes");
}

#[actix::test]
async fn only_legal_steps_from_the_named_states_are_taken() {
    let scratch = Scratch::open();
    for earlier in SpawnState::ALL {
        for later in SpawnState::ALL {
            let made = recorded(&scratch, "x").await;
            scratch.execute(format!("UPDATE spawns SET state = '{}'", earlier.as_str())).unwrap();
            let others: Vec<_> = SpawnState::ALL.into_iter().filter(|state| *state != earlier).collect();
            assert!(step(&scratch, &made.spawn_id, &others, later).await.is_none());
            assert_eq!(find(&scratch, &made.spawn_id).await.state, earlier);
            let moved = step(&scratch, &made.spawn_id, &SpawnState::ALL, later).await;
            assert_eq!(moved.is_some(), later.may_follow(earlier), "{earlier:?} -> {later:?}");
            if let Some(moved) = moved {
                assert_eq!((moved.state, moved.completed_at_ms.is_some()), (later, later.is_final()));
            }
        }
    }
    assert!(step(&scratch, "nobody", &SpawnState::ALL, Lost).await.is_none());
}

#[actix::test]
async fn two_results_at_the_same_time_leave_one_end() {
    let scratch = Scratch::open();
    let made = recorded(&scratch, "x").await;
    step(&scratch, &made.spawn_id, &[Recorded], Sent).await.unwrap();
    let ends = [Completed, Failed, Killed, Lost].map(|end| step(&scratch, &made.spawn_id, &SpawnState::OPEN, end));
    let ended: Vec<_> = futures_util::future::join_all(ends).await.into_iter().flatten().collect();
    assert_eq!(ended.len(), 1);
    assert_eq!(find(&scratch, &made.spawn_id).await.state, ended[0].state);
}

#[actix::test]
async fn the_same_idempotency_key_records_once_however_many_ask() {
    let scratch = Scratch::open();
    let ask = || keyed(&scratch, new_spawn("x"), "k", "body");
    let answers = futures_util::future::join_all((0..8).map(|_| ask())).await;
    let (mut new_ones, mut replays) = (Vec::new(), Vec::new());
    for answer in answers {
        let Keyed { record, replayed } = answer.expect("the body is the same");
        if replayed { &mut replays } else { &mut new_ones }.push(record);
    }
    assert_eq!((new_ones.len(), replays.len()), (1, 7));
    assert!(replays.iter().all(|replay| *replay == new_ones[0]));
    step(&scratch, &new_ones[0].spawn_id, &[Recorded], Failed).await.unwrap();
    let replay = ask().await.unwrap();
    assert!(replay.replayed);
    assert_eq!(replay.record.state, Failed, "a replay shows what became of it");
    assert_eq!(keyed(&scratch, new_spawn("x"), "k", "other").await, None);
    assert_eq!(scratch.store.list_spawns(50, 0).await.unwrap().1, 1);
    let answer = keyed(&scratch, SpawnRecord { key_id: Some(6), ..new_spawn("x") }, "k", "other").await;
    assert!(!answer.unwrap().replayed, "keys belong to an API key");
    assert!(!scratch.holds("\"k\""));
}

#[actix::test]
async fn an_idempotency_key_is_good_for_a_day() {
    let scratch = Scratch::open();
    let now = Clock::system().wall_ms();
    let age = |by: i64| {
        scratch.execute(format!("UPDATE idempotency_keys SET created_at_ms = {}", now - by)).unwrap();
    };
    keyed(&scratch, new_spawn("x"), "k", "body").await;
    age(DAY_MS - 60_000);
    assert_eq!(scratch.store.purge_idempotency_keys(now).await.unwrap(), 0);
    assert_eq!(keyed(&scratch, new_spawn("x"), "k", "other").await, None);
    age(DAY_MS);
    let answer = keyed(&scratch, new_spawn("x"), "k", "other").await;
    assert!(!answer.unwrap().replayed, "expired, though not purged");
    let answer = keyed(&scratch, new_spawn("x"), "k", "other").await;
    assert!(answer.unwrap().replayed, "it took the place of the expired one");
    age(DAY_MS);
    assert_eq!(scratch.store.purge_idempotency_keys(now).await.unwrap(), 1);
}

#[actix::test]
async fn spawns_are_listed_newest_first_and_the_open_ones_oldest_first() {
    let scratch = Scratch::open();
    let mut ids = Vec::new();
    for turn in 0..5 {
        let mut spawn = new_spawn(&turn.to_string());
        spawn.gateway_id = [Some(GatewayId(3)), Some(GatewayId(4)), None][turn % 3];
        let recorded = scratch.store.record_spawn(spawn, text(), None).await.unwrap();
        ids.push(recorded.unwrap().spawn_id);
    }
    let summaries = |records: Vec<SpawnRecord>| records.into_iter().map(|record| record.summary).collect::<Vec<_>>();
    assert_eq!(summaries(scratch.store.list_spawns(2, 1).await.unwrap().0), vec!["3", "2"]);
    step(&scratch, &ids[0], &[Recorded], Sent).await.unwrap();
    step(&scratch, &ids[1], &[Recorded], Lost).await.unwrap();
    assert_eq!(summaries(scratch.store.open_spawns().await.unwrap()), vec!["0", "2", "3", "4"]);
    let steps =
        ids.iter().map(|id| SpawnRecord { spawn_id: id.clone(), state: Unknown, ..SpawnRecord::default() }).collect();
    let moved = scratch.store.move_spawns(&SpawnState::OPEN, steps).await.unwrap();
    assert_eq!(moved.len(), 1, "what was never sent is in no doubt, and keeps nothing else from being written");
    assert_eq!((moved[0].summary.as_str(), moved[0].state), ("0", Unknown));
    assert_eq!(find(&scratch, &ids[3]).await.state, Recorded);
    assert!(step(&scratch, &ids[0], &SpawnState::ALL, Sent).await.is_none(), "never sent twice");
}

#[actix::test]
async fn secrets_of_a_request_are_not_in_the_files_and_open_only_in_their_row() {
    let scratch = Scratch::open();
    let (a, b) = (recorded(&scratch, "a").await, recorded(&scratch, "b").await);
    scratch.store.flush().await.unwrap();
    assert!(!scratch.holds("env-secret-1"));
    assert!(!format!("{a:?}").contains("env-secret-1"));
    scratch.execute("UPDATE spawns SET request = (SELECT request FROM spawns WHERE summary = 'a')").unwrap();
    assert!(request(&scratch, &a.spawn_id).await.is_some());
    assert_eq!(request(&scratch, &b.spawn_id).await, None);
    assert_eq!(find(&scratch, &b.spawn_id).await, b);
}

#[actix::test]
async fn long_texts_are_cut_and_a_huge_result_is_left_out() {
    let scratch = Scratch::open();
    let made = recorded(&scratch, &"s".repeat(9_000)).await;
    assert_eq!(made.summary.len(), 500);
    let ends = SpawnRecord {
        error: Some("e".repeat(9_000)),
        result: Some(json!("x".repeat(70_000))),
        reason: Some("r".repeat(9_000)),
        ..SpawnRecord::default()
    };
    let ended = moved(&scratch, &made.spawn_id, &[Recorded], Failed, ends).await.unwrap();
    assert_eq!((ended.error.unwrap().len(), ended.reason.unwrap().len()), (4_000, 1_000));
    assert_eq!(ended.result, Some(json!({"left_out_bytes": 70_002})));
}

#[actix::test]
async fn ended_spawns_are_kept_for_thirty_days_and_open_ones_for_ever() {
    let scratch = Scratch::open();
    let now = Clock::system().wall_ms();
    let open = recorded(&scratch, "open").await;
    for (summary, ended_at) in [("old", now - 30 * DAY_MS - 1), ("young", now - 30 * DAY_MS)] {
        let answer = keyed(&scratch, new_spawn(summary), summary, "body").await;
        let record = answer.unwrap().record;
        step(&scratch, &record.spawn_id, &[Recorded], Lost).await.unwrap();
        let id = &record.spawn_id;
        scratch.execute(format!("UPDATE spawns SET completed_at_ms = {ended_at} WHERE spawn_id = '{id}'")).unwrap();
    }
    scratch.execute("UPDATE spawns SET created_at_ms = 0, updated_at_ms = 0").unwrap();
    assert_eq!(scratch.store.thin_spawns(now, RetentionSettings::default().spawns).await.unwrap(), 1);
    let left: Vec<_> =
        scratch.store.list_spawns(9, 0).await.unwrap().0.into_iter().map(|record| record.summary).collect();
    assert_eq!(left, vec!["young", open.summary.as_str()]);
    let answer = keyed(&scratch, new_spawn("old"), "old", "body").await;
    assert!(!answer.unwrap().replayed, "its key went with it");
}
