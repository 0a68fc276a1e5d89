//! Jobs on a clock that is moved by hand, with a file that a crash can leave as it is at any time.

mod alerts;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::call::Call;
use crate::caller::{Caller, caller_with};
use crate::clock::CountingChance;
use crate::config::{CommandTemplate, ConfiguredAgent, GatewayConfig};
use crate::effect::{AwaitedBy, Effect, OutputStream, PostOrder, ProcessNews, ProcessOrder};
use crate::loading::Loaded;
use crate::machine::GatewayMachine;
use crate::tests::fixture::config;

/// 2026-11-23T10:00:00Z
const NOON: i64 = 1_795_428_000_000;
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    machine: GatewayMachine,
    chance: CountingChance,
    now: Now,
    caller: Arc<Caller>,
    /// The file of the jobs.
    file: String,
    /// Nothing can be written any more.
    disk_is_full: bool,
    stops_before_it_is_sent: bool,
    /// Confirmations come only when they are asked for.
    holds_back: bool,
    waiting: Vec<RunId>,
    /// What was sent to webhooks and hasn't been answered.
    posts: Vec<PostOrder>,
    orders: Vec<ProcessOrder>,
    events: Vec<Value>,
}

fn configuration(skip_missed: bool) -> GatewayConfig {
    let mut config = config();
    let template = CommandTemplate {
        program: "/bin/agent".into(),
        args: Vec::new(),
        allowed_args: Vec::new(),
        env: Default::default(),
        allowed_env: Default::default(),
        working_dirs: vec!["/srv".into()],
        json_lines: false,
        timeout: None,
    };
    config.commands.insert("talker".into(), template);
    for id in ["main", "other"] {
        let agent = ConfiguredAgent {
            name: id.into(),
            command: Some("talker".into()),
            acp: None,
            workspace: "/ws".into(),
            model: None,
        };
        config.agents.insert(id.into(), agent);
    }
    config.default_agent = Some("main".into());
    config.cron.skip_missed = skip_missed;
    config
}

impl World {
    fn new() -> Self {
        Self::at(Now { wall_ms: NOON, ..Now::read() }, String::new(), false)
    }

    fn at(now: Now, file: String, skip_missed: bool) -> Self {
        let config = Arc::new(configuration(skip_missed));
        let mut chance = CountingChance(u64::try_from(now.wall_ms).unwrap());
        let mut turn = Turn::new(now, &mut chance);
        let loaded = Loaded { cron: Stored::read(file.as_bytes()), ..Loaded::nothing(&config) };
        let mut machine = GatewayMachine::new(config, loaded, &mut turn);
        let effects = turn.into_effects();
        let caller = Arc::new(caller_with(&["operator.admin"]));
        machine.subscribers.join(Arc::clone(&caller));
        let mut world = Self {
            machine,
            chance,
            now,
            caller,
            file,
            disk_is_full: false,
            stops_before_it_is_sent: false,
            holds_back: false,
            waiting: Vec::new(),
            posts: Vec::new(),
            orders: Vec::new(),
            events: Vec::new(),
        };
        world.carry_out(effects);
        world.turn(|_, _| {});
        world
    }

    /// The gateway was killed, and another one starts so much later.
    fn killed(&self, later: Duration, skip_missed: bool) -> Self {
        Self::at(self.later(later), self.file.clone(), skip_missed)
    }

    fn later(&self, time: Duration) -> Now {
        let ms = i64::try_from(time.as_millis()).unwrap();
        Now { at: self.now.at + time, wall_ms: self.now.wall_ms + ms, uptime_ms: self.now.uptime_ms + ms }
    }

    fn turn<T>(&mut self, decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>) -> T) -> T {
        let mut turn = Turn::new(self.now, &mut self.chance);
        let decided = decide(&mut self.machine, &mut turn);
        self.machine.attend_webhooks(&mut turn);
        let effects = turn.into_effects();
        self.carry_out(effects);
        decided
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write(FileChange::Append { file, line })
                    if file.as_os_str() == file::FILE && !self.disk_is_full =>
                {
                    self.file += &(line + "\n");
                }
                Effect::Write(FileChange::Replace { file, text }) if file.as_os_str() == file::FILE => self.file = text,
                Effect::Confirm { awaited_by: AwaitedBy::Run(run), .. } => {
                    self.waiting.push(run);
                    if !self.holds_back {
                        self.confirm();
                    }
                }
                Effect::Confirm { awaited_by: AwaitedBy::Post(run), .. } => {
                    let written = !self.disk_is_full;
                    if self.stops_before_it_is_sent {
                        self.turn(GatewayMachine::stopping);
                    }
                    self.turn(|machine, turn| machine.post_confirmed(&run, written, turn));
                }
                Effect::Post(order) => self.posts.push(order),
                Effect::Start(order) => self.orders.push(order),
                Effect::Tell { event, payload, .. } if event == "cron" => self.events.push((*payload).clone()),
                _ => {}
            }
        }
    }

    fn confirm(&mut self) {
        let written = !self.disk_is_full;
        for run in std::mem::take(&mut self.waiting) {
            self.turn(|machine, turn| machine.confirmed(&run, written, turn));
        }
    }

    /// Time passes; the machine is woken whenever it asked for it.
    fn pass(&mut self, time: Duration) {
        let end = self.later(time);
        for _ in 0..10_000 {
            let Some(wake) = self.machine.next_deadline().filter(|wake| *wake <= end.at) else { break };
            self.now = self.later(wake.saturating_duration_since(self.now.at));
            self.turn(GatewayMachine::on_time);
        }
        self.now = end;
    }

    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, CallError> {
        let (caller, request) = (Arc::clone(&self.caller), Some("r".to_owned()));
        let call = Call { caller, request, method: method.into(), params };
        let mut turn = Turn::new(self.now, &mut self.chance);
        self.machine.call(&call, &mut turn);
        let (mut answer, mut others) = (None, Vec::new());
        for effect in turn.into_effects() {
            match effect {
                Effect::Respond { outcome, .. } => answer = Some(outcome),
                other => others.push(other),
            }
        }
        self.carry_out(others);
        answer.expect("an answer")
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{error}"))
    }

    fn add(&mut self, schedule: Value) -> String {
        let job = json!({"name": "a job", "schedule": schedule, "payload": {"kind": "agentTurn", "message": "do it"}});
        self.call("cron.add", job)["id"].as_str().unwrap().to_owned()
    }

    fn job(&mut self, id: &str) -> Value {
        self.call("cron.get", json!({"id": id}))
    }

    fn runs(&mut self, id: &str) -> Vec<Value> {
        self.call("cron.runs", json!({"id": id}))["entries"].as_array().unwrap().clone()
    }

    fn news(&mut self, run: &RunId, news: ProcessNews) {
        self.turn(|machine, turn| machine.process_news(run, news, turn));
    }

    /// The agent of the newest order answers and ends.
    fn end(&mut self, code: i32) -> ProcessOrder {
        let order = self.orders.pop().expect("something runs");
        let ended = ProcessNews::Exited { code: Some(code), signal: None, duration_ms: 5, strays: 0, timed_out: false };
        self.news(&order.run, ProcessNews::Started { pid: 7 });
        let line = ProcessNews::Line { stream: OutputStream::Stdout, text: "done".into(), cut: false };
        self.news(&order.run, line);
        self.news(&order.run, ended);
        order
    }
}

fn every(seconds: u64) -> Value {
    json!({"kind": "every", "everyMs": seconds * 1_000})
}

fn at(ms: i64) -> Value {
    json!({"kind": "at", "at": gatewarden_protocol::wall_time::of_millis(ms)})
}

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
fn a_run_of_a_job_that_is_removed_meanwhile_is_listed_with_its_name_and_session() {
    let mut world = World::new();
    let id = world.add(every(60));
    world.pass(MINUTE);
    world.call("cron.update", json!({"id": id, "patch": {"enabled": false}}));
    world.call("cron.remove", json!({"id": id}));
    world.end(0);
    let runs = world.call("cron.runs", json!({"scope": "all", "query": "a job"}))["entries"].clone();
    assert_eq!((&runs[0]["jobName"], &runs[0]["summary"]), (&json!("a job"), &json!("done")), "{runs}");
    assert_eq!(runs[0]["sessionKey"], format!("agent:main:cron:{id}"));
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
fn by_hand_a_job_runs_at_once_and_its_own_time_still_comes() {
    let mut world = World::new();
    let id = world.add(at(NOON + 60_000));
    let not_due = world.call("cron.run", json!({"id": id, "mode": "due"}));
    assert_eq!(not_due["reason"], "not-due");
    let answer = world.call("cron.run", json!({"jobId": id}));
    assert!(answer["runId"].as_str().unwrap().starts_with(&format!("manual:{id}:")), "{answer}");
    world.end(0);
    assert_eq!(world.job(&id)["nextRunAtMs"], NOON + 60_000);
    world.pass(MINUTE);
    world.end(0);
    assert!(world.try_call("cron.get", json!({"id": id})).is_err());
    assert_eq!(world.runs(&id).len(), 2);
    let one = world.call("cron.runs", json!({"id": id, "runId": answer["runId"]}));
    assert_eq!(one["entries"][0]["runId"], answer["runId"]);
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
fn a_page_of_large_jobs_ends_early_and_says_where_the_next_one_begins() {
    let mut world = World::new();
    let text = "x".repeat(60_000);
    for number in 0..40 {
        let payload = json!({"kind": "agentTurn", "message": text});
        world.call("cron.add", json!({"name": format!("j{number:02}"), "schedule": every(3_600), "payload": payload}));
    }
    let (mut names, mut offset) = (Vec::new(), json!(0));
    while !offset.is_null() {
        let page = world.call("cron.list", json!({"limit": 200, "offset": offset, "sortBy": "name"}));
        assert!(page.to_string().len() < 1_200_000 && page["total"] == 40, "{}", page.to_string().len());
        assert_eq!(page["hasMore"], !page["nextOffset"].is_null());
        names.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned()));
        offset = page["nextOffset"].clone();
    }
    assert_eq!(names, (0..40).map(|number| format!("j{number:02}")).collect::<Vec<_>>());
}

#[test]
fn the_revision_is_of_the_definition_as_it_is_now() {
    let mut world = World::new();
    let id = world.call(
        "cron.add",
        json!({"name": "once", "schedule": at(NOON + 60_000), "deleteAfterRun": false,
        "payload": {"kind": "agentTurn", "message": "x"}}),
    )["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let added = world.job(&id)["configRevision"].clone();
    world.pass(MINUTE);
    world.end(0);
    let switched_off = world.job(&id);
    assert_eq!(switched_off["enabled"], false);
    assert_ne!(switched_off["configRevision"], added);
    let same = World::at(world.now, world.file.clone(), false).job(&id)["configRevision"].clone();
    assert_eq!(switched_off["configRevision"], same);
    let on = world.call(
        "cron.update",
        json!({"id": id, "patch": {"enabled": true},
        "expectedConfigRevision": switched_off["configRevision"]}),
    );
    assert_eq!(on["configRevision"], added);
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
fn what_only_real_gateways_can_do_is_refused_by_its_name() {
    let mut world = World::new();
    let job = json!({"name": "a", "schedule": every(60), "payload": {"kind": "agentTurn", "message": "x"}});
    for (place, value, named) in [
        ("/schedule", json!({"kind": "stream", "command": ["x"]}), "stream is not supported"),
        ("/schedule", json!({"kind": "on-exit", "command": "x"}), "on-exit is not supported"),
        ("/payload", json!({"kind": "command", "argv": ["x"]}), "command is not supported"),
        ("/payload", json!({"kind": "script", "script": "x"}), "script is not supported"),
        ("/payload", json!({"kind": "agentTurn", "message": "x", "toolsAllow": ["*"]}), "`toolsAllow`"),
        ("/delivery", json!({"mode": "pigeon"}), "must be none, announce or webhook"),
        ("/delivery", json!({"mode": "announce", "channel": "telegram"}), "/delivery/to: is missing"),
        ("/delivery", json!({"mode": "announce", "to": "1"}), "no channel is configured"),
        ("/trigger", json!({"script": "x"}), "`trigger`"),
        ("/pacing", json!({"min": "1m"}), "`pacing`"),
        ("/failureAlert", json!({"afterwards": 1}), "at /failureAlert: unknown field `afterwards`"),
        ("/failureAlert", json!({"after": 0}), "at /failureAlert/after: must be at least 1"),
        ("/failureAlert", json!({"mode": "webhook"}), "at /failureAlert/to: must be an http or https URL"),
        ("/failureAlert", json!({"channel": "telegram"}), "at /failureAlert/to: is missing"),
        ("/failureAlert", json!(true), "at /failureAlert: invalid type"),
        ("/failureAlert", json!({"to": "1"}), "no channel is configured"),
        (
            "/delivery",
            json!({"mode": "none", "failureDestination": {"mode": "webhook", "to": "http://127.0.0.1/"}}),
            "allowedHostnames",
        ),
        (
            "/delivery",
            json!({"mode": "none", "failureDestination": {"to": "x"}}),
            "at /delivery/failureDestination/to: must be",
        ),
        (
            "/delivery",
            json!({"mode": "announce", "completionDestination": {"mode": "webhook"}}),
            "`completionDestination`",
        ),
        ("/sessionKey", json!("agent:main:main"), "sessionTarget current"),
        ("/wakeMode", json!("next-heartbeat"), "no heartbeats"),
        ("/sessionTarget", json!("elsewhere"), "must be main, isolated"),
        ("/agentId", json!("nobody"), "Unknown agent id \"nobody\""),
        ("/name", json!(" "), "at /name"),
    ] {
        let mut job = job.clone();
        job[place.trim_start_matches('/')] = value;
        let error = world.try_call("cron.add", job).unwrap_err();
        assert!(error.message.contains(named), "{place}: {error}");
    }
    assert_eq!(world.call("cron.status", json!({}))["jobs"], 0);
    let writer = Arc::new(caller_with(&["operator.write"]));
    world.caller = writer;
    assert_eq!(world.try_call("cron.add", job).unwrap_err().message, "missing scope: operator.admin");
}

#[test]
fn a_job_is_changed_by_what_its_patch_names() {
    let mut world = World::new();
    let id = world.add(every(60));
    let revision = world.job(&id)["configRevision"].clone();
    let patch = json!({"name": "b", "payload": {"kind": "agentTurn", "model": "m"}, "schedule": at(NOON + 5_000)});
    let job = world.call("cron.update", json!({"id": id, "patch": patch, "expectedConfigRevision": revision}));
    assert_eq!(
        (&job["name"], &job["payload"]["message"], &job["payload"]["model"]),
        (&json!("b"), &json!("do it"), &json!("m"))
    );
    assert_eq!((&job["nextRunAtMs"], &job["deleteAfterRun"]), (&json!(NOON + 5_000), &json!(true)));
    let late = world.try_call("cron.update", json!({"id": id, "patch": {}, "expectedConfigRevision": revision}));
    assert_eq!(late.unwrap_err().details["code"], "CRON_JOB_CHANGED");
    let job = world.call("cron.update", json!({"id": id, "patch": {"payload": {"kind": "agentTurn", "model": null}}}));
    assert!(job["payload"]["model"].is_null());
    let off = world.call("cron.update", json!({"id": id, "patch": {"enabled": false}}));
    assert!(off["nextRunAtMs"].is_null());
    world.pass(MINUTE);
    assert!(world.orders.is_empty());
    assert_eq!(world.call("cron.remove", json!({"id": id})), json!({"ok": true, "removed": true}));
    let unknown = world.try_call("cron.get", json!({"id": "a job"})).unwrap_err();
    assert_eq!(unknown.message, "cron job not found: a job", "the command looks for a name then");
    let gone = world.try_call("cron.remove", json!({"id": id})).unwrap_err();
    assert_eq!(gone.details["code"], "CRON_JOB_NOT_FOUND");
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let mut world = World::new();
    for (name, seconds) in [("slow", 600), ("fast", 60), ("other", 300)] {
        let id = world.add(every(seconds));
        world.call("cron.update", json!({"id": id, "patch": {"name": name, "enabled": name != "other"}}));
    }
    let names = |list: &Value| -> Vec<String> {
        list["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned()).collect()
    };
    let list = world.call("cron.list", json!({"limit": 1}));
    assert_eq!((names(&list), &list["total"], &list["nextOffset"]), (vec!["fast".into()], &json!(2), &json!(1)));
    let second = world.call("cron.list", json!({"limit": 1, "offset": 1}));
    assert_eq!((names(&second), &second["snapshotRevision"]), (vec!["slow".into()], &list["snapshotRevision"]));
    let all = world.call("cron.list", json!({"includeDisabled": true, "sortBy": "name", "sortDir": "desc"}));
    assert_eq!(names(&all), ["slow", "other", "fast"]);
    assert_eq!(names(&world.call("cron.list", json!({"query": "SLO"}))), ["slow"]);
    assert_eq!(names(&world.call("cron.list", json!({"enabled": "disabled"}))), ["other"]);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens and whenever the gateway is killed: no time of a job begins two runs, what waits is what is due, and the
    /// file tells the same as the memory.
    #[test]
    fn no_time_is_run_twice(steps in proptest::collection::vec((0_u8..8, 1_u64..400), 1..40)) {
        let mut world = World::new();
        let ids: Vec<String> = [every(30), every(90), at(NOON + 100_000)].into_iter().map(|schedule| world.add(schedule)).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (step, amount) in steps {
            let id = &ids[usize::try_from(amount).unwrap() % ids.len()];
            match step {
                0..=2 => world.pass(Duration::from_secs(amount)),
                3 if !world.orders.is_empty() => drop(world.end(i32::try_from(amount % 2).unwrap())),
                4 => {
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
