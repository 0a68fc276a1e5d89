//! The series of one gateway, and how those of all gateways are rendered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::exposition::{Exposition, Labels};
use super::histogram::DurationHistogram;
use super::local_process_series::{self, LocalProcessSeries};
use super::{as_f64, catalogue, seconds};
use crate::gateway_report::{BreakerState, GatewayReport, Phase, Status};
use crate::ids::GatewayId;
use crate::processes::view::ProcessView;

/// Methods that are counted by name. Any other is `other`, so that a caller of a pass-through can't grow the series.
const KNOWN_METHODS: [&str; 40] = [
    "agent",
    "agent.wait",
    "agents.list",
    "auth",
    "channels.status",
    "chat.abort",
    "chat.history",
    "chat.send",
    "config.get",
    "connect",
    "control",
    "cron.list",
    "device.pair.approve",
    "device.pair.list",
    "device.pair.reject",
    "device.pair.remove",
    "device.token.revoke",
    "device.token.rotate",
    "gateway.info",
    "health",
    "logs.tail",
    "models.list",
    "node.list",
    "node.pair.list",
    "ping",
    "sessions.abort",
    "sessions.create",
    "sessions.delete",
    "sessions.describe",
    "sessions.get",
    "sessions.list",
    "sessions.patch",
    "sessions.preview",
    "sessions.reset",
    "sessions.send",
    "sessions.subscribe",
    "spawn",
    "status",
    "system-presence",
    "usage.status",
];

/// Refusal codes kept per gateway. There are about fifty stable ones; more than this is somebody else's word.
const MAX_CODES: usize = 64;

/// Everything counted and shown of one gateway.
#[derive(Debug, Default)]
pub(super) struct GatewaySeries {
    latency: DurationHistogram,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    shown: Option<Shown>,
    process: Option<LocalProcessSeries>,
    reconnects: u64,
    actor_restarts: u64,
    refusals: BTreeMap<Box<str>, u64>,
    rpcs: BTreeMap<(&'static str, &'static str), u64>,
    dropped: BTreeMap<&'static str, u64>,
}

/// The part of the last report that is published.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    name: String,
    status: Status,
    since_ms: i64,
    usable: bool,
    blocked: bool,
    drained: bool,
    breaker: BreakerState,
    version: String,
    protocol: Option<u32>,
    dialect: &'static str,
    acting_primary: bool,
    sessions: Option<u32>,
    agents: Option<u32>,
    last_seen_ms: Option<i64>,
}

impl GatewaySeries {
    pub(super) fn publish(&self, name: &str, report: &GatewayReport, drained: bool, acting_primary: bool) {
        let mut inner = self.lock();
        let shown = inner.shown.get_or_insert_with(|| Shown {
            name: String::new(),
            status: Status::Unknown,
            since_ms: 0,
            usable: false,
            blocked: false,
            drained: false,
            breaker: BreakerState::Closed,
            version: String::new(),
            protocol: None,
            dialect: "",
            acting_primary: false,
            sessions: None,
            agents: None,
            last_seen_ms: None,
        });
        // Texts are rewritten only when they differ: a report comes with every heartbeat of every gateway.
        if shown.name != name {
            name.clone_into(&mut shown.name);
        }
        let version = report.version.as_deref().unwrap_or_default();
        if shown.version != version {
            version.clone_into(&mut shown.version);
        }
        shown.status = report.status;
        shown.since_ms = report.since_ms;
        shown.usable = report.is_usable();
        shown.blocked = report.phase == Phase::Blocked;
        shown.drained = drained;
        shown.breaker = report.breaker.state;
        shown.protocol = report.protocol;
        shown.dialect = report.dialect.map_or("", gatewarden_protocol::Dialect::as_str);
        shown.acting_primary = acting_primary;
        shown.sessions = report.sessions_count;
        shown.agents = report.agents_count;
        shown.last_seen_ms = report.last_seen_ms;
    }

    pub(super) fn publish_process(&self, view: Option<&ProcessView>) {
        self.lock().process = view.map(LocalProcessSeries::of);
    }

    pub(super) fn observe_latency(&self, round_trip: Duration) {
        self.latency.observe(round_trip);
    }

    pub(super) fn count_reconnect(&self) {
        self.lock().reconnects += 1;
    }

    pub(super) fn count_actor_restart(&self) {
        self.lock().actor_restarts += 1;
    }

    pub(super) fn count_refusal(&self, code: &str) {
        let mut inner = self.lock();
        if let Some(count) = inner.refusals.get_mut(code) {
            *count += 1;
        } else {
            let key = if inner.refusals.len() < MAX_CODES { code } else { "other" };
            *inner.refusals.entry(key.into()).or_default() += 1;
        }
    }

    pub(super) fn count_rpc(&self, method: &str, outcome: &'static str) {
        let known = KNOWN_METHODS.iter().find(|known| **known == method).copied().unwrap_or("other");
        *self.lock().rpcs.entry((known, outcome)).or_default() += 1;
    }

    pub(super) fn count_dropped_frame(&self, reason: &'static str) {
        *self.lock().dropped.entry(reason).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> Option<Shown> {
        self.lock().shown.clone()
    }
}

/// All gateways, in the order given.
pub(super) fn render(gateways: &[(GatewayId, Arc<GatewaySeries>)], out: &mut Exposition) {
    let shown: Vec<(GatewayId, Shown)> =
        gateways.iter().filter_map(|(id, series)| Some((*id, series.shown()?))).collect();
    out.gauges(&catalogue::GATEWAYS, [(vec![], as_f64(shown.len()))]);
    render_states(&shown, out);
    render_figures(&shown, out);
    render_counts(gateways, out);
    let processes: Vec<(GatewayId, LocalProcessSeries)> =
        gateways.iter().filter_map(|(id, series)| Some((*id, series.lock().process.clone()?))).collect();
    local_process_series::render(&processes, out);
}

fn render_states(shown: &[(GatewayId, Shown)], out: &mut Exposition) {
    let switch = |of: fn(&Shown) -> bool| {
        shown.iter().map(move |(id, shown)| (gateway_label(*id), one_if(of(shown)))).collect::<Vec<_>>()
    };
    out.gauges(&catalogue::GATEWAY_UP, switch(|shown| shown.usable));
    out.gauges(
        &catalogue::GATEWAY_STATE,
        shown.iter().flat_map(|(id, shown)| {
            Status::ALL.map(|state| (labels(*id, "state", state.as_str()), one_if(state == shown.status)))
        }),
    );
    out.gauges(
        &catalogue::GATEWAY_SINCE,
        shown.iter().map(|(id, shown)| (gateway_label(*id), seconds(shown.since_ms))),
    );
    out.gauges(&catalogue::GATEWAY_BLOCKED, switch(|shown| shown.blocked));
    out.gauges(&catalogue::GATEWAY_DRAINED, switch(|shown| shown.drained));
    out.gauges(
        &catalogue::BREAKER_STATE,
        shown.iter().flat_map(|(id, shown)| {
            [BreakerState::Closed, BreakerState::HalfOpen, BreakerState::Open]
                .map(|state| (labels(*id, "state", state.as_str()), one_if(state == shown.breaker)))
        }),
    );
    out.gauges(
        &catalogue::GATEWAY_INFO,
        shown.iter().map(|(id, shown)| {
            let mut all = labels(*id, "name", &shown.name);
            all.push(("version", shown.version.clone()));
            all.push(("protocol", shown.protocol.map(|number| number.to_string()).unwrap_or_default()));
            all.push(("dialect", shown.dialect.to_owned()));
            (all, 1.0)
        }),
    );
    out.gauges(&catalogue::ACTING_PRIMARY, switch(|shown| shown.acting_primary));
}

fn render_figures(shown: &[(GatewayId, Shown)], out: &mut Exposition) {
    out.gauges(
        &catalogue::SESSIONS,
        shown.iter().filter_map(|(id, shown)| Some((gateway_label(*id), f64::from(shown.sessions?)))),
    );
    out.gauges(
        &catalogue::AGENTS,
        shown.iter().filter_map(|(id, shown)| Some((gateway_label(*id), f64::from(shown.agents?)))),
    );
    out.gauges(
        &catalogue::LAST_SEEN,
        shown.iter().filter_map(|(id, shown)| Some((gateway_label(*id), seconds(shown.last_seen_ms?)))),
    );
}

fn render_counts(gateways: &[(GatewayId, Arc<GatewaySeries>)], out: &mut Exposition) {
    out.histograms(
        &catalogue::LATENCY,
        gateways.iter().filter_map(|(id, series)| Some((gateway_label(*id), series.latency.snapshot()?))),
    );
    out.counters(
        &catalogue::RECONNECTS,
        gateways.iter().map(|(id, series)| (gateway_label(*id), series.lock().reconnects)),
    );
    out.counters(
        &catalogue::ACTOR_RESTARTS,
        gateways.iter().map(|(id, series)| (gateway_label(*id), series.lock().actor_restarts)),
    );
    out.counters(
        &catalogue::REFUSALS,
        gateways.iter().flat_map(|(id, series)| {
            let inner = series.lock();
            inner.refusals.iter().map(|(code, count)| (labels(*id, "code", code), *count)).collect::<Vec<_>>()
        }),
    );
    out.counters(
        &catalogue::RPCS,
        gateways.iter().flat_map(|(id, series)| {
            let inner = series.lock();
            let rows = inner.rpcs.iter().map(|((method, outcome), count)| {
                let mut all = labels(*id, "method", method);
                all.push(("outcome", (*outcome).to_owned()));
                (all, *count)
            });
            rows.collect::<Vec<_>>()
        }),
    );
    out.counters(
        &catalogue::DROPPED_FRAMES,
        gateways.iter().flat_map(|(id, series)| {
            let inner = series.lock();
            inner.dropped.iter().map(|(reason, count)| (labels(*id, "reason", reason), *count)).collect::<Vec<_>>()
        }),
    );
}

pub(super) fn gateway_label(id: GatewayId) -> Labels {
    vec![("gateway", id.to_string())]
}

pub(super) fn labels(id: GatewayId, name: &'static str, value: &str) -> Labels {
    vec![("gateway", id.to_string()), (name, value.to_owned())]
}

pub(super) fn one_if(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
