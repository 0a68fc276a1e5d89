//! What becomes of what a process says and of how it ends.

use super::*;

#[test]
fn tools_and_thoughts_are_told_in_order_with_the_text() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.says("k1", r#"{"type":"text","delta":"a"}"#);
    world.says("k1", r#"{"type":"text","delta":"b"}"#);
    assert!(world.events("agent.text").is_empty(), "not due yet");
    world.says("k1", r#"{"type":"tool_start","name":"ls","id":"t1","args":{"path":"/"}}"#);
    let names: Vec<&str> = world
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell { event, .. } if event.starts_with("agent.") => Some(event.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["agent.text", "agent.tool.start"]);
    assert_eq!(world.event("agent.tool.start")["tool"], "ls");
    world.says("k1", r#"{"type":"tool_result","name":"ls","id":"t1","result":"x"}"#);
    assert_eq!(world.event("agent.tool.result")["result"], "x");
    assert_eq!(world.event("agent")["data"]["phase"], "result");
    world.says("k1", r#"{"type":"thinking","text":"hm"}"#);
    assert_eq!(world.event("agent.thinking")["text"], "hm");
    world.says("k1", "not json");
    assert_eq!(world.logged(), ["not json"]);
    world.says("k1", r#"{"type":"text","delta":"c"}"#);
    assert!(world.events("agent.text").is_empty());
    assert!(world.machine.next_deadline().is_some());
    world.pass(Duration::from_millis(200));
    assert_eq!(world.event("agent.text")["delta"], "c");
    assert_eq!(world.machine.next_deadline(), None);
}

#[test]
fn what_a_program_says_of_its_failure_cant_steer_a_terminal() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.says("k1", r#"{"type":"error","message":"\u001b[31mbroken\u001b[0m\u0007"}"#);
    world.exit("k1", 1);
    let answers: Vec<String> = world.effects.iter().map(|effect| format!("{effect:?}")).collect();
    let answers = answers.join("\n");
    assert!(answers.contains("broken") && !answers.contains("u{1b}") && !answers.contains("\\u{7}"), "{answers}");

    world.call("r2", "agent", message("k2"));
    world.start("k2");
    world.news("k2", ProcessNews::Line { stream: OutputStream::Stderr, text: "\u{1b}[2Jgone".into(), cut: false });
    world.exit("k2", 1);
    let error = world.event("chat")["errorMessage"].as_str().unwrap_or_default().to_owned();
    assert!(error.ends_with("exit code 1: gone"), "{error}");
}

#[test]
fn events_of_a_run_are_numbered_without_gaps() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    let mut numbers = Vec::new();
    world.start("k1");
    numbers.extend(world.events("agent"));
    world.says("k1", r#"{"type":"text","delta":"a"}"#);
    numbers.extend(world.events("agent"));
    world.says("k1", r#"{"type":"usage","input":1,"output":1}"#);
    numbers.extend(world.events("agent"));
    world.exit("k1", 0);
    numbers.extend(world.events("agent"));
    let numbers: Vec<u64> = numbers.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_lost_connection_is_owed_nothing_and_its_run_goes_on() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.start("k1");
    world.call("w1", "agent.wait", json!({"runId": "k1"}));
    world.call("c1", "control", json!({"sessionKey": "agent:main:chat", "action": "pause"}));
    let connection = world.caller.connection;
    world.turn(|machine, turn| machine.disconnected(connection, turn.now));
    assert!(world.signals().is_empty());
    world.exit("k1", 0);
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Respond { .. } | Effect::Tell { .. })));
    assert_eq!(world.row("agent:main:chat")["status"], "done");
}

#[test]
fn late_news_of_a_run_that_has_ended_tell_nothing() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.exit("k1", 0);
    world.exit("k1", 1);
    assert!(world.effects.is_empty());
    world.start("never");
    assert!(world.effects.is_empty());
}

#[test]
fn finished_runs_are_forgotten_beyond_the_limit() {
    let mut world = World::with(|config| config.limits.finished_runs = 2);
    for number in 0..4 {
        let key = format!("k{number}");
        world.call("r", "chat.send", message(&key));
        world.start(&key);
        world.exit(&key, 0);
    }
    let known = |number: u32| world.machine.runs.get(&RunId(format!("k{number}"))).is_some();
    assert_eq!([0, 1, 2, 3].map(known), [false, false, true, true]);
}

#[test]
fn dropped_output_and_strays_are_said_in_the_log() {
    let mut world = World::new();
    world.call("r1", "chat.send", message("k1"));
    world.start("k1");
    world.news("k1", ProcessNews::Dropped { bytes: 5 });
    assert!(world.logged()[0].contains("5 bytes of output were dropped"));
    world.news("k1", ProcessNews::Exited { code: Some(0), signal: None, duration_ms: 1, strays: 2, timed_out: false });
    assert!(world.logged()[0].contains("2 processes that run k1 left behind"));
}

#[test]
fn stopping_ends_everything_that_waits_and_marks_the_rest() {
    let mut world = World::new();
    world.call("r1", "agent", message("k1"));
    world.call("r2", "agent", message("k2"));
    world.start("k1");
    world.turn(GatewayMachine::stopping);
    assert_eq!(world.reply("r2")["summary"], "aborted");
    assert_eq!(world.signals(), [("k1".into(), ProcessSignal::Terminate)]);
    world.news("k1", exited(None, Some(15)));
    assert_eq!(world.reply("r1")["summary"], "aborted");
    assert_eq!(world.row("agent:main:chat")["status"], "killed");
}

#[test]
fn document_004s_client_finds_the_session_by_the_key_that_it_wrote() {
    let mut world = World::new();
    let mut rpc = caller_with(&["operator.write"]);
    (rpc.dialect, rpc.protocol, rpc.connection) = (gatewarden_protocol::Dialect::Rpc, 0, ConnectionId(9));
    let rpc = Arc::new(rpc);
    world.machine.subscribers.join(Arc::clone(&rpc));
    world.call_as(rpc, "1", "agent", json!({"message": "hello", "sessionKey": "main"}));
    let run = world.order().run.0;
    world.start(&run);
    world.says(&run, r#"{"type":"thinking","text":"well"}"#);
    let told = |event: &str| -> Vec<(u64, Value)> {
        let told = world.effects.iter().filter_map(|effect| match effect {
            Effect::Tell { to, event: name, payload } if name == event => Some((to, payload)),
            _ => None,
        });
        let mut told: Vec<(u64, Value)> = told
            .flat_map(|(to, payload)| to.iter().map(|to| (to.0, payload["sessionKey"].clone())).collect::<Vec<_>>())
            .collect();
        told.sort_by_key(|(connection, _)| *connection);
        told
    };
    assert_eq!(told("agent.thinking"), [(1, json!("agent:main:main")), (9, json!("main"))]);
    assert!(told("agent").iter().all(|(_, key)| key == "agent:main:main"), "events of releases name it whole");
}
