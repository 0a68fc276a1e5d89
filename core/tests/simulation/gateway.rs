//! A simulated gateway: it lets clients in, lists sessions and agents, runs work and tells how it went, as real releases do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::auth_budget::{MAX_FAILURES, WINDOW as LOCKED_OUT_WITHIN};
use serde_json::{Value, json};

use crate::network::{Piece, SocketId, To};
use crate::world::{Owner, ProcessId, World};

/// Rows that a list shows: the newest.
const SHOWN: usize = 20;
/// The latest answer that comes at all.
pub(crate) const LATEST: Duration = Duration::from_secs(40);
const TICK: Duration = Duration::from_secs(30);
/// How it ends a connection: without a word, or with one of the codes that real releases, proxies and faults use.
const CLOSES: [Option<u16>; 13] = [
    None,
    Some(1000),
    Some(1001),
    Some(1002),
    Some(1005),
    Some(1006),
    Some(1008),
    Some(1009),
    Some(1011),
    Some(1012),
    Some(1013),
    Some(4000),
    Some(4001),
];
/// How it may refuse a login, and whether it counts that towards locking the client out. None: it lets in, with fewer scopes.
pub(crate) const REFUSALS: [(Option<&str>, bool); 7] = [
    (None, false),
    (Some(r#"{"code":"INVALID_REQUEST","message":"unauthorized","details":{"code":"AUTH_TOKEN_MISMATCH"}}"#), true),
    (Some(r#"{"code":"INVALID_REQUEST","message":"no","details":{"code":"AUTH_DEVICE_TOKEN_MISMATCH"}}"#), true),
    (Some(r#"{"code":"NOT_PAIRED","message":"pairing required","details":{"requestId":"r-1"}}"#), false),
    (Some(r#"{"code":"INVALID_REQUEST","message":"protocol mismatch"}"#), false),
    (Some(r#"{"code":"RATE_LIMITED","message":"too many failed auth attempts","retryAfterMs":40000}"#), false),
    (Some(r#"{"code":"INVALID_REQUEST","message":"of its own","retryable":true}"#), true),
];
/// What is no frame of the protocol, or none that makes sense.
const GARBAGE: [&str; 10] = [
    "",
    "{",
    "null",
    "[]",
    "\u{0}\u{fffd}",
    "HTTP/1.1 400 Bad Request",
    r#"{"type":"res"}"#,
    r#"{"type":"event","event":5,"payload":[]}"#,
    r#"{"type":"req","id":"1","method":"agent","params":{}}"#,
    r#"{"type":"event","event":"sessions.changed","payload":{"sessions":{"":[{}]}}}"#,
];

pub(crate) struct Gateway {
    pub(crate) protocol: u32,
    /// Which start of its process this is.
    pub(crate) start: u64,
    pub(crate) is_up: bool,
    pub(crate) frozen_until: Option<Instant>,
    logins: BTreeSet<SocketId>,
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) manners: Manners,
    /// Until when it left questions unanswered.
    pub(crate) silent_until: Option<Instant>,
    /// Logins that it refused and counts, and which start of a daemon tried them.
    refused: VecDeque<(ProcessId, Instant)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Run {
    session_key: String,
    asked_on: SocketId,
    request: String,
    began_ms: i64,
    /// The latest has the highest.
    number: u64,
    pub(crate) began: Instant,
    pub(crate) end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed,
    Killed,
}

/// How it treats its clients, in percent of the requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners {
    pub(crate) loses_answers: u64,
    pub(crate) doubles_answers: u64,
    pub(crate) answers_late: u64,
    pub(crate) refuses_work: u64,
    /// Of all that it says, also unasked: cut off, no frame, more than is allowed or held, or in answer to nothing.
    pub(crate) garbles: u64,
    /// Ends the connection instead of the next word, or after it.
    pub(crate) closes: u64,
    /// Lists sessions that never ran.
    pub(crate) lists_much: bool,
    /// Which of [`REFUSALS`] each login gets.
    pub(crate) refuses_logins: Option<usize>,
    pub(crate) is_starting: bool,
}

impl Manners {
    fn are_good(self) -> bool {
        let speaks = self.loses_answers + self.answers_late + self.garbles + self.closes == 0;
        speaks && !self.lists_much && self.refuses_logins.is_none() && !self.is_starting
    }

    /// Whether an answer may not come at all.
    pub(crate) fn are_silent(self) -> bool {
        self.loses_answers + self.answers_late + self.garbles + self.closes > 0 || self.refuses_logins.is_some()
    }
}

/// What becomes of its runs when it is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Keeps,
    ForgetsWhatRuns,
    ForgetsAll,
}

impl Gateway {
    pub(crate) fn new(protocol: u32) -> Self {
        Self {
            protocol,
            start: 0,
            is_up: false,
            frozen_until: None,
            logins: BTreeSet::new(),
            runs: BTreeMap::new(),
            manners: Manners::default(),
            silent_until: None,
            refused: VecDeque::new(),
        }
    }

    pub(crate) fn is_well(&self, now: Instant) -> bool {
        self.is_up && self.frozen_until.is_none_or(|until| until <= now) && self.manners.are_good()
    }

    fn rows(&self) -> Vec<Value> {
        let mut newest: Vec<_> = self.runs.iter().collect();
        newest.sort_by_key(|(_, run)| std::cmp::Reverse(run.number));
        newest
            .into_iter()
            .take(SHOWN)
            .map(|(run_id, run)| {
                let status = match run.end {
                    None => "running",
                    Some(End::Done) => "done",
                    Some(End::Failed) => "failed",
                    Some(End::Killed) => "killed",
                };
                let mut row = json!({"key": run.session_key, "status": status, "startedAt": run.began_ms});
                if self.protocol >= 4 {
                    row["hasActiveRun"] = json!(run.end.is_none());
                    row["lastRunId"] = json!(run_id);
                }
                row
            })
            .chain((0..if self.manners.lists_much { 400 } else { 0 }).map(|number| {
                let (key, label) = (format!("agent:main:never-{number}"), "much ".repeat(80));
                json!({"key": key, "status": "done", "label": label, "startedAt": 1})
            }))
            .collect()
    }
}

impl World {
    fn gateway(&mut self, id: GatewayId) -> &mut Gateway {
        self.gateways.get_mut(&id).unwrap()
    }

    fn owner_of(&self, id: GatewayId) -> Owner {
        Owner::Gateway(id, self.gateways[&id].start)
    }

    pub(crate) fn start_gateway(&mut self, id: GatewayId, memory: Memory) {
        let gateway = self.gateway(id);
        if gateway.is_up {
            return;
        }
        (gateway.start, gateway.is_up, gateway.frozen_until) = (gateway.start + 1, true, None);
        gateway.logins.clear();
        match memory {
            Memory::Keeps => {}
            Memory::ForgetsWhatRuns => gateway.runs.retain(|_, run| run.end.is_some()),
            Memory::ForgetsAll => gateway.runs.clear(),
        }
        let going_on: Vec<String> =
            gateway.runs.iter().filter(|(_, run)| run.end.is_none()).map(|(id, _)| id.clone()).collect();
        for run_id in going_on {
            self.end_later(id, run_id);
        }
        self.tick(id);
    }

    /// Its process is gone: killed, or after a word to its clients.
    pub(crate) fn stop_gateway(&mut self, id: GatewayId, says_so: bool) {
        if !self.gateways[&id].is_up {
            return;
        }
        if says_so {
            self.tell_all(id, "shutdown", &json!({"reason": "restart", "restartExpectedMs": 1_500}));
        }
        self.gateway_sockets_end(id, says_so.then_some(1012));
        self.gateway(id).is_up = false;
    }

    fn tick(&mut self, id: GatewayId) {
        self.tell_all(id, "tick", &json!({"ts": self.gateway_wall_ms()}));
        let owner = self.owner_of(id);
        self.after(TICK, owner, move |world| world.tick(id));
    }

    fn tell_all(&mut self, id: GatewayId, event: &str, payload: &Value) {
        let text = json!({"type": "event", "event": event, "payload": payload}).to_string();
        for socket in self.gateways[&id].logins.clone() {
            self.say(id, socket, text.clone());
        }
    }

    /// A text leaves the gateway, as it is or spoilt. It may end the connection over it.
    fn say(&mut self, id: GatewayId, socket: SocketId, text: String) {
        let Manners { garbles, closes, .. } = self.gateways[&id].manners;
        let closes = self.dice.happens(closes);
        if !closes || self.dice.happens(50) {
            let text = if self.dice.happens(garbles) { self.garbled(text) } else { text };
            self.send(socket, To::Daemon, Piece::Text(text));
        }
        if closes {
            let code = self.dice.one_of(&CLOSES);
            self.end_socket(id, socket, code);
        }
    }

    fn end_socket(&mut self, id: GatewayId, socket: SocketId, code: Option<u16>) {
        self.gateway(id).logins.remove(&socket);
        self.send(socket, To::Daemon, Piece::End(code));
    }

    /// Never what would be believed and is false: nobody can tell that from the truth.
    fn garbled(&mut self, mut text: String) -> String {
        match self.dice.roll(5) {
            0 => text.truncate(text.floor_char_boundary(usize::try_from(self.dice.roll(text.len() as u64)).unwrap())),
            1 => text = self.dice.one_of(&GARBAGE).to_owned(),
            // In answer to nothing.
            2 => text = text.replacen(r#""id":""#, r#""id":"not-"#, 1),
            // As long as one frame may be before the login, after it, and too long.
            kind => {
                let length = self.dice.one_of(&[15, 20, 70, 150, 300, 600]) * 1_024;
                let much = if kind == 3 {
                    format!("\"{}\"", "x".repeat(length))
                } else {
                    // Values that take a hundred times their text.
                    format!("[{}0]", r#"{"":0},"#.repeat(length / 700))
                };
                text.pop();
                text = format!("{text},\"much\":{much}}}");
            }
        }
        text
    }

    /// A client is there.
    pub(crate) fn gateway_greets(&mut self, id: GatewayId, socket: SocketId) {
        let challenge =
            json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":self.gateway_wall_ms()}});
        self.say(id, socket, challenge.to_string());
    }

    pub(crate) fn gateway_hears(&mut self, id: GatewayId, socket: SocketId, piece: Piece) {
        match piece {
            Piece::End(_) => drop(self.gateway(id).logins.remove(&socket)),
            Piece::Ping(payload) => self.send(socket, To::Daemon, Piece::Pong(payload)),
            Piece::Pong(_) => {}
            Piece::Text(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                let method = frame["method"].as_str().unwrap();
                if method == "auth" || method == "gateway.info" {
                    let words = "invalid handshake: first request must be connect";
                    self.reply(id, socket, "invalid", Err(json!({"code":"INVALID_REQUEST","message":words})));
                    return self.end_socket(id, socket, Some(1008));
                }
                let request = frame["id"].as_str().unwrap();
                if method == "connect" {
                    return self.log_in(id, socket, request);
                }
                assert!(self.gateways[&id].logins.contains(&socket), "{method} before the login");
                let answer = self.answer(id, socket, request, method, &frame["params"]);
                self.reply(id, socket, request, answer);
            }
        }
    }

    fn log_in(&mut self, id: GatewayId, socket: SocketId, request: &str) {
        let gateway = self.gateway(id);
        if gateway.manners.is_starting {
            let words = json!({"code":"UNAVAILABLE","message":"gateway starting","retryAfterMs":500});
            self.reply(id, socket, request, Err(words));
            return self.end_socket(id, socket, Some(1013));
        }
        let refusal = gateway.manners.refuses_logins.map(|kind| REFUSALS[kind]);
        if let Some((Some(words), counts)) = refusal {
            if counts {
                self.count_refusal(id, socket);
            }
            self.reply(id, socket, request, Err(serde_json::from_str(words).unwrap()));
            return self.end_socket(id, socket, Some(1008));
        }
        let methods = [
            "health",
            "sessions.list",
            "sessions.subscribe",
            "sessions.abort",
            "sessions.patch",
            "agents.list",
            "agent",
            "agent.wait",
            "chat.send",
            "chat.history",
            "config.get",
        ];
        let mut hello = json!({"type":"hello-ok","protocol":gateway.protocol,
            "server":{"version":"2026.9.6","connId":"c"},
            "features":{"methods":methods,"events":["tick","sessions.changed"]},
            "snapshot":{"uptimeMs":320_220,"health":{"ok":true}},
            "auth":{"role":"operator","scopes":["operator.admin","operator.read","operator.write"],
                "deviceToken":format!("device-{id}")},
            "policy":{"maxPayload":26_214_400,"tickIntervalMs":30_000}});
        if gateway.protocol == 3 {
            hello["server"]["version"] = json!("2026.3.24");
            hello["auth"] = Value::Null;
        }
        if refusal.is_some() {
            hello["auth"] = json!({"role":"operator","scopes":["operator.read"]});
        }
        gateway.logins.insert(socket);
        self.reply(id, socket, request, Ok(hello));
    }

    /// It locks a client out that it refuses ten times; a daemon risks five a minute. Where the way is long or somebody sleeps, they
    /// may arrive closer together than they were sent.
    fn count_refusal(&mut self, id: GatewayId, socket: SocketId) {
        let now = self.now;
        let Some(process) = self.network.holder(socket) else { return };
        let slept = self.nodes[process.node].sleep.ends_after(now - LOCKED_OUT_WITHIN * 2);
        let is_prompt = self.network.is_clear(id, now) && !slept;
        let gateway = self.gateway(id);
        let rested = gateway.frozen_until.is_none_or(|until| until + LOCKED_OUT_WITHIN * 2 < now);
        gateway.refused.retain(|(_, at)| now < *at + LOCKED_OUT_WITHIN);
        if is_prompt && rested {
            gateway.refused.push_back((process, now));
            let count = gateway.refused.iter().filter(|(by, _)| *by == process).count();
            assert!(count <= MAX_FAILURES, "gateway {id} is about to lock us out");
        }
    }

    /// Answers now or late, once or twice, or never.
    fn reply(&mut self, id: GatewayId, socket: SocketId, request: &str, answer: Result<Value, Value>) {
        let manners = self.gateways[&id].manners;
        if self.dice.happens(manners.loses_answers) {
            return;
        }
        let frame = match answer {
            Ok(payload) => json!({"type":"res","id":request,"ok":true,"payload":payload}),
            Err(error) => json!({"type":"res","id":request,"ok":false,"error":error}),
        };
        let (text, owner) = (frame.to_string(), self.owner_of(id));
        for _ in 0..=u64::from(self.dice.happens(manners.doubles_answers)) {
            let text = text.clone();
            let late = self.dice.happens(manners.answers_late);
            let wait =
                if late { self.dice.ms(500, u64::try_from(LATEST.as_millis()).unwrap()) } else { self.dice.ms(0, 5) };
            if wait < Duration::from_millis(3) {
                self.say(id, socket, text);
            } else {
                self.after(wait, owner, move |world| world.say(id, socket, text));
            }
        }
    }

    fn answer(
        &mut self,
        id: GatewayId,
        socket: SocketId,
        request: &str,
        method: &str,
        params: &Value,
    ) -> Result<Value, Value> {
        let text = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
        match method {
            "agents.list" => Ok(json!({"defaultId":"main","agents":[{"id":"main"}]})),
            "sessions.subscribe" => Ok(json!({"subscribed":true})),
            "health" => Ok(json!({"ok":true})),
            "chat.history" => Ok(json!({"messages":[]})),
            "sessions.patch" => Ok(json!({"ok":true})),
            "logs.tail" => Ok(json!({"lines":[],"cursor":0})),
            "sessions.list" => {
                let rows = self.gateways[&id].rows();
                Ok(json!({"count":rows.len(),"totalCount":rows.len(),"hasMore":false,"sessions":rows}))
            }
            "agent" => self.take_work(id, socket, request, text("idempotencyKey"), text("sessionKey")),
            "agent.wait" => Ok(match self.gateways[&id].runs.get(&text("runId")).and_then(|run| run.end) {
                None => json!({"status":"timeout"}),
                Some(End::Done) => json!({"status":"ok","endedAt":self.gateway_wall_ms()}),
                Some(End::Failed) => json!({"status":"error","error":"it failed","endedAt":self.gateway_wall_ms()}),
                Some(End::Killed) => json!({"status":"timeout","stopReason":"rpc","endedAt":self.gateway_wall_ms()}),
            }),
            "sessions.abort" => {
                let key = text("key");
                let runs = &self.gateways[&id].runs;
                let running = runs.iter().find(|(_, run)| run.session_key == key && run.end.is_none());
                let Some(run_id) = running.map(|(run_id, _)| run_id.clone()) else {
                    return Ok(json!({"ok":true,"abortedRunId":null,"status":"no-active-run"}));
                };
                self.end_run(id, &run_id, End::Killed);
                Ok(json!({"ok":true,"abortedRunId":run_id,"status":"aborted"}))
            }
            other => Err(json!({"code":"INVALID_REQUEST","message":format!("unknown method: {other}")})),
        }
    }

    fn take_work(
        &mut self,
        id: GatewayId,
        socket: SocketId,
        request: &str,
        run_id: String,
        session_key: String,
    ) -> Result<Value, Value> {
        if self.dice.happens(self.gateways[&id].manners.refuses_work) {
            return Err(json!({"code":"UNAVAILABLE","message":"too much to do"}));
        }
        self.watch.begins(&run_id, id);
        let (asked_on, request, began_ms, number) = (socket, request.to_owned(), self.gateway_wall_ms(), self.steps);
        let began = self.now;
        self.gateway(id)
            .runs
            .insert(run_id.clone(), Run { session_key, asked_on, request, began_ms, number, began, end: None });
        self.tell_run(id, &run_id, &json!({"phase":"start"}));
        self.end_later(id, run_id.clone());
        Ok(json!({"runId":run_id,"status":"accepted","acceptedAt":began_ms}))
    }

    fn tell_run(&mut self, id: GatewayId, run_id: &str, data: &Value) {
        let session_key = self.gateways[&id].runs[run_id].session_key.clone();
        let payload = json!({"runId":run_id,"sessionKey":session_key,"stream":"lifecycle","data":data});
        if !self.dice.happens(self.gateways[&id].manners.loses_answers) {
            self.tell_all(id, "agent", &payload);
        }
    }

    fn end_later(&mut self, id: GatewayId, run_id: String) {
        let (wait, owner) = (self.dice.s(0, 120), self.owner_of(id));
        self.after(wait, owner, move |world| {
            let end = if world.dice.happens(80) { End::Done } else { End::Failed };
            world.end_run(id, &run_id, end);
        });
    }

    fn end_run(&mut self, id: GatewayId, run_id: &str, end: End) {
        let Some(run) = self.gateway(id).runs.get_mut(run_id).filter(|run| run.end.is_none()) else { return };
        run.end = Some(end);
        let Run { asked_on, request, .. } = run.clone();
        let data = match end {
            End::Done => json!({"phase":"end"}),
            End::Failed => json!({"phase":"error","error":"it failed"}),
            End::Killed => json!({"phase":"end","aborted":true}),
        };
        self.tell_run(id, run_id, &data);
        self.tell_all(id, "sessions.changed", &json!({}));
        let outcome = match end {
            End::Done => json!({"runId":run_id,"status":"ok","result":{"payloads":[{"text":"done"}]}}),
            End::Failed => json!({"runId":run_id,"status":"error","error":"it failed"}),
            End::Killed => json!({"runId":run_id,"status":"timeout","summary":"aborted","stopReason":"rpc"}),
        };
        self.reply(id, asked_on, &request, Ok(outcome));
    }
}
