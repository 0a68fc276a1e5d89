//! Event streams as clients see them: what comes, what is replayed, who sees what, and how a stream ends.

use std::time::Duration;

use serde_json::json;

use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::event_socket::EventSocket;
use crate::support::event_stream::EventStream;
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait::{self, Stopwatch};

fn follow_after(daemon: &Daemon, path: &str, id: u64) -> EventStream {
    EventStream::open(daemon.address(), path, &[("X-API-Key", ADMIN_KEY), ("Last-Event-ID", &id.to_string())])
}

#[test]
fn a_gateway_that_comes_and_goes_is_told_and_a_client_that_returns_misses_nothing() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let mut witness = EventStream::of(&daemon, "/api/events");
    let mut client = EventStream::of(&daemon, "/api/events");
    let id = daemon.register("prod", gateway.port(), "right");
    let online = client.until(|event| event.event == "gateway.status" && event.data["data"]["to"] == "online");
    assert_eq!(online.data["type"], "gateway.status");
    assert_eq!(online.data["data"]["gateway_id"], id);
    assert!(online.data["ts"].as_i64().is_some());
    let seen = online.id.expect("a number");
    drop(client);
    drop(gateway);
    let gone = witness.until(|event| event.event == "gateway.status" && event.data["data"]["from"] == "online");
    let last = gone.id.expect("a number");
    let mut back = follow_after(&daemon, "/api/events", seen);
    for expected in seen + 1..=last {
        assert_eq!(back.event().id, Some(expected));
    }
    assert_eq!(back.start, seen);
}

fn session_news(stream: &mut EventStream) -> (String, String) {
    let event = stream.until(|event| event.event == "session.update");
    let text = |name: &str| event.data["data"][name].as_str().unwrap_or_default().to_owned();
    assert!(event.data["data"]["gateway_id"].is_i64() && !text("gateway").is_empty(), "{event:?}");
    (text("change"), text("key"))
}

fn pair(change: &str, key: &str) -> (String, String) {
    (change.to_owned(), key.to_owned())
}

#[test]
fn creation_change_end_and_deletion_of_a_session_are_told_and_what_was_there_before_is_not() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let row = |key: &str, active: bool, label: &str| {
        let status = if active { "running" } else { "done" };
        json!({"key": key, "kind": "direct", "updatedAt": 1, "status": status, "hasActiveRun": active, "label": label})
    };
    gateway.change(|behaviour| {
        let list = json!({"sessions": [row("agent:main:old", false, "a")], "totalCount": 1, "hasMore": false});
        behaviour.results.insert("sessions.list".to_owned(), list);
    });
    let daemon = Daemon::start();
    let mut stream = EventStream::of(&daemon, "/api/events?types=session.update");
    let mut socket = EventSocket::open(daemon.address(), "/api/ws?types=session.update", ADMIN_KEY);
    daemon.register("prod", gateway.port(), "right");
    wait::until("its sessions are known", PATIENCE, || {
        daemon.get("/api/sessions?gateway=prod").expect(200).json()["gateways"][0]["complete"] == true
    });
    let changed = |key: &str, reason: &str, session: &serde_json::Value| json!({"type": "event", "event": "sessions.changed", "payload": {"sessionKey": key, "reason": reason, "session": session}});
    let new = "agent:main:new";
    for (frame, change) in [
        (changed(new, "create", &row(new, true, "a")), "created"),
        (changed(new, "patch", &row(new, true, "b")), "changed"),
        (changed(new, "end", &row(new, false, "b")), "ended"),
        (changed(new, "delete", &json!(null)), "deleted"),
    ] {
        gateway.send(&frame);
        // The same once more is no news.
        gateway.send(&frame);
        assert_eq!(session_news(&mut stream), pair(change, new));
        let told = socket.event();
        assert_eq!((&told["type"], &told["data"]["change"]), (&json!("session.update"), &json!(change)), "{told}");
    }
}

#[test]
fn sessions_of_gateways_without_websocket_and_of_document_002_are_told_too() {
    let (http, ticking) = (ScriptedGateway::of(Form::Http, "right"), ScriptedGateway::of(Form::Document002, "right"));
    let daemon = Daemon::start();
    let mut stream = EventStream::of(&daemon, "/api/events?types=session.update");
    let id = daemon.register("http", http.port(), "right");
    daemon.until(id, "its sessions are known", PATIENCE, |shown| shown["sessions_count"] == 1);
    let row = |key: &str, status: &str| json!({"key": key, "agent": "a", "status": status, "updatedAt": 1});
    http.change(|behaviour| {
        let rows = [row("researcher:main", "active"), row("a:new", "active")];
        behaviour.results.insert("sessions.list".to_owned(), json!({"sessions": rows}));
    });
    // The list is read again once work was given.
    daemon.post("/api/spawn", &json!({"task": "x", "gateway_id": id})).expect(202);
    let told = [session_news(&mut stream), session_news(&mut stream)];
    assert!(told.contains(&pair("created", "a:new")), "{told:?}");

    let id = daemon.register("ticking", ticking.port(), "right");
    daemon.until_status(id, "online");
    let tick = |rows: &[serde_json::Value]| json!({"type": "event", "event": "tick", "payload": {"snapshot": {"sessions": rows}}});
    ticking.send(&tick(&[row("b:chat", "active")]));
    daemon.until(id, "its sessions are known", PATIENCE, |shown| shown["sessions_count"] == 1);
    ticking.send(&tick(&[row("b:chat", "completed")]));
    assert_eq!(session_news(&mut stream), pair("ended", "b:chat"));
}

#[test]
fn what_a_gateway_says_of_its_agents_is_taken_over_and_told() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    gateway.change(|behaviour| {
        let list = json!({"defaultId": "four", "agents": [{"id": "four"}, {"id": "four-b", "name": "Four B"}]});
        behaviour.results.insert("agents.list".to_owned(), list);
    });
    let daemon = Daemon::start();
    let id = daemon.register("prod", gateway.port(), "right");
    daemon.until_status(id, "online");
    daemon.post("/api/agents/sync", &json!({"gateway_id": id})).expect(200);
    let mut stream = EventStream::of(&daemon, "/api/events?types=agent.status");
    let said = |name: &str, status: &str| {
        json!({"type": "event", "event": "agent.status", "payload":
            {"id": 42, "name": name, "status": status, "last_seen": 1_709_582_400, "last_activity": "Processing task #456"}})
    };
    for (name, status) in [("stranger", "busy"), ("four", "dancing"), ("Four B", "busy")] {
        gateway.send(&said(name, status));
    }
    let event = stream.until(|event| event.event == "agent.status" && event.data["data"]["to"] == "busy");
    assert_eq!((&event.data["data"]["agent"], &event.data["data"]["gateway_id"]), (&json!("four-b"), &json!(id)));
    let agent = daemon.get("/api/agents/four-b").expect(200).json();
    assert!(agent.to_string().contains("Processing task #456"), "{agent}");
    assert!(!daemon.get("/api/agents/four").expect(200).json().to_string().contains("dancing"));
}

#[test]
fn a_stream_holds_only_the_types_asked_for() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let mut stream = EventStream::of(&daemon, "/api/events?types=gateway.blocked");
    daemon.register("good", gateway.port(), "right");
    let id = daemon.register("wrong", gateway.port(), "wrong");
    let event = stream.event();
    assert_eq!((event.event.as_str(), &event.data["data"]["gateway_id"]), ("gateway.blocked", &json!(id)));
    let refused = daemon.get("/api/events?types=gateway.nonsense").expect(400);
    assert!(refused.text.contains("gateway.nonsense"), "{}", refused.text);
}

#[test]
fn an_id_of_an_earlier_run_is_answered_with_a_reset() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = Daemon::start();
    let mut stream = EventStream::of(&daemon, "/api/events");
    daemon.register("prod", gateway.port(), "right");
    let seen = stream.event().id.expect("a number");
    daemon.crash_and_restart();
    let mut stream = follow_after(&daemon, "/api/events", seen);
    let reset = stream.event();
    assert_eq!(reset.event, "reset");
    let newest = reset.data["last_id"].as_u64().expect("a number");
    assert!(newest > seen);
    assert_eq!((reset.id, stream.start), (Some(newest), newest));
}

#[test]
fn a_socket_tells_the_same_as_a_stream() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let viewer = daemon.new_key("viewer", "viewer");
    let mut stream = EventStream::open(daemon.address(), "/api/events", &[("X-API-Key", &viewer)]);
    let mut socket = EventSocket::open(daemon.address(), "/api/ws", &viewer);
    daemon.register("prod", gateway.port(), "right");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let mut message = socket.event();
        seen.push(message["id"].as_u64().expect("a number"));
        // The stream was opened before, and may have something more to tell first.
        let streamed = if seen.len() == 1 { stream.until(|one| one.id == Some(seen[0])) } else { stream.event() };
        assert_eq!(streamed.id.as_ref(), seen.last());
        message.as_object_mut().expect("an object").remove("id");
        assert_eq!(streamed.data, message);
    }
    let path = format!("/api/ws?last_event_id={}", seen[0]);
    let mut back = EventSocket::open(daemon.address(), &path, &viewer);
    assert_eq!(back.event()["id"], seen[1]);
    back.send(&"x".repeat(70_000));
    assert_eq!(back.drain_to_end().0, 1009);
}

#[test]
fn changes_refusals_and_elections_are_in_the_audit_log_and_stay_there() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = Daemon::start();
    let viewer = daemon.new_key("viewer", "viewer");
    let mut follower = EventStream::of(&daemon, "/api/events?types=audit");
    let above =
        daemon.try_call(Some(&viewer), "GET", "/api/events?types=audit,log", None).expect("an answer").expect(403);
    assert!(above.text.contains("audit (needs the role admin), log (needs the role operator)"), "{}", above.text);
    let id = daemon.register("prod", gateway.port(), "right");
    daemon.until_status(id, "online");
    daemon.update(&json!({"id": id, "priority": 3})).expect(200);
    let denied = daemon.try_call(Some(&viewer), "DELETE", &format!("/api/gateways/{id}"), None).expect("an answer");
    assert_eq!(denied.status, 403);
    daemon.delete(id).expect(200);
    let target = format!("gateway {id}");
    let expected = [
        ("gateway.create", "configuration", "ok"),
        ("gateway.update", "configuration", "ok"),
        ("gateway.delete", "viewer", "refused"),
        ("gateway.delete", "configuration", "ok"),
    ];
    for (action, actor, result) in expected {
        let event = follower.until(|event| event.data["data"]["actor"]["name"] != "system");
        let data = &event.data["data"];
        assert_eq!((&data["action"], &data["actor"]["name"]), (&json!(action), &json!(actor)), "{data}");
        assert_eq!((&data["result"], &data["target"]), (&json!(result), &json!(target)), "{data}");
    }
    // What was acknowledged is there after a crash; the refusal came before.
    daemon.crash_and_restart();
    let page = daemon.get("/api/audit").expect(200);
    let rows = page.json()["audit"].as_array().cloned().expect("a list");
    let mine: Vec<_> = rows.iter().rev().filter(|row| row["target"] == json!(target)).collect();
    for (action, actor, result) in expected {
        let found =
            mine.iter().any(|row| row["action"] == action && row["actor"]["name"] == actor && row["result"] == result);
        assert!(found || result == "refused", "{action} by {actor}: {}", page.text);
    }
    assert!(mine.iter().all(|row| row["address"] == "127.0.0.1" || row["actor"]["name"] == "system"), "{}", page.text);
    assert!(!page.text.contains(&viewer), "a key in the audit log");
    let refused = daemon.try_call(Some(&viewer), "GET", "/api/audit", None).expect("an answer");
    assert_eq!(refused.status, 403);
}

#[test]
fn nobody_follows_without_a_key_and_everybody_with_one() {
    let daemon = Daemon::start();
    for key in [None, Some("wrong")] {
        let refused = daemon.try_call(key, "GET", "/api/events", None).expect("an answer");
        assert_eq!(refused.status, 401, "{}", refused.text);
    }
    for role in ["viewer", "operator", "admin"] {
        let key = daemon.new_key(role, role);
        EventStream::open(daemon.address(), "/api/events", &[("Authorization", &format!("Bearer {key}"))]);
    }
}

#[test]
fn a_comment_comes_after_15_seconds_and_a_revoked_keys_stream_ends_there() {
    let daemon = Daemon::start();
    let created = daemon.post("/api/keys", &json!({"name": "short", "role": "viewer"})).expect(201).json();
    let text = created["api_key"].as_str().expect("a key").to_owned();
    let watch = Stopwatch::start();
    let mut revoked = EventStream::open(daemon.address(), "/api/events?types=gateway.process", &[("X-API-Key", &text)]);
    let mut other = EventStream::of(&daemon, "/api/events?types=log");
    daemon.call("DELETE", &format!("/api/keys/{}", created["key"]["id"]), None).expect(200);
    revoked.drain_to_end();
    assert!(other.next().is_some_and(|block| block.comment.is_some()));
    let waited = watch.elapsed();
    assert!(waited > Duration::from_secs(14) && waited < Duration::from_secs(45), "{waited:?}");
}

#[test]
fn from_the_moment_that_its_key_is_revoked_a_stream_tells_nothing() {
    let daemon = Daemon::start();
    let created = daemon.post("/api/keys", &json!({"name": "short", "role": "admin"})).expect(201).json();
    let text = created["api_key"].as_str().expect("a key").to_owned();
    let types = "/api/events?types=audit";
    let mut stream = EventStream::open(daemon.address(), types, &[("X-API-Key", &text)]);
    daemon.call("DELETE", &format!("/api/keys/{}", created["key"]["id"]), None).expect(200);
    while let Some(block) = stream.next() {
        assert_ne!(block.data["data"]["action"], "key.revoke", "{}", block.data);
    }
}

#[test]
fn streams_end_properly_at_sigterm_and_hold_nothing_up() {
    let end = || {
        let mut daemon = Setup::new().env("GATEWARDEN_LOG__LEVEL", "info").start();
        let mut streams: Vec<_> = (0..100).map(|_| EventStream::of(&daemon, "/api/events")).collect();
        let mut sockets: Vec<_> = (0..20).map(|_| EventSocket::open(daemon.address(), "/api/ws", ADMIN_KEY)).collect();
        let watch = Stopwatch::start();
        daemon.signal("TERM");
        for stream in &mut streams {
            stream.drain_to_end();
        }
        for socket in &mut sockets {
            assert_eq!(socket.drain_to_end(), (1001, "the daemon stops".to_owned()));
        }
        daemon.ends_well();
        watch.elapsed()
    };
    // Who is waited for costs 5 s each time; a machine that stalls does so now and then.
    let took: Vec<Duration> = std::iter::repeat_with(end).take(3).take_while(|took| took.as_secs() >= 4).collect();
    assert!(took.len() < 3, "took {took:?}");
}
