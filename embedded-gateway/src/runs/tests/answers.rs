//! What a caller is answered: at once, at the end of a run, and for the same key.

use super::*;

#[test]
fn an_agent_call_is_accepted_and_answered_a_second_time_at_its_end() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    let accepted = world.reply("r1");
    assert_eq!(accepted["runId"], "k1");
    assert_eq!(accepted["status"], "accepted");
    assert_eq!(accepted["sessionKey"], "agent:main:chat");
    let order = world.order();
    assert_eq!((order.stdin.as_deref(), order.args.as_slice()), (Some("hello"), &["-q".to_owned()][..]));
    assert!(
        order.json_lines && !order.args.contains(&"hello".to_owned()) && !order.env.values().any(|it| it == "hello")
    );
    assert_eq!(world.event("message")["text"], "hello");

    world.start("k1");
    assert!(world.replies("r1").is_empty());
    assert_eq!(world.event("agent")["data"]["phase"], "start");
    assert_eq!(world.event("typing")["typing"], true);
    assert_eq!(world.event("agent.status")["status"], "busy");
    assert_eq!(world.row("agent:main:chat")["status"], "running");

    world.says("k1", r#"{"type":"text","delta":"word0"}"#);
    assert_eq!(world.event("agent.text")["delta"], "word0");
    world.says("k1", r#"{"type":"text","delta":" word1"}"#);
    world.says("k1", r#"{"type":"usage","input":1100,"output":7,"model":"mock/m1"}"#);
    world.exit("k1", 0);
    let outcome = world.reply("r1");
    assert_eq!(outcome["status"], "ok");
    assert_eq!(outcome["result"]["payloads"][0]["text"], "word0 word1");
    let agent = &outcome["result"]["meta"]["agentMeta"];
    assert_eq!(agent["usage"], json!({"input": 1100, "output": 7, "total": 1107}));
    assert_eq!((&agent["provider"], &agent["model"]), (&json!("mock"), &json!("m1")));
    assert_eq!(world.event("agent.done")["status"], "ok");
    assert_eq!(world.event("agent.status")["status"], "idle");
    let row = world.row("agent:main:chat");
    assert_eq!((&row["status"], &row["inputTokens"]), (&json!("done"), &json!(1100)));
    let said = world.said_in("agent:main:chat");
    assert_eq!(said, [("user".into(), "hello".into()), ("assistant".into(), "word0 word1".into())]);
}

#[test]
fn a_program_is_told_the_model_and_the_thinking_level_of_the_request_else_of_its_session() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    let order = world.order();
    assert!(!order.env.contains_key("OPENCLAW_MODEL") && !order.env.contains_key("OPENCLAW_THINKING"));
    world.start("k1");
    world.exit("k1", 0);
    world.call("r2", "sessions.patch", json!({"key": "agent:main:chat", "model": "mock/m2", "thinkingLevel": "high"}));
    let told =
        |order: ProcessOrder| [order.env.get("OPENCLAW_MODEL").cloned(), order.env.get("OPENCLAW_THINKING").cloned()];
    world.call("r3", "agent", message("k3"));
    assert_eq!(told(world.order()), [Some("mock/m2".into()), Some("high".into())]);
    world.start("k3");
    world.exit("k3", 0);
    let mut params = message("k4");
    params["provider"] = json!("other");
    params["model"] = json!("m5");
    params["thinking"] = json!("low");
    world.call("r4", "agent", params);
    assert_eq!(told(world.order()), [Some("other/m5".into()), Some("low".into())]);
    world.start("k4");
    world.exit("k4", 0);
    world.call("r5", "spawn", json!({"task": "x", "model": "m6", "thinkingLevel": "off"}));
    assert_eq!(told(world.order()), [Some("m6".into()), Some("off".into())]);
}

#[test]
fn an_answer_names_a_model_only_where_the_program_takes_it() {
    let mut world = World::with(|config| {
        let taking = config.commands.get_mut("plain").unwrap();
        taking.args = vec!["--model={{model}}".into(), "--think={{thinking}}".into()];
    });
    for (agent, args, model) in [("main", vec!["-q"], json!(null)), ("coder", vec!["--model=mock/m2"], json!("m2"))] {
        let params = json!({"agentId": agent, "message": "x", "idempotencyKey": agent, "model": "mock/m2"});
        world.call(agent, "agent", params);
        assert_eq!(world.order().args, args);
        world.start(agent);
        world.exit(agent, 0);
        let outcome = world.reply(agent);
        assert_eq!(outcome["result"]["meta"]["agentMeta"]["model"], model, "{outcome}");
    }
}

#[test]
fn a_model_that_could_be_an_option_of_the_program_is_refused() {
    let mut world = World::with(|config| config.commands.get_mut("talker").unwrap().args = vec!["{{model}}".into()]);
    let mut params = message("k1");
    params["model"] = json!("--help");
    world.call("r1", "agent", params);
    assert!(world.refusal("r1").message.contains("\"--help\" can't be passed on as {{model}}"));
    assert!(world.orders().is_empty() && world.machine.sessions.get("agent:main:chat").is_none());
}

#[test]
fn a_failure_is_an_error_in_the_second_reply_and_says_why() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    let stderr = ProcessNews::Line { stream: OutputStream::Stderr, text: "no such model".into(), cut: false };
    world.news("k1", stderr);
    assert_eq!(world.logged(), ["no such model"]);
    world.exit("k1", 3);
    let error = world.refusal("r1");
    assert_eq!(error.code, "UNAVAILABLE");
    assert_eq!(error.message, "command \"talker\" ended with exit code 3: no such model");
    assert_eq!(world.event("chat")["state"], "error");
    assert_eq!(world.row("agent:main:chat")["status"], "failed");
}

#[test]
fn each_way_to_fail_has_its_sentence() {
    for (news, says) in [
        (exited(None, Some(11)), "signal 11 (SIGSEGV)"),
        (exited(None, None), "didn't say how"),
        (
            ProcessNews::Exited { code: None, signal: Some(15), duration_ms: 1, strays: 0, timed_out: true },
            "ran into its timeout of 9 s",
        ),
        (ProcessNews::NotStarted { reason: "program /bin/agent doesn't exist".into() }, "doesn't exist"),
    ] {
        let mut world = World::new();
        let mut params = message("k1");
        params["timeout"] = 9.into();
        world.call("r1", "agent", params);
        assert_eq!(world.order().timeout, Some(Duration::from_secs(9)));
        let starts = !matches!(news, ProcessNews::NotStarted { .. });
        if starts {
            world.start("k1");
        }
        world.news("k1", news);
        let error = world.refusal("r1");
        assert!(error.message.contains(says), "{}", error.message);
        let row = world.row("agent:main:chat");
        assert_eq!(row["status"], "failed");
        assert_eq!(world.events("typing").len(), usize::from(starts), "what never ran never typed");
    }
}

#[test]
fn an_error_line_fails_a_run_whatever_its_exit_code() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.says("k1", r#"{"type":"error","message":"no key for openai"}"#);
    world.exit("k1", 0);
    assert_eq!(world.refusal("r1").message, "no key for openai");
}

#[test]
fn the_same_key_is_answered_from_memory_and_never_run_twice() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.call("r2", "agent", message("k1"));
    assert_eq!(world.reply("r2")["status"], "accepted");
    assert!(world.orders().is_empty());
    world.says("k1", r#"{"type":"done","text":"all"}"#);
    world.exit("k1", 0);
    for request in ["r1", "r2"] {
        assert_eq!(world.reply(request)["status"], "ok");
    }
    world.call("r3", "agent", message("k1"));
    assert_eq!(world.reply("r3")["result"]["payloads"][0]["text"], "all");
    assert!(world.orders().is_empty());
}

#[test]
fn the_same_key_with_other_parameters_is_a_mistake() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    let mut other = message("k1");
    other["message"] = "other".into();
    world.call("r2", "agent", other);
    assert_eq!(world.refusal("r2").code, "INVALID_REQUEST");
    assert!(world.orders().is_empty());
    world.call("r3", "chat.send", message("k1"));
    assert!(world.refusal("r3").message.contains("was used for another request"));
}

#[test]
fn a_chat_message_is_answered_once_and_its_end_comes_by_events() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    let reply = world.reply("r1");
    assert_eq!((&reply["runId"], &reply["status"]), (&json!("k1"), &json!("started")));
    world.call("r2", "chat.send", message("k1"));
    assert_eq!(world.reply("r2")["status"], "in_flight");
    world.start("k1");
    world.says("k1", r#"{"type":"text","text":"word0"}"#);
    let delta = world.event("chat");
    assert_eq!((&delta["state"], &delta["deltaText"]), (&json!("delta"), &json!("word0")));
    world.exit("k1", 0);
    assert!(world.replies("r1").is_empty());
    let last = world.event("chat");
    assert_eq!((&last["state"], &last["message"]["content"][0]["text"]), (&json!("final"), &json!("word0")));
    world.call("r3", "chat.send", message("k1"));
    assert_eq!(world.reply("r3")["status"], "ok");
}

#[test]
fn waiting_ends_with_the_run_or_with_the_time() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.call("w1", "agent.wait", json!({"runId": "k1", "timeoutMs": 1_000}));
    world.call("w2", "agent.wait", json!({"runId": "k1", "timeoutMs": 5_000}));
    world.call("w0", "agent.wait", json!({"runId": "k1", "timeoutMs": 0}));
    assert_eq!(world.reply("w0"), json!({"runId": "k1", "status": "timeout"}));
    assert_eq!(world.machine.next_deadline(), Some(world.now.at + Duration::from_secs(1)));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.reply("w1"), json!({"runId": "k1", "status": "timeout"}));
    assert!(world.replies("w2").is_empty());
    world.exit("k1", 0);
    let waited = world.reply("w2");
    assert_eq!((&waited["status"], &waited["endedAt"]), (&json!("ok"), &json!(world.now.wall_ms)));
    assert_eq!(world.machine.next_deadline(), None);
    world.call("w3", "agent.wait", json!({"runId": "k1"}));
    assert_eq!(world.reply("w3")["status"], "ok");
    world.call("w4", "agent.wait", json!({"runId": "nope"}));
    assert_eq!(world.reply("w4"), json!({"runId": "nope", "status": "timeout"}));
}

#[test]
fn the_dialect_without_ids_gets_the_outcome_alone() {
    let mut world = World::new();
    let params = json!({"message": "Hello", "sessionKey": "main", "model": "anthropic/x", "thinkingLevel": "medium"});
    world.call_as(rpc_caller(), "1", "agent", params);
    assert!(world.replies("1").is_empty());
    let order = world.order();
    assert_eq!(world.machine.runs.get(&order.run).unwrap().session_key, "agent:main:main");
    world.start(&order.run.0);
    world.says(&order.run.0, r#"{"type":"text","text":"hi"}"#);
    world.exit(&order.run.0, 0);
    assert_eq!(world.reply("1")["result"]["payloads"][0]["text"], "hi");
}
