//! How the points of one gateway and hour become one. Pure.

use super::{Row, status_from};
use gatewarden_core::gateway_report::Status;

pub(super) const HOUR_MS: i64 = 3_600_000;

/// The start of the hour that a time (wall ms) lies in.
pub(crate) fn hour_start(at_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.rem_euclid(HOUR_MS))
}

/// Of rows in order of their gateways, those of gateways that are surely complete: where `limit` cut the reading off, the
/// last gateway waits for the next turn, unless it is the only one.
pub(super) fn whole_gateways(mut rows: Vec<(i64, Row)>, limit: usize) -> Vec<(i64, Row)> {
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
pub(super) fn fold(hour: i64, rows: &[Row]) -> Option<Row> {
    let last = rows.last()?;
    let worst = rows.iter().map(|row| status_from(&row.status)).max_by_key(|status| badness(*status))?;
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
        misses: rows.iter().map(|row| row.misses).sum(),
        error: rows.iter().rev().find_map(|row| row.error.clone()),
        thinned: true,
    })
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
