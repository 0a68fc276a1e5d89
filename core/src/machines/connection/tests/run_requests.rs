//! How work is worded on each kind of gateway.

use serde_json::json;

use super::super::*;
use super::run_sim::{SPAWN, command, task};
use super::sim::Sim;
use crate::machines::connection::GatewayNotice;
use crate::spawn::{Certainty, SpawnState, Work};

fn full_task() -> Work {
    Work::Task {
        task: "say hello".into(),
        agent: Some("worker".into()),
        session_key: None,
        model: Some("anthropic/opus".into()),
        label: Some("Nightly".into()),
        timeout_seconds: Some(60),
    }
}

#[test]
fn protocol_4_gets_a_task_by_agent_in_a_session_of_its_own() {
    let mut sim = Sim::release(4);
    sim.starts(1, full_task());
    let frame = sim.last_frame();
    assert_eq!(frame["method"], "agent");
    assert_eq!(
        frame["params"],
        json!({"message":"say hello","agentId":"worker","sessionKey":"agent:worker:gatewarden-spawn-1",
            "model":"anthropic/opus","label":"Nightly","timeout":60,"idempotencyKey":SPAWN,"deliver":false})
    );
}

#[test]
fn a_named_session_is_used_and_a_task_without_an_agent_goes_to_the_default_one() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    assert_eq!(sim.last_frame()["params"]["sessionKey"], "agent:main:gatewarden-spawn-1");
    assert_eq!(sim.last_frame()["params"].get("agentId"), None);
    let Work::Task { task, .. } = task() else { unreachable!() };
    let named = Work::Task {
        task,
        agent: None,
        session_key: Some("agent:main:a".into()),
        model: None,
        label: None,
        timeout_seconds: None,
    };
    sim.starts_as(2, "spawn-2", named);
    assert_eq!(sim.last_frame()["params"]["sessionKey"], "agent:main:a");
}

#[test]
fn protocol_3_gets_a_task_by_chat_so_that_it_can_be_killed_and_model_and_label_are_set_first() {
    let mut sim = Sim::release(3);
    sim.starts(1, full_task());
    let key = "agent:worker:gatewarden-spawn-1";
    assert_eq!(sim.last_frame()["method"], "sessions.patch");
    assert_eq!(sim.last_frame()["params"], json!({"key":key,"model":"anthropic/opus"}));
    assert_eq!(sim.runs_sent(), 0, "first the model, then the run");
    sim.replies(json!({"ok":true}));
    assert_eq!(sim.last_frame()["params"], json!({"key":key,"label":"Nightly"}));
    sim.replies_error("label already in use: Nightly");
    assert_eq!(sim.last_frame()["method"], "chat.send", "a label is only for people");
    assert_eq!(
        sim.last_frame()["params"],
        json!({"sessionKey":key,"message":"say hello","timeoutMs":60_000,"idempotencyKey":SPAWN,"deliver":false})
    );
    sim.replies(json!({"runId":SPAWN,"status":"started"}));
    let accepted = sim.accepted();
    assert_eq!((accepted.run_id.as_deref(), accepted.session_key.as_deref()), (Some(SPAWN), Some(key)));
    assert_eq!(accepted.state, SpawnState::Running);
}

#[test]
fn a_model_that_protocol_3_refuses_ends_the_attempt_before_anything_ran() {
    let mut sim = Sim::release(3);
    sim.starts(1, full_task());
    sim.replies_error("model not allowed: anthropic/opus");
    let refused = sim.not_accepted();
    assert_eq!(refused.certainty, Certainty::NotTaken);
    assert!(refused.failure.message.contains("model not allowed"), "{}", refused.failure.message);
    assert_eq!(sim.runs_sent(), 0);
}

#[test]
fn a_command_is_spawned_as_document_002_has_it_under_the_spawns_own_id() {
    let mut sim = Sim::documented();
    sim.starts(1, command());
    let frame = sim.last_frame();
    assert_eq!((&frame["method"], &frame["id"]), (&json!("spawn"), &json!(SPAWN)));
    assert_eq!(
        frame["params"],
        json!({"command":"python","args":["agent.py"],"env":{"AGENT_NAME":"agent1"},"cwd":"/opt/agents"})
    );
}

#[test]
fn a_command_on_a_real_release_is_not_offered_and_certainly_not_taken() {
    for protocol in [3, 4] {
        let mut sim = Sim::release(protocol);
        sim.starts(1, command());
        let refused = sim.not_accepted();
        assert_eq!(refused.certainty, Certainty::NotTaken);
        assert_eq!(refused.failure.code.as_str(), "not_supported_by_gateway");
        let version = if protocol == 3 { "2026.3.24" } else { "2026.9.6" };
        for word in ["prod", version, "cannot run programs"] {
            assert!(refused.failure.message.contains(word), "{}", refused.failure.message);
        }
        assert_eq!(sim.runs_sent(), 0);
    }
}

#[test]
fn document_004_answers_once_and_that_answer_is_the_outcome() {
    let mut sim = Sim::rpc();
    sim.starts(1, full_task());
    let frame = sim.last_frame();
    assert_eq!(frame["method"], "agent");
    assert_eq!(
        frame["params"],
        json!({"message":"say hello","agentId":"worker","model":"anthropic/opus","label":"Nightly","timeout":60})
    );
    let id = frame["id"].clone();
    sim.says(json!({"id":id,"result":{"text":"hello"}}));
    assert_eq!(sim.accepted().run_id.as_deref(), Some(SPAWN));
    let Some(crate::spawn::RunStage::Completed { result }) = sim.stages().pop() else { panic!("{:?}", sim.stages()) };
    assert_eq!(result, json!({"text":"hello"}));
    let told: Vec<&Effect> = sim
        .log
        .iter()
        .filter(|one| matches!(one, Effect::AnswerRun { .. } | Effect::Notify(GatewayNotice::Run(_))))
        .collect();
    assert!(matches!(told[0], Effect::AnswerRun { .. }), "the acceptance comes first");
}
