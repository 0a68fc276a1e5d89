//! Runs of the scripted gateway, which judge the daemon's spawns.

use super::*;
use crate::support::scripted_gateway::{Ended, Fate, Memory, Moment, Strike, Truth};

/// Sends requests on a fresh connection and collects replies and events until one is as wanted, or the connection ends.
fn talk(gateway: &ScriptedGateway, requests: Vec<Value>, wanted: fn(&Value) -> bool) -> Vec<Value> {
    let port = gateway.port();
    block(async move {
        let (mut socket, _) = connect(port, "right").await.expect("let in");
        for request in requests {
            send(&mut socket, request).await;
        }
        let mut heard = Vec::new();
        while let Ok(frame) = next(&mut socket).await {
            heard.push(frame);
            if heard.last().is_some_and(wanted) {
                break;
            }
        }
        heard
    })
}

fn agent(id: &str, fate: &Fate) -> Value {
    let task = serde_json::to_string(fate).expect("plain");
    let params = json!({"message": task, "sessionKey": "agent:main:a", "idempotencyKey": "run-1"});
    json!({"type": "req", "id": id, "method": "agent", "params": params})
}

#[test]
fn a_run_is_accepted_told_of_and_replied_to_again_and_its_key_runs_once() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
    let fate = Fate { job: "a".to_owned(), ..Fate::default() };
    let heard = talk(&gateway, vec![agent("r1", &fate)], |frame| frame["payload"]["status"] == "ok");
    let replies: Vec<&Value> = heard.iter().filter(|frame| frame["id"] == "r1").collect();
    assert_eq!(replies[0]["payload"]["status"], "accepted");
    assert_eq!((&replies[1]["payload"]["status"], replies.len()), (&json!("ok"), 2));
    let phases: Vec<&Value> = heard.iter().filter(|frame| frame["event"] == "agent").collect();
    assert_eq!(phases[0]["payload"]["data"]["phase"], "start");
    assert_eq!(phases[1]["payload"]["data"]["phase"], "end");
    let again = talk(&gateway, vec![agent("r2", &fate)], |frame| frame["id"] == "r2");
    assert_eq!(again.last().map(|frame| &frame["payload"]["status"]), Some(&json!("ok")), "the result is said again");
    assert_eq!(gateway.executed().get("run-1"), Some(&1));
    assert_eq!(gateway.jobs().get("a"), Some(&(1, Truth::Ended(Ended::Well("a is done".to_owned())))));
}

#[test]
fn a_gateway_that_dies_under_a_run_keeps_or_forgets_it_and_its_truth_stays() {
    let wait = json!({"type": "req", "id": "w", "method": "agent.wait", "params": {"runId": "run-1"}});
    for (memory, status, truth) in [
        (Memory::Keeps, "error", Truth::Ended(Ended::Badly("the gateway was killed".to_owned()))),
        (Memory::Forgets, "timeout", Truth::CutOff),
    ] {
        let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(memory));
        let fate = Fate { job: "a".to_owned(), strike: Some((Moment::Begun, Strike::Die)), ..Fate::default() };
        let heard = talk(&gateway, vec![agent("r1", &fate)], |_| false);
        assert!(heard.iter().all(|frame| frame["id"] != "r1"), "it died before it could accept: {heard:?}");
        assert!(!gateway.is_alive());
        gateway.revive();
        let told = talk(&gateway, vec![wait.clone()], |frame| frame["id"] == "w");
        assert_eq!(told.last().map(|frame| &frame["payload"]["status"]), Some(&json!(status)));
        assert_eq!(gateway.jobs().get("a"), Some(&(1, truth)));
    }
}

#[test]
fn a_run_is_aborted_by_its_session_and_told_so_in_each_form() {
    let fate = Fate { job: "a".to_owned(), takes_ms: 60_000, ..Fate::default() };
    let task = serde_json::to_string(&fate).expect("plain");
    let abort = json!({"type": "req", "id": "k", "method": "sessions.abort", "params": {"key": "agent:main:a"}});
    let chat = json!({"type": "req", "id": "c", "method": "chat.send",
                      "params": {"message": task, "sessionKey": "agent:main:a", "idempotencyKey": "run-1"}});
    for (form, request) in [(Form::Protocol3, chat), (Form::Protocol4, agent("r1", &fate))] {
        let gateway = ScriptedGateway::start(Behaviour::of(form, "right").runs(Memory::Keeps));
        let port = gateway.port();
        let abort = abort.clone();
        let last = block(async move {
            let (mut socket, _) = connect(port, "right").await.expect("let in");
            send(&mut socket, request).await;
            while next(&mut socket).await.is_ok_and(|frame| frame["event"] != "sessions.changed") {}
            send(&mut socket, abort).await;
            loop {
                let frame = next(&mut socket).await.expect("it goes on");
                if frame["event"] == "chat" {
                    return frame;
                }
            }
        });
        assert_eq!((&last["payload"]["state"], &last["payload"]["runId"]), (&json!("aborted"), &json!("run-1")));
        assert_eq!(gateway.jobs().get("a"), Some(&(1, Truth::Ended(Ended::Aborted))));
    }
}
