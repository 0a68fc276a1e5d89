//! Over a real store; its threads want real time, so the looks are asked for.

use gatewarden_protocol::Secret;
use serde_json::Value;

use super::*;
use crate::event_hub::EventHubActor;
use crate::settings::RetentionSettings;
use crate::spawn::SpawnRecord;
use crate::store::StoreOptions;
use crate::store::batching::AuditLogWriter;
use crate::store::key_file::SealingKey;
use crate::store::records::TokenUsage;

const DAY: i64 = 86_400_000;

struct House {
    clock: Clock,
    store: StoreHandle,
    watch: ClockWatch,
    metrics: Arc<Metrics>,
    dir: tempfile::TempDir,
}

impl House {
    fn open() -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), Clock::simulated(1_790_000_000_000, 1))
    }

    fn open_in(dir: tempfile::TempDir, clock: Clock) -> Self {
        let metrics = Arc::new(Metrics::new());
        let key = SealingKey::load_or_create(None, dir.path()).unwrap();
        let options = StoreOptions::at(dir.path().join("gatewarden.db"));
        let store = StoreHandle::open(options, key, clock.clone(), metrics.clone()).unwrap();
        let (_, events) = EventHubActor::start(100, clock.clone(), metrics.clone());
        let audit = AuditTrail::new(AuditLogWriter::start(store.clone()), events);
        let watch = ClockWatch { clock: clock.clone(), store: store.clone(), audit, metrics: metrics.clone() };
        Self { clock, store, watch, metrics, dir }
    }

    async fn fill(&self) {
        let usage = TokenUsage {
            at_ms: self.clock.wall_ms(),
            agent: "a".to_owned(),
            model: "m".to_owned(),
            input_tokens: 1,
            output_tokens: 1,
            cost: None,
            session_key: None,
            source: "api".to_owned(),
        };
        self.store.append_token_usage(vec![usage]).await.unwrap();
    }

    async fn left(&self) -> usize {
        self.store.forget_old(&RetentionSettings::default()).await.unwrap();
        self.store.list_tokens(0, 9, None).await.unwrap().len()
    }

    async fn jumps(&self) -> Vec<Value> {
        self.watch.audit.flush().await;
        let entries = self.store.list_audit(9, None, None).await.unwrap();
        entries.into_iter().filter(|one| one.entry.action == "clock.jump").map(|one| one.entry.details).collect()
    }
}

#[actix::test]
async fn nothing_is_deleted_for_a_jump_and_the_jump_is_said_once() {
    let house = House::open();
    house.clock.watch(None, "boot", false);
    house.fill().await;
    house.clock.jump(400 * DAY);
    assert_eq!(house.left().await, 1, "before anybody has looked");
    house.watch.say(house.clock.look(LOOK_EVERY).unwrap());
    assert_eq!(house.clock.look(LOOK_EVERY), None);
    assert_eq!(house.left().await, 1);
    assert_eq!(house.jumps().await, [json!({ "seconds": 400 * 86_400 })]);
    assert!(house.metrics.render().contains("gatewarden_clock_jumps_total{direction=\"ahead\"} 1\n"));
    house.clock.jump(-400 * DAY);
    assert!(house.clock.look(LOOK_EVERY).is_some());
    assert_eq!(house.left().await, 1);
    // Without a watch the clock is believed: so it would have been.
    let house = House::open();
    house.fill().await;
    house.clock.jump(400 * DAY);
    assert_eq!(house.left().await, 0);
}

#[actix::test]
async fn a_jump_between_two_runs_is_seen_by_the_second_one() {
    let house = House::open();
    house.clock.watch(None, "boot", false);
    house.fill().await;
    house.watch.remember().await;
    house.store.flush().await.unwrap();
    let (dir, clock) = (house.dir, house.clock.clone());
    drop((house.watch, house.store));
    clock.jump(400 * DAY);
    let house = House::open_in(dir, clock);
    let stored = house.store.load_steady_time().await.unwrap();
    let by_ms = house.clock.watch(stored.as_deref(), "another boot", false).unwrap();
    // Less what passed in this boot.
    assert!((399 * DAY..=400 * DAY).contains(&by_ms), "{by_ms}");
    assert_eq!(house.left().await, 1);
}

#[actix::test]
async fn an_idempotency_key_is_good_for_a_day_and_not_only_until_the_clock_jumps() {
    let house = House::open();
    house.clock.watch(None, "boot", false);
    let record = async |id: &str| {
        let spawn = SpawnRecord { spawn_id: id.to_owned(), ..SpawnRecord::default() };
        house.store.record_spawn(spawn, Secret::new("{}"), Some("k".to_owned())).await.unwrap().unwrap().spawn_id
    };
    assert_eq!(record("first").await, "first");
    house.clock.jump(40 * DAY);
    assert_eq!(record("second").await, "first");
}
