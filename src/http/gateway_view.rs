//! Gateways and their processes as readers see them. Rendered once for each published view.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use gatewarden_actors::gateway_record::{ProcessSource, TlsTrust, Transport};
use gatewarden_actors::gateway_report::{Phase, Status};
use gatewarden_actors::processes::view::{Diagnosis as Findings, ProcessView, Verified};
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_api::gateways::{
    Breaker, Diagnosis, Gateway, LastEnd, LastError, Member, OutputLine, Pairing, Process, REDACTED, Tls,
};
use gatewarden_api::pages::Page;
use gatewarden_protocol::Dialect;
use serde::Serialize;

/// A gateway as readers see it; a token never gets in there.
pub(crate) fn gateway(view: &GatewayView) -> Gateway {
    let (record, report) = (&view.record, &view.report);
    Gateway {
        id: record.id.0,
        uuid: record.uuid.clone(),
        name: record.name.clone(),
        host: record.host.clone(),
        port: record.port,
        token: if record.token.is_some() { REDACTED.to_owned() } else { String::new() },
        token_set: record.token.is_some(),
        is_primary: record.is_primary,
        acting_primary: view.acting_primary,
        priority: record.priority,
        status: report.status.as_str().to_owned(),
        since: seconds(report.since_ms),
        as_of: seconds(report.as_of_ms),
        source: name_of(&report.source),
        healthy_since: report.ready_since_ms.map(seconds),
        last_failure: report.last_failure_ms.map(seconds),
        last_seen: report.last_seen_ms.map(seconds).or(record.observed.last_seen),
        // A round trip of earlier says nothing of a gateway that gives no answer now.
        latency: (report.latency_ms.and_then(whole_ms).or(record.observed.latency))
            .filter(|_| !matches!(report.status, Status::Offline | Status::Timeout)),
        sessions_count: report.sessions_count.map_or(record.observed.sessions_count, i64::from),
        agents_count: report.agents_count.map_or(record.observed.agents_count, i64::from),
        version: report.version.clone(),
        protocol: report.protocol,
        dialect: report.dialect.or(record.dialect).map(|dialect: Dialect| dialect.as_str().to_owned()),
        phase: report.phase.as_str().to_owned(),
        breaker: Breaker {
            state: report.breaker.state.as_str().to_owned(),
            failures: report.breaker.failures,
            opened_at: report.breaker.opened_at_ms.map(seconds),
            changed_at: report.breaker.changed_at_ms.map(seconds),
        },
        last_error: report.last_error.as_ref().map(|problem| LastError {
            code: problem.code.clone(),
            message: problem.message.clone(),
            help: problem.help.clone(),
        }),
        reconnect_attempts: report.reconnect_attempts,
        next_attempt: report.next_attempt_ms.filter(|_| report.phase != Phase::Ready).map(seconds),
        pairing: report.pairing.as_ref().map(|pairing| Pairing {
            request_id: pairing.request_id.clone(),
            device_id: pairing.device_id.clone(),
            command: pairing.command.clone(),
        }),
        scopes: report.scopes.clone(),
        drained: record.drained,
        labels: record.labels.clone(),
        transport: transport_name(record.transport).to_owned(),
        tls: tls(&record.tls),
        disable_device_pairing: record.disable_device_pairing,
        unit: named(record.process.as_ref(), "unit"),
        command: named(record.process.as_ref(), "command"),
        process: view.process.as_deref().map(process),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

fn named(process: Option<&ProcessSource>, kind: &str) -> Option<String> {
    process.filter(|process| process.kind() == kind).map(|process| process.name().to_owned())
}

fn tls(trust: &TlsTrust) -> Tls {
    let plain = |trust: &str| Tls { trust: trust.to_owned(), ca_pem: None, pins: None };
    match trust {
        TlsTrust::System => plain("system"),
        TlsTrust::None => plain("none"),
        TlsTrust::Ca { ca_pem } => Tls { ca_pem: Some(ca_pem.clone()), ..plain("ca") },
        TlsTrust::Pins { pins } => Tls { pins: Some(pins.clone()), ..plain("pins") },
    }
}

/// The object as JSON, made by the first reader of a view and kept for all later ones.
pub(crate) fn rendered(view: &GatewayView) -> &Bytes {
    view.rendered.get_or_init(|| Bytes::from(serde_json::to_vec(&gateway(view)).unwrap_or_default()))
}

/// Unix seconds of wall milliseconds.
pub(crate) fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}

/// A latency in whole milliseconds.
pub(crate) fn whole_ms(ms: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be small; saturates anyway")]
    (ms.is_finite() && ms >= 0.0).then_some(ms.round() as i64)
}

fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Auto => "auto",
        Transport::Ws => "ws",
        Transport::Http => "http",
    }
}

/// A gateway's process on this machine.
pub(crate) fn process(view: &ProcessView) -> Process {
    let (verified, missing) = match &view.verified {
        None => (None, Vec::new()),
        Some(Verified::Pending) => (Some("pending"), Vec::new()),
        Some(Verified::Yes) => (Some("yes"), Vec::new()),
        Some(Verified::No(missing)) => (Some("no"), missing.clone()),
    };
    let usage = view.usage.as_ref();
    Process {
        kind: view.source.kind().to_owned(),
        name: view.source.name().to_owned(),
        state: view.state.as_str().to_owned(),
        since: seconds(view.since_ms),
        pid: view.pid,
        started_at: view.started_ms.map(seconds),
        restarts: view.restarts,
        last_end: view.last_end.as_ref().map(|end| LastEnd {
            at: seconds(end.at_ms),
            message: end.words.clone(),
            code: end.code,
            signal: end.signal,
        }),
        next_start: view.next_start_ms.map(seconds),
        reason: view.reason.clone(),
        verified: verified.map(str::to_owned),
        missing,
        memory_bytes: usage.map(|usage| usage.memory_bytes),
        cpu_percent: usage.and_then(|usage| usage.cpu_percent).map(tenths),
        cpu_seconds: usage.map(|usage| usage.cpu_seconds),
        processes: usage.map(|usage| usage.processes),
        diagnosis: None,
    }
}

/// What a closer look has found.
pub(crate) fn diagnosis(found: Findings) -> Diagnosis {
    Diagnosis {
        findings: found.findings,
        program: found.program,
        members: found
            .members
            .into_iter()
            .map(|one| Member { pid: one.pid, parent: one.parent, name: one.name, state: one.state.to_string() })
            .collect(),
        output: found
            .output
            .into_iter()
            .map(|line| OutputLine { timestamp: line.at_ms, stream: line.stream.to_owned(), text: line.text })
            .collect(),
        output_dropped: found.output_dropped,
    }
}

fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

/// The body of `GET /api/gateways`, put together from the gateways' renderings and kept while the roster stays the same: with the
/// roster's version that it was made from.
#[derive(Debug, Default)]
pub(crate) struct ListBody {
    kept: ArcSwapOption<(u64, Bytes)>,
}

impl ListBody {
    pub(crate) fn complete(&self, roster: &RosterReader) -> Bytes {
        // Taken before the list: a change in between makes the kept body look too old, never too new.
        let version = roster.version();
        if let Some(kept) = self.kept.load().as_ref()
            && kept.0 == version
        {
            return kept.1.clone();
        }
        let body = body_of(&roster.list(), "");
        self.kept.store(Some(Arc::new((version, body.clone()))));
        body
    }
}

/// A part of the list, with its place in the whole.
pub(crate) fn part(roster: &RosterReader, page: Page) -> Bytes {
    let all = roster.list();
    let wanted: Vec<_> = all.iter().skip(page.offset).take(page.limit).cloned().collect();
    let place = format!(",\"total\":{},\"limit\":{},\"offset\":{}", all.len(), page.limit, page.offset);
    body_of(&wanted, &place)
}

fn body_of(views: &[Arc<GatewayView>], rest: &str) -> Bytes {
    let objects: usize = views.iter().map(|view| rendered(view).len().saturating_add(1)).sum();
    let mut body = BytesMut::with_capacity(objects.saturating_add(rest.len()).saturating_add(32));
    body.extend_from_slice(b"{\"gateways\":[");
    for (place, view) in views.iter().enumerate() {
        if place > 0 {
            body.extend_from_slice(b",");
        }
        body.extend_from_slice(rendered(view));
    }
    body.extend_from_slice(b"]");
    body.extend_from_slice(rest.as_bytes());
    body.extend_from_slice(b"}");
    body.freeze()
}
