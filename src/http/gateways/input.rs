//! Reads what a client says of a gateway: every field checked, all offending ones named in one answer.

use std::collections::BTreeMap;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::{GatewayChange, GatewayRecord, GatewaySpec, NewGateway};
use gatewarden_actors::gateway_report::Status;
use gatewarden_actors::ids::GatewayId;
use gatewarden_protocol::{AddressError, GatewayAddress, ParsedHost, Secret};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::trust;
use crate::http::error::{ApiError, invalid};
use crate::http::fields::{Fields, check_text};
use crate::http::query::Query;

/// Longest token, characters.
const TOKEN: usize = 4096;
/// Agents that are used; more are left aside without a word.
const AGENTS: usize = 50;
/// With which a host is examined whose own port can't be read.
const STAND_IN_PORT: u16 = 18_789;
const LABELS: usize = 64;
const PRIORITY: std::ops::RangeInclusive<i64> = -10_000..=10_000;
const TRANSPORTS: [&str; 3] = ["auto", "ws", "http"];
/// What reads show in place of a token: sent back, it means "as it is".
pub const REDACTED: &str = "--------";

/// A new gateway.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct NewGatewayBody {
    /// Unique; 1 to 200 characters.
    #[schema(example = "production", min_length = 1, max_length = 200)]
    name: String,
    /// Host name, IP address, or a ws, wss, http or https URL. A port in the URL wins; user info is refused. Link-local and
    /// cloud metadata addresses are refused.
    #[schema(example = "gateway.example.com", max_length = 2048)]
    host: String,
    /// May be left out where host is a URL.
    #[schema(example = 18789, minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// Sealed at rest, never shown.
    #[schema(max_length = 4096)]
    token: Option<String>,
    /// Makes this the configured primary and unsets the other. 1 and 0 work too.
    is_primary: Option<bool>,
    /// Higher is preferred when a primary is elected; 0 by default.
    #[schema(minimum = -10000, maximum = 10000)]
    priority: Option<i32>,
    /// At most 64.
    labels: Option<BTreeMap<String, String>>,
    /// `auto`, `ws` or `http`.
    #[schema(example = "auto")]
    transport: Option<String>,
    /// Whom to trust on TLS.
    tls: Option<TlsBody>,
    /// Control-UI mode without a device.
    disable_device_pairing: Option<bool>,
    /// The system unit that runs it on this machine: an instance of `gatewarden-gateway@.service`, or one that the configuration
    /// lists. Not together with `command`.
    #[schema(example = "gatewarden-gateway@main.service")]
    unit: Option<String>,
    /// The command of the configuration (`[commands.NAME]`) that runs it on this machine, by its name: it is started at once.
    #[schema(example = "openclaw")]
    command: Option<String>,
    /// Agents to register with it; at most 50 are used.
    agents: Option<Vec<AgentBody>>,
}

/// Whom to trust on TLS.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct TlsBody {
    /// `system`, `ca`, `pins` or `none` (development only).
    #[schema(example = "system")]
    trust: String,
    /// Needed with `ca`: one or more certificates.
    ca_pem: Option<String>,
    /// Needed with `pins`: SHA-256 of leaf certificates, 64 hex digits each.
    pins: Option<Vec<String>>,
}

/// An agent of a new gateway.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct AgentBody {
    /// Unique.
    #[schema(example = "researcher", min_length = 1, max_length = 200)]
    name: String,
    /// In the owner's words.
    role: Option<String>,
}

/// What can be changed of a gateway; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct GatewayFields {
    /// New name.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// New host.
    #[schema(max_length = 2048)]
    host: Option<String>,
    /// New port.
    #[schema(minimum = 1, maximum = 65535)]
    port: Option<u16>,
    /// New token; empty or null clears it, `--------` leaves it.
    #[schema(max_length = 4096)]
    token: Option<String>,
    /// True moves the primary here. 1 and 0 work too.
    is_primary: Option<bool>,
    /// New priority.
    #[schema(minimum = -10000, maximum = 10000)]
    priority: Option<i32>,
    /// All labels anew.
    labels: Option<BTreeMap<String, String>>,
    /// `auto`, `ws` or `http`.
    transport: Option<String>,
    /// New trust.
    tls: Option<TlsBody>,
    /// New pairing mode.
    disable_device_pairing: Option<bool>,
    /// New unit; null or empty for none. It takes the place of a command.
    unit: Option<String>,
    /// New command; null or empty for none. It takes the place of a unit.
    command: Option<String>,
    /// No new work is routed here.
    drained: Option<bool>,
    /// Observation of an external health checker, until our next own one.
    status: Option<String>,
    /// Observation: Unix seconds.
    #[schema(minimum = 0)]
    last_seen: Option<i64>,
    /// Observation: milliseconds.
    #[schema(minimum = 0)]
    latency: Option<i64>,
    /// Observation.
    #[schema(minimum = 0)]
    sessions_count: Option<i64>,
    /// Observation.
    #[schema(minimum = 0)]
    agents_count: Option<i64>,
}

/// Which gateway to change, and what.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct ChangeGatewayBody {
    /// Which.
    #[schema(example = 2, minimum = 1)]
    id: i64,
    /// What.
    #[serde(flatten)]
    fields: GatewayFields,
}

/// A gateway by its id.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct GatewayIdBody {
    /// Which.
    #[schema(example = 2, minimum = 1)]
    id: i64,
}

/// A gateway by its id, where the query may have it instead.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct GatewayChoiceBody {
    /// Which.
    #[schema(example = 2, minimum = 1)]
    id: Option<i64>,
}

/// Reads a new gateway.
pub fn new_gateway(body: &Map<String, Value>) -> Result<NewGateway, ApiError> {
    let mut fields = Fields::new(body);
    for name in ["name", "host"] {
        if fields.value(name).is_none() {
            fields.missing(name);
        }
    }
    let name = fields.text("name", 1..=200).map(str::to_owned);
    let port = port(&mut fields);
    let host = fields.value("host").and_then(Value::as_str);
    if let Some(value) = fields.value("host")
        && !value.is_string()
    {
        fields.wrong("host", "must be a text: a host name, an IP address or a URL");
    }
    // A port that can't be read hides nothing that is wrong with the host.
    let stand_in = fields.value("port").map(|_| STAND_IN_PORT);
    let parsed = host.map(|host| GatewayAddress::parse(host, port.or(stand_in)));
    // Without a readable host nothing says yet whether a port is needed.
    if host.is_none() && fields.value("port").is_none() {
        fields.missing("port");
    }
    let parsed = note_address(&mut fields, parsed);
    if fields.value("token").and_then(Value::as_str) == Some(REDACTED) {
        fields.wrong("token", "is the placeholder that reads show, not a token");
    }
    let token = token(&mut fields).flatten();
    let is_primary = fields.flag("is_primary").unwrap_or(false);
    let priority = fields.integer("priority", PRIORITY);
    let labels = labels(&mut fields).unwrap_or_default();
    let transport = fields.word("transport", &TRANSPORTS).map(trust::transport).unwrap_or_default();
    let tls = trust::read(&mut fields).unwrap_or_default();
    let disable_device_pairing = fields.flag("disable_device_pairing").unwrap_or(false);
    let agents = agents(&mut fields);
    finish(fields, parsed.as_ref())?;
    let (Some(name), Some(Ok(parsed))) = (name, parsed) else {
        return Err(invalid("name and host are needed"));
    };
    let port = parsed.port();
    let spec = GatewaySpec {
        token,
        url_token: parsed.url_token,
        is_primary,
        priority: small(priority).unwrap_or_default(),
        labels,
        transport,
        tls,
        disable_device_pairing,
        // What runs it is read beside: what may be named depends on the configuration.
        ..GatewaySpec::at(name, parsed.host_text, port)
    };
    Ok(NewGateway { spec, agents })
}

/// Reads a change of a gateway that is stored as `present`. The change may turn out empty.
pub fn change(body: &Map<String, Value>, present: &GatewayRecord) -> Result<GatewayChange, ApiError> {
    let mut fields = Fields::new(body);
    let port = port(&mut fields);
    let host = fields.text("host", 1..=2048);
    let parsed = match (host, port) {
        // A bare host keeps the port that is stored, a URL has one of its own.
        (Some(host), port) => {
            let kept = if host.contains("://") { None } else { Some(present.port) };
            Some(GatewayAddress::parse(host, port.or(kept)))
        }
        (None, Some(port)) => {
            let parsed = GatewayAddress::parse(&present.host, Some(port));
            if let Ok(parsed) = &parsed
                && parsed.port() != port
            {
                let url_port = parsed.port();
                fields.wrong("port", format_args!("cannot be {port}: the URL in host says {url_port}, change that"));
            }
            Some(parsed)
        }
        (None, None) => None,
    };
    let parsed = note_address(&mut fields, parsed);
    let token = match fields.value("token").and_then(Value::as_str) {
        Some(REDACTED) => None,
        _ => token(&mut fields),
    };
    let mut change = GatewayChange {
        name: fields.text("name", 1..=200).map(str::to_owned),
        token,
        is_primary: fields.flag("is_primary"),
        priority: small(fields.integer("priority", PRIORITY)),
        labels: labels(&mut fields),
        transport: fields.word("transport", &TRANSPORTS).map(trust::transport),
        tls: trust::read(&mut fields),
        disable_device_pairing: fields.flag("disable_device_pairing"),
        drained: fields.flag("drained"),
        status: fields.word("status", &Status::ALL.map(Status::as_str)).map(str::to_owned),
        last_seen: fields.integer("last_seen", 0..=253_402_300_799),
        latency: fields.integer("latency", 0..=86_400_000),
        sessions_count: fields.integer("sessions_count", 0..=1_000_000_000),
        agents_count: fields.integer("agents_count", 0..=1_000_000_000),
        ..GatewayChange::default()
    };
    finish(fields, parsed.as_ref())?;
    if let Some(Ok(parsed)) = parsed {
        change.port = Some(parsed.port());
        if host.is_some() {
            change.host = Some(parsed.host_text);
            change.url_token = Some(parsed.url_token);
        }
    }
    Ok(change)
}

/// The gateway id of a request whose body or query names it.
pub fn id_of_body_or_query(body: Option<&Map<String, Value>>, query: &str) -> Result<GatewayId, ApiError> {
    let mut query = Query::parse(query);
    let from_query = query.integer("id", 1..=i64::MAX);
    query.problems.into_result()?;
    if let Some(body) = body {
        let mut fields = Fields::new(body);
        let from_body = fields.integer("id", 1..=i64::MAX);
        fields.problems.into_result()?;
        if let Some(id) = from_body {
            return Ok(GatewayId(id));
        }
    }
    match (from_query, body) {
        (Some(id), _) => Ok(GatewayId(id)),
        (None, Some(_)) => Err(invalid("id is missing: say which gateway")),
        (None, None) => Err(invalid("The request body is empty: say which gateway with {\"id\": ...}")),
    }
}

fn port(fields: &mut Fields<'_>) -> Option<u16> {
    fields.integer("port", 1..=65_535).and_then(|port| u16::try_from(port).ok())
}

fn small(number: Option<i64>) -> Option<i32> {
    number.and_then(|number| i32::try_from(number).ok())
}

/// Notes what is wrong with an address, except that it is a forbidden one: that has a code of its own.
fn note_address(
    fields: &mut Fields<'_>,
    parsed: Option<Result<ParsedHost, AddressError>>,
) -> Option<Result<ParsedHost, AddressError>> {
    if let Some(Err(fault)) = &parsed
        && !matches!(fault, AddressError::Forbidden(_))
    {
        fields.problems.add(fault.field(), fault.to_string());
    }
    parsed
}

fn finish(mut fields: Fields<'_>, parsed: Option<&Result<ParsedHost, AddressError>>) -> Result<(), ApiError> {
    if let Some(Err(fault @ AddressError::Forbidden(_))) = parsed {
        if fields.problems.is_empty() {
            let help = "Loopback and private addresses are allowed; link-local and cloud metadata addresses are never dialled.";
            return Err(ApiError(Failure::new(ErrorCode::AddressForbidden, fault.to_string()).with_help(help)));
        }
        fields.problems.add(fault.field(), fault.to_string());
    }
    fields.problems.into_result()
}

/// A token: `None` where it is left out, `Some(None)` where it is to be cleared.
pub fn token(fields: &mut Fields<'_>) -> Option<Option<Secret>> {
    if !fields.has("token") {
        return None;
    }
    if fields.value("token").is_none() {
        return Some(None);
    }
    let text = fields.text("token", 0..=TOKEN)?;
    Some((!text.is_empty()).then(|| Secret::new(text)))
}

fn labels(fields: &mut Fields<'_>) -> Option<BTreeMap<String, String>> {
    let object = fields.object("labels")?;
    if object.len() > LABELS {
        fields.wrong("labels", format_args!("must have at most {LABELS} entries"));
        return None;
    }
    let mut labels = BTreeMap::new();
    for (key, value) in object {
        let shown: String = key.chars().filter(|character| !character.is_control()).take(40).collect();
        if let Err(what) = check_text(key, 1..=100) {
            fields.wrong("labels", format_args!("has a key \"{shown}\" that {what}"));
            continue;
        }
        match value.as_str() {
            Some(text) => match check_text(text, 0..=1000) {
                Ok(()) => {
                    labels.insert(key.clone(), text.to_owned());
                }
                Err(what) => fields.wrong("labels", format_args!("has a value of \"{shown}\" that {what}")),
            },
            None => fields.wrong("labels", format_args!("must have texts as values, and \"{shown}\" has none")),
        }
    }
    Some(labels)
}

fn agents(fields: &mut Fields<'_>) -> Vec<(String, Option<String>)> {
    let Some(array) = fields.array("agents") else {
        return Vec::new();
    };
    let mut agents = Vec::new();
    for (place, value) in array.iter().take(AGENTS).enumerate() {
        let path = format!("agents[{place}]");
        let Some(map) = value.as_object() else {
            fields.wrong(&path, "must be an object with a name");
            continue;
        };
        let mut agent = Fields::inside(map, &path);
        if agent.value("name").is_none() {
            agent.missing("name");
        }
        let name = agent.text("name", 1..=200).map(str::to_owned);
        let role = agent.text("role", 0..=200).filter(|role| !role.is_empty()).map(str::to_owned);
        fields.absorb(agent);
        if let Some(name) = name {
            agents.push((name, role));
        }
    }
    agents
}

#[cfg(test)]
mod tests;
