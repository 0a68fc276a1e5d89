//! The stages of runs: recorded ones of real gateways, and those of the documents.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::run_sim::{SPAWN, command, task};
use super::sim::Sim;
use crate::spawn::{RunStage, SessionAction, SpawnState};

const P3: &str = include_str!("../../../../../protocol/tests/golden/frames-p3.jsonl");
const P4: &str = include_str!("../../../../../protocol/tests/golden/frames-p4.jsonl");

/// Starts a run under the id of a recorded one and replays what the gateway sent after it was asked for that one.
fn replay(protocol: u32, run_id: &str) -> Sim {
    let mut sim = Sim::release(protocol);
    sim.starts_as(1, run_id, task());
    let ours = sim.last_frame()["id"].clone();
    let mut lines =
        if protocol == 3 { P3 } else { P4 }.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let request = lines.find(|line| line["frame"]["params"]["idempotencyKey"] == run_id).unwrap();
    let theirs = request["frame"]["id"].clone();
    let mut asked: HashMap<String, String> = HashMap::new();
    for mut line in lines {
        if line["frame"]["params"]["runId"] == run_id && line["frame"]["method"] == "chat.abort" {
            sim.controls(2, "agent:main:gatewarden", SessionAction::Kill);
            asked.insert(line["frame"]["id"].as_str().unwrap().into(), sim.last_frame()["id"].as_str().unwrap().into());
        }
        if line["dir"] != "in" || line["frame"]["ws_close"].is_object() {
            if line["frame"]["ws_close"].is_object() {
                break;
            }
            continue;
        }
        let frame = &mut line["frame"];
        if frame["type"] == "res" {
            let id = frame["id"].clone();
            if id == theirs {
                frame["id"] = ours.clone();
            } else if let Some(ours) = asked.get(id.as_str().unwrap()) {
                frame["id"] = json!(ours);
            } else {
                continue;
            }
        }
        if frame["event"] == "shutdown" {
            break;
        }
        sim.says(frame.clone());
    }
    sim.pass_s(20);
    sim
}

fn told(sim: &Sim) -> Vec<&'static str> {
    sim.stages()
        .iter()
        .map(|stage| match stage {
            RunStage::Running { .. } => "running",
            RunStage::Completed { .. } => "completed",
            RunStage::Failed { .. } => "failed",
            RunStage::Killed { .. } => "killed",
        })
        .collect()
}

#[test]
fn a_recorded_run_of_protocol_4_is_accepted_runs_and_ends_with_its_whole_result() {
    let sim = replay(4, "UUID_22");
    let accepted = sim.accepted();
    assert_eq!((accepted.run_id.as_deref(), accepted.state), (Some("UUID_22"), SpawnState::Accepted));
    assert_eq!(accepted.session_key.as_deref(), Some("agent:main:frames1"), "as the gateway says");
    assert_eq!(told(&sim), ["running", "completed"]);
    let Some(RunStage::Completed { result }) = sim.stages().pop() else { panic!() };
    assert_eq!(result["payloads"][0]["text"], "word0 word1 word2");
    assert!(result["meta"]["durationMs"].is_number(), "the second reply tells more than the events before it");
}

#[test]
fn a_recorded_chat_run_of_protocol_3_ends_with_its_text() {
    let sim = replay(3, "UUID_18");
    assert_eq!(sim.accepted().state, SpawnState::Running);
    assert_eq!(told(&sim), ["completed"], "that it runs came with the acceptance");
    assert_eq!(sim.stages()[0], RunStage::Completed { result: json!({"text":"word0 word1 word2"}) });
}

#[test]
fn a_recorded_kill_comes_out_as_killed_exactly_once() {
    for (protocol, run_id) in [(3, "UUID_20"), (4, "UUID_31")] {
        let sim = replay(protocol, run_id);
        assert_eq!(told(&sim).last(), Some(&"killed"), "protocol {protocol}: {:?}", sim.stages());
        assert_eq!(told(&sim).iter().filter(|stage| **stage != "running").count(), 1);
    }
}

/// What 2026.9.6 sent when an `agent` run was aborted before it began.
#[test]
fn an_agent_run_aborted_on_protocol_4_is_killed_once_whatever_comes_three_times() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    let run = sim.last_frame()["id"].clone();
    sim.replies(json!({"runId":SPAWN,"sessionKey":"agent:main:gatewarden-spawn-1","status":"accepted"}));
    sim.controls(2, "agent:main:gatewarden-spawn-1", SessionAction::Kill);
    sim.event("chat", json!({"runId":SPAWN,"state":"aborted","stopReason":"rpc"}));
    sim.event(
        "agent",
        json!({"runId":SPAWN,"stream":"lifecycle",
        "data":{"phase":"end","status":"cancelled","aborted":true,"stopReason":"rpc"}}),
    );
    sim.event(
        "agent",
        json!({"runId":SPAWN,"stream":"lifecycle",
        "data":{"phase":"error","error":"This operation was aborted","aborted":true,"executionSettled":true}}),
    );
    sim.says(json!({"type":"res","id":run,"ok":true,
        "payload":{"runId":SPAWN,"status":"timeout","summary":"aborted","stopReason":"rpc"}}));
    sim.replies(json!({"ok":true,"abortedRunId":SPAWN,"status":"aborted"}));
    sim.pass_s(60);
    assert_eq!(sim.stages(), [RunStage::Killed { reason: "aborted (rpc)".into() }]);
}

/// What 2026.9.6 sends without model credentials.
#[test]
fn a_failure_for_want_of_credentials_on_protocol_4_comes_once_in_the_gateways_words() {
    let words = "No route-compatible authentication source is configured for openai.";
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    let run = sim.last_frame()["id"].clone();
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    sim.event(
        "agent",
        json!({"runId":SPAWN,"stream":"lifecycle","data":{"phase":"error","error":words,"executionSettled":true}}),
    );
    sim.event("chat", json!({"runId":SPAWN,"state":"error","errorMessage":words}));
    sim.event(
        "chat",
        json!({"runId":SPAWN,"state":"error","errorMessage":format!("⚠️ Agent failed before reply: {words}")}),
    );
    sim.says(json!({"type":"res","id":run,"ok":false,"payload":{"runId":SPAWN,"status":"error","summary":words},
        "error":{"code":"UNAVAILABLE","message":words}}));
    sim.pass_s(60);
    assert_eq!(sim.stages(), [RunStage::Failed { error: words.into(), result: Value::Null }]);
}

/// What 2026.3.24 sends without model credentials.
#[test]
fn a_failed_chat_run_of_protocol_3_that_reads_as_final_is_failed() {
    let text =
        "⚠️ Agent failed before reply: No API key found for provider \"anthropic\".\nLogs: openclaw logs --follow";
    let mut sim = Sim::release(3);
    sim.starts(1, task());
    sim.replies(json!({"runId":SPAWN,"status":"started"}));
    sim.event(
        "chat",
        json!({"runId":SPAWN,"sessionKey":"agent:main:gatewarden-spawn-1","seq":1,"state":"final",
        "message":{"role":"assistant","content":[{"type":"text","text":text}]}}),
    );
    let stages = sim.stages();
    assert!(
        matches!(&stages[..], [RunStage::Failed { error, .. }] if error.contains("No API key found")),
        "{stages:?}"
    );
    let mut newer = Sim::release(4);
    newer.starts(1, task());
    newer.replies(json!({"runId":SPAWN,"status":"accepted"}));
    newer.event("chat", json!({"runId":SPAWN,"state":"final","message":{"content":[{"type":"text","text":text}]}}));
    newer.pass_s(3);
    assert_eq!(told(&newer), ["completed"], "where failures are reported as such, a text is a text");
}

#[test]
fn a_failure_that_the_gateway_tries_again_after_is_not_the_end() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    let phase = |phase: &str| json!({"runId":SPAWN,"stream":"lifecycle","data":{"phase":phase,"error":"overloaded"}});
    sim.event("agent", phase("start"));
    sim.event("agent", phase("error"));
    sim.pass_s(5);
    sim.event("agent", phase("start"));
    sim.pass_s(18);
    assert_eq!(told(&sim), ["running"]);
    sim.event("agent", phase("error"));
    sim.pass_s(16);
    assert_eq!(told(&sim), ["running", "failed"], "nothing followed it");
}

#[test]
fn an_end_on_a_connection_that_is_lost_before_the_second_reply_is_told_all_the_same() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    sim.event(
        "agent",
        json!({"runId":SPAWN,"stream":"lifecycle","data":{"phase":"end","terminalReply":{"text":"done"}}}),
    );
    sim.closes(None, "");
    sim.pass_s(3);
    assert_eq!(sim.stages(), [RunStage::Completed { result: json!({"text":"done"}) }]);
}

fn spawn_result(sim: &mut Sim, status: &str, result: Value, error: Value) {
    sim.event(
        "spawn_result",
        json!({"id":SPAWN,"status":status,"pid":12_345,"completedAt":null,"result":result,"error":error}),
    );
}

#[test]
fn the_first_spawn_result_is_the_acceptance_and_the_later_ones_are_outcomes() {
    let mut sim = Sim::documented();
    sim.starts(1, command());
    spawn_result(&mut sim, "running", Value::Null, Value::Null);
    let accepted = sim.accepted();
    assert_eq!(
        (accepted.run_id.as_deref(), accepted.pid, accepted.state),
        (Some(SPAWN), Some(12_345), SpawnState::Running)
    );
    assert!(sim.stages().is_empty());
    spawn_result(&mut sim, "completed", json!({"exitCode":0}), Value::Null);
    assert_eq!(sim.stages(), [RunStage::Completed { result: json!({"exitCode":0}) }]);
    spawn_result(&mut sim, "failed", json!({"exitCode":1}), Value::Null);
    assert_eq!(sim.stages().len(), 1, "nothing after the end");
}

#[test]
fn exit_codes_errors_and_kills_of_document_002_are_told_apart() {
    let end = |status: &str, result: Value, error: Value, killed: bool| {
        let mut sim = Sim::documented();
        sim.starts(1, command());
        sim.event("spawn_result", json!({"id":SPAWN,"status":"running","sessionKey":"s:1"}));
        assert_eq!(sim.accepted().session_key.as_deref(), Some("s:1"));
        if killed {
            sim.controls(2, "s:1", SessionAction::Kill);
        }
        spawn_result(&mut sim, status, result, error);
        sim.stages().remove(0)
    };
    assert!(
        matches!(end("completed", json!({"exitCode":3}), Value::Null, false), RunStage::Failed { error, .. } if error == "exit code 3")
    );
    assert!(
        matches!(end("failed", Value::Null, json!("no such file"), false), RunStage::Failed { error, .. } if error == "no such file")
    );
    assert!(matches!(end("killed", Value::Null, Value::Null, false), RunStage::Killed { .. }));
    assert!(matches!(end("failed", json!({"exitCode":143}), Value::Null, true), RunStage::Killed { .. }));
}

#[test]
fn a_spawn_that_fails_at_once_was_taken_and_failed() {
    let mut sim = Sim::documented();
    sim.starts(1, command());
    spawn_result(&mut sim, "failed", Value::Null, json!("command not found: python"));
    assert_eq!(sim.accepted().state, SpawnState::Accepted);
    assert!(matches!(&sim.stages()[..], [RunStage::Failed { error, .. }] if error.contains("not found")));
}

#[test]
fn a_result_of_a_spawn_on_an_older_connection_is_still_its_result() {
    let mut sim = Sim::documented();
    sim.starts(1, command());
    spawn_result(&mut sim, "running", Value::Null, Value::Null);
    sim.closes(None, "");
    sim.until_next_dial();
    sim.reach_login();
    sim.says(json!({"type":"res","id":"connect","ok":true,"result":{"protocol":3,"features":["spawn"]}}));
    spawn_result(&mut sim, "completed", json!({"exitCode":0}), Value::Null);
    assert_eq!(told(&sim), ["completed"]);
}

#[test]
fn runs_of_others_are_none_of_ours() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    sim.event("chat", json!({"runId":"another","state":"aborted"}));
    sim.event("agent", json!({"runId":"another","stream":"lifecycle","data":{"phase":"start"}}));
    sim.event("spawn_result", json!({"id":"another","status":"completed"}));
    sim.pass_s(30);
    assert!(sim.stages().is_empty());
}

#[test]
fn a_result_beyond_64_kib_is_cut_to_the_beginning_of_its_text() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    let run = sim.last_frame()["id"].clone();
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    let text = "\"ä".repeat(100_000);
    sim.says(json!({"type":"res","id":run,"ok":true,"payload":{"status":"ok","result":{"payloads":[{"text":text}]}}}));
    let Some(RunStage::Completed { result }) = sim.stages().pop() else { panic!() };
    assert_eq!(result["truncated"], true);
    assert!(result.to_string().len() <= 64 * 1024);
    assert!(result["text"].as_str().unwrap().starts_with("\"ä\"ä"));
}

#[test]
fn an_acceptance_that_comes_twice_is_not_the_end_of_the_run() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies(json!({"runId": SPAWN, "status": "accepted"}));
    sim.replies(json!({"runId": SPAWN, "status": "accepted"}));
    assert_eq!((sim.started().len(), sim.stages()), (1, vec![]));
    sim.replies(json!({"runId": SPAWN, "status": "error", "error": "no key"}));
    assert!(matches!(&sim.stages()[..], [RunStage::Failed { error, .. }] if error == "no key"), "{:?}", sim.stages());
}

#[test]
fn a_run_that_was_given_up_is_not_followed_any_more() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies(json!({"runId": SPAWN, "status": "accepted"}));
    sim.closes(None, "");
    assert!(sim.connection.waiting() > 0);
    sim.feed(|connection, _| connection.forget_run(SPAWN));
    assert_eq!(sim.connection.waiting(), 0);
}
