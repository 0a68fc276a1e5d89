//! What is in the audit log after requests, and `GET /api/audit`.

use gatewarden_actors::event::{EventFilter, EventKind};
use gatewarden_actors::event_hub::messages::Subscribe;
use gatewarden_actors::event_hub::subscriber::Delivery;
use gatewarden_actors::machines::event_places::Holder;
use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};

use super::support::{Ask, Harness, settings};
use crate::http::settings::{HttpSettings, RateLimits};

impl Harness {
    /// The audit log, newest first; what nobody waited for is written before.
    pub(super) async fn audited(&self) -> Vec<Value> {
        self.audit.flush().await;
        let answer = self.send(self.admin("GET", "/api/audit?limit=200")).await;
        assert_eq!(answer.status, 200);
        answer.json()["audit"].as_array().unwrap().clone()
    }
}

#[actix_web::test]
async fn a_change_is_in_the_log_before_it_is_answered() {
    let harness = Harness::start().await;
    let body = json!({"name": "edge", "host": "127.0.0.1", "port": 1, "token": "TOP-SECRET-TOKEN"});
    let ask = harness.admin("POST", "/api/gateways").header("x-request-id", "req-1").json(body);
    let id = harness.send(ask).await.json()["gateway"]["id"].as_i64().unwrap();
    let update = harness.admin("PUT", "/api/gateways").json(json!({"id": id, "priority": 4, "token": "NEW-SECRET"}));
    assert_eq!(harness.send(update).await.status, 200);
    assert_eq!(harness.send(harness.admin("DELETE", &format!("/api/gateways/{id}"))).await.status, 200);
    // Nothing is flushed here.
    let answer = harness.send(harness.admin("GET", "/api/audit")).await;
    let body = answer.json();
    let rows = body["audit"].as_array().unwrap();
    let target = format!("gateway {id}");
    let actions: Vec<_> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["gateway.delete", "gateway.update", "gateway.create"]);
    for row in rows {
        assert_eq!((&row["target"], &row["result"]), (&json!(target), &json!("ok")));
        assert_eq!((&row["actor"]["name"], &row["actor"]["role"]), (&json!("admin"), &json!("admin")));
        assert!(row["actor"]["key_id"].is_i64());
        assert_eq!(row["address"], "127.0.0.1");
        assert_eq!(row["at"], row["at_ms"].as_i64().unwrap() / 1000);
    }
    assert_eq!(rows[2]["request_id"], "req-1");
    assert_eq!(rows[2]["details"]["name"], "edge");
    assert_eq!(rows[1]["details"]["fields"], json!(["id", "priority", "token"]));
    assert!(!answer.text().contains("SECRET"));
}

#[actix_web::test]
async fn a_spawn_is_answered_with_its_record_stored_and_its_entry_follows() {
    let harness = Harness::start().await;
    let answer = harness.send(harness.admin("POST", "/api/spawn").json(json!({"task": "look around"}))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["spawnId"].as_str().unwrap().to_owned();
    let stored = harness.app.store.find_spawn(id.clone()).await.unwrap().unwrap();
    let entry = harness.audited().await[0].clone();
    assert_eq!((&entry["action"], &entry["result"]), (&json!("spawn.create"), &json!("ok")));
    assert_eq!(entry["target"], format!("spawn {id}"));
    assert_eq!(entry["actor"]["key_id"], json!(stored.key_id), "the record itself says who asked");
    assert!(stored.key_id.is_some());
}

#[actix_web::test]
async fn refusals_are_in_the_log_with_who_was_refused_and_why() {
    let harness = Harness::start().await;
    let body = json!({"name": "prod", "host": "127.0.0.1", "port": 1});
    let anonymous = Ask::new("POST", "/api/gateways").peer("192.0.2.7:1").json(body.clone());
    assert_eq!(harness.send(anonymous).await.status, 401);
    let wrong = Ask::new("DELETE", "/api/gateways/1").header("x-api-key", "gw_00000000_WRONG-KEY");
    assert_eq!(harness.send(wrong).await.status, 401);
    let viewer = harness.ask(Role::Viewer, "DELETE", "/api/gateways/1");
    assert_eq!(harness.send(viewer).await.status, 403);
    assert_eq!(harness.send(harness.admin("POST", "/api/gateways").json(body)).await.status, 409);
    assert_eq!(harness.send(harness.admin("DELETE", "/api/gateways/1")).await.status, 400);
    let rows = harness.audited().await;
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            assert_eq!(row["result"], "refused");
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            (
                text(&row["actor"]["name"]),
                text(&row["action"]),
                text(&row["target"]),
                row["details"]["status"].as_i64().unwrap(),
                text(&row["details"]["code"]),
            )
        })
        .collect();
    let row = |actor: &str, action: &str, target: &str, status, code: &str| {
        (actor.to_owned(), action.to_owned(), target.to_owned(), status, code.to_owned())
    };
    assert_eq!(
        shown,
        [
            row("admin", "gateway.delete", "gateway 1", 400, "primary_undeletable"),
            row("admin", "gateway.create", "gateway prod", 409, "name_taken"),
            row("viewer", "gateway.delete", "gateway 1", 403, "forbidden"),
            row("anonymous", "gateway.delete", "gateway 1", 401, "unauthorized"),
            row("anonymous", "gateway.create", "-", 401, "unauthorized"),
        ]
    );
    assert_eq!(rows[4]["address"], "192.0.2.7");
    assert!(!format!("{rows:?}").contains("WRONG-KEY"));
}

#[actix_web::test]
async fn who_is_beyond_a_rate_limit_is_in_the_log() {
    let limits = RateLimits { gateway_per_minute: std::num::NonZeroU32::MIN, ..RateLimits::default() };
    let harness = Harness::with(HttpSettings { rate_limits: limits, ..settings() }).await;
    for expected in [200, 429] {
        let ask = harness.ask(Role::Operator, "POST", "/api/gateways/1/reconnect");
        assert_eq!(harness.send(ask).await.status, expected);
    }
    let rows = harness.audited().await;
    assert_eq!((&rows[0]["details"]["code"], &rows[0]["actor"]["name"]), (&json!("rate_limited"), &json!("operator")));
    assert_eq!((&rows[1]["result"], &rows[1]["action"]), (&json!("ok"), &json!("gateway.reconnect")));
}

#[actix_web::test]
async fn reads_of_a_token_are_in_the_log_and_say_whether_it_was_given() {
    let harness = Harness::start().await;
    for role in [Role::Viewer, Role::Operator] {
        let ask = harness.ask(role, "POST", "/api/gateways/connect").json(json!({"id": 1}));
        let answer = harness.send(ask).await;
        assert_eq!((answer.status.as_u16(), answer.json()["token"] == "tok-18789"), (200, role == Role::Operator));
    }
    let rows = harness.audited().await;
    for (row, (role, given)) in rows.iter().zip([("operator", true), ("viewer", false)]) {
        assert_eq!(row["action"], "gateway.connect");
        assert_eq!((&row["actor"]["role"], &row["details"]["token_given"]), (&json!(role), &json!(given)));
        assert_eq!(row["target"], "gateway 1");
    }
    assert!(!format!("{rows:?}").contains("tok-18789"));
}

#[actix_web::test]
async fn keys_and_logins_are_in_the_log_without_the_key() {
    let harness = Harness::start().await;
    let created = harness.send(harness.admin("POST", "/api/keys").json(json!({"name": "ci", "role": "viewer"}))).await;
    let (id, text) = (created.json()["key"]["id"].clone(), created.json()["api_key"].as_str().unwrap().to_owned());
    let login = Ask::new("POST", "/api/auth/login").json(json!({ "api_key": text }));
    assert_eq!(harness.send(login).await.status, 200);
    assert_eq!(harness.send(harness.admin("DELETE", &format!("/api/keys/{text}"))).await.status, 400);
    let rows = harness.audited().await;
    assert_eq!((&rows[0]["action"], &rows[0]["target"]), (&json!("key.revoke"), &Value::Null));
    assert_eq!((&rows[1]["action"], &rows[1]["actor"]["name"]), (&json!("auth.login"), &json!("ci")));
    assert_eq!((&rows[2]["action"], &rows[2]["target"]), (&json!("key.create"), &json!(format!("key {id}"))));
    assert!(!format!("{rows:?}").contains(&text));
}

#[actix_web::test]
async fn reading_and_checking_leave_nothing_but_refusals_of_a_check_do() {
    let harness = Harness::start().await;
    for path in ["/api/gateways", "/api/status", "/api/keys"] {
        assert_eq!(harness.send(harness.admin("GET", path)).await.status, 200);
    }
    assert_eq!(harness.send(Ask::new("GET", "/api/gateways")).await.status, 401);
    assert_eq!(harness.send(harness.admin("POST", "/api/gateways/health")).await.status, 200);
    assert_eq!(harness.send(Ask::new("POST", "/api/auth/logout")).await.status, 200);
    assert_eq!(harness.send(harness.admin("POST", "/api/nowhere")).await.status, 404);
    assert_eq!(harness.audited().await, Vec::<Value>::new());
    assert_eq!(harness.send(Ask::new("POST", "/api/gateways/health")).await.status, 401);
    assert_eq!(harness.audited().await[0]["action"], "gateway.check_health");
}

#[actix_web::test]
async fn nobody_fills_the_disk_with_refusals() {
    let harness = Harness::start().await;
    for _ in 0..100 {
        harness.send(Ask::new("POST", "/api/gateways")).await;
    }
    assert_eq!(harness.audited().await.len(), 30);
    assert_eq!(harness.app.refusals.take_left_out(), 70);
}

#[actix_web::test]
async fn a_request_that_the_daemons_stop_cuts_short_is_in_the_log_as_unknown() {
    let harness = Harness::start().await;
    harness.script.fall_silent();
    let body = json!({"action": "approve", "requestId": "r-1"});
    let passed_on = async {
        while harness.script.calls().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = harness.send(harness.admin("POST", "/api/nodes").json(body)) => panic!("{answer:?}"),
        () = passed_on => {}
    }
    assert!(harness.audited().await.is_empty(), "its client has left, and it goes on");
    assert_eq!(harness.app.mutations.finish(std::time::Duration::ZERO).await, 1);
    let rows = harness.audited().await;
    assert_eq!((&rows[0]["action"], &rows[0]["result"]), (&json!("device.decide"), &json!("unknown")));
    assert_eq!((&rows[0]["target"], &rows[0]["details"]["answered"]), (&json!("device r-1"), &json!(false)));
    assert_eq!(rows[0]["details"]["action"], "approve");
}

#[actix_web::test]
async fn admins_who_follow_events_hear_of_it() {
    let harness = Harness::start().await;
    let subscribe =
        |admin| Subscribe { holder: Holder::ADMIN, filter: EventFilter::new(&[], admin), last_seen: None, queue: 10 };
    let admin = harness.app.event_hub.send(subscribe(true)).await.unwrap().unwrap();
    let viewer = harness.app.event_hub.send(subscribe(false)).await.unwrap().unwrap();
    assert_eq!(harness.send(harness.admin("POST", "/api/gateways/1/drain")).await.status, 200);
    let Some(Delivery::Event(event)) = admin.next().await else { panic!("no event") };
    let json: Value = serde_json::from_slice(&event.json).unwrap();
    assert_eq!((event.kind, &json["data"]["action"]), (EventKind::Audit, &json!("gateway.drain")));
    assert_eq!((&json["data"]["target"], &json["data"]["result"]), (&json!("gateway 1"), &json!("ok")));
    assert_eq!(viewer.try_next(), None);
}

#[actix_web::test]
async fn the_log_is_read_page_by_page() {
    let harness = Harness::start().await;
    for _ in 0..5 {
        assert_eq!(harness.send(harness.admin("POST", "/api/gateways/1/drain")).await.status, 200);
    }
    let mut seen = Vec::new();
    let mut path = "/api/audit?limit=2".to_owned();
    loop {
        let page = harness.send(harness.admin("GET", &path)).await.json();
        seen.extend(page["audit"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()));
        let Some(before) = page["next_before"].as_i64() else { break };
        path = format!("/api/audit?limit=2&before={before}");
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|newer, older| newer > older));
    let later = harness.app.now_s() + 3600;
    let none = harness.send(harness.admin("GET", &format!("/api/audit?since={later}"))).await.json();
    assert_eq!(none, json!({"audit": [], "next_before": null}));
    for wrong in ["limit=0", "since=yesterday", "before=0"] {
        let answer = harness.send(harness.admin("GET", &format!("/api/audit?{wrong}"))).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (400, "invalid_request"), "{wrong}");
    }
}
