//! One account of a gateway, with a service that the test plays and a disk that keeps what it was given.

use std::sync::Arc;
use std::time::Duration;

use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use super::service::{Fault, Inbound, Reply, RequestKind, Update};
use super::{ChannelNews, Record};
use crate::caller::{Caller, caller_with};
use crate::clock::{CountingChance, Now};
use crate::config::{
    Auth, ChannelAccess, ChannelAccount, ChannelKind, CommandTemplate, ConfiguredAgent, DmPolicy, GatewayConfig,
};
use crate::cron::file::{FILE as JOBS, Stored};
use crate::effect::{
    ChannelIdentity, ChannelKey, ChannelOrder, ChannelRequest, Chat, Effect, FileChange, OutputStream, ProcessNews,
    RunId,
};
use crate::files::FilesNews;
use crate::loading::Loaded;
use crate::machine::GatewayMachine;
use crate::turn::Turn;

struct House {
    machine: GatewayMachine,
    now: Now,
    chance: CountingChance,
    /// What is on disk.
    disk: Option<String>,
    /// The file of the jobs.
    jobs: String,
    /// How often it was written.
    writes: usize,
    /// Whether the disk takes anything.
    disk_works: bool,
    /// What the service was asked and hasn't answered.
    asked: Vec<(u64, ChannelRequest)>,
    /// The runs that were started, in order.
    started: Vec<RunId>,
    events: Vec<(String, Value)>,
    lines: Vec<String>,
}

fn config(access: ChannelAccess) -> GatewayConfig {
    let mut config = GatewayConfig::defaults("/nowhere".into(), Auth::None);
    let command = CommandTemplate {
        program: "/bin/cat".into(),
        args: Vec::new(),
        allowed_args: Vec::new(),
        env: [].into(),
        allowed_env: [].into(),
        working_dirs: Vec::new(),
        json_lines: false,
        timeout: None,
    };
    config.commands.insert("cat".to_owned(), command);
    let agent = ConfiguredAgent {
        name: "Main".to_owned(),
        command: Some("cat".to_owned()),
        acp: None,
        workspace: "/nowhere/main".into(),
        model: None,
    };
    config.agents.insert("main".to_owned(), agent);
    config.default_agent = Some("main".to_owned());
    config.channels.push(ChannelAccount {
        kind: ChannelKind::Telegram,
        id: "default".to_owned(),
        name: None,
        enabled: true,
        token: Some(Secret::new("1:abc")),
        token_source: "config",
        api_root: "https://api.telegram.org".to_owned(),
        message_content: true,
        cloud: crate::config::CloudApi::default(),
        text_limit: None,
        access,
    });
    config
}

fn known(sender: &str) -> ChannelAccess {
    ChannelAccess { allow_from: vec![sender.to_owned()], ..ChannelAccess::default() }
}

fn key() -> ChannelKey {
    ChannelKey { kind: ChannelKind::Telegram, id: "default".to_owned() }
}

fn update(id: u64, sender: &str, text: &str) -> Update {
    let message = Inbound {
        sender: sender.to_owned(),
        sender_name: "N".to_owned(),
        chat: Chat { id: sender.to_owned(), thread: None },
        is_direct: true,
        text: Some(text.to_owned()),
        is_for_me: true,
        id: None,
        guild: None,
    };
    Update { id, message: Some(message) }
}

impl House {
    fn new(access: ChannelAccess) -> Self {
        Self::on(access, None)
    }

    /// A gateway that starts on what is on disk.
    fn on(access: ChannelAccess, disk: Option<String>) -> Self {
        Self::with_jobs(access, disk, String::new())
    }

    fn with_jobs(access: ChannelAccess, disk: Option<String>, jobs: String) -> Self {
        let config = config(access);
        let mut chance = CountingChance::default();
        let now = Now::read();
        let mut turn = Turn::new(now, &mut chance);
        let mut loaded = Loaded::nothing(&config);
        loaded.channels.extend(disk.as_ref().map(|text| (Record::file(&key()), serde_json::from_str(text).unwrap())));
        loaded.cron = Stored::read(jobs.as_bytes());
        let mut machine = GatewayMachine::new(Arc::new(config), loaded, &mut turn);
        let mut reader = caller_with(&["operator.read"]);
        reader.connection = crate::caller::ConnectionId(1);
        machine.subscribers.join(Arc::new(reader));
        let effects = turn.into_effects();
        let mut house = Self {
            machine,
            now,
            chance,
            disk,
            jobs,
            writes: 0,
            disk_works: true,
            asked: Vec::new(),
            started: Vec::new(),
            events: Vec::new(),
            lines: Vec::new(),
        };
        house.carry_out(effects);
        house.turn(|_, _| {});
        house
    }

    /// Connected, and asked nothing more than for updates.
    fn online(access: ChannelAccess) -> Self {
        let mut house = Self::new(access);
        house.identify();
        house
    }

    fn identify(&mut self) {
        let me = ChannelIdentity { id: "666".to_owned(), name: "TestBot".to_owned() };
        self.answer(RequestKind::Identify, Ok(Reply::Identity(me)));
    }

    /// The next life of the gateway after a kill -9.
    fn killed(self, access: ChannelAccess) -> Self {
        let mut house = Self::with_jobs(access, self.disk, self.jobs);
        house.identify();
        house
    }

    fn turn<T>(&mut self, decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>) -> T) -> T {
        let mut chance = self.chance;
        let mut turn = Turn::new(self.now, &mut chance);
        let decided = decide(&mut self.machine, &mut turn);
        self.machine.attend_channels(&mut turn);
        let effects = turn.into_effects();
        self.chance = chance;
        self.carry_out(effects);
        decided
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write(FileChange::Replace { file, text }) if file == Record::file(&key()) => {
                    self.writes += 1;
                    if self.disk_works {
                        self.disk = Some(text);
                    } else {
                        let error = "No space left on device".to_owned();
                        self.turn(|machine, turn| machine.files_news(FilesNews::Failed { file, error }, turn));
                    }
                }
                Effect::Write(FileChange::Append { file, line }) if file.as_os_str() == JOBS => {
                    self.jobs += &(line + "\n");
                }
                Effect::Write(FileChange::Replace { file, text }) if file.as_os_str() == JOBS => self.jobs = text,
                Effect::Confirm { file, awaited_by } => {
                    let news = FilesNews::Confirmed { file, awaited_by, written: self.disk_works };
                    self.turn(|machine, turn| machine.files_news(news, turn));
                }
                Effect::Channel { order: ChannelOrder::Ask { life, request }, .. } => self.asked.push((life, request)),
                Effect::Channel { order: ChannelOrder::Close, .. } => self.asked.clear(),
                Effect::Start(order) => self.started.push(order.run),
                Effect::Tell { event, payload, .. } => self.events.push((event, (*payload).clone())),
                Effect::Log(line) => self.lines.push(line.message),
                _ => {}
            }
        }
    }

    /// The request of a kind that waits for its answer.
    fn request(&self, kind: RequestKind) -> Option<&ChannelRequest> {
        self.asked.iter().map(|(_, request)| request).find(|request| RequestKind::of(request) == kind)
    }

    fn answer(&mut self, kind: RequestKind, outcome: Result<Reply, Fault>) {
        let at = self.asked.iter().position(|(_, request)| RequestKind::of(request) == kind).expect("it was asked");
        let (life, _) = self.asked.remove(at);
        let news = ChannelNews { account: key(), life, kind, outcome };
        self.turn(|machine, turn| machine.channels.hear(news, turn));
    }

    fn updates(&mut self, updates: Vec<Update>) {
        self.answer(RequestKind::Poll, Ok(Reply::Updates(updates)));
    }

    /// The text that is being sent, which then arrives.
    fn delivered(&mut self) -> String {
        let Some(ChannelRequest::Send { text, .. }) = self.request(RequestKind::Send) else {
            panic!("nothing is sent: {:?}", self.asked)
        };
        let text = text.clone();
        self.answer(RequestKind::Send, Ok(Reply::Done));
        text
    }

    fn cursor(&self) -> Option<u64> {
        match self.request(RequestKind::Poll) {
            Some(ChannelRequest::Poll { cursor, .. }) => *cursor,
            other => panic!("it doesn't poll: {other:?}"),
        }
    }

    /// The last run that was started says this and ends.
    fn run_says(&mut self, text: &str, code: i32) {
        let run = self.started.last().expect("a run").clone();
        let line = ProcessNews::Line { stream: OutputStream::Stdout, text: text.to_owned(), cut: false };
        let exited =
            ProcessNews::Exited { code: Some(code), signal: None, duration_ms: 1, strays: 0, timed_out: false };
        for news in [ProcessNews::Started { pid: 1 }, line, exited] {
            self.turn(|machine, turn| machine.process_news(&run, news, turn));
        }
    }

    fn pass(&mut self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.now.at += time;
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
        self.turn(GatewayMachine::on_time);
    }

    fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.call_with(&["operator.admin"], method, params)
    }

    fn call_with(&mut self, scopes: &[&str], method: &str, params: Value) -> Result<Value, String> {
        let caller: Arc<Caller> = Arc::new(caller_with(scopes));
        let call = crate::call::Call { caller, request: Some("r".to_owned()), method: method.to_owned(), params };
        let mut chance = self.chance;
        let mut turn = Turn::new(self.now, &mut chance);
        self.machine.call(&call, &mut turn);
        self.machine.attend_channels(&mut turn);
        let (answers, others): (Vec<_>, Vec<_>) =
            turn.into_effects().into_iter().partition(|effect| matches!(effect, Effect::Respond { .. }));
        self.chance = chance;
        self.carry_out(others);
        match answers.into_iter().next() {
            Some(Effect::Respond { outcome, .. }) => outcome.map_err(|error| error.message),
            other => panic!("no answer: {other:?}"),
        }
    }

    /// Everybody's messages are heard, and so many processes may run.
    fn with_room_for(processes: usize) -> Self {
        let mut house = Self::online(known("*"));
        let mut changed = config(known("*"));
        changed.limits.processes = processes;
        house.turn(|machine, turn| machine.configure(changed, turn));
        house
    }

    /// Those who wait for an approval.
    fn strangers(&mut self) -> Vec<String> {
        let listed = self.call("channels.pairing.list", json!({})).unwrap();
        let requests = listed["requests"].as_array().unwrap().iter();
        requests.map(|row| row["senderId"].as_str().unwrap().to_owned()).collect()
    }

    fn code_of(&mut self, sender: &str) -> String {
        let listed = self.call("channels.pairing.list", json!({})).unwrap();
        let found = listed["requests"].as_array().unwrap().iter().find(|row| row["senderId"] == sender).unwrap();
        found["code"].as_str().unwrap().to_owned()
    }

    fn row(&mut self) -> Value {
        self.call("channels.status", json!({})).unwrap()["channelAccounts"]["telegram"][0].clone()
    }
}

#[test]
fn a_message_becomes_a_run_and_its_answer_goes_back() {
    let mut house = House::online(known("123"));
    house.updates(vec![update(7, "123", "hello")]);
    assert_eq!(house.started, [RunId("telegram:666:7".to_owned())]);
    assert_eq!(house.cursor(), Some(8));
    let (_, message) = house.events.iter().find(|(event, _)| event == "message").unwrap();
    assert_eq!((&message["channel"], &message["from"]), (&json!("telegram"), &json!("telegram:123")));
    assert_eq!(message["sessionKey"], "agent:main:telegram:default:user123");
    house.pass(0);
    assert!(matches!(house.request(RequestKind::Typing), Some(ChannelRequest::Typing { .. })));
    house.run_says("hi there", 0);
    assert_eq!(house.delivered(), "hi there");
    assert!(house.request(RequestKind::Send).is_none());
    assert!(house.row()["lastOutboundAt"].is_i64());
}

#[test]
fn a_limit_of_the_service_keeps_typing_waiting_and_no_answer() {
    let mut house = House::online(known("123"));
    house.updates(vec![update(7, "123", "hello")]);
    house.pass(0);
    house.answer(RequestKind::Typing, Err(Fault::Slow(60)));
    house.pass(59);
    assert!(house.request(RequestKind::Typing).is_none());
    house.pass(1);
    assert!(house.request(RequestKind::Typing).is_some());
    house.run_says("hi there", 0);
    assert_eq!(house.delivered(), "hi there");
}

fn place(house: &House) -> Option<String> {
    match house.request(RequestKind::Poll) {
        Some(ChannelRequest::Poll { place, .. }) => place.clone(),
        other => panic!("it doesn't poll: {other:?}"),
    }
}

#[test]
fn a_service_that_sends_by_itself_goes_on_where_it_was_after_a_kill() {
    let access = ChannelAccess { dm_policy: DmPolicy::Allowlist, ..known("123") };
    let mut house = House::online(access.clone());
    assert_eq!(place(&house), None);
    let came = |updates: Vec<Update>, place: &str| Ok(Reply::Received { updates, place: place.to_owned() });
    house.answer(RequestKind::Poll, came(Vec::new(), "begun"));
    house.pass(1);
    assert_eq!((place(&house).as_deref(), house.writes), (Some("begun"), 2));
    house.answer(RequestKind::Poll, came(vec![update(9, "5", "hi"), update(4, "6", "hi")], "on"));
    assert_eq!((place(&house).as_deref(), house.writes), (Some("on"), 2), "what isn't heard costs no write");
    house.answer(RequestKind::Poll, came(vec![update(7, "123", "hello")], "taken"));
    assert_eq!(place(&house).as_deref(), Some("taken"), "asked on only when it is on disk");
    assert_eq!(house.started.len(), 1);
    let mut house = house.killed(access);
    assert_eq!(place(&house).as_deref(), Some("taken"));
    house.answer(RequestKind::Poll, came(vec![update(7, "123", "hello")], "taken"));
    assert!(house.started.is_empty(), "what comes again is known");
}

#[test]
fn a_chat_without_its_channel_is_refused_where_there_are_several() {
    let mut house = House::online(known("5"));
    let mut changed = config(known("5"));
    let discord = ChannelAccount { kind: ChannelKind::Discord, ..changed.channels[0].clone() };
    changed.channels.push(discord);
    house.turn(|machine, turn| machine.configure(changed, turn));
    let mut add = |to: &str| {
        let schedule = json!({"kind": "every", "everyMs": 60_000});
        let payload = json!({"kind": "agentTurn", "message": "x"});
        let delivery = json!({"mode": "announce", "to": to});
        house.call("cron.add", json!({"name": "b", "schedule": schedule, "payload": payload, "delivery": delivery}))
    };
    let said = add("5").unwrap_err();
    assert!(said.contains("it may be telegram:default or discord:default"), "{said}");
    assert!(add("discord:user:5").is_ok() && add("telegram:5").is_ok());
}

#[test]
fn what_only_a_person_can_change_is_waited_for() {
    let mut house = House::online(known("123"));
    let fault = Fault::Setup("it isn't allowed".to_owned(), "allow it");
    house.answer(RequestKind::Poll, Err(fault));
    house.pass(3_600);
    assert!(house.asked.is_empty());
    let row = house.row();
    assert_eq!((&row["healthState"], &row["fix"]), (&json!("blocked"), &json!("allow it")));
    house.call("channels.start", json!({"channel": "telegram"})).unwrap();
    assert!(house.request(RequestKind::Identify).is_some());
}

#[test]
fn nothing_of_a_stranger_reaches_an_agent_until_the_code_is_approved() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "let me in"), update(2, "5", "please")]);
    let said = house.delivered();
    assert!(said.contains("user id: 5") && said.contains("gatewarden gateway pairing approve telegram "), "{said}");
    assert!(house.request(RequestKind::Send).is_none(), "a code is told once");
    assert!(house.started.is_empty() && house.machine.sessions.len() == 0);
    let listed = house.call("channels.pairing.list", json!({})).unwrap();
    let code = listed["requests"][0]["code"].as_str().unwrap().to_owned();
    assert!(said.contains(&code) && listed["requests"][0]["senderId"] == "5", "{listed}");
    let wrong = house.call("channels.pairing.approve", json!({"channel": "telegram", "code": "WRONG"}));
    let said = wrong.unwrap_err();
    assert!(
        said.starts_with("pending DM access request no longer exists: none like this waits at telegram:default."),
        "{said}"
    );
    assert!(
        said.contains("Waiting: 1 at telegram:default.") && said.contains("pairing list") && !said.contains(&code),
        "{said}"
    );
    let approved =
        house.call("channels.pairing.approve", json!({"channel": "telegram", "code": code.to_lowercase()})).unwrap();
    assert_eq!(approved["senderId"], "5");
    house.updates(vec![update(3, "5", "now?")]);
    assert_eq!(house.started.len(), 1);
    // And so it stays.
    let mut house = house.killed(ChannelAccess::default());
    house.updates(vec![update(4, "5", "still?")]);
    assert_eq!(house.started.len(), 1);
}

#[test]
fn an_update_that_comes_twice_is_run_once() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a"), update(7, "1", "a")]);
    house.updates(vec![update(7, "1", "a")]);
    house.run_says("x", 0);
    house.pass(2);
    assert_eq!(house.started.len(), 1);
    let mut house = house.killed(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    assert_eq!(house.started.len(), 0);
}

#[test]
fn a_message_is_acknowledged_only_when_it_is_on_disk() {
    let mut house = House::online(known("1"));
    house.disk_works = false;
    house.updates(vec![update(7, "1", "a")]);
    assert!(house.request(RequestKind::Poll).is_none() && house.started.is_empty());
    let row = house.row();
    assert!(row["lastError"].as_str().unwrap().contains("No space left") && row["connected"] == false, "{row}");
    house.disk_works = true;
    house.turn(GatewayMachine::upkeep);
    house.turn(|machine, turn| machine.files_news(FilesNews::Restored { file: Record::file(&key()) }, turn));
    assert_eq!((house.cursor(), house.started.len()), (Some(8), 1));
}

#[test]
fn a_kill_between_update_and_run_loses_nothing_and_one_within_the_run_is_told() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "first"), update(8, "1", "second")]);
    assert_eq!(house.started, [RunId("telegram:666:7".to_owned())], "one at a time");
    let mut house = house.killed(known("1"));
    assert_eq!(house.started, [RunId("telegram:666:8".to_owned())]);
    assert_eq!(house.cursor(), Some(9));
    let said = house.delivered();
    assert!(said.contains("restarted while it worked on your message \"first\""), "{said}");
    house.run_says("done", 0);
    assert_eq!(house.delivered(), "done");
}

#[test]
fn an_answer_that_may_have_been_sent_is_not_sent_again() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    house.run_says(&"word ".repeat(1_500), 0);
    assert!(house.request(RequestKind::Send).is_some());
    // Killed while the first part was under way.
    let mut house = house.killed(known("1"));
    let rest = house.delivered();
    assert!(rest.len() < 4_000 && rest.starts_with("word"), "{rest}");
    assert!(house.request(RequestKind::Send).is_none() && house.started.is_empty());
    house.updates(vec![update(8, "1", "b")]);
    house.run_says("answer", 0);
    house.answer(RequestKind::Send, Err(Fault::Unanswered("nothing came".to_owned())));
    assert!(house.request(RequestKind::Send).is_none());
    assert!(house.lines.iter().any(|line| line.contains("isn't sent again")), "{:?}", house.lines);
}

#[test]
fn what_certainly_was_not_sent_is_sent_again_when_the_service_wants_it() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    house.run_says("answer", 0);
    house.answer(RequestKind::Send, Err(Fault::Slow(7)));
    house.pass(6);
    assert!(house.request(RequestKind::Send).is_none());
    house.pass(1);
    for fault in [Fault::Trouble("HTTP 502".to_owned()), Fault::Unreached("refused".to_owned())] {
        house.answer(RequestKind::Send, Err(fault));
        assert!(house.request(RequestKind::Send).is_none(), "not at once");
        house.pass(2);
    }
    assert_eq!(house.delivered(), "answer");
    house.updates(vec![update(8, "1", "b")]);
    house.run_says("another", 0);
    house.answer(RequestKind::Send, Err(Fault::Refused("bot was blocked by the user".to_owned())));
    house.pass(60);
    assert!(house.request(RequestKind::Send).is_none());
}

#[test]
fn a_long_answer_comes_in_parts_in_order() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    let text: Vec<String> = (0..900).map(|number| format!("line {number}")).collect();
    house.run_says(&text.join("\n"), 0);
    let parts: Vec<String> = (0..2).map(|_| house.delivered()).collect();
    assert_eq!(parts.join("\n"), text.join("\n"));
    assert!(house.request(RequestKind::Send).is_none());
}

#[test]
fn a_token_that_is_not_accepted_is_said_and_not_tried_again() {
    let mut house = House::new(known("1"));
    house.answer(RequestKind::Identify, Err(Fault::Credentials("HTTP 401 Unauthorized".to_owned())));
    house.pass(3_600);
    assert!(house.asked.is_empty());
    let row = house.row();
    assert_eq!((&row["healthState"], &row["running"]), (&json!("blocked"), &json!(false)));
    assert!(
        row["lastError"].as_str().unwrap().contains("401") && row["fix"].as_str().unwrap().contains("@BotFather"),
        "{row}"
    );
    house.call("channels.start", json!({"channel": "telegram"})).unwrap();
    house.identify();
    assert_eq!(house.row()["connected"], true);
}

#[test]
fn two_pollers_and_silence_and_failures_are_said_and_tried_rarely() {
    let mut house = House::online(known("1"));
    for fault in [
        Fault::Conflict("HTTP 409".to_owned()),
        Fault::Unanswered("nothing came".to_owned()),
        Fault::Trouble("HTTP 500".to_owned()),
        Fault::Unreached("refused".to_owned()),
    ] {
        let said = fault.to_string();
        house.answer(RequestKind::Poll, Err(fault));
        assert!(house.request(RequestKind::Poll).is_none(), "not at once: {said}");
        let row = house.row();
        assert_eq!((row["lastError"].as_str(), &row["connected"]), (Some(said.as_str()), &json!(false)));
        assert!(row["fix"].is_string());
        house.pass(60);
    }
    house.updates(Vec::new());
    assert_eq!(house.row()["connected"], true);
    assert!(house.row()["lastError"].is_null());
    let mut tries = 0;
    for _ in 0..600 {
        if house.request(RequestKind::Poll).is_some() {
            tries += 1;
            house.answer(RequestKind::Poll, Err(Fault::Trouble("HTTP 500".to_owned())));
        }
        house.pass(1);
    }
    assert!(tries < 20, "{tries} tries in ten minutes");
}

#[test]
fn an_empty_answer_at_once_is_not_asked_for_in_a_loop() {
    let mut house = House::online(known("1"));
    house.updates(Vec::new());
    assert!(house.request(RequestKind::Poll).is_none());
    assert_eq!(house.machine.channels.deadline(), Some(house.now.at + Duration::from_secs(1)));
    house.pass(1);
    assert!(house.request(RequestKind::Poll).is_some());
}

#[test]
fn an_agents_failure_is_told_without_its_insides() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    let run = house.started[0].clone();
    let line = ProcessNews::Line { stream: OutputStream::Stderr, text: "password=hunter2".to_owned(), cut: false };
    let exited = ProcessNews::Exited { code: Some(3), signal: None, duration_ms: 1, strays: 0, timed_out: false };
    for news in [ProcessNews::Started { pid: 1 }, line, exited] {
        house.turn(|machine, turn| machine.process_news(&run, news, turn));
    }
    let said = house.delivered();
    assert!(said.contains("failed") && !said.contains("hunter2") && !said.contains("exit code"), "{said}");
}

#[test]
fn a_flood_runs_no_more_than_its_share_and_is_told_once() {
    let mut house = House::online(known("1"));
    for batch in 0..5_u64 {
        house.updates((0..20).map(|number| update(batch * 20 + number, "1", "spam")).collect());
        if house.request(RequestKind::Poll).is_none() {
            house.pass(1);
        }
    }
    let mut ended = 0;
    while house.started.len() > ended {
        ended = house.started.len();
        house.run_says("x", 0);
    }
    assert_eq!(ended, 20);
    let said: Vec<String> = (0..21).map(|_| house.delivered()).collect();
    assert_eq!(said.iter().filter(|said| said.contains("messages a minute")).count(), 1, "{said:?}");
    assert!(house.request(RequestKind::Send).is_none());
}

#[test]
fn a_logout_outlasts_a_restart_and_a_start_ends_it() {
    let mut house = House::online(known("1"));
    assert_eq!(house.call("channels.logout", json!({"channel": "telegram"})).unwrap()["loggedOut"], true);
    assert!(house.asked.is_empty());
    let mut house = House::on(known("1"), house.disk);
    assert!(house.asked.is_empty());
    assert_eq!(house.row()["running"], false);
    house.call("channels.start", json!({"channel": "telegram"})).unwrap();
    house.identify();
    assert_eq!(house.row()["connected"], true);
}

#[test]
fn another_bot_begins_with_its_own_numbers() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    house.run_says("x", 0);
    house.delivered();
    let mut house = House::on(known("1"), house.disk);
    let other = ChannelIdentity { id: "667".to_owned(), name: "Other".to_owned() };
    house.answer(RequestKind::Identify, Ok(Reply::Identity(other)));
    assert_eq!(house.cursor(), None);
    house.updates(vec![update(7, "1", "b")]);
    assert_eq!(house.started.len(), 1);
}

#[test]
fn a_changed_policy_counts_at_once_and_a_changed_token_connects_anew() {
    let mut house = House::online(known("1"));
    let mut changed = config(ChannelAccess { dm_policy: DmPolicy::Disabled, ..known("1") });
    house.turn(|machine, turn| machine.configure(changed.clone(), turn));
    assert!(house.request(RequestKind::Poll).is_some(), "it goes on");
    changed.channels[0].token = Some(Secret::new("2:def"));
    house.turn(|machine, turn| machine.configure(changed.clone(), turn));
    assert!(house.request(RequestKind::Poll).is_none() && house.request(RequestKind::Identify).is_some());
    changed.channels.clear();
    house.turn(|machine, turn| machine.configure(changed, turn));
    assert!(house.asked.is_empty() && house.machine.channels.is_empty());
}

#[test]
fn channels_that_come_and_go_are_told_as_presence() {
    let mut house = House::online(known("1"));
    let online = |house: &House| {
        let rows = house.machine.presence_rows(house.now);
        rows.iter().find(|row| row["mode"] == "channel").map(|row| row["online"].clone())
    };
    assert_eq!(online(&house), Some(json!(true)));
    house.answer(RequestKind::Poll, Err(Fault::Unreached("refused".to_owned())));
    assert_eq!(online(&house), Some(json!(false)));
}

#[test]
fn more_updates_than_were_asked_for_are_not_taken() {
    let mut house = House::online(known("*"));
    house.updates((0..25_000).map(|number| update(number, &number.to_string(), "x")).collect());
    assert!(house.started.is_empty() && house.request(RequestKind::Poll).is_none());
    let row = house.row();
    assert!(row["lastError"].as_str().unwrap().contains("more than it was asked for"), "{row}");
    house.pass(1);
    assert_eq!(house.cursor(), None);
}

#[test]
fn without_room_for_a_run_messages_wait_as_not_begun_and_nothing_is_written() {
    let mut house = House::with_room_for(1);
    for batch in 0..3_u64 {
        house.updates((batch * 20..batch * 20 + 20).map(|id| update(id, &id.to_string(), "x")).collect());
    }
    assert_eq!(house.started.len(), 1);
    let kept: Value = serde_json::from_str(house.disk.as_ref().unwrap()).unwrap();
    let begun = kept["waiting"].as_array().unwrap().iter().filter(|work| work["begun"] == true).count();
    assert_eq!(begun, 1, "a crash now must not tell the others to send again");
    house.writes = 0;
    for _ in 0..60 {
        house.pass(1);
    }
    assert_eq!(house.writes, 0);
    house.run_says("x", 0);
    assert_eq!(house.started.len(), 2);
}

#[test]
fn a_turn_writes_an_account_once() {
    let mut house = House::online(known("*"));
    house.writes = 0;
    let mut turn = Turn::new(house.now, &mut house.chance);
    let news = ChannelNews {
        account: key(),
        life: house.asked[0].0,
        kind: RequestKind::Poll,
        outcome: Ok(Reply::Updates(vec![update(7, "1", "a"), update(8, "2", "b")])),
    };
    house.machine.channels.hear(news, &mut turn);
    house.machine.attend_channels(&mut turn);
    let writes = turn.into_effects().into_iter().filter(|effect| matches!(effect, Effect::Write(_))).count();
    assert_eq!(writes, 1);
}

#[test]
fn who_cannot_talk_to_agents_lets_nobody_talk_to_them() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "hi")]);
    let params = json!({"channel": "telegram", "code": house.code_of("5")});
    let refused = house.call_with(&["operator.pairing"], "channels.pairing.approve", params.clone());
    assert_eq!(refused, Err("missing scope: operator.write".to_owned()));
    let scopes = ["operator.pairing", "operator.write"];
    assert_eq!(house.call_with(&scopes, "channels.pairing.approve", params).unwrap()["senderId"], "5");
}

#[test]
fn an_approval_is_listed_and_can_be_taken_back() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "hi")]);
    let code = house.code_of("5");
    house.call("channels.pairing.approve", json!({"channel": "telegram", "code": code})).unwrap();
    let approved = |house: &mut House| house.call("channels.pairing.list", json!({})).unwrap()["approved"].clone();
    assert_eq!(approved(&mut house), json!([{"channel": "telegram", "accountId": "default", "senderId": "5"}]));
    let revoke = json!({"channel": "telegram", "senderId": "5"});
    assert_eq!(house.call("channels.pairing.revoke", revoke.clone()).unwrap()["senderId"], "5");
    assert!(house.call("channels.pairing.revoke", revoke).unwrap_err().contains("isn't approved"));
    assert_eq!(approved(&mut house), json!([]));
    let mut house = house.killed(ChannelAccess::default());
    house.updates(vec![update(2, "5", "again")]);
    assert!(house.started.is_empty());
}

#[test]
fn another_bot_inherits_no_approvals() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "hi")]);
    let code = house.code_of("5");
    house.call("channels.pairing.approve", json!({"channel": "telegram", "code": code})).unwrap();
    let mut house = House::on(ChannelAccess::default(), house.disk);
    let other = ChannelIdentity { id: "667".to_owned(), name: "Other".to_owned() };
    house.answer(RequestKind::Identify, Ok(Reply::Identity(other)));
    house.updates(vec![update(1, "5", "hi")]);
    assert!(house.started.is_empty());
    assert!(house.lines.iter().any(|line| line.contains("1 approval")), "{:?}", house.lines);
}

#[test]
fn a_dismissed_stranger_is_unheard_for_an_hour_and_holds_no_place() {
    let mut house = House::online(ChannelAccess::default());
    house.updates((1..=4).map(|id| update(id, &id.to_string(), "hi")).collect());
    assert_eq!(house.strangers(), ["1", "2", "3"]);
    let code = house.code_of("1");
    house.call("channels.pairing.dismiss", json!({"channel": "telegram", "code": code})).unwrap();
    house.updates(vec![update(5, "1", "again"), update(6, "4", "again")]);
    assert_eq!(house.strangers(), ["2", "3", "4"]);
    house.pass(3_601);
    house.updates(vec![update(7, "1", "again")]);
    assert_eq!(house.strangers(), ["1"]);
}

#[test]
fn another_root_begins_without_a_cursor() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(9_007_199_254_740_990, "1", "a")]);
    let mut changed = config(known("1"));
    changed.channels[0].api_root = "https://elsewhere".to_owned();
    house.turn(|machine, turn| machine.configure(changed, turn));
    house.identify();
    assert_eq!(house.cursor(), None);
}

#[test]
fn a_request_that_finds_no_room_waits_on() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "hi")]);
    let account = house.machine.channels.accounts.get_mut(&key()).unwrap();
    for sender in 1_000..2_000 {
        assert!(account.record.pairing.approve(&sender.to_string()));
    }
    let params = json!({"channel": "telegram", "code": house.code_of("5")});
    let refused = house.call("channels.pairing.approve", params.clone()).unwrap_err();
    assert!(refused.contains("allowFrom"), "{refused}");
    assert_eq!(house.strangers(), ["5"]);
    house.call("channels.pairing.revoke", json!({"channel": "telegram", "senderId": "1000"})).unwrap();
    assert_eq!(house.call("channels.pairing.approve", params).unwrap()["senderId"], "5");
}

impl House {
    /// A job whose answer goes to this person. Its id.
    fn job_for(&mut self, to: &str, more: Value) -> String {
        let delivery = json!({"mode": "announce", "channel": "telegram", "to": to});
        let job = json!({
            "name": "brief",
            "schedule": {"kind": "every", "everyMs": 3_600_000},
            "payload": {"kind": "agentTurn", "message": "what is new?"},
            "delivery": crate::payload::joined(delivery, more),
        });
        self.call("cron.add", job).unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// The job runs now, and its agent says this.
    fn job_says(&mut self, id: &str, text: &str) {
        self.call("cron.run", json!({"id": id})).unwrap();
        self.run_says(text, 0);
    }

    /// How the last run of a job went: `deliveryStatus`, `completionStatus`, and why.
    fn told_of(&mut self, id: &str) -> (String, String, String) {
        let row = self.call("cron.runs", json!({"id": id})).unwrap()["entries"][0].clone();
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("deliveryStatus"), text("completionStatus"), text("deliveryError"))
    }

    fn status_of(&mut self, id: &str) -> Value {
        self.call("cron.runs", json!({"id": id})).unwrap()["entries"][0]["status"].clone()
    }
}

#[test]
fn the_answer_of_a_job_goes_to_its_chat_once_and_the_run_says_so() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "all is well");
    assert_eq!(house.told_of(&id).1, "unknown");
    assert_eq!(house.status_of(&id), Value::Null, "to clients the run isn't over yet");
    assert_eq!(house.delivered(), "all is well");
    assert!(house.request(RequestKind::Send).is_none());
    let done = ("delivered".to_owned(), "succeeded".to_owned(), String::new());
    assert_eq!((house.told_of(&id), house.status_of(&id)), (done.clone(), json!("ok")));
    let told: Vec<Value> =
        house.events.iter().filter(|(name, _)| name == "cron").map(|(_, told)| told.clone()).collect();
    let finished: Vec<&Value> = told.iter().filter(|told| told["action"] == "finished").collect();
    assert_eq!((finished.len(), &finished[0]["delivered"]), (1, &json!(true)));
    let mut house = house.killed(known("5"));
    assert!(house.request(RequestKind::Send).is_none());
    assert_eq!(house.told_of(&id), done);
}

#[test]
fn the_answer_of_a_job_outlasts_a_kill_before_it_is_sent() {
    // The service isn't reached yet.
    let mut house = House::new(known("5"));
    let id = house.job_for("5", json!({}));
    house.call("cron.run", json!({"id": &id})).unwrap();
    let before = house.jobs.clone();
    house.run_says("all is well", 0);
    assert!(house.jobs.len() > before.len() && house.request(RequestKind::Send).is_none());
    // Killed after everything was written, and between the file of the account and that of the jobs.
    for jobs in [house.jobs.clone(), before] {
        let mut next = House::with_jobs(known("5"), house.disk.clone(), jobs);
        next.identify();
        assert_eq!(next.told_of(&id).0, "unknown");
        assert_eq!(next.delivered(), "all is well");
        assert!(next.request(RequestKind::Send).is_none());
        assert_eq!(next.told_of(&id), ("delivered".to_owned(), "succeeded".to_owned(), String::new()));
        assert!(next.started.is_empty(), "the run isn't repeated");
    }
}

#[test]
fn the_answer_of_a_job_that_may_have_been_sent_is_not_sent_again() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "all is well");
    assert!(house.request(RequestKind::Send).is_some());
    let mut house = house.killed(known("5"));
    assert!(house.request(RequestKind::Send).is_none());
    let (status, completion, why) = house.told_of(&id);
    assert_eq!((status.as_str(), completion.as_str()), ("unknown", "unknown"));
    assert!(why.contains("isn't sent again"), "{why}");
    house.job_says(&id, "once more");
    house.answer(RequestKind::Send, Err(Fault::Unanswered("nothing came".to_owned())));
    assert_eq!(house.told_of(&id).0, "unknown");
    // And so it is after the next start.
    let mut house = house.killed(known("5"));
    assert_eq!(house.told_of(&id).0, "unknown");
}

#[test]
fn why_the_answer_of_a_job_was_not_delivered_is_told() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "all is well");
    house.answer(RequestKind::Send, Err(Fault::Refused("bot was blocked by the user".to_owned())));
    let (status, completion, why) = house.told_of(&id);
    assert_eq!((status.as_str(), completion.as_str()), ("not-delivered", "failed"));
    assert!(why.contains("bot was blocked by the user"), "{why}");
    assert_eq!(house.status_of(&id), "ok", "the run itself went well");
    let lax = house.job_for("5", json!({"bestEffort": true}));
    house.job_says(&lax, "all is well");
    house.answer(RequestKind::Send, Err(Fault::Refused("bot was blocked by the user".to_owned())));
    assert_eq!(house.told_of(&lax).1, "succeeded");
    // What the rules forbid by now, and an account that is out of use.
    let changed = config(known("6"));
    house.turn(|machine, turn| machine.configure(changed, turn));
    house.job_says(&id, "all is well");
    let (status, _, why) = house.told_of(&id);
    assert!(status == "not-delivered" && why.contains("isn't approved"), "{status}: {why}");
    house.turn(|machine, turn| machine.configure(config(known("5")), turn));
    house.call("channels.stop", json!({"channel": "telegram"})).unwrap();
    house.job_says(&id, "all is well");
    let (status, _, why) = house.told_of(&id);
    assert!(status == "not-delivered" && why.contains("channels.start"), "{status}: {why}");
    assert!(house.request(RequestKind::Send).is_none());
}

#[test]
fn the_answer_of_a_job_is_held_to_the_rules_when_it_is_sent_and_that_of_a_message_is_not() {
    let mut house = House::online(known("5"));
    let is_unasked = |house: &House| match house.request(RequestKind::Send) {
        Some(ChannelRequest::Send { unasked, .. }) => unasked.is_some(),
        other => panic!("nothing is sent: {other:?}"),
    };
    house.updates(vec![update(7, "5", "a")]);
    house.run_says("answer", 0);
    assert!(!is_unasked(&house));
    house.delivered();
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "all is well");
    assert!(is_unasked(&house));
    house.answer(RequestKind::Send, Err(Fault::Forbidden("nothing may be written to channel 7".to_owned())));
    let (status, _, why) = house.told_of(&id);
    assert_eq!((status.as_str(), why.as_str()), ("not-delivered", "nothing may be written to channel 7"));
    assert_eq!(house.row()["connected"], true);
}

#[test]
fn a_job_says_nothing_to_the_chat_that_it_does_not_mean_to_say() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "NO_REPLY");
    assert!(house.request(RequestKind::Send).is_none());
    assert_eq!(house.told_of(&id).1, "succeeded");
    house.call("cron.run", json!({"id": &id})).unwrap();
    house.run_says("half of it", 3);
    assert!(house.request(RequestKind::Send).is_none());
    let (status, completion, _) = house.told_of(&id);
    assert_eq!((status.as_str(), completion.as_str()), ("not-delivered", "failed"));
}

#[test]
fn a_job_is_refused_whose_answer_has_nowhere_to_go() {
    let mut house = House::online(known("5"));
    let job = |delivery: Value| {
        let delivery = crate::payload::joined(json!({"mode": "announce"}), delivery);
        json!({
            "name": "brief",
            "schedule": {"kind": "every", "everyMs": 60_000},
            "payload": {"kind": "agentTurn", "message": "x"},
            "delivery": delivery,
        })
    };
    for (delivery, said) in [
        (json!({"channel": "discord", "to": "5"}), "no account discord:default is configured"),
        (
            json!({"channel": "telegram", "to": "5", "accountId": "work"}),
            "no account telegram:work is configured, there are telegram:default",
        ),
        (json!({"channel": "telegram", "to": "6"}), "approve the pairing, or add the id to allowFrom"),
        (json!({"channel": "telegram", "to": "-100"}), "groups doesn't list the group; add it"),
        (json!({"channel": "telegram"}), "/delivery/to: is missing"),
    ] {
        let error = house.call("cron.add", job(delivery)).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let mut in_main = job(json!({"channel": "telegram", "to": "5"}));
    in_main["sessionTarget"] = "main".into();
    assert!(house.call("cron.add", in_main).unwrap_err().contains("sessionTarget isolated"));
    let id = house.call("cron.add", job(json!({"to": "telegram:5"}))).unwrap()["id"].as_str().unwrap().to_owned();
    let update = |delivery: Value| json!({"id": &id, "patch": {"delivery": delivery}});
    assert!(house.call("cron.update", update(json!({"to": "6"}))).is_err());
    // A job whose chat has become unreachable can be changed otherwise.
    house.turn(|machine, turn| machine.configure(config(known("6")), turn));
    house.call("cron.update", json!({"id": &id, "patch": {"name": "other"}})).unwrap();
    let listed = house.call("cron.list", json!({})).unwrap();
    let preview = &listed["deliveryPreviews"][&id];
    assert!(preview["detail"].as_str().unwrap().contains("isn't approved"), "{listed}");
}

#[test]
fn a_job_that_runs_once_is_removed_when_its_answer_has_arrived_and_stays_when_it_has_not() {
    for arrives in [true, false] {
        let mut house = House::online(known("5"));
        let at = gatewarden_protocol::wall_time::of_millis(house.now.wall_ms + 60_000);
        let job = json!({
            "name": "once",
            "schedule": {"kind": "at", "at": at},
            "payload": {"kind": "agentTurn", "message": "x"},
            "delivery": {"mode": "announce", "channel": "telegram", "to": "5"},
        });
        let id = house.call("cron.add", job).unwrap()["id"].as_str().unwrap().to_owned();
        house.pass(61);
        house.run_says("it is time", 0);
        let outcome = if arrives { Ok(Reply::Done) } else { Err(Fault::Refused("blocked".to_owned())) };
        assert!(house.call("cron.get", json!({"id": &id})).is_ok());
        house.answer(RequestKind::Send, outcome);
        let known = house.call("cron.get", json!({"id": &id}));
        assert_eq!(known.is_err(), arrives);
        if let Ok(job) = known {
            assert_eq!(job["enabled"], false);
        }
    }
}

/// Where the answer of a job is sent that is for the last chat; empty where it isn't sent. It arrives.
fn last_place(house: &mut House, id: &str) -> String {
    house.job_says(id, "all is well");
    let Some(ChannelRequest::Send { to, .. }) = house.request(RequestKind::Send) else { return String::new() };
    let to = to.id.clone();
    assert_eq!(house.delivered(), "all is well");
    to
}

#[test]
fn an_answer_for_the_last_chat_goes_to_where_somebody_wrote_last() {
    let both = ChannelAccess { allow_from: vec!["5".to_owned(), "6".to_owned()], ..ChannelAccess::default() };
    let mut house = House::online(both.clone());
    let add = |house: &mut House, target: &str, delivery: Value| {
        let job = json!({
            "name": "brief",
            "schedule": {"kind": "every", "everyMs": 3_600_000},
            "payload": {"kind": "agentTurn", "message": "what is new?"},
            "sessionTarget": target,
            "delivery": delivery,
        });
        house.call("cron.add", job).unwrap()
    };
    let added = add(&mut house, "isolated", json!({"mode": "announce", "channel": "last"}));
    let said = added["deliveryPreview"]["detail"].as_str().unwrap().to_owned();
    assert!(said.contains("nobody has written to the agent"), "{said}");
    let id = added["id"].as_str().unwrap().to_owned();
    assert_eq!(last_place(&mut house, &id), "");
    let row = house.call("cron.runs", json!({"id": &id})).unwrap()["entries"][0].clone();
    assert!(row["deliverySuppressionReason"].as_str().unwrap().contains("nobody has written"), "{row}");
    assert_eq!(row["completionStatus"], "succeeded");

    for (number, person) in [(1, "5"), (2, "6")] {
        house.updates(vec![update(number, person, "hi")]);
        house.run_says("hello", 0);
        assert_eq!(house.delivered(), "hello");
        house.pass(1);
        assert_eq!(last_place(&mut house, &id), person);
    }
    let listed = house.call("cron.list", json!({})).unwrap();
    let preview = json!({"label": "announce -> telegram:6", "detail": "resolved from last"});
    assert_eq!(listed["deliveryPreviews"][&id], preview);
    let own = add(&mut house, "session:agent:main:telegram:default:user5", json!({"mode": "announce"}));
    let own = own["id"].as_str().unwrap().to_owned();
    assert_eq!(last_place(&mut house, &own), "5", "the job's own session goes first");

    let mut house = house.killed(both);
    assert_eq!(last_place(&mut house, &id), "6");
    // Who may not be written to any more isn't, and nobody else instead.
    let changed = config(known("5"));
    house.turn(|machine, turn| machine.configure(changed, turn));
    assert_eq!(last_place(&mut house, &id), "");
    let (status, _, why) = house.told_of(&id);
    assert!(status == "not-delivered" && why.contains("isn't approved"), "{status}: {why}");
}

#[test]
fn an_alert_for_a_chat_is_told_once_wherever_the_gateway_is_killed() {
    // The service isn't reached yet.
    let mut house = House::new(known("5"));
    let id = house.job_for("5", json!({}));
    house.call("cron.update", json!({"id": &id, "patch": {"failureAlert": {"after": 1}}})).unwrap();
    house.call("cron.run", json!({"id": &id})).unwrap();
    let (disk, before) = (house.disk.clone(), house.jobs.clone());
    house.run_says("half of it", 3);
    let row = house.jobs.lines().nth(before.lines().count()).unwrap().to_owned();
    assert!(row.starts_with("{\"run\":"), "{row}");
    for (disk, jobs) in
        [(disk, format!("{before}{row}\n")), (house.disk.clone(), format!("{before}{row}\n")), (house.disk, house.jobs)]
    {
        let mut next = House::with_jobs(known("5"), disk, jobs);
        next.identify();
        let said = next.delivered();
        assert!(said.contains("Automation \"brief\" failed") && next.request(RequestKind::Send).is_none(), "{said}");
        let state = next.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
        assert_eq!(state["lastFailureNotificationDeliveryStatus"], "delivered", "{state}");
        assert!(state["lastError"].as_str().unwrap().contains("exit code 3"), "{state}");
    }
}

#[test]
fn an_alert_while_the_gateway_stops_is_sent_by_the_next_one() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.call("cron.update", json!({"id": &id, "patch": {"failureAlert": {"after": 1}}})).unwrap();
    house.call("cron.run", json!({"id": &id})).unwrap();
    house.turn(GatewayMachine::stopping);
    house.run_says("half of it", 3);
    assert!(house.request(RequestKind::Send).is_none());
    let mut house = house.killed(known("5"));
    assert!(house.delivered().contains("failed"));
    let state = house.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
    assert_eq!(state["lastFailureNotificationDeliveryStatus"], "delivered", "{state}");
}

#[test]
fn people_are_told_of_failures_in_the_chat_of_the_answers_or_in_another_one() {
    let both = ChannelAccess { allow_from: vec!["5".to_owned(), "6".to_owned()], ..ChannelAccess::default() };
    let mut house = House::online(both.clone());
    let fails = |house: &mut House, id: &str| {
        house.call("cron.run", json!({"id": id})).unwrap();
        house.run_says("half of it", 3);
    };
    let id = house.job_for("5", json!({}));
    fails(&mut house, &id);
    assert!(house.request(RequestKind::Send).is_none());
    fails(&mut house, &id);
    let Some(ChannelRequest::Send { to, .. }) = house.request(RequestKind::Send) else { panic!("nobody is told") };
    assert_eq!(to.id, "5");
    let said = house.delivered();
    assert!(said.contains("Automation \"brief\" failed 2 times") && !said.contains("half of it"), "{said}");
    let state = house.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
    assert_eq!(state["lastFailureNotificationDeliveryStatus"], "delivered", "{state}");

    let id = house.job_for("5", json!({"failureDestination": {"to": "telegram:6"}}));
    fails(&mut house, &id);
    fails(&mut house, &id);
    // On its way at a kill: that it was, and isn't sent again, is said.
    assert!(house.request(RequestKind::Send).is_some());
    let mut house = house.killed(both);
    assert!(house.request(RequestKind::Send).is_none());
    let state = house.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
    assert_eq!(state["lastFailureNotificationDeliveryStatus"], "unknown", "{state}");
    // An answer that can't be delivered is told in the other chat.
    house.job_says(&id, "all is well");
    house.answer(RequestKind::Send, Err(Fault::Refused("bot was blocked by the user".to_owned())));
    let state = house.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
    assert!(state["lastDeliveryError"].as_str().unwrap().contains("blocked"), "{state}");
}
