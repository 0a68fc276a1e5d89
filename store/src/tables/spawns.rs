//! Spawns: recorded once, moved only as [`SpawnState::may_follow`] allows.

mod row;

use diesel::prelude::*;

use super::idempotency_keys::{self, Found};
use crate::error::StoreError;
use crate::records::{Idempotency, NewSpawn, Recorded, SpawnChange, SpawnRecord};
use crate::schema::spawns;
use crate::sealing::Sealer;
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::spawn_state::SpawnState;
use row::{Changes, NewRow, Row, open_request};

/// Rows removed in one transaction.
const ROWS_A_CHUNK: i64 = 1_000;

pub(crate) fn record(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    new: &NewSpawn,
    idempotency: Option<&Idempotency>,
    now_ms: i64,
    judged_ms: i64,
) -> Result<Recorded, StoreError> {
    if let Some(idempotency) = idempotency {
        match idempotency_keys::look_up(connection, idempotency, judged_ms)? {
            Found::Nothing => {}
            Found::OtherBody => return Ok(Recorded::Mismatch),
            Found::Spawn(spawn_id) => {
                let found = find(connection, sealer, &spawn_id)?;
                // The reference in the database keeps the spawn there.
                return found.map(Recorded::Replay).ok_or(StoreError::Database(diesel::result::Error::NotFound));
            }
        }
    }
    let spawn_id = uuid::Uuid::new_v4().to_string();
    let row: Row = diesel::insert_into(spawns::table)
        .values(&NewRow::of(new, &spawn_id, sealer, now_ms)?)
        .returning(Row::as_returning())
        .get_result(connection)?;
    if let Some(idempotency) = idempotency {
        idempotency_keys::put(connection, idempotency, &spawn_id, now_ms)?;
    }
    Ok(Recorded::New(SpawnRecord { request: Some(new.request.clone()), ..row.into_record() }))
}

pub(crate) fn find(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    spawn_id: &str,
) -> Result<Option<SpawnRecord>, StoreError> {
    let found: Option<(Row, String)> = spawns::table
        .filter(spawns::spawn_id.eq(spawn_id))
        .select((Row::as_select(), spawns::request))
        .first(connection)
        .optional()?;
    Ok(found.map(|(row, sealed)| SpawnRecord { request: open_request(sealer, spawn_id, &sealed), ..row.into_record() }))
}

pub(crate) fn list(connection: &mut SqliteConnection, limit: i64, offset: i64) -> Result<Vec<SpawnRecord>, StoreError> {
    let rows: Vec<Row> =
        spawns::table.order(spawns::id.desc()).limit(limit).offset(offset).select(Row::as_select()).load(connection)?;
    Ok(rows.into_iter().map(Row::into_record).collect())
}

/// The spawns that aren't final, of one gateway or of all, oldest first.
pub(crate) fn open(connection: &mut SqliteConnection, only: Option<GatewayId>) -> Result<Vec<SpawnRecord>, StoreError> {
    let mut query =
        spawns::table.filter(spawns::completed_at_ms.is_null()).order(spawns::id).select(Row::as_select()).into_boxed();
    if let Some(gateway) = only {
        query = query.filter(spawns::gateway_id.eq(gateway.0));
    }
    Ok(query.load(connection)?.into_iter().map(Row::into_record).collect())
}

/// Moves a spawn that is in one of these states, if the state may follow; answers it as it is then.
pub(crate) fn step(
    connection: &mut SqliteConnection,
    spawn_id: &str,
    from: &[SpawnState],
    to: SpawnState,
    change: &SpawnChange,
    now_ms: i64,
) -> Result<Option<SpawnRecord>, StoreError> {
    let moved: Option<Row> = diesel::update(
        spawns::table.filter(spawns::spawn_id.eq(spawn_id)).filter(spawns::state.eq_any(legal(from, to))),
    )
    .set(&Changes::of(to, change, now_ms))
    .returning(Row::as_returning())
    .get_result(connection)
    .optional()?;
    Ok(moved.map(Row::into_record))
}

fn legal(from: &[SpawnState], to: SpawnState) -> Vec<&'static str> {
    from.iter().filter(|earlier| to.may_follow(**earlier)).map(|earlier| earlier.as_str()).collect()
}

/// Removes some spawns that ended before `before_ms`, with their idempotency keys; 0 when there are none left.
pub(crate) fn remove(connection: &mut SqliteConnection, before_ms: i64) -> Result<usize, StoreError> {
    let ids: Vec<i64> = spawns::table
        .filter(spawns::completed_at_ms.lt(before_ms))
        .select(spawns::id)
        .limit(ROWS_A_CHUNK)
        .load(connection)?;
    Ok(diesel::delete(spawns::table.filter(spawns::id.eq_any(ids))).execute(connection)?)
}

/// Removes some of the oldest beyond `most`, by the newest id; 0 when there are none left. One that isn't final stays.
pub(crate) fn remove_beyond(connection: &mut SqliteConnection, most: i64) -> Result<usize, StoreError> {
    let newest: Option<i64> = spawns::table.select(diesel::dsl::max(spawns::id)).first(connection)?;
    let Some(newest) = newest.filter(|newest| *newest > most) else { return Ok(0) };
    let ids: Vec<i64> = spawns::table
        .filter(spawns::id.le(newest - most))
        .filter(spawns::completed_at_ms.is_not_null())
        .select(spawns::id)
        .limit(ROWS_A_CHUNK)
        .load(connection)?;
    Ok(diesel::delete(spawns::table.filter(spawns::id.eq_any(ids))).execute(connection)?)
}
