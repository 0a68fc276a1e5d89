//! CLI tools that report in over REST, without a gateway (document 001). An agent has at most one connection that is open: it is
//! online with it and offline without.

use std::time::Duration;

use diesel::prelude::*;
use gatewarden_core::error::Failure;
use serde_json::Value;

use super::agents::{self, AgentChange, AgentRecord, AgentStatus};
use super::columns::{Json, stored_enum};
use super::{delete_some, json_text, not_found};
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle, span_ms, whole};
use crate::schema::{agents as agents_table, direct_connections};

/// Connections in one answer.
const MAX_LISTED: usize = 10_000;
/// Largest metadata in bytes of JSON.
const LARGEST_METADATA: usize = 16 * 1024;

stored_enum! {
    /// Whether a tool is there.
    pub enum ConnectionStatus {
        /// It reports in.
        Connected = "connected",
        /// It said goodbye, was replaced, or has not reported in for too long.
        Disconnected = "disconnected",
    } else Disconnected
}

stored_enum! {
    /// Why a connection ended.
    pub enum EndReason {
        /// The tool, or an operator, ended it.
        Closed = "closed",
        /// Another connection of the same agent took its place.
        Replaced = "replaced",
        /// No heartbeat for too long. The only end that a heartbeat undoes.
        Silent = "silent",
    } else Closed
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewConnection {
    /// The agent that it works as; made where it is unknown.
    pub agent_name: String,
    /// The agent's role; changes only an agent that a tool made known.
    pub agent_role: Option<String>,
    /// Such as `claude-code` or `codex`.
    pub tool_name: String,
    pub tool_version: Option<String>,
    /// A JSON object in its words; one above 16 KiB is left out, and says so.
    pub metadata: Option<Value>,
}

/// A stored connection, with what document 001 shows of its agent.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = direct_connections)]
pub struct ConnectionRecord {
    pub id: i64,
    /// The agent that the tool works as.
    pub agent_id: i64,
    pub tool_name: String,
    pub tool_version: Option<String>,
    /// What the tool names the connection by: `conn-` and 32 random hex digits.
    pub connection_id: String,
    pub status: ConnectionStatus,
    /// Unix seconds of the last heartbeat, at first of the connection itself.
    pub last_heartbeat: i64,
    #[diesel(deserialize_as = Json)]
    pub metadata: Option<Value>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; set exactly where it is disconnected.
    pub disconnected_at: Option<i64>,
    /// Set exactly where it is disconnected.
    pub end_reason: Option<EndReason>,
    #[diesel(select_expression = agents_table::name)]
    pub agent_name: String,
    #[diesel(select_expression = agents_table::status)]
    pub agent_status: AgentStatus,
    #[diesel(select_expression = agents_table::role)]
    pub agent_role: String,
}

impl ConnectionRecord {
    /// Whether a heartbeat over it counts: it is open, or was only given up for silence.
    fn may_beat(&self) -> bool {
        match self.end_reason {
            None | Some(EndReason::Silent) => true,
            Some(EndReason::Closed | EndReason::Replaced) => false,
        }
    }
}

/// A committed new connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub connection: ConnectionRecord,
    pub agent: AgentRecord,
    /// Whether the agent was unknown.
    pub agent_is_new: bool,
    /// The connection of this agent that was open until now.
    pub replaced: Option<ConnectionRecord>,
}

/// How a request to end a connection ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Closed {
    /// It was open and is not any more; its agent is offline.
    Now(ConnectionRecord),
    /// It had ended before; nothing changed.
    Before(ConnectionRecord),
    NotFound,
}

/// A heartbeat of an agent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentHeartbeat {
    /// Over which connection; `None` for the one that is open, if any.
    pub connection_id: Option<String>,
    /// What it is doing. Where it says nothing, an offline agent becomes online and others stay.
    pub status: Option<AgentStatus>,
}

/// A committed heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentHeard {
    pub agent: AgentRecord,
    /// Whether its status was another before.
    pub status_changed: bool,
    /// Over which connection. `None` where it named one that this agent doesn't have (then nothing changed), or named none
    /// and has none open. Where it named one that was closed or replaced, that one, still disconnected (nothing changed).
    pub connection: Option<ConnectionRecord>,
    /// Whether the connection had been given up for silence and is open again.
    pub revived: bool,
}

impl StoreHandle {
    /// How long ended connections are kept: 30 days.
    pub const CONNECTIONS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

    /// Stores the connection of a tool: makes its agent where that is unknown, marks it as online, and ends the connection
    /// that the agent had, all or nothing.
    pub async fn open_connection(&self, new: NewConnection) -> Result<Opened, Failure> {
        self.write("store the tool's connection", move |db| open(db, &new)).await
    }

    /// Ends a connection; its agent goes offline.
    pub async fn close_connection(&self, connection_id: String) -> Result<Closed, Failure> {
        self.write("end the tool's connection", move |db| close(db, &connection_id)).await
    }

    /// Notes a heartbeat of an agent; `None` where there is no such agent. A connection that was given up for silence is
    /// open again; one that was closed or replaced stays as it is, and then the heartbeat says nothing about the agent.
    pub async fn beat_connection(
        &self,
        agent_id: i64,
        heartbeat: AgentHeartbeat,
    ) -> Result<Option<AgentHeard>, Failure> {
        self.write("note the heartbeat", move |db| beat(db, agent_id, &heartbeat)).await
    }

    /// Gives up connections for silence: each (connection id, Unix seconds of the last heartbeat that the caller knows of)
    /// that is open and got no later heartbeat meanwhile. Answers those that it ended; their agents are offline. A later
    /// heartbeat revives such a connection.
    pub async fn close_stale_connections(&self, silent: Vec<(String, i64)>) -> Result<Vec<ConnectionRecord>, Failure> {
        if silent.is_empty() {
            return Ok(Vec::new());
        }
        self.write("give up silent connections", move |db| {
            let mut closed = Vec::new();
            for (connection_id, silent_since_s) in &silent {
                // A heartbeat may have come since the caller looked.
                if find(db, connection_id)?.is_some_and(|found| found.last_heartbeat <= *silent_since_s) {
                    closed.extend(end_with_agent(db, connection_id, EndReason::Silent)?);
                }
            }
            Ok(closed)
        })
        .await
    }

    /// Connections newest first, all or only the open ones: at most `limit`, and 10,000.
    pub async fn list_connections(
        &self,
        open_only: bool,
        limit: Option<usize>,
    ) -> Result<Vec<ConnectionRecord>, Failure> {
        let limit = whole(limit.unwrap_or(MAX_LISTED).clamp(1, MAX_LISTED));
        self.read("list the connections", move |db| {
            let mut query = direct_connections::table
                .inner_join(agents_table::table)
                .select(ConnectionRecord::as_select())
                .order(direct_connections::id.desc())
                .limit(limit)
                .into_boxed();
            if open_only {
                query = query.filter(direct_connections::disconnected_at.is_null());
            }
            Ok(query.load(db.connection)?)
        })
        .await
    }

    /// One connection.
    pub async fn find_connection(&self, connection_id: String) -> Result<Option<ConnectionRecord>, Failure> {
        self.read("look up the connection", move |db| find(db, &connection_id)).await
    }

    /// Forgets connections that ended longer than `keep` ago; how many there were.
    pub async fn thin_connections(&self, now_ms: i64, keep: Duration) -> Result<usize, Failure> {
        let before_s = now_ms.saturating_sub(span_ms(keep)).div_euclid(1000);
        self.write_in_turns("forget old connections", move |db| {
            let old = direct_connections::table.filter(direct_connections::disconnected_at.lt(before_s));
            Ok(delete_some!(db, direct_connections, old))
        })
        .await
    }
}

fn open(db: &mut Db<'_>, new: &NewConnection) -> Result<Opened, StoreError> {
    let (agent, agent_is_new) = agents::upsert_cli(db, &new.agent_name, new.agent_role.as_deref())?;
    let replaced = match open_one_of(db, agent.id)? {
        Some(earlier) => end(db, &earlier.connection_id, EndReason::Replaced)?,
        None => None,
    };
    // What was given up for silence can't come back any more either.
    let silent = direct_connections::table
        .filter(direct_connections::agent_id.eq(agent.id))
        .filter(direct_connections::end_reason.eq(EndReason::Silent));
    diesel::update(silent).set(direct_connections::end_reason.eq(EndReason::Replaced)).execute(db.connection)?;
    let connection_id = format!("conn-{}", uuid::Uuid::new_v4().simple());
    let metadata = new.metadata.as_ref().filter(|metadata| metadata.is_object());
    diesel::insert_into(direct_connections::table)
        .values((
            direct_connections::agent_id.eq(agent.id),
            direct_connections::tool_name.eq(&new.tool_name),
            direct_connections::tool_version.eq(new.tool_version.as_deref()),
            direct_connections::connection_id.eq(&connection_id),
            direct_connections::status.eq(ConnectionStatus::Connected),
            direct_connections::last_heartbeat.eq(db.now_s()),
            direct_connections::metadata.eq(metadata.map(|metadata| json_text(metadata, LARGEST_METADATA))),
            direct_connections::created_at.eq(db.now_s()),
        ))
        .execute(db.connection)?;
    let connection = find(db, &connection_id)?.ok_or_else(not_found)?;
    Ok(Opened { connection, agent, agent_is_new, replaced })
}

fn find(db: &mut Db<'_>, connection_id: &str) -> Result<Option<ConnectionRecord>, StoreError> {
    Ok(direct_connections::table
        .inner_join(agents_table::table)
        .filter(direct_connections::connection_id.eq(connection_id))
        .select(ConnectionRecord::as_select())
        .first(db.connection)
        .optional()?)
}

fn open_one_of(db: &mut Db<'_>, agent_id: i64) -> Result<Option<ConnectionRecord>, StoreError> {
    Ok(direct_connections::table
        .inner_join(agents_table::table)
        .filter(direct_connections::agent_id.eq(agent_id))
        .filter(direct_connections::disconnected_at.is_null())
        .select(ConnectionRecord::as_select())
        .first(db.connection)
        .optional()?)
}

/// Ends an open connection, without a look at its agent; `None` where it wasn't open.
fn end(db: &mut Db<'_>, connection_id: &str, reason: EndReason) -> Result<Option<ConnectionRecord>, StoreError> {
    let open = direct_connections::table
        .filter(direct_connections::connection_id.eq(connection_id))
        .filter(direct_connections::disconnected_at.is_null());
    let ended = diesel::update(open)
        .set((
            direct_connections::status.eq(ConnectionStatus::Disconnected),
            direct_connections::disconnected_at.eq(db.now_s()),
            direct_connections::end_reason.eq(reason),
        ))
        .execute(db.connection)?;
    if ended == 0 { Ok(None) } else { find(db, connection_id) }
}

/// Ends an open connection; its agent, which has no other, goes offline.
fn end_with_agent(
    db: &mut Db<'_>,
    connection_id: &str,
    reason: EndReason,
) -> Result<Option<ConnectionRecord>, StoreError> {
    let Some(ended) = end(db, connection_id, reason)? else { return Ok(None) };
    let offline = AgentChange { status: Some(AgentStatus::Offline), ..AgentChange::default() };
    agents::update(db, ended.agent_id, &offline)?;
    Ok(Some(ConnectionRecord { agent_status: AgentStatus::Offline, ..ended }))
}

fn close(db: &mut Db<'_>, connection_id: &str) -> Result<Closed, StoreError> {
    if let Some(ended) = end_with_agent(db, connection_id, EndReason::Closed)? {
        return Ok(Closed::Now(ended));
    }
    let Some(found) = find(db, connection_id)? else { return Ok(Closed::NotFound) };
    if found.end_reason == Some(EndReason::Silent) {
        // Who says goodbye late means it: no heartbeat brings it back.
        diesel::update(direct_connections::table.find(found.id))
            .set(direct_connections::end_reason.eq(EndReason::Closed))
            .execute(db.connection)?;
    }
    Ok(Closed::Before(found))
}

fn beat(db: &mut Db<'_>, agent_id: i64, heartbeat: &AgentHeartbeat) -> Result<Option<AgentHeard>, StoreError> {
    let Some(before) = agents::by_id(db, agent_id)? else { return Ok(None) };
    let named = match &heartbeat.connection_id {
        Some(connection_id) => find(db, connection_id)?.filter(|found| found.agent_id == agent_id),
        None => open_one_of(db, agent_id)?,
    };
    // Who names a connection that isn't its own, or isn't any more, says nothing about the agent.
    let speaks_for_agent = named.as_ref().map_or(heartbeat.connection_id.is_none(), ConnectionRecord::may_beat);
    let mut revived = false;
    if let Some(found) = named.as_ref().filter(|found| found.may_beat()) {
        revived = found.status == ConnectionStatus::Disconnected;
        diesel::update(direct_connections::table.find(found.id))
            .set((
                direct_connections::status.eq(ConnectionStatus::Connected),
                direct_connections::last_heartbeat.eq(db.now_s().max(found.last_heartbeat)),
                direct_connections::disconnected_at.eq(None::<i64>),
                direct_connections::end_reason.eq(None::<EndReason>),
            ))
            .execute(db.connection)?;
    }
    let status = match (heartbeat.status, before.status) {
        (Some(said), _) => said,
        (None, AgentStatus::Offline) => AgentStatus::Online,
        (None, other) => other,
    };
    let change = AgentChange { status: Some(status), last_seen: Some(db.now_s()), ..AgentChange::default() };
    let agent = if speaks_for_agent { agents::update(db, agent_id, &change)? } else { None };
    let agent = agent.unwrap_or_else(|| before.clone());
    let connection = match named {
        Some(found) => find(db, &found.connection_id)?,
        None => None,
    };
    Ok(Some(AgentHeard { status_changed: agent.status != before.status, agent, connection, revived }))
}
