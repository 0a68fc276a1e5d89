use bytes::Bytes;
use gatewarden_protocol::HealthDocument;
use serde_json::json;

use super::super::*;
use super::sim::{Sim, record};
use crate::dialing::{DialFailure, HttpReply, SocketError};
use crate::dialing::{Health, HealthFailure};
use crate::gateway_record::{GatewayRecord, Transport};
use crate::gateway_report::Status;
use crate::machines::connection::AuthResult;
use gatewarden_protocol::Dialect;
use std::time::Duration;

fn upgrade_answered(status: u16) -> DialFailure {
    DialFailure::UpgradeRefused { status, content_type: None, body: Bytes::new(), retry_after: None }
}

fn health() -> HttpAnswer {
    HttpAnswer::Health(Ok(Health {
        document: HealthDocument { healthy: true, version: Some("2026.2.19".into()), uptime_ms: Some(1000) },
        is_healthy: true,
        took: Duration::from_millis(2),
    }))
}

pub(super) fn reply(status: u16, body: &'static str) -> HttpAnswer {
    HttpAnswer::Reply(Ok(HttpReply {
        status,
        content_type: Some("application/json".into()),
        retry_after: None,
        date_ms: None,
        body: Bytes::from_static(body.as_bytes()).into(),
        took: Duration::from_millis(2),
    }))
}

/// What is asked over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) id: String,
    pub(super) operation: HttpOperation,
}

impl Ask {
    fn of(effect: &Effect) -> Option<Self> {
        match effect {
            Effect::Http { id, operation, .. } => Some(Self { id: id.clone(), operation: operation.clone() }),
            _ => None,
        }
    }
}

pub(super) fn last_ask(sim: &Sim) -> Ask {
    sim.log.iter().rev().find_map(Ask::of).expect("something was asked over HTTP")
}

pub(super) fn answers(sim: &mut Sim, ask: &Ask, answer: HttpAnswer) {
    let epoch = sim.epoch();
    sim.feed(|connection, moment| connection.on_http(moment, epoch, &ask.id, answer, &mut super::sim::ample()));
}

/// Answers what an `http` gateway is asked until it is online.
pub(super) fn http_online(record: GatewayRecord) -> Sim {
    let mut sim = Sim::of(record);
    sim.start();
    if sim.connection.record().transport == Transport::Auto {
        sim.dial_failed(upgrade_answered(404));
    }
    let ask = last_ask(&sim);
    assert_eq!(ask.operation, HttpOperation::Detect);
    answers(&mut sim, &ask, health());
    let ask = last_ask(&sim);
    assert_eq!(ask.operation, HttpOperation::Sessions);
    sim.news();
    answers(&mut sim, &ask, reply(200, r#"{"sessions":[]}"#));
    for _ in 0..5 {
        for effect in sim.news() {
            let Some(ask) = Ask::of(&effect) else { continue };
            let answer = match ask.operation {
                HttpOperation::Health => health(),
                HttpOperation::Sessions => reply(200, r#"{"sessions":[{"key":"a:b","active":true}]}"#),
                HttpOperation::Config => reply(200, r#"{"agents":{"list":[{"id":"x"}]}}"#),
                other => panic!("asked for {other:?}"),
            };
            answers(&mut sim, &ask, answer);
        }
    }
    sim
}

#[test]
fn the_http_dialect_is_found_by_a_refused_upgrade_and_a_health_document() {
    let sim = http_online(record());
    assert_eq!(sim.status(), Status::Online);
    let report = sim.current();
    assert_eq!((report.dialect, report.version.as_deref()), (Some(Dialect::Http), Some("2026.2.19")));
    assert_eq!((report.sessions_count, report.agents_count), (Some(1), Some(1)));
    assert_eq!(sim.settlements(), [AuthResult::Accepted]);
}

#[test]
fn transport_http_never_dials_a_socket_and_ws_never_asks_over_http() {
    let sim = http_online(record().with(|spec| spec.transport = Transport::Http));
    assert_eq!((sim.dials(), sim.status()), (0, Status::Online));
    let mut sim = Sim::of(record().with(|spec| spec.transport = Transport::Ws));
    sim.start();
    sim.dial_failed(upgrade_answered(404));
    assert!(!sim.log.iter().any(|effect| matches!(effect, Effect::Http { .. })));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("not_a_gateway")));
}

#[test]
fn a_web_server_that_answers_200_to_everything_is_offline_as_not_a_gateway_and_never_sees_the_token() {
    let mut sim = Sim::new();
    sim.start();
    sim.dial_failed(upgrade_answered(200));
    let ask = last_ask(&sim);
    let page = HealthFailure::NotAHealthDocument { status: 200, content_type: Some("text/html".into()) };
    answers(&mut sim, &ask, HttpAnswer::Health(Err(page)));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("not_a_gateway")));
    assert_eq!(sim.connection.phase(), Phase::Blocked);
    assert_eq!(sim.settlements(), [AuthResult::NotFailed]);
    assert!(
        sim.log
            .iter()
            .all(|effect| !matches!(effect, Effect::Http { operation, .. } if *operation != HttpOperation::Detect))
    );
}

#[test]
fn a_refused_token_over_http_is_degraded() {
    let mut sim = Sim::of(record().with(|spec| spec.transport = Transport::Http));
    sim.start();
    let ask = last_ask(&sim);
    answers(&mut sim, &ask, health());
    let ask = last_ask(&sim);
    answers(&mut sim, &ask, reply(401, "{}"));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Degraded, Some("token_mismatch")));
    assert_eq!(sim.settlements(), [AuthResult::Failed]);
}

#[test]
fn an_http_gateway_that_goes_away_is_noticed_by_its_heartbeat_and_comes_back() {
    let mut sim = http_online(record());
    sim.news();
    sim.pass_s(30);
    let ask = last_ask(&sim);
    assert_eq!(ask.operation, HttpOperation::Health);
    answers(&mut sim, &ask, HttpAnswer::Health(Err(DialFailure::Refused.into())));
    assert_eq!((sim.status(), sim.connection.phase()), (Status::Offline, Phase::Backoff));
    sim.until_next_dial();
    sim.dial_failed(upgrade_answered(404));
    let ask = last_ask(&sim);
    answers(&mut sim, &ask, health());
    let ask = last_ask(&sim);
    answers(&mut sim, &ask, reply(200, "[]"));
    assert_eq!(sim.connection.phase(), Phase::Ready);
}

#[test]
fn calls_over_http_reach_their_operation_and_others_are_not_supported() {
    let mut sim = http_online(record());
    sim.call(1, "spawn");
    let ask = last_ask(&sim);
    assert_eq!(ask.operation, HttpOperation::Spawn(json!({})));
    answers(&mut sim, &ask, reply(200, r#"{"id":"s1"}"#));
    sim.call(2, "chat.history");
    sim.call(3, "control");
    let ask = last_ask(&sim);
    answers(&mut sim, &ask, reply(501, "{}"));
    sim.call(4, "spawn");
    sim.feed(Connection::reconnect);
    let codes: Vec<_> =
        sim.answers().into_iter().map(|(_, result)| result.map_err(|failure| failure.code.as_str())).collect();
    assert_eq!(
        codes,
        [
            Ok(json!({"id":"s1"})),
            Err("not_supported_by_gateway"),
            Err("not_supported_by_gateway"),
            Err("gateway_unavailable"),
        ]
    );
}

#[test]
fn callers_that_wait_over_http_leave_room_for_the_heartbeat() {
    let mut sim = http_online(record());
    for token in 0..=256 {
        sim.call(token, "spawn");
    }
    assert_eq!(sim.answers().pop().unwrap().1.unwrap_err().code.as_str(), "gateway_busy");
    sim.pass_s(30);
    assert_eq!(last_ask(&sim).operation, HttpOperation::Health);
}

#[test]
fn the_rpc_dialect_is_found_when_no_challenge_comes() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    sim.pass_s(5);
    assert_eq!(sim.last_sent(), json!({"method":"auth","params":{"token":"shared-token"}}));
    sim.says(json!({"result":{"ok":true}}));
    assert_eq!(sim.connection.phase(), Phase::Ready);
    assert_eq!(sim.current().dialect, Some(Dialect::Rpc));
    let asked = sim.unanswered();
    assert_eq!(asked[0].1, "gateway.info");
    let id = asked[0].0.clone();
    sim.says(json!({"id":id,"result":{"version":"2026.2.1","uptime":60}}));
    assert_eq!(sim.status(), Status::Online);
    assert_eq!(sim.current().version.as_deref(), Some("2026.2.1"));
    assert!(sim.current().latency_ms.is_some());
}

#[test]
fn a_late_challenge_always_wins() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    sim.pass_s(6);
    assert_eq!(sim.last_sent()["method"], "auth");
    sim.challenges();
    assert_eq!(sim.last_sent()["method"], "connect");
    sim.says(super::sim::hello_4());
    assert_eq!(sim.current().dialect, Some(Dialect::Openclaw));
}

#[test]
fn a_gateway_once_seen_to_challenge_is_given_ten_seconds() {
    let mut sim = Sim::of(GatewayRecord { dialect: Some(Dialect::Openclaw), ..record() });
    sim.start();
    sim.dialed();
    sim.pass_s(9);
    assert_eq!(sim.connection.phase(), Phase::AwaitingChallenge);
    sim.challenges();
    assert_eq!(sim.connection.phase(), Phase::Authenticating);
}

#[test]
fn text_that_is_no_json_before_the_login_is_not_a_gateway() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    sim.says_text("220 mail.example ESMTP");
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("not_a_gateway")));
    assert_eq!(sim.settlements(), [AuthResult::NotFailed]);
}

#[test]
fn a_known_gateway_that_sends_garbage_is_tried_again_soon() {
    let mut sim = Sim::online();
    sim.closes(None, "");
    sim.until_next_dial();
    sim.dialed();
    sim.says_text("<html>502</html>");
    assert_eq!((sim.connection.phase(), sim.code().as_deref()), (Phase::Backoff, Some("garbage")));
}

#[test]
fn a_few_strange_json_frames_are_borne_but_not_ten() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    for _ in 0..9 {
        sim.says(json!({"hello": "world"}));
    }
    assert_eq!(sim.connection.phase(), Phase::AwaitingChallenge);
    sim.says(json!({"hello": "world"}));
    assert_eq!(sim.code().as_deref(), Some("not_a_gateway"));
}

#[test]
fn a_giant_frame_before_the_login_is_offline_with_its_own_code_and_tried_again() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    let epoch = sim.epoch();
    let giant = SocketError::FrameTooLarge { announced: 30_000_000, cap: 65_536 };
    sim.feed(|connection, moment| connection.on_socket_failed(moment, epoch, &giant));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("frame_too_large")));
    sim.until_next_dial();
    sim.let_in();
}

#[test]
fn a_proxy_that_cannot_reach_the_gateway_is_backed_off_from_not_blocked() {
    for status in [500, 502, 503, 504] {
        let mut sim = Sim::new();
        sim.start();
        sim.dial_failed(upgrade_answered(status));
        assert_eq!((sim.connection.phase(), sim.status()), (Phase::Backoff, Status::Offline), "HTTP {status}");
    }
    let mut sim = Sim::new();
    sim.start();
    sim.dial_failed(upgrade_answered(403));
    assert_eq!((sim.connection.phase(), sim.status()), (Phase::Blocked, Status::Degraded));
}
