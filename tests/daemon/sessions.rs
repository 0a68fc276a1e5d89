//! Sessions as their users see them: merged over gateways, kept current by events, steered where they are.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

fn row(key: &str, updated_at: i64, active: bool) -> Value {
    let status = if active { "running" } else { "done" };
    json!({"key": key, "kind": "direct", "updatedAt": updated_at, "status": status, "hasActiveRun": active, "model": "m1",
           "modelProvider": "mock", "totalTokens": 1100, "contextTokens": 32000, "label": "Probe"})
}

fn list(rows: &[Value]) -> Value {
    json!({"ts": 1, "path": "(multiple)", "count": rows.len(), "totalCount": rows.len(), "nextOffset": null, "hasMore": false,
           "defaults": {}, "sessions": rows})
}

/// A gateway that holds these sessions.
fn holding(form: Form, rows: &[Value]) -> ScriptedGateway {
    let gateway = ScriptedGateway::of(form, "right");
    gateway.change(|behaviour| {
        behaviour.results.insert("sessions.list".to_owned(), list(rows));
    });
    gateway
}

fn sessions(daemon: &Daemon, query: &str) -> Value {
    daemon.get(&format!("/api/sessions{query}")).expect(200).json()
}

fn keys(list: &Value) -> Vec<String> {
    let rows = list["sessions"].as_array().into_iter().flatten();
    rows.map(|row| format!("{}@{}", row["key"].as_str().unwrap_or("?"), row["gateway"].as_str().unwrap_or("?")))
        .collect()
}

fn until_listed(daemon: &Daemon, query: &str, expected: &[&str]) -> Value {
    wait::until_ok(&format!("{query} lists {expected:?}"), PATIENCE, || {
        let list = sessions(daemon, query);
        if keys(&list) == expected { Ok(list) } else { Err(list.to_string()) }
    })
}

fn control(daemon: &Daemon, key: &str, body: &Value) -> crate::support::http::Answer {
    daemon.post(&format!("/api/sessions/{key}/control"), body)
}

#[test]
fn sessions_of_all_gateways_are_one_list_that_follows_events_without_asking_again() {
    let new = holding(
        Form::Protocol4,
        &[row("agent:main:main", 3_000_000_000_000, true), row("agent:main:old", 1_000_000_000_000, false)],
    );
    let old = holding(Form::Protocol3, &[row("agent:worker:main", 2_000_000_000_000, false)]);
    let daemon = Daemon::start();
    daemon.register("new", new.port(), "right");
    daemon.register("old", old.port(), "right");
    let all = until_listed(&daemon, "", &["agent:main:main@new", "agent:worker:main@old", "agent:main:old@new"]);
    let first = &all["sessions"][0];
    assert_eq!(
        (&first["status"], &first["agent"], &first["totalTokens"]),
        (&json!("active"), &json!("main"), &json!(1100))
    );
    let now = wait::Stopwatch::start();
    assert!(first["as_of"].as_i64().is_some_and(|as_of| as_of > 1_700_000_000), "{first}");
    for gateway in all["gateways"].as_array().into_iter().flatten().filter(|one| one["name"] != "seeded") {
        assert_eq!((&gateway["complete"], &gateway["reachable"]), (&json!(true), &json!(true)), "{gateway}");
    }
    let seeded = all["gateways"].as_array().into_iter().flatten().find(|one| one["name"] == "seeded").expect("listed");
    assert_eq!((&seeded["complete"], &seeded["reachable"]), (&json!(false), &json!(false)));
    let asked = new.record().asked("sessions.list");
    let mut created = row("agent:main:fresh", 4_000_000_000_000, true);
    created["agentId"] = json!("main");
    new.send(&json!({"type": "event", "event": "sessions.changed", "payload":
        {"sessionKey": "agent:main:fresh", "agentId": "main", "reason": "create", "ts": 1, "session": created}}));
    until_listed(&daemon, "?limit=1", &["agent:main:fresh@new"]);
    new.send(&json!({"type": "event", "event": "sessions.changed", "payload":
        {"sessionKey": "agent:main:old", "agentId": "main", "reason": "delete", "ts": 2}}));
    until_listed(&daemon, "?gateway=new", &["agent:main:fresh@new", "agent:main:main@new"]);
    for _ in 0..20 {
        sessions(&daemon, "");
    }
    let periodic = usize::try_from(now.elapsed().as_secs() / 3).expect("small") + 1;
    assert!(new.record().asked("sessions.list") <= asked + periodic, "reads ask no gateway");
    assert_eq!(keys(&sessions(&daemon, "?agent=worker")), ["agent:worker:main@old"]);
    assert_eq!(keys(&sessions(&daemon, "?status=active")), ["agent:main:fresh@new", "agent:main:main@new"]);
    assert_eq!(keys(&sessions(&daemon, "?limit=1&offset=1")), ["agent:main:main@new"]);
    daemon.get("/api/sessions?status=done").expect(400);
    daemon.get("/api/sessions?gateway=nowhere").expect(404);
}

#[test]
fn a_kill_reaches_the_gateway_that_holds_the_session_and_a_pause_is_501() {
    let gateway = holding(Form::Protocol4, &[row("agent:main:main", 1, true)]);
    let said = json!({"ok": true, "abortedRunId": "run-1", "status": "aborted"});
    gateway.change(|behaviour| {
        behaviour.results.insert("sessions.abort".to_owned(), said.clone());
    });
    let daemon = Daemon::start();
    let id = daemon.register("prod", gateway.port(), "right");
    until_listed(&daemon, "", &["agent:main:main@prod"]);
    let killed = control(&daemon, "agent%3Amain%3Amain", &json!({"action": "terminate"})).expect(200).json();
    assert_eq!(
        (&killed["success"], &killed["action"], &killed["gateway"]),
        (&json!(true), &json!("kill"), &json!("prod"))
    );
    assert_eq!((&killed["gateway_id"], &killed["result"]["abortedRunId"]), (&json!(id), &json!("run-1")));
    let asked = gateway.record().requests;
    let params = asked.iter().find(|(method, _)| method == "sessions.abort").map(|(_, params)| params["key"].clone());
    assert_eq!(params, Some(json!("agent:main:main")));
    gateway.change(|behaviour| {
        let nothing = json!({"ok": true, "abortedRunId": null, "status": "no-active-run"});
        behaviour.results.insert("sessions.abort".to_owned(), nothing);
    });
    let nothing = control(&daemon, "agent:main:main", &json!({"action": "kill"})).expect(200).json();
    assert_eq!((&nothing["success"], &nothing["result"]["status"]), (&json!(true), &json!("no-active-run")));
    let paused = control(&daemon, "agent:main:main", &json!({"action": "pause"})).expect(501).json();
    let sentence = paused["error"].as_str().unwrap_or_default();
    assert!(
        sentence.contains("prod") && sentence.contains("2026.9.6") && sentence.contains("cannot pause"),
        "{paused}"
    );
    control(&daemon, "agent:main:main", &json!({"action": "dance"})).expect(400);
    control(&daemon, "agent:main:nobody", &json!({"action": "kill"})).expect(404);
    control(&daemon, "a..b", &json!({"action": "kill"})).expect(400);
    assert_eq!(gateway.record().asked("sessions.abort"), 2, "nothing else was sent");
    gateway.change(|behaviour| {
        behaviour.results.remove("sessions.abort");
        let error = json!({"code": "UNAVAILABLE", "message": "the abort is out of order"});
        behaviour.errors.insert("sessions.abort".to_owned(), error);
    });
    let refused = control(&daemon, "agent:main:main", &json!({"action": "kill"})).expect(502).json();
    assert!(refused["error"].as_str().is_some_and(|words| words.contains("the abort is out of order")), "{refused}");
    gateway.kill();
    daemon.until(id, "the gateway is gone", PATIENCE, |gateway| gateway["status"] != "online");
    let stale = until_listed(&daemon, "", &["agent:main:main@prod"]);
    let age = stale["gateways"].as_array().into_iter().flatten().find(|one| one["id"] == id).expect("listed");
    assert_eq!(age["reachable"], false, "the list stays, and says how old it is");
    control(&daemon, "agent:main:main", &json!({"action": "kill"})).expect(503);
}

#[test]
fn a_key_of_two_gateways_is_steered_only_where_it_is_said() {
    let gateways: Vec<_> = (0..2).map(|_| holding(Form::Protocol3, &[row("agent:main:main", 1, true)])).collect();
    for gateway in &gateways {
        gateway.change(|behaviour| {
            let done = json!({"ok": true, "abortedRunId": "r", "status": "aborted"});
            behaviour.results.insert("sessions.abort".to_owned(), done);
        });
    }
    let daemon = Daemon::start();
    let ids: Vec<i64> =
        gateways.iter().zip(["a", "b"]).map(|(gateway, name)| daemon.register(name, gateway.port(), "right")).collect();
    until_listed(&daemon, "", &["agent:main:main@a", "agent:main:main@b"]);
    let refused = control(&daemon, "agent:main:main", &json!({"action": "kill"})).expect(409).json();
    assert_eq!(refused["code"], "session_ambiguous");
    assert_eq!(refused["details"]["gateways"], json!([{"id": ids[0], "name": "a"}, {"id": ids[1], "name": "b"}]));
    control(&daemon, "agent:main:main", &json!({"action": "kill", "gateway_id": ids[1]})).expect(200);
    assert_eq!(gateways[0].record().asked("sessions.abort"), 0);
    assert_eq!(gateways[1].record().asked("sessions.abort"), 1);
}

#[test]
fn history_messages_settings_and_deletes_go_to_the_gateway() {
    let gateway = holding(Form::Protocol4, &[row("agent:main:main", 1, false)]);
    gateway.change(|behaviour| {
        let messages = json!([{"role": "user", "content": [{"type": "text", "text": "hello"}], "timestamp": 5}]);
        for (method, result) in [
            ("chat.history", json!({"sessionKey": "agent:main:main", "messages": messages})),
            ("chat.send", json!({"runId": "run-7", "status": "started"})),
            ("sessions.patch", json!({"ok": true, "key": "agent:main:main", "entry": {}})),
            ("sessions.delete", json!({"ok": true, "key": "agent:main:main", "deleted": false})),
        ] {
            behaviour.results.insert(method.to_owned(), result);
        }
    });
    let daemon = Daemon::start();
    daemon.register("prod", gateway.port(), "right");
    until_listed(&daemon, "", &["agent:main:main@prod"]);
    let history = daemon.get("/api/sessions/agent:main:main/history?limit=5").expect(200).json();
    assert_eq!(history["history"], json!([{"role": "user", "content": "hello", "timestamp": 5}]));
    let taken = daemon.post("/api/sessions/agent:main:main/message", &json!({"content": "go on"})).expect(202).json();
    assert_eq!((&taken["success"], &taken["runId"]), (&json!(true), &json!("run-7")));
    let body = json!({"sessionKey": "agent:main:main", "level": "high"});
    daemon.post("/api/sessions?action=set-thinking", &body).expect(200);
    let body = json!({"sessionKey": "agent:main:main"});
    let deleted = daemon.call("DELETE", "/api/sessions", Some(&body)).expect(200).json();
    assert_eq!(deleted["deleted"], false);
    let asked = gateway.record().requests;
    let params = |method: &str| asked.iter().find(|(name, _)| name == method).map(|(_, params)| params.clone());
    assert_eq!(params("chat.history"), Some(json!({"sessionKey": "agent:main:main", "limit": 5})));
    assert_eq!(params("sessions.patch"), Some(json!({"key": "agent:main:main", "thinkingLevel": "high"})));
    assert_eq!(params("sessions.delete"), Some(json!({"key": "agent:main:main"})));
    let sent = params("chat.send").expect("sent");
    assert_eq!((&sent["message"], &sent["idempotencyKey"]), (&json!("go on"), &taken["idempotency_key"]));
    gateway.change(|behaviour| {
        behaviour.results.remove("chat.send");
        let unknown = json!({"code": "INVALID_REQUEST", "message": "unknown method: chat.send"});
        behaviour.errors.insert("chat.send".to_owned(), unknown);
    });
    daemon.post("/api/sessions/agent:main:main/message", &json!({"content": "go on"})).expect(501);
}

#[test]
fn controls_of_one_session_are_limited_and_others_are_not() {
    let gateway = holding(Form::Protocol4, &[row("agent:main:a", 2, true), row("agent:main:b", 1, true)]);
    gateway.change(|behaviour| {
        let done = json!({"ok": true, "abortedRunId": "r", "status": "aborted"});
        behaviour.results.insert("sessions.abort".to_owned(), done);
    });
    let daemon = Setup::new()
        .env("GATEWARDEN_RATE_LIMIT__ENABLED", "true")
        .env("GATEWARDEN_RATE_LIMIT__GATEWAY_PER_MINUTE", "100000")
        .env("GATEWARDEN_RATE_LIMIT__CONTROL_PER_MINUTE", "2")
        .start();
    daemon.register("prod", gateway.port(), "right");
    until_listed(&daemon, "", &["agent:main:a@prod", "agent:main:b@prod"]);
    for _ in 0..2 {
        control(&daemon, "agent:main:a", &json!({"action": "kill"})).expect(200);
    }
    let refused = control(&daemon, "agent:main:a", &json!({"action": "kill"})).expect(429);
    assert_eq!((refused.header("ratelimit-limit"), refused.header("ratelimit-remaining")), (Some("2"), Some("0")));
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit-reset").is_some());
    control(&daemon, "agent:main:b", &json!({"action": "kill"})).expect(200);
    assert_eq!(gateway.record().asked("sessions.abort"), 3);
}
