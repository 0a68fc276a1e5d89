//! `GET /api/events`.

use std::time::Duration;

use gatewarden_actors::event::EventKind;
use gatewarden_actors::event_hub::messages::EndStreams;
use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};

use super::support::{Ask, Harness, Stream};

/// What a stream said, without its opening.
async fn opened(harness: &Harness, ask: Ask) -> (Stream, u64) {
    let mut stream = harness.open(ask).await;
    assert_eq!(stream.status, 200);
    let opening = stream.next().await.unwrap();
    let id = opening.strip_prefix("retry: 3000\nid: ").unwrap().strip_suffix("\n\n").unwrap();
    (stream, id.parse().unwrap())
}

/// One event: type, number, data.
async fn event(stream: &mut Stream) -> (String, u64, Value) {
    let text = stream.next().await.unwrap();
    let lines: Vec<&str> = text.strip_suffix("\n\n").unwrap().split('\n').collect();
    let [kind, id, data] = lines[..] else { panic!("{text}") };
    let json: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(json["type"], kind.strip_prefix("event: ").unwrap());
    assert!(json["ts"].is_i64());
    (json["type"].as_str().unwrap().to_owned(), id.strip_prefix("id: ").unwrap().parse().unwrap(), json["data"].clone())
}

#[actix_web::test]
async fn events_come_as_they_happen_with_type_number_and_json() {
    let harness = Harness::start().await;
    let (mut stream, start) = opened(&harness, harness.ask(Role::Viewer, "GET", "/api/events")).await;
    assert_eq!(stream.headers.get("content-type").unwrap(), "text/event-stream");
    assert_eq!(stream.headers.get("cache-control").unwrap(), "no-store");
    assert_eq!(stream.headers.get("x-accel-buffering").unwrap(), "no");
    harness.events.publish(EventKind::GatewayStatus, json!({ "n": 1 }));
    harness.events.publish(EventKind::SessionUpdate, json!({ "n": "two\nlines" }));
    assert_eq!(event(&mut stream).await, ("gateway.status".to_owned(), start + 1, json!({ "n": 1 })));
    assert_eq!(event(&mut stream).await, ("session.update".to_owned(), start + 2, json!({ "n": "two\nlines" })));
}

#[actix_web::test]
async fn whoever_returns_with_its_last_id_misses_nothing() {
    let harness = Harness::start().await;
    let (stream, start) = opened(&harness, harness.ask(Role::Viewer, "GET", "/api/events")).await;
    drop(stream);
    for n in 1..=400 {
        harness.events.publish(EventKind::SessionUpdate, json!({ "n": n }));
    }
    let by_header = harness.ask(Role::Viewer, "GET", "/api/events").header("last-event-id", &start.to_string());
    let path = format!("/api/events?last_event_id={}", start + 1);
    let by_query = harness.ask(Role::Viewer, "GET", &path);
    for (ask, first) in [(by_header, 1), (by_query, 2)] {
        let (mut stream, _) = opened(&harness, ask).await;
        for n in first..=400 {
            assert_eq!(event(&mut stream).await, ("session.update".to_owned(), start + n, json!({ "n": n })));
        }
    }
}

#[actix_web::test]
async fn an_id_that_cannot_be_served_is_answered_with_a_reset_and_the_newest_id() {
    let harness = Harness::start().await;
    harness.events.publish(EventKind::SessionUpdate, json!({}));
    for id in ["17", "not-a-number", "18446744073709551615", "999999999999999999999999"] {
        let ask = harness.ask(Role::Viewer, "GET", "/api/events").header("last-event-id", id);
        let (mut stream, newest) = opened(&harness, ask).await;
        let reset = format!("event: reset\nid: {newest}\ndata: {{\"last_id\":{newest}}}\n\n");
        assert_eq!(stream.next().await.unwrap(), reset, "{id}");
    }
}

#[actix_web::test]
async fn only_the_types_asked_for_are_sent_and_audit_events_to_admins_only() {
    let harness = Harness::start().await;
    let all = "/api/events";
    let (mut viewer, _) = opened(&harness, harness.ask(Role::Viewer, "GET", all)).await;
    let (mut operator, _) = opened(&harness, harness.ask(Role::Operator, "GET", all)).await;
    let path = "/api/events?types=audit,gateway.primary";
    let (mut admin, _) = opened(&harness, harness.admin("GET", path)).await;
    for kind in [EventKind::SessionUpdate, EventKind::Audit, EventKind::GatewayStatus, EventKind::GatewayPrimary] {
        harness.events.publish(kind, json!({}));
    }
    for who in [&mut viewer, &mut operator] {
        for expected in ["session.update", "gateway.status", "gateway.primary"] {
            assert_eq!(event(who).await.0, expected);
        }
    }
    assert_eq!(event(&mut admin).await.0, "audit");
    assert_eq!(event(&mut admin).await.0, "gateway.primary");
}

#[actix_web::test]
async fn whoever_names_types_above_its_role_is_told_which() {
    let harness = Harness::start().await;
    for (role, types) in [(Role::Viewer, "audit,gateway.primary"), (Role::Viewer, "log"), (Role::Operator, "audit")] {
        for place in ["/api/events", "/api/ws"] {
            let ask = harness.ask(role, "GET", &format!("{place}?types={types}"));
            let upgrade = ask
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
            let refused = harness.send(upgrade).await;
            assert_eq!((refused.status.as_u16(), refused.error_code().as_str()), (403, "forbidden"), "{place} {types}");
            let sentence = refused.json()["error"].as_str().unwrap().to_owned();
            assert!(sentence.contains(types.split(',').next().unwrap()), "{sentence}");
            assert!(!sentence.contains("gateway.primary"), "{sentence}");
        }
    }
}

#[actix_web::test]
async fn log_entries_come_to_whoever_names_them_and_only_then_are_gateways_asked_for_them() {
    let harness = Harness::start().await;
    let entry = |gateway: i64| json!({ "gateway_id": gateway, "message": "up" });
    let (mut everything, _) = opened(&harness, harness.admin("GET", "/api/events")).await;
    assert!(harness.script.watched.lock().unwrap().is_empty(), "nobody asked by name");
    let path = "/api/events?types=log,gateway.status&gateway_id=1";
    let (mut operator, _) = opened(&harness, harness.ask(Role::Operator, "GET", path)).await;
    while harness.script.watched.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*harness.script.watched.lock().unwrap(), [1]);
    harness.events.publish(EventKind::Log, entry(2));
    harness.events.publish(EventKind::Log, entry(1));
    harness.events.publish(EventKind::GatewayStatus, json!({ "gateway_id": 2 }));
    assert_eq!(event(&mut everything).await.0, "gateway.status");
    assert_eq!(event(&mut operator).await.2, entry(1));
    assert_eq!(event(&mut operator).await.0, "gateway.status");
    let unknown = harness.send(harness.admin("GET", "/api/events?types=log&gateway_id=9")).await;
    assert_eq!(unknown.error_code(), "gateway_not_found");
}

#[actix_web::test]
async fn an_unknown_type_is_refused_by_its_name() {
    let harness = Harness::start().await;
    let answer = harness.send(harness.admin("GET", "/api/events?types=session.update,gateway.staus")).await;
    assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (400, "invalid_request"));
    assert!(answer.json()["error"].as_str().unwrap().contains("gateway.staus"));
}

#[actix_web::test]
async fn a_slow_reader_is_told_how_many_it_lost_and_a_quick_one_loses_none() {
    let harness = Harness::start().await;
    let (mut slow, _) = opened(&harness, harness.admin("GET", "/api/events")).await;
    let (mut quick, start) = opened(&harness, harness.admin("GET", "/api/events")).await;
    for n in 1..=300 {
        harness.events.publish(EventKind::SessionUpdate, json!({ "n": n }));
        assert_eq!(event(&mut quick).await.1, start + n);
    }
    assert_eq!(slow.next().await.unwrap(), "event: lagged\ndata: {\"dropped\":44}\n\n");
    assert_eq!(event(&mut slow).await.2["n"], 45);
}

#[actix_web::test]
async fn a_comment_comes_every_15_seconds_and_a_revoked_key_is_told_nothing() {
    let harness = Harness::start().await;
    let (_, text) = harness.app.keys.create(&harness.store, "short", Role::Viewer, None).await.unwrap();
    let id = harness.store.list_keys().await.unwrap().iter().find(|key| key.name == "short").unwrap().id;
    let ask = || Ask::new("GET", "/api/events").header("x-api-key", text.expose());
    let (mut stream, _) = opened(&harness, ask()).await;
    harness.app.keys.revoke(&harness.store, id).await.unwrap();
    let (mut other, _) = opened(&harness, harness.admin("GET", "/api/events")).await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    harness.events.publish(EventKind::SessionUpdate, json!({}));
    assert_eq!(stream.next().await, None, "the revoked key's stream ends and tells nothing");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(event(&mut other).await.0, "session.update");
    for _ in 0..3 {
        assert_eq!(other.next().await.unwrap(), ": heartbeat\n\n");
    }
    let waited = started.elapsed();
    assert!(waited > Duration::from_secs(44) && waited < Duration::from_secs(46), "{waited:?}");
}

#[actix_web::test]
async fn a_browsers_stream_must_come_from_our_own_pages_and_ends_with_the_session() {
    let harness = Harness::start().await;
    let login = Ask::new("POST", "/api/auth/login").json(json!({"api_key": harness.key(Role::Viewer)}));
    let answer = harness.send(login).await;
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let ask = || Ask::new("GET", "/api/events").header("cookie", &cookie);
    for foreign in [ask(), ask().header("origin", "http://evil.example"), ask().header("sec-fetch-site", "same-site")] {
        let refused = harness.send(foreign).await;
        assert_eq!((refused.status.as_u16(), refused.error_code().as_str()), (403, "cross_origin"));
    }
    let (_stream, _) = opened(&harness, ask().header("sec-fetch-site", "same-origin")).await;
    let (_stream, _) = opened(&harness, ask().header("origin", "http://127.0.0.1:3000")).await;

    let token = cookie.split_once('=').unwrap().1;
    let session_hash = crate::http::keyring::key_hash(token);
    let session = harness.store.find_web_session(session_hash.clone()).await.unwrap().unwrap();
    let key = harness.app.keys.holder_of_session(&session, harness.app.now_s());
    let caller = crate::http::auth::Caller { key: key.unwrap(), session: Some(std::sync::Arc::new(session)) };
    assert!(caller.is_still_good(&harness.app).await);
    harness.store.delete_web_session(session_hash).await.unwrap();
    assert!(!caller.is_still_good(&harness.app).await, "after the logout");
}

#[actix_web::test]
async fn streams_end_when_the_daemon_stops_and_new_ones_are_refused_with_a_time_to_come_back() {
    let harness = Harness::start().await;
    let (mut stream, _) = opened(&harness, harness.admin("GET", "/api/events")).await;
    harness.app.event_hub.send(EndStreams).await.unwrap();
    assert_eq!(stream.next().await, None);
    let refused = harness.send(harness.admin("GET", "/api/events")).await;
    assert_eq!((refused.status.as_u16(), refused.error_code().as_str()), (503, "unavailable"));
    assert!(refused.header("retry-after").is_some());
}

#[actix_web::test]
async fn the_answer_to_head_has_an_end() {
    let harness = Harness::start().await;
    let mut stream = harness.open(harness.admin("HEAD", "/api/events")).await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.next().await, None);
}
