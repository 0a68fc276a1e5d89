//! What a gateway that is killed or stopped leaves to the next one, and the file by which it does.

use proptest::prelude::*;

use super::*;

#[test]
fn a_run_that_was_under_way_at_a_kill_is_told_as_failed_and_not_repeated() {
    let mut world = World::new();
    let once = world.add(at(NOON + 60_000));
    let often = world.add(every(60));
    world.pass(MINUTE);
    assert_eq!(world.orders.len(), 2);
    let mut next = world.killed(Duration::from_secs(5), false);
    next.pass(Duration::from_secs(20));
    assert!(next.orders.is_empty(), "they have run");
    for id in [&once, &often] {
        assert_eq!(next.runs(id)[0]["error"], INTERRUPTED);
    }
    assert_eq!(next.job(&once)["enabled"], false);
    next.pass(MINUTE);
    assert_eq!(next.orders.len(), 1, "the one that recurs goes on");
}

/// A job's time comes, and the gateway stops before it can be begun.
fn stopped_at_its_time(schedule: Value) -> (World, String) {
    let mut world = World::new();
    world.holds_back = true;
    let id = world.add(schedule);
    world.pass(MINUTE);
    assert!(world.file.contains("runningAtMs"));
    world.turn(GatewayMachine::stopping);
    (world, id)
}

#[test]
fn one_that_was_not_begun_before_the_gateway_stopped_is_begun_once_by_the_next_one() {
    for (schedule, hears_of_it) in
        [(at(NOON + 60_000), true), (at(NOON + 60_000), false), (every(60), true), (every(60), false)]
    {
        let (mut world, id) = stopped_at_its_time(schedule.clone());
        if hears_of_it {
            world.confirm();
        }
        assert!(world.orders.is_empty());
        let mut next = world.killed(Duration::from_secs(5), false);
        assert_eq!(next.runs(&id), Vec::<Value>::new(), "it is no failure: {schedule}");
        assert!(next.job(&id)["lastRunAtMs"].is_null());
        next.pass(Duration::ZERO);
        assert_eq!(next.orders.len(), 1);
        next.end(0);
        next.pass(Duration::from_secs(50));
        assert!(next.orders.is_empty());
        let runs = next.runs(&id);
        assert_eq!((runs.len(), &runs[0]["status"]), (1, &json!("ok")));
        let mut last = next.killed(Duration::from_secs(1), false);
        last.pass(Duration::ZERO);
        assert!(last.orders.is_empty(), "not twice");
    }
}

#[test]
fn one_that_was_not_begun_before_the_gateway_stopped_counts_as_missed() {
    for (schedule, begun) in [(at(NOON + 60_000), 1), (every(60), 0)] {
        let (world, id) = stopped_at_its_time(schedule);
        let mut next = world.killed(Duration::from_secs(5), true);
        next.pass(Duration::ZERO);
        assert_eq!((next.orders.len(), next.runs(&id).len()), (begun, 0));
        next.pass(MINUTE);
        assert_eq!(next.orders.len(), 1);
    }
}

#[test]
fn what_the_gateway_stops_before_it_begins_has_the_times_that_it_was_given_meanwhile_and_by_hand_it_fails() {
    let mut world = World::new();
    world.holds_back = true;
    let [moved, off, removed, by_hand] = [60, 60, 60, 3_600].map(|seconds| world.add(every(seconds)));
    world.pass(MINUTE);
    world.call("cron.update", json!({"id": moved, "patch": {"schedule": at(NOON + 600_000)}}));
    world.call("cron.update", json!({"id": off, "patch": {"enabled": false}}));
    world.call("cron.remove", json!({"id": removed}));
    let run = world.call("cron.run", json!({"id": by_hand}))["runId"].clone();
    world.turn(GatewayMachine::stopping);
    world.confirm();
    let mut next = world.killed(Duration::from_secs(5), false);
    next.pass(Duration::ZERO);
    assert!(next.orders.is_empty());
    assert_eq!(next.job(&moved)["nextRunAtMs"], NOON + 600_000);
    assert!(next.job(&off)["nextRunAtMs"].is_null());
    let runs = next.call("cron.runs", json!({"scope": "all"}))["entries"].clone();
    assert_eq!((runs.as_array().unwrap().len(), &runs[0]["runId"]), (1, &run));
    assert!(runs[0]["error"].as_str().unwrap().contains("the gateway is stopping"), "{runs}");
}

#[test]
fn one_that_waits_for_another_run_of_its_session_when_the_gateway_stops_is_begun_once_by_the_next_one() {
    for schedule in [at(NOON + 60_000), every(60)] {
        let mut world = World::new();
        let [id, by_hand] = [schedule, every(3_600)].map(|schedule| world.add(schedule));
        for id in [&id, &by_hand] {
            world.call("cron.update", json!({"id": id, "patch": {"sessionTarget": "main"}}));
        }
        world.call("chat.send", json!({"sessionKey": "main", "message": "long work", "idempotencyKey": "k"}));
        world.pass(MINUTE);
        let run = world.call("cron.run", json!({"id": by_hand}))["runId"].clone();
        assert_eq!((world.orders.len(), world.machine.runs.queued()), (1, 2));
        world.turn(GatewayMachine::stopping);
        world.end(143);
        let mut next = world.killed(Duration::from_secs(5), false);
        assert_eq!(next.runs(&id), Vec::<Value>::new(), "it is no failure");
        let told = next.runs(&by_hand);
        assert_eq!((told.len(), &told[0]["runId"]), (1, &run));
        assert_eq!(told[0]["error"], "the run was not begun: the gateway is stopping");
        next.pass(Duration::ZERO);
        assert_eq!(next.end(0).stdin.as_deref(), Some("do it"));
        assert!(next.orders.is_empty());
        assert_eq!(next.runs(&id)[0]["status"], "ok");
    }
}

#[test]
fn the_id_of_a_run_that_was_asked_for_by_hand_is_listed_whatever_keeps_it_from_its_end() {
    for (is_due, hears_of_it) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut world = World::new();
        world.holds_back = true;
        let mut off = configuration(false);
        off.cron.enabled = false;
        world.turn(|machine, turn| machine.configure(off, turn));
        let id = world.add(at(NOON + 60_000));
        world.pass(if is_due { MINUTE } else { Duration::ZERO });
        let run = world.call("cron.run", json!({"id": id}))["runId"].clone();
        world.turn(GatewayMachine::stopping);
        if hears_of_it {
            world.confirm();
        }
        let mut next = world.killed(MINUTE, false);
        let told = next.runs(&id);
        assert_eq!((told.len(), &told[0]["runId"]), (1, &run));
        assert_eq!(told[0]["error"], "the run was not begun: the gateway is stopping");
        next.pass(Duration::ZERO);
        assert_eq!(next.orders.len(), 1, "its own time still comes");
    }
    let mut world = World::new();
    let id = world.add(every(3_600));
    let run = world.call("cron.run", json!({"id": id}))["runId"].clone();
    let told = world.killed(MINUTE, false).runs(&id);
    assert_eq!((told.len(), &told[0]["runId"], &told[0]["error"]), (1, &run, &json!(INTERRUPTED)));
}

#[test]
fn a_run_under_way_when_the_gateway_stops_is_not_repeated() {
    let mut world = World::new();
    let id = world.add(at(NOON + 60_000));
    world.pass(MINUTE);
    assert_eq!(world.orders.len(), 1);
    world.turn(GatewayMachine::stopping);
    let mut next = world.killed(Duration::from_secs(5), false);
    next.pass(Duration::ZERO);
    assert!(next.orders.is_empty());
    assert_eq!(next.runs(&id).len(), 1);
}

#[test]
fn what_was_missed_runs_once_or_is_left_out() {
    let mut world = World::new();
    world.add(every(60));
    world.add(at(NOON + 60_000));
    for (skip, begun) in [(false, 2), (true, 1)] {
        let mut next = world.killed(Duration::from_secs(3_600), skip);
        next.pass(Duration::ZERO);
        assert_eq!(next.orders.len(), begun, "{skip}");
        while !next.orders.is_empty() {
            next.end(0);
        }
        next.pass(Duration::from_secs(50));
        assert!(next.orders.is_empty(), "not once for each time");
    }
}

#[test]
fn the_file_does_not_grow_by_what_is_past() {
    let mut world = World::new();
    let id = world.add(every(3_600));
    for number in 0..100 {
        let payload = json!({"kind": "agentTurn", "message": number.to_string().repeat(30_000)});
        world.call("cron.update", json!({"id": id, "patch": {"payload": payload}}));
        assert!(world.file.len() < 1_400_000, "{}", world.file.len());
    }
    let mut world = World::at(world.now, world.file.repeat(20), false);
    world.call("cron.update", json!({"id": id, "patch": {"name": "other"}}));
    assert!(world.file.len() < 100_000, "{}", world.file.len());
    let mut world = world.killed(MINUTE, false);
    assert_eq!(world.job(&id)["name"], "other");
    assert!(world.job(&id)["payload"]["message"].as_str().unwrap().starts_with("9999"));
}

#[test]
fn a_full_disk_begins_nothing_and_says_why() {
    let mut world = World::new();
    let id = world.add(every(60));
    world.disk_is_full = true;
    world.pass(MINUTE);
    assert!(world.orders.is_empty());
    assert!(world.job(&id)["lastRunError"].as_str().unwrap().contains("cron.jsonl of the state directory"));
    world.pass(Duration::from_secs(86_400));
    assert_eq!(world.job(&id)["enabled"], true, "that is no fault of the job");
    world.disk_is_full = false;
    world.pass(Duration::from_secs(3_600));
    world.end(0);
}

#[test]
fn the_file_is_written_anew_before_it_is_full_of_the_past() {
    let mut world = World::new();
    world.add(every(1));
    for _ in 0..300 {
        world.pass(Duration::from_secs(1));
        world.end(0);
    }
    assert!(world.file.lines().count() < 700, "{}", world.file.lines().count());
    assert_eq!(world.file.lines().count(), world.machine.cron.lines);
}

#[test]
fn half_a_line_at_the_end_costs_that_line_alone_and_senseless_ones_are_counted() {
    let mut world = World::new();
    let id = world.add(every(60));
    let torn = format!("{}{{\"job\":", world.file);
    let mut next = World::at(world.now, torn, false);
    assert_eq!(next.job(&id)["id"], id.as_str());
    assert!(next.file.ends_with('\n'), "it is in order again");
    let stored = Stored::read(format!("nonsense\n{}", world.file).as_bytes());
    assert_eq!((stored.damaged, stored.jobs.len()), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens and whenever the gateway is killed or stopped: no time of a job begins two runs, what waits is what is due, and the
    /// file tells the same as the memory.
    #[test]
    fn no_time_is_run_twice(steps in proptest::collection::vec((0_u8..9, 1_u64..400), 1..40)) {
        let mut world = World::new();
        let ids: Vec<String> = [every(30), every(90), at(NOON + 100_000)].into_iter().map(|schedule| world.add(schedule)).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (step, amount) in steps {
            let id = &ids[usize::try_from(amount).unwrap() % ids.len()];
            match step {
                0..=2 => world.pass(Duration::from_secs(amount)),
                3 if !world.orders.is_empty() => drop(world.end(i32::try_from(amount % 2).unwrap())),
                4 | 8 => {
                    if step == 8 {
                        world.turn(GatewayMachine::stopping);
                    }
                    let (later, skip) = (Duration::from_secs(amount), amount % 2 == 0);
                    world = world.killed(later, skip);
                }
                5 => drop(world.try_call("cron.run", json!({"id": id}))),
                6 => drop(world.try_call("cron.update", json!({"id": id, "patch": {"enabled": amount % 2 == 0}}))),
                7 => world.turn(GatewayMachine::upkeep),
                _ => {}
            }
            for order in &world.orders {
                seen.insert(order.run.clone());
            }
            let cron = &world.machine.cron;
            let due: BTreeSet<(i64, String)> = cron
                .jobs()
                .filter(|job| job.definition.enabled)
                .filter_map(|job| Some((job.state.next_run_at_ms?, job.id.clone())))
                .collect();
            prop_assert_eq!(&due, &cron.due);
            let stored = Stored::read(world.file.as_bytes());
            prop_assert_eq!(stored.damaged, 0);
            prop_assert_eq!(stored.jobs.keys().collect::<Vec<_>>(), cron.jobs.keys().collect::<Vec<_>>());
            let mut of_job = std::collections::BTreeMap::new();
            for run in cron.under_way.values() {
                *of_job.entry(run.job.id.clone()).or_insert(0) += 1;
            }
            prop_assert!(of_job.values().all(|count| *count == 1));
        }
        let scheduled: Vec<&RunId> = seen.iter().filter(|run| run.0.starts_with("cron:")).collect();
        let once = scheduled.iter().filter(|run| run.0.contains(&ids[2])).count();
        prop_assert!(once <= 1, "{scheduled:?}");
    }
}
