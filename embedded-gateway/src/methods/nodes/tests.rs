use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::effect::Effect;
use crate::tests::fixture::{Fixture, LoginAttempt, SHARED, answers, audited, config, event, identity, remote, told};

const NODE: u16 = 7;

fn node_id() -> String {
    identity(NODE).device_id().to_owned()
}

fn node(commands: &[&'static str]) -> LoginAttempt {
    LoginAttempt {
        client: ("node-host", "node"),
        name: Some("Studio".to_owned()),
        family: Some("Linux"),
        role: "node",
        commands: commands.to_vec(),
        scopes: Vec::new(),
        device: Some(NODE),
        ..LoginAttempt::default()
    }
}

fn with_scopes(gateway: &mut Fixture, scopes: &[&'static str]) -> Arc<Caller> {
    let client = ("gateway-client", "backend");
    gateway.attempt(&LoginAttempt { client, device: None, scopes: scopes.to_vec(), ..LoginAttempt::default() }).caller()
}

/// A node whose offer is approved, and an administrator.
fn approved(commands: &[&'static str]) -> (Fixture, Arc<Caller>, Arc<Caller>) {
    let mut gateway = Fixture::new(config());
    let admin = gateway.admin();
    let node = gateway.attempt(&node(commands)).caller();
    approve_all(&mut gateway, &admin);
    (gateway, node, admin)
}

fn approve_all(gateway: &mut Fixture, admin: &Arc<Caller>) {
    let listed = gateway.call(admin, "node.pair.list", json!({})).0.unwrap();
    for row in listed["pending"].as_array().unwrap() {
        gateway.call(admin, "node.pair.approve", json!({"requestId": row["requestId"]})).0.unwrap();
    }
}

fn described(gateway: &mut Fixture, caller: &Arc<Caller>) -> Value {
    gateway.call(caller, "node.describe", json!({"nodeId": node_id()})).0.unwrap()
}

fn which(key: &str) -> Value {
    json!({"nodeId": node_id(), "command": "system.which", "params": {"bins": ["uname"]}, "idempotencyKey": key})
}

fn invoke_error(gateway: &mut Fixture, caller: &Arc<Caller>, params: Value) -> String {
    gateway.call(caller, "node.invoke", params).0.unwrap_err().message
}

/// The invoke's id, as the node was told.
fn asked(effects: &[Effect], node: &Caller) -> String {
    let (payload, to) = event(effects, "node.invoke.request").expect("the node is asked");
    assert_eq!(to, [node.connection], "nobody else is told");
    payload["id"].as_str().unwrap().to_owned()
}

#[test]
fn pairing_lets_a_node_in_and_its_commands_wait_for_an_approval_of_their_own() {
    let mut gateway = Fixture::new(config());
    let admin = gateway.admin();
    let (outcome, effects) = gateway.attempt_with_effects(&node(&["system.run", "system.which", "camera.snap"]));
    assert_eq!((&outcome.hello()["auth"]["role"], &outcome.hello()["auth"]["scopes"]), (&json!("node"), &json!([])));
    assert_eq!(outcome.hello()["snapshot"]["presence"], json!([]), "who else is there is not a node's to know");
    let (row, to) = event(&effects, "node.pair.requested").unwrap();
    assert_eq!(to, [admin.connection]);
    assert_eq!(row["commands"], json!(["system.run", "system.which"]), "what nobody may ask for isn't even asked");
    assert_eq!(row["requiredApproveScopes"], json!(["operator.pairing", "operator.admin"]));
    let shown = described(&mut gateway, &admin);
    assert_eq!(
        (&shown["approvalState"], &shown["commands"], &shown["connected"]),
        (&json!("pending-approval"), &json!([]), &json!(true))
    );
    assert!(invoke_error(&mut gateway, &admin, which("k")).contains("pending approval"));

    let (answer, effects) = gateway.call(&admin, "node.pair.approve", json!({"requestId": row["requestId"]}));
    assert_eq!(answer.unwrap()["node"]["commands"], json!(["system.run", "system.which"]));
    assert!(audited(&effects).contains(&"node.pairing_approved"));
    let (resolved, to) = event(&effects, "node.pair.resolved").unwrap();
    assert_eq!(resolved["decision"], "approved");
    assert_eq!(to, [admin.connection, outcome.caller().connection], "the node hears it, too");
    let shown = described(&mut gateway, &admin);
    assert_eq!(
        (&shown["approvalState"], &shown["commands"]),
        (&json!("approved"), &json!(["system.run", "system.which"]))
    );
    let again = gateway.call(&admin, "node.pair.approve", json!({"requestId": row["requestId"]})).0;
    assert_eq!(again.unwrap_err().message, "unknown requestId");
}

#[test]
fn a_node_from_elsewhere_waits_for_its_pairing_as_any_device() {
    let mut gateway = Fixture::new(config());
    let admin = gateway.admin();
    let attempt = LoginAttempt { peer: remote(7), ..node(&[]) };
    let (outcome, effects) = gateway.attempt_with_effects(&attempt);
    assert_eq!(outcome.code(), "PAIRING_REQUIRED");
    assert_eq!(outcome.refusal().error.details["requestedRole"], "node");
    assert_eq!(event(&effects, "device.pair.requested").unwrap().0["role"], "node");
    assert!(gateway.call(&admin, "node.list", json!({})).0.unwrap()["nodes"].as_array().unwrap().is_empty());
    let request = outcome.refusal().error.details["requestId"].clone();
    let device = gateway.call(&admin, "device.pair.approve", json!({"requestId": request})).0.unwrap();
    assert_eq!(device["device"]["roles"], json!(["node"]));
    let token = gateway.attempt(&attempt).device_token().expect("a token of its own");
    let by_token = LoginAttempt { token: None, device_token: Some(token.clone()), ..attempt.clone() };
    assert_eq!(gateway.attempt(&by_token).hello()["auth"]["role"], "node");
    let as_operator = LoginAttempt { role: "operator", scopes: vec!["operator.read"], ..by_token };
    assert_eq!(gateway.attempt(&as_operator).code(), "AUTH_DEVICE_TOKEN_MISMATCH", "it is no operator's token");
    let by_shared = LoginAttempt { token: Some(SHARED.to_owned()), device_token: None, ..as_operator };
    assert_eq!(gateway.attempt(&by_shared).refusal().error.details["reason"], "role-upgrade");
}

#[test]
fn a_node_calls_no_method_of_operators_and_operators_none_of_nodes() {
    let (mut gateway, node, admin) = approved(&["system.run"]);
    for method in ["health", "status", "node.list", "node.invoke", "config.get", "device.pair.list", "sessions.list"] {
        let error = gateway.call(&node, method, json!({})).0.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), ("INVALID_REQUEST", "unauthorized role: node"), "{method}");
    }
    for method in ["node.invoke.result", "node.event", "node.invoke.progress"] {
        let error = gateway.call(&admin, method, json!({})).0.unwrap_err();
        assert_eq!(error.message, "unauthorized role: operator", "{method}");
    }
}

#[test]
fn scopes_that_a_node_names_are_worth_nothing() {
    let mut gateway = Fixture::new(config());
    let attempt = LoginAttempt { scopes: vec!["operator.admin"], ..node(&[]) };
    let caller = gateway.attempt(&attempt).caller();
    assert!(caller.scopes.is_empty());
    assert_eq!(gateway.machine.devices.get(&node_id()).unwrap().scopes, Vec::<String>::new());
    assert!(gateway.call(&caller, "node.list", json!({})).0.is_err());
}

#[test]
fn a_command_goes_to_the_node_and_its_answer_to_who_asked() {
    let (mut gateway, node, admin) = approved(&["system.which"]);
    let effects = gateway.begin(&admin, "r1", "node.invoke", which("key-1"));
    assert!(answers(&effects).is_empty(), "it is answered when the node has");
    assert!(audited(&effects).contains(&"node.invoke"));
    let (payload, _) = event(&effects, "node.invoke.request").unwrap();
    assert_eq!(
        (&payload["command"], &payload["paramsJSON"], &payload["timeoutMs"], &payload["idempotencyKey"]),
        (&json!("system.which"), &json!(r#"{"bins":["uname"]}"#), &json!(30_000), &json!("key-1"))
    );
    let id = asked(&effects, &node);
    let result =
        json!({"id": id, "nodeId": node_id(), "ok": true, "payloadJSON": r#"{"bins":{"uname":"/bin/uname"}}"#});
    let effects = gateway.begin(&node, "n1", "node.invoke.result", result.clone());
    let answered = answers(&effects);
    assert_eq!(answered.len(), 2);
    let answer = answered[0].1.clone().unwrap();
    assert_eq!(answered[0].0, "r1");
    assert_eq!(
        (&answer["payload"]["bins"]["uname"], &answer["command"]),
        (&json!("/bin/uname"), &json!("system.which"))
    );
    assert_eq!(answer["payloadJSON"], result["payloadJSON"]);
    let late = gateway.call(&node, "node.invoke.result", result).0.unwrap();
    assert_eq!(late, json!({"ok": true, "ignored": true}));
}

#[test]
fn what_a_node_says_went_wrong_is_passed_on() {
    let (mut gateway, node, admin) = approved(&["system.which"]);
    let id = asked(&gateway.begin(&admin, "r1", "node.invoke", which("key-1")), &node);
    let failed =
        json!({"id": id, "nodeId": node_id(), "ok": false, "error": {"code": "INVALID_REQUEST", "message": "no"}});
    let effects = gateway.begin(&node, "n1", "node.invoke.result", failed);
    let error = answers(&effects)[0].1.clone().unwrap_err();
    assert_eq!((error.code, error.message.as_str()), ("UNAVAILABLE", "INVALID_REQUEST: no"));
    assert_eq!(error.details["nodeCommandDispatched"], true);
}

#[test]
fn the_same_key_is_carried_out_once() {
    let (mut gateway, node, admin) = approved(&["system.which"]);
    let id = asked(&gateway.begin(&admin, "r1", "node.invoke", which("key-1")), &node);
    assert!(gateway.begin(&admin, "r2", "node.invoke", which("key-1")).is_empty(), "it waits for the same answer");
    let other = json!({"nodeId": node_id(), "command": "system.which", "idempotencyKey": "key-1"});
    assert!(invoke_error(&mut gateway, &admin, other).contains("idempotencyKey"));
    let result = json!({"id": id, "nodeId": node_id(), "ok": true, "payload": {"n": 1}});
    let effects = gateway.begin(&node, "n1", "node.invoke.result", result);
    assert_eq!(answers(&effects).iter().map(|(to, _)| to.as_str()).collect::<Vec<_>>(), ["r1", "r2", "n1"]);
    let (again, effects) = gateway.call(&admin, "node.invoke", which("key-1"));
    assert_eq!(again.unwrap()["payload"], json!({"n": 1}));
    assert_eq!(told(&effects), Vec::<&str>::new(), "the node isn't asked again");
    gateway.pass(Duration::from_secs(700));
    asked(&gateway.begin(&admin, "r4", "node.invoke", which("key-1")), &node);
}

#[test]
fn a_node_that_goes_away_ends_its_commands_with_an_error_that_says_so() {
    let (mut gateway, node, admin) = approved(&["system.which"]);
    asked(&gateway.begin(&admin, "r1", "node.invoke", which("key-1")), &node);
    gateway.leave(&node);
    assert!(gateway.machine.next_deadline().is_some_and(|due| due <= gateway.now.at), "who waits is told at once");
    let error = answers(&gateway.on_time())[0].1.clone().unwrap_err();
    assert!(error.message.starts_with("NOT_CONNECTED: node disconnected"), "{}", error.message);
    assert!(gateway.on_time().is_empty());
    assert_eq!(invoke_error(&mut gateway, &admin, which("key-2")), "node not connected");
    let shown = described(&mut gateway, &admin);
    assert_eq!((&shown["connected"], &shown["lastDisconnectedAtMs"]), (&json!(false), &json!(gateway.now.wall_ms)));
}

#[test]
fn a_node_that_comes_again_takes_its_own_place() {
    let (mut gateway, former, admin) = approved(&["system.which"]);
    let id = asked(&gateway.begin(&admin, "r1", "node.invoke", which("key-1")), &former);
    let newer = gateway.attempt(&node(&["system.which"])).caller();
    assert!(answers(&gateway.on_time())[0].1.is_err(), "the former connection's command has an end");
    let result = json!({"id": id, "nodeId": node_id(), "ok": true});
    assert_eq!(gateway.call(&former, "node.invoke.result", result).0.unwrap()["ignored"], true);
    gateway.leave(&former);
    assert_eq!(described(&mut gateway, &admin)["connected"], true);
    asked(&gateway.begin(&admin, "r2", "node.invoke", which("key-2")), &newer);
}

#[test]
fn a_command_that_takes_too_long_is_given_up_and_the_node_told() {
    let (mut gateway, node, admin) = approved(&["system.which"]);
    let mut params = which("key-1");
    params["timeoutMs"] = 5_000.into();
    let id = asked(&gateway.begin(&admin, "r1", "node.invoke", params), &node);
    gateway.pass(Duration::from_millis(4_999));
    assert!(answers(&gateway.on_time()).is_empty());
    gateway.pass(Duration::from_millis(1));
    let effects = gateway.on_time();
    assert_eq!(answers(&effects)[0].1.clone().unwrap_err().message, "TIMEOUT: node invoke timed out");
    let (cancel, to) = event(&effects, "node.invoke.cancel").unwrap();
    assert_eq!((&cancel["invokeId"], to), (&json!(id), vec![node.connection]));
}

#[test]
fn who_may_not_write_invokes_nothing_and_some_commands_are_administrators() {
    let (mut gateway, node, _) = approved(&["system.which", "fs.listDir"]);
    let reader = with_scopes(&mut gateway, &["operator.read", "operator.pairing"]);
    assert_eq!(invoke_error(&mut gateway, &reader, which("k")), "missing scope: operator.write");
    let writer = with_scopes(&mut gateway, &["operator.write"]);
    asked(&gateway.begin(&writer, "r1", "node.invoke", which("k")), &node);
    let dir = json!({"nodeId": node_id(), "command": "fs.listDir", "idempotencyKey": "d"});
    assert_eq!(invoke_error(&mut gateway, &writer, dir), "missing scope: operator.admin");
}

#[test]
fn to_approve_takes_the_scopes_that_the_commands_ask_for() {
    let mut gateway = Fixture::new(config());
    let admin = gateway.admin();
    gateway.attempt(&node(&["system.run"])).caller();
    let listed = gateway.call(&admin, "node.pair.list", json!({})).0.unwrap();
    let request = json!({"requestId": listed["pending"][0]["requestId"]});
    let pairing = with_scopes(&mut gateway, &["operator.pairing", "operator.write"]);
    let error = gateway.call(&pairing, "node.pair.approve", request.clone()).0.unwrap_err();
    assert_eq!(error.message, "missing scope: operator.admin");
    let reader = with_scopes(&mut gateway, &["operator.read"]);
    assert!(gateway.call(&reader, "node.list", json!({})).0.unwrap()["nodes"][0]["pendingRequestId"].is_null());
    assert!(gateway.call(&reader, "node.pair.list", json!({})).0.is_err());
    let rejected = gateway.call(&pairing, "node.pair.reject", request).0.unwrap();
    assert_eq!(rejected["nodeId"], node_id());
    assert_eq!(described(&mut gateway, &admin)["approvalState"], "unapproved");
}

#[test]
fn a_node_that_offers_more_waits_for_that_and_keeps_what_it_had() {
    let (mut gateway, former, admin) = approved(&["system.which"]);
    gateway.leave(&former);
    gateway.attempt(&node(&["system.which", "system.run"])).caller();
    let shown = described(&mut gateway, &admin);
    assert_eq!(
        (&shown["approvalState"], &shown["commands"], &shown["pendingDeclaredCommands"]),
        (&json!("pending-reapproval"), &json!(["system.which"]), &json!(["system.run", "system.which"]))
    );
    let (_, effects) = gateway.attempt_with_effects(&node(&["system.which"]));
    assert_eq!(event(&effects, "node.pair.resolved").unwrap().0["decision"], "rejected", "it offers no more any more");
    assert_eq!(described(&mut gateway, &admin)["approvalState"], "approved");
    gateway.attempt(&node(&[])).caller();
    assert_eq!(described(&mut gateway, &admin)["commands"], json!([]), "what it offers no more it isn't asked for");
}

#[test]
fn system_run_is_passed_on_without_what_says_that_somebody_approved_it() {
    let (mut gateway, _, admin) = approved(&["system.run"]);
    let run = |params: Value, key: &str| json!({"nodeId": node_id(), "command": "system.run", "params": params, "idempotencyKey": key});
    for more in [
        json!({"approved": true}),
        json!({"approvalDecision": "allow-once"}),
        json!({"approvalSource": "ask-fallback"}),
    ] {
        let params = run(crate::payload::joined(json!({"command": ["id"]}), more), "a");
        assert!(invoke_error(&mut gateway, &admin, params).contains("exec approvals unavailable"));
    }
    let effects =
        gateway.begin(&admin, "r", "node.invoke", run(json!({"command": ["id"], "approved": false, "x": 1}), "b"));
    let (payload, _) = event(&effects, "node.invoke.request").unwrap();
    let passed: Value = serde_json::from_str(payload["paramsJSON"].as_str().unwrap()).unwrap();
    assert_eq!(passed["command"], json!(["id"]));
    assert!(passed["runId"].is_string() && passed.get("x").is_none() && passed.get("approved").is_none(), "{passed}");
}

#[test]
fn a_node_that_is_removed_is_out_and_has_to_pair_again() {
    let (mut gateway, node_caller, admin) = approved(&["system.which"]);
    let renamed =
        gateway.call(&admin, "node.rename", json!({"nodeId": node_id(), "displayName": " Cellar "})).0.unwrap();
    assert_eq!(renamed["displayName"], "Cellar");
    assert_eq!(described(&mut gateway, &admin)["displayName"], "Cellar");
    let (answer, effects) = gateway.call(&admin, "node.pair.remove", json!({"nodeId": node_id()}));
    assert_eq!(answer.unwrap(), json!({"nodeId": node_id()}));
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Close { connection, code: 4001, .. } if *connection == node_caller.connection
    )));
    assert!(gateway.machine.devices.get(&node_id()).is_none());
    let error = gateway.call(&admin, "node.pair.remove", json!({"nodeId": node_id()})).0.unwrap_err();
    assert_eq!(error.message, "unknown nodeId");
}

#[test]
fn a_device_that_is_both_keeps_its_operator_when_its_node_is_removed() {
    let mut gateway = Fixture::new(config());
    let admin = gateway.admin();
    let cli = LoginAttempt { device: Some(NODE), ..LoginAttempt::default() };
    let token = gateway.attempt(&cli).device_token().unwrap();
    gateway.attempt(&node(&["system.which"])).caller();
    let listed = gateway.call(&admin, "device.pair.list", json!({})).0.unwrap();
    assert_eq!(listed["paired"][0]["roles"], json!(["operator", "node"]));
    assert_eq!(listed["paired"][0]["clientId"], "cli", "the operator's introduction stays");
    gateway.call(&admin, "node.pair.remove", json!({"nodeId": node_id()})).0.unwrap();
    let device = gateway.machine.devices.get(&node_id()).unwrap();
    assert!(device.node.is_none() && device.tokens().iter().all(|token| token.role == crate::caller::Role::Operator));
    let by_token = LoginAttempt { token: None, device_token: Some(token), ..cli };
    assert_eq!(gateway.attempt(&by_token).hello()["auth"]["role"], "operator");
}

#[test]
fn news_of_a_node_are_taken_from_its_own_connection_and_told_to_readers() {
    let (mut gateway, node, admin) = approved(&[]);
    let stats = json!({"cpuCount": 2, "memoryTotalBytes": 8, "memoryFreeBytes": 4, "loadAverage": [0.1, 0.2, 0.3]});
    let tell = |payload: &Value| json!({"event": "node.host.stats", "payloadJSON": payload.to_string()});
    let (answer, effects) = gateway.call(&node, "node.event", tell(&stats));
    assert_eq!(answer.unwrap(), json!({"ok": true, "event": "node.host.stats", "handled": true, "reason": "updated"}));
    assert_eq!(event(&effects, "node.hostStats").unwrap().1, [admin.connection]);
    assert!(told(&gateway.call(&node, "node.event", tell(&stats)).1).is_empty(), "once a second at most");
    // Also of one that says it more often.
    let mut count = 0;
    for _ in 0..3 {
        gateway.pass(std::time::Duration::from_millis(900));
        count += told(&gateway.call(&node, "node.event", tell(&stats)).1).len();
    }
    assert_eq!(count, 1);
    assert_eq!(described(&mut gateway, &admin)["hostStats"]["cpuCount"], 2);
    let wrong = json!({"cpuCount": 2, "memoryTotalBytes": 4, "memoryFreeBytes": 8});
    assert_eq!(gateway.call(&node, "node.event", tell(&wrong)).0.unwrap()["reason"], "invalid_payload");
    let unknown = gateway.call(&node, "node.event", json!({"event": "agent.request", "payload": {}})).0.unwrap();
    assert_eq!((&unknown["handled"], &unknown["reason"]), (&json!(false), &json!("unsupported_event")));
    let alive = json!({"event": "node.presence.alive", "payload": {"trigger": "silent_push"}});
    assert_eq!(gateway.call(&node, "node.event", alive.clone()).0.unwrap()["reason"], "persisted");
    assert_eq!(gateway.call(&node, "node.event", alive).0.unwrap()["reason"], "throttled");
}

#[test]
fn parameters_and_answers_have_a_length() {
    let (mut gateway, node, admin) = approved(&["system.which"]);
    let mut params = which("key-1");
    params["params"] = json!({"bins": ["x".repeat(600_000)]});
    assert!(invoke_error(&mut gateway, &admin, params).contains("at most 524288 are sent"));
    let id = asked(&gateway.begin(&admin, "r1", "node.invoke", which("key-2")), &node);
    let long =
        json!({"id": id, "nodeId": node_id(), "ok": true, "payloadJSON": format!("[{}0]", "0,".repeat(300_000))});
    let effects = gateway.begin(&node, "n1", "node.invoke.result", long);
    let error = answers(&effects)[0].1.clone().unwrap_err();
    assert!(error.message.starts_with("RESULT_TOO_LARGE"), "{}", error.message);
    let id = asked(&gateway.begin(&admin, "r2", "node.invoke", which("key-3")), &node);
    let large = json!({"id": id, "nodeId": node_id(), "ok": true, "payload": "y".repeat(100_000)});
    gateway.begin(&node, "n2", "node.invoke.result", large);
    let again = gateway.call(&admin, "node.invoke", which("key-3")).0.unwrap_err();
    assert_eq!(again.details["code"], "RESULT_NOT_KEPT", "{}", again.message);
}

#[test]
fn a_node_is_at_so_many_commands_at_most() {
    let (mut gateway, node, admin) = approved(&["system.which"]);
    for number in 0..32 {
        asked(&gateway.begin(&admin, "r", "node.invoke", which(&format!("key-{number}"))), &node);
    }
    let error = gateway.call(&admin, "node.invoke", which("one more")).0.unwrap_err();
    assert_eq!(error.retry_after_ms, Some(1_000), "{}", error.message);
}

#[test]
fn what_a_node_is_outlives_the_gateway_and_its_connection_does_not() {
    let (mut gateway, _, admin) = approved(&["system.which"]);
    let (_, effects) = gateway.call(&admin, "node.rename", json!({"nodeId": node_id(), "displayName": "Cellar"}));
    let text = effects
        .into_iter()
        .find_map(|effect| match effect {
            Effect::Write(crate::effect::FileChange::Replace { text, .. }) => Some(text),
            _ => None,
        })
        .unwrap();
    let mut next = Fixture::new(config());
    next.machine.devices = crate::devices::Devices::read(&config().device_auth, Some(&text)).unwrap();
    let admin = next.admin();
    let shown = described(&mut next, &admin);
    assert_eq!(
        (&shown["displayName"], &shown["connected"], &shown["approvalState"], &shown["commands"]),
        (&json!("Cellar"), &json!(false), &json!("approved"), &json!(["system.which"]))
    );
}

#[test]
fn a_command_that_the_configuration_denies_is_refused_from_then_on() {
    let (mut gateway, node, admin) = approved(&["system.which"]);
    let mut changed = (*gateway.machine.config).clone();
    changed.node_commands.deny = vec!["system.which".to_owned()];
    gateway.machine.config = Arc::new(changed);
    assert_eq!(
        invoke_error(&mut gateway, &admin, which("k")),
        "node command not allowed: \"system.which\" is blocked by gateway.nodes.commands.deny"
    );
    assert_eq!(described(&mut gateway, &admin)["commands"], json!([]));
    gateway.leave(&node);
    assert_eq!(described(&mut gateway, &admin)["commands"], json!([]), "also of one that isn't there");
}

#[test]
fn a_command_that_the_configuration_allows_waits_for_an_approval_while_the_node_stays() {
    let (mut gateway, node, admin) = approved(&["system.which", "camera.snap"]);
    let mut changed = (*gateway.machine.config).clone();
    changed.node_commands.allow = vec!["camera.snap".to_owned()];
    let effects = gateway.configure(changed.clone());
    assert_eq!(event(&effects, "node.pair.requested").unwrap().1, [admin.connection]);
    assert!(event(&gateway.configure(changed), "node.pair.requested").is_none(), "it waits already");
    approve_all(&mut gateway, &admin);
    assert_eq!(described(&mut gateway, &admin)["commands"], json!(["camera.snap", "system.which"]));
    drop(node);
}

#[test]
fn what_a_device_asks_for_in_one_role_outlasts_the_approval_of_the_other() {
    let mut gateway = Fixture::new(config());
    let admin = gateway.admin();
    let as_node = LoginAttempt { peer: remote(7), ..node(&[]) };
    let as_operator =
        LoginAttempt { peer: remote(7), device: Some(NODE), scopes: vec!["operator.read"], ..LoginAttempt::default() };
    let requests =
        [&as_operator, &as_node].map(|attempt| gateway.attempt(attempt).refusal().error.details["requestId"].clone());
    for request in requests {
        gateway.call(&admin, "device.pair.approve", json!({"requestId": request})).0.unwrap();
    }
    assert_eq!(gateway.attempt(&as_node).hello()["auth"]["role"], "node");
    assert_eq!(gateway.attempt(&as_operator).hello()["auth"]["role"], "operator");
}
