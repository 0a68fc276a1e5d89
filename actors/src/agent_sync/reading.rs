//! A gateway's own list of agents: from `agents.list`, else out of its configuration (`config.get`, `GET /config`).

use std::time::Duration;

use actix::prelude::*;
use gatewarden_protocol::{AgentRow, read_agents, read_config_agents};
use serde_json::{Map, Value, json};

use crate::error::{ErrorCode, Failure};
use crate::ids::GatewayId;
use crate::registry::messages::CallGateway;
use crate::store::records::SyncedAgent;

/// What the registry may take beyond the deadline of a call.
const GRACE: Duration = Duration::from_secs(1);

/// Asks the gateway for its agents.
pub(super) async fn read_list(
    registry: &Recipient<CallGateway>,
    gateway: GatewayId,
    name: &str,
    timeout: Duration,
) -> Result<Vec<SyncedAgent>, Failure> {
    let listed = match call(registry, gateway, "agents.list", timeout).await {
        Ok(payload) => read_agents(&payload),
        Err(failure) if failure.code == ErrorCode::NotSupportedByGateway => None,
        Err(failure) => return Err(failure),
    };
    let rows = match listed {
        Some(rows) => rows,
        None => {
            let payload =
                call(registry, gateway, "config.get", timeout).await.map_err(|failure| neither(name, failure))?;
            read_config_agents(&payload).ok_or_else(|| unreadable(name))?
        }
    };
    Ok(rows.into_iter().map(synced).collect())
}

async fn call(
    registry: &Recipient<CallGateway>,
    gateway: GatewayId,
    method: &str,
    timeout: Duration,
) -> Result<Value, Failure> {
    let message = CallGateway { target: Some(gateway), method: method.to_owned(), params: json!({}), timeout };
    match tokio::time::timeout(timeout + GRACE, registry.send(message)).await {
        Ok(Ok(answer)) => answer.map(|(_, payload)| payload.into_inner()),
        Ok(Err(_)) | Err(_) => Err(Failure::unavailable("registry")),
    }
}

fn neither(name: &str, failure: Failure) -> Failure {
    if failure.code != ErrorCode::NotSupportedByGateway {
        return failure;
    }
    Failure::new(
        ErrorCode::NotSupportedByGateway,
        format!("Gateway \"{name}\" offers neither agents.list nor its configuration, so its agents cannot be read"),
    )
    .with_help("Register its agents with POST /api/agents, or update the gateway.")
}

fn unreadable(name: &str) -> Failure {
    Failure::new(
        ErrorCode::GatewayRefused,
        format!("Gateway \"{name}\" answered with something that is no list of agents and no configuration"),
    )
    .with_help("Look at its agents section; nothing was changed here.")
}

/// The id is the name here: it is what sessions and spawns call the agent, and it doesn't change with the agent's mood.
/// Only what is known to be no secret is taken over.
fn synced(row: AgentRow) -> SyncedAgent {
    let mut config = Map::new();
    config.insert("id".to_owned(), Value::from(row.id.clone()));
    for (key, value) in [("name", row.name), ("model", row.model), ("workspace", row.workspace)] {
        if let Some(value) = value {
            config.insert(key.to_owned(), Value::from(value));
        }
    }
    if row.is_default {
        config.insert("default".to_owned(), Value::from(true));
    }
    SyncedAgent { name: row.id, role: row.role, config: Value::Object(config) }
}
