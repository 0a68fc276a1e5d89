//! The series of gateways. Those of one live in one small struct rather than in one vector per metric: a report costs one look-up,
//! ten thousand gateways cost a few hundred bytes each, and a deleted gateway's series go in one step.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::catalogue::{self, Family};
use super::exposition::{Durations, Exposition, as_f64, count, flag, seconds};
use crate::gateway_record::GatewayRecord;
use crate::gateway_report::{BreakerState, GatewayReport, Phase, Status};
use crate::ids::GatewayId;
use crate::machines::connection::Count;
use crate::processes::view::{ProcessState, ProcessView};

/// Methods that are counted by name. Any other is `other`, so that a caller of a pass-through can't grow the series.
#[rustfmt::skip]
const KNOWN_METHODS: [&str; 40] = [
    "agent", "agent.wait", "agents.list", "auth", "channels.status", "chat.abort", "chat.history", "chat.send",
    "config.get", "connect", "control", "cron.list", "device.pair.approve", "device.pair.list", "device.pair.reject",
    "device.pair.remove", "device.token.revoke", "device.token.rotate", "gateway.info", "health", "logs.tail",
    "models.list", "node.list", "node.pair.list", "ping", "sessions.abort", "sessions.create", "sessions.delete",
    "sessions.describe", "sessions.get", "sessions.list", "sessions.patch", "sessions.preview", "sessions.reset",
    "sessions.send", "sessions.subscribe", "spawn", "status", "system-presence", "usage.status",
];

/// How many deleted gateways are remembered, so that the last words of their actors don't bring series back.
const FORGOTTEN_KEPT: usize = 1024;

/// All gateways.
#[derive(Debug, Default)]
pub(super) struct Gateways(RwLock<Table>);

#[derive(Debug, Default)]
struct Table {
    series: HashMap<GatewayId, Arc<Mutex<GatewaySeries>>>,
    /// The latest deleted ids, oldest first. Ids are never used again.
    forgotten: VecDeque<GatewayId>,
}

impl Gateways {
    /// Changes the series of a gateway, made at the first word about it; nothing happens once it is deleted.
    pub(super) fn change(&self, id: GatewayId, change: impl FnOnce(&mut GatewaySeries)) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).series.get(&id).cloned();
        let series = known.or_else(|| {
            let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
            (!table.forgotten.contains(&id)).then(|| table.series.entry(id).or_default().clone())
        });
        if let Some(series) = series {
            change(&mut series.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Removes every series of a deleted gateway, for good.
    pub(super) fn forget(&self, id: GatewayId) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.series.remove(&id);
        if !table.forgotten.contains(&id) {
            if table.forgotten.len() == FORGOTTEN_KEPT {
                table.forgotten.pop_front();
            }
            table.forgotten.push_back(id);
        }
    }

    /// All of them, sorted by id.
    pub(super) fn render(&self, out: &mut Exposition) {
        let mut all: Vec<(GatewayId, GatewaySeries)> = {
            let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let copy = |series: &Mutex<GatewaySeries>| series.lock().unwrap_or_else(PoisonError::into_inner).clone();
            table.series.iter().map(|(id, series)| (*id, copy(series))).collect()
        };
        all.sort_unstable_by_key(|(id, _)| *id);
        render(&all, out);
    }
}

/// Everything counted and shown of one gateway.
#[derive(Debug, Clone, Default)]
pub(super) struct GatewaySeries {
    shown: Option<Shown>,
    process: Option<ShownProcess>,
    latency: Option<Durations>,
    reconnects: u64,
    actor_restarts: u64,
    refusals: BTreeMap<&'static str, u64>,
    /// By method and outcome, sorted: few, and a map would have room for more.
    rpcs: Vec<((&'static str, &'static str), u64)>,
    dropped: BTreeMap<&'static str, u64>,
}

/// The part of the last report that is published.
#[derive(Debug, Clone)]
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

/// The part of the view of a local process that is published.
#[derive(Debug, Clone, Copy)]
struct ShownProcess {
    state: ProcessState,
    restarts: u64,
    memory_bytes: Option<u64>,
    cpu_seconds: Option<f64>,
}

impl GatewaySeries {
    pub(super) fn publish(&mut self, record: &GatewayRecord, report: &GatewayReport, acting_primary: bool) {
        self.shown = Some(Shown {
            name: record.name.clone(),
            status: report.status,
            since_ms: report.since_ms,
            usable: report.is_usable(),
            blocked: report.phase == Phase::Blocked,
            drained: record.drained,
            breaker: report.breaker.state,
            version: report.version.as_deref().unwrap_or_default().to_owned(),
            protocol: report.protocol,
            dialect: report.dialect.map_or("", gatewarden_protocol::Dialect::as_str),
            acting_primary,
            sessions: report.sessions_count,
            agents: report.agents_count,
            last_seen_ms: report.last_seen_ms,
        });
    }

    pub(super) fn publish_process(&mut self, view: Option<&ProcessView>) {
        self.process = view.map(|view| ShownProcess {
            state: view.state,
            restarts: view.restarts,
            memory_bytes: view.usage.map(|usage| usage.memory_bytes),
            cpu_seconds: view.usage.map(|usage| usage.cpu_seconds),
        });
    }

    pub(super) fn count(&mut self, count: &Count) {
        match count {
            Count::Latency(round_trip) => self.latency.get_or_insert_default().observe(round_trip.as_secs_f64()),
            Count::Reconnect => self.reconnects += 1,
            Count::Refusal(code) => *self.refusals.entry(code.as_str()).or_default() += 1,
            Count::Rpc(method, outcome) => {
                let known = KNOWN_METHODS.iter().find(|known| *known == method).copied().unwrap_or("other");
                let key = (known, outcome.as_str());
                match self.rpcs.binary_search_by_key(&key, |(key, _)| *key) {
                    Ok(at) => self.rpcs.get_mut(at).into_iter().for_each(|(_, count)| *count += 1),
                    Err(at) => self.rpcs.insert(at, (key, 1)),
                }
            }
            Count::DroppedFrame(reason) => *self.dropped.entry(reason.as_str()).or_default() += 1,
        }
    }

    pub(super) fn count_actor_restart(&mut self) {
        self.actor_restarts += 1;
    }

    fn shown<T>(&self, of: impl FnOnce(&Shown) -> T) -> Option<T> {
        self.shown.as_ref().map(of)
    }

    fn process<T>(&self, of: impl FnOnce(&ShownProcess) -> T) -> Option<T> {
        self.process.as_ref().map(of)
    }
}

type Figure = fn(&GatewaySeries) -> Option<f64>;
/// Each state's name, and whether it is this one.
type States = fn(&GatewaySeries) -> Vec<(&'static str, bool)>;
/// By the value of the label beside the gateway's, how often.
type Counts = fn(&GatewaySeries) -> &BTreeMap<&'static str, u64>;

const FIGURES: [(&Family, Figure); 13] = [
    (&catalogue::GATEWAY_UP, |one| one.shown(|shown| flag(shown.usable))),
    (&catalogue::GATEWAY_SINCE, |one| one.shown(|shown| seconds(shown.since_ms))),
    (&catalogue::GATEWAY_BLOCKED, |one| one.shown(|shown| flag(shown.blocked))),
    (&catalogue::GATEWAY_DRAINED, |one| one.shown(|shown| flag(shown.drained))),
    (&catalogue::ACTING_PRIMARY, |one| one.shown(|shown| flag(shown.acting_primary))),
    (&catalogue::SESSIONS, |one| one.shown(|shown| shown.sessions)?.map(f64::from)),
    (&catalogue::AGENTS, |one| one.shown(|shown| shown.agents)?.map(f64::from)),
    (&catalogue::LAST_SEEN, |one| one.shown(|shown| shown.last_seen_ms)?.map(seconds)),
    (&catalogue::RECONNECTS, |one| Some(as_f64(one.reconnects))),
    (&catalogue::ACTOR_RESTARTS, |one| Some(as_f64(one.actor_restarts))),
    (&catalogue::LOCAL_PROCESS_RESTARTS, |one| one.process(|process| as_f64(process.restarts))),
    (&catalogue::LOCAL_PROCESS_MEMORY, |one| one.process(|process| process.memory_bytes)?.map(as_f64)),
    (&catalogue::LOCAL_PROCESS_CPU, |one| one.process(|process| process.cpu_seconds)?),
];

const STATES: [(&Family, States); 3] = [
    (&catalogue::GATEWAY_STATE, |one| {
        let of = |shown: &Shown| Status::ALL.map(|state| (state.as_str(), state == shown.status)).to_vec();
        one.shown(of).unwrap_or_default()
    }),
    (&catalogue::BREAKER_STATE, |one| {
        let all = [BreakerState::Closed, BreakerState::HalfOpen, BreakerState::Open];
        let of = |shown: &Shown| all.map(|state| (state.as_str(), state == shown.breaker)).to_vec();
        one.shown(of).unwrap_or_default()
    }),
    (&catalogue::LOCAL_PROCESS_STATE, |one| {
        let of =
            |process: &ShownProcess| ProcessState::ALL.map(|state| (state.as_str(), state == process.state)).to_vec();
        one.process(of).unwrap_or_default()
    }),
];

const COUNTS: [(&Family, Counts); 2] =
    [(&catalogue::REFUSALS, |one| &one.refusals), (&catalogue::DROPPED_FRAMES, |one| &one.dropped)];

fn render(all: &[(GatewayId, GatewaySeries)], out: &mut Exposition) {
    out.value(&catalogue::GATEWAYS, count(all.iter().filter(|(_, one)| one.shown.is_some()).count()));
    for (family, figure) in FIGURES {
        out.samples(family, all.iter().filter_map(|(id, one)| Some(([id.to_string()], figure(one)?))));
    }
    for (family, states) in STATES {
        let of = |(id, one): &(GatewayId, GatewaySeries)| {
            let id = id.to_string();
            states(one).into_iter().map(move |(state, holds)| ([id.clone(), state.to_owned()], flag(holds)))
        };
        out.samples(family, all.iter().flat_map(of));
    }
    for (family, counts) in COUNTS {
        let samples = all.iter().flat_map(|(id, one)| {
            let id = id.to_string();
            counts(one).iter().map(move |(label, count)| ([id.clone(), (*label).to_owned()], as_f64(*count)))
        });
        out.samples(family, samples);
    }
    out.samples(
        &catalogue::RPCS,
        all.iter().flat_map(|(id, one)| {
            one.rpcs.iter().map(|((method, outcome), count)| {
                ([id.to_string(), (*method).to_owned(), (*outcome).to_owned()], as_f64(*count))
            })
        }),
    );
    out.samples(
        &catalogue::GATEWAY_INFO,
        all.iter().filter_map(|(id, one)| {
            let shown = one.shown.as_ref()?;
            let protocol = shown.protocol.map(|number| number.to_string()).unwrap_or_default();
            let labels =
                [id.to_string(), shown.name.clone(), shown.version.clone(), protocol, shown.dialect.to_owned()];
            Some((labels, 1.0))
        }),
    );
    let latencies = all.iter().filter_map(|(id, one)| Some((id.to_string(), one.latency.as_ref()?)));
    out.durations(&catalogue::LATENCY, latencies);
}
