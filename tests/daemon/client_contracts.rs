//! What the API promises to those who write clients: changes that are not lost, fields that have no effect are named, and a request
//! that can't be what its sender means is refused.

use std::sync::Barrier;

use serde_json::{Value, json};

use super::support::client::{fine, run, until};
use super::support::daemon::{ADMIN_KEY, Daemon, Setup};
use super::support::http::{self, Answer};
use super::support::scripted_gateway::{Form, ScriptedGateway};

/// A request with headers besides the key.
fn send(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let all: Vec<(&str, &str)> = [("X-API-Key", ADMIN_KEY)].iter().chain(headers).copied().collect();
    http::request(daemon.address(), method, path, &all, Some(body)).expect("an answer")
}

fn tag(answer: &Answer) -> String {
    answer.header("etag").expect("an ETag").to_owned()
}

#[test]
fn of_two_who_read_the_same_state_only_the_first_changes_it() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "t");
    let daemon = Daemon::start();
    let id = daemon.register("shared", gateway.port(), "t");
    let path = format!("/api/gateways/{id}");
    let read = tag(&daemon.get(&path).expect(200));
    daemon.until_status(id, "online");
    assert_eq!(tag(&daemon.get(&path)), read, "what is observed is no change");
    let change = |tag: &str, priority: i64| {
        let body = json!({"priority": priority}).to_string();
        send(&daemon, "PUT", &path, &[("If-Match", tag)], body.as_bytes())
    };
    let changed = change(&read, 1).expect(200);
    let late = change(&read, 2).expect(412);
    assert_eq!(late.json()["code"], "precondition_failed");
    assert!(late.json()["error"].as_str().is_some_and(|text| text.contains("\"shared\"")), "{}", late.text);
    assert_eq!(daemon.gateway(id)["priority"], 1, "the second one lost nothing of the first");
    assert_ne!(tag(&changed), read);
    // The answer's tag is the next one's; the id may be in the body; a list of tags and * do, too.
    let body = json!({"id": id, "token": "other"}).to_string();
    let retold = send(&daemon, "PUT", "/api/gateways", &[("If-Match", &tag(&changed))], body.as_bytes()).expect(200);
    assert_ne!(tag(&retold), tag(&changed), "a secret counts, too");
    change(&format!("\"no\", {}", tag(&retold)), 3).expect(200);
    change("*", 4).expect(200);
    for malformed in ["", "no-quotes"] {
        change(malformed, 5).expect(400);
    }
    // Without a condition nothing has changed.
    daemon.update(&json!({"id": id, "priority": 6})).expect(200);
}

#[test]
fn of_many_at_once_with_one_state_exactly_one_wins() {
    let daemon = Daemon::start();
    let id = daemon.register("raced", 1, "");
    let path = format!("/api/gateways/{id}");
    let read = tag(&daemon.get(&path));
    let together = Barrier::new(8);
    let statuses = std::thread::scope(|scope| {
        let (daemon, path, read, together) = (&daemon, &path, &read, &together);
        let changes = (0..8).map(|priority| {
            scope.spawn(move || {
                let body = json!({"priority": 10 + priority}).to_string();
                together.wait();
                send(daemon, "PUT", path, &[("If-Match", read)], body.as_bytes()).status
            })
        });
        let changes: Vec<_> = changes.collect();
        changes.into_iter().map(|change| change.join().expect("an answer")).collect::<Vec<u16>>()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");
}

#[test]
fn fields_that_have_no_effect_are_named_in_the_answer() {
    let daemon = Daemon::start();
    let id = daemon.register("typo", 1, "");
    let ignored = |answer: &Answer| answer.header("x-ignored-fields").map(str::to_owned);
    let post = |path: &str, body: &Value| daemon.post(path, body);
    let changed =
        daemon.update(&json!({"id": id, "priority": 1, "is_primry": true, "tls": {"trust": "system", "pinz": []}}));
    assert_eq!(ignored(&changed.expect(200)).as_deref(), Some("is_primry, tls.pinz"));
    let nothing = daemon.update(&json!({"id": id, "is_primry": true})).expect(400);
    assert_eq!(ignored(&nothing).as_deref(), Some("is_primry"), "{}", nothing.text);
    let nobody = daemon.update(&json!({"id": 999, "priority": 1})).expect(404);
    assert_eq!(ignored(&nobody), None, "nobody came to read its fields");
    let spawned = post("/api/spawn", &json!({"task": "x", "timeout": 5, "gateway_id": id}));
    assert_eq!((spawned.status, ignored(&spawned).as_deref()), (503, Some("timeout")), "{}", spawned.text);
    let bad_key = [("Idempotency-Key", "no spaces")];
    let unread = send(&daemon, "POST", "/api/spawn", &bad_key, br#"{"task": "x", "timeout": 5}"#);
    assert_eq!((unread.status, ignored(&unread)), (400, None), "nor here: {}", unread.text);
    let path = format!("/api/gateways/{id}");
    let elsewhere = send(&daemon, "PUT", &path, &[], br#"{"id": 999, "is_primry": true}"#).expect(400);
    assert_eq!(ignored(&elsewhere), None, "{}", elsewhere.text);
    // What documents 000 to 004 send is known, and so is all that the API shows of itself.
    let told =
        json!({"id": id, "status": "online", "last_seen": 1, "latency": 2, "sessions_count": 0, "agents_count": 0});
    assert_eq!(ignored(&daemon.update(&told).expect(200)), None);
    let new = json!({"name": "two", "host": "127.0.0.1", "port": 1, "token": "t", "is_primary": false, "agents": [{"name": "a", "role": "b"}]});
    assert_eq!(ignored(&post("/api/gateways", &new).expect(201)), None);
    let keyed = json!({"name": "k", "role": "viewer", "\u{fc}ber\r\nX-Evil: 1": 1});
    let keyed = post("/api/keys", &keyed).expect(201);
    assert_eq!((ignored(&keyed).as_deref(), keyed.header("x-evil")), (Some("?ber??X-Evil:?1"), None));
    let mut many: Value = (0..500).map(|n| (format!("f{n:03}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
    many["id"] = json!(id);
    many["priority"] = json!(2);
    let named = ignored(&daemon.update(&many).expect(200)).expect("a header");
    assert!(named.starts_with("f000, f001") && named.ends_with("f009, and 490 more"), "{named}");
}

#[test]
fn parameters_of_a_query_that_have_no_effect_are_named_in_the_answer() {
    let daemon = Daemon::start();
    let id = daemon.register("typo", 1, "");
    let ignored = |path: &str| daemon.get(path).header("x-ignored-fields").map(str::to_owned);
    assert_eq!(ignored("/api/gateways?limit=1&offset=0"), None);
    assert_eq!(ignored("/api/gateways?limt=1&limit=1").as_deref(), Some("?limt"));
    assert_eq!(ignored("/api/events?types=x&b").as_deref(), Some("?b"), "also where the query is refused");
    assert_eq!(ignored(&format!("/api/gateways/{id}?verbose=1")).as_deref(), Some("?verbose"), "it reads no query");
    assert_eq!(ignored("/api/gateways/999?verbose=1"), None, "nobody came to read it");
    assert_eq!(ignored("/health?probe=1"), None);
}

#[test]
fn a_compressed_body_is_refused_with_what_helps() {
    let daemon = Daemon::start();
    let refused =
        send(&daemon, "POST", "/api/gateways", &[("Content-Encoding", "gzip")], b"\x1f\x8b\x08\0").expect(415);
    assert_eq!(refused.json()["code"], "unsupported_media_type");
    assert!(refused.json()["error"].as_str().is_some_and(|text| text.contains("\"gzip\"")), "{}", refused.text);
    assert!(refused.json()["help"].as_str().is_some_and(|text| text.contains("Content-Encoding")), "{}", refused.text);
    let plain = br#"{"name": "plain", "host": "127.0.0.1", "port": 1}"#;
    send(&daemon, "POST", "/api/gateways", &[("Content-Encoding", "identity")], plain).expect(201);
}

#[test]
fn what_was_seen_tomorrow_and_a_change_to_nothing_are_refused_and_say_why() {
    let daemon = Daemon::start();
    let id = daemon.register("one", 1, "");
    let now_ms = daemon.get("/api/auth/session").expect(200).json()["time_ms"].as_i64().expect("the time");
    daemon.update(&json!({"id": id, "last_seen": now_ms / 1000})).expect(200);
    let tomorrow = daemon.update(&json!({"id": id, "last_seen": now_ms / 1000 + 86_400})).expect(400);
    assert_eq!(tomorrow.json()["details"]["fields"][0]["field"], "last_seen");
    assert!(tomorrow.text.contains("future"), "{}", tomorrow.text);
    let nulls = daemon.update(&json!({"id": id, "name": null, "priority": null})).expect(400).json();
    let said = nulls["error"].as_str().expect("a sentence");
    assert!(said.contains("name, priority") && said.contains("null leaves"), "{said}");
}

#[test]
fn labels_that_no_gateway_has_are_a_mistake_and_not_a_matter_of_time() {
    let daemon = Daemon::start();
    daemon.register("one", 1, "");
    let body = json!({"task": "x", "selector": {"region": "mars"}});
    let refused = daemon.post("/api/spawn", &body).expect(400);
    assert_eq!((refused.json()["code"].as_str(), refused.header("retry-after")), (Some("invalid_request"), None));
    let typed = run(&daemon, &["spawn", "x", "--selector", "region=mars"]);
    assert_eq!(typed.code, Some(1), "{}", typed.stderr);
    assert!(typed.stderr.contains("No gateway has the labels"), "{}", typed.stderr);
    assert!(!typed.stderr.contains("Try again"), "{}", typed.stderr);
    assert_eq!(daemon.get("/api/spawn").expect(200).json()["total"], 0, "nothing was recorded");
}

#[test]
fn what_does_not_run_is_not_paused_and_that_is_no_fault_of_the_gateway() {
    let setup = Setup::new();
    let state = setup.state().display().to_string();
    let daemon =
        setup.only_args(&["up", "--listen", "127.0.0.1:0", "--gateway-port", "0", "--state-dir", &state]).start();
    until(&daemon, &["gateways", "list"], "online");
    let session = "agent:sample:quiet";
    fine(&daemon, &["spawn", "count to 1", "--agent", "sample", "--session", session, "--wait"]);
    until(&daemon, &["sessions", "list"], session);
    for action in ["pause", "resume"] {
        let path = format!("/api/sessions/{session}/control");
        let refused = daemon.post(&path, &json!({"action": action})).expect(409).json();
        assert_eq!(refused["code"], "no_active_run", "{refused}");
        assert_eq!(refused["details"]["reason"], "NO_ACTIVE_RUN", "{refused}");
        let typed = run(&daemon, &["control", session, action]);
        assert_eq!(typed.code, Some(1), "{}", typed.stderr);
        assert!(typed.stderr.contains("has no run to") && typed.stderr.contains("sessions list"), "{}", typed.stderr);
    }
    // To end what doesn't run is no mistake.
    daemon.post(&format!("/api/sessions/{session}/control"), &json!({"action": "terminate"})).expect(200);

    // What was cut off says so: nobody reads its last message as whole.
    let spawn = ["spawn", "count to 500", "--agent", "sample", "--session", session];
    fine(&daemon, &spawn);
    until(&daemon, &["logs", "local"], "says 2");
    fine(&daemon, &["control", session, "kill"]);
    until(&daemon, &["spawns", "list"], "killed");
    let history = daemon.get(&format!("/api/sessions/{session}/history")).expect(200).json();
    let said: Vec<&Value> =
        history["history"].as_array().expect("a list").iter().filter(|it| it["role"] == "assistant").collect();
    assert_eq!(said.iter().map(|it| it["stopReason"].as_str()).collect::<Vec<_>>(), [Some("stop"), Some("aborted")]);
}
