//! A connection, its clock, and what its shell would do with the effects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::decoding::Allowance;
use gatewarden_protocol::refusal::Refusal;
use gatewarden_protocol::{DeviceIdentity, Secret};
use serde_json::{Value, json};

use super::super::*;
use crate::dialing::DialFailure;
use crate::gateway_record::DeviceToken;
use crate::gateway_record::{GatewayRecord, GatewaySpec};
use crate::gateway_report::Status;
use crate::gateway_report::{HealthPoint, ProbeOutcome};
use crate::ids::GatewayId;
use crate::machines::connection::{AuthPermit, AuthResult, GatewayNotice};

/// More than any message of these tests takes.
pub(super) fn ample() -> Allowance {
    Allowance(1 << 30)
}

pub(super) const START_MS: i64 = 1_795_253_714_000;

pub(super) fn record() -> GatewayRecord {
    let new = GatewaySpec { token: Some(Secret::new("shared-token")), ..GatewaySpec::at("prod", "127.0.0.1", 18789) };
    GatewayRecord { revision: 1, ..new.into_record(GatewayId(7), "uuid", 0) }
}

/// The address of [`record`], in its canonical form.
pub(super) fn address() -> String {
    record().address_key()
}

/// A permit without a device token.
pub(super) fn granted(address: &str) -> AuthPermit {
    AuthPermit::Granted { address: address.to_owned(), device_token: None }
}

pub(super) struct Sim {
    pub(super) connection: Connection,
    begin: Instant,
    pub(super) now: Instant,
    pub(super) woke: Option<Instant>,
    /// Everything that happened, oldest first.
    pub(super) log: Vec<Effect>,
    /// Where the last look at `log` ended.
    seen: usize,
    /// What the registry answers.
    pub(super) grants: bool,
    pub(super) device_token: Option<DeviceToken>,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self::of(record())
    }

    pub(super) fn of(record: GatewayRecord) -> Self {
        Self::with(record, GatewaySettings::default())
    }

    pub(super) fn with(record: GatewayRecord, settings: GatewaySettings) -> Self {
        let begin = crate::any_instant();
        let parts = ConnectionParts {
            record: Arc::new(record),
            settings: Arc::new(settings),
            identity: Arc::new(DeviceIdentity::from_seed(&[7; 32])),
            version: "0.1.0".into(),
            instance_id: "run-1".into(),
        };
        let moment = Moment { now: begin, wall_ms: START_MS, jitter: 0.0, woke: None };
        let connection = Connection::new(parts, moment);
        Self { connection, begin, now: begin, woke: None, log: Vec::new(), seen: 0, grants: true, device_token: None }
    }

    pub(super) fn moment(&self) -> Moment {
        let passed = i64::try_from((self.now - self.begin).as_millis()).unwrap();
        Moment { now: self.now, wall_ms: START_MS + passed, jitter: 0.0, woke: self.woke }
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self) -> f64 {
        (self.now - self.begin).as_secs_f64()
    }

    /// Feeds an input and answers permits as the registry would.
    pub(super) fn feed(&mut self, input: impl FnOnce(&mut Connection, Moment)) {
        let moment = self.moment();
        input(&mut self.connection, moment);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let effects = self.connection.take_effects(self.moment());
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                if let Effect::Notify(GatewayNotice::PermitWanted { address }) = &effect
                    && self.grants
                {
                    let (moment, address) = (self.moment(), address.clone());
                    let permit = AuthPermit::Granted { address, device_token: self.device_token.clone() };
                    self.connection.on_permit(moment, permit);
                }
                self.log.push(effect);
            }
        }
    }

    /// Lets time pass, with every deadline on its way.
    pub(super) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.connection.next_deadline(self.moment()) {
            if due > until {
                break;
            }
            self.now = self.now.max(due);
            self.feed(Connection::on_deadline);
        }
        self.now = until;
    }

    pub(super) fn pass_s(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// What happened since the last call.
    pub(super) fn news(&mut self) -> Vec<Effect> {
        let news = self.log[self.seen..].to_vec();
        self.seen = self.log.len();
        news
    }

    pub(super) fn start(&mut self) {
        self.feed(Connection::start);
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.connection.epoch()
    }

    pub(super) fn dialed(&mut self) {
        let epoch = self.epoch();
        assert!(self.connection.is_dialing(epoch), "the dial was wanted");
        self.feed(|connection, moment| connection.on_dialed(moment, epoch));
    }

    pub(super) fn dial_failed(&mut self, failure: DialFailure) {
        let epoch = self.epoch();
        self.feed(|connection, moment| connection.on_dial_failed(moment, epoch, &failure));
    }

    pub(super) fn says(&mut self, frame: Value) {
        self.says_text(&frame.to_string());
    }

    pub(super) fn says_text(&mut self, text: &str) {
        let epoch = self.epoch();
        self.feed(|connection, moment| connection.on_message(moment, epoch, text.as_bytes(), &mut ample()));
    }

    pub(super) fn closes(&mut self, code: Option<u16>, reason: &str) {
        let epoch = self.epoch();
        self.feed(|connection, moment| connection.on_closed(moment, epoch, code, reason));
    }

    pub(super) fn challenges(&mut self) {
        self.says(json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n-1","ts":START_MS}}));
    }

    pub(super) fn refuses(&mut self, error: Value) {
        self.says(json!({"type":"res","id":"connect","ok":false,"error":error}));
    }

    /// Up to the gateway's answer to `connect`.
    pub(super) fn reach_login(&mut self) {
        self.dialed();
        self.challenges();
        assert_eq!(self.connection.phase(), Phase::Authenticating);
    }

    /// A protocol 4 gateway lets us in; nothing of what it is asked then is answered.
    pub(super) fn let_in(&mut self) {
        self.reach_login();
        self.says(hello_4());
        assert_eq!(self.connection.phase(), Phase::Ready);
    }

    /// Started, connected, all first reads answered, heartbeat learned.
    pub(super) fn online() -> Self {
        let mut sim = Self::new();
        sim.start();
        sim.let_in();
        sim.answer_all();
        assert_eq!(sim.status(), Status::Online);
        sim
    }

    /// Answers as a real release would, until it is asked nothing more.
    pub(super) fn answer_all(&mut self) {
        for _ in 0..20 {
            let asked = self.unanswered();
            if asked.is_empty() {
                return;
            }
            for (id, method) in asked {
                let reply = match method.as_str() {
                    "ping" => json!({"type":"res","id":id,"ok":false,
                        "error":{"code":"INVALID_REQUEST","message":"unknown method: ping"}}),
                    "agents.list" => json!({"type":"res","id":id,"ok":true,
                        "payload":{"defaultId":"main","agents":[{"id":"main"},{"id":"w","name":"Worker"}]}}),
                    "sessions.subscribe" => json!({"type":"res","id":id,"ok":true,"payload":{"subscribed":true}}),
                    "sessions.list" => json!({"type":"res","id":id,"ok":true,"payload":{"count":2,"totalCount":2,
                        "hasMore":false,"sessions":[
                            {"key":"agent:main:a","hasActiveRun":true,"status":"running"},
                            {"key":"agent:main:b","hasActiveRun":false,"status":"done"}]}}),
                    other => panic!("asked for {other}"),
                };
                self.says(reply);
            }
        }
        panic!("it never stops asking");
    }

    /// Requests sent since the last look and neither `connect` nor `auth`.
    pub(super) fn unanswered(&mut self) -> Vec<(String, String)> {
        self.news()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Send { text, starts: None, .. } => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    let method = frame["method"].as_str().unwrap().to_owned();
                    (method != "connect" && method != "auth")
                        .then(|| (frame["id"].as_str().unwrap().to_owned(), method))
                }
                _ => None,
            })
            .collect()
    }

    /// The same with a gateway that answers pings and nothing else.
    pub(super) fn pass_alive(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass_s(1);
            self.pong();
        }
    }

    /// Sends a pong for each ping since the last look; says how many.
    pub(super) fn pong(&mut self) -> usize {
        let epoch = self.epoch();
        let pings: Vec<_> = self
            .news()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Ping(_, payload) => Some(payload),
                _ => None,
            })
            .collect();
        for payload in &pings {
            self.feed(|connection, moment| connection.on_pong(moment, epoch, payload));
        }
        pings.len()
    }

    /// The last frame sent to the gateway.
    pub(super) fn last_sent(&self) -> Value {
        self.log
            .iter()
            .rev()
            .find_map(|effect| match effect {
                Effect::Send { text, starts: None, .. } => Some(serde_json::from_str(text).unwrap()),
                _ => None,
            })
            .expect("something was sent")
    }

    pub(super) fn status(&self) -> Status {
        self.current().status
    }

    pub(super) fn code(&self) -> Option<String> {
        self.current().last_error.map(|problem| problem.code)
    }

    pub(super) fn current(&self) -> GatewayReport {
        self.connection.current(self.moment())
    }

    pub(super) fn dials(&self) -> usize {
        self.log.iter().filter(|effect| matches!(effect, Effect::Dial(..))).count()
    }

    /// Lets time pass until the next socket is wanted.
    pub(super) fn until_next_dial(&mut self) {
        let dials = self.dials();
        for _ in 0..36_000 {
            if self.dials() > dials {
                return;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!("no attempt within an hour");
    }

    /// How the permits ended, and for which addresses they were.
    pub(super) fn settled(&self) -> Vec<(String, AuthResult)> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notify(GatewayNotice::AuthSettled { address, result }) => Some((address.clone(), *result)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn settlements(&self) -> Vec<AuthResult> {
        self.settled().into_iter().map(|(_, result)| result).collect()
    }

    pub(super) fn answers(&self) -> Vec<(CallToken, Result<Value, crate::error::Failure>)> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::Answer(call, result) => Some((*call, result.clone())),
                _ => None,
            })
            .collect()
    }

    pub(super) fn outcomes(&self) -> Vec<(ProbeToken, ProbeOutcome)> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::AnswerProbe(probe, outcome) => Some((*probe, (**outcome).clone())),
                _ => None,
            })
            .collect()
    }

    pub(super) fn health_points(&self) -> Vec<HealthPoint> {
        self.log
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notify(GatewayNotice::Health(point)) => Some(point.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn call(&mut self, token: u64, method: &str) {
        let timeout = Duration::from_secs(30);
        self.feed(|connection, moment| connection.call(moment, CallToken(token), method, &json!({}), timeout));
    }

    pub(super) fn probe(&mut self, token: u64) {
        self.feed(|connection, moment| connection.probe(moment, ProbeToken(token), Duration::from_secs(5)));
    }

    /// A refusal ends the present attempt.
    pub(super) fn ends(&mut self, refusal: Refusal) {
        self.connection.end(self.moment(), refusal);
        self.drain();
    }
}

pub(super) fn hello_4() -> Value {
    json!({"type":"res","id":"connect","ok":true,"payload":{"type":"hello-ok","protocol":4,
        "server":{"version":"2026.9.6","connId":"c"},
        "features":{"methods":["health","sessions.list","sessions.subscribe","agents.list","agent","chat.send",
            "sessions.abort","config.get"],"events":["tick","sessions.changed"]},
        "snapshot":{"uptimeMs":320_220,"health":{"ok":true}},
        "auth":{"role":"operator","scopes":["operator.admin","operator.read","operator.write"]},
        "policy":{"maxPayload":26_214_400,"tickIntervalMs":30_000}}})
}
