use serde_json::{Value, json};

use super::subscriber::Subscription;
use super::*;
use crate::event::{EventFilter, EventKind};
use crate::machines::event_places::Holder;

fn all() -> EventFilter {
    EventFilter::new(&[], true)
}

async fn subscribe(hub: &Addr<EventHubActor>, last_seen: Option<u64>, queue: usize) -> Subscription {
    hub.send(Subscribe { holder: Holder::ADMIN, filter: all(), last_seen, queue }).await.unwrap().unwrap()
}

async fn next_n(subscription: &Subscription) -> u64 {
    match subscription.next().await.unwrap() {
        Delivery::Event(event) => serde_json::from_slice::<Value>(&event.json).unwrap()["data"]["n"].as_u64().unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn next_id(subscription: &Subscription) -> u64 {
    match subscription.next().await.unwrap() {
        Delivery::Event(event) => event.id,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn subscribers_get_events_in_order_with_ids_that_grow_by_one() {
    let (hub, publisher) = EventHubActor::start(100, Clock::simulated(1_700_000_000_000, 1), Arc::default());
    let subscription = subscribe(&hub, None, 16).await;
    for n in 0..3 {
        publisher.publish(EventKind::Log, json!({ "n": n }));
    }
    let first = next_id(&subscription).await;
    assert!(first > 1_700_000_000_000_000, "above those of every earlier run: {first}");
    for n in 1..3 {
        assert_eq!(next_id(&subscription).await, first + n);
    }
}

#[actix::test]
async fn a_returning_subscriber_misses_nothing() {
    let (hub, publisher) = EventHubActor::start(100, Clock::simulated(1, 1), Arc::default());
    let first = subscribe(&hub, None, 16).await;
    publisher.publish(EventKind::Log, json!({ "n": 0 }));
    let seen = next_id(&first).await;
    drop(first);
    for n in 1..=50 {
        publisher.publish(EventKind::Log, json!({ "n": n }));
    }
    let again = subscribe(&hub, Some(seen), 4).await;
    publisher.publish(EventKind::Log, json!({ "n": 51 }));
    for n in 1..=51 {
        assert_eq!(next_n(&again).await, n);
    }
}

#[actix::test]
async fn whoever_leaves_before_the_first_event_misses_nothing_either() {
    let (hub, publisher) = EventHubActor::start(100, Clock::simulated(1, 1), Arc::default());
    publisher.publish(EventKind::Log, json!({ "n": 0 }));
    let first = subscribe(&hub, None, 16).await;
    let starts_after = first.starts_after();
    drop(first);
    publisher.publish(EventKind::Log, json!({ "n": 1 }));
    let again = subscribe(&hub, Some(starts_after), 16).await;
    assert_eq!(again.starts_after(), starts_after);
    assert_eq!(next_n(&again).await, 1);
}

#[actix::test]
async fn an_id_of_an_earlier_run_is_answered_with_a_reset() {
    let (hub, publisher) = EventHubActor::start(100, Clock::simulated(1_700_000_000_000, 1), Arc::default());
    publisher.publish(EventKind::Log, json!({ "n": 0 }));
    let subscription = subscribe(&hub, Some(1_600_000_000_000_000), 16).await;
    // Its ids begin with the time of its start, which a busy machine delays.
    let reset = subscription.next().await;
    assert!(
        matches!(reset, Some(Delivery::Reset { last_id }) if last_id / 1_000_000_000 == 1_700_000 && last_id % 1_000 == 1),
        "{reset:?}"
    );
    publisher.publish(EventKind::Log, json!({ "n": 1 }));
    assert_eq!(next_n(&subscription).await, 1);
}

#[actix::test]
async fn a_slow_subscriber_loses_its_oldest_events_and_hears_how_many_while_others_lose_none() {
    let (hub, publisher) = EventHubActor::start(100, Clock::simulated(1, 1), Arc::default());
    let slow = subscribe(&hub, None, 10).await;
    let quick = subscribe(&hub, None, 1_000).await;
    for n in 0..100 {
        publisher.publish(EventKind::Log, json!({ "n": n }));
    }
    for n in 0..100 {
        assert_eq!(next_n(&quick).await, n);
    }
    assert_eq!(slow.next().await, Some(Delivery::Lagged { dropped: 90 }));
    for n in 90..100 {
        assert_eq!(next_n(&slow).await, n);
    }
}

#[actix::test]
async fn streams_end_when_the_daemon_stops_and_new_ones_are_refused() {
    let (hub, publisher) = EventHubActor::start(100, Clock::simulated(1, 1), Arc::default());
    let subscription = subscribe(&hub, None, 10).await;
    publisher.publish(EventKind::Log, json!({ "n": 7 }));
    hub.send(EndStreams).await.unwrap();
    assert_eq!(next_n(&subscription).await, 7, "what was queued is still read");
    assert_eq!(subscription.next().await, None);
    assert!(
        hub.send(Subscribe { holder: Holder::ADMIN, filter: all(), last_seen: None, queue: 1 }).await.unwrap().is_err()
    );
}

#[actix::test]
async fn a_flood_of_events_is_dropped_with_a_reset_and_the_backlog_drains() {
    let (hub, publisher) = EventHubActor::start(100, Clock::simulated(1, 1), Arc::default());
    let subscription = subscribe(&hub, None, 100_000).await;
    for n in 0..25_000 {
        publisher.publish(EventKind::Log, json!({ "n": n }));
    }
    assert_eq!(publisher.backlog(), 20_000);
    let mut resets = 0;
    let mut events = 0;
    hub.send(EndStreams).await.unwrap();
    while let Some(delivery) = subscription.next().await {
        match delivery {
            Delivery::Reset { .. } => resets += 1,
            Delivery::Event(_) => events += 1,
            Delivery::Lagged { .. } => panic!("the queue was large enough"),
        }
    }
    assert_eq!((resets, events, publisher.backlog()), (1, 20_000, 0));
}
