//! What a dashboard reads and follows: the whole fleet, what changes in it, and how far a stream is.

use serde_json::{Value, json};

use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE};
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
    let known = tag(&fetch(&daemon, "/api/fleet", &[]).expect(200));
    daemon.register("new", 9, "t");
    fetch(&daemon, "/api/fleet", &[("If-None-Match", &known)]).expect(200);
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
    let figures = socket.until(|news| news["data"]["figures"].as_array().is_some_and(|rows| !rows.is_empty()));
    assert_eq!(figures["data"]["figures"][0]["id"], id);
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
