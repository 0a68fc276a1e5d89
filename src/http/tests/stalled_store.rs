//! A store that takes longer than every deadline: the client is told that nobody knows yet, and as soon as the store answers what
//! is shown, what is stored and the audit log agree.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use gatewarden_actors::store::records::{AgentFilter, Role};
use serde_json::{Value, json};

use super::support::{Ask, CONFIGURED, Harness, settings};
use crate::http::settings::HttpSettings;

/// Another process that holds the database, until it is dropped.
struct Stall(SqliteConnection);

impl Stall {
    fn of(harness: &Harness) -> Self {
        let mut connection = SqliteConnection::establish(harness.database().to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.0.batch_execute("COMMIT").unwrap();
    }
}

async fn harness() -> Harness {
    let quick = HttpSettings {
        request_deadline: Duration::from_millis(700),
        gateway_timeout: Duration::from_millis(10),
        ..settings()
    };
    Harness::with_store(quick, |options| {
        options.job_deadline = Duration::from_millis(500);
        options.busy_timeout = Duration::from_secs(60);
    })
    .await
}

/// Sends it to a store that stalls: the answer, and then the entry in the audit log.
async fn stalled(harness: &Harness, ask: Ask) -> Value {
    let stall = Stall::of(harness);
    let answer = harness.send(ask).await;
    assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (503, "outcome_unknown"), "{answer:?}");
    for header in ["retry-after", "x-request-id", "content-security-policy"] {
        assert!(answer.header(header).is_some(), "{header}: {answer:?}");
    }
    drop(stall);
    harness.settled().await;
    harness.audited().await.first().cloned().unwrap_or_default()
}

/// What is shown of gateways is what is stored.
async fn gateways_agree(harness: &Harness) -> BTreeSet<String> {
    let reader = harness.roster.reader();
    let shown: BTreeSet<String> = reader.list().iter().map(|view| view.record.name.clone()).collect();
    let stored = harness.store.load_gateways().await.unwrap();
    assert_eq!(shown, stored.iter().map(|record| record.name.clone()).collect());
    for record in stored {
        assert_eq!(*reader.get(record.id).unwrap().record, record);
    }
    shown
}

#[actix_web::test]
async fn gateways_that_are_created_changed_and_deleted_late() {
    let harness = harness().await;
    let ask = harness.admin("POST", "/api/gateways").json(json!({"name": "edge", "host": "127.0.0.1", "port": 1}));
    let entry = stalled(&harness, ask).await;
    assert_eq!((&entry["action"], &entry["result"]), (&json!("gateway.create"), &json!("ok")));
    assert!(gateways_agree(&harness).await.contains("edge"));
    let id = harness.store.load_gateways().await.unwrap().iter().find(|one| one.name == "edge").unwrap().id.0;
    for change in [json!({"id": id, "name": "rim"}), json!({"id": id, "is_primary": true})] {
        let entry = stalled(&harness, harness.admin("PUT", "/api/gateways").json(change)).await;
        assert_eq!((&entry["action"], &entry["result"]), (&json!("gateway.update"), &json!("ok")));
        assert!(gateways_agree(&harness).await.contains("rim"));
    }
    let entry = stalled(&harness, harness.admin("DELETE", "/api/gateways").json(json!({"id": 1}))).await;
    assert_eq!((&entry["action"], &entry["result"]), (&json!("gateway.delete"), &json!("ok")));
    assert!(!gateways_agree(&harness).await.contains("prod"));
}

async fn lets_in(harness: &Harness, key: &str) -> bool {
    harness.send(Ask::new("GET", "/api/gateways").header("x-api-key", key)).await.status == 200
}

#[actix_web::test]
async fn a_key_lets_nobody_in_from_the_moment_its_revocation_begins() {
    let harness = harness().await;
    let key = harness.key(Role::Viewer);
    let id = harness.store.list_keys().await.unwrap().iter().find(|one| one.name == "viewer").unwrap().id;
    let stall = Stall::of(&harness);
    let answer = harness.send(harness.admin("DELETE", &format!("/api/keys/{id}"))).await;
    assert_eq!(answer.error_code(), "outcome_unknown");
    assert!(!lets_in(&harness, &key).await, "nobody knows yet whether it is deleted");
    drop(stall);
    harness.settled().await;
    assert!(!lets_in(&harness, &key).await);
    assert!(harness.store.list_keys().await.unwrap().iter().all(|one| one.id != id));
    assert_eq!(harness.audited().await[0]["result"], "ok");
}

#[actix_web::test]
async fn a_key_that_certainly_could_not_be_deleted_lets_in_again() {
    let quick = |options: &mut gatewarden_actors::store::StoreOptions| {
        options.busy_timeout = Duration::from_millis(50);
    };
    let harness = Harness::with_store(settings(), quick).await;
    let key = harness.key(Role::Viewer);
    let id = harness.store.list_keys().await.unwrap().iter().find(|one| one.name == "viewer").unwrap().id;
    let stall = Stall::of(&harness);
    let answer = harness.send(harness.admin("DELETE", &format!("/api/keys/{id}"))).await;
    assert_eq!(answer.error_code(), "store_unavailable", "the database is locked: it certainly did not happen");
    assert!(lets_in(&harness, &key).await);
    drop(stall);
    assert_eq!(harness.send(harness.admin("DELETE", &format!("/api/keys/{id}"))).await.status, 200);
    assert!(!lets_in(&harness, &key).await);
}

#[actix_web::test]
async fn keys_and_browser_sessions_that_are_made_and_ended_late() {
    let harness = harness().await;
    let ask = harness.admin("POST", "/api/keys").json(json!({"name": "late", "role": "viewer"}));
    assert_eq!(stalled(&harness, ask).await["result"], "ok");
    let listed = harness.send(harness.admin("GET", "/api/keys")).await.json();
    assert!(listed["keys"].as_array().unwrap().iter().any(|key| key["name"] == "late"), "{listed}");

    let entry = stalled(&harness, Ask::new("POST", "/api/auth/login").json(json!({"api_key": CONFIGURED}))).await;
    assert_eq!((&entry["action"], &entry["result"]), (&json!("auth.login"), &json!("ok")));

    let login = harness.send(Ask::new("POST", "/api/auth/login").json(json!({"api_key": CONFIGURED}))).await;
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let with_cookie =
        |method, path| Ask::new(method, path).header("cookie", &cookie).header("sec-fetch-site", "same-origin");
    assert_eq!(harness.send(with_cookie("GET", "/api/gateways")).await.status, 200);
    stalled(&harness, with_cookie("POST", "/api/auth/logout")).await;
    assert_eq!(harness.send(with_cookie("GET", "/api/gateways")).await.status, 401);
}

#[actix_web::test]
async fn agents_connections_and_token_usage_that_are_stored_late() {
    let harness = harness().await;
    let agents = |harness: &Harness| {
        let store = harness.store.clone();
        async move {
            let (agents, _) = store.list_agents_after(AgentFilter::default(), 0, 100).await.unwrap();
            agents.into_iter().map(|agent| agent.name).collect::<BTreeSet<_>>()
        }
    };
    let ask = harness.admin("POST", "/api/agents").json(json!({"name": "late", "status": "online"}));
    assert_eq!(stalled(&harness, ask).await["result"], "ok");
    assert!(agents(&harness).await.contains("late"));
    let ask = harness.admin("PUT", "/api/agents/late").json(json!({"name": "later"}));
    assert_eq!(stalled(&harness, ask).await["result"], "ok");
    assert!(agents(&harness).await.contains("later"));
    assert_eq!(stalled(&harness, harness.admin("DELETE", "/api/agents/later")).await["result"], "ok");
    assert!(!agents(&harness).await.contains("later"));

    let tool = json!({"tool_name": "codex", "agent_name": "tool"});
    stalled(&harness, harness.admin("POST", "/api/connect").json(tool)).await;
    let open = harness.store.list_connections(true, None).await.unwrap();
    assert_eq!(open.len(), 1);
    stalled(&harness, harness.admin("POST", "/api/agents/tool/heartbeat")).await;
    let close = json!({"connection_id": open[0].connection_id});
    stalled(&harness, harness.admin("DELETE", "/api/connect").json(close)).await;
    assert!(harness.store.list_connections(true, None).await.unwrap().is_empty());

    let usage = json!({"model": "m", "agent": "tool", "input_tokens": 1});
    stalled(&harness, harness.admin("POST", "/api/tokens").json(usage)).await;
    assert_eq!(harness.store.list_tokens(0, 10, None).await.unwrap().len(), 1);
}

#[actix_web::test]
async fn spawns_that_are_recorded_late() {
    let harness = harness().await;
    for key in [None, Some("k-1")] {
        let ask = harness.admin("POST", "/api/spawn").json(json!({"task": "say hello"}));
        let ask = key.map_or(ask, |_| {
            harness.admin("POST", "/api/spawn").json(json!({"task": "say hello"})).header("idempotency-key", "k-1")
        });
        assert_eq!(stalled(&harness, ask).await["result"], "ok");
    }
    assert_eq!(harness.store.list_spawns(10, 0).await.unwrap().1, 2);
    let again = harness.admin("POST", "/api/spawn").json(json!({"task": "say hello"})).header("idempotency-key", "k-1");
    assert_eq!(harness.send(again).await.json()["replayed"], true);
    assert_eq!(harness.store.list_spawns(10, 0).await.unwrap().1, 2);
}

#[actix_web::test]
async fn a_change_whose_client_leaves_in_the_middle_is_audited_as_what_came_of_it() {
    let harness = Harness::with_store(settings(), |options| options.busy_timeout = Duration::from_secs(60)).await;
    let stall = Stall::of(&harness);
    let asked = harness.send(harness.admin("DELETE", "/api/keys/1"));
    let begun = async {
        while harness.app.mutations.running() == 0 || harness.store.queue_depth().0 == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = asked => panic!("{answer:?}"),
        () = begun => {}
    }
    drop(stall);
    harness.settled().await;
    let entry = harness.audited().await[0].clone();
    assert_eq!(
        (&entry["action"], &entry["result"], &entry["target"]),
        (&json!("key.revoke"), &json!("ok"), &json!("key 1"))
    );
    assert!(harness.store.list_keys().await.unwrap().iter().all(|key| key.id != 1));
}
