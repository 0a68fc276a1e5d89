use super::*;
use crate::batching::HealthLogWriter;
use gatewarden_core::gateway_report::HealthPoint;
use gatewarden_core::gateway_report::Status;
use gatewarden_core::ids::GatewayId;

const HOUR: i64 = 3_600_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn point(at_ms: i64) -> HealthPoint {
    HealthPoint {
        samples: vec![10.0, 12.5, 15.3],
        at_ms,
        status: Status::Degraded,
        latency_ms: Some(12.5),
        latency_min_ms: Some(10.0),
        latency_avg_ms: Some(12.0),
        latency_max_ms: Some(15.25),
        misses: 1,
        error: Some("Gateway a is slow".to_owned()),
    }
}

async fn gateway(scratch: &Scratch, name: &str) -> GatewayId {
    scratch.store.create_gateway(new_gateway(name)).await.unwrap().record.id
}

async fn times(scratch: &Scratch, id: GatewayId) -> Vec<i64> {
    let entries = scratch.store.health_history(Some(&[id]), i64::MIN, 10_000).await.unwrap();
    entries.into_iter().map(|entry| entry.point.at_ms).collect()
}

#[actix::test]
async fn points_come_back_newest_first_and_grouped_by_gateway() {
    let scratch = Scratch::open();
    let (a, b) = (gateway(&scratch, "a").await, gateway(&scratch, "b").await);
    let points = vec![(b, point(1)), (a, point(2)), (b, point(3)), (a, point(4)), (b, point(5))];
    scratch.store.append_health(points).await.unwrap();
    let entries = scratch.store.health_history(None, 2, 1).await.unwrap();
    let found: Vec<_> = entries.iter().map(|entry| (entry.gateway_id, entry.point.at_ms)).collect();
    assert_eq!(found, vec![(a, 4), (b, 5)]);
    assert_eq!(entries[0].point, point(4));
    assert_eq!(times(&scratch, b).await, vec![5, 3, 1]);
    let since = scratch.store.health_history(Some(&[b]), 2, 10).await.unwrap();
    assert_eq!(since.len(), 2);
    assert_eq!(scratch.store.health_history(Some(&[GatewayId(999)]), 0, 10).await.unwrap(), vec![]);
}

#[actix::test]
async fn points_of_a_deleted_gateway_fail_no_others_and_go_with_it() {
    let scratch = Scratch::open();
    let (a, b) = (gateway(&scratch, "a").await, gateway(&scratch, "b").await);
    scratch.store.append_health(vec![(a, point(1)), (GatewayId(999), point(2)), (b, point(3))]).await.unwrap();
    assert_eq!(times(&scratch, b).await, vec![3]);
    scratch.store.delete_gateway(a).await.unwrap();
    let left = scratch.store.health_history(None, 0, 10).await.unwrap();
    assert_eq!(left.len(), 1);
}

#[actix::test]
async fn thinning_keeps_a_full_day_then_hours_for_a_week_then_nothing() {
    let scratch = Scratch::open();
    let (a, b) = (gateway(&scratch, "a").await, gateway(&scratch, "b").await);
    let now = 1_000_000 * HOUR + HOUR / 2;
    let every_five_minutes = |id: GatewayId| (0..10 * 24 * 12).map(move |turn| (id, point(now - turn * HOUR / 12)));
    scratch.store.append_health(every_five_minutes(a).chain(every_five_minutes(b)).collect()).await.unwrap();
    let done = scratch.store.thin_health(now, DAY, WEEK).await.unwrap();
    for id in [a, b] {
        let times = times(&scratch, id).await;
        let day_start = now - 24 * HOUR - HOUR / 2;
        let full = times.iter().filter(|at| **at >= day_start).count();
        assert_eq!(full, 24 * 12 + 7, "a full day, from the start of its first hour");
        let hours: Vec<i64> = times.into_iter().filter(|at| *at < day_start).collect();
        assert!(hours.iter().all(|at| at % HOUR == 0));
        assert!(hours.windows(2).all(|pair| pair[0] - pair[1] == HOUR), "one point an hour, none missing");
        assert_eq!(hours.len(), 6 * 24);
    }
    assert_eq!(done.removed, 2 * (3 * 24 * 12 - 7));
    assert_eq!(done.folded + done.removed, 2 * (10 * 24 * 12 - 24 * 12 - 7));
    let hourly = scratch.store.health_history(Some(&[a]), 0, 10_000).await.unwrap().pop().unwrap().point;
    assert_eq!(
        (hourly.status, hourly.latency_min_ms, hourly.latency_max_ms),
        (Status::Degraded, Some(10.0), Some(15.25))
    );
    let again = scratch.store.thin_health(now, DAY, WEEK).await.unwrap();
    assert_eq!((again.folded, again.removed), (0, 0), "what is thinned stays");
}

#[actix::test]
async fn an_hour_with_more_points_than_one_transaction_takes_is_thinned_too() {
    let scratch = Scratch::open();
    let (a, b) = (gateway(&scratch, "a").await, gateway(&scratch, "b").await);
    let flapping = (0..4_500).map(|turn| (if turn < 1_500 { a } else { b }, point(turn)));
    scratch.store.append_health(flapping.collect()).await.unwrap();
    let done = scratch.store.thin_health(30 * HOUR, DAY, WEEK).await.unwrap();
    assert_eq!((done.folded, done.removed), (4_500, 0));
    assert_eq!(times(&scratch, a).await, vec![0]);
    assert_eq!(times(&scratch, b).await, vec![0, 0], "folded in two turns");
    let misses: u32 =
        scratch.store.health_history(None, 0, 9).await.unwrap().iter().map(|entry| entry.point.misses).sum();
    assert_eq!(misses, 4_500);
}

#[actix::test]
async fn the_writer_brings_points_into_the_database() {
    let scratch = Scratch::open();
    let id = gateway(&scratch, "a").await;
    let writer = HealthLogWriter::start(scratch.store.clone());
    for at in 0..500 {
        writer.push((id, point(at)));
    }
    writer.flush().await;
    assert_eq!(times(&scratch, id).await.len(), 500);
}
