//! Whether work that wasn't acknowledged can be under way all the same.

use serde_json::json;

use super::super::*;
use super::run_sim::{SPAWN, command, task};
use super::sim::Sim;
use crate::dialing::SocketError;
use crate::settings::GatewaySettings;
use crate::spawn::{Certainty, RunStage};

#[test]
fn what_never_left_was_not_taken() {
    let mut idle = Sim::new();
    idle.starts(1, task());
    assert_eq!(idle.not_accepted().certainty, Certainty::NotTaken);
    assert_eq!(idle.not_accepted().failure.code.as_str(), "gateway_unavailable");

    let mut gone = Sim::release(4);
    gone.closes(None, "");
    gone.starts(1, task());
    assert_eq!(gone.not_accepted().certainty, Certainty::NotTaken);
    assert_eq!(gone.runs_sent(), 0);

    let mut announced = Sim::release(4);
    announced.event("shutdown", json!({"reason":"gateway restarting","restartExpectedMs":1500}));
    announced.starts(1, task());
    assert_eq!(announced.not_accepted().certainty, Certainty::NotTaken, "nothing new is sent to one that goes down");
}

#[test]
fn a_full_table_of_requests_takes_no_work() {
    let mut sim = Sim::with(super::sim::record(), GatewaySettings { max_pending: 6, ..GatewaySettings::default() });
    sim.start();
    sim.reach_login();
    sim.says(super::run_sim::hello_of(4));
    sim.answer_all();
    for token in 0..6 {
        sim.call(token, "config.get");
    }
    sim.starts(9, task());
    assert_eq!(sim.not_accepted().certainty, Certainty::NotTaken);
    assert_eq!(sim.not_accepted().failure.code.as_str(), "gateway_busy");
    assert_eq!(sim.runs_sent(), 0);
}

#[test]
fn accepted_runs_hold_no_place_in_the_table_of_requests() {
    let mut sim = Sim::with(super::sim::record(), GatewaySettings { max_pending: 6, ..GatewaySettings::default() });
    sim.start();
    sim.reach_login();
    sim.says(super::run_sim::hello_of(4));
    sim.answer_all();
    for token in 0..100 {
        sim.starts_as(token, &format!("spawn-{token}"), task());
        sim.replies(json!({"runId":format!("spawn-{token}"),"status":"accepted"}));
        sim.accepted();
    }
}

#[test]
fn a_frame_that_the_socket_refused_was_not_taken() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    let epoch = sim.epoch();
    sim.feed(|connection, moment| connection.on_run_unsent(moment, CallToken(1)));
    let error = SocketError::OutOfMemory(gatewarden_protocol::decoding::Excess::Own);
    sim.feed(|connection, moment| connection.on_socket_failed(moment, epoch, &error));
    assert_eq!(sim.started().len(), 1);
    assert_eq!(sim.not_accepted().certainty, Certainty::NotTaken);
}

#[test]
fn a_refusal_before_acceptance_is_certain_and_in_the_gateways_words() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies_error("agent unavailable during gateway suspension");
    let refused = sim.not_accepted();
    assert_eq!(refused.certainty, Certainty::NotTaken);
    assert_eq!(refused.failure.code.as_str(), "gateway_refused");
    assert!(refused.failure.message.contains("during gateway suspension"));
    sim.event("chat", json!({"runId":SPAWN,"state":"error","errorMessage":"x"}));
    sim.pass_s(30);
    assert!(sim.stages().is_empty(), "what was not taken has no stages");
}

#[test]
fn an_answer_that_never_comes_leaves_it_open() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.pass_alive(31);
    assert_eq!(sim.not_accepted().certainty, Certainty::Unknown);
    assert_eq!(sim.not_accepted().failure.code.as_str(), "gateway_timeout");

    let mut cut = Sim::release(4);
    cut.starts(1, task());
    cut.closes(None, "");
    assert_eq!(cut.not_accepted().certainty, Certainty::Unknown);
    assert_eq!(cut.not_accepted().failure.code.as_str(), "gateway_unavailable");

    let mut stopped = Sim::documented();
    stopped.starts(1, command());
    stopped.feed(Connection::shut_down);
    assert_eq!(stopped.not_accepted().certainty, Certainty::Unknown);
}

#[test]
fn a_preparation_that_is_lost_leaves_nothing_open() {
    let mut sim = Sim::release(3);
    let crate::spawn::Work::Task { task, .. } = task() else { unreachable!() };
    let with_model = crate::spawn::Work::Task {
        task,
        agent: None,
        session_key: None,
        model: Some("m".into()),
        label: None,
        timeout_seconds: None,
    };
    sim.starts(1, with_model);
    sim.closes(None, "");
    assert_eq!(sim.not_accepted().certainty, Certainty::NotTaken, "the run itself was never sent");
}

#[test]
fn a_refusal_of_a_run_that_was_heard_of_is_its_end() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.event("agent", json!({"runId":SPAWN,"stream":"lifecycle","data":{"phase":"start"}}));
    sim.replies_error("it broke");
    assert_eq!(sim.accepted().run_id.as_deref(), Some(SPAWN));
    assert!(
        matches!(&sim.stages()[..], [RunStage::Running { .. }, RunStage::Failed { error, .. }] if error == "it broke")
    );
}

#[test]
fn a_run_in_doubt_is_still_followed_even_on_the_next_connection() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.closes(None, "");
    sim.until_next_dial();
    sim.reach_login();
    sim.says(super::run_sim::hello_of(4));
    sim.event("chat", json!({"runId":SPAWN,"state":"final","message":{"role":"assistant","content":"done"}}));
    assert!(matches!(&sim.stages()[..], [RunStage::Completed { result }] if result["text"] == "done"));
}

#[test]
fn an_answer_that_names_the_run_of_another_request_acknowledges_nothing() {
    let mut sim = Sim::release(4);
    sim.starts_as(1, "spawn-1", task());
    let first = sim.last_frame()["id"].clone();
    sim.starts_as(2, "spawn-2", task());
    sim.replies(json!({"runId":"spawn-1","status":"accepted"}));
    assert_eq!(sim.not_accepted().certainty, Certainty::Unknown);
    assert!(sim.not_accepted().failure.message.contains("another request"), "{:?}", sim.not_accepted());
    sim.says(json!({"type":"res","id":first,"ok":true,"payload":{"runId":"spawn-1","status":"accepted"}}));
    assert_eq!(sim.accepted().run_id.as_deref(), Some("spawn-1"));
    // What became of the other one is told by its own words.
    sim.event("chat", json!({"runId":"spawn-2","state":"final","message":{"role":"assistant","content":"done"}}));
    let ended: Vec<_> = sim.notices().into_iter().map(|notice| notice.run_id).collect();
    assert_eq!(ended, ["spawn-2"]);
}

#[test]
fn a_second_reply_about_another_run_ends_neither() {
    let mut sim = Sim::release(4);
    let ids = ["spawn-1", "spawn-2"].map(|spawn| {
        sim.starts_as(1, spawn, task());
        sim.replies(json!({"runId":spawn,"status":"accepted"}));
        sim.last_frame()["id"].clone()
    });
    sim.says(json!({"type":"res","id":ids[1],"ok":true,"payload":{"runId":"spawn-1","status":"ok","result":{}}}));
    assert!(sim.stages().is_empty(), "{:?}", sim.notices());
    sim.says(json!({"type":"res","id":ids[0],"ok":true,"payload":{"runId":"spawn-1","status":"ok","result":{}}}));
    let ended: Vec<_> = sim.notices().into_iter().map(|notice| notice.run_id).collect();
    assert_eq!(ended, ["spawn-1"]);
}
