//! One actor, its scripted network and its supervisor.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use gatewarden_protocol::{DeviceIdentity, Secret};
use serde_json::{Value, json};

use super::supervisor::{Adopt, Heard, Supervisor};
use crate::clock::Clock;
use crate::cluster::RightToAct;
use crate::dialing::tests::scripted::ScriptedPeer;
use crate::dialing::{
    DialFailure, DialRequest, Dialed, Dialer, HttpReply, HttpRequest, Incoming, MemoryAccount, Sent, SocketError,
};
use crate::gateway::{GatewayActor, GatewayParts};
use crate::gateway::{GatewayCommand, GatewayHandle, Reply};
use crate::gateway_record::{GatewayRecord, GatewaySpec};
use crate::gateway_report::ProbeOutcome;
use crate::gateway_report::{GatewayReport, Phase, Status};
use crate::ids::GatewayId;
use crate::machines::auth_budget::AuthBudget;
use crate::metrics::Metrics;
use crate::settings::GatewaySettings;

pub(super) const START_MS: i64 = 1_795_253_714_000;

/// What becomes of a dial.
#[derive(Clone)]
pub(super) enum Line {
    /// The socket opens; its other end goes to the test.
    Opens,
    /// It fails so.
    Fails(DialFailure),
    /// Nothing ever comes: a dial times out as the real dialer's would.
    Swallows,
}

/// The network: what becomes of the next dials (the last entry repeats), and the other ends of those that opened.
#[derive(Default)]
pub(super) struct Network {
    lines: Mutex<VecDeque<Line>>,
    peers: Mutex<Vec<ScriptedPeer>>,
    pub(super) dials: Mutex<u32>,
    pub(super) http: Mutex<Option<(u16, &'static str, &'static str)>>,
    /// Bearer tokens seen on HTTP requests.
    pub(super) bearers: Mutex<Vec<(String, bool)>>,
}

impl Network {
    pub(super) fn set(&self, lines: impl IntoIterator<Item = Line>) {
        *self.lines.lock().unwrap() = lines.into_iter().collect();
    }
}

impl Dialer for Network {
    fn dial(&self, request: DialRequest, _: &MemoryAccount) -> LocalBoxFuture<'static, Result<Dialed, DialFailure>> {
        *self.dials.lock().unwrap() += 1;
        let mut lines = self.lines.lock().unwrap();
        let line = if lines.len() > 1 { lines.pop_front() } else { lines.front().cloned() };
        let outcome = match line.unwrap_or(Line::Opens) {
            Line::Opens => {
                let (dialed, peer) = Dialed::scripted();
                self.peers.lock().unwrap().push(peer);
                Ok(dialed)
            }
            Line::Fails(failure) => Err(failure),
            Line::Swallows => {
                return Box::pin(async move {
                    tokio::time::sleep(request.timeout).await;
                    Err(DialFailure::Timeout { step: crate::dialing::DialStep::Connect })
                });
            }
        };
        Box::pin(async move { outcome })
    }

    fn http(&self, request: HttpRequest, _: &MemoryAccount) -> LocalBoxFuture<'static, Result<HttpReply, DialFailure>> {
        self.bearers.lock().unwrap().push((request.path.clone(), request.bearer().is_some()));
        let answer = *self.http.lock().unwrap();
        Box::pin(async move {
            let Some((status, content_type, health)) = answer else { return Err(DialFailure::Refused) };
            let body = if request.path == "/health" { health } else { r#"{"sessions":[]}"# };
            Ok(HttpReply {
                status,
                content_type: Some(content_type.to_owned()),
                retry_after: None,
                date_ms: None,
                body: Bytes::from_static(body.as_bytes()).into(),
                took: Duration::from_millis(3),
            })
        })
    }
}

pub(super) struct World {
    pub(super) network: Arc<Network>,
    pub(super) gateway: Addr<GatewayActor>,
    pub(super) heard: Rc<RefCell<Heard>>,
    pub(super) clock: Clock,
    pub(super) right: RightToAct,
}

pub(super) fn record() -> GatewayRecord {
    let new = GatewaySpec { token: Some(Secret::new("shared-token")), ..GatewaySpec::at("prod", "127.0.0.1", 18789) };
    GatewayRecord { revision: 1, ..new.into_record(GatewayId(7), "uuid", 0) }
}

impl World {
    pub(super) async fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        Self::of(record(), lines).await
    }

    pub(super) async fn of(record: GatewayRecord, lines: impl IntoIterator<Item = Line>) -> Self {
        tokio::time::pause();
        Self::on(record, lines, None).await
    }

    /// A world on a clock that is paused already, with what HTTP requests are answered: status, type, health document.
    pub(super) async fn on(
        record: GatewayRecord,
        lines: impl IntoIterator<Item = Line>,
        http: Option<(u16, &'static str, &'static str)>,
    ) -> Self {
        let clock = Clock::simulated(START_MS, 1);
        let network = Arc::new(Network::default());
        network.set(lines);
        *network.http.lock().unwrap() = http;
        let heard = Rc::new(RefCell::new(Heard::default()));
        let supervisor = Supervisor {
            heard: Rc::clone(&heard),
            budget: AuthBudget::new(),
            clock: clock.clone(),
            gateway: None,
            waiting: None,
        }
        .start();
        let right = RightToAct::always();
        let gateway = GatewayActor::start_in(
            &Arbiter::current(),
            GatewayParts {
                record: Arc::new(record),
                incarnation: 1,
                settings: Arc::new(GatewaySettings::default()),
                identity: Arc::new(DeviceIdentity::from_seed(&[7; 32])),
                dialer: Arc::clone(&network) as Arc<dyn Dialer>,
                supervisor: supervisor.clone().recipient(),
                clock: clock.clone(),
                metrics: Arc::new(Metrics::new()),
                right: right.clone(),
                instance_id: "run-1".into(),
                version: "0.1.0".into(),
                is_carried: false,
            },
        );
        supervisor.send(Adopt(gateway.clone())).await.unwrap();
        Self { network, gateway, heard, clock, right }
    }

    /// The other end of the newest socket, once there is one.
    pub(super) async fn peer(&self) -> Peer {
        loop {
            if let Some(peer) = self.network.peers.lock().unwrap().pop() {
                return Peer { peer };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a report has it so; gives up after an hour of virtual time.
    pub(super) async fn until(&self, wanted: impl Fn(&GatewayReport) -> bool) -> GatewayReport {
        for _ in 0..360_000 {
            if let Some(report) = self.heard.borrow().reports.last().filter(|report| wanted(report)) {
                return report.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never so: {:?}", self.heard.borrow().reports.last());
    }

    pub(super) async fn until_status(&self, status: Status) -> GatewayReport {
        self.until(|report| report.status == status).await
    }

    pub(super) fn seconds(&self) -> f64 {
        (self.clock.wall_ms() - START_MS) as f64 / 1000.0
    }

    /// A gateway that is online, and the other end of its socket, played on.
    pub(super) async fn online() -> (Self, tokio::task::JoinHandle<()>) {
        let world = Self::new([Line::Opens]).await;
        let peer = world.peer().await;
        let task = actix_rt::spawn(peer.play());
        world.until(|report| report.status == Status::Online && report.sessions_count.is_some()).await;
        (world, task)
    }

    pub(super) async fn probe(&self) -> ProbeOutcome {
        self.ask(|reply| GatewayCommand::Probe { timeout: Duration::from_secs(5), reply }).await
    }

    /// Asks the actor, and waits for as long as it takes.
    pub(super) async fn ask<T: 'static>(&self, command: impl FnOnce(Reply<T>) -> GatewayCommand) -> T {
        let handle = GatewayHandle::from(self.gateway.clone());
        handle.ask(Duration::from_secs(3_600), command).await.unwrap()
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.heard.borrow().phase()
    }
}

/// The gateway's end of a socket.
pub(super) struct Peer {
    pub(super) peer: ScriptedPeer,
}

impl Peer {
    pub(super) fn says(&self, frame: &Value) {
        // The actor may have let go of the socket already.
        let _ = self.peer.says.send(Ok(Incoming::text(frame.to_string())));
    }

    pub(super) fn fails(&self, error: SocketError) {
        let _ = self.peer.says.send(Err(error));
    }

    pub(super) fn closes(&self, code: u16, reason: &str) {
        let _ = self.peer.says.send(Ok(Incoming::Close { code: Some(code), reason: reason.to_owned() }));
    }

    /// The next text frame sent to this peer.
    pub(super) async fn hears(&mut self) -> Option<Value> {
        loop {
            match *self.peer.sent.recv().await? {
                Sent::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Sent::Ping(payload) => drop(self.peer.says.send(Ok(Incoming::Pong(payload)))),
                Sent::Pong(_) => {}
                Sent::Close { .. } => return None,
            }
        }
    }

    /// Challenges, and gives back the connect request.
    pub(super) async fn challenge(&mut self) -> Value {
        self.says(&json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n-1","ts":START_MS}}));
        self.hears().await.expect("a connect request")
    }

    /// Lets the caller in as protocol 4 does, then answers everything.
    pub(super) async fn play(mut self) {
        self.challenge().await;
        self.says(&hello());
        self.serve().await;
    }

    /// Answers everything as a real release would.
    pub(super) async fn serve(&mut self) {
        while let Some(request) = self.hears().await {
            let id = &request["id"];
            let reply = match request["method"].as_str().unwrap() {
                "ping" => json!({"type":"res","id":id,"ok":false,
                    "error":{"code":"INVALID_REQUEST","message":"unknown method: ping"}}),
                "agents.list" => json!({"type":"res","id":id,"ok":true,"payload":{"agents":[{"id":"main"}]}}),
                "sessions.list" => json!({"type":"res","id":id,"ok":true,"payload":{"sessions":[]}}),
                "never" => continue,
                _ => json!({"type":"res","id":id,"ok":true,"payload":{"done":true}}),
            };
            self.says(&reply);
        }
    }
}

pub(super) fn hello() -> Value {
    json!({"type":"res","id":"connect","ok":true,"payload":{"type":"hello-ok","protocol":4,
        "server":{"version":"2026.9.6"},
        "features":{"methods":["health","sessions.list","sessions.subscribe","agents.list","agent","chat.send"],"events":[]},
        "snapshot":{"uptimeMs":1000},
        "auth":{"role":"operator","scopes":["operator.admin"],"deviceToken":"device-token","issuedAtMs":1},
        "policy":{}}})
}
