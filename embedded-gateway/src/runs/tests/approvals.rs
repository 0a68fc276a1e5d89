//! What agents want to do and operators decide.

use super::*;
use crate::effect::Question;

fn question(number: u64) -> ProcessNews {
    ProcessNews::Asks(Question {
        number,
        title: "rm -rf".into(),
        input: Some("{}".into()),
        cwd: "/ws".into(),
        tool_call: Some("t".into()),
    })
}

fn decisions(world: &World) -> Vec<(String, u64, bool)> {
    let is_it = |effect: &Effect| match effect {
        Effect::Decide { run, question, allow } => Some((run.0.clone(), *question, *allow)),
        _ => None,
    };
    world.effects.iter().filter_map(is_it).collect()
}

/// Two runs; the first one's agent has asked. The operator may decide.
fn asked() -> (World, String) {
    let mut world = World::new();
    let mut decider = caller_with(&["operator.read", "operator.write", "operator.approvals"]);
    decider.connection = world.caller.connection;
    world.caller = Arc::new(decider);
    world.machine.subscribers.join(Arc::clone(&world.caller));
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.news("k1", question(1));
    let told = world.event("exec.approval.requested");
    assert_eq!((&told["request"]["command"], &told["request"]["runId"]), (&json!("rm -rf"), &json!("k1")), "{told}");
    assert_eq!(told["expiresAtMs"].as_i64().unwrap() - told["createdAtMs"].as_i64().unwrap(), 1_800_000);
    let id = told["id"].as_str().unwrap().to_owned();
    (world, id)
}

#[test]
fn an_operator_decides_once_and_all_operators_hear_of_it() {
    for (decision, allow) in [("allow-once", true), ("deny", false)] {
        let (mut world, id) = asked();
        world.call("l", "exec.approval.list", json!({}));
        assert_eq!(world.reply("l")[0]["id"], id.as_str());
        world.call("g", "exec.approval.get", json!({"id": id}));
        assert_eq!(world.reply("g")["commandText"], "rm -rf");
        world.call("d", "exec.approval.resolve", json!({"id": id, "decision": decision}));
        assert_eq!(world.reply("d"), json!({"ok": true}));
        assert_eq!(decisions(&world), [("k1".to_owned(), 1, allow)]);
        let told = world.event("exec.approval.resolved");
        assert_eq!((&told["id"], &told["decision"]), (&json!(id), &json!(decision)), "{told}");
        world.call("d2", "exec.approval.resolve", json!({"id": id, "decision": decision}));
        assert_eq!(world.refusal("d2").details["reason"], "APPROVAL_NOT_FOUND");
        assert!(decisions(&world).is_empty());
    }
}

#[test]
fn only_who_may_decide_is_asked_and_can_decide() {
    let (mut world, id) = asked();
    let mut reader = caller_with(&["operator.read", "operator.write"]);
    reader.connection = crate::caller::ConnectionId(99);
    world.call_as(Arc::new(reader), "d", "exec.approval.resolve", json!({"id": id, "decision": "allow-once"}));
    assert_eq!(world.refusal("d").details["missingScope"], "operator.approvals");
    world.call("a", "exec.approval.resolve", json!({"id": id, "decision": "allow-always"}));
    assert_eq!(world.refusal("a").details["reason"], "APPROVAL_ALLOW_ALWAYS_UNAVAILABLE");
}

#[test]
fn what_nobody_decides_is_denied_in_the_end_and_what_a_run_asked_for_ends_with_it() {
    let (mut world, id) = asked();
    world.pass(Duration::from_secs(1_799));
    assert!(decisions(&world).is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(decisions(&world), [("k1".to_owned(), 1, false)]);
    let told = world.event("exec.approval.resolved");
    assert_eq!((&told["id"], &told["resolvedBy"]), (&json!(id), &json!(null)), "{told}");

    let (mut world, id) = asked();
    world.exit("k1", 0);
    assert_eq!(world.event("exec.approval.resolved")["id"], id.as_str());
    world.call("l", "exec.approval.list", json!({}));
    assert_eq!(world.reply("l"), json!([]));
}
