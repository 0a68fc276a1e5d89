//! The gateway object of the API: every field of the documented contract and what we know beyond it. Rendered once for
//! each published view; a token never gets in here.

use std::collections::BTreeMap;

use bytes::Bytes;
use gatewarden_actors::gateway_record::{ProcessSource, TlsTrust, Transport};
use gatewarden_actors::gateway_report::Phase;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_protocol::Dialect;
use serde::Serialize;
use utoipa::ToSchema;

use super::gateways::process_object::Process;

/// A gateway as readers see it. Times are Unix seconds.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Gateway {
    /// Never used again after a delete.
    #[schema(example = 1)]
    pub id: i64,
    /// The stable id of the organization API.
    pub uuid: String,
    /// Unique.
    #[schema(example = "production")]
    pub name: String,
    /// Host name, address or URL, as given.
    #[schema(example = "gateway.example.com")]
    pub host: String,
    /// Port.
    #[schema(example = 18789)]
    pub port: u16,
    /// `--------` where a token is set, else empty; never the token.
    #[schema(example = "--------")]
    pub token: String,
    /// Whether a token is set.
    pub token_set: bool,
    /// The configured primary; at most one.
    pub is_primary: bool,
    /// Whether it acts as primary right now.
    pub acting_primary: bool,
    /// Higher is preferred when a primary is elected.
    pub priority: i32,
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[schema(example = "online")]
    pub status: String,
    /// When the status took its present value.
    pub since: i64,
    /// Of the knowledge behind the status.
    pub as_of: i64,
    /// `heartbeat`, `probe`, `event` or `external`.
    pub source: String,
    /// Since when it has been connected and authenticated without a break.
    pub healthy_since: Option<i64>,
    /// When anything last failed.
    pub last_failure: Option<i64>,
    /// When it last answered.
    pub last_seen: Option<i64>,
    /// Last round trip in milliseconds.
    pub latency: Option<i64>,
    /// Active sessions.
    pub sessions_count: i64,
    /// Agents.
    pub agents_count: i64,
    /// The gateway's release.
    #[schema(example = "2026.9.6")]
    pub version: Option<String>,
    /// The protocol that was agreed on.
    #[schema(example = 4)]
    pub protocol: Option<u32>,
    /// `openclaw`, `rpc` or `http`.
    pub dialect: Option<String>,
    /// Phase of the connection.
    #[schema(example = "ready")]
    pub phase: String,
    /// Circuit breaker.
    pub breaker: Breaker,
    /// Why the status is not online.
    pub last_error: Option<LastError>,
    /// Attempts since the last stable connection.
    pub reconnect_attempts: u32,
    /// When the next attempt is due, while waiting for one.
    pub next_attempt: Option<i64>,
    /// Present while the gateway waits for somebody to approve this installation.
    pub pairing: Option<Pairing>,
    /// Scopes that the gateway granted, where it says so.
    pub scopes: Vec<String>,
    /// No new work is routed here.
    pub drained: bool,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// `auto`, `ws` or `http`.
    pub transport: String,
    /// Whom to trust on TLS.
    pub tls: Tls,
    /// Control-UI mode without a device.
    pub disable_device_pairing: bool,
    /// The system unit that runs it on this machine.
    pub unit: Option<String>,
    /// The command of the configuration that runs it on this machine.
    pub command: Option<String>,
    /// Its process on this machine, where it names a unit or a command.
    pub process: Option<Process>,
    /// Of the record.
    pub created_at: i64,
    /// Of the record.
    pub updated_at: i64,
}

/// State of the circuit breaker.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// Failures in a row.
    pub failures: u32,
    /// When it opened, while it is not closed.
    pub opened_at: Option<i64>,
    /// When its state last changed.
    pub changed_at: Option<i64>,
}

/// What is wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LastError {
    /// Stable code.
    #[schema(example = "token_mismatch")]
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to change, and where.
    pub help: String,
}

/// A pairing request that waits on the gateway.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Pairing {
    /// What to approve, where the gateway said it.
    pub request_id: Option<String>,
    /// This installation's device.
    pub device_id: String,
    /// The command that approves it, to be run on the gateway's machine.
    pub command: Option<String>,
}

/// Whom to trust on TLS. There is nothing secret in it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Tls {
    /// `system`, `ca`, `pins` or `none`.
    pub trust: String,
    /// Certificate authorities, where `trust` is `ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// SHA-256 of leaf certificates, where `trust` is `pins`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pins: Option<Vec<String>>,
}

/// What stands for a token that is set.
const REDACTED: &str = "--------";

impl Gateway {
    /// What a view shows.
    pub fn of(view: &GatewayView) -> Self {
        let (record, report) = (&view.record, &view.report);
        Self {
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
            latency: report.latency_ms.and_then(whole_ms).or(record.observed.latency),
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
            tls: Tls::of(&record.tls),
            disable_device_pairing: record.disable_device_pairing,
            unit: named(record.process.as_ref(), "unit"),
            command: named(record.process.as_ref(), "command"),
            process: view.process.as_deref().map(Process::of),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

fn named(process: Option<&ProcessSource>, kind: &str) -> Option<String> {
    process.filter(|process| process.kind() == kind).map(|process| process.name().to_owned())
}

impl Tls {
    fn of(trust: &TlsTrust) -> Self {
        let plain = |trust: &str| Self { trust: trust.to_owned(), ca_pem: None, pins: None };
        match trust {
            TlsTrust::System => plain("system"),
            TlsTrust::None => plain("none"),
            TlsTrust::Ca { ca_pem } => Self { ca_pem: Some(ca_pem.clone()), ..plain("ca") },
            TlsTrust::Pins { pins } => Self { pins: Some(pins.clone()), ..plain("pins") },
        }
    }
}

/// The object as JSON, made by the first reader of a view and kept for all later ones.
pub fn rendered(view: &GatewayView) -> &Bytes {
    view.rendered.get_or_init(|| Bytes::from(serde_json::to_vec(&Gateway::of(view)).unwrap_or_default()))
}

/// Unix seconds of wall milliseconds.
pub fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}

/// A latency in whole milliseconds.
pub fn whole_ms(ms: f64) -> Option<i64> {
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
