//! Pause, resume and kill.

use serde_json::json;

use super::run_sim::{SPAWN, task};
use super::sim::Sim;
use crate::spawn::{RunStage, SessionAction};

#[test]
fn a_kill_is_an_abort_on_real_releases_and_reports_what_the_gateway_said() {
    for protocol in [3, 4] {
        let mut sim = Sim::release(protocol);
        sim.controls(1, "agent:main:a", SessionAction::Kill);
        assert_eq!(sim.last_frame()["method"], "sessions.abort");
        assert_eq!(sim.last_frame()["params"], json!({"key":"agent:main:a"}));
        sim.replies(json!({"ok":true,"abortedRunId":null,"status":"no-active-run"}));
        let said = sim.answers().pop().unwrap().1.unwrap();
        assert_eq!((&said["status"], &said["note"]), (&json!("no-active-run"), &json!("nothing was running")));
    }
}

#[test]
fn a_release_without_sessions_abort_is_killed_by_chat() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    let mut hello = super::run_sim::hello_of(3);
    hello["payload"]["features"]["methods"] = json!(["sessions.list", "agents.list", "chat.send", "chat.abort"]);
    sim.says(hello);
    sim.answer_all();
    sim.controls(1, "k", SessionAction::Kill);
    assert_eq!(sim.last_frame()["method"], "chat.abort");
    assert_eq!(sim.last_frame()["params"], json!({"sessionKey":"k"}));
    sim.replies(json!({"ok":true,"aborted":true,"runIds":["r"]}));
    let said = sim.answers().pop().unwrap().1.unwrap();
    assert_eq!((&said["runIds"], said.get("note")), (&json!(["r"]), None));
}

#[test]
fn pause_and_resume_go_by_control_where_it_is_offered() {
    let mut sim = Sim::documented();
    for action in [SessionAction::Pause, SessionAction::Resume, SessionAction::Kill] {
        sim.controls(1, "a:chat", action);
        assert_eq!(sim.last_frame()["method"], "control");
        assert_eq!(sim.last_frame()["params"], json!({"sessionKey":"a:chat","action":action.as_str()}));
    }
}

#[test]
fn a_pause_on_a_real_release_names_gateway_version_and_missing_method() {
    let mut sim = Sim::release(4);
    let frames = sim.frames().len();
    sim.controls(1, "agent:main:a", SessionAction::Pause);
    let failure = sim.answers().pop().unwrap().1.unwrap_err();
    assert_eq!(failure.code.as_str(), "not_supported_by_gateway");
    for word in ["prod", "2026.9.6", "cannot pause"] {
        assert!(failure.message.contains(word), "{}", failure.message);
    }
    assert_eq!(sim.frames().len(), frames, "nothing was asked");
}

#[test]
fn control_of_a_gateway_that_is_away_or_silent_is_answered() {
    let mut away = Sim::new();
    away.controls(1, "k", SessionAction::Kill);
    assert_eq!(away.answers().pop().unwrap().1.unwrap_err().code.as_str(), "gateway_unavailable");
    let mut cut = Sim::release(4);
    cut.controls(1, "k", SessionAction::Kill);
    cut.closes(None, "");
    assert_eq!(cut.answers().pop().unwrap().1.unwrap_err().code.as_str(), "gateway_unavailable");
    let mut silent = Sim::release(4);
    silent.controls(1, "k", SessionAction::Kill);
    silent.pass_alive(31);
    assert_eq!(silent.answers().pop().unwrap().1.unwrap_err().code.as_str(), "gateway_timeout");
}

#[test]
fn a_confirmed_kill_ends_the_run_even_if_no_event_says_so() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    sim.controls(2, "agent:main:gatewarden-spawn-1", SessionAction::Kill);
    sim.replies(json!({"ok":true,"abortedRunId":null,"status":"aborted"}));
    assert!(sim.stages().is_empty(), "the gateway's own words are given a moment");
    sim.pass_s(3);
    assert!(matches!(&sim.stages()[..], [RunStage::Killed { .. }]), "{:?}", sim.stages());
}

#[test]
fn a_kill_that_found_nothing_ends_no_run() {
    let mut sim = Sim::release(4);
    sim.starts(1, task());
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    sim.controls(2, "agent:main:gatewarden-spawn-1", SessionAction::Kill);
    sim.replies(json!({"ok":true,"abortedRunId":null,"status":"no-active-run"}));
    sim.pass_s(3);
    sim.event("chat", json!({"runId":SPAWN,"state":"final"}));
    sim.pass_s(3);
    assert!(matches!(&sim.stages()[..], [RunStage::Completed { .. }]), "{:?}", sim.stages());
}
