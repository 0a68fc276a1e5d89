//! Commands begun by name, and what is refused before anything begins.

use super::*;
use crate::methods::{AgentMessage, deliver};
use crate::sessions::{Opening, SessionKey};

#[test]
fn a_spawned_command_is_running_only_after_its_execution() {
    let mut world = World::new();
    world.call("spawn-1", "spawn", json!({"command": "plain", "args": ["developer"], "idempotencyKey": "k1"}));
    assert!(world.replies("spawn-1").is_empty() && world.events("spawn_result").is_empty());
    assert_eq!(world.order().args, ["-q", "developer"]);
    world.start("k1");
    let result = world.event("spawn_result");
    assert_eq!(world.reply("spawn-1"), result);
    for (field, value) in [("id", json!("spawn-1")), ("status", json!("running")), ("pid", json!(77))] {
        assert_eq!(result[field], value);
    }
    for field in ["completedAt", "result", "error"] {
        assert_eq!(result[field], Value::Null);
    }
    assert_eq!(result["sessionKey"], "agent:plain:spawn:k1");
    world.says("k1", "one");
    assert_eq!(world.logged(), ["one"]);
    world.exit("k1", 0);
    let result = world.event("spawn_result");
    assert_eq!((&result["status"], &result["result"]["exitCode"]), (&json!("completed"), &json!(0)));
    assert_eq!(result["result"]["text"], "one");
    assert_eq!(result["completedAt"], world.now.wall_ms);
    assert!(world.replies("spawn-1").is_empty());
    assert_eq!(world.row("agent:plain:spawn:k1")["status"], "done");
}

#[test]
fn other_readers_hear_of_a_spawn_under_the_id_of_its_run() {
    let mut world = World::new();
    let mut other = caller_with(&["operator.read"]);
    other.connection = ConnectionId(2);
    world.machine.subscribers.join(Arc::new(other));
    world.call("1", "spawn", json!({"command": "plain", "idempotencyKey": "k1"}));
    world.start("k1");
    let told: Vec<(Vec<ConnectionId>, Value)> = world
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell { to, event, payload } if event == "spawn_result" => Some((to.clone(), payload["id"].clone())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(vec![ConnectionId(1)], json!("1")), (vec![ConnectionId(2)], json!("k1"))]);
}

#[test]
fn a_long_request_id_becomes_the_runs_and_a_short_one_does_not() {
    let mut world = World::new();
    let long = "0123456789abcdef-spawn";
    world.call(long, "spawn", json!({"command": "plain"}));
    assert_eq!(world.order().run.0, long);
    world.call(long, "spawn", json!({"command": "plain"}));
    assert_ne!(world.order().run.0, long, "sent again without a key it is another one");
    world.call("1", "spawn", json!({"command": "plain"}));
    assert_ne!(world.order().run.0, "1");
}

#[test]
fn a_command_that_cannot_be_executed_is_an_error_and_a_failed_spawn_result() {
    let mut world = World::new();
    world.call("r1", "spawn", json!({"command": "plain", "idempotencyKey": "k1"}));
    world.news("k1", ProcessNews::NotStarted { reason: "program /bin/agent doesn't exist".into() });
    let error = world.refusal("r1");
    assert_eq!((error.code, &error.details["code"]), ("UNAVAILABLE", &json!("SPAWN_FAILED")));
    let result = world.event("spawn_result");
    assert_eq!((&result["status"], &result["pid"]), (&json!("failed"), &Value::Null));
    assert_eq!(result["error"], "program /bin/agent doesn't exist");
    assert_eq!(world.row("agent:plain:spawn:k1")["status"], "failed");
}

#[test]
fn what_the_allow_list_refuses_is_never_begun() {
    let mut world = World::new();
    for params in [
        json!({"command": "python"}),
        json!({"command": "plain", "args": ["-rf"]}),
        json!({"command": "plain", "args": ["a", "b"]}),
        json!({"command": "plain", "env": {"LD_PRELOAD": "x"}}),
        json!({"command": "plain", "env": {"A": "x"}}),
        json!({"command": "plain", "cwd": "/etc"}),
        json!({"command": "plain", "cwd": "/srv/../etc"}),
    ] {
        world.call("r1", "spawn", params.clone());
        let error = world.refusal("r1");
        assert!(matches!(error.code, "FORBIDDEN" | "INVALID_REQUEST"), "{params}: {error}");
        assert!(world.orders().is_empty() && world.machine.sessions.len() == 0, "{params}");
    }
}

#[test]
fn senseless_parameters_are_refused_by_name() {
    let mut world = World::new();
    for (method, params, says) in [
        ("spawn", json!({"foo": 1}), "unexpected property 'foo'"),
        ("spawn", json!({}), "'command' or 'task'"),
        ("spawn", json!({"command": "plain", "task": "x"}), "exclude each other"),
        ("spawn", json!({"task": "x", "args": []}), "'args' needs 'command'"),
        ("spawn", json!({"command": "plain", "env": {"A": 1}}), "at /env"),
        ("spawn", json!({"command": "plain", "env": []}), "at /env: must be object"),
        ("spawn", json!({"task": "x", "agent": "nobody"}), "Unknown agent id"),
        ("spawn", json!({"task": "x", "agent": "coder", "sessionKey": "agent:main:x"}), "belongs to another agent"),
        ("spawn", json!({"task": " "}), "must not be blank"),
        ("agent", json!({"idempotencyKey": "k"}), "'message'"),
        ("agent", json!({"message": "x"}), "'idempotencyKey'"),
        ("agent", json!({"message": "x", "idempotencyKey": ""}), "idempotencyKey"),
        ("agent", json!({"message": "x", "idempotencyKey": "a\nb"}), "control characters"),
        ("agent", json!({"message": "x", "idempotencyKey": "k".repeat(257)}), "at most 256 bytes"),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "agentId": "nobody"}), "Unknown agent id"),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "sessionId": "nope"}), "session not found"),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "attachments": [1]}), "attachments is not supported"),
        (
            "agent",
            json!({"message": "x", "idempotencyKey": "k", "agentId": "coder", "sessionKey": "agent:main:x"}),
            "doesn't fit session key",
        ),
        ("chat.send", json!({}), "session mutation target is unavailable"),
        ("chat.send", json!({"sessionKey": "main", "message": "x"}), "'idempotencyKey'"),
        ("sessions.send", json!({"key": "agent:main:none", "message": "x"}), "session not found: agent:main:none"),
        ("sessions.abort", json!({}), "key required"),
        ("chat.abort", json!({}), "'sessionKey'"),
        ("agent.wait", json!({}), "'runId'"),
        ("control", json!({"sessionKey": "main"}), "'action'"),
        ("control", json!({"sessionKey": "main", "action": "explode"}), "allowed values"),
        ("control", json!({"sessionKey": "main", "action": "pause"}), "session not found"),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "agentId": "idle"}), "has no command"),
    ] {
        world.call("r1", method, params.clone());
        let error = world.refusal("r1");
        assert!(error.message.contains(says), "{method} {params}: {}", error.message);
        assert!(world.orders().is_empty());
    }
    assert!(world.machine.sessions.len() == 0);
}

#[test]
fn no_client_takes_the_id_of_a_run_of_the_gateways_own() {
    let mut world = World::new();
    world.call("r0", "chat.send", message("k0"));
    for key in ["telegram:666:8", "cron:j:1795428060000", "manual:j:1:1", "hook:w:d"] {
        for (method, mut params) in [
            ("agent", json!({"message": "x"})),
            ("chat.send", json!({"message": "x", "sessionKey": "agent:main:chat"})),
            ("sessions.send", json!({"message": "x", "key": "agent:main:chat"})),
            ("spawn", json!({"command": "plain"})),
        ] {
            params["idempotencyKey"] = key.into();
            world.call("r", method, params);
            let error = world.refusal("r");
            assert!(error.message.contains("name the gateway's own runs"), "{method} {key}: {}", error.message);
            assert!(world.orders().is_empty());
        }
    }
    let request = "cron:j:1795428060000";
    world.call(request, "spawn", json!({"command": "plain"}));
    assert_ne!(world.order().run.0, request);
    for key in ["cron", "telegram-1", "crontab:1", "7e57:cron:1"] {
        world.call("r", "agent", json!({"message": "x", "idempotencyKey": key}));
        assert_eq!(world.order().run.0, key);
    }
}

#[test]
fn no_run_begins_under_the_id_of_another_one() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    let request = RunRequest::unasked(RunId("k1".into()), "cron:j".into());
    let session = SessionKey::of("main", "other");
    world.turn(|machine, turn| {
        let agent = machine.agents.resolve(Some("main")).unwrap();
        let message = AgentMessage { session, opening: Opening::default(), agent, text: "x".into(), cwd: None };
        let error = deliver(machine, request, message, turn).expect_err("refused");
        assert!(error.message.contains("\"k1\" already"), "{error}");
    });
    assert!(world.effects.is_empty() && world.machine.sessions.len() == 1);
    world.exit("k1", 0);
    assert_eq!(world.row("agent:main:chat")["status"], "done");
}

#[test]
fn a_message_that_is_too_long_is_refused() {
    let mut world = World::new();
    let mut params = message("k1");
    params["message"] = "x".repeat(crate::runs::beginning::MESSAGE_LIMIT + 1).into();
    world.call("r1", "agent", params);
    assert!(world.refusal("r1").message.contains("longer than"));
    assert!(world.orders().is_empty());
}
