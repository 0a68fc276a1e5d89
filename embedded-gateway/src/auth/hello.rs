//! What a client is told when it is let in.

use gatewarden_protocol::Secret;
use serde_json::{Map, Value, json};

use crate::COMPATIBLE_VERSION;
use crate::caller::{Caller, Scope};
use crate::machine::GatewayMachine;
use crate::methods;
use crate::turn::Turn;

#[derive(Debug)]
pub(super) struct Granted<'a> {
    pub(super) caller: &'a Caller,
    /// `auth.method`: `token`, `password`, `none` or `device-token`.
    pub(super) method: &'static str,
    /// The device token that it gets, and when that was issued (wall ms).
    pub(super) device_token: Option<(Secret, i64)>,
    /// The scopes that the device was approved for, where it was.
    pub(super) approved: Option<Vec<String>>,
}

/// `hello-ok`, as the negotiated protocol has it.
pub(super) fn release(machine: &GatewayMachine, granted: &Granted<'_>, turn: &Turn<'_>) -> Value {
    let caller = granted.caller;
    let mut hello = Map::new();
    hello.insert("type".into(), "hello-ok".into());
    hello.insert("protocol".into(), caller.protocol.into());
    hello.insert("server".into(), server(machine, caller));
    hello.insert("features".into(), features(caller));
    hello.insert("snapshot".into(), snapshot(machine, caller, turn));
    if let Some(auth) = auth(granted) {
        hello.insert("auth".into(), auth);
    }
    hello.insert("policy".into(), policy(machine));
    Value::Object(hello)
}

/// The reply as document 002 has it: flat features, the token beside them. `server`, `policy` and the scopes stand where
/// other clients look for them.
pub(super) fn documented(machine: &GatewayMachine, granted: &Granted<'_>, turn: &Turn<'_>) -> Value {
    let caller = granted.caller;
    let mut hello = json!({
        "protocol": caller.protocol,
        "sessionId": format!("gateway-session-{}", caller.connection.0),
        "features": methods::names().collect::<Vec<_>>(),
        "server": server(machine, caller),
        "role": "operator",
        "scopes": caller.scopes,
        "uptimeMs": machine.uptime_ms(turn.now),
        "policy": policy(machine),
    });
    if let (Some((token, _)), Some(fields)) = (&granted.device_token, hello.as_object_mut()) {
        fields.insert("deviceToken".into(), token.expose().into());
    }
    hello
}

/// The reply to `auth` of the `rpc` dialect (document 004 shows none).
pub(super) fn rpc(machine: &GatewayMachine, granted: &Granted<'_>, turn: &Turn<'_>) -> Value {
    let caller = granted.caller;
    json!({
        "authenticated": true,
        "version": COMPATIBLE_VERSION,
        "sessionId": format!("gateway-session-{}", caller.connection.0),
        "uptimeMs": machine.uptime_ms(turn.now),
        "role": "operator",
        "scopes": caller.scopes,
        "methods": methods::names().collect::<Vec<_>>(),
        "events": methods::EVENTS,
        "policy": policy(machine),
    })
}

fn server(machine: &GatewayMachine, caller: &Caller) -> Value {
    let connection = format!("{}-{}", machine.boot_id, caller.connection.0);
    if caller.protocol >= 4 {
        json!({"version": COMPATIBLE_VERSION, "bootId": machine.boot_id, "connId": connection})
    } else {
        json!({"version": COMPATIBLE_VERSION, "connId": connection})
    }
}

fn features(caller: &Caller) -> Value {
    let methods: Vec<&str> = methods::names().collect();
    let mut features = json!({"methods": methods, "events": methods::EVENTS});
    if let (true, Some(fields)) = (caller.protocol >= 4, features.as_object_mut()) {
        fields.insert("capabilities".into(), json!([]));
    }
    features
}

fn snapshot(machine: &GatewayMachine, caller: &Caller, turn: &Turn<'_>) -> Value {
    let default_agent = machine.agents.default_id();
    let mut snapshot = json!({
        "presence": machine.presence_rows(turn.now),
        "health": methods::health_payload(machine, caller, turn),
        "stateVersion": {"presence": machine.presence.version, "health": 0},
        "uptimeMs": machine.uptime_ms(turn.now),
        "sessionDefaults": {
            "defaultAgentId": default_agent,
            "mainKey": "main",
            "mainSessionKey": format!("agent:{default_agent}:main"),
            "scope": "per-sender",
        },
    });
    let Some(fields) = snapshot.as_object_mut() else { return snapshot };
    if caller.protocol >= 4 {
        fields.insert("suspension".into(), json!({"phase": "accepting"}));
    }
    // Where things lie on the host is for administrators.
    if caller.holds(Scope::Admin) {
        if let Some(file) = &machine.config.file {
            fields.insert("configPath".into(), file.display().to_string().into());
        }
        fields.insert("stateDir".into(), machine.config.state_dir.display().to_string().into());
        fields.insert("authMode".into(), machine.config.auth.as_str().into());
    }
    snapshot
}

/// Protocol 4 always tells; protocol 3 only with a device token, and then the scopes of the token.
fn auth(granted: &Granted<'_>) -> Option<Value> {
    let caller = granted.caller;
    let mut auth = if caller.protocol >= 4 {
        json!({"method": granted.method, "role": "operator", "scopes": caller.scopes})
    } else {
        granted.device_token.as_ref()?;
        json!({"role": "operator", "scopes": granted.approved.as_ref().unwrap_or(&caller.scopes)})
    };
    if let (Some((token, issued_at_ms)), Some(fields)) = (&granted.device_token, auth.as_object_mut()) {
        fields.insert("deviceToken".into(), token.expose().into());
        fields.insert("issuedAtMs".into(), (*issued_at_ms).into());
    }
    Some(auth)
}

fn policy(machine: &GatewayMachine) -> Value {
    let limits = &machine.config.limits;
    json!({
        "maxPayload": limits.max_payload,
        "maxBufferedBytes": limits.max_buffered,
        "tickIntervalMs": u64::try_from(limits.tick.as_millis()).unwrap_or(u64::MAX),
    })
}
