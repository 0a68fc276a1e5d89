//! Direct connections: an agent has at most one that is open. The agent is online with it and offline without.

mod row;

use diesel::prelude::*;

use super::agents;
use crate::error::StoreError;
use crate::records::{
    AgentChange, AgentStatus, Beat, Beaten, Closed, ConnectionRecord, ConnectionStatus, EndReason, NewConnection,
    Opened,
};
use crate::schema::{agents as agents_table, direct_connections};
use row::{Row, ShownAgent, into_record, metadata_text};

/// Rows removed in one transaction.
const ROWS_A_CHUNK: i64 = 1_000;

pub(crate) fn open(connection: &mut SqliteConnection, new: &NewConnection, now_s: i64) -> Result<Opened, StoreError> {
    let (agent, agent_is_new) = agents::upsert_cli(connection, &new.agent_name, new.agent_role.as_deref(), now_s)?;
    let replaced = match open_one_of(connection, agent.id)? {
        Some(earlier) => end(connection, &earlier.connection_id, EndReason::Replaced, now_s)?,
        None => None,
    };
    // What was given up for silence can't come back any more either.
    diesel::update(
        direct_connections::table
            .filter(direct_connections::agent_id.eq(agent.id))
            .filter(direct_connections::end_reason.eq(EndReason::Silent.as_str())),
    )
    .set(direct_connections::end_reason.eq(EndReason::Replaced.as_str()))
    .execute(connection)?;
    let connection_id = format!("conn-{}", uuid::Uuid::new_v4().simple());
    diesel::insert_into(direct_connections::table)
        .values((
            direct_connections::agent_id.eq(agent.id),
            direct_connections::tool_name.eq(&new.tool_name),
            direct_connections::tool_version.eq(new.tool_version.as_deref()),
            direct_connections::connection_id.eq(&connection_id),
            direct_connections::status.eq(ConnectionStatus::Connected.as_str()),
            direct_connections::last_heartbeat.eq(now_s),
            direct_connections::metadata.eq(metadata_text(new.metadata.as_ref())),
            direct_connections::created_at.eq(now_s),
        ))
        .execute(connection)?;
    let opened = find(connection, &connection_id)?.ok_or(diesel::result::Error::NotFound)?;
    Ok(Opened { connection: opened, agent, agent_is_new, replaced })
}

pub(crate) fn find(
    connection: &mut SqliteConnection,
    connection_id: &str,
) -> Result<Option<ConnectionRecord>, StoreError> {
    let found: Option<(Row, ShownAgent)> = direct_connections::table
        .inner_join(agents_table::table)
        .filter(direct_connections::connection_id.eq(connection_id))
        .select((Row::as_select(), ShownAgent::as_select()))
        .first(connection)
        .optional()?;
    Ok(found.map(into_record))
}

fn open_one_of(connection: &mut SqliteConnection, agent_id: i64) -> Result<Option<ConnectionRecord>, StoreError> {
    let found: Option<(Row, ShownAgent)> = direct_connections::table
        .inner_join(agents_table::table)
        .filter(direct_connections::agent_id.eq(agent_id))
        .filter(direct_connections::disconnected_at.is_null())
        .select((Row::as_select(), ShownAgent::as_select()))
        .first(connection)
        .optional()?;
    Ok(found.map(into_record))
}

pub(crate) fn list(
    connection: &mut SqliteConnection,
    open_only: bool,
    limit: i64,
) -> Result<Vec<ConnectionRecord>, StoreError> {
    let mut query = direct_connections::table
        .inner_join(agents_table::table)
        .select((Row::as_select(), ShownAgent::as_select()))
        .order(direct_connections::id.desc())
        .limit(limit)
        .into_boxed();
    if open_only {
        query = query.filter(direct_connections::disconnected_at.is_null());
    }
    let rows: Vec<(Row, ShownAgent)> = query.load(connection)?;
    Ok(rows.into_iter().map(into_record).collect())
}

/// Ends an open connection, without a look at its agent; `None` where it wasn't open.
fn end(
    connection: &mut SqliteConnection,
    connection_id: &str,
    reason: EndReason,
    now_s: i64,
) -> Result<Option<ConnectionRecord>, StoreError> {
    let ended = diesel::update(
        direct_connections::table
            .filter(direct_connections::connection_id.eq(connection_id))
            .filter(direct_connections::disconnected_at.is_null()),
    )
    .set((
        direct_connections::status.eq(ConnectionStatus::Disconnected.as_str()),
        direct_connections::disconnected_at.eq(now_s),
        direct_connections::end_reason.eq(reason.as_str()),
    ))
    .execute(connection)?;
    if ended == 0 { Ok(None) } else { find(connection, connection_id) }
}

/// Ends an open connection; its agent, which has no other, goes offline.
fn end_with_agent(
    connection: &mut SqliteConnection,
    connection_id: &str,
    reason: EndReason,
    now_s: i64,
) -> Result<Option<ConnectionRecord>, StoreError> {
    let Some(ended) = end(connection, connection_id, reason, now_s)? else { return Ok(None) };
    let offline = AgentChange { status: Some(AgentStatus::Offline), ..AgentChange::default() };
    agents::update(connection, ended.agent_id, &offline, now_s)?;
    Ok(Some(ConnectionRecord { agent_status: AgentStatus::Offline, ..ended }))
}

pub(crate) fn close(connection: &mut SqliteConnection, connection_id: &str, now_s: i64) -> Result<Closed, StoreError> {
    if let Some(ended) = end_with_agent(connection, connection_id, EndReason::Closed, now_s)? {
        return Ok(Closed::Now(ended));
    }
    let Some(found) = find(connection, connection_id)? else { return Ok(Closed::NotFound) };
    if found.end_reason == Some(EndReason::Silent) {
        // Who says goodbye late means it: no heartbeat brings it back.
        diesel::update(direct_connections::table.find(found.id))
            .set(direct_connections::end_reason.eq(EndReason::Closed.as_str()))
            .execute(connection)?;
    }
    Ok(Closed::Before(found))
}

pub(crate) fn close_stale(
    connection: &mut SqliteConnection,
    silent: &[(String, i64)],
    now_s: i64,
) -> Result<Vec<ConnectionRecord>, StoreError> {
    let mut closed = Vec::new();
    for (connection_id, silent_since_s) in silent {
        // A heartbeat may have come since the caller looked.
        let is_silent = find(connection, connection_id)?.is_some_and(|found| found.last_heartbeat <= *silent_since_s);
        if is_silent {
            closed.extend(end_with_agent(connection, connection_id, EndReason::Silent, now_s)?);
        }
    }
    Ok(closed)
}

pub(crate) fn beat(
    connection: &mut SqliteConnection,
    agent_id: i64,
    beat: &Beat,
    now_s: i64,
) -> Result<Option<Beaten>, StoreError> {
    let Some(before) = agents::by_id(connection, agent_id)? else { return Ok(None) };
    let named = match &beat.connection_id {
        Some(connection_id) => find(connection, connection_id)?.filter(|found| found.agent_id == agent_id),
        None => open_one_of(connection, agent_id)?,
    };
    // Who names a connection that isn't its own, or isn't any more, says nothing about the agent.
    let speaks_for_agent = named.as_ref().map_or(beat.connection_id.is_none(), may_beat);
    let mut revived = false;
    if let Some(found) = named.as_ref().filter(|found| may_beat(found)) {
        revived = found.status == ConnectionStatus::Disconnected;
        diesel::update(direct_connections::table.find(found.id))
            .set((
                direct_connections::status.eq(ConnectionStatus::Connected.as_str()),
                direct_connections::last_heartbeat.eq(now_s.max(found.last_heartbeat)),
                direct_connections::disconnected_at.eq(None::<i64>),
                direct_connections::end_reason.eq(None::<String>),
            ))
            .execute(connection)?;
    }
    let status = match (beat.status, before.status) {
        (Some(said), _) => said,
        (None, AgentStatus::Offline) => AgentStatus::Online,
        (None, other) => other,
    };
    let change = AgentChange { status: Some(status), last_seen: Some(now_s), ..AgentChange::default() };
    let agent = if speaks_for_agent { agents::update(connection, agent_id, &change, now_s)? } else { None };
    let agent = agent.unwrap_or_else(|| before.clone());
    let connection_now = match named {
        Some(found) => find(connection, &found.connection_id)?,
        None => None,
    };
    Ok(Some(Beaten { status_changed: agent.status != before.status, agent, connection: connection_now, revived }))
}

fn may_beat(connection: &ConnectionRecord) -> bool {
    match connection.end_reason {
        None | Some(EndReason::Silent) => true,
        Some(EndReason::Closed | EndReason::Replaced) => false,
    }
}

/// Removes some connections that ended before `before_s`; 0 when there are none left.
pub(crate) fn remove(connection: &mut SqliteConnection, before_s: i64) -> Result<usize, StoreError> {
    let ids: Vec<i64> = direct_connections::table
        .filter(direct_connections::disconnected_at.lt(before_s))
        .select(direct_connections::id)
        .limit(ROWS_A_CHUNK)
        .load(connection)?;
    Ok(diesel::delete(direct_connections::table.filter(direct_connections::id.eq_any(ids))).execute(connection)?)
}
