//! Many spawns while gateways fail at random.

use super::*;

/// A small generator, so that a failing run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[actix::test]
async fn under_random_failures_each_spawn_is_taken_at_most_once_and_ends_exactly_once() {
    let mut house = House::open(at_once()).await;
    let (prod, backup) = two_ready(&mut house).await;
    let events = follow(&house).await;
    let mut dice = Dice(7);
    let mut recorded = std::collections::HashSet::new();
    let mut taken: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for round in 0..150 {
        for id in [prod, backup] {
            match dice.roll(4) {
                0 => house.script.answers_start(id, not_taken(ErrorCode::GatewayUnavailable)),
                1 => house.script.answers_start(id, answer_lost()),
                _ => house.script.accepts_start(id),
            }
        }
        let spawn_id = match house.registry.send(task()).await.unwrap() {
            Ok(answer) => Some(answer.spawn_id),
            Err(failure) => failure.details.and_then(|details| details["spawnId"].as_str().map(str::to_owned)),
        };
        house.registry.send(Ping).await.unwrap();
        while let Some((_, heard)) = house.script.heard_already() {
            if let Heard::Start(start) = heard {
                *taken.entry(start.record.spawn_id.clone()).or_default() += 1;
            }
        }
        let Some(spawn_id) = spawn_id else { continue };
        recorded.insert(spawn_id.clone());
        // Some end at once, some twice, some are never heard of; some lose their gateway meanwhile.
        for _ in 0..dice.roll(3) {
            let stage = match dice.roll(3) {
                0 => RunStage::Running { pid: None },
                1 => RunStage::Completed { result: json!(round) },
                _ => RunStage::Killed { reason: "rpc".into() },
            };
            for id in [prod, backup] {
                let notice = RunNotice { run_id: spawn_id.clone(), session_key: None, stage: stage.clone() };
                house.say(id, GatewayNotice::Run(notice)).await;
            }
        }
        if dice.roll(10) == 0 {
            house.fail(backup).await;
            house.ready(backup).await;
        }
    }
    let ended = RunStage::Completed { result: Value::Null };
    for id in [prod, backup] {
        house.script.answers_look_up(id, Ok(RunFinding::Ended(ended.clone())));
        house.fail(id).await;
        house.ready(id).await;
    }
    let mut ends: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    while ends.len() < recorded.len() {
        let delivery = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
        let Some(Delivery::Event(event)) = delivery else { panic!("{delivery:?}") };
        let event: Value = serde_json::from_slice(&event.json).unwrap();
        let state = SpawnState::from_name(event["data"]["status"].as_str().unwrap()).unwrap();
        if state.is_final() {
            *ends.entry(event["data"]["spawnId"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert!(recorded.len() > 100, "{}", recorded.len());
    assert!(ends.values().all(|times| *times == 1), "a spawn ended twice");
    // A gateway that said "not taken" doesn't count: it may be asked, and the next one too.
    for spawn_id in &recorded {
        let stored = house.store.find_spawn(spawn_id.clone()).await.unwrap().unwrap();
        assert!(stored.state.is_final());
        assert!(taken.get(spawn_id).copied().unwrap_or(0) <= 2, "sent to more gateways than there are");
    }
}
