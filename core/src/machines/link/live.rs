//! The authenticated connection: heartbeat, replies, events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewarden_protocol::capabilities::{Capabilities, Heartbeat as HeartbeatWay};
use gatewarden_protocol::hello::{HealthSnapshot, Hello};
use gatewarden_protocol::pending::PendingRequests;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};
use gatewarden_protocol::{AgentRow, Dialect, SessionTable, encode_request};
use serde_json::json;

use super::calls::Waiter;
use super::outcomes::Outcomes;
use super::reading::Reading;
use super::{Count, Effect, Link, Moment, Stage};
use crate::gateway_report::{Phase, StatusSource};
use crate::machines::heartbeat::HeartbeatEffect;
use crate::machines::sequence::Sequence;

/// See the module.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) dialect: Dialect,
    pub(super) capabilities: Capabilities,
    pub(super) pending: PendingRequests<Waiter>,
    pub(super) sequence: Sequence,
    pub(super) sessions: SessionTable,
    active_sessions: Option<u32>,
    pub(super) agents: Option<Vec<AgentRow>>,
    /// Shared with reports, of which there are several at any time.
    agent_names: Arc<[String]>,
    agents_bytes: usize,
    pub(super) reading: Reading,
    pub(super) scopes: Vec<String>,
    /// Wall ms at which `Ready` was reached.
    pub(super) since_ms: i64,
    /// Why the gateway calls itself degraded, while it does.
    pub(super) degraded: Option<String>,
    /// Uptime, and the wall ms at which it was that.
    uptime: Option<(u64, i64)>,
    /// The last WebSocket ping's payload: only its own pong measures it.
    pings: u64,
    pub(super) outcomes: Outcomes,
    pub(super) garbage: Garbage,
}

/// Frames that are none, within a window.
#[derive(Debug)]
pub(super) struct Garbage {
    since: Instant,
    count: u32,
}

impl Garbage {
    const WINDOW: Duration = Duration::from_secs(60);
    const MAX: u32 = 100;

    /// One more. True when there are too many.
    pub(super) fn on_frame(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) > Self::WINDOW {
            self.since = now;
            self.count = 0;
        }
        self.count += 1;
        self.count >= Self::MAX
    }
}

impl Live {
    pub(super) fn sessions_count(&self) -> Option<u32> {
        self.active_sessions
    }

    /// After each change of the table: counting walks all of it.
    pub(super) fn count_sessions(&mut self) {
        self.active_sessions = self.sessions.is_known().then(|| self.sessions.active_count());
    }

    pub(super) fn agents_count(&self) -> Option<u32> {
        self.agents.as_ref().map(|agents| u32::try_from(agents.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn agent_names(&self) -> Arc<[String]> {
        Arc::clone(&self.agent_names)
    }

    pub(super) fn take_agents(&mut self, agents: Vec<AgentRow>) {
        self.agents_bytes = agents.iter().map(AgentRow::held_bytes).sum();
        self.agent_names = agents.iter().map(|agent| agent.shown_name().to_owned()).collect();
        self.agents = Some(agents);
    }

    /// What is kept of the gateway's rows, bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.sessions.held_bytes() + self.reading.held_bytes() + self.agents_bytes
    }

    pub(super) fn uptime_at(&self, wall_ms: i64) -> Option<u64> {
        let (uptime, at) = self.uptime?;
        Some(uptime.saturating_add(u64::try_from(wall_ms.saturating_sub(at)).unwrap_or(0)))
    }

    pub(super) fn take_uptime(&mut self, uptime_ms: Option<u64>, wall_ms: i64) {
        if let Some(uptime_ms) = uptime_ms {
            self.uptime = Some((uptime_ms, wall_ms));
        }
    }

    pub(super) fn take_health(&mut self, health: &HealthSnapshot) {
        let bad = health.degraded || health.ok == Some(false);
        self.degraded = bad.then(|| health.degraded_reasons.join(", "));
        if self.agents.is_none()
            && let Some(agents) = &health.agents
        {
            self.take_agents(agents.clone());
        }
    }

    fn ping_payload(&self) -> Bytes {
        Bytes::copy_from_slice(&self.pings.to_be_bytes())
    }
}

impl Link {
    /// The gateway let us in: everything that a connection needs is set up, and the first heartbeat and reads go out.
    pub(super) fn go_live(&mut self, moment: Moment, hello: Hello) {
        let capabilities = Capabilities::from_hello(&hello);
        self.be_ready(moment, hello.dialect, capabilities, hello.scopes.clone().unwrap_or_default());
        self.knowledge.identify(hello.version.clone(), hello.protocol);
        if let Some(live) = &mut self.live {
            live.take_uptime(hello.uptime_ms, moment.wall_ms);
            if let Some(health) = &hello.health {
                live.take_health(health);
            }
        }
        self.run_heartbeat(moment);
        self.read_everything(moment);
    }

    /// What all dialects have in common once they are through.
    pub(super) fn be_ready(
        &mut self,
        moment: Moment,
        dialect: Dialect,
        capabilities: Capabilities,
        scopes: Vec<String>,
    ) {
        self.live = Some(Box::new(Live {
            dialect,
            capabilities,
            pending: PendingRequests::new(format!("gw{}-", self.epoch.0), self.settings.max_pending),
            sequence: Sequence::default(),
            sessions: SessionTable::default(),
            active_sessions: None,
            agents: None,
            agent_names: Arc::default(),
            agents_bytes: 0,
            reading: Reading::new(moment.now + self.settings.resync_interval),
            scopes,
            since_ms: moment.wall_ms,
            degraded: None,
            uptime: None,
            pings: 0,
            outcomes: Outcomes::default(),
            garbage: Garbage { since: moment.now, count: 0 },
        }));
        self.dialect = Some(dialect);
        self.blocked = None;
        self.grace = None;
        self.without_device_token = false;
        self.backoff.on_ready(moment.now);
        self.breaker.on_success(moment.wall_ms);
        self.knowledge.connected(moment, dialect);
        self.heartbeat.start(moment.now);
        self.enter(moment, Phase::Ready, Stage::Ready, "authenticated");
        self.probes_go_live(moment);
        self.logs_connected(moment);
    }

    /// Carries out what the heartbeat asks for by now.
    pub(super) fn run_heartbeat(&mut self, moment: Moment) {
        while let Some(effect) = self.heartbeat.on_deadline(moment.now) {
            match effect {
                HeartbeatEffect::Send => self.send_heartbeat(moment),
                HeartbeatEffect::Late => self.knowledge.missed(moment, StatusSource::Heartbeat),
                HeartbeatEffect::Missed(_) => {
                    self.knowledge.missed(moment, StatusSource::Heartbeat);
                    self.breaker.on_failure(moment.wall_ms);
                }
                HeartbeatEffect::Lost => {
                    self.knowledge.missed(moment, StatusSource::Heartbeat);
                    self.breaker.on_failure(moment.wall_ms);
                    self.end(moment, Refusal::new(RefusalCode::HeartbeatLost, ""));
                    return;
                }
            }
        }
    }

    fn send_heartbeat(&mut self, moment: Moment) {
        self.breaker.on_attempt(moment.wall_ms);
        let Some(live) = &mut self.live else { return };
        match live.capabilities.heartbeat() {
            HeartbeatWay::PingRequest => self.ask(moment, "ping", &json!({}), Waiter::Heartbeat),
            HeartbeatWay::GatewayInfo => self.ask(moment, "gateway.info", &json!({}), Waiter::Heartbeat),
            HeartbeatWay::WebSocketPing => {
                live.pings += 1;
                let payload = live.ping_payload();
                self.push(Effect::Ping { epoch: self.epoch, payload });
            }
            HeartbeatWay::HttpHealth => self.ask_http_heartbeat(moment),
        }
    }

    /// Sends a request of our own. A table that is full of callers' requests leaves it out: their replies are signs of
    /// life as good as its own.
    pub(super) fn ask(&mut self, moment: Moment, method: &str, params: &serde_json::Value, waiter: Waiter) {
        let deadline = moment.now + self.settings.request_timeout;
        let epoch = self.epoch;
        let Some(live) = &mut self.live else { return };
        let mode = gatewarden_protocol::pending::ReplyMode::Single;
        match live.pending.insert(method, deadline, waiter, mode) {
            Ok(id) => {
                let text = encode_request(live.dialect, &id, method, params);
                self.push(Effect::Send { epoch, text });
            }
            Err(full) => {
                self.push(Effect::Remark(format!("{method} was left out: {full}")));
                self.unread(moment, full.waiter);
            }
        }
    }

    /// A reply to a heartbeat, of whatever content.
    pub(super) fn heartbeat_answered(&mut self, moment: Moment) {
        let Some(round_trip) = self.heartbeat.on_reply(moment.now) else { return };
        self.push(Effect::Count(Count::Latency(round_trip)));
        self.knowledge.measured(moment, round_trip, StatusSource::Heartbeat);
        self.breaker.on_success(moment.wall_ms);
        self.probes_answered(moment, round_trip);
    }

    /// A pong: it measures only if it answers the last ping.
    pub(super) fn live_pong(&mut self, moment: Moment, payload: &[u8]) {
        let ours = self.live.as_ref().is_some_and(|live| {
            live.capabilities.heartbeat() == HeartbeatWay::WebSocketPing && live.ping_payload() == payload
        });
        if ours {
            self.heartbeat_answered(moment);
        }
    }
}
