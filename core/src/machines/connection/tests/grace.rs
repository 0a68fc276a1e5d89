use serde_json::json;

use super::super::*;
use super::sim::Sim;
use crate::dialing::DialFailure;
use crate::gateway_report::{BreakerState, Status};
use std::time::Duration;

#[test]
fn a_starting_gateway_is_degraded_asked_again_when_it_says_and_no_failure() {
    let mut sim = Sim::new();
    sim.start();
    let begun = sim.seconds();
    sim.reach_login();
    sim.refuses(
        json!({"code":"UNAVAILABLE","message":"gateway starting; retry shortly","retryable":true,"retryAfterMs":500,
        "details":{"reason":"startup-sidecars"}}),
    );
    assert_eq!((sim.status(), sim.connection.phase()), (Status::Degraded, Phase::Starting));
    assert_eq!(sim.code().as_deref(), Some("gateway_starting"));
    assert_eq!(sim.current().breaker.failures, 0);
    sim.until_next_dial();
    assert!(sim.seconds() - begun <= 0.7);
    assert_eq!(sim.status(), Status::Degraded, "still within its grace while it is tried");
    sim.let_in();
    assert_eq!(sim.connection.phase(), Phase::Ready);
}

#[test]
fn a_gateway_that_starts_for_five_minutes_is_a_failure_from_then_on() {
    let mut sim = Sim::new();
    sim.start();
    while sim.seconds() < 299.0 {
        sim.dialed();
        sim.closes(Some(1013), "gateway starting");
        assert_eq!(sim.status(), Status::Degraded);
        sim.until_next_dial();
    }
    for _ in 0..4 {
        sim.dialed();
        sim.closes(Some(1013), "gateway starting");
        sim.until_next_dial();
    }
    assert_eq!(sim.status(), Status::Offline);
    assert_eq!(sim.code().as_deref(), Some("starting_overdue"));
    assert_ne!(sim.current().breaker.state, BreakerState::Closed);
}

#[test]
fn a_gateway_that_stops_while_it_starts_is_offline() {
    let mut sim = Sim::new();
    sim.start();
    sim.dialed();
    sim.closes(Some(1013), "gateway starting");
    sim.until_next_dial();
    sim.dial_failed(DialFailure::Refused);
    assert_eq!((sim.status(), sim.connection.phase()), (Status::Offline, Phase::Backoff));
}

#[test]
fn an_announced_restart_is_degraded_and_counts_as_failure_only_when_it_is_overdue() {
    let mut sim = Sim::online();
    sim.says(
        json!({"type":"event","event":"shutdown","payload":{"reason":"gateway restarting","restartExpectedMs":1500}}),
    );
    assert_eq!((sim.connection.phase(), sim.status()), (Phase::Restarting, Status::Degraded));
    assert!(!sim.current().is_usable(), "nothing new is sent to it");
    sim.closes(Some(1012), "service restart");
    assert_eq!((sim.connection.phase(), sim.status()), (Phase::Restarting, Status::Degraded));
    while sim.seconds() < 20.0 {
        sim.until_next_dial();
        sim.dial_failed(DialFailure::Refused);
        if sim.seconds() < 31.0 {
            assert_eq!(sim.status(), Status::Degraded);
            assert_eq!(sim.current().breaker.failures, 0);
        }
    }
    sim.pass(Duration::from_secs_f64(31.6 - sim.seconds()));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("restart_overdue")));
    sim.until_next_dial();
    sim.let_in();
    assert_eq!(sim.current().breaker.state, BreakerState::Closed);
}

#[test]
fn a_restart_that_comes_back_in_time_never_was_a_failure() {
    let mut sim = Sim::online();
    sim.closes(Some(1012), "service restart");
    sim.until_next_dial();
    sim.dial_failed(DialFailure::Refused);
    sim.until_next_dial();
    sim.let_in();
    sim.answer_all();
    assert_eq!(sim.status(), Status::Online);
    let statuses: Vec<_> = sim.health_points().iter().map(|point| point.status).collect();
    assert!(!statuses.contains(&Status::Offline), "{statuses:?}");
}

#[test]
fn a_gateway_that_was_stopped_and_refuses_connections_is_offline_within_ten_seconds() {
    let mut sim = Sim::online();
    sim.says(json!({"type":"event","event":"shutdown","payload":{"reason":"gateway stopping"}}));
    sim.closes(Some(1012), "service restart");
    sim.until_next_dial();
    sim.dial_failed(DialFailure::Refused);
    assert_eq!(sim.status(), Status::Degraded, "a service manager may start it again");
    sim.until_next_dial();
    sim.dial_failed(DialFailure::Refused);
    sim.pass(Duration::from_secs_f64(10.0 - sim.seconds()));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("connection_refused")));
}

#[test]
fn a_gateway_that_announced_a_restart_and_never_closes_is_left_when_it_is_overdue() {
    let mut sim = Sim::online();
    sim.says(
        json!({"type":"event","event":"shutdown","payload":{"reason":"gateway stopping","restartExpectedMs":null}}),
    );
    sim.call(1, "agent");
    assert_eq!(sim.answers().len(), 1, "nothing new goes to it");
    sim.pass_s(31);
    assert_ne!(sim.connection.phase(), Phase::Ready);
    assert_eq!(sim.status(), Status::Offline);
}

#[test]
fn whoever_asks_while_it_is_away_hears_why_and_when_it_is_tried_again() {
    let mut sim = Sim::new();
    sim.start();
    sim.dial_failed(DialFailure::Refused);
    sim.call(1, "status");
    let failure = sim.answers().pop().unwrap().1.unwrap_err();
    assert!(failure.message.contains("is not listening at its address"), "{failure}");
    let help = failure.help.unwrap();
    assert!(help.contains(" It is tried again in ") && help.ends_with(" s."), "{help}");
}
