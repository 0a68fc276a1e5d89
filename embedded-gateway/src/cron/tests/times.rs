//! When jobs run.

use super::*;

#[test]
fn a_job_runs_at_its_times_in_a_session_of_its_own_that_begins_anew() {
    let mut world = World::new();
    let id = world.add(every(60));
    assert!(world.machine.next_deadline().is_some_and(|due| due == world.now.at + MINUTE));
    world.pass(MINUTE - Duration::from_millis(1));
    assert!(world.orders.is_empty());
    world.pass(Duration::from_millis(1));
    let order = world.end(0);
    assert_eq!(order.stdin.as_deref(), Some("do it"));
    assert_eq!(order.env["GATEWARDEN_SESSION_KEY"], format!("agent:main:cron:{id}"));
    assert_eq!(order.timeout, Some(Duration::from_secs(3_600)));
    world.pass(MINUTE);
    let next = world.end(0);
    assert_ne!(next.env["GATEWARDEN_SESSION_ID"], order.env["GATEWARDEN_SESSION_ID"]);
    let runs = world.runs(&id);
    assert_eq!(runs.len(), 2);
    let (status, summary) = (&runs[0]["status"], &runs[0]["summary"]);
    assert_eq!((status, summary, &runs[0]["completionStatus"]), (&json!("ok"), &json!("done"), &json!("succeeded")));
    assert_eq!(runs[0]["runAtMs"], NOON + 120_000);
    let actions: Vec<&str> = world.events.iter().filter_map(|event| event["action"].as_str()).collect();
    assert_eq!(actions, ["added", "started", "finished", "started", "finished"]);
}

#[test]
fn one_that_is_still_at_work_when_it_is_due_again_is_not_begun_twice() {
    let mut world = World::new();
    let id = world.add(every(60));
    world.pass(MINUTE * 5);
    assert_eq!(world.orders.len(), 1);
    let answer = world.call("cron.run", json!({"id": id}));
    assert_eq!((&answer["ran"], &answer["reason"]), (&json!(false), &json!("already-running")));
    world.end(0);
    world.pass(MINUTE);
    assert_eq!(world.orders.len(), 1);
}

#[test]
fn nothing_begins_before_it_is_written_that_it_does() {
    let mut world = World::new();
    world.holds_back = true;
    world.add(every(60));
    world.pass(MINUTE);
    assert!(world.orders.is_empty() && world.file.contains("runningAtMs"));
    world.confirm();
    assert_eq!(world.orders.len(), 1);
}

#[test]
fn a_job_that_runs_once_is_deleted_when_it_has_worked_and_kept_when_it_hasnt() {
    let mut world = World::new();
    let (good, bad) = (world.add(at(NOON + 1_000)), world.add(at(NOON + 2_000)));
    assert_eq!(world.job(&good)["deleteAfterRun"], true);
    world.pass(Duration::from_secs(1));
    world.end(0);
    assert!(world.try_call("cron.get", json!({"id": good})).is_err());
    assert_eq!(world.runs(&good).len(), 1, "what it did is still known");
    world.pass(Duration::from_secs(1));
    world.end(3);
    let job = world.job(&bad);
    assert_eq!((&job["enabled"], &job["lastRunStatus"]), (&json!(false), &json!("error")));
    assert!(job["lastRunError"].as_str().unwrap().contains("exit code 3"));
}

#[test]
fn failures_in_a_row_make_a_job_rarer_and_switch_it_off_in_the_end() {
    let mut world = World::new();
    let id = world.add(every(1));
    let mut began = Vec::new();
    while world.job(&id)["enabled"] == true {
        world.pass(Duration::from_secs(3_600));
        began.push(world.end(1).run.0);
        assert!(began.len() <= 10);
        let job = world.job(&id);
        if began.len() == 2 {
            assert_eq!(job["nextRunAtMs"].as_i64().unwrap() - world.now.wall_ms, 60_000);
        }
    }
    assert_eq!(began.len(), 10);
    assert_eq!(world.job(&id)["state"]["autoDisabled"]["consecutiveErrors"], 10);
    world.call("cron.update", json!({"id": id, "patch": {"enabled": true}}));
    world.pass(Duration::from_secs(1));
    world.end(0);
    assert_eq!(world.job(&id)["state"]["consecutiveErrors"], 0);
}

#[test]
fn nobody_else_has_the_id_that_its_run_will_have() {
    let mut world = World::new();
    let id = world.add(at(NOON + 60_000));
    let key = format!("cron:{id}:{}", NOON + 60_000);
    let foreign = json!({"sessionKey": "agent:main:other", "message": "x", "idempotencyKey": key});
    assert!(world.try_call("chat.send", foreign).is_err());
    world.pass(MINUTE);
    let order = world.end(0);
    assert_eq!((order.run.0, order.stdin.as_deref()), (key, Some("do it")));
    assert_eq!(world.runs(&id)[0]["status"], "ok");
}

#[test]
fn a_clock_that_jumps_loses_no_job_for_long() {
    for by in [-400, -3, 3, 400] {
        let mut world = World::new();
        world.add(every(7_200));
        world.now.wall_ms += by * 86_400_000;
        world.turn(GatewayMachine::upkeep);
        world.pass(Duration::from_secs(7_200));
        assert_eq!(world.orders.len(), 1, "{by} days");
    }
}

#[test]
fn a_clock_that_jumps_ahead_and_is_put_right_within_a_minute_loses_no_job() {
    let mut world = World::new();
    let short = world.add(every(20));
    let long = world.add(every(7_200));
    let days = 40 * 86_400_000;
    world.pass(Duration::from_secs(10));
    world.now.wall_ms += days;
    world.pass(Duration::from_secs(10));
    assert_eq!(world.orders.len(), 2, "what the clock skipped was missed, and runs once");
    (0..2).for_each(|_| drop(world.end(0)));
    world.pass(Duration::from_secs(10));
    world.now.wall_ms -= days;
    world.turn(GatewayMachine::upkeep);
    assert!(world.orders.is_empty());
    world.pass(Duration::from_secs(20));
    assert_eq!(world.end(0).env["GATEWARDEN_SESSION_KEY"], format!("agent:main:cron:{short}"));
    world.pass(Duration::from_secs(7_200));
    let again = world.orders.iter().filter(|order| order.env["GATEWARDEN_SESSION_KEY"].ends_with(&long)).count();
    assert_eq!(again, 1);
}

#[test]
fn a_clock_that_is_set_back_while_nothing_more_can_begin_loses_no_job() {
    let mut world = World::new();
    for _ in 0..AT_A_TIME {
        world.add(at(NOON + 1_000));
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(world.orders.len(), AT_A_TIME);
    world.add(every(7_200));
    world.now.wall_ms -= 400 * 86_400_000;
    world.turn(GatewayMachine::upkeep);
    while !world.orders.is_empty() {
        world.end(0);
    }
    world.pass(Duration::from_secs(7_200));
    assert_eq!(world.orders.len(), 1);
}

#[test]
fn a_message_for_the_main_session_waits_its_turn_there() {
    let mut world = World::new();
    let job = json!({"name": "r", "agentId": "other", "schedule": at(NOON + 1_000), "payload": {"kind": "systemEvent", "text": "tea"}});
    world.call("cron.add", job);
    world.pass(Duration::from_secs(1));
    let order = world.end(0);
    assert_eq!(
        (order.stdin.as_deref(), order.env["GATEWARDEN_SESSION_KEY"].as_str()),
        (Some("tea"), "agent:other:main")
    );
}

#[test]
fn many_jobs_at_one_time_are_begun_a_few_at_a_time_and_none_is_lost() {
    let mut world = World::new();
    for _ in 0..100 {
        world.add(at(NOON + 60_000));
    }
    world.pass(MINUTE);
    let mut ran = 0;
    while !world.orders.is_empty() {
        assert!(world.orders.len() <= AT_A_TIME);
        world.end(0);
        ran += 1;
    }
    assert_eq!(ran, 100);
    assert_eq!(world.machine.next_deadline(), None);
}

#[test]
fn without_its_switch_nothing_runs_by_itself() {
    let mut world = World::new();
    let id = world.add(every(60));
    let mut off = configuration(false);
    off.cron.enabled = false;
    world.turn(|machine, turn| machine.configure(off, turn));
    world.pass(MINUTE * 10);
    assert!(world.orders.is_empty());
    assert_eq!(world.call("cron.status", json!({}))["enabled"], false);
    world.call("cron.run", json!({"id": id}));
    assert_eq!(world.orders.len(), 1);
}

#[test]
fn ten_thousand_jobs_wait_for_one_timer() {
    let mut first = World::new();
    let id = first.add(at(NOON + 3_600_000));
    let file: String = (0..MOST_JOBS).map(|number| first.file.replace(&id, &format!("job-{number}"))).collect();
    let mut world = World::at(first.now, file, false);
    let refused = world.try_call(
        "cron.add",
        json!({"name": "x", "schedule": every(60), "payload": {"kind": "agentTurn", "message": "x"}}),
    );
    assert!(refused.unwrap_err().message.contains("remove one with cron.remove"));
    assert_eq!(world.machine.next_deadline(), Some(world.now.at + Duration::from_secs(3_600)));
    world.pass(Duration::from_secs(3_599));
    assert!(world.orders.is_empty());
    let began = Now::read().at;
    world.turn(GatewayMachine::upkeep);
    println!("one upkeep with {MOST_JOBS} jobs: {:?}", began.elapsed());
}
