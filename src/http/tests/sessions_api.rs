//! `/api/sessions`: the merged list and control.

use std::num::NonZeroU32;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_report::SessionSnapshot;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::spawn::{SpawnRecord, SpawnState};
use gatewarden_actors::store::records::Role;
use gatewarden_protocol::sessions::{SessionRow, SessionStatus};
use serde_json::{Value, json};

use super::support::{Answer, Harness, settings};
use crate::http::settings::{HttpSettings, RateLimits};

/// Publishes sessions of a gateway: key and time of the last change.
pub(super) fn publish(harness: &Harness, gateway: i64, rows: Vec<SessionRow>, complete: bool) {
    let rows = rows.into_iter().map(std::sync::Arc::new).collect();
    let snapshot = SessionSnapshot { rows, as_of_ms: 1_700_000_000_500, complete };
    harness.roster.publish_sessions(GatewayId(gateway), snapshot.into());
}

pub(super) fn row(key: &str, updated_at_ms: i64) -> SessionRow {
    SessionRow {
        key: key.to_owned(),
        agent: gatewarden_protocol::sessions::agent_of_key(key),
        updated_at_ms: Some(updated_at_ms),
        ..SessionRow::default()
    }
}

/// Gateway 1 `prod` holds `researcher:main` and `shared`, gateway 2 `backup` holds `shared` and `agent:main:main`.
pub(super) async fn two_gateways(harness: &Harness) {
    let body = json!({"name": "backup", "host": "127.0.0.1", "port": 2});
    let made = harness.send(harness.admin("POST", "/api/gateways").json(body)).await;
    assert_eq!(made.json()["gateway"]["id"], 2, "{made:?}");
    let full = SessionRow {
        model: Some("m1".to_owned()),
        status: Some(SessionStatus::Active),
        total_tokens: Some(1_100),
        context_tokens: Some(32_000),
        kind: Some("direct".to_owned()),
        message_count: Some(4),
        cost: Some(0.5),
        label: Some("Probe".to_owned()),
        ..row("researcher:main", 30)
    };
    publish(harness, 1, vec![full, row("shared", 10)], true);
    publish(harness, 2, vec![row("agent:main:main", 20), row("shared", 10)], true);
}

fn keys(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let rows = body["sessions"].as_array().unwrap_or_else(|| panic!("{body}")).clone();
    rows.iter().map(|row| format!("{}@{}", row["key"].as_str().unwrap(), row["gateway"].as_str().unwrap())).collect()
}

#[actix_web::test]
async fn the_sessions_of_all_gateways_come_in_one_list_with_their_age() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    let answer = harness.send(harness.ask(Role::Viewer, "GET", "/api/sessions")).await;
    assert_eq!(keys(&answer), ["researcher:main@prod", "agent:main:main@backup", "shared@prod", "shared@backup"]);
    let body = answer.json();
    let expected = json!({
        "key": "researcher:main", "agent": "researcher", "model": "m1", "status": "active", "totalTokens": 1100, "updatedAt": 30,
        "gateway_id": 1, "gateway": "prod", "kind": "direct", "contextTokens": 32000, "messageCount": 4, "cost": 0.5,
        "label": "Probe", "as_of": 1_700_000_000,
    });
    assert_eq!(body["sessions"][0], expected);
    assert_eq!(body["sessions"][3]["totalTokens"], Value::Null, "what is not told is null");
    assert_eq!(body["total"], 4);
    let ages = json!([
        {"id": 1, "name": "prod", "as_of": 1_700_000_000, "complete": true, "reachable": true},
        {"id": 2, "name": "backup", "as_of": 1_700_000_000, "complete": true, "reachable": false},
    ]);
    assert_eq!(body["gateways"], ages);
    assert_eq!(harness.script.calls(), vec![], "no gateway is asked");
    let short = harness.send(harness.admin("GET", "/api/sessions?gateways=false")).await.json();
    assert!(short.get("gateways").is_none(), "{short}");
}

#[actix_web::test]
async fn the_list_is_filtered_and_paged() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    for (query, expected, total) in [
        ("?agent=researcher", vec!["researcher:main@prod"], 1),
        ("?agent=nobody", vec![], 0),
        ("?status=active", vec!["researcher:main@prod"], 1),
        ("?status=paused", vec![], 0),
        ("?gateway=2", vec!["agent:main:main@backup", "shared@backup"], 2),
        ("?gateway=prod", vec!["researcher:main@prod", "shared@prod"], 2),
        ("?limit=1", vec!["researcher:main@prod"], 4),
        ("?limit=2&offset=1", vec!["agent:main:main@backup", "shared@prod"], 4),
        ("?limit=3&page=2", vec!["shared@backup"], 4),
        ("?limit=100000&offset=4", vec![], 4),
    ] {
        let answer = harness.send(harness.ask(Role::Viewer, "GET", &format!("/api/sessions{query}"))).await;
        assert_eq!(
            (keys(&answer), answer.json()["total"].clone()),
            (expected.into_iter().map(str::to_owned).collect(), json!(total)),
            "{query}"
        );
    }
    for (query, word) in
        [("?status=done", "status"), ("?limit=x", "limit"), ("?offset=-1", "offset"), ("?gateways=x", "gateways")]
    {
        let answer = harness.send(harness.admin("GET", &format!("/api/sessions{query}"))).await;
        assert_eq!(answer.error_code(), "invalid_request", "{query}");
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{query}");
    }
    for unknown in ["99", "nowhere"] {
        let answer = harness.send(harness.admin("GET", &format!("/api/sessions?gateway={unknown}"))).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (404, "gateway_not_found"));
    }
}

#[actix_web::test]
async fn a_gateway_that_told_nothing_yet_shows_it() {
    let harness = Harness::start().await;
    let body = harness.send(harness.admin("GET", "/api/sessions")).await.json();
    assert_eq!(body["sessions"], json!([]));
    assert_eq!(
        body["gateways"],
        json!([{"id": 1, "name": "prod", "as_of": null, "complete": false, "reachable": true}])
    );
}

async fn control(harness: &Harness, key: &str, body: Value) -> Answer {
    let path = format!("/api/sessions/{key}/control");
    harness.send(harness.ask(Role::Operator, "POST", &path).json(body)).await
}

#[actix_web::test]
async fn a_control_goes_to_the_gateway_that_holds_the_session() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    let said = json!({"ok": true, "abortedRunId": null, "status": "no-active-run"});
    harness.script.reply("kill", Ok(said.clone()));
    for (key, action, gateway, id) in [
        ("researcher:main", "pause", "prod", 1),
        ("researcher%3Amain", "resume", "prod", 1),
        ("agent%3amain:main", "kill", "backup", 2),
        ("agent:main:main", "terminate", "backup", 2),
    ] {
        let answer = control(&harness, key, json!({"action": action})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        let done = if action == "terminate" { "kill" } else { action };
        assert_eq!((&body["success"], &body["action"]), (&json!(true), &json!(done)));
        assert_eq!((&body["gateway"], &body["gateway_id"]), (&json!(gateway), &json!(id)));
        let session = if id == 1 { "researcher:main" } else { "agent:main:main" };
        assert_eq!(body["session"], session);
        if done == "kill" {
            assert_eq!(body["result"], said, "nothing was running, in the gateway's words");
        }
        assert_eq!(harness.script.controls().pop(), Some((id, session.to_owned(), done)));
    }
}

#[actix_web::test]
async fn what_is_wrong_with_a_request_is_said_before_its_session_is_looked_for() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    for body in [json!({}), json!({"action": "dance"}), json!({"action": "kill", "gateway_id": "x"})] {
        let answer = control(&harness, "nobody", body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (400, "invalid_request"), "{body}");
    }
    for (action, level) in [("set-thinking", "hihg"), ("set-thinking", "no word"), ("set-verbose", "high")] {
        let path = format!("/api/sessions?action={action}");
        let body = json!({"sessionKey": "nobody", "level": level});
        let answer = harness.send(harness.ask(Role::Operator, "POST", &path).json(body)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.error_code().as_str()),
            (400, "invalid_request"),
            "{action} {level}"
        );
        assert!(answer.json()["error"].as_str().unwrap().contains("level must be"), "{answer:?}");
    }
    let body = json!({"sessionKey": "nobody", "level": "high"});
    let answer =
        harness.send(harness.ask(Role::Operator, "POST", "/api/sessions?action=set-thinking").json(body)).await;
    assert_eq!(answer.error_code(), "session_not_found");
}

#[actix_web::test]
async fn the_session_of_a_spawn_that_goes_on_is_known_before_its_gateway_lists_it() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    let spawn = SpawnRecord {
        spawn_id: uuid::Uuid::new_v4().to_string(),
        gateway_id: Some(GatewayId(2)),
        gateway_name: Some("backup".to_owned()),
        ..SpawnRecord::default()
    };
    let recorded = harness.store.record_spawn(spawn, "{}".to_owned().into(), None).await.unwrap();
    let id = recorded.unwrap().spawn_id;
    let key = format!("agent:main:gatewarden-{id}");
    let before = control(&harness, &key, json!({"action": "kill"})).await;
    assert_eq!(before.error_code(), "session_not_found", "the gateway has not taken it");
    let change = SpawnRecord { session_key: Some(key.clone()), ..SpawnRecord::default() };
    let sent = SpawnRecord { spawn_id: id.clone(), state: SpawnState::Sent, ..SpawnRecord::default() };
    let taken = SpawnRecord { spawn_id: id.clone(), state: SpawnState::Accepted, ..change };
    harness.store.move_spawns(&[SpawnState::Recorded, SpawnState::Sent], vec![sent, taken]).await.unwrap();
    let elsewhere = control(&harness, &key, json!({"action": "kill", "gateway_id": 1})).await;
    assert_eq!(elsewhere.error_code(), "session_not_found");
    assert_eq!(control(&harness, &key, json!({"action": "kill"})).await.status, 200);
    assert_eq!(harness.script.controls(), vec![(2, key.clone(), "kill")]);
    let other = key.replace("agent:main", "agent:other");
    assert_eq!(control(&harness, &other, json!({"action": "kill"})).await.error_code(), "session_not_found");
    let ended = SpawnRecord { spawn_id: id, state: SpawnState::Failed, ..SpawnRecord::default() };
    harness.store.move_spawns(&[SpawnState::Accepted], vec![ended]).await.unwrap();
    let after = control(&harness, &key, json!({"action": "kill"})).await;
    assert_eq!(after.error_code(), "session_not_found", "of an ended one, the gateway's list is the truth");
}

#[actix_web::test]
async fn a_key_of_two_gateways_needs_the_gateways_id_and_an_unknown_one_is_404() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    let answer = control(&harness, "shared", json!({"action": "kill"})).await;
    assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (409, "session_ambiguous"));
    let body = answer.json();
    assert!(body["error"].as_str().unwrap().contains("\"prod\" (id 1), \"backup\" (id 2)"), "{body}");
    assert_eq!(body["details"]["gateways"][1], json!({"id": 2, "name": "backup"}));
    let unknown = control(&harness, "nobody", json!({"action": "kill"})).await;
    assert_eq!((unknown.status.as_u16(), unknown.error_code().as_str()), (404, "session_not_found"));
    let elsewhere = control(&harness, "researcher:main", json!({"action": "kill", "gateway_id": 2})).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.error_code().as_str()), (404, "session_not_found"));
    let nowhere = control(&harness, "shared", json!({"action": "kill", "gateway_id": 99})).await;
    assert_eq!((nowhere.status.as_u16(), nowhere.error_code().as_str()), (404, "gateway_not_found"));
    assert_eq!(harness.script.controls(), vec![], "nothing was sent on a guess");
    let named = control(&harness, "shared", json!({"action": "kill", "gateway_id": 2})).await;
    assert_eq!(named.status, 200);
    assert_eq!(harness.script.controls(), vec![(2, "shared".to_owned(), "kill")]);
}

#[actix_web::test]
async fn what_the_gateway_can_not_do_or_refuses_is_said_with_its_words() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    for (code, status) in [
        (ErrorCode::NotSupportedByGateway, 501),
        (ErrorCode::GatewayRefused, 502),
        (ErrorCode::GatewayUnavailable, 503),
        (ErrorCode::GatewayTimeout, 504),
    ] {
        harness.script.reply("pause", Err(Failure::new(code, "Gateway \"prod\" says something about it")));
        let answer = control(&harness, "researcher:main", json!({"action": "pause"})).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (status, code.as_str()));
        assert!(answer.json()["error"].as_str().unwrap().contains("prod"));
    }
}

#[actix_web::test]
async fn a_bad_key_or_action_is_a_400_that_names_it() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    let long = "x".repeat(513);
    for key in
        [".", "..", "%2e", "%2E%2E", "a..b", "a%2Fb", "a%5Cb", "a%0Ab", "a%00", "%7F", "%FF", "%20", long.as_str()]
    {
        for (method, end) in [("POST", "control"), ("POST", "message"), ("GET", "history")] {
            let ask = harness
                .admin(method, &format!("/api/sessions/{key}/{end}"))
                .json(json!({"action": "kill", "content": "x"}));
            let answer = harness.send(ask).await;
            assert_eq!(answer.status, 400, "{method} {key} {end}: {answer:?}");
            assert!(answer.json()["error"].as_str().unwrap().contains("session key"), "{key}: {answer:?}");
        }
    }
    for body in [json!({}), json!({"action": "dance"}), json!({"action": 5}), json!({"action": "KILL"})] {
        let answer = control(&harness, "researcher:main", body.clone()).await;
        assert_eq!(answer.error_code(), "invalid_request", "{body}");
        assert!(answer.json()["error"].as_str().unwrap().contains("Invalid action"), "{body}");
    }
    let gateway = control(&harness, "researcher:main", json!({"action": "kill", "gateway_id": "prod"})).await;
    assert!(gateway.json()["error"].as_str().unwrap().contains("gateway_id"));
    assert_eq!(harness.script.controls(), vec![]);
}

#[actix_web::test]
async fn controls_are_limited_for_each_session_and_say_so() {
    let limits = RateLimits { control_per_minute: NonZeroU32::new(2).unwrap(), ..RateLimits::default() };
    let harness = Harness::with(HttpSettings { rate_limits: limits, ..settings() }).await;
    two_gateways(&harness).await;
    tokio::time::pause();
    let kill = |gateway: i64| json!({"action": "kill", "gateway_id": gateway});
    for remaining in ["1", "0"] {
        let answer = control(&harness, "shared", kill(1)).await;
        assert_eq!((answer.status.as_u16(), answer.header("ratelimit-remaining")), (200, Some(remaining)));
        assert_eq!(answer.header("ratelimit-limit"), Some("2"));
    }
    let refused = control(&harness, "shared", kill(1)).await;
    assert_eq!((refused.status.as_u16(), refused.error_code().as_str()), (429, "rate_limited"));
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit-reset").is_some());
    let admin = harness.admin("POST", "/api/sessions/shared/control").json(kill(1));
    assert_eq!(harness.send(admin).await.status, 429, "another key controls the same session");
    assert_eq!(control(&harness, "shared", kill(2)).await.status, 200, "another gateway's session has its own count");
    assert_eq!(control(&harness, "researcher:main", json!({"action": "kill"})).await.status, 200);
    assert_eq!(harness.script.controls().len(), 4, "what is refused reaches no gateway");
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    assert_eq!(control(&harness, "shared", kill(1)).await.status, 200);
}
