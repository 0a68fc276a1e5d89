use gatewarden_protocol::Secret;

use super::super::*;
use super::sim::{Sim, address, granted, record};
use crate::dialing::{DialFailure, DialStep};
use crate::gateway_record::{DeviceToken, GatewayRecord};
use crate::gateway_report::{BreakerState, Status};
use crate::machines::connection::{AuthPermit, AuthResult, GatewayNotice};
use gatewarden_protocol::Dialect;
use std::time::Duration;

#[test]
fn nothing_is_dialled_before_a_permit_is_granted() {
    let mut sim = Sim::new();
    sim.grants = false;
    sim.start();
    assert_eq!(sim.connection.phase(), Phase::Idle);
    assert_eq!(sim.dials(), 0);
    let asked = |sim: &Sim| {
        sim.log.iter().filter(|effect| matches!(effect, Effect::Notify(GatewayNotice::PermitWanted { .. }))).count()
    };
    assert_eq!(asked(&sim), 1);
    sim.pass_s(14);
    assert_eq!(asked(&sim), 1, "it may not be its turn yet");
    sim.pass_s(2);
    assert_eq!(asked(&sim), 2, "an unanswered wish is repeated");
}

#[test]
fn a_denied_permit_is_asked_for_again_when_it_may_be_had() {
    let mut sim = Sim::new();
    sim.grants = false;
    sim.start();
    let retry_at = sim.now + Duration::from_secs(40);
    sim.feed(|connection, moment| connection.on_permit(moment, AuthPermit::Denied { address: address(), retry_at }));
    assert_eq!(sim.code().as_deref(), Some("login_budget_spent"));
    let cure = sim.current().last_error.unwrap().help;
    assert!(cure.contains("only if that has not been done yet"), "it may have been corrected just now: {cure}");
    sim.grants = true;
    sim.pass_s(39);
    assert_eq!(sim.dials(), 0);
    sim.pass_s(2);
    assert_eq!(sim.dials(), 1);
}

#[test]
fn a_grant_that_nobody_waits_for_is_given_back() {
    let mut sim = Sim::online();
    sim.feed(|connection, moment| connection.on_permit(moment, granted(&address())));
    assert_eq!(sim.settlements(), [AuthResult::Accepted, AuthResult::NotFailed]);
    assert_eq!(sim.connection.phase(), Phase::Ready);
}

#[test]
fn a_refused_connection_is_offline_at_once_and_tried_again_with_backoff() {
    let mut sim = Sim::new();
    sim.start();
    let mut waits = Vec::new();
    for _ in 0..7 {
        let dialled_at = sim.seconds();
        sim.dial_failed(DialFailure::Refused);
        assert_eq!(sim.status(), Status::Offline);
        assert_eq!(sim.code().as_deref(), Some("connection_refused"));
        sim.until_next_dial();
        waits.push((sim.seconds() - dialled_at).round() as u64);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    assert!(sim.settlements().iter().all(|result| *result == AuthResult::NotFailed));
}

#[test]
fn a_black_hole_is_timeout_and_after_three_attempts_offline() {
    let mut sim = Sim::new();
    sim.start();
    for attempt in 1..=4 {
        sim.dial_failed(DialFailure::Timeout { step: DialStep::Connect });
        let expected = if attempt < 3 { Status::Timeout } else { Status::Offline };
        assert_eq!(sim.status(), expected, "attempt {attempt}");
        assert_eq!(sim.code().as_deref(), Some("dial_timeout"));
        sim.until_next_dial();
    }
    assert_eq!(sim.current().breaker.state, BreakerState::HalfOpen);
}

#[test]
fn a_dialler_that_never_answers_is_given_up() {
    let mut sim = Sim::new();
    sim.start();
    sim.pass_s(13);
    assert_eq!(sim.status(), Status::Timeout);
    assert!(sim.log.iter().any(|effect| matches!(effect, Effect::Close { .. })));
}

#[test]
fn what_an_older_socket_says_is_ignored() {
    let mut sim = Sim::online();
    let old = sim.epoch();
    sim.feed(Connection::reconnect);
    assert_ne!(sim.epoch(), old);
    assert_eq!(sim.connection.phase(), Phase::Dialing);
    let before = sim.log.len();
    sim.feed(|connection, moment| connection.on_closed(moment, old, Some(1000), ""));
    sim.feed(|connection, moment| connection.on_message(moment, old, b"{}", &mut super::sim::ample()));
    sim.feed(|connection, moment| connection.on_dial_failed(moment, old, &DialFailure::Refused));
    assert!(!sim.connection.is_dialing(old));
    assert_eq!(sim.log.len(), before);
    assert_eq!(sim.connection.phase(), Phase::Dialing);
}

#[test]
fn an_operators_reconnect_leaves_backoff_at_once() {
    let mut sim = Sim::new();
    sim.start();
    sim.dial_failed(DialFailure::Refused);
    assert_eq!(sim.connection.phase(), Phase::Backoff);
    sim.feed(Connection::reconnect);
    assert_eq!(sim.connection.phase(), Phase::Dialing);
    assert_eq!(sim.current().reconnect_attempts, 0);
}

#[test]
fn what_is_wrong_with_a_gateway_is_said_by_its_new_name_at_once() {
    let mut sim = Sim::new();
    sim.grants = false;
    sim.start();
    let retry_at = sim.now + Duration::from_secs(40);
    sim.feed(|connection, moment| connection.on_permit(moment, AuthPermit::Denied { address: address(), retry_at }));
    let old = format!("\"{}\"", record().name);
    assert!(sim.current().last_error.unwrap().message.contains(&old));
    sim.feed(|connection, moment| {
        connection.update_record(moment, Arc::new(record().with(|spec| spec.name = "other".into())))
    });
    let told = sim.current().last_error.unwrap().message;
    assert!(told.contains("ateway \"other\"") && !told.contains(&old), "{told}");
}

#[test]
fn another_name_does_not_reconnect_but_another_token_does() {
    let mut sim = Sim::online();
    let renamed = GatewayRecord {
        revision: 2,
        dialect: Some(Dialect::Openclaw),
        ..record().with(|spec| spec.name = "other".into())
    };
    sim.feed(|connection, moment| connection.update_record(moment, Arc::new(renamed)));
    assert_eq!(sim.connection.phase(), Phase::Ready);
    let retokened = record().with(|spec| spec.token = Some(Secret::new("new")));
    sim.feed(|connection, moment| connection.update_record(moment, Arc::new(retokened)));
    assert_eq!(sim.connection.phase(), Phase::Dialing);
    assert_eq!(sim.status(), Status::Unknown);
    sim.reach_login();
    assert_eq!(sim.last_sent()["params"]["auth"]["token"], "new");
}

#[test]
fn another_address_settles_the_old_ones_permit_and_asks_for_its_own() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    let moved = record().with(|spec| spec.port = 18_809);
    sim.feed(|connection, moment| connection.update_record(moment, Arc::new(moved)));
    assert_eq!(sim.settled(), [("ws://127.0.0.1:18789".to_owned(), AuthResult::Unknown)]);
    assert!(
        matches!(sim.log.iter().rev().find(|effect| matches!(effect, Effect::Notify(GatewayNotice::PermitWanted { .. }))),
        Some(Effect::Notify(GatewayNotice::PermitWanted { address })) if address == "ws://127.0.0.1:18809")
    );
}

const NEXT_ADDRESS: &str = "ws://127.0.0.1:18809";

/// One that asked for a permit twice, since its address changed.
fn moved_while_it_waits() -> Sim {
    let mut sim = Sim::new();
    sim.grants = false;
    sim.start();
    let moved = record().with(|spec| spec.port = 18_809);
    sim.feed(|connection, moment| connection.update_record(moment, Arc::new(moved)));
    sim
}

#[test]
fn a_grant_for_the_address_before_the_move_is_given_back_to_that_address_whichever_comes_first() {
    for new_is_first in [true, false] {
        let mut sim = moved_while_it_waits();
        let mut grants = [granted(&address()), granted(NEXT_ADDRESS)];
        if new_is_first {
            grants.reverse();
        }
        for grant in grants {
            sim.feed(|connection, moment| connection.on_permit(moment, grant));
        }
        assert_eq!(sim.settled(), [("ws://127.0.0.1:18789".to_owned(), AuthResult::NotFailed)]);
        assert_eq!((sim.dials(), sim.connection.waiting()), (1, 0));
    }
}

#[test]
fn a_device_token_of_the_address_before_the_move_is_not_sent_to_the_next_one() {
    let mut sim = moved_while_it_waits();
    sim.feed(|connection, moment| connection.on_permit(moment, granted(NEXT_ADDRESS)));
    let token =
        DeviceToken { token: Secret::new("of the old"), role: "operator".into(), scopes: Vec::new(), issued_at_ms: 1 };
    let late = AuthPermit::Granted { address: address(), device_token: Some(token) };
    sim.feed(|connection, moment| connection.on_permit(moment, late));
    sim.reach_login();
    assert!(!sim.last_sent().to_string().contains("of the old"));
}

#[test]
fn a_stopped_link_closes_its_socket_and_has_nothing_due() {
    let mut sim = Sim::online();
    sim.call(1, "agent");
    sim.feed(Connection::shut_down);
    assert_eq!(sim.connection.phase(), Phase::Stopping);
    assert_eq!(sim.connection.next_deadline(sim.moment()), None);
    assert!(sim.log.iter().any(|effect| matches!(effect, Effect::Close { code: 1001, .. })));
    assert_eq!(sim.answers().len(), 1);
    assert_eq!(sim.status(), Status::Online, "our stop is no news of the gateway");
    sim.feed(Connection::reconnect);
    sim.feed(Connection::start);
    assert_eq!(sim.connection.phase(), Phase::Stopping);
}

#[test]
fn a_certificate_that_is_not_trusted_is_offline_and_names_what_was_presented() {
    let mut sim = Sim::new();
    sim.start();
    sim.dial_failed(DialFailure::TlsNotTrusted {
        reason: "self-signed".into(),
        presented_sha256: Some("ab".repeat(32)),
    });
    assert_eq!(sim.status(), Status::Offline);
    assert_eq!(sim.connection.phase(), Phase::Blocked);
    assert_eq!(sim.code().as_deref(), Some("tls_not_trusted"));
    assert!(sim.current().last_error.as_ref().unwrap().message.contains(&"ab".repeat(32)));
}
