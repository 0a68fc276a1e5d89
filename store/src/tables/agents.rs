//! Agents: made by hand, registered with a gateway, connected directly, synced from a gateway's configuration.

mod gateway_main;
mod row;
mod sync;

use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;

use crate::error::StoreError;
use crate::records::{AgentChange, AgentFilter, AgentRecord, AgentSeen, AgentSource, AgentStatus, NewAgent};
use crate::schema::{agents, gateways};
use gatewarden_core::error::Failure;
use gatewarden_core::ids::GatewayId;
pub(crate) use gateway_main::{delete_main, record_main};
use row::{Changes, Row, config_text};
pub(crate) use sync::sync;

/// At most this many are registered with a gateway (`api.md`).
const MOST_AT_ONCE: usize = 50;
const DEFAULT_ROLE: &str = "agent";

diesel::define_sql_function! {
    /// Both databases have it; SQLite's knows ASCII only.
    fn lower(text: Text) -> Text;
}

pub(crate) fn by_id(connection: &mut SqliteConnection, id: i64) -> Result<Option<AgentRecord>, StoreError> {
    let row: Option<Row> = agents::table.find(id).select(Row::as_select()).first(connection).optional()?;
    Ok(row.map(Row::into_record))
}

pub(crate) fn by_name(connection: &mut SqliteConnection, name: &str) -> Result<Option<AgentRecord>, StoreError> {
    let row: Option<Row> =
        agents::table.filter(agents::name.eq(name)).select(Row::as_select()).first(connection).optional()?;
    Ok(row.map(Row::into_record))
}

pub(crate) fn list(
    connection: &mut SqliteConnection,
    filter: &AgentFilter,
    offset: i64,
    limit: i64,
) -> Result<(Vec<AgentRecord>, usize), StoreError> {
    let total: i64 = filtered(filter).count().get_result(connection)?;
    let rows: Vec<Row> =
        filtered(filter).order(agents::name).offset(offset).limit(limit).select(Row::as_select()).load(connection)?;
    Ok((rows.into_iter().map(Row::into_record).collect(), usize::try_from(total).unwrap_or_default()))
}

fn filtered(filter: &AgentFilter) -> agents::BoxedQuery<'_, Sqlite> {
    let mut query = agents::table.into_boxed();
    if let Some(status) = filter.status {
        query = query.filter(agents::status.eq(status.as_str()));
    }
    if let Some(role) = &filter.role {
        query = query.filter(agents::role.eq(role));
    }
    if let Some(gateway) = filter.gateway_id {
        query = query.filter(agents::gateway_id.eq(gateway.0));
    }
    if let Some(text) = &filter.search {
        let pattern = contains_pattern(text);
        query = query.filter(
            lower(agents::name).like(pattern.clone()).escape('\\').or(lower(agents::role).like(pattern).escape('\\')),
        );
    }
    query
}

/// `LIKE` for "contains this text", whatever the text is.
fn contains_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

pub(crate) fn create(connection: &mut SqliteConnection, new: &NewAgent, now_s: i64) -> Result<AgentRecord, StoreError> {
    if let Some(gateway) = new.gateway_id {
        require_gateway(connection, gateway)?;
    }
    insert(connection, new, now_s)
}

fn insert(connection: &mut SqliteConnection, new: &NewAgent, now_s: i64) -> Result<AgentRecord, StoreError> {
    let row: Row = diesel::insert_into(agents::table)
        .values((
            agents::name.eq(&new.name),
            agents::role.eq(new.role.as_deref().filter(|role| !role.is_empty()).unwrap_or(DEFAULT_ROLE)),
            agents::status.eq(new.status.as_str()),
            agents::gateway_id.eq(new.gateway_id.map(|gateway| gateway.0)),
            agents::source.eq(new.source.as_str()),
            agents::config.eq(config_text(&new.config)),
            agents::is_gateway_main.eq(new.is_gateway_main),
            agents::created_at.eq(now_s),
            agents::updated_at.eq(now_s),
        ))
        .returning(Row::as_returning())
        .get_result(connection)
        .map_err(|error| StoreError::for_agent_name(error, &new.name))?;
    Ok(row.into_record())
}

pub(crate) fn update(
    connection: &mut SqliteConnection,
    id: i64,
    change: &AgentChange,
    now_s: i64,
) -> Result<Option<AgentRecord>, StoreError> {
    if change.is_empty() {
        return by_id(connection, id);
    }
    if let Some(Some(gateway)) = change.gateway_id {
        require_gateway(connection, gateway)?;
    }
    update_row(connection, id, &Changes::of(change, now_s))
        .map_err(|error| StoreError::for_agent_name(error, change.name.as_deref().unwrap_or_default()))
}

fn update_row(connection: &mut SqliteConnection, id: i64, changes: &Changes<'_>) -> QueryResult<Option<AgentRecord>> {
    let row: Option<Row> = diesel::update(agents::table.find(id))
        .set(changes)
        .returning(Row::as_returning())
        .get_result(connection)
        .optional()?;
    Ok(row.map(Row::into_record))
}

/// The database would refuse it too, but not say which gateway.
fn require_gateway(connection: &mut SqliteConnection, gateway: GatewayId) -> Result<(), StoreError> {
    let found: Option<i64> = gateways::table.find(gateway.0).select(gateways::id).first(connection).optional()?;
    found.map(|_| ()).ok_or_else(|| StoreError::refused(Failure::gateway_not_found(gateway)))
}

pub(crate) fn delete(connection: &mut SqliteConnection, id: i64) -> Result<bool, StoreError> {
    Ok(diesel::delete(agents::table.find(id)).execute(connection)? > 0)
}

/// Notes signs of life; answers the agents that they changed.
pub(crate) fn observe(
    connection: &mut SqliteConnection,
    seen: &[AgentSeen],
    now_s: i64,
) -> Result<Vec<AgentRecord>, StoreError> {
    let mut changed = Vec::new();
    for sign in seen {
        let Some(stored) = by_name(connection, &sign.name)? else { continue };
        if sign.gateway_id.is_some() && sign.gateway_id != stored.gateway_id {
            continue;
        }
        let change = AgentChange {
            status: sign.status.filter(|status| *status != stored.status),
            last_seen: sign.last_seen.filter(|at| stored.last_seen.is_none_or(|before| before < *at)),
            last_activity: sign
                .last_activity
                .as_ref()
                .filter(|activity| stored.last_activity.as_ref() != Some(*activity))
                .map(|activity| Some(activity.clone())),
            ..AgentChange::default()
        };
        if !change.is_empty() {
            changed.extend(update_row(connection, stored.id, &Changes::of(&change, now_s))?);
        }
    }
    Ok(changed)
}

/// The agent of a CLI tool that connects: made where it is unknown, else marked as online. The role of an agent that others
/// made known stays theirs. Answers whether it is new.
pub(crate) fn upsert_cli(
    connection: &mut SqliteConnection,
    name: &str,
    role: Option<&str>,
    now_s: i64,
) -> Result<(AgentRecord, bool), StoreError> {
    let role = role.filter(|role| !role.is_empty());
    let (stored, is_new) = match by_name(connection, name)? {
        Some(stored) => (stored, false),
        None => {
            let new = NewAgent { source: AgentSource::Cli, role: role.map(str::to_owned), ..NewAgent::manual(name) };
            (insert(connection, &new, now_s)?, true)
        }
    };
    let change = AgentChange {
        status: Some(AgentStatus::Online),
        last_seen: Some(now_s),
        role: role.filter(|role| stored.source == AgentSource::Cli && *role != stored.role).map(str::to_owned),
        ..AgentChange::default()
    };
    let stored = update_row(connection, stored.id, &Changes::of(&change, now_s))?.unwrap_or(stored);
    Ok((stored, is_new))
}

/// Registers agents of a new gateway: an unknown name becomes an agent, an agent without a gateway joins this one, an
/// agent of another gateway stays there. Answers how many are this gateway's now.
pub(crate) fn register(
    connection: &mut SqliteConnection,
    gateway: GatewayId,
    wanted: &[(String, Option<String>)],
    now_s: i64,
) -> Result<usize, StoreError> {
    let mut registered = 0;
    for (name, role) in wanted.iter().take(MOST_AT_ONCE) {
        let inserted = diesel::insert_into(agents::table)
            .values((
                agents::name.eq(name),
                agents::role.eq(role.as_deref().unwrap_or(DEFAULT_ROLE)),
                agents::gateway_id.eq(gateway.0),
                agents::source.eq(AgentSource::Gateway.as_str()),
                agents::created_at.eq(now_s),
                agents::updated_at.eq(now_s),
            ))
            .on_conflict(agents::name)
            .do_nothing()
            .execute(connection)?;
        let joined = if inserted == 0 {
            diesel::update(agents::table.filter(agents::name.eq(name)).filter(agents::gateway_id.is_null()))
                .set((agents::gateway_id.eq(gateway.0), agents::updated_at.eq(now_s)))
                .execute(connection)?
        } else {
            0
        };
        registered += inserted + joined;
    }
    Ok(registered)
}

/// Agents of a gateway that is about to be deleted stay, without a gateway.
pub(crate) fn detach(connection: &mut SqliteConnection, gateway: GatewayId, now_s: i64) -> Result<(), StoreError> {
    diesel::update(agents::table.filter(agents::gateway_id.eq(gateway.0)))
        .set((agents::gateway_id.eq(None::<i64>), agents::is_gateway_main.eq(false), agents::updated_at.eq(now_s)))
        .execute(connection)?;
    Ok(())
}
