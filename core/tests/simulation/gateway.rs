//! A simulated gateway: it lets clients in, lists sessions and agents, runs work and tells how it went, as real releases do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gatewarden_core::ids::GatewayId;
use serde_json::{Value, json};

use crate::network::{Piece, SocketId, To};
use crate::world::{Owner, World};

/// Rows that a list shows: the newest.
const SHOWN: usize = 20;
const TICK: Duration = Duration::from_secs(30);

pub(crate) struct Gateway {
    pub(crate) protocol: u32,
    /// Which start of its process this is.
    pub(crate) start: u64,
    pub(crate) is_up: bool,
    pub(crate) frozen_until: Option<Instant>,
    logins: BTreeSet<SocketId>,
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) manners: Manners,
    /// Whether it ever left questions unanswered.
    pub(crate) was_silent: bool,
    /// Since when nothing stands in the way of it.
    pub(crate) well_since: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct Run {
    session_key: String,
    asked_on: SocketId,
    request: String,
    began_ms: i64,
    /// The latest has the highest.
    number: u64,
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
    pub(crate) is_starting: bool,
}

impl Manners {
    fn are_good(self) -> bool {
        self.loses_answers == 0 && self.answers_late == 0 && !self.is_starting
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
            was_silent: false,
            well_since: None,
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
        self.tell_all(id, "tick", &json!({"ts": self.wall_ms()}));
        let owner = self.owner_of(id);
        self.after(TICK, owner, move |world| world.tick(id));
    }

    fn tell_all(&mut self, id: GatewayId, event: &str, payload: &Value) {
        let text = json!({"type": "event", "event": event, "payload": payload}).to_string();
        for socket in self.gateways[&id].logins.clone() {
            self.send(socket, To::Daemon, Piece::Text(text.clone()));
        }
    }

    /// A client is there.
    pub(crate) fn gateway_greets(&mut self, id: GatewayId, socket: SocketId) {
        let challenge = json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":self.wall_ms()}});
        let _ = id;
        self.send(socket, To::Daemon, Piece::Text(challenge.to_string()));
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
                    return self.send(socket, To::Daemon, Piece::End(Some(1008)));
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
            return self.send(socket, To::Daemon, Piece::End(Some(1013)));
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
        gateway.logins.insert(socket);
        self.reply(id, socket, request, Ok(hello));
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
            let wait = if late { self.dice.ms(500, 40_000) } else { self.dice.ms(0, 5) };
            if wait < Duration::from_millis(3) {
                self.send(socket, To::Daemon, Piece::Text(text));
            } else {
                self.after(wait, owner, move |world| world.send(socket, To::Daemon, Piece::Text(text)));
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
                Some(End::Done) => json!({"status":"ok","endedAt":self.wall_ms()}),
                Some(End::Failed) => json!({"status":"error","error":"it failed","endedAt":self.wall_ms()}),
                Some(End::Killed) => json!({"status":"timeout","stopReason":"rpc","endedAt":self.wall_ms()}),
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
        let (asked_on, request, began_ms, number) = (socket, request.to_owned(), self.wall_ms(), self.steps);
        self.gateway(id)
            .runs
            .insert(run_id.clone(), Run { session_key, asked_on, request, began_ms, number, end: None });
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
