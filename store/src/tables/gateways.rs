//! Gateways: the writes that keep exactly what `GatewayRecord` promises.

mod provisioning;
mod row;

use diesel::prelude::*;

use super::agents;
use crate::error::StoreError;
use crate::records::{Created, DeleteOutcome, Updated};
use crate::schema::gateways;
use crate::sealing::Sealer;
use gatewarden_core::gateway_record::{GatewayChange, GatewayRecord, NewGateway, Observed};
use gatewarden_core::ids::GatewayId;
pub(crate) use provisioning::{abandon, create_provisional, purge_provisional, record_main_agent};
use row::{Changes, NewRow, Row};

pub(crate) fn load_all(connection: &mut SqliteConnection, sealer: &Sealer) -> Result<Vec<GatewayRecord>, StoreError> {
    let rows: Vec<Row> = gateways::table
        .filter(gateways::provisioning.eq(false))
        .order(gateways::id)
        .select(Row::as_select())
        .load(connection)?;
    Ok(rows.into_iter().map(|row| row.into_record(sealer)).collect())
}

pub(crate) fn create(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    new: &NewGateway,
    now_s: i64,
) -> Result<Created, StoreError> {
    // The uuid is drawn before the insert, so that the sealed columns can be bound to it.
    let values = NewRow::of(new, uuid::Uuid::new_v4().to_string(), sealer, now_s)?;
    let demoted = if new.is_primary { demote(connection, sealer, None, now_s)? } else { None };
    let row: Row = diesel::insert_into(gateways::table)
        .values(&values)
        .returning(Row::as_returning())
        .get_result(connection)
        .map_err(|error| StoreError::for_gateway_name(error, &new.name))?;
    let record = row.into_record(sealer);
    let agents_registered = agents::register(connection, record.id, &new.agents, now_s)?;
    Ok(Created { record, demoted, agents_registered })
}

pub(crate) fn update(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    id: GatewayId,
    change: &GatewayChange,
    now_s: i64,
) -> Result<Option<Updated>, StoreError> {
    let present: Option<Row> = gateways::table.find(id.0).select(Row::as_select()).first(connection).optional()?;
    let Some(present) = present else { return Ok(None) };
    if change.is_empty() {
        return Ok(Some(Updated { record: present.into_record(sealer), demoted: None }));
    }
    let changes = Changes::of(change, &present, sealer, now_s)?;
    let demoted = match change.is_primary {
        Some(true) => demote(connection, sealer, Some(id), now_s)?,
        Some(false) | None => None,
    };
    let row: Row = diesel::update(gateways::table.find(id.0))
        .set(&changes)
        .returning(Row::as_returning())
        .get_result(connection)
        .map_err(|error| StoreError::for_gateway_name(error, change.name.as_deref().unwrap_or_default()))?;
    Ok(Some(Updated { record: row.into_record(sealer), demoted }))
}

/// Unsets the configured primary, unless it is `except`.
fn demote(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    except: Option<GatewayId>,
    now_s: i64,
) -> Result<Option<GatewayRecord>, StoreError> {
    let spared = except.map_or(0, |id| id.0);
    let row: Option<Row> =
        diesel::update(gateways::table.filter(gateways::is_primary.eq(true)).filter(gateways::id.ne(spared)))
            .set((
                gateways::is_primary.eq(false),
                gateways::revision.eq(gateways::revision + 1),
                gateways::updated_at.eq(now_s),
            ))
            .returning(Row::as_returning())
            .get_result(connection)
            .optional()?;
    Ok(row.map(|row| row.into_record(sealer)))
}

pub(crate) fn delete(
    connection: &mut SqliteConnection,
    id: GatewayId,
    now_s: i64,
) -> Result<DeleteOutcome, StoreError> {
    let is_primary: Option<bool> =
        gateways::table.find(id.0).select(gateways::is_primary).first(connection).optional()?;
    match is_primary {
        None => Ok(DeleteOutcome::NotFound),
        Some(true) => Ok(DeleteOutcome::IsPrimary),
        Some(false) => {
            agents::delete_main(connection, id)?;
            agents::detach(connection, id, now_s)?;
            diesel::delete(gateways::table.find(id.0)).execute(connection)?;
            Ok(DeleteOutcome::Deleted)
        }
    }
}

pub(crate) fn save_observed(
    connection: &mut SqliteConnection,
    observed: &[(GatewayId, Observed)],
) -> Result<(), StoreError> {
    for (id, seen) in observed {
        diesel::update(gateways::table.find(id.0))
            .set((
                gateways::status.eq(&seen.status),
                gateways::last_seen.eq(seen.last_seen),
                gateways::latency.eq(seen.latency),
                gateways::sessions_count.eq(seen.sessions_count),
                gateways::agents_count.eq(seen.agents_count),
            ))
            .execute(connection)?;
    }
    Ok(())
}

pub(crate) fn seed_if_empty(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    new: &NewGateway,
    now_s: i64,
) -> Result<Option<GatewayRecord>, StoreError> {
    let any: Option<i64> =
        gateways::table.filter(gateways::provisioning.eq(false)).select(gateways::id).first(connection).optional()?;
    if any.is_some() {
        return Ok(None);
    }
    create(connection, sealer, new, now_s).map(|created| Some(created.record))
}
