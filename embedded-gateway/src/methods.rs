//! The methods of the protocol: one table, one file a family.

mod agents;
mod approvals;
mod channels;
mod configuration;
mod cron;
mod devices;
mod information;
mod messages;
mod nodes;
mod sessions;
mod spawning;

use serde_json::Value;

use crate::call::{Answer, Call, CallError, Outcome};
use crate::caller::{Role, Scope};
use crate::effect::RunId;
use crate::machine::GatewayMachine;
use crate::sessions::SessionKey;
use crate::turn::Turn;

pub(crate) use information::health_payload;
pub(crate) use messages::{AgentMessage, deliver};

/// When a client may look whether the gateway is back.
const STOPPING_RETRY_MS: u64 = 1_000;

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
    configuration::METHODS,
    sessions::METHODS,
    agents::METHODS,
    devices::METHODS,
    nodes::METHODS,
    nodes::invoking::METHODS,
    nodes::of_nodes::METHODS,
    messages::METHODS,
    spawning::METHODS,
    approvals::METHODS,
    channels::METHODS,
    cron::METHODS,
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
    // nodes/pairing.rs
    "node.pair.requested",
    "node.pair.resolved",
    // methods/nodes/of_nodes.rs
    "node.hostStats",
    // nodes/invokes.rs; to nodes alone
    "node.invoke.request",
    "node.invoke.cancel",
    // sessions/announce.rs
    "sessions.changed",
    "session.message",
    "session.created",
    "session.updated",
    "session.pruned",
    // runs/approvals.rs
    "exec.approval.requested",
    "exec.approval.resolved",
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
    // cron.rs
    "cron",
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.iter()).map(|method| method.name)
}

impl GatewayMachine {
    /// A caller asks for something. The answer is among the effects, at once or in a later turn.
    pub(crate) fn call(&mut self, call: &Call, turn: &mut Turn<'_>) {
        match self.check_running().and_then(|()| dispatch(self, call, turn)) {
            Ok(Answer::Payload(payload)) => turn.respond(&call.reply_to(), Ok(payload)),
            Ok(Answer::Later) => {}
            Err(error) => turn.respond(&call.reply_to(), Err(error)),
        }
        self.settle_jobs(turn);
    }

    /// A webhook was called by somebody who may. Each has a session of its own with its agent. Sent again under the same name of
    /// its delivery, it starts no second run.
    pub(crate) fn triggered(
        &mut self,
        webhook: &str,
        agent_id: &str,
        text: String,
        delivery: Option<String>,
        turn: &mut Turn<'_>,
    ) -> Result<Value, CallError> {
        self.check_running()?;
        let session = SessionKey::read(&format!("agent:{agent_id}:hook:{webhook}"), agent_id)?;
        let delivery = delivery.map(|delivery| RunId(format!("hook:{webhook}:{delivery}")));
        messages::send_unasked(self, agent_id, session, text, &format!("webhook:{webhook}"), delivery, turn)
    }

    fn check_running(&self) -> Result<(), CallError> {
        if self.is_stopping() {
            return Err(CallError::unavailable("the gateway is stopping").retry_after(STOPPING_RETRY_MS));
        }
        Ok(())
    }
}

/// Carries out a call. An unknown method is called so whatever the caller holds: the `openclaw` command asks for no more than a
/// method needs, and would say of those that this gateway lacks that a scope is missing.
fn dispatch(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let found = FAMILIES.iter().flat_map(|family| family.iter()).find(|method| method.name == call.method);
    let method = found.ok_or_else(|| CallError::unknown_method(&call.method))?;
    if (method.scope == Scope::Node) != (call.caller.role == Role::Node) {
        return Err(CallError::invalid(format!("unauthorized role: {}", call.caller.role.as_str())));
    }
    if !call.caller.holds(method.scope) {
        return Err(CallError::missing_scope(method.scope));
    }
    (method.run)(machine, call, turn)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::caller::caller_with;
    use crate::tests::fixture::{Fixture, config};

    #[test]
    fn an_unknown_method_is_called_so_whatever_the_caller_holds() {
        let mut gateway = Fixture::new(config());
        for scopes in [&[] as &[&str], &["operator.read"], &["operator.admin"]] {
            let caller = Arc::new(caller_with(scopes));
            let error = gateway.call(&caller, "skills.status", json!({})).0.unwrap_err();
            assert_eq!(error.message, "unknown method: skills.status", "{scopes:?}");
        }
    }

    #[test]
    fn only_an_admin_changes_the_configuration() {
        let mut gateway = Fixture::new(config());
        let writer = Arc::new(caller_with(&["operator.read", "operator.write"]));
        for method in ["config.set", "config.patch", "config.apply"] {
            let error = gateway.call(&writer, method, json!({"raw": "{}"})).0.unwrap_err();
            assert_eq!(error.message, "missing scope: operator.admin", "{method}");
        }
    }
}
