//! Pausing, resuming and ending.

use super::*;

#[test]
fn pause_and_resume_are_answered_when_the_group_was_signalled() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.call("c1", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    assert!(world.replies("c1").is_empty());
    assert_eq!(world.signals(), [("k1".into(), ProcessSignal::Pause)]);
    world.news("k1", ProcessNews::Signalled { signal: ProcessSignal::Pause, failed: None });
    assert_eq!(world.reply("c1")["status"], "paused");
    assert_eq!(world.row("agent:main:chat")["paused"], true);
    world.call("c2", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    assert_eq!(world.reply("c2")["status"], "paused", "once more is no mistake");
    assert!(world.signals().is_empty());
    world.call("c3", "control", json!({"sessionKey": "agent:main:chat", "action": "resume"}));
    world.news("k1", ProcessNews::Signalled { signal: ProcessSignal::Resume, failed: None });
    assert_eq!(world.reply("c3")["status"], "running");
    assert_eq!(world.row("agent:main:chat")["status"], "running");
    world.call("c4", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    world.news("k1", ProcessNews::Signalled { signal: ProcessSignal::Pause, failed: Some("not permitted".into()) });
    assert!(world.refusal("c4").message.contains("not permitted"));
    assert_eq!(world.row("agent:main:chat")["status"], "running");
}

#[test]
fn orders_that_wait_are_answered_when_the_run_ends_first() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.call("c1", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    world.call("c2", "control", json!({"sessionKey": "agent:main:chat", "action": "kill"}));
    world.exit("k1", 0);
    assert!(world.refusal("c1").message.contains("its run has ended"));
    assert_eq!(world.reply("c2")["status"], "killed");
}

#[test]
fn a_kill_ends_the_run_and_those_that_wait_in_its_session() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.call("r2", "agent", message("k2"));
    world.start("k1");
    world.call("c1", "chat.abort", json!({"sessionKey": "agent:main:chat"}));
    assert_eq!(world.reply("c1"), json!({"ok": true, "aborted": true, "runIds": ["k1", "k2"]}));
    assert_eq!(world.signals(), [("k1".into(), ProcessSignal::Terminate)]);
    assert_eq!(world.reply("r2")["stopReason"], "rpc", "what waited ends at once");
    world.news("k1", exited(None, Some(15)));
    let killed = world.reply("r1");
    assert_eq!(
        (&killed["status"], &killed["summary"], &killed["stopReason"]),
        (&json!("timeout"), &json!("aborted"), &json!("rpc"))
    );
    let chat = world.event("chat");
    assert_eq!((&chat["state"], &chat["stopReason"]), (&json!("aborted"), &json!("rpc")));
    assert_eq!(world.row("agent:main:chat")["status"], "killed");
    assert!(world.orders().is_empty());
    world.call("c2", "chat.abort", json!({"sessionKey": "agent:main:chat"}));
    assert_eq!(world.reply("c2"), json!({"ok": true, "aborted": false, "runIds": []}));
}

#[test]
fn an_abort_of_one_run_leaves_the_others() {
    let mut world = World::new();
    for key in ["k1", "k2", "k3"] {
        world.call("r", "chat.send", message(key));
    }
    world.call("c1", "sessions.abort", json!({"runId": "k2"}));
    assert_eq!(world.reply("c1"), json!({"ok": true, "abortedRunId": "k2", "status": "aborted"}));
    assert!(world.signals().is_empty());
    world.start("k1");
    world.exit("k1", 0);
    assert_eq!(world.order().run.0, "k3");
    world.call("c2", "sessions.abort", json!({"key": "agent:main:chat", "runId": "nope"}));
    assert_eq!(world.reply("c2"), json!({"ok": true, "abortedRunId": null, "status": "no-active-run"}));
}

#[test]
fn a_spawn_that_is_killed_says_so() {
    let mut world = World::new();
    world.call("r1", "spawn", json!({"command": "plain", "idempotencyKey": "k1"}));
    world.start("k1");
    world.call("c1", "control", json!({"sessionKey": "agent:plain:spawn:k1", "action": "terminate"}));
    world.news("k1", ProcessNews::Signalled { signal: ProcessSignal::Terminate, failed: None });
    let reply = world.reply("c1");
    assert_eq!(
        (&reply["status"], &reply["aborted"], &reply["runIds"]),
        (&json!("ending"), &json!(true), &json!(["k1"]))
    );
    world.news("k1", exited(None, Some(9)));
    let result = world.event("spawn_result");
    assert_eq!((&result["status"], &result["result"]["signal"]), (&json!("killed"), &json!(9)));
    world.call("c2", "control", json!({"sessionKey": "agent:plain:spawn:k1", "action": "kill"}));
    assert_eq!(world.reply("c2")["aborted"], false);
    world.call("c3", "control", json!({"sessionKey": "agent:plain:spawn:k1", "action": "pause"}));
    assert_eq!(world.refusal("c3").details["code"], "NO_ACTIVE_RUN");
    world.call("c4", "control", json!({"sessionKey": "agent:plain:spawn:k1", "action": "monitor"}));
    assert_eq!((&world.reply("c4")["status"], &world.reply("c4")["runs"]), (&json!("idle"), &json!([])));
}
