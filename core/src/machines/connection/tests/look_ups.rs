//! What became of a run.

use serde_json::{Value, json};

use super::run_sim::{SPAWN, hello_of, task};
use super::sim::Sim;
use crate::spawn::{RunFinding, RunStage};

const KEY: &str = "agent:main:gatewarden-spawn-1";

fn found(sim: &Sim) -> RunFinding {
    sim.findings().pop().expect("an answer").expect("a finding")
}

fn listed(sim: &mut Sim, row: Value) {
    sim.event("sessions.changed", json!({"sessionKey":row["key"],"session":row}));
}

/// A connection to a gateway of protocol 3 and this release.
fn online_with(version: &str) -> Sim {
    let mut hello = hello_of(3);
    hello["payload"]["server"]["version"] = json!(version);
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.says(hello);
    sim.answer_all();
    sim
}

#[test]
fn agent_wait_tells_of_an_end_and_nothing_is_ever_started() {
    let cases = [
        (json!({"runId":SPAWN,"status":"error","endedAt":1,"error":"No route."}), "failed"),
        (json!({"runId":SPAWN,"status":"error","endedAt":1,"stopReason":"rpc"}), "killed"),
        (json!({"runId":SPAWN,"status":"ok","endedAt":1,"terminalReply":{"text":"hi"}}), "completed"),
    ];
    for (reply, expected) in cases {
        let mut sim = Sim::release(4);
        sim.looks_up(1, SPAWN, Some(KEY));
        assert_eq!(sim.last_frame()["method"], "agent.wait");
        assert_eq!(sim.last_frame()["params"], json!({"runId":SPAWN,"timeoutMs":200}));
        sim.replies(reply);
        match (found(&sim), expected) {
            (RunFinding::Ended(RunStage::Failed { error, .. }), "failed") => assert_eq!(error, "No route."),
            (RunFinding::Ended(RunStage::Killed { .. }), "killed") => {}
            (RunFinding::Ended(RunStage::Completed { result }), "completed") => assert_eq!(result["text"], "hi"),
            (other, expected) => panic!("{expected}: {other:?}"),
        }
        assert_eq!(sim.runs_sent(), 0);
    }
}

#[test]
fn the_end_of_another_run_is_not_the_one_that_was_asked_for() {
    let mut sim = Sim::release(4);
    sim.looks_up(1, SPAWN, Some(KEY));
    sim.replies(json!({"runId":"spawn-2","status":"ok","endedAt":1,"terminalReply":{"text":"hi"}}));
    assert_eq!(found(&sim), RunFinding::NotKnown);
}

#[test]
fn a_timeout_of_agent_wait_says_nothing_and_the_row_decides() {
    let row = |status: &str, active: bool| {
        json!({"key":KEY,"status":status,"hasActiveRun":active,"activeRunIds":if active { json!([SPAWN]) } else { json!([]) },
            "lastRunId":if active { Value::Null } else { json!(SPAWN) },"lastRunError":"No key."})
    };
    let look = |row: Option<Value>| {
        let mut sim = Sim::release(4);
        if let Some(row) = row {
            listed(&mut sim, row);
        }
        sim.looks_up(1, SPAWN, Some(KEY));
        sim.replies(json!({"runId":SPAWN,"status":"timeout"}));
        found(&sim)
    };
    assert_eq!(look(Some(row("running", true))), RunFinding::Running);
    assert!(
        matches!(look(Some(row("failed", false))), RunFinding::Ended(RunStage::Failed { error, .. }) if error == "No key.")
    );
    assert!(matches!(look(Some(row("killed", false))), RunFinding::Ended(RunStage::Killed { .. })));
    assert!(matches!(look(Some(row("done", false))), RunFinding::Ended(RunStage::Completed { .. })));
    assert_eq!(look(None), RunFinding::NotKnown);
    let mut another = row("done", false);
    another["lastRunId"] = json!("another");
    assert_eq!(look(Some(another)), RunFinding::NotKnown, "the row tells of another run");
}

#[test]
fn a_failed_chat_run_that_protocol_3_calls_ok_is_found_out_in_its_history() {
    let mut sim = Sim::release(3);
    sim.looks_up(1, SPAWN, Some(KEY));
    sim.replies(json!({"runId":SPAWN,"status":"ok","endedAt":1}));
    assert_eq!(sim.last_frame()["method"], "chat.history");
    let text = "⚠️ Agent failed before reply: No API key found for provider \"anthropic\".";
    sim.replies(json!({"messages":[{"role":"user","content":"hi"},
        {"role":"assistant","content":[{"type":"text","text":text}]}]}));
    assert!(matches!(found(&sim), RunFinding::Ended(RunStage::Failed { error, .. }) if error.contains("No API key")));

    let mut well = Sim::release(3);
    well.looks_up(1, SPAWN, Some(KEY));
    well.replies(json!({"runId":SPAWN,"status":"ok","endedAt":1}));
    well.replies(json!({"messages":[{"role":"assistant","content":[{"type":"text","text":"word0"}]}]}));
    assert!(matches!(found(&well), RunFinding::Ended(RunStage::Completed { .. })));
}

/// Release 2026.3.24 answers `ok` of a run whose model could not be reached, and has only this in its history.
#[test]
fn a_run_whose_last_try_failed_is_a_failed_one_though_protocol_3_calls_it_ok() {
    let failed_try = json!({"role":"assistant","content":[],"stopReason":"error","errorMessage":"Connection error."});
    let look = |key: &str, messages: Value| {
        let mut sim = Sim::release(3);
        sim.looks_up(1, SPAWN, Some(key));
        sim.replies(json!({"runId":SPAWN,"status":"ok","endedAt":1}));
        sim.replies(json!({"messages":messages}));
        found(&sim)
    };
    let well = json!({"role":"assistant","content":[{"type":"text","text":"word0"}],"stopReason":"stop"});
    let failed = look(KEY, json!([well, failed_try]));
    assert!(
        matches!(&failed, RunFinding::Ended(RunStage::Failed { error, .. }) if error == "Connection error."),
        "{failed:?}"
    );
    assert!(matches!(look(KEY, json!([failed_try, well])), RunFinding::Ended(RunStage::Completed { .. })));
    let shared = look("agent:main:main", json!([failed_try]));
    assert!(matches!(shared, RunFinding::Ended(RunStage::Completed { .. })), "it may be another run's: {shared:?}");
}

#[test]
fn a_run_of_the_oldest_releases_that_failed_before_its_agent_began_is_found_out_in_the_log() {
    let line = |session: &str, error: &str| {
        let message = format!("lane task error: lane=session:{session} durationMs=145 error=\"Error: {error}\"");
        json!({"0":"{\"subsystem\":\"diagnostic\"}","1":message,"_meta":{"logLevelName":"ERROR"}}).to_string()
    };
    let look = |lines: Value| {
        let mut sim = online_with("2026.3.2");
        sim.looks_up(1, SPAWN, Some(KEY));
        sim.replies(json!({"runId":SPAWN,"status":"timeout"}));
        sim.replies(json!({"sessionKey":KEY,"messages":[]}));
        assert_eq!(sim.last_frame()["method"], "logs.tail");
        sim.replies(json!({"file":"f","cursor":1,"size":1,"lines":lines}));
        found(&sim)
    };
    let failed =
        look(json!([line(KEY, "No API key found for provider \"anthropic\"."), line("agent:main:b", "Other.")]));
    assert!(
        matches!(&failed, RunFinding::Ended(RunStage::Failed { error, .. }) if error.starts_with("No API key found for")),
        "{failed:?}"
    );
    assert_eq!(look(json!([line("agent:main:b", "Other."), "no record"])), RunFinding::NotKnown);
}

#[test]
fn of_the_oldest_releases_what_was_told_of_a_run_here_is_no_word_of_the_gateway_that_it_still_runs() {
    let look = |lines: Value| {
        let mut sim = online_with("2026.2.19");
        listed(&mut sim, json!({"key":KEY}));
        sim.starts(1, task());
        sim.replies(json!({"runId":SPAWN,"status":"started"}));
        sim.looks_up(2, SPAWN, Some(KEY));
        sim.replies(json!({"runId":SPAWN,"status":"timeout"}));
        assert_eq!(sim.last_frame()["method"], "chat.history");
        sim.replies(json!({"sessionKey":KEY,"messages":[]}));
        sim.replies(json!({"file":"f","cursor":1,"size":1,"lines":lines}));
        found(&sim)
    };
    let line = json!({"1":format!("lane task error: lane=session:{KEY} durationMs=9 error=\"Error: No key.\""),
        "_meta":{"logLevelName":"ERROR","date":"2026-11-23T00:38:56.693Z"}});
    assert!(matches!(look(json!([line.to_string()])), RunFinding::Ended(RunStage::Failed { .. })));
    assert_eq!(look(json!([])), RunFinding::Running, "nothing speaks against it");
}

#[test]
fn a_failed_chat_run_is_found_out_too_where_nobody_knows_its_session_but_the_gateway() {
    let mut sim = Sim::release(3);
    listed(&mut sim, json!({"key":KEY,"status":"done"}));
    sim.looks_up(1, SPAWN, None);
    sim.replies(json!({"runId":SPAWN,"status":"ok","endedAt":1}));
    assert_eq!(sim.last_frame()["method"], "chat.history");
    assert_eq!(sim.last_frame()["params"]["sessionKey"], KEY);
    sim.replies(json!({"messages":[{"role":"assistant","content":"⚠️ Agent failed before reply: No key."}]}));
    assert!(matches!(found(&sim), RunFinding::Ended(RunStage::Failed { .. })));

    let mut sent = Sim::release(3);
    sent.starts(1, task());
    sent.closes(None, "");
    sent.until_next_dial();
    sent.reach_login();
    sent.says(hello_of(3));
    sent.answer_all();
    sent.looks_up(2, SPAWN, None);
    sent.replies(json!({"runId":SPAWN,"status":"ok","endedAt":1}));
    assert_eq!(sent.last_frame()["params"]["sessionKey"], KEY, "the one that it was sent with");

    let mut gone = Sim::release(3);
    gone.looks_up(1, SPAWN, None);
    gone.replies(json!({"runId":SPAWN,"status":"ok","endedAt":1}));
    assert!(matches!(found(&gone), RunFinding::Ended(RunStage::Completed { .. })), "no session to read");
}

#[test]
fn right_after_connecting_a_look_up_waits_for_the_list_of_sessions() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.says(hello_of(4));
    sim.looks_up(1, SPAWN, Some(KEY));
    sim.replies(json!({"runId":SPAWN,"status":"timeout"}));
    assert!(sim.findings().is_empty());
    sim.pass_s(11);
    assert_eq!(found(&sim), RunFinding::NotKnown, "the list never came");

    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.says(hello_of(4));
    sim.looks_up(1, "r", Some("agent:main:a"));
    let id = sim.last_frame()["id"].clone();
    sim.says(json!({"type":"res","id":id,"ok":true,"payload":{"runId":"r","status":"timeout"}}));
    let asked: Vec<_> = sim.unanswered().into_iter().filter(|(_, method)| method != "agent.wait").collect();
    let mut open = asked;
    while let Some((id, method)) = open.pop() {
        let payload = match method.as_str() {
            "sessions.list" => json!({"sessions":[{"key":"agent:main:a","hasActiveRun":true,"activeRunIds":["r"]}]}),
            "agents.list" => json!({"agents":[]}),
            _ => json!({}),
        };
        sim.says(json!({"type":"res","id":id,"ok":true,"payload":payload}));
        open.extend(sim.unanswered());
    }
    assert_eq!(found(&sim), RunFinding::Running);
}

#[test]
fn a_run_that_is_found_running_is_followed_from_then_on() {
    let mut sim = Sim::release(4);
    listed(&mut sim, json!({"key":KEY,"hasActiveRun":true,"activeRunIds":[SPAWN]}));
    sim.looks_up(1, SPAWN, Some(KEY));
    sim.replies(json!({"runId":SPAWN,"status":"timeout"}));
    assert_eq!(found(&sim), RunFinding::Running);
    sim.event("chat", json!({"runId":SPAWN,"sessionKey":KEY,"state":"aborted","stopReason":"rpc"}));
    assert!(matches!(&sim.stages()[..], [RunStage::Killed { .. }]));
}

#[test]
fn what_a_look_up_told_is_not_told_again_by_events() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    sim.looks_up(2, SPAWN, Some(KEY));
    sim.replies(json!({"runId":SPAWN,"status":"error","error":"No key."}));
    sim.event("chat", json!({"runId":SPAWN,"state":"error","errorMessage":"No key."}));
    sim.pass_s(30);
    assert!(sim.stages().is_empty());
}

#[test]
fn a_gateway_without_agent_wait_is_asked_by_its_sessions_alone() {
    let mut sim = Sim::documented();
    sim.event("tick", json!({"snapshot":{"sessions":[{"key":"a:chat","active":true,"runId":SPAWN}]}}));
    let frames = sim.frames().len();
    sim.looks_up(1, SPAWN, None);
    assert_eq!(found(&sim), RunFinding::Running);
    assert_eq!(sim.frames().len(), frames, "nothing was asked");
    sim.looks_up(2, "another", None);
    assert_eq!(found(&sim), RunFinding::NotKnown);
}

#[test]
fn a_look_up_without_a_connection_or_an_answer_fails_and_says_so() {
    let mut away = Sim::new();
    away.looks_up(1, SPAWN, None);
    assert_eq!(away.findings().pop().unwrap().unwrap_err().code.as_str(), "gateway_unavailable");
    let mut cut = Sim::release(4);
    cut.looks_up(1, SPAWN, None);
    cut.closes(None, "");
    assert_eq!(cut.findings().len(), 1);
    let mut silent = Sim::release(4);
    silent.looks_up(1, SPAWN, None);
    silent.pass_s(11);
    assert_eq!(silent.findings().pop().unwrap().unwrap_err().code.as_str(), "gateway_timeout");
}
