//! The health log: append, read newest first, thin to hourly points.

use std::collections::HashSet;
use std::time::Duration;

use diesel::prelude::*;
use gatewarden_core::error::Failure;
use gatewarden_core::gateway_report::{HealthPoint, Status};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::latency_fold::thinned;

use super::{ROWS_A_CHUNK, ROWS_AN_INSERT, cut_text, delete_some};
use crate::connection::on_either;
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle, span_ms, whole};
use crate::schema::{gateways, health_log};

/// Points read for all gateways together.
const MAX_READ: usize = 200_000;
/// Longest error text kept.
const LONGEST_ERROR: usize = 500;
const HOUR_MS: i64 = 3_600_000;

/// One stored point of the health log.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthEntry {
    pub gateway_id: GatewayId,
    /// Whether the point stands for an hour: see [`StoreHandle::thin_health`].
    pub thinned: bool,
    pub point: HealthPoint,
}

/// What a run of thinning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thinned {
    /// Full points that were folded into hourly ones.
    pub folded: usize,
    /// Points that were older than all retention and are gone.
    pub removed: usize,
}

#[derive(Queryable, Selectable, Insertable, Debug, Clone, PartialEq)]
#[diesel(table_name = health_log, treat_none_as_default_value = false)]
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
    samples: Option<String>,
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
            error: point.error.as_ref().map(|text| cut_text(text, LONGEST_ERROR)),
            thinned: false,
            samples: samples_text(&point.samples),
        }
    }

    /// None of a row that an earlier release wrote, and of one that can't be read.
    fn samples(&self) -> Vec<f64> {
        self.samples.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    fn into_entry(self) -> HealthEntry {
        HealthEntry {
            gateway_id: GatewayId(self.gateway_id),
            thinned: self.thinned,
            point: HealthPoint {
                samples: self.samples(),
                at_ms: self.at_ms,
                status: self.status(),
                latency_ms: self.latency_ms,
                latency_min_ms: self.latency_min_ms,
                latency_avg_ms: self.latency_avg_ms,
                latency_max_ms: self.latency_max_ms,
                misses: u32::try_from(self.misses).unwrap_or(u32::MAX),
                error: self.error,
            },
        }
    }

    fn status(&self) -> Status {
        Status::ALL.into_iter().find(|status| status.as_str() == self.status).unwrap_or(Status::Unknown)
    }
}

impl StoreHandle {
    /// Appends points, all at once. Points of gateways that are gone are dropped.
    pub async fn append_health(&self, points: Vec<(GatewayId, HealthPoint)>) -> Result<(), Failure> {
        if points.is_empty() {
            return Ok(());
        }
        self.write("append to the health log", move |db| {
            // A gateway may have been deleted since the point was taken; its points must not fail those of the others.
            let present: HashSet<i64> =
                gateways::table.select(gateways::id).load::<i64>(db.connection)?.into_iter().collect();
            let kept = points.iter().filter(|(id, _)| present.contains(&id.0));
            insert(db, &kept.map(|(id, point)| Row::of(*id, point)).collect::<Vec<_>>())
        })
        .await
    }

    /// Points since `since_ms` (wall ms) of these gateways, or of all: grouped by gateway, newest first in each, at most
    /// `limit` a gateway. For all gateways together no more than 200,000 points are read: a large fleet gets a smaller
    /// limit, the same for each.
    pub async fn health_history(
        &self,
        only: Option<&[GatewayId]>,
        since_ms: i64,
        limit: usize,
    ) -> Result<Vec<HealthEntry>, Failure> {
        let only = only.map(|only| only.iter().map(|id| id.0).collect());
        self.read("read the health log", move |db| history(db, only, since_ms, limit)).await
    }

    /// Keeps full points for `full`, then one point an hour until `thinned`, then nothing; both are rounded up to whole hours.
    ///
    /// An hourly point has the hour's start as its time, the worst status seen in it, the average, minimum and maximum of
    /// its latencies, the sum of its misses and the last error. Works in short transactions, so that other writes get their
    /// turn; stops at the first failure, and the next run goes on from there.
    pub async fn thin_health(&self, now_ms: i64, full: Duration, thinned: Duration) -> Result<Thinned, Failure> {
        let full_before = hour_start(now_ms.saturating_sub(span_ms(full)));
        let drop_before = hour_start(now_ms.saturating_sub(span_ms(thinned.max(full))));
        let remove = move |db: &mut Db<'_>| {
            let mut removed = 0;
            for thinned in [true, false] {
                let of_kind = health_log::table.filter(health_log::thinned.eq(thinned));
                removed += delete_some!(db, health_log, of_kind.filter(health_log::at_ms.lt(drop_before)));
            }
            Ok(removed)
        };
        let removed = self.write_in_turns("forget old health points", remove).await?;
        let folded = self.write_in_turns("thin the health log", move |db| fold_some(db, full_before)).await?;
        Ok(Thinned { folded, removed })
    }
}

fn insert(db: &mut Db<'_>, rows: &[Row]) -> Result<(), StoreError> {
    for chunk in rows.chunks(ROWS_AN_INSERT) {
        let added = diesel::insert_into(health_log::table).values(chunk);
        on_either!(db.connection, |inner| added.execute(inner))?;
    }
    Ok(())
}

fn history(
    db: &mut Db<'_>,
    only: Option<Vec<i64>>,
    since_ms: i64,
    limit: usize,
) -> Result<Vec<HealthEntry>, StoreError> {
    let ids = match only {
        Some(ids) => ids,
        None => gateways::table.select(gateways::id).order(gateways::id).load(db.connection)?,
    };
    let fair_share = MAX_READ.checked_div(ids.len()).unwrap_or(MAX_READ).max(1);
    let limit = whole(limit.min(fair_share));
    let mut entries = Vec::new();
    for id in ids {
        let rows: Vec<Row> = health_log::table
            .filter(health_log::gateway_id.eq(id))
            .filter(health_log::at_ms.ge(since_ms))
            .order((health_log::at_ms.desc(), health_log::id.desc()))
            .limit(limit)
            .select(Row::as_select())
            .load(db.connection)?;
        entries.extend(rows.into_iter().map(Row::into_entry));
    }
    Ok(entries)
}

/// Folds some full points of the oldest hour before `before_ms` (an hour's start) into hourly ones; 0 when there are none
/// left.
fn fold_some(db: &mut Db<'_>, before_ms: i64) -> Result<usize, StoreError> {
    let full = health_log::table.filter(health_log::thinned.eq(false));
    let oldest: Option<i64> = full
        .filter(health_log::at_ms.lt(before_ms))
        .select(diesel::dsl::min(health_log::at_ms))
        .first(db.connection)?;
    let Some(oldest) = oldest else { return Ok(0) };
    let hour = hour_start(oldest);
    let found: Vec<(i64, Row)> = full
        .filter(health_log::at_ms.ge(hour))
        .filter(health_log::at_ms.lt(hour.saturating_add(HOUR_MS)))
        .order((health_log::gateway_id, health_log::at_ms, health_log::id))
        .limit(ROWS_A_CHUNK)
        .select((health_log::id, Row::as_select()))
        .load(db.connection)?;
    let found = whole_gateways(found, usize::try_from(ROWS_A_CHUNK).unwrap_or(usize::MAX));
    let (ids, rows): (Vec<i64>, Vec<Row>) = found.into_iter().unzip();
    let of_gateways = rows.chunk_by(|one, next| one.gateway_id == next.gateway_id);
    let hourly: Vec<Row> = of_gateways.filter_map(|group| fold(hour, group)).collect();
    insert(db, &hourly)?;
    Ok(diesel::delete(health_log::table.filter(health_log::id.eq_any(ids))).execute(db.connection)?)
}

/// The start of the hour that a time (wall ms) lies in.
fn hour_start(at_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.rem_euclid(HOUR_MS))
}

/// Of rows in order of their gateways, those of gateways that are surely complete: where `limit` cut the reading off, the
/// last gateway waits for the next turn, unless it is the only one.
fn whole_gateways(mut rows: Vec<(i64, Row)>, limit: usize) -> Vec<(i64, Row)> {
    let ends = (rows.first(), rows.last());
    if let (Some((_, first)), Some((_, last))) = ends
        && rows.len() >= limit
        && first.gateway_id != last.gateway_id
    {
        let cut = last.gateway_id;
        rows.retain(|(_, row)| row.gateway_id != cut);
    }
    rows
}

/// One row for an hour: the worst status, so that an outage stays visible.
fn fold(hour: i64, rows: &[Row]) -> Option<Row> {
    let last = rows.last()?;
    let worst = rows.iter().map(|row| row.status()).max_by_key(|status| badness(*status))?;
    let averages: Vec<f64> = rows.iter().filter_map(|row| row.latency_avg_ms.or(row.latency_ms)).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand rows at most")]
    let average = (!averages.is_empty()).then(|| averages.iter().sum::<f64>() / averages.len() as f64);
    let lowest = rows.iter().filter_map(|row| row.latency_min_ms.or(row.latency_ms)).min_by(f64::total_cmp);
    let highest = rows.iter().filter_map(|row| row.latency_max_ms.or(row.latency_ms)).max_by(f64::total_cmp);
    Some(Row {
        gateway_id: last.gateway_id,
        at_ms: hour,
        status: worst.as_str().to_owned(),
        latency_ms: average,
        latency_min_ms: lowest,
        latency_avg_ms: average,
        latency_max_ms: highest,
        samples: samples_text(&thinned(&rows.iter().flat_map(Row::samples).collect::<Vec<_>>())),
        misses: rows.iter().map(|row| row.misses).sum(),
        error: rows.iter().rev().find_map(|row| row.error.clone()),
        thinned: true,
    })
}

/// To a tenth of a millisecond.
fn samples_text(samples: &[f64]) -> Option<String> {
    let tenths: Vec<f64> = samples.iter().map(|ms| (ms * 10.0).round() / 10.0).collect();
    if tenths.is_empty() { None } else { serde_json::to_string(&tenths).ok() }
}

fn badness(status: Status) -> u8 {
    match status {
        Status::Online => 0,
        Status::Unknown => 1,
        Status::Degraded => 2,
        Status::Timeout => 3,
        Status::Offline => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(gateway_id: i64, at_ms: i64, status: Status, latency_ms: Option<f64>) -> Row {
        Row {
            gateway_id,
            at_ms,
            status: status.as_str().to_owned(),
            latency_ms,
            latency_min_ms: latency_ms,
            latency_avg_ms: latency_ms,
            latency_max_ms: latency_ms,
            misses: 1,
            error: None,
            thinned: false,
            samples: samples_text(&latency_ms.into_iter().collect::<Vec<_>>()),
        }
    }

    #[test]
    fn an_hour_keeps_its_worst_status_and_its_latency_range() {
        let mut failed = row(1, HOUR_MS + 2, Status::Offline, None);
        failed.error = Some("refused".to_owned());
        let rows =
            [row(1, HOUR_MS + 1, Status::Online, Some(10.0)), failed, row(1, HOUR_MS + 3, Status::Online, Some(30.0))];
        let folded = fold(HOUR_MS, &rows).unwrap();
        assert_eq!((folded.at_ms, folded.status.as_str(), folded.misses), (HOUR_MS, "offline", 3));
        assert_eq!(folded.latency_min_ms, Some(10.0));
        assert_eq!(folded.latency_avg_ms, Some(20.0));
        assert_eq!(folded.latency_max_ms, Some(30.0));
        assert_eq!(folded.error.as_deref(), Some("refused"));
        assert!(folded.thinned);
        assert_eq!(folded.samples(), [10.0, 30.0]);
    }

    #[test]
    fn an_hour_without_any_answer_has_no_latency() {
        let folded = fold(0, &[row(1, 5, Status::Timeout, None)]).unwrap();
        assert_eq!((folded.latency_ms, folded.latency_min_ms, folded.latency_max_ms), (None, None, None));
        assert_eq!(fold(0, &[]), None);
    }

    #[test]
    fn a_gateway_that_was_cut_off_waits_unless_it_is_the_only_one() {
        let rows = |ids: &[i64]| ids.iter().map(|id| (0, row(*id, 1, Status::Online, None))).collect::<Vec<_>>();
        let kept = |ids: &[i64], limit| whole_gateways(rows(ids), limit).len();
        assert_eq!(kept(&[1, 1, 2], 3), 2);
        assert_eq!(kept(&[1, 1, 2], 4), 3);
        assert_eq!(kept(&[1, 1, 1], 3), 3);
        assert_eq!(kept(&[], 3), 0);
    }

    #[test]
    fn hours_start_on_the_hour_before_and_after_the_epoch() {
        assert_eq!(hour_start(HOUR_MS * 5 + 17), HOUR_MS * 5);
        assert_eq!(hour_start(HOUR_MS * 5), HOUR_MS * 5);
        assert_eq!(hour_start(-1), -HOUR_MS);
    }
}
