//! What a client is told when it is let in.

use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use crate::COMPATIBLE_VERSION;
use crate::caller::{Caller, Role, Scope};
use crate::machine::GatewayMachine;
use crate::methods;
use crate::payload::{joined, joined_if, without_nulls};
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
    without_nulls(json!({
        "type": "hello-ok",
        "protocol": caller.protocol,
        "server": server(machine, caller),
        "features": features(caller),
        "snapshot": snapshot(machine, caller, turn),
        "auth": auth(granted),
        "policy": policy(machine),
    }))
}

/// The reply as document 002 has it: flat features, the token beside them. `server`, `policy` and the scopes stand where
/// other clients look for them.
pub(super) fn documented(machine: &GatewayMachine, granted: &Granted<'_>, turn: &Turn<'_>) -> Value {
    let caller = granted.caller;
    without_nulls(json!({
        "protocol": caller.protocol,
        "sessionId": format!("gateway-session-{}", caller.connection.0),
        "features": methods::names().chain(["cron", "logs"]).collect::<Vec<_>>(),
        "server": server(machine, caller),
        "role": "operator",
        "scopes": caller.scopes,
        "uptimeMs": machine.uptime_ms(turn.now),
        "policy": policy(machine),
        "deviceToken": granted.device_token.as_ref().map(|(token, _)| token.expose()),
    }))
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
    let server = json!({"version": COMPATIBLE_VERSION, "connId": connection});
    joined_if(server, caller.protocol >= 4, || json!({"bootId": machine.boot_id}))
}

fn features(caller: &Caller) -> Value {
    let features = json!({"methods": methods::names().collect::<Vec<_>>(), "events": methods::EVENTS});
    joined_if(features, caller.protocol >= 4, || json!({"capabilities": []}))
}

fn snapshot(machine: &GatewayMachine, caller: &Caller, turn: &Turn<'_>) -> Value {
    let (config, default_agent) = (&machine.config, machine.agents.default_id());
    let snapshot = json!({
        // Who else is there is an operator's to know.
        "presence": if caller.role == Role::Node { Vec::new() } else { machine.presence_rows(turn.now) },
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
    let snapshot = joined_if(snapshot, caller.protocol >= 4, || json!({"suspension": {"phase": "accepting"}}));
    // Where things lie on the host is for administrators.
    joined_if(snapshot, caller.holds(Scope::Admin), || {
        without_nulls(json!({
            "configPath": config.file.as_ref().map(|file| file.display().to_string()),
            "stateDir": config.state_dir.display().to_string(),
            "authMode": config.auth.as_str(),
        }))
    })
}

/// Protocol 4 always tells; protocol 3 only with a device token, and then the scopes of the token.
fn auth(granted: &Granted<'_>) -> Option<Value> {
    let caller = granted.caller;
    let auth = if caller.protocol >= 4 {
        json!({"method": granted.method, "role": caller.role, "scopes": caller.scopes})
    } else {
        granted.device_token.as_ref()?;
        json!({"role": caller.role, "scopes": granted.approved.as_ref().unwrap_or(&caller.scopes)})
    };
    Some(match &granted.device_token {
        Some((token, issued_at_ms)) => joined(auth, json!({"deviceToken": token.expose(), "issuedAtMs": issued_at_ms})),
        None => auth,
    })
}

fn policy(machine: &GatewayMachine) -> Value {
    let limits = &machine.config.limits;
    json!({
        "maxPayload": limits.max_payload,
        "maxBufferedBytes": limits.max_buffered,
        "tickIntervalMs": u64::try_from(limits.tick.as_millis()).unwrap_or(u64::MAX),
    })
}
