//! Runs over the `http` dialect.

use serde_json::{Value, json};

use super::super::*;
use super::detection::{answers, http_online, last_ask, reply};
use super::run_sim::{SPAWN, command, task};
use super::sim::{Sim, record};
use crate::dialing::{DialFailure, DialStep};
use crate::gateway_record::Transport;
use crate::spawn::{Certainty, RunFinding, RunStage, SessionAction, SpawnState};

fn online() -> Sim {
    http_online(record().with(|spec| spec.transport = Transport::Http))
}

fn answer(sim: &mut Sim, status: u16, body: &'static str) {
    let ask = last_ask(sim);
    answers(sim, &ask, reply(status, body));
}

#[test]
fn work_is_posted_with_its_key_and_the_answer_is_the_acceptance() {
    let mut sim = online();
    sim.starts(1, command());
    let HttpOperation::Spawn(params) = last_ask(&sim).operation else { panic!() };
    assert_eq!(
        params,
        json!({"command":"python","args":["agent.py"],"env":{"AGENT_NAME":"agent1"},"cwd":"/opt/agents",
            "idempotencyKey":SPAWN})
    );
    answer(&mut sim, 200, r#"{"status":"running","id":"job-7","sessionKey":"a:job-7","pid":4}"#);
    let accepted = sim.accepted();
    assert_eq!((accepted.run_id.as_deref(), accepted.session_key.as_deref()), (Some("job-7"), Some("a:job-7")));
    assert_eq!((accepted.pid, accepted.state), (Some(4), SpawnState::Running));
    assert!(sim.log.iter().any(|effect| matches!(effect, Effect::SpawnAccepted(_, "spawn"))));

    sim.starts_as(2, "spawn-2", task());
    let HttpOperation::Spawn(params) = last_ask(&sim).operation else { panic!() };
    assert_eq!(params, json!({"task":"say hello","idempotencyKey":"spawn-2"}));
}

#[test]
fn refusals_are_certain_and_losses_are_not() {
    let cases = [
        (reply(400, r#"{"error":"no such agent"}"#), Certainty::NotTaken),
        (reply(404, ""), Certainty::NotTaken),
        (reply(503, ""), Certainty::NotTaken),
        (reply(500, ""), Certainty::Unknown),
        (reply(502, ""), Certainty::Unknown),
        (HttpAnswer::Reply(Err(DialFailure::Refused)), Certainty::NotTaken),
        (HttpAnswer::Reply(Err(DialFailure::Timeout { step: DialStep::Connect })), Certainty::NotTaken),
        (HttpAnswer::Reply(Err(DialFailure::Timeout { step: DialStep::Request })), Certainty::Unknown),
        (HttpAnswer::Reply(Err(DialFailure::Reset { step: DialStep::Request })), Certainty::Unknown),
    ];
    for (given, expected) in cases {
        let mut sim = online();
        sim.starts(1, task());
        let ask = last_ask(&sim);
        let what = format!("{given:?}");
        answers(&mut sim, &ask, given);
        assert_eq!(sim.not_accepted().certainty, expected, "{what}");
        assert_eq!(sim.started().len(), 1);
    }
    let mut silent = online();
    silent.starts(1, task());
    silent.pass_s(32);
    assert_eq!(silent.not_accepted().certainty, Certainty::Unknown);
}

#[test]
fn the_end_of_a_run_is_read_from_the_list_which_is_looked_at_more_often_while_one_is_open() {
    let mut sim = online();
    sim.starts(1, task());
    answer(&mut sim, 200, r#"{"status":"running","id":"job-7","sessionKey":"a:job-7"}"#);
    sim.pass_s(16);
    assert_eq!(last_ask(&sim).operation, HttpOperation::Sessions);
    answer(&mut sim, 200, r#"{"sessions":[{"key":"a:job-7","status":"active"}]}"#);
    assert!(sim.stages().is_empty());
    sim.pass_s(16);
    answer(&mut sim, 200, r#"{"sessions":[{"key":"a:job-7","status":"completed"}]}"#);
    assert_eq!(sim.stages(), [RunStage::Completed { result: Value::Null }]);
    let asks = sim
        .log
        .iter()
        .filter(|effect| matches!(effect, Effect::Http { operation, .. } if *operation == HttpOperation::Sessions))
        .count();
    sim.pass_s(28);
    let later = sim
        .log
        .iter()
        .filter(|effect| matches!(effect, Effect::Http { operation, .. } if *operation == HttpOperation::Sessions))
        .count();
    assert_eq!(later, asks, "nothing is open any more");
}

#[test]
fn a_run_that_ends_in_the_answer_itself_is_told_at_once() {
    let mut sim = online();
    sim.starts(1, command());
    answer(&mut sim, 200, r#"{"status":"completed","id":"job-7","result":{"exitCode":2}}"#);
    assert_eq!(sim.accepted().run_id.as_deref(), Some(SPAWN), "there is nothing left to look up");
    assert!(matches!(&sim.stages()[..], [RunStage::Failed { error, .. }] if error == "exit code 2"));
}

#[test]
fn a_look_up_reads_the_list_and_control_is_posted() {
    let mut sim = online();
    sim.looks_up(1, "job-7", Some("a:job-7"));
    answer(&mut sim, 200, r#"{"sessions":[{"key":"a:job-7","runId":"job-7","status":"killed"}]}"#);
    assert!(matches!(sim.findings().pop(), Some(Ok(RunFinding::Ended(RunStage::Killed { .. })))));
    sim.looks_up(2, "job-8", None);
    answer(&mut sim, 200, r#"{"sessions":[]}"#);
    assert_eq!(sim.findings().pop(), Some(Ok(RunFinding::NotKnown)));
    sim.looks_up(3, "job-8", None);
    answer(&mut sim, 404, "");
    assert!(sim.findings().pop().unwrap().is_err());

    sim.controls(4, "a:job-7", SessionAction::Pause);
    let HttpOperation::Control(params) = last_ask(&sim).operation else { panic!() };
    assert_eq!(params, json!({"sessionKey":"a:job-7","action":"pause"}));
    answer(&mut sim, 501, "");
    assert_eq!(sim.answers().pop().unwrap().1.unwrap_err().code.as_str(), "not_supported_by_gateway");
}
