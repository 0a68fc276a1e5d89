//! What tests of runs say and see.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::*;
use super::sim::{Sim, hello_4};
use crate::error::Failure;
use crate::gateway_report::SharedSessions;
use crate::machines::connection::{AgentNews, GatewayNotice};
use crate::machines::routing::RouteRequest;
use crate::spawn::{
    ControlSession, LookUpRun, NotAccepted, RunFinding, RunNotice, RunStage, SessionAction, SpawnRecord, SpawnRequest,
    Work,
};

/// The spawn that most tests start.
pub(super) const SPAWN: &str = "spawn-1";

/// A task without any wishes.
pub(super) fn task() -> Work {
    Work::Task {
        task: "say hello".into(),
        agent: None,
        session_key: None,
        model: None,
        label: None,
        timeout_seconds: None,
    }
}

/// A command of document 002's example.
pub(super) fn command() -> Work {
    Work::Command {
        command: "python".into(),
        args: vec!["agent.py".into()],
        env: [("AGENT_NAME".to_owned(), gatewarden_protocol::Secret::new("agent1"))].into(),
        cwd: Some("/opt/agents".into()),
    }
}

const METHODS: [&str; 12] = [
    "health",
    "sessions.list",
    "sessions.subscribe",
    "sessions.abort",
    "sessions.patch",
    "agents.list",
    "config.get",
    "agent",
    "agent.wait",
    "chat.send",
    "chat.abort",
    "chat.history",
];

/// The hello of a real release.
pub(super) fn hello_of(protocol: u32) -> Value {
    let mut hello = hello_4();
    hello["payload"]["protocol"] = json!(protocol);
    hello["payload"]["features"]["methods"] = json!(METHODS);
    if protocol == 3 {
        hello["payload"]["server"]["version"] = json!("2026.3.24");
        hello["payload"]["auth"] = Value::Null;
    }
    hello
}

impl Sim {
    /// A real release, connected, its lists read.
    pub(super) fn release(protocol: u32) -> Self {
        let mut sim = Self::new();
        sim.start();
        sim.reach_login();
        sim.says(hello_of(protocol));
        sim.answer_all();
        sim.news();
        sim
    }

    /// A gateway of document 002.
    pub(super) fn documented() -> Self {
        let mut sim = Self::new();
        sim.start();
        sim.reach_login();
        sim.says(json!({"type":"res","id":"connect","ok":true,
            "result":{"protocol":3,"sessionId":"s","features":["spawn","logs"]}}));
        let (id, _) = sim.unanswered().remove(0);
        sim.says(json!({"type":"res","id":id,"ok":true}));
        sim.news();
        sim
    }

    /// A gateway of the `rpc` dialect.
    pub(super) fn rpc() -> Self {
        let mut sim = Self::new();
        sim.start();
        sim.dialed();
        sim.pass_s(5);
        sim.says(json!({"result":{"ok":true}}));
        assert_eq!(sim.connection.phase(), Phase::Ready);
        sim.news();
        sim
    }

    pub(super) fn starts(&mut self, token: u64, work: Work) {
        self.starts_as(token, SPAWN, work);
    }

    pub(super) fn starts_as(&mut self, token: u64, spawn_id: &str, work: Work) {
        let record = SpawnRecord { spawn_id: spawn_id.to_owned(), ..SpawnRecord::default() };
        let request = SpawnRequest { record, route: RouteRequest::default(), work, timeout: Duration::from_secs(30) };
        self.feed(|connection, moment| connection.start_run(moment, CallToken(token), &Arc::new(request)));
    }

    pub(super) fn looks_up(&mut self, token: u64, run_id: &str, session_key: Option<&str>) {
        let wanted = LookUpRun {
            run_id: run_id.to_owned(),
            session_key: session_key.map(str::to_owned),
            timeout: Duration::from_secs(10),
        };
        self.feed(|connection, moment| connection.look_up_run(moment, CallToken(token), wanted));
    }

    pub(super) fn controls(&mut self, token: u64, session_key: &str, action: SessionAction) {
        let control = ControlSession { session_key: session_key.to_owned(), action, timeout: Duration::from_secs(30) };
        self.feed(|connection, moment| connection.control(moment, CallToken(token), control));
    }

    /// The last frame that went out, whatever it was for.
    pub(super) fn last_frame(&self) -> Value {
        self.frames().pop().expect("a frame went out")
    }

    /// All frames that went out.
    pub(super) fn frames(&self) -> Vec<Value> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::Send { text, .. } => Some(serde_json::from_str(text).unwrap()),
                _ => None,
            })
            .collect()
    }

    /// How many frames went out that start a run.
    pub(super) fn runs_sent(&self) -> usize {
        self.log.iter().filter(|effect| matches!(effect, Effect::Send { starts: Some(_), .. })).count()
    }

    /// Answers the last frame.
    pub(super) fn replies(&mut self, payload: Value) {
        let id = self.last_frame()["id"].clone();
        self.says(json!({"type":"res","id":id,"ok":true,"payload":payload}));
    }

    /// Refuses the last frame.
    pub(super) fn replies_error(&mut self, message: &str) {
        let id = self.last_frame()["id"].clone();
        self.says(json!({"type":"res","id":id,"ok":false,"error":{"code":"UNAVAILABLE","message":message}}));
    }

    pub(super) fn event(&mut self, name: &str, payload: Value) {
        self.says(json!({"type":"event","event":name,"payload":payload}));
    }

    pub(super) fn started(&self) -> Vec<Result<SpawnRecord, NotAccepted>> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::AnswerRun(_, result) => Some((**result).clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn accepted(&self) -> SpawnRecord {
        self.started().pop().expect("an answer").expect("an acceptance")
    }

    pub(super) fn not_accepted(&self) -> NotAccepted {
        self.started().pop().expect("an answer").expect_err("no acceptance")
    }

    pub(super) fn findings(&self) -> Vec<Result<RunFinding, Failure>> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::AnswerFinding(_, result) => Some(result.clone().map(|answer| answer.finding)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn notices(&self) -> Vec<RunNotice> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notify(GatewayNotice::Run(notice)) => Some(notice.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn stages(&self) -> Vec<RunStage> {
        self.notices().into_iter().map(|notice| notice.stage).collect()
    }

    pub(super) fn snapshots(&self) -> Vec<SharedSessions> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notify(GatewayNotice::Sessions(sessions)) => Some(sessions.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn agent_news(&self) -> Vec<Vec<AgentNews>> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notify(GatewayNotice::Agents(news)) => Some(news.clone()),
                _ => None,
            })
            .collect()
    }
}

/// Whether nothing follows a stage.
pub(super) fn is_final(stage: &RunStage) -> bool {
    !matches!(stage, RunStage::Running { .. })
}
