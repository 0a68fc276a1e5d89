//! `GET /api/gateways/latency`: round trips and outages of some gateways by time, as a graph shows them. Decided here, of what
//! the health log keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get};
use gatewarden_actors::gateway_report::Status;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_actors::store::records::HealthEntry;
use gatewarden_api::gateways::{
    BUCKETS, GatewayLatency, LatencyAnswer, LatencyBucket, LatencyIdsQuery, LatencyQuery, Outage,
};
use gatewarden_api::request::Request as _;
use gatewarden_api::responses::NoGateway;
use gatewarden_protocol::steady_time::Gap;

use super::gateway_id;
use super::health::not_observed;
use crate::http::auth::{Authorized, GatewayViewer};
use crate::http::context::{App, AppContext};
use crate::http::error::{Answer, ApiError};
use crate::http::input::{GatewayPath, query, read_query};
use crate::http::process_view::seconds;

/// Gateways in one answer.
const MAX_GATEWAYS: usize = 100;
/// Points of one gateway: of one that bounces more often than that, only the later part is known.
const MAX_POINTS: usize = 5_000;
const HOUR_MS: i64 = 3_600_000;

/// Read round trips and outages of some gateways
///
/// For each bucket of time the number of round trips, their 50th and 95th percentile; and when the gateway wasn't online. One that
/// isn't registered (any more) is left out.
#[utoipa::path(
    tag = "Gateways",
    params(LatencyIdsQuery),
    responses((status = 200, description = "Oldest first", body = LatencyAnswer)),
)]
#[get("/api/gateways/latency")]
pub(crate) async fn read_latencies(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let query = query(&request);
    let mut fields = query.fields();
    let LatencyIdsQuery { ids, bucket, hours } = LatencyIdsQuery::read(&mut fields);
    let read: Option<Vec<GatewayId>> =
        ids.split(',').map(|id| id.trim().parse().ok().filter(|id| *id > 0).map(GatewayId)).collect();
    let read = read.filter(|ids| ids.len() <= MAX_GATEWAYS);
    if read.is_none() && !ids.is_empty() {
        fields.wrong("ids", format_args!("must be up to {MAX_GATEWAYS} ids of gateways, separated by commas"));
    }
    fields.finish()?;
    let registered = read.unwrap_or_default().into_iter().filter_map(|id| app.roster.get(id)).collect();
    answer(&app, registered, bucket, hours).await
}

/// Read round trips and outages of a gateway
#[utoipa::path(
    tag = "Gateways",
    params(GatewayPath, LatencyQuery),
    responses((status = 200, description = "Oldest first", body = LatencyAnswer), NoGateway),
)]
#[get("/api/gateways/{id}/latency")]
pub(crate) async fn read_latency(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let LatencyQuery { bucket, hours } = read_query(&request)?;
    let view = app.gateway(gateway_id(&request)?).map_err(ApiError)?;
    answer(&app, vec![view], bucket, hours).await
}

async fn answer(app: &AppContext, views: Vec<Arc<GatewayView>>, bucket: Option<String>, hours: Option<u32>) -> Answer {
    let ids: Vec<GatewayId> = views.iter().map(|view| view.record.id).collect();
    let bucket = bucket.as_deref().unwrap_or("15m");
    let bucket_s = BUCKETS.iter().zip(BUCKET_SECONDS).find(|(name, _)| **name == bucket).map_or(900, |(_, s)| s);
    let to_ms = app.clock.wall_ms();
    // Whole buckets, so that the same ones come with each request.
    let span_ms = i64::from(hours.unwrap_or(24)).saturating_mul(HOUR_MS);
    let from_ms = start_of(to_ms.saturating_sub(span_ms), bucket_s.saturating_mul(1_000));
    app.store_observations().await;
    let gaps = app.gaps_since(from_ms);
    let not_observed = not_observed(&gaps);
    let bucket_ms = bucket_s.saturating_mul(1_000);
    let window = Window { from_ms, to_ms, bucket_ms, patience: app.settings.point_patience, gaps };
    let mut of_gateway: BTreeMap<GatewayId, Vec<HealthEntry>> = BTreeMap::new();
    for entry in app.store.health_history(Some(&ids), from_ms, MAX_POINTS).await? {
        of_gateway.entry(entry.gateway_id).or_default().push(entry);
    }
    let gateways = views.iter().map(|view| {
        let mut entries = of_gateway.remove(&view.record.id).unwrap_or_default();
        entries.reverse();
        let (buckets, outages) = (window.buckets(&entries), window.outages(&entries));
        GatewayLatency { gateway_id: view.record.id.0, name: view.record.name.clone(), buckets, outages }
    });
    let gateways = gateways.collect();
    let (from, to) = (seconds(from_ms), seconds(to_ms));
    Ok(HttpResponse::Ok().json(LatencyAnswer { from, to, bucket_s, gateways, not_observed }))
}

/// Of [`BUCKETS`].
const BUCKET_SECONDS: [i64; BUCKETS.len()] = [300, 900, 3_600, 21_600];

fn start_of(at_ms: i64, bucket_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.rem_euclid(bucket_ms))
}

/// A status that lasted for less is no outage of its own.
const STEP_MS: i64 = 50;

struct Window {
    from_ms: i64,
    to_ms: i64,
    bucket_ms: i64,
    /// How long a point says how it is: then there would be another one, if anybody had looked.
    patience: Duration,
    /// When nobody looked, oldest first.
    gaps: Vec<Gap>,
}

impl Window {
    /// What was measured in each bucket; one in which nothing was is left out. `entries` are in order of time.
    fn buckets(&self, entries: &[HealthEntry]) -> Vec<LatencyBucket> {
        let mut buckets: BTreeMap<i64, (Vec<f64>, u32)> = BTreeMap::new();
        for entry in entries {
            let (samples, misses) = buckets.entry(start_of(entry.point.at_ms, self.bucket_ms)).or_default();
            if entry.point.samples.is_empty() {
                // Of an earlier release.
                samples.extend(entry.point.latency_avg_ms);
            }
            samples.extend(&entry.point.samples);
            *misses = misses.saturating_add(entry.point.misses);
        }
        let is_worth_it = |(_, (samples, misses)): &(i64, (Vec<f64>, u32))| !samples.is_empty() || *misses > 0;
        let bucket = |(at_ms, (mut samples, misses)): (i64, (Vec<f64>, u32))| {
            samples.sort_by(f64::total_cmp);
            let (p50, p95) = (percentile(&samples, 50), percentile(&samples, 95));
            LatencyBucket { at: seconds(at_ms), count: samples.len(), p50, p95, misses }
        };
        buckets.into_iter().filter(is_worth_it).map(bucket).collect()
    }

    /// When it was known not to be online. The time in which nobody looked is no outage.
    fn outages(&self, entries: &[HealthEntry]) -> Vec<Outage> {
        let mut outages: Vec<Outage> = Vec::new();
        let after = entries.iter().skip(1).map(Some).chain([None]);
        for (entry, next) in entries.iter().zip(after) {
            if matches!(entry.point.status, Status::Online | Status::Unknown) {
                continue;
            }
            let patience_ms = i64::try_from(self.patience.as_millis()).unwrap_or(i64::MAX);
            let known_for_ms = if entry.thinned { HOUR_MS } else { patience_ms };
            let patient_until_ms = entry.point.at_ms.saturating_add(known_for_ms);
            let gap = self.gaps.iter().find(|gap| gap.to_ms > entry.point.at_ms);
            let known_until_ms = gap.map_or(patient_until_ms, |gap| gap.from_ms.min(patient_until_ms));
            // One that was seen right before a sudden end of the daemon lies in the gap: the last sign of life is older.
            let known_until_ms = known_until_ms.max(entry.point.at_ms);
            let end_ms = next.map_or(self.to_ms, |next| next.point.at_ms);
            let lasts = next.is_none() && known_until_ms >= self.to_ms;
            let to = (!lasts).then(|| seconds(end_ms.min(known_until_ms)));
            let (from, status) = (seconds(entry.point.at_ms.max(self.from_ms)), entry.point.status.as_str());
            // A step on the way to another status, like the word of a gateway that was busy until it was connected.
            if next.is_some_and(|next| {
                next.point.status != entry.point.status && next.point.at_ms.saturating_sub(entry.point.at_ms) < STEP_MS
            }) {
                continue;
            }
            match outages.last_mut() {
                Some(last) if last.status == status && last.to == Some(from) => last.to = to,
                _ => outages.push(Outage { from, to, status: status.to_owned() }),
            }
        }
        outages
    }
}

/// The nearest rank, to a tenth of a millisecond; none of nothing. `sorted` is.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|ms| (ms * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use gatewarden_actors::gateway_report::HealthPoint;
    use gatewarden_protocol::steady_time::GapReason;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn window() -> Window {
        let patience = Duration::from_secs(11 * 60);
        Window { from_ms: 0, to_ms: 10 * HOUR_MS, bucket_ms: 15 * MINUTE, patience, gaps: Vec::new() }
    }

    fn entry(at_ms: i64, status: Status, samples: &[f64]) -> HealthEntry {
        let latency_ms = samples.last().copied();
        let point = HealthPoint {
            at_ms,
            status,
            latency_ms,
            latency_min_ms: latency_ms,
            latency_avg_ms: latency_ms,
            latency_max_ms: latency_ms,
            samples: samples.to_vec(),
            misses: 0,
            error: None,
        };
        HealthEntry { gateway_id: GatewayId(1), thinned: false, point }
    }

    fn told(entries: &[HealthEntry]) -> Vec<(i64, Option<i64>, String)> {
        told_in(&window(), entries)
    }

    fn told_in(window: &Window, entries: &[HealthEntry]) -> Vec<(i64, Option<i64>, String)> {
        let outages = window.outages(entries);
        outages.into_iter().map(|outage| (outage.from / 60, outage.to.map(|to| to / 60), outage.status)).collect()
    }

    #[test]
    fn round_trips_of_a_bucket_are_counted_together() {
        let up_to_ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let more: Vec<f64> = (11..=20).map(f64::from).collect();
        let entries = [
            entry(MINUTE, Status::Online, &up_to_ten),
            entry(14 * MINUTE, Status::Online, &more),
            entry(16 * MINUTE, Status::Online, &[7.26]),
            entry(HOUR_MS, Status::Offline, &[]),
        ];
        let buckets = window().buckets(&entries);
        let seen: Vec<_> = buckets.iter().map(|it| (it.at, it.count, it.p50, it.p95)).collect();
        assert_eq!(seen, [(0, 20, Some(10.0), Some(19.0)), (900, 1, Some(7.3), Some(7.3))]);
    }

    #[test]
    fn a_status_on_the_way_to_another_is_no_outage_of_its_own() {
        let (offline, degraded, online) = (Status::Offline, Status::Degraded, Status::Online);
        let points = [(MINUTE, offline), (2 * MINUTE, degraded), (2 * MINUTE + 1, online), (5 * MINUTE, online)];
        let entries = points.map(|(at_ms, status)| entry(at_ms, status, &[]));
        assert_eq!(told(&entries), [(1, Some(2), "offline".to_owned())]);
    }

    #[test]
    fn an_outage_lasts_until_the_status_changes_and_one_that_goes_on_has_no_end() {
        let (online, offline) = (Status::Online, Status::Offline);
        let points = [(0, online), (10, offline), (15, offline), (20, Status::Degraded), (25, online), (595, offline)];
        let entries = points.map(|(minute, status)| entry(minute * MINUTE, status, &[]));
        let expected = [(10, Some(20), "offline"), (20, Some(25), "degraded"), (595, None, "offline")];
        assert_eq!(told(&entries), expected.map(|(from, to, status)| (from, to, status.to_owned())));
    }

    #[test]
    fn an_outage_ends_where_the_daemon_stopped_to_look_and_is_another_one_after_that() {
        let gap = |from: i64, to: i64| Gap { from_ms: from * MINUTE, to_ms: to * MINUTE, reason: GapReason::Frozen };
        let window = Window { gaps: vec![gap(2, 5), gap(596, 598)], ..window() };
        let points = [(0, Status::Offline), (6, Status::Offline), (8, Status::Online), (595, Status::Timeout)];
        let entries = points.map(|(minute, status)| entry(minute * MINUTE, status, &[]));
        let expected = [(0, Some(2), "offline"), (6, Some(8), "offline"), (595, Some(596), "timeout")];
        assert_eq!(told_in(&window, &entries), expected.map(|(from, to, status)| (from, to, status.to_owned())));
        // What an hour was like isn't known of the part in which nobody looked.
        let hourly = [HealthEntry { thinned: true, ..entry(0, Status::Offline, &[]) }];
        assert_eq!(told_in(&window, &hourly), [(0, Some(2), "offline".to_owned())]);
    }

    #[test]
    fn time_in_which_nobody_looked_is_no_outage() {
        let entries = [entry(0, Status::Offline, &[]), entry(5 * HOUR_MS, Status::Offline, &[])];
        let expected = [(0, Some(11), "offline".to_owned()), (300, Some(311), "offline".to_owned())];
        assert_eq!(told(&entries), expected);
        let hourly = [HealthEntry { thinned: true, ..entry(0, Status::Offline, &[]) }];
        assert_eq!(told(&hourly), [(0, Some(60), "offline".to_owned())]);
    }
}
