//! The health log: append, read newest first, thin to hourly points.

mod fold;

use diesel::prelude::*;

use crate::error::StoreError;
use crate::records::HealthEntry;
use crate::schema::{gateways, health_log};
pub(crate) use fold::hour_start;
use gatewarden_core::gateway_report::HealthPoint;
use gatewarden_core::gateway_report::Status;
use gatewarden_core::ids::GatewayId;

/// Points read for all gateways together.
const MOST_READ: usize = 200_000;
/// Rows in one insert statement: ten values each, well below SQLite's limit.
const ROWS_AN_INSERT: usize = 500;
/// Rows removed or folded in one transaction: some milliseconds.
const ROWS_A_CHUNK: i64 = 2_000;
/// Longest error text kept.
const LONGEST_ERROR: usize = 500;

#[derive(Queryable, Selectable, Insertable, Debug, Clone, PartialEq)]
#[diesel(table_name = health_log)]
#[diesel(treat_none_as_default_value = false)]
struct Row {
    gateway_id: i64,
    at_ms: i64,
    status: String,
    latency_ms: Option<f64>,
    latency_min_ms: Option<f64>,
    latency_avg_ms: Option<f64>,
    latency_max_ms: Option<f64>,
    misses: i64,
    error: Option<String>,
    thinned: bool,
}

impl Row {
    fn of(gateway: GatewayId, point: &HealthPoint) -> Self {
        Self {
            gateway_id: gateway.0,
            at_ms: point.at_ms,
            status: point.status.as_str().to_owned(),
            latency_ms: point.latency_ms,
            latency_min_ms: point.latency_min_ms,
            latency_avg_ms: point.latency_avg_ms,
            latency_max_ms: point.latency_max_ms,
            misses: i64::from(point.misses),
            error: point.error.as_ref().map(|text| text.chars().take(LONGEST_ERROR).collect()),
            thinned: false,
        }
    }

    fn into_entry(self) -> HealthEntry {
        HealthEntry {
            gateway_id: GatewayId(self.gateway_id),
            point: HealthPoint {
                at_ms: self.at_ms,
                status: status_from(&self.status),
                latency_ms: self.latency_ms,
                latency_min_ms: self.latency_min_ms,
                latency_avg_ms: self.latency_avg_ms,
                latency_max_ms: self.latency_max_ms,
                misses: u32::try_from(self.misses).unwrap_or(u32::MAX),
                error: self.error,
            },
        }
    }
}

fn status_from(name: &str) -> Status {
    Status::ALL.into_iter().find(|status| status.as_str() == name).unwrap_or(Status::Unknown)
}

pub(crate) fn append(connection: &mut SqliteConnection, points: &[(GatewayId, HealthPoint)]) -> Result<(), StoreError> {
    // A gateway may have been deleted since the point was taken; its points must not fail those of the others.
    let present: std::collections::HashSet<i64> =
        gateways::table.select(gateways::id).load::<i64>(connection)?.into_iter().collect();
    let rows: Vec<Row> =
        points.iter().filter(|(id, _)| present.contains(&id.0)).map(|(id, point)| Row::of(*id, point)).collect();
    insert(connection, &rows)
}

fn insert(connection: &mut SqliteConnection, rows: &[Row]) -> Result<(), StoreError> {
    for chunk in rows.chunks(ROWS_AN_INSERT) {
        diesel::insert_into(health_log::table).values(chunk).execute(connection)?;
    }
    Ok(())
}

pub(crate) fn history(
    connection: &mut SqliteConnection,
    only: Option<GatewayId>,
    since_ms: i64,
    limit: usize,
) -> Result<Vec<HealthEntry>, StoreError> {
    let ids = match only {
        Some(id) => vec![id.0],
        None => gateways::table.select(gateways::id).order(gateways::id).load(connection)?,
    };
    let fair_share = MOST_READ.checked_div(ids.len()).unwrap_or(MOST_READ).max(1);
    let limit = i64::try_from(limit.min(fair_share)).unwrap_or(i64::MAX);
    let mut entries = Vec::new();
    for id in ids {
        let rows: Vec<Row> = health_log::table
            .filter(health_log::gateway_id.eq(id))
            .filter(health_log::at_ms.ge(since_ms))
            .order((health_log::at_ms.desc(), health_log::id.desc()))
            .limit(limit)
            .select(Row::as_select())
            .load(connection)?;
        entries.extend(rows.into_iter().map(Row::into_entry));
    }
    Ok(entries)
}

/// Removes some points older than `before_ms`; 0 when there are none left.
pub(crate) fn remove(connection: &mut SqliteConnection, before_ms: i64) -> Result<usize, StoreError> {
    let mut removed = 0;
    for thinned in [true, false] {
        let ids: Vec<i64> = health_log::table
            .filter(health_log::thinned.eq(thinned))
            .filter(health_log::at_ms.lt(before_ms))
            .select(health_log::id)
            .limit(ROWS_A_CHUNK)
            .load(connection)?;
        removed += diesel::delete(health_log::table.filter(health_log::id.eq_any(ids))).execute(connection)?;
    }
    Ok(removed)
}

/// Folds some full points of the oldest hour before `before_ms` (an hour's start) into hourly ones; 0 when there are none
/// left.
pub(crate) fn fold_some(connection: &mut SqliteConnection, before_ms: i64) -> Result<usize, StoreError> {
    let full = health_log::table.filter(health_log::thinned.eq(false));
    let oldest: Option<i64> =
        full.filter(health_log::at_ms.lt(before_ms)).select(diesel::dsl::min(health_log::at_ms)).first(connection)?;
    let Some(oldest) = oldest else { return Ok(0) };
    let hour = hour_start(oldest);
    let found: Vec<(i64, Row)> = full
        .filter(health_log::at_ms.ge(hour))
        .filter(health_log::at_ms.lt(hour.saturating_add(fold::HOUR_MS)))
        .order((health_log::gateway_id, health_log::at_ms, health_log::id))
        .limit(ROWS_A_CHUNK)
        .select((health_log::id, Row::as_select()))
        .load(connection)?;
    let found = fold::whole_gateways(found, usize::try_from(ROWS_A_CHUNK).unwrap_or(usize::MAX));
    let (ids, rows): (Vec<i64>, Vec<Row>) = found.into_iter().unzip();
    let hourly: Vec<Row> = rows
        .chunk_by(|one, next| one.gateway_id == next.gateway_id)
        .filter_map(|group| fold::fold(hour, group))
        .collect();
    insert(connection, &hourly)?;
    Ok(diesel::delete(health_log::table.filter(health_log::id.eq_any(ids))).execute(connection)?)
}
