//! The record of a gateway: what answers show of it and what requests set, in both APIs. Whoever adds a field adds it here.
//! Longer than other files for that: answer, row of the fleet, request and the rules of its fields change together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema as _, ToSchema};

use gatewarden_protocol::Secret;

use crate::cluster::{MAX_NODE_NAME, NODE_NAME, is_node_name};
use crate::daemon::{ActingPrimaryStatus, GatewayCounts};
use crate::gateways::{Breaker, LastError, Pairing, Process};
use crate::names::{
    BreakerState, ConnectionPhase, Dialect, HealthStatus, ProcessState, StatusSource, TlsTrust, Transport,
};
use crate::pages::Part;
use crate::request::{Fields, Rule, request};
use crate::rules::{
    as_array, as_text, by, check_text, clearable, flag, flag_or_number, integer, kind_of, long, nested, nested_list,
    over, secret, small, text, text_or_nothing, word,
};

/// A gateway as readers see it. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// Whether a password is set. The password itself is never shown.
    #[serde(default)]
    pub password_set: bool,
    /// The configured primary; at most one.
    pub is_primary: bool,
    /// Whether it acts as primary right now.
    pub acting_primary: bool,
    /// Higher is preferred when a primary is elected.
    pub priority: i32,
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[schema(value_type = HealthStatus, example = "online")]
    pub status: String,
    /// When the status took its present value.
    pub since: i64,
    /// Of the knowledge behind the status.
    pub as_of: i64,
    /// `heartbeat`, `probe` or `event`.
    #[schema(value_type = StatusSource)]
    pub source: String,
    /// Since when it has been connected and authenticated without a break.
    pub healthy_since: Option<i64>,
    /// When anything last failed.
    pub last_failure: Option<i64>,
    /// When it last answered.
    pub last_seen: Option<i64>,
    /// Last round trip in milliseconds.
    pub latency: Option<i64>,
    /// Until when it can't act as primary because it came and went too often.
    #[serde(default)]
    pub held_down_until: Option<i64>,
    /// The other node of a cluster that holds its connection, by name; none: the node that acts does, or nobody.
    #[serde(default)]
    #[schema(example = "host-b")]
    pub held_by: Option<String>,
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
    #[schema(value_type = Option<Dialect>)]
    pub dialect: Option<String>,
    /// Phase of the connection.
    #[schema(value_type = ConnectionPhase, example = "ready")]
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
    #[schema(value_type = Transport)]
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
    /// The node of a cluster that alone holds its connection, by name.
    #[serde(default)]
    pub node: Option<String>,
    /// Of the record.
    pub created_at: i64,
    /// Of the record.
    pub updated_at: i64,
}

impl Gateway {
    /// The request that registers the same gateway again, but for its secrets, which no answer holds.
    pub fn into_request(self) -> NewGatewayBody {
        let Tls { trust, ca_pem, pins } = self.tls;
        let settings = GatewaySettings {
            port: Some(self.port),
            token: None,
            password: None,
            is_primary: Some(self.is_primary),
            priority: Some(self.priority),
            labels: Some(self.labels),
            transport: Some(self.transport),
            tls: Some(TlsBody { trust, ca_pem, pins }),
            disable_device_pairing: Some(self.disable_device_pairing),
            unit: self.unit.map(Some),
            command: self.command.map(Some),
            drained: Some(self.drained),
            node: self.node.map(Some),
        };
        NewGatewayBody { name: self.name, host: self.host, agents: None, settings }
    }

    /// The names of all its fields.
    pub fn field_names() -> Vec<String> {
        match Self::schema() {
            RefOr::T(Schema::Object(object)) => object.properties.into_keys().collect(),
            _ => Vec::new(),
        }
    }

    /// Its part among all gateways in a word or two, for people; empty where it has none. `primary` is the configured one that acts.
    pub fn role(&self) -> &'static str {
        match (self.is_primary, self.acting_primary) {
            _ if self.drained => "drained",
            (true, true) => "primary",
            (false, true) => "acting primary",
            (true, false) => "configured primary",
            (false, false) => "",
        }
    }

    /// Whether new work is routed to it.
    pub fn takes_work(&self) -> bool {
        !self.drained
    }

    /// Whether it is connected to as a control UI, which has no device.
    pub fn is_control_ui(&self) -> bool {
        self.disable_device_pairing
    }

    /// The same in full: all that is true of it.
    pub fn roles(&self) -> Vec<&'static str> {
        let parts = [
            ("configured primary", self.is_primary),
            ("acts as primary", self.acting_primary),
            ("drained: no new work", self.drained),
        ];
        parts.into_iter().filter(|(_, is)| *is).map(|(part, _)| part).collect()
    }
}

/// A list of gateways: the configured primary first, then by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayList {
    /// All of them, or the part that was asked for.
    pub gateways: Vec<Gateway>,
    /// Which part it is.
    #[serde(flatten)]
    pub part: Part,
}

/// The whole fleet for lists, with what a list shows. `ETag` and `If-None-Match` work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Fleet {
    /// The number of the newest event that this includes: `last_event_id` of a stream that goes on from here without a gap.
    pub last_event: u64,
    /// The configured primary: its id alone, since `gateways` has its row. In `GET /api/status` it is an object.
    pub primary: Option<i64>,
    /// Who acts as primary.
    pub acting_primary: Option<ActingPrimaryStatus>,
    /// How many gateways there are.
    pub counts: GatewayCounts,
    /// Why the daemon doubts its own network, while it does.
    pub self_doubt: Option<String>,
    /// All gateways: the configured primary first, then by name.
    pub gateways: Vec<FleetRow>,
}

/// A gateway in a list. The fields mean what they mean in a gateway; what is false, empty, 0 or unknown is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FleetRow {
    /// Figures, with the gateway's id.
    #[serde(flatten)]
    pub figures: FleetFigures,
    /// Unique.
    #[schema(example = "production")]
    pub name: String,
    /// Host name, address or URL, as given.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[schema(value_type = HealthStatus, example = "online")]
    pub status: String,
    /// When the status took its present value.
    pub since: i64,
    /// Phase of the connection.
    #[schema(value_type = ConnectionPhase, example = "ready")]
    pub phase: String,
    /// State of the circuit breaker, while it is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BreakerState>)]
    pub breaker: Option<String>,
    /// Why the status is not online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// When the next attempt is due, while waiting for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<i64>,
    /// Attempts since the last stable connection.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reconnect_attempts: u32,
    /// The configured primary.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_primary: bool,
    /// Whether it acts as primary right now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub acting_primary: bool,
    /// No new work is routed here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drained: bool,
    /// Until when it can't act as primary because it came and went too often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_down_until: Option<i64>,
    /// Whether a token is set.
    #[serde(default, skip_serializing_if = "is_false")]
    pub token_set: bool,
    /// Whether it waits for somebody to approve this installation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub awaits_pairing: bool,
    /// The gateway's release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The protocol that was agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// State of its process on this machine, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProcessState>)]
    pub process: Option<String>,
}

/// What changes all the time in a gateway that is well; what is 0 or unknown is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FleetFigures {
    /// The gateway.
    #[schema(example = 1)]
    pub id: i64,
    /// Last round trip in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<i64>,
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<i64>,
    /// Of the knowledge behind the status.
    pub as_of: i64,
    /// Active sessions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sessions_count: i64,
    /// Agents.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub agents_count: i64,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero<N: PartialEq + Default>(number: &N) -> bool {
    *number == N::default()
}

impl From<Gateway> for FleetRow {
    fn from(gateway: Gateway) -> Self {
        Self {
            figures: FleetFigures {
                id: gateway.id,
                latency: gateway.latency,
                last_seen: gateway.last_seen,
                as_of: gateway.as_of,
                sessions_count: gateway.sessions_count,
                agents_count: gateway.agents_count,
            },
            name: gateway.name,
            host: gateway.host,
            port: gateway.port,
            labels: gateway.labels,
            status: gateway.status,
            since: gateway.since,
            phase: gateway.phase,
            breaker: Some(gateway.breaker.state).filter(|state| state != "closed"),
            last_error: gateway.last_error,
            next_attempt: gateway.next_attempt,
            reconnect_attempts: gateway.reconnect_attempts,
            is_primary: gateway.is_primary,
            acting_primary: gateway.acting_primary,
            drained: gateway.drained,
            held_down_until: gateway.held_down_until,
            token_set: gateway.token_set,
            awaits_pairing: gateway.pairing.is_some(),
            version: gateway.version,
            protocol: gateway.protocol,
            process: gateway.process.map(|process| process.state),
        }
    }
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayAnswer {
    /// The gateway.
    pub gateway: Gateway,
    /// How many agents were registered with it; only for a new gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents_registered: Option<usize>,
    /// Worth knowing: other gateways have the same address, or the daemon shows what it sees itself in place of an observation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Whom to trust on TLS. There is nothing secret in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tls {
    /// `system`, `ca`, `pins` or `none`.
    #[schema(value_type = TlsTrust)]
    pub trust: String,
    /// Certificate authorities, where `trust` is `ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// SHA-256 of leaf certificates, where `trust` is `pins`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pins: Option<Vec<String>>,
}

/// A gateway. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayRead {
    /// A UUID; the same as `uuid` in `/api/gateways`.
    #[schema(example = "55cc268a-4b45-400f-accf-201e025232ac")]
    pub id: String,
    /// A UUID, the same for all gateways of this installation.
    pub organization_id: String,
    /// Unique.
    #[schema(example = "Production Gateway")]
    pub name: String,
    /// `ws://` or `wss://`, as given, without a token.
    #[schema(example = "ws://gateway-host:18789")]
    pub url: String,
    /// Where the gateway's host keeps the workspaces of agents; empty where the gateway was registered without one.
    #[schema(example = "/home/ubuntu/.openclaw/workspaces")]
    pub workspace_root: String,
    /// The main agent: the id of its record here, as in `/api/agents/{id}`; null where there is none.
    #[schema(example = "7")]
    pub gateway_agent_id: Option<String>,
    /// Whether any TLS certificate is taken.
    pub allow_insecure_tls: bool,
    /// Control-UI mode without a device.
    pub disable_device_pairing: bool,
    /// Whether a token is set. The token itself is never shown.
    pub token_set: bool,
    /// Whether a password is set. The password itself is never shown.
    #[serde(default)]
    pub password_set: bool,
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[schema(value_type = HealthStatus, example = "online")]
    pub status: String,
    /// The gateway's release, where known.
    pub version: Option<String>,
    /// When it was registered.
    #[schema(example = "2026-03-05T10:30:00Z")]
    pub created_at: String,
    /// When what an operator sets was last changed.
    #[schema(example = "2026-03-05T10:30:00Z")]
    pub updated_at: String,
    /// Worth knowing: the same address is registered twice, or the main agent could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What reads show in place of a token: sent back, it means "as it is".
pub const REDACTED: &str = "--------";
/// Longest token, characters.
pub const MAX_TOKEN: usize = 4_096;
/// The last second of the year 9999.
pub const MAX_TIME: i64 = 253_402_300_799;
/// Longest list of certificates, bytes.
const MAX_CA_PEM: usize = 256 * 1024;
/// How gateways are spoken to.
pub const TRANSPORTS: [&str; 3] = ["auto", "ws", "http"];
/// What is known of a gateway.
pub const STATUSES: [&str; 5] = ["online", "degraded", "timeout", "offline", "unknown"];

request! {
    /// What a request may set of a gateway, be it a new one or a change; what is left out of a change stays as it is.
    GatewaySettings {
        /// May be left out where host is a URL.
        port: Option<u16> = small::<u16>(1..=65_535) => 18_789;
        /// Sealed at rest, never shown. Empty or null clears it; in a change `--------` leaves it.
        token: Option<Option<Secret>> = kept_secret();
        /// The shared password, for a gateway whose `gateway.auth.mode` is `password`. Read like `token`, never shown.
        password: Option<Option<Secret>> = kept_secret();
        /// True makes this the configured primary and unsets the other. 1 and 0 work too.
        is_primary: Option<bool> = flag_or_number();
        /// Higher is preferred when a primary is elected; 0 by default.
        priority: Option<i32> = small::<i32>(-10_000..=10_000);
        /// All labels anew; at most 64.
        labels: Option<BTreeMap<String, String>> = labels();
        /// `auto`, `ws` or `http`.
        transport: Option<String> = word(&TRANSPORTS) => "auto";
        /// Whom to trust on TLS.
        tls: Option<TlsBody> = nested::<TlsBody>();
        /// Control-UI mode without a device.
        disable_device_pairing: Option<bool> = flag_or_number();
        /// The system unit that runs it on this machine: an instance of `gatewarden-gateway@.service`, or one that the configuration
        /// lists; null or empty for none. It takes the place of a command, and is not given together with one.
        unit: Option<Option<String>> = clearable(text_or_nothing(255)) => "gatewarden-gateway@main.service";
        /// The command of the configuration (`[commands.NAME]`) that runs it on this machine, by its name: it is started at once. Null
        /// or empty for none. It takes the place of a unit.
        command: Option<Option<String>> = clearable(text_or_nothing(255)) => "openclaw";
        /// No new work is routed here.
        drained: Option<bool> = flag_or_number();
        /// The node of a cluster that alone holds its connection, by name; null or empty: any.
        node: Option<Option<String>> = clearable(node_name()) => "warden-b";
    }
    /// A new gateway.
    NewGatewayBody {
        /// Unique; 1 to 200 characters.
        name: String = text(1..=200) => "production";
        /// Host name, IP address, or a ws, wss, http or https URL. A port in the URL wins; user info is refused. Link-local and
        /// cloud metadata addresses are refused.
        host: String = long(2048, host()) => "gateway.example.com";
        /// Agents to register with it; at most 50 are used.
        agents: Option<Vec<AgentBody>> = nested_list::<AgentBody>(50, "must be an object with a name");
        ..settings: GatewaySettings;
    }
    /// What can be changed of a gateway; what is left out stays as it is.
    GatewayFields {
        /// New name.
        name: Option<String> = text(1..=200);
        /// New host.
        host: Option<String> = text(1..=2048);
        /// Observation of an external health checker: accepted, and not shown, since the daemon sees for itself.
        status: Option<String> = word(&STATUSES);
        /// Observation: Unix seconds. It and those below are shown where the daemon knows nothing of its own.
        last_seen: Option<i64> = integer(0..=MAX_TIME);
        /// Observation: milliseconds.
        latency: Option<i64> = integer(0..=86_400_000);
        /// Observation.
        sessions_count: Option<i64> = integer(0..=1_000_000_000);
        /// Observation.
        agents_count: Option<i64> = integer(0..=1_000_000_000);
        ..settings: GatewaySettings;
    }
    /// Whom to trust on TLS.
    TlsBody {
        /// `system`, `ca`, `pins` or `none` (development only).
        trust: String = word(&["system", "ca", "pins", "none"]) => "system";
        /// Needed with `ca`: one or more certificates.
        ca_pem: Option<String> = ca_pem();
        /// Needed with `pins`: SHA-256 of leaf certificates, 64 hex digits each.
        pins: Option<Vec<String>> = pins();
    }
    /// An agent of a new gateway.
    AgentBody {
        /// Unique.
        name: String = text(1..=200) => "researcher";
        /// In the owner's words.
        role: Option<String> = text_or_nothing(200);
    }
    /// A new gateway.
    GatewayCreate {
        /// Unique; 1 to 200 characters.
        name: String = text(1..=200) => "Production Gateway";
        /// `ws://` or `wss://` with a host. Without a port: 18789, and 443 for wss. Link-local and cloud metadata addresses are
        /// refused.
        url: String = long(2048, url()) => "ws://gateway-host:18789";
        /// An absolute path on the gateway's host.
        workspace_root: String = long(1000, workspace_root()) => "/home/ubuntu/.openclaw/workspaces";
        /// Sealed at rest, never shown.
        token: Option<Option<Secret>> = kept_secret();
        /// The shared password, for a gateway whose `gateway.auth.mode` is `password`. Sealed at rest, never shown.
        password: Option<Option<Secret>> = kept_secret();
        /// Take any TLS certificate (development only); false by default.
        allow_insecure_tls: Option<bool> = flag();
        /// Control-UI mode without a device; the gateway must allow it. False by default.
        disable_device_pairing: Option<bool> = flag();
    }
    /// What can be changed of a gateway; what is left out stays as it is.
    GatewayUpdate {
        /// New name.
        name: Option<String> = text(1..=200);
        /// New URL.
        url: Option<String> = long(2048, url());
        /// New root of the workspaces.
        workspace_root: Option<String> = long(1000, workspace_root());
        /// New token; empty or null clears it.
        token: Option<Option<Secret>> = kept_secret();
        /// New password; empty or null clears it.
        password: Option<Option<Secret>> = kept_secret();
        /// True: take any certificate. False: those of the system's authorities, unless others were set.
        allow_insecure_tls: Option<bool> = flag();
        /// New pairing mode.
        disable_device_pairing: Option<bool> = flag();
    }
}

/// Which gateway to change, and what.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
pub struct ChangeGatewayBody {
    /// Which.
    #[schema(example = 2, minimum = 1)]
    pub id: i64,
    /// What.
    #[serde(flatten)]
    pub fields: GatewayFields,
}

/// A gateway as it would be registered, or with `id` changed.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
pub struct CheckGatewayBody {
    /// One that is registered; what is left out is as it is stored. Without it name and host are needed.
    #[schema(example = 2, minimum = 1)]
    pub id: Option<i64>,
    /// What would be set.
    #[serde(flatten)]
    pub fields: GatewayFields,
}

fn host() -> impl Rule<Out = String> {
    by(|fields, name| {
        let host = fields.value(name)?.as_str();
        if host.is_none() {
            fields.wrong(name, "must be a text: a host name, an IP address or a URL");
        }
        host.map(str::to_owned)
    })
}

/// A token or a password: `Some(None)` where it is to be cleared, and nothing where it is to stay as it is.
fn kept_secret() -> impl Rule<Out = Option<Secret>> {
    over(clearable(secret(MAX_TOKEN)), |secret, fields, name| {
        let stays = fields.value(name).and_then(Value::as_str) == Some(REDACTED);
        if stays { None } else { secret.read(fields, name) }
    })
}

/// What a node may be called; whether there is one of that name is another matter.
fn node_name() -> impl Rule<Out = String> {
    over(text_or_nothing(MAX_NODE_NAME), |text, fields, name| {
        let text = text.read(fields, name)?;
        if !is_node_name(&text) {
            fields.wrong(name, NODE_NAME);
            return None;
        }
        Some(text)
    })
}

fn labels() -> impl Rule<Out = BTreeMap<String, String>> {
    const MAX_LABELS: usize = 64;
    by(|fields, name| {
        let value = fields.value(name)?;
        let Some(object) = value.as_object() else {
            fields.wrong(name, format_args!("must be an object, not {}", kind_of(value)));
            return None;
        };
        if object.len() > MAX_LABELS {
            fields.wrong(name, format_args!("must have at most {MAX_LABELS} entries"));
            return None;
        }
        let mut labels = BTreeMap::new();
        for (key, value) in object {
            let shown: String = key.chars().filter(|character| !character.is_control()).take(40).collect();
            if let Err(what) = check_text(key, 1..=100) {
                fields.wrong(name, format_args!("has a key \"{shown}\" that {what}"));
                continue;
            }
            match value.as_str().map(|text| (text, check_text(text, 0..=1000))) {
                Some((text, Ok(()))) => {
                    labels.insert(key.clone(), text.to_owned());
                }
                Some((_, Err(what))) => fields.wrong(name, format_args!("has a value of \"{shown}\" that {what}")),
                None => fields.wrong(name, format_args!("must have texts as values, and \"{shown}\" has none")),
            }
        }
        Some(labels)
    })
}

fn is_trust(fields: &Fields<'_>, trust: &str) -> bool {
    fields.value("trust").and_then(Value::as_str) == Some(trust)
}

/// Whether the certificates can be read is for the daemon to say.
fn ca_pem() -> impl Rule<Out = String> {
    by(|fields, name| {
        let Some(value) = fields.value(name) else {
            if is_trust(fields, "ca") {
                fields.wrong(name, "is missing: with trust \"ca\" it holds the certificates of the authorities");
            }
            return None;
        };
        let text = value.as_str().filter(|text| text.len() <= MAX_CA_PEM);
        if text.is_none() {
            fields.wrong(name, format_args!("must be a text of at most {MAX_CA_PEM} bytes"));
        }
        text.filter(|_| is_trust(fields, "ca")).map(str::to_owned)
    })
}

fn pins() -> impl Rule<Out = Vec<String>> {
    const MAX_PINS: usize = 16;
    by(|fields, name| {
        if !is_trust(fields, "pins") {
            // Left aside, but of its form.
            if fields.value(name).is_some() && !as_array(fields, name)?.iter().all(Value::is_string) {
                fields.wrong(name, "must be a list of texts");
            }
            return None;
        }
        if fields.value(name).is_none() {
            fields.wrong(name, "is missing: with trust \"pins\" it lists SHA-256 fingerprints of certificates");
            return None;
        }
        let array = as_array(fields, name)?;
        if array.is_empty() || array.len() > MAX_PINS {
            fields.wrong(name, format_args!("must have 1 to {MAX_PINS} entries"));
            return None;
        }
        let mut pins = Vec::with_capacity(array.len());
        for (place, value) in array.iter().enumerate() {
            match value.as_str().and_then(pin) {
                Some(pin) => pins.push(pin),
                None => fields.wrong(&format!("{name}[{place}]"), "must be a SHA-256 fingerprint: 64 hex digits"),
            }
        }
        Some(pins)
    })
}

/// Takes the spellings that tools print: upper case, and colons between bytes.
fn pin(text: &str) -> Option<String> {
    // Longer than any spelling of a fingerprint: not worth a copy.
    if text.len() > 128 {
        return None;
    }
    let digits: String = text.chars().filter(|character| *character != ':').collect::<String>().to_ascii_lowercase();
    (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// Whether a gateway can be at that address is for the daemon to say.
fn url() -> impl Rule<Out = String> {
    by(|fields, name| {
        let value = fields.value(name)?;
        let text = value.as_str();
        if text.is_none() {
            fields.wrong(name, format_args!("must be a text: a ws or wss URL, not {}", kind_of(value)));
        }
        text.map(str::to_owned)
    })
}

/// Whether it is an absolute path is for the daemon to say.
fn workspace_root() -> impl Rule<Out = String> {
    by(|fields, name| {
        fields.value(name)?;
        as_text(fields, name).map(|text| text.trim().to_owned())
    })
}
