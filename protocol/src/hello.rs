//! What a gateway says of itself when it lets us in. Only what is used is kept: a hello of protocol 4 is some ten
//! thousand characters, and there may be ten thousand gateways.

use serde_json::Value;

use crate::dialect::Dialect;
use crate::fields;
use crate::names::{Event, Method, NameSet};
use crate::secret::Secret;
use crate::version::CalendarVersion;

mod health;

pub use health::HealthSnapshot;

/// Which kind of gateway answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HelloForm {
    /// A real release: `hello-ok` with a list of methods.
    Release,
    /// As document 002 has it: flat features, `result.deviceToken`.
    Documented,
    /// The `rpc` dialect's reply to `auth`.
    Rpc,
}

/// The answer to a successful handshake.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The dialect that was spoken.
    pub dialect: Dialect,
    /// The kind of gateway.
    pub form: HelloForm,
    /// Negotiated protocol version.
    pub protocol: Option<u32>,
    /// Server version. Old releases say `dev`; then the update notice's `currentVersion`, else none.
    pub version: Option<String>,
    /// The methods that we know and the gateway lists.
    pub methods: NameSet<Method>,
    /// The events that we know and the gateway lists.
    pub events: NameSet<Event>,
    /// Whether the gateway lists its methods at all; where it doesn't, a method not listed may still exist.
    pub lists_methods: bool,
    /// Age of the gateway's process in ms.
    pub uptime_ms: Option<u64>,
    /// Scopes told. On protocol 3 they are those of the stored token, not of this connection.
    pub scopes: Option<Vec<String>>,
    /// Whether `scopes` are those of this connection.
    pub scopes_are_effective: bool,
    /// A device token, if one came.
    pub device_token: Option<IssuedToken>,
    /// The health document within the snapshot.
    pub health: Option<HealthSnapshot>,
}

/// A device token as issued.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuedToken {
    /// The token.
    pub token: Secret,
    /// The role that it is for.
    pub role: String,
    /// The scopes that it carries, where told.
    pub scopes: Vec<String>,
    /// Wall ms of the gateway's clock, where told.
    pub issued_at_ms: Option<i64>,
}

impl Hello {
    /// Reads the reply to a `connect`. Anything that says success is a hello: what is missing stays none.
    pub fn read_connect(payload: &Value) -> Self {
        let documented = payload.get("features").is_some_and(Value::is_array)
            || payload.get("deviceToken").is_some()
            || (payload.get("type").is_none() && payload.get("server").is_none());
        if documented { read_documented(payload) } else { read_release(payload) }
    }

    /// Reads the reply to an `auth` or a `gateway.info` of the `rpc` dialect.
    pub fn read_rpc(payload: &Value) -> Self {
        let server = payload.get("server").unwrap_or(payload);
        Self {
            version: version(&[
                fields::shown(server, &["version", "gatewayVersion", "serverVersion"]),
                fields::shown(payload, &["version"]),
            ]),
            uptime_ms: fields::whole(payload, &["uptimeMs"])
                .or_else(|| fields::whole(payload, &["uptime"]).map(|seconds| seconds.saturating_mul(1_000))),
            scopes: fields::names(payload, "scopes"),
            scopes_are_effective: payload.get("scopes").is_some(),
            methods: fields::names(payload, "methods").map(NameSet::of).unwrap_or_default(),
            ..Self::empty(Dialect::Rpc, HelloForm::Rpc)
        }
    }

    /// The version, where it is one that can be compared.
    pub fn calendar_version(&self) -> Option<CalendarVersion> {
        self.version.as_deref().and_then(CalendarVersion::known)
    }

    /// The first scope that work needs and the connection hasn't, where the gateway says which it has.
    pub fn missing_scope(&self) -> Option<String> {
        let granted = self.scopes.as_ref().filter(|_| self.scopes_are_effective)?;
        let has = |wanted: &str| granted.iter().any(|scope| scope == wanted);
        if has("operator.admin") {
            return None;
        }
        ["operator.read", "operator.write", "operator.admin"].into_iter().find(|wanted| !has(wanted)).map(str::to_owned)
    }

    fn empty(dialect: Dialect, form: HelloForm) -> Self {
        Self {
            dialect,
            form,
            protocol: None,
            version: None,
            methods: NameSet::default(),
            events: NameSet::default(),
            lists_methods: false,
            uptime_ms: None,
            scopes: None,
            scopes_are_effective: false,
            device_token: None,
            health: None,
        }
    }
}

fn read_release(payload: &Value) -> Hello {
    let null = Value::Null;
    let part = |field: &str| payload.get(field).unwrap_or(&null);
    let (server, features, snapshot, auth) = (part("server"), part("features"), part("snapshot"), part("auth"));
    let protocol = fields::count(payload, &["protocol"]);
    let role = fields::name(auth, &["role"]);
    let scopes = fields::names(auth, "scopes");
    let health = snapshot.get("health").and_then(HealthSnapshot::read);
    let update = snapshot.get("updateAvailable").unwrap_or(&null);
    Hello {
        protocol,
        version: version(&[fields::shown(server, &["version"]), fields::shown(update, &["currentVersion"])]),
        methods: fields::names(features, "methods").map(NameSet::of).unwrap_or_default(),
        events: fields::names(features, "events").map(NameSet::of).unwrap_or_default(),
        lists_methods: features.get("methods").is_some_and(Value::is_array),
        uptime_ms: fields::whole(snapshot, &["uptimeMs"]),
        device_token: token(auth, role.as_deref(), scopes.as_deref()),
        scopes,
        scopes_are_effective: protocol.is_some_and(|protocol| protocol >= 4),
        health,
        ..Hello::empty(Dialect::Openclaw, HelloForm::Release)
    }
}

fn read_documented(payload: &Value) -> Hello {
    let null = Value::Null;
    let auth = payload.get("auth").unwrap_or(&null);
    let role = fields::name(payload, &["role"]).or_else(|| fields::name(auth, &["role"]));
    let scopes = fields::names(payload, "scopes").or_else(|| fields::names(auth, "scopes"));
    let device_token =
        token(payload, role.as_deref(), scopes.as_deref()).or_else(|| token(auth, role.as_deref(), scopes.as_deref()));
    let server = payload.get("server").unwrap_or(&null);
    Hello {
        protocol: fields::count(payload, &["protocol"]),
        version: version(&[fields::shown(server, &["version"]), fields::shown(payload, &["version", "serverVersion"])]),
        methods: fields::names(payload, "features").map(NameSet::of).unwrap_or_default(),
        uptime_ms: fields::whole(payload, &["uptimeMs"]),
        scopes_are_effective: scopes.is_some(),
        scopes,
        device_token,
        ..Hello::empty(Dialect::Openclaw, HelloForm::Documented)
    }
}

/// The first that names a version; `dev` and `unknown` name none.
fn version(candidates: &[Option<String>]) -> Option<String> {
    candidates.iter().flatten().find(|text| !matches!(text.as_str(), "dev" | "unknown")).cloned()
}

fn token(holder: &Value, role: Option<&str>, scopes: Option<&[String]>) -> Option<IssuedToken> {
    let token = holder.get("deviceToken")?.as_str().filter(|token| (1..=4_096).contains(&token.len()))?;
    Some(IssuedToken {
        token: Secret::new(token),
        role: role.unwrap_or("operator").to_owned(),
        scopes: scopes.map(<[String]>::to_vec).unwrap_or_default(),
        issued_at_ms: fields::time_ms(holder, &["issuedAtMs"]),
    })
}

#[cfg(test)]
mod tests;
