//! What a dashboard reads and follows: the whole fleet, what changes in it, and how far a stream is.

use serde_json::{Value, json};

use crate::support::client;
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::event_socket::EventSocket;
use crate::support::event_stream::EventStream;
use crate::support::http::{self, Answer};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

fn fetch(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = headers.iter().copied().chain([("X-API-Key", ADMIN_KEY)]).collect();
    http::request(daemon.address(), "GET", path, &headers, None).expect("an answer")
}

fn row_of(fleet: &Value, id: i64) -> Value {
    let rows = fleet["gateways"].as_array().expect("rows");
    rows.iter().find(|row| row["id"] == id).cloned().unwrap_or_default()
}

#[test]
fn the_fleet_is_told_compactly_and_a_stream_goes_on_where_it_ends() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("prod", gateway.port(), "right");
    let wrong = daemon.register("wrong", gateway.port(), "wrong");
    daemon.until(id, "a heartbeat is answered", PATIENCE, |shown| shown["latency"].is_i64());
    daemon.until_code(wrong, "token_mismatch");
    let answer = fetch(&daemon, "/api/fleet", &[]).expect(200);
    let fleet = answer.json();
    let row = row_of(&fleet, id);
    assert_eq!((&row["status"], &row["token_set"], &row["phase"]), (&json!("online"), &json!(true), &json!("ready")));
    assert!(row["last_seen"].is_i64() && row["latency"].is_i64() && row["version"].is_string(), "{row}");
    for left_out in ["drained", "labels", "last_error", "breaker", "token", "process"] {
        assert!(row.get(left_out).is_none(), "{left_out}: {row}");
    }
    let blocked = row_of(&fleet, wrong);
    assert_eq!(blocked["last_error"]["code"], "token_mismatch");
    assert_eq!(fleet["acting_primary"]["id"], id);
    assert_eq!(fleet["counts"]["by_status"]["online"], 1);
    assert!(!answer.text.contains("right\""));

    daemon.call("DELETE", &format!("/api/gateways/{wrong}"), None).expect(200);
    gateway.kill();
    let from = fleet["last_event"].as_u64().expect("a number");
    let mut stream = EventStream::open(
        daemon.address(),
        &format!("/api/events?types=gateway.status&last_event_id={from}"),
        &[("X-API-Key", ADMIN_KEY)],
    );
    let lost = stream.until(|event| event.data["data"]["gateway_id"] == id);
    assert_eq!(lost.data["data"]["from"], "online", "nothing from before comes, and nothing is missed");
}

#[test]
fn an_unchanged_fleet_is_a_304_and_a_changed_one_is_not() {
    let daemon = Daemon::start();
    let seeded = daemon.gateways()[0]["id"].as_i64().expect("the seeded one");
    daemon.until_status(seeded, "offline");
    let tag = |answer: &Answer| answer.header("etag").expect("a tag").to_owned();
    // A dial of the seeded gateway may come in between.
    wait::until("two reads meet the same state", PATIENCE, || {
        let known = tag(&fetch(&daemon, "/api/fleet", &[]).expect(200));
        let again = fetch(&daemon, "/api/fleet", &[("If-None-Match", &known)]);
        again.status == 304 && again.text.is_empty() && tag(&again) == known
    });
    wait::until("so do two reads of the list of gateways", PATIENCE, || {
        let known = tag(&fetch(&daemon, "/api/gateways", &[]).expect(200));
        let again = fetch(&daemon, "/api/gateways", &[("If-None-Match", &known)]);
        again.status == 304 && again.text.is_empty() && tag(&again) == known
    });
    for path in ["/api/fleet", "/api/gateways"] {
        let known = tag(&fetch(&daemon, path, &[]).expect(200));
        daemon.register(path, 9, "t");
        fetch(&daemon, path, &[("If-None-Match", &known)]).expect(200);
    }
}

#[test]
fn what_changes_in_the_fleet_is_told_to_who_names_it_and_to_nobody_else() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let mut others = EventSocket::open(daemon.address(), "/api/ws", ADMIN_KEY);
    let mut socket = EventSocket::open(daemon.address(), "/api/ws?types=gateway.vitals", ADMIN_KEY);
    let id = daemon.register("prod", gateway.port(), "right");
    let row_with = |socket: &mut EventSocket, field: &str, value: &Value| loop {
        let news = socket.event();
        assert!(news.get("id").is_none() && news["type"] == "gateway.vitals" && news["ts"].is_i64(), "{news}");
        let rows = news["data"]["rows"].as_array().expect("rows").clone();
        if let Some(row) = rows.into_iter().find(|row| row["id"] == id && row[field] == *value) {
            return row;
        }
    };
    row_with(&mut socket, "status", &json!("online"));
    daemon.update(&json!({"id": id, "name": "renamed", "labels": {"environment": "lab"}})).expect(200);
    assert_eq!(row_with(&mut socket, "name", &json!("renamed"))["labels"]["environment"], "lab");
    daemon.post("/api/gateways/health", &json!({"gateway_id": id})).expect(200);
    socket.until(|news| news["data"]["figures"].as_array().is_some_and(|rows| rows.iter().any(|row| row["id"] == id)));
    daemon.delete(id).expect(200);
    socket.until(|news| news["data"]["removed"] == json!([id]));
    // Everything up to the deletion's audit entry, the last of all.
    let until = others.until(|event| {
        assert_ne!(event["type"], "gateway.vitals");
        event["data"]["action"] == "gateway.delete"
    });
    assert!(until["id"].is_u64());
}

#[test]
fn a_socket_says_at_once_how_far_it_is_and_what_time_it_is() {
    let daemon = Daemon::start();
    let fleet = fetch(&daemon, "/api/fleet", &[]).expect(200).json();
    let path = format!("/api/ws?types=spawn_result&last_event_id={}", fleet["last_event"]);
    let mut socket = EventSocket::open(daemon.address(), &path, ADMIN_KEY);
    let said = socket.until(|message| message["type"] == "keepalive");
    assert!(said["last_id"].as_u64() >= fleet["last_event"].as_u64() && said["ts"].is_i64(), "{said}");
}

#[test]
fn large_answers_are_compressed_for_who_takes_it_and_streams_never_are() {
    let daemon = Daemon::start();
    let packed = fetch(&daemon, "/api/openapi.json", &[("Accept-Encoding", "gzip")]).expect(200);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let plain = fetch(&daemon, "/api/openapi.json", &[]).expect(200);
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
    let length = |answer: &Answer| answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    assert!(length(&packed) < length(&plain).map(|length| length / 4), "{packed:?}");
    let small = fetch(&daemon, "/api/health", &[("Accept-Encoding", "gzip")]).expect(200);
    assert_eq!(small.header("content-encoding"), None);
    let headers = [("X-API-Key", ADMIN_KEY), ("Accept-Encoding", "gzip")];
    let mut stream = EventStream::open(daemon.address(), "/api/events?types=gateway.vitals", &headers);
    let id = daemon.register("new", 9, "t");
    stream.until(|event| event.id.is_none() && event.data["data"]["rows"][0]["id"] == id);
}

/// The cookie of a browser that logs in with this.
fn log_in(daemon: &Daemon, body: &Value) -> Result<String, Answer> {
    let body = body.to_string();
    let answer = http::request(daemon.address(), "POST", "/api/auth/login", &[], Some(body.as_bytes()));
    let answer = answer.expect("an answer");
    match answer.header("set-cookie") {
        Some(cookie) if answer.status == 200 => Ok(cookie.split(';').next().unwrap_or_default().to_owned()),
        _ => Err(answer),
    }
}

fn as_browser(daemon: &Daemon, cookie: &str, path: &str) -> Answer {
    http::request(daemon.address(), "GET", path, &[("Cookie", cookie)], None).expect("an answer")
}

#[test]
fn a_link_logs_in_once_with_the_role_of_its_key_and_is_audited_and_never_logged() {
    let daemon = Daemon::start();
    let viewer = daemon.new_key("looker", "viewer");
    let made = daemon.try_call(Some(&viewer), "POST", "/api/auth/link", None).expect("an answer").expect(201);
    let path = made.json()["path"].as_str().expect("a path").to_owned();
    let once = path.strip_prefix("/login?once=").expect("a secret").to_owned();
    let cookie = log_in(&daemon, &json!({ "once": once })).expect("a session");
    let who = as_browser(&daemon, &cookie, "/api/auth/session").expect(200).json();
    assert_eq!((&who["name"], &who["role"], &who["browser"]), (&json!("looker"), &json!("viewer"), &json!(true)));
    assert!(who["expires_at"].is_i64() && who["time_ms"].is_i64() && who["version"].is_string(), "{who}");
    let again = log_in(&daemon, &json!({ "once": once })).expect_err("it is used up");
    assert_eq!((again.status, again.header("set-cookie")), (401, None));
    assert!(again.text.contains("gatewarden dashboard"), "{}", again.text);
    // Who loads the page again guesses no key: it costs no try.
    for _ in 0..10 {
        assert_eq!(log_in(&daemon, &json!({ "once": once })).expect_err("it is used up").status, 401);
    }
    assert_eq!(again.header("ratelimit-remaining"), None);
    let unknown = log_in(&daemon, &json!({ "once": "a-guess" })).expect_err("it is none");
    assert_eq!((unknown.status, unknown.header("ratelimit-remaining").is_some()), (401, true), "a guess does");

    let expected =
        [("auth.link", "ok", "looker"), ("auth.login", "ok", "looker"), ("auth.login", "refused", "anonymous")];
    let audit = wait::until_ok("all of it is in the audit log", PATIENCE, || {
        let audit = daemon.get("/api/audit").expect(200).json();
        let entries = audit["audit"].as_array().expect("entries");
        let is_there = |(action, result, name)| {
            entries.iter().any(|it| it["action"] == action && it["result"] == result && it["actor"]["name"] == name)
        };
        if expected.into_iter().all(is_there) { Ok(audit.to_string()) } else { Err(audit.to_string()) }
    });
    // A page that isn't there is a request with the secret in its URL all the same.
    fetch(&daemon, &path, &[]);
    assert!(!daemon.log().contains(&once) && !audit.contains(&once));
}

#[test]
fn links_are_made_with_keys_on_the_daemons_machine_and_used_there_only() {
    let daemon = Daemon::start();
    let post = |path: &str, headers: &[(&str, &str)], body: &Value| {
        http::request(daemon.address(), "POST", path, headers, Some(body.to_string().as_bytes())).expect("an answer")
    };
    let key = ("X-API-Key", ADMIN_KEY);
    post("/api/auth/link", &[key, ("X-Forwarded-For", "192.0.2.7")], &json!({})).expect(403);
    post("/api/auth/link", &[key], &json!({"seconds": 301})).expect(400);
    let made = post("/api/auth/link", &[key], &json!({"seconds": 300})).expect(201).json();
    let once = made["path"].as_str().and_then(|path| path.split_once('=')).expect("a secret").1.to_owned();
    let body = json!({ "once": once });
    post("/api/auth/login", &[("Forwarded", "for=192.0.2.7")], &body).expect(403);
    post("/api/auth/login", &[("Sec-Fetch-Site", "cross-site")], &body).expect(403);
    post("/api/auth/login", &[], &json!({ "once": once, "api_key": ADMIN_KEY })).expect(400);
    let cookie = log_in(&daemon, &body).expect("refusals did not use it up");
    let own_page = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "same-origin")];
    post("/api/auth/link", &own_page, &json!({})).expect(403);

    let revoked = daemon.post("/api/keys", &json!({"name": "gone", "role": "viewer"})).expect(201).json();
    let text = revoked["api_key"].as_str().expect("a key").to_owned();
    let made = post("/api/auth/link", &[("X-API-Key", &text)], &json!({})).expect(201).json();
    daemon.call("DELETE", &format!("/api/keys/{}", revoked["key"]["id"]), None).expect(200);
    let once = made["path"].as_str().and_then(|path| path.split_once('=')).expect("a secret").1;
    assert_eq!(log_in(&daemon, &json!({ "once": once })).expect_err("its key is revoked").status, 401);
}

#[test]
fn the_command_prints_a_link_that_logs_in() {
    let daemon = Daemon::start();
    let url = client::fine(&daemon, &["dashboard", "--quiet"]);
    let once = url.trim().strip_prefix(&format!("http://{}/login?once=", daemon.address())).expect("a link").to_owned();
    log_in(&daemon, &json!({ "once": once })).expect("a session");
    let said = client::fine(&daemon, &["dashboard"]);
    assert!(said.contains("/login?once=") && said.contains("logs in once, within 2m"), "{said}");
}

#[test]
fn a_browser_reads_on_a_budget_of_its_own() {
    let daemon = Setup::new()
        .env("GATEWARDEN_RATE_LIMIT__ENABLED", "true")
        .env("GATEWARDEN_RATE_LIMIT__GATEWAY_PER_MINUTE", "3")
        .env("GATEWARDEN_RATE_LIMIT__BROWSER_PER_MINUTE", "5")
        .start();
    let cookie = log_in(&daemon, &json!({ "api_key": ADMIN_KEY })).expect("a session");
    let other = log_in(&daemon, &json!({ "api_key": ADMIN_KEY })).expect("a session");
    for left in [4, 3, 2, 1, 0] {
        let answer = as_browser(&daemon, &cookie, "/api/fleet").expect(200);
        assert_eq!(answer.header("ratelimit-remaining"), Some(&*left.to_string()));
    }
    let refused = as_browser(&daemon, &cookie, "/api/fleet").expect(429);
    assert!(refused.header("retry-after").is_some() && refused.text.contains("this browser session"), "{refused:?}");
    as_browser(&daemon, &other, "/api/fleet").expect(200);
    for _ in 0..3 {
        daemon.get("/api/gateways").expect(200);
    }
    daemon.get("/api/gateways").expect(429);
    as_browser(&daemon, &other, "/api/gateways").expect(200);
}

#[test]
fn round_trips_and_outages_are_told_by_time_for_one_gateway_and_for_several() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Setup::new()
        .env("GATEWARDEN_GATEWAY__PROBE_INTERVAL", "1s")
        .env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "6s")
        .start();
    let id = daemon.register("prod", gateway.port(), "right");
    let seeded = daemon.gateways().iter().find_map(|shown| shown["id"].as_i64().filter(|other| *other != id));
    let path = format!("/api/gateways/{id}/latency?bucket=5m&hours=1");
    let seen = wait::until_ok("round trips are kept", PATIENCE, || {
        let seen = daemon.get(&path).expect(200).json();
        let bucket = &seen["gateways"][0]["buckets"][0];
        let is_there = bucket["count"].as_u64() > Some(1) && bucket["p50"].as_f64() <= bucket["p95"].as_f64();
        if is_there { Ok(seen) } else { Err(seen.to_string()) }
    });
    assert_eq!((&seen["bucket_s"], &seen["gateways"][0]["name"]), (&json!(300), &json!("prod")));
    assert_eq!(seen["from"].as_i64().map(|from| from % 300), Some(0));
    assert!(seen["gateways"][0]["outages"].as_array().is_some_and(Vec::is_empty), "{seen}");
    gateway.kill();
    // of several, one that is gone meanwhile is left out
    let path = format!("/api/gateways/latency?ids=999,{id},{}", seeded.expect("the seeded one"));
    wait::until_ok("both are down", PATIENCE, || {
        let seen = daemon.get(&path).expect(200).json();
        let lasts = |at: usize| {
            let outages = seen["gateways"][at]["outages"].as_array().cloned().unwrap_or_default();
            outages.last().is_some_and(|outage| outage["status"] == "offline" && outage["to"].is_null())
        };
        if lasts(0) && lasts(1) { Ok(()) } else { Err(seen.to_string()) }
    });
    daemon.get("/api/gateways/999/latency").expect(404);
    for wrong in ["ids=", "ids=1,x", "ids=1&bucket=7m", "ids=1&hours=0"] {
        daemon.get(&format!("/api/gateways/latency?{wrong}")).expect(400);
    }
}
