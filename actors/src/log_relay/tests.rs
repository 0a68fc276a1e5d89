use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::*;
use crate::event::EventFilter;
use crate::event::EventKind;
use crate::event_hub::EventHubActor;
use crate::event_hub::messages::Subscribe;
use crate::event_hub::subscriber::{Delivery, Subscription};
use crate::gateway_record::GatewaySpec;
use crate::gateway_report::{GatewayReport, Phase, Status};
use crate::log_watch::{LogFeed, LogSubscription, pair};
use crate::machines::event_places::Holder;
use crate::metrics::Metrics;
use crate::registry::roster::{GatewayView, RosterWriter};

/// Hands out subscriptions and keeps the other ends.
#[derive(Clone, Default)]
struct Registry {
    feeds: Rc<RefCell<Vec<(GatewayId, LogFeed)>>>,
}

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<WatchGatewayLogs> for Registry {
    type Result = Result<LogSubscription, Failure>;

    fn handle(&mut self, watch: WatchGatewayLogs, _: &mut Self::Context) -> Self::Result {
        let (feed, subscription) = pair(watch.request, &Arc::new(Metrics::new()), &[], None, None);
        self.feeds.borrow_mut().push((watch.gateway, feed));
        Ok(subscription)
    }
}

struct World {
    relay: Addr<LogRelayActor>,
    feeds: Rc<RefCell<Vec<(GatewayId, LogFeed)>>>,
    events: Subscription,
}

fn view(id: i64) -> GatewayView {
    let new = GatewaySpec::at(format!("gateway-{id}"), "127.0.0.1", 18789);
    let record = new.into_record(GatewayId(id), format!("uuid-{id}"), 0);
    let report = GatewayReport { status: Status::Online, phase: Phase::Ready, ..GatewayReport::unknown(0) };
    GatewayView::new(Arc::new(record), report, false)
}

impl World {
    async fn of(gateways: i64) -> Self {
        tokio::time::pause();
        let clock = Clock::simulated(1_000, 1);
        let roster = RosterWriter::default();
        roster.publish_all((1..=gateways).map(view).collect());
        let (hub, events) = EventHubActor::start(100, clock.clone(), Arc::default());
        let subscribe = Subscribe {
            holder: Holder::ADMIN,
            filter: EventFilter::new(&[EventKind::Log], false),
            last_seen: None,
            queue: 100,
        };
        let subscription = hub.send(subscribe).await.unwrap().unwrap();
        let registry = Registry::default();
        let feeds = registry.feeds.clone();
        let relay = LogRelayActor::start(LogRelayParts {
            registry: registry.start().recipient(),
            roster: roster.reader(),
            events,
            timeout: Duration::from_secs(5),
            clock,
        });
        Self { relay, feeds, events: subscription }
    }

    async fn lease(&self, gateways: Option<&[i64]>) -> Result<LogLease, Failure> {
        let gateways = gateways.map(|ids| ids.iter().map(|id| GatewayId(*id)).collect());
        let lease = self.relay.send(RelayLogs { gateways }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        lease
    }

    /// The gateways that are followed now.
    fn followed(&self) -> Vec<i64> {
        self.feeds.borrow().iter().filter(|(_, feed)| feed.is_read()).map(|(id, _)| id.0).collect()
    }

    async fn data(&self) -> Value {
        match self.events.next().await.unwrap() {
            Delivery::Event(event) => serde_json::from_slice::<Value>(&event.json).unwrap()["data"].clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[actix::test]
async fn gateways_are_followed_once_each_while_somebody_holds_a_lease_for_them() {
    let world = World::of(3).await;
    assert_eq!(world.followed(), [0_i64; 0]);
    let some = world.lease(Some(&[1, 2])).await.unwrap();
    assert_eq!(world.followed(), [1, 2]);
    let all = world.lease(None).await.unwrap();
    assert_eq!(world.followed(), [1, 2, 3]);
    drop(some);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.followed(), [1, 2, 3]);
    drop(all);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.followed(), [0_i64; 0]);
}

#[actix::test]
async fn entries_and_notices_become_events_of_one_shape() {
    let world = World::of(1).await;
    let _lease = world.lease(None).await.unwrap();
    {
        let feeds = world.feeds.borrow();
        let (_, feed) = &feeds[0];
        feed.entries(&[Arc::new(LogEntry::plain("up"))], None);
        feed.notice(LogDelivery::Interrupted);
    }
    let entry = world.data().await;
    assert_eq!(
        (&entry["gateway_id"], &entry["gateway"], &entry["message"]),
        (&json!(1), &json!("gateway-1"), &json!("up"))
    );
    let notice = world.data().await;
    assert_eq!((&notice["source"], &notice["level"]), (&json!("gatewarden"), &json!("warn")));
}

#[actix::test]
async fn a_gateway_whose_actor_ended_is_followed_again() {
    let world = World::of(1).await;
    let _lease = world.lease(None).await.unwrap();
    world.feeds.borrow_mut().clear();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.followed(), [1]);
}

#[actix::test]
async fn more_gateways_than_may_be_read_at_one_time_are_refused_with_what_to_do() {
    let world = World::of(65).await;
    let failure = world.lease(None).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert!(failure.help.unwrap().contains("gateway_id"));
    assert_eq!(world.followed(), [0_i64; 0]);
    let many: Vec<i64> = (1..=64).collect();
    let _lease = world.lease(Some(&many)).await.unwrap();
    assert!(world.lease(Some(&[65])).await.is_err());
    assert!(world.lease(Some(&[1])).await.is_ok());
}
