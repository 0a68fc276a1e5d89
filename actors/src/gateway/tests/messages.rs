use std::time::Duration;

use actix::prelude::*;
use serde_json::{Value, json};

use super::world::{Line, World};
use crate::dialing::DialFailure;
use crate::error::Failure;
use crate::gateway::{GatewayActor, GatewayCommand};
use crate::gateway_report::{Phase, Status};
use crate::spawn::{ControlSession, SessionAction};

async fn call(world: &World, method: &str) -> Result<Value, Failure> {
    let call = |reply| GatewayCommand::Call {
        method: method.to_owned(),
        params: json!({}),
        timeout: Duration::from_secs(3),
        reply,
    };
    world.ask(call).await.map(crate::dialing::Held::into_inner)
}

#[actix::test]
async fn a_call_is_answered_by_the_gateway() {
    let (world, _peer) = World::online().await;
    assert_eq!(call(&world, "chat.send").await, Ok(json!({"done": true})));
}

#[actix::test]
async fn without_the_right_to_act_nothing_is_sent_that_changes_anything_and_reads_go_on() {
    let (world, _peer) = World::online().await;
    world.right.set(world.clock.uptime_ms());
    for method in ["chat.send", "sessions.patch", "unheard.of"] {
        assert_eq!(call(&world, method).await.unwrap_err().code.as_str(), "not_acting", "{method}");
    }
    let control =
        ControlSession { session_key: "main".to_owned(), action: SessionAction::Kill, timeout: Duration::from_secs(3) };
    let killed = world.ask(|reply| GatewayCommand::Control(control, reply)).await;
    assert_eq!(killed.err().map(|failure| failure.code.as_str()), Some("not_acting"));
    let read = call(&world, "config.get").await;
    assert_ne!(read.err().map(|failure| failure.code.as_str()), Some("not_acting"));
    world.right.set(i64::MAX);
    assert!(call(&world, "chat.send").await.is_ok());
}

#[actix::test]
async fn a_call_that_is_never_answered_times_out_and_the_connection_lives_on() {
    let (world, _peer) = World::online().await;
    let failure = call(&world, "never").await.unwrap_err();
    assert_eq!(failure.code.as_str(), "gateway_timeout");
    assert_eq!(world.phase(), Some(Phase::Ready));
}

#[actix::test]
async fn calls_under_way_fail_when_the_connection_is_lost() {
    let (world, peer) = World::online().await;
    let (failed, ()) = futures_util::future::join(call(&world, "never"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.abort();
    })
    .await;
    assert_eq!(failed.unwrap_err().code.as_str(), "gateway_unavailable");
    assert_eq!(call(&world, "chat.send").await.unwrap_err().code.as_str(), "gateway_unavailable");
}

#[actix::test]
async fn a_probe_of_a_live_gateway_measures_it() {
    let (world, _peer) = World::online().await;
    let outcome = world.probe().await;
    assert_eq!(outcome.failed_step, None);
    assert!(outcome.latency_ms.is_some());
    assert_eq!(outcome.report.status, Status::Online);
}

#[actix::test]
async fn a_probe_of_a_gateway_that_is_down_says_which_step_failed() {
    let world = World::new([Line::Fails(DialFailure::Refused)]).await;
    world.until_status(Status::Offline).await;
    let outcome = world.probe().await;
    assert_eq!(outcome.failed_step.unwrap().0, "connect");
    assert_eq!(outcome.report.status, Status::Offline);
}

#[actix::test]
async fn a_probe_of_a_black_hole_ends_within_its_budget() {
    let world = World::new([Line::Swallows]).await;
    let begun = world.seconds();
    let outcome = world.probe().await;
    assert!(world.seconds() - begun <= 5.1);
    assert!(outcome.failed_step.is_some());
}

#[actix::test]
async fn stopping_says_goodbye_answers_callers_and_ends_the_actor() {
    let world = World::new([Line::Opens]).await;
    let mut peer = world.peer().await;
    peer.challenge().await;
    peer.says(&super::world::hello());
    world.until(|report| report.phase == Phase::Ready).await;
    let (failed, ()) = futures_util::future::join(call(&world, "never"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.ask(GatewayCommand::ShutDown).await;
    })
    .await;
    assert_eq!(failed.unwrap_err().code.as_str(), "gateway_unavailable");
    let mut said = Vec::new();
    while let Some(sent) = peer.peer.sent.recv().await {
        said.push(*sent);
    }
    assert!(matches!(said.last(), Some(crate::dialing::Sent::Close { code: 1001, .. })));
    assert!(!world.gateway.connected());
}

/// Kills an actor as a fault would.
#[derive(Message)]
#[rtype(result = "()")]
struct InducePanic;

impl Handler<InducePanic> for GatewayActor {
    type Result = ();

    fn handle(&mut self, InducePanic: InducePanic, _ctx: &mut Self::Context) {
        panic!("induced by a test");
    }
}

#[actix::test]
async fn a_panic_ends_the_actor_and_callers_hear_of_it() {
    let (world, _peer) = World::online().await;
    let hushed = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    world.gateway.do_send(InducePanic);
    tokio::time::sleep(Duration::from_millis(100)).await;
    std::panic::set_hook(hushed);
    assert!(!world.gateway.connected());
}
