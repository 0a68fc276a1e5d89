//! The record of a gateway's main agent: at most one a gateway, under a name that belongs to no other gateway's agent.

use diesel::prelude::*;
use serde_json::{Map, Value};

use super::row::Changes;
use super::{by_name, insert, update_row};
use crate::error::StoreError;
use crate::records::{AgentChange, AgentRecord, AgentSource, AgentStatus, MainAgent, NewAgent};
use crate::schema::agents;
use gatewarden_core::gateway_record::GatewayRecord;
use gatewarden_core::ids::GatewayId;

/// What a main agent is for, unless it says otherwise.
const ROLE: &str = "gateway main";
/// The part of a configuration that routing reads and operators set here.
const OURS: &str = "gateway_config";

/// Makes or refreshes the record. An agent of this gateway, or of none, that has the agent's name becomes the record; where
/// the name belongs to somebody else's agent, the record is named after agent and gateway.
pub(crate) fn record_main(
    connection: &mut SqliteConnection,
    gateway: &GatewayRecord,
    main: &MainAgent,
    now_s: i64,
) -> Result<AgentRecord, StoreError> {
    let short_uuid: String = gateway.uuid.chars().take(8).collect();
    let own_name = format!("{}-{short_uuid}", main.agent_id);
    let mut stored = None;
    let mut free_name = None;
    for name in [&main.agent_id, &own_name] {
        match by_name(connection, name)? {
            None => free_name = free_name.or(Some(name)),
            Some(found) if may_be_main(&found, gateway.id) => {
                stored = Some(found);
                break;
            }
            Some(_) => {}
        }
    }
    // One main agent a gateway: whichever it was before.
    let others = agents::table
        .filter(agents::gateway_id.eq(gateway.id.0))
        .filter(agents::is_gateway_main.eq(true))
        .filter(agents::id.ne(stored.as_ref().map_or(0, |stored| stored.id)));
    diesel::update(others)
        .set((agents::is_gateway_main.eq(false), agents::updated_at.eq(now_s)))
        .execute(connection)?;
    let Some(stored) = stored else {
        let new = NewAgent {
            name: free_name.unwrap_or(&own_name).clone(),
            role: Some(main.role.clone().unwrap_or_else(|| ROLE.to_owned())),
            status: AgentStatus::Offline,
            gateway_id: Some(gateway.id),
            source: AgentSource::Gateway,
            config: main.config.clone(),
            is_gateway_main: true,
        };
        return insert(connection, &new, now_s);
    };
    let config = merged(&stored.config, &main.config);
    let change = AgentChange {
        role: main.role.clone().filter(|role| *role != stored.role),
        gateway_id: (stored.gateway_id != Some(gateway.id)).then_some(Some(gateway.id)),
        config: (config != stored.config).then_some(config),
        is_gateway_main: (!stored.is_gateway_main).then_some(true),
        ..AgentChange::default()
    };
    if change.is_empty() {
        return Ok(stored);
    }
    Ok(update_row(connection, stored.id, &Changes::of(&change, now_s))?.unwrap_or(stored))
}

fn may_be_main(found: &AgentRecord, gateway: GatewayId) -> bool {
    match found.gateway_id {
        Some(owner) => owner == gateway,
        None => found.source != AgentSource::Cli,
    }
}

fn merged(ours: &Value, theirs: &Value) -> Value {
    let mut merged = theirs.as_object().cloned().unwrap_or_else(Map::new);
    if let Some(decided_here) = ours.get(OURS) {
        merged.insert(OURS.to_owned(), decided_here.clone());
    }
    Value::Object(merged)
}

/// The record goes with its gateway: a main agent of no gateway means nothing.
pub(crate) fn delete_main(connection: &mut SqliteConnection, gateway: GatewayId) -> Result<(), StoreError> {
    let mains = agents::table.filter(agents::gateway_id.eq(gateway.0)).filter(agents::is_gateway_main.eq(true));
    diesel::delete(mains).execute(connection)?;
    Ok(())
}
