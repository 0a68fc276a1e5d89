//! One account of a gateway, with a service that the test plays and a disk that keeps what it was given.

mod accounts;
mod jobs;
mod messages;

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
