use std::time::Duration;

use serde_json::json;

use super::world::{Line, World, hello, record};
use crate::dialing::{DialFailure, SocketError};
use crate::gateway_record::{GatewayRecord, Transport};
use crate::gateway_report::{BreakerState, Phase, Status};
use crate::machines::auth_budget::{MAX_FAILURES, WINDOW};
use crate::machines::connection::AuthResult;
use gatewarden_protocol::{Dialect, Secret};

#[actix::test]
async fn a_gateway_comes_online_with_what_it_says_of_itself() {
    let (world, _peer) = World::online().await;
    let report = world.heard.borrow().last();
    assert_eq!(report.version.as_deref(), Some("2026.9.6"));
    assert_eq!((report.sessions_count, report.agents_count), (Some(0), Some(1)));
    assert_eq!(
        world.heard.borrow().settled.iter().map(|(_, result)| *result).collect::<Vec<_>>(),
        [AuthResult::Accepted]
    );
    assert!(world.heard.borrow().device_token.is_some());
    assert_eq!(world.heard.borrow().points[0].status, Status::Online);
}

#[actix::test]
async fn it_stays_online_for_an_hour_without_another_dial() {
    let (world, _peer) = World::online().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.heard.borrow().last().status, Status::Online);
    assert_eq!(*world.network.dials.lock().unwrap(), 1);
    assert!(world.heard.borrow().reports.iter().all(|report| report.status != Status::Timeout));
}

#[actix::test]
async fn a_killed_gateway_is_seen_at_once_and_its_return_without_help() {
    let (world, peer) = World::online().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    world.network.set([Line::Fails(DialFailure::Refused), Line::Fails(DialFailure::Refused), Line::Opens]);
    let killed_at = world.seconds();
    peer.abort();
    world.until_status(Status::Offline).await;
    assert!(world.seconds() - killed_at < 0.1);
    let peer = world.peer().await;
    actix_rt::spawn(peer.play());
    let report = world.until_status(Status::Online).await;
    assert!(world.seconds() - killed_at < 10.0);
    assert_eq!(report.breaker.state, BreakerState::Closed);
}

#[actix::test]
async fn a_frozen_gateway_is_timeout_within_40_s_and_dropped_within_a_minute() {
    let world = World::new([Line::Opens, Line::Swallows]).await;
    let mut peer = world.peer().await;
    peer.challenge().await;
    peer.says(&hello());
    let _ = tokio::time::timeout(Duration::from_secs(1), peer.serve()).await;
    world.until_status(Status::Online).await;
    // It holds the socket and says nothing more.
    let frozen_at = world.seconds();
    world.until_status(Status::Timeout).await;
    assert!(world.seconds() - frozen_at < 40.2, "{}", world.seconds() - frozen_at);
    let report = world.until_status(Status::Offline).await;
    assert!(world.seconds() - frozen_at < 60.2, "{}", world.seconds() - frozen_at);
    assert_eq!(report.breaker.state, BreakerState::Open);
    assert_eq!(report.last_error.unwrap().code, "heartbeat_lost");
    drop(peer);
}

#[actix::test]
async fn a_black_hole_is_timeout_and_then_offline() {
    let world = World::new([Line::Swallows]).await;
    world.until_status(Status::Timeout).await;
    assert!(world.seconds() < 10.5);
    let report = world.until_status(Status::Offline).await;
    assert!(world.seconds() < 60.0);
    assert_eq!(report.last_error.unwrap().code, "dial_timeout");
}

#[actix::test]
async fn a_web_server_that_answers_200_to_everything_is_not_a_gateway() {
    let refused = DialFailure::UpgradeRefused {
        status: 200,
        content_type: Some("text/html".into()),
        body: bytes::Bytes::from_static(b"<html>"),
        retry_after: None,
    };
    tokio::time::pause();
    let world = World::on(record(), [Line::Fails(refused)], Some((200, "text/html", "<html>"))).await;
    let report = world.until_status(Status::Offline).await;
    assert_eq!((report.phase, report.last_error.unwrap().code.as_str()), (Phase::Blocked, "not_a_gateway"));
    assert!(world.network.bearers.lock().unwrap().iter().all(|(_, bearer)| !bearer), "it never sees the token");
}

#[actix::test]
async fn an_http_gateway_is_online_and_sees_the_token_only_after_its_health_document() {
    tokio::time::pause();
    let health = (200, "application/json", r#"{"status":"ok","version":"2026.2.19","uptime":3600}"#);
    let over_http = record().with(|spec| spec.transport = Transport::Http);
    let world = World::on(over_http, [], Some(health)).await;
    let report = world.until_status(Status::Online).await;
    assert_eq!((report.dialect, report.version.as_deref()), (Some(Dialect::Http), Some("2026.2.19")));
    let bearers = world.network.bearers.lock().unwrap().clone();
    assert_eq!(bearers[0], ("/health".to_owned(), false));
    assert_eq!(bearers[1], ("/sessions".to_owned(), true));
    *world.network.http.lock().unwrap() = None;
    world.until_status(Status::Offline).await;
}

#[actix::test]
async fn the_rpc_dialect_comes_online() {
    let world = World::new([Line::Opens]).await;
    let mut peer = world.peer().await;
    let auth = peer.hears().await.unwrap();
    assert_eq!(auth, json!({"method":"auth","params":{"token":"shared-token"}}));
    peer.says(&json!({"result":{"authenticated":true}}));
    actix_rt::spawn(async move {
        while let Some(request) = peer.hears().await {
            peer.says(&json!({"id":request["id"],"result":{"version":"2026.1.1","sessions":[],"agents":[]}}));
        }
    });
    let report = world.until_status(Status::Online).await;
    assert_eq!(report.dialect, Some(Dialect::Rpc));
    let report = world.until(|report| report.version.is_some()).await;
    assert_eq!(report.version.as_deref(), Some("2026.1.1"));
}

#[actix::test]
async fn a_wrong_token_never_costs_more_than_five_failed_logins_a_minute_however_often_an_operator_insists() {
    let world = World::new([Line::Opens]).await;
    let until = world.seconds() + 300.0;
    while world.seconds() < until {
        if let Ok(mut peer) = tokio::time::timeout(Duration::from_millis(500), world.peer()).await {
            peer.challenge().await;
            peer.says(&json!({"type":"res","id":"connect","ok":false,"error":{"code":"INVALID_REQUEST",
                "message":"unauthorized: gateway token mismatch","details":{"code":"AUTH_TOKEN_MISMATCH"}}}));
        }
        world.gateway.send(crate::gateway::GatewayCommand::Reconnect).await.unwrap();
    }
    let failed: Vec<_> = world
        .heard
        .borrow()
        .settled
        .iter()
        .filter(|(_, result)| matches!(result, AuthResult::Failed | AuthResult::Unknown))
        .map(|(at, _)| *at)
        .collect();
    assert!(failed.len() > 15, "{}", failed.len());
    assert!(failed.windows(MAX_FAILURES + 1).all(|window| window[MAX_FAILURES] - window[0] > WINDOW));
}

#[actix::test]
async fn a_device_token_is_used_where_no_shared_one_is_set_and_forgotten_when_rejected() {
    let world = World::of(record().with(|spec| spec.token = None), [Line::Opens]).await;
    let mut peer = world.peer().await;
    assert!(peer.challenge().await["params"].get("auth").is_none());
    peer.says(&hello());
    world.until(|report| report.phase == Phase::Ready).await;
    drop(peer);
    let mut peer = world.peer().await;
    assert_eq!(peer.challenge().await["params"]["auth"]["token"], "device-token");
    peer.says(&json!({"type":"res","id":"connect","ok":false,"error":{"code":"INVALID_REQUEST",
        "message":"unauthorized: device token mismatch","details":{"code":"AUTH_DEVICE_TOKEN_MISMATCH"}}}));
    let mut peer = world.peer().await;
    assert!(peer.challenge().await["params"].get("auth").is_none());
    assert_eq!(world.heard.borrow().forgotten, 1);
}

#[actix::test]
async fn early_closes_and_broken_sockets_at_every_step_recover_by_themselves() {
    tokio::time::pause();
    for step in 0..5 {
        let world = World::on(record(), [Line::Opens], None).await;
        let mut peer = world.peer().await;
        match step {
            0 => peer.closes(1000, ""),
            1 => peer.fails(SocketError::FrameTooLarge { announced: 30_000_000, cap: 65_536 }),
            2 => {
                peer.challenge().await;
                peer.closes(1011, "oops");
            }
            3 => {
                peer.challenge().await;
                peer.fails(SocketError::Io { reason: "reset".into() });
            }
            _ => {
                peer.challenge().await;
                peer.says(&hello());
                world.until(|report| report.phase == Phase::Ready).await;
                peer.fails(SocketError::Protocol { reason: "x" });
            }
        }
        let report = world.until_status(Status::Offline).await;
        assert_eq!(report.phase, Phase::Backoff, "step {step}");
        if step == 3 {
            // Once: a longer text is cut where rows are short.
            let said = &report.last_error.as_ref().unwrap().message;
            assert!(said.ends_with(" broke the connection off: reset."), "{said}");
        }
        drop(peer);
        let peer = world.peer().await;
        actix_rt::spawn(peer.play());
        world.until_status(Status::Online).await;
    }
}

#[actix::test]
async fn a_changed_token_reconnects_with_it() {
    let (world, _peer) = World::online().await;
    let changed = GatewayRecord { revision: 2, ..record().with(|spec| spec.token = Some(Secret::new("new"))) };
    world.gateway.send(crate::gateway::GatewayCommand::Update(std::sync::Arc::new(changed))).await.unwrap();
    let mut peer = world.peer().await;
    assert_eq!(peer.challenge().await["params"]["auth"]["token"], "new");
}
