use gatewarden_protocol::refusal::{Refusal, RefusalCode};

use super::super::*;
use super::sim::Sim;
use crate::dialing::DialFailure;
use crate::gateway_report::{Status, StatusSource};
use std::time::Duration;

fn round(sim: &Sim) -> Option<u64> {
    sim.log.iter().rev().find_map(|effect| match effect {
        Effect::ProbeUnconnected { round, .. } => Some(*round),
        _ => None,
    })
}

fn finds(sim: &mut Sim, failure: Option<(&'static str, Refusal)>) {
    let round = round(sim).expect("a try beside the connection was asked for");
    let latency = failure.is_none().then_some(Duration::from_millis(4));
    sim.feed(|connection, moment| connection.on_probe_finding(moment, round, ProbeFinding { latency, failure }));
}

#[test]
fn a_connected_gateway_is_measured_over_the_live_connection() {
    let mut sim = Sim::online();
    sim.pass_s(3);
    sim.news();
    sim.probe(1);
    sim.pass(Duration::from_millis(12));
    sim.pong();
    let (token, outcome) = sim.outcomes().remove(0);
    assert_eq!(token, ProbeToken(1));
    assert_eq!((outcome.latency_ms, outcome.failed_step), (Some(12.0), None));
    assert_eq!(outcome.report.status, Status::Online);
    assert_eq!(outcome.report.latency_ms, Some(12.0));
    assert_eq!(round(&sim), None);
}

#[test]
fn two_probes_at_once_cost_one_heartbeat() {
    let mut sim = Sim::online();
    sim.pass_s(3);
    sim.news();
    sim.probe(1);
    sim.probe(2);
    let pings = sim.news().iter().filter(|effect| matches!(effect, Effect::Ping(..))).count();
    assert_eq!(pings, 1);
}

#[test]
fn a_silent_connection_fails_the_probe_in_time_and_the_status_with_it() {
    let mut sim = Sim::online();
    sim.pass_s(3);
    sim.probe(1);
    sim.pass_s(5);
    let (_, outcome) = sim.outcomes().remove(0);
    assert_eq!(outcome.failed_step.as_ref().unwrap().0, "request");
    assert_eq!(outcome.report.status, Status::Timeout);
    assert_eq!(outcome.report.source, StatusSource::Probe);
    sim.says(serde_json::json!({"type":"event","event":"tick","payload":{}}));
    assert_eq!(sim.status(), Status::Online, "any frame proves life");
}

#[test]
fn a_gateway_in_backoff_that_a_probe_finds_is_connected_at_once_and_the_probe_waits_for_it() {
    let mut sim = Sim::new();
    sim.start();
    for _ in 0..5 {
        sim.dial_failed(DialFailure::Refused);
        if sim.dials() < 5 {
            sim.until_next_dial();
        }
    }
    assert_eq!(sim.connection.phase(), Phase::Backoff);
    sim.probe(1);
    finds(&mut sim, None);
    assert_eq!(sim.connection.phase(), Phase::Dialing);
    sim.let_in();
    sim.answer_all();
    let (_, outcome) = sim.outcomes().remove(0);
    assert_eq!((outcome.failed_step.clone(), outcome.report.status), (None, Status::Online));
}

#[test]
fn a_failed_probe_feeds_the_status_and_the_breaker() {
    let mut sim = Sim::new();
    sim.start();
    sim.dial_failed(DialFailure::Refused);
    let failures = sim.current().breaker.failures;
    sim.probe(1);
    finds(&mut sim, Some(("connect", Refusal::new(RefusalCode::DialTimeout, ""))));
    let (_, outcome) = sim.outcomes().remove(0);
    assert_eq!(outcome.failed_step.as_ref().unwrap().0, "connect");
    assert_eq!(outcome.report.status, Status::Timeout);
    assert_eq!(outcome.report.source, StatusSource::Probe);
    assert_eq!(sim.current().breaker.failures, failures + 1);
}

#[test]
fn a_probe_of_a_blocked_gateway_answers_from_what_is_known_and_spends_no_login() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.ends(Refusal::new(RefusalCode::TokenMismatch, ""));
    sim.probe(1);
    finds(&mut sim, None);
    let (_, outcome) = sim.outcomes().remove(0);
    let (step, words) = outcome.failed_step.unwrap();
    assert_eq!(step, "authenticate");
    assert!(words.contains("refused the token"));
    assert_eq!(outcome.report.status, Status::Degraded);
    assert_eq!(sim.dials(), 1);
}

#[test]
fn a_blocked_gateway_that_a_probe_finds_gone_is_looked_at_again() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.ends(Refusal::new(RefusalCode::TokenMismatch, ""));
    sim.probe(1);
    finds(&mut sim, Some(("connect", Refusal::new(RefusalCode::ConnectionRefused, ""))));
    assert_eq!(sim.dials(), 2);
    sim.dial_failed(DialFailure::Refused);
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("connection_refused")));
}

#[test]
fn a_probe_is_answered_in_time_whatever_the_phase_and_whoever_forgets() {
    let mut phases = Vec::new();
    for step in 0..6 {
        let mut sim = Sim::new();
        sim.grants = step > 0;
        sim.start();
        match step {
            2 => sim.dialed(),
            3 => sim.reach_login(),
            4 => sim.dial_failed(DialFailure::Refused),
            5 => sim.let_in(),
            _ => {}
        }
        phases.push(sim.connection.phase());
        sim.probe(9);
        sim.pass(Duration::from_millis(5_001));
        let outcomes = sim.outcomes();
        assert_eq!(outcomes.len(), 1, "step {step}");
        assert!(outcomes[0].1.failed_step.is_some());
    }
    assert_eq!(phases.len(), 6);
}

#[test]
fn too_many_probes_are_answered_at_once() {
    let mut sim = Sim::new();
    sim.start();
    for token in 0..=u64::try_from(MAX_PROBES).unwrap() {
        sim.probe(token);
    }
    assert_eq!(sim.outcomes().len(), 1);
}

#[test]
fn stopping_answers_every_probe() {
    let mut sim = Sim::online();
    sim.probe(1);
    sim.feed(Connection::shut_down);
    sim.probe(2);
    assert_eq!(sim.outcomes().len(), 2);
}
