//! A gateway's own list of agents against the stored ones.
//!
//! An agent is matched by its name, and belongs to whom it belonged before:
//!
//! | the stored agent of that name | what happens |
//! | --- | --- |
//! | there is none | created, source `sync` |
//! | of this gateway | updated where role or configuration differ |
//! | of no gateway, not of a CLI tool | joins this gateway, and is updated |
//! | of another gateway, or a CLI tool's | left alone, counted as skipped |
//!
//! The configuration becomes the gateway's, except that what an operator has decided here stays: `gateway_config` always,
//! and of an agent that was made by hand every key that the gateway's doesn't name. Agents that the list lacks stay as
//! they are: a gateway that lost its configuration must not empty ours.

use std::collections::HashSet;

use diesel::prelude::*;
use serde_json::{Map, Value};

use super::{by_name, insert, row, update_row};
use crate::error::StoreError;
use crate::records::{AgentChange, AgentRecord, AgentSource, AgentStatus, NewAgent, SyncStats, SyncedAgent};
use gatewarden_core::ids::GatewayId;

/// Agents of one list that are looked at.
const MOST_SYNCED: usize = 1_000;
/// Longest name in characters, as in the API.
const LONGEST_NAME: usize = 200;
/// The part of a configuration that routing reads and operators set here.
const OURS: &str = "gateway_config";

pub(crate) fn sync(
    connection: &mut SqliteConnection,
    gateway: GatewayId,
    listed: &[SyncedAgent],
    now_s: i64,
) -> Result<SyncStats, StoreError> {
    super::require_gateway(connection, gateway)?;
    let mut stats = SyncStats { skipped: listed.len().saturating_sub(MOST_SYNCED), ..SyncStats::default() };
    let mut seen = HashSet::new();
    for agent in listed.iter().take(MOST_SYNCED) {
        if agent.name.trim().is_empty() || agent.name.chars().count() > LONGEST_NAME || !seen.insert(&agent.name) {
            stats.skipped += 1;
            continue;
        }
        match by_name(connection, &agent.name)? {
            None => {
                insert(connection, &new(gateway, agent), now_s)?;
                stats.created += 1;
            }
            Some(stored) if !may_sync(&stored, gateway) => {
                stats.skipped += 1;
                continue;
            }
            Some(stored) => {
                let change = difference(&stored, gateway, agent);
                if !change.is_empty() {
                    update_row(connection, stored.id, &row::Changes::of(&change, now_s))?;
                    stats.updated += 1;
                }
            }
        }
        stats.synced += 1;
    }
    Ok(stats)
}

fn new(gateway: GatewayId, agent: &SyncedAgent) -> NewAgent {
    NewAgent {
        name: agent.name.clone(),
        role: agent.role.clone(),
        status: AgentStatus::Offline,
        gateway_id: Some(gateway),
        source: AgentSource::Sync,
        config: agent.config.clone(),
        is_gateway_main: false,
    }
}

fn may_sync(stored: &AgentRecord, gateway: GatewayId) -> bool {
    match stored.gateway_id {
        Some(owner) => owner == gateway,
        None => stored.source != AgentSource::Cli,
    }
}

fn difference(stored: &AgentRecord, gateway: GatewayId, listed: &SyncedAgent) -> AgentChange {
    // A gateway that names no role leaves the one that was set here.
    let role = listed.role.as_deref().filter(|role| !role.is_empty() && *role != stored.role);
    let config = merged(stored, &listed.config);
    AgentChange {
        role: role.map(str::to_owned),
        gateway_id: (stored.gateway_id != Some(gateway)).then_some(Some(gateway)),
        config: (config != stored.config).then_some(config),
        ..AgentChange::default()
    }
}

fn merged(stored: &AgentRecord, listed: &Value) -> Value {
    let empty = Map::new();
    let ours = stored.config.as_object().unwrap_or(&empty);
    let theirs = listed.as_object().unwrap_or(&empty);
    let mut merged = match stored.source {
        AgentSource::Manual => ours.clone(),
        AgentSource::Gateway | AgentSource::Cli | AgentSource::Sync => Map::new(),
    };
    merged.extend(theirs.clone());
    if let Some(decided_here) = ours.get(OURS) {
        merged.insert(OURS.to_owned(), decided_here.clone());
    }
    Value::Object(merged)
}
