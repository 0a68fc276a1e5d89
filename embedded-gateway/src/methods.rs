//! The methods of the protocol: one table, one file a family.

mod agents;
mod configuration;
mod devices;
mod information;
mod liveness;
pub(crate) mod messages;

mod sessions;
mod spawning;

pub(crate) use information::health_payload;

use crate::call::Call;
use crate::call::{CallError, Outcome};
use crate::caller::Scope;
use crate::machine::GatewayMachine;
use crate::turn::Turn;

pub(crate) use messages::send_delivery;

/// One method: its name, what it asks of the caller, and what it does.
pub(crate) struct Method {
    pub name: &'static str,
    /// What the caller must hold.
    pub scope: Scope,
    pub run: fn(&mut GatewayMachine, &Call, &mut Turn<'_>) -> Outcome,
}

/// The families. Each file has its own table, in the order in which the hello names them.
const FAMILIES: &[&[Method]] = &[
    information::METHODS,
    liveness::METHODS,
    configuration::METHODS,
    sessions::METHODS,
    agents::METHODS,
    devices::METHODS,
    messages::METHODS,
    spawning::METHODS,
];

pub(crate) const EVENTS: &[&str] = &[
    "connect.challenge",
    "tick",
    "shutdown",
    // machine/presence.rs
    "presence",
    // auth/admit.rs, methods/devices.rs
    "device.pair.requested",
    "device.pair.resolved",
    // sessions/announce.rs
    "sessions.changed",
    "session.message",
    "session.created",
    "session.updated",
    "session.pruned",
    // methods/agents.rs
    "config.changed",
    // runs/events.rs
    "agent",
    "chat",
    "agent.text",
    "agent.thinking",
    "agent.tool.start",
    "agent.tool.result",
    "agent.done",
    "agent.status",
    "spawn_result",
    "typing",
    "message",
    "log",
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.iter()).map(|method| method.name)
}

/// Carries out a call: unknown methods and missing scopes are answered as real gateways answer them. (One who isn't admin
/// learns of an unknown method only that a scope is missing.)
pub(crate) fn dispatch(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let found = FAMILIES.iter().flat_map(|family| family.iter()).find(|method| method.name == call.method);
    let Some(method) = found else {
        return Err(if call.caller.holds(Scope::Admin) {
            CallError::unknown_method(&call.method)
        } else {
            CallError::missing_scope(Scope::Admin)
        });
    };
    if !call.caller.holds(method.scope) {
        return Err(CallError::missing_scope(method.scope));
    }
    (method.run)(machine, call, turn)
}
