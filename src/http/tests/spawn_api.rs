//! `/api/spawn`.

use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::store::records::{AgentSource, MainAgent, NewAgent, Role};
use serde_json::{Value, json};

use super::support::{Harness, settings};
use crate::http::settings::{HttpSettings, RateLimits};

async fn spawn(harness: &Harness, key: Option<&str>, body: Value) -> super::support::Answer {
    let mut ask = harness.ask(Role::Operator, "POST", "/api/spawn");
    if let Some(key) = key {
        ask = ask.header("idempotency-key", key);
    }
    harness.send(ask.json(body)).await
}

#[actix_web::test]
async fn a_spawn_is_answered_with_its_id_and_found_in_the_history() {
    let harness = Harness::start().await;
    let answer = spawn(&harness, None, json!({"task": "look\naround", "agent": "scout", "label": "l"})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let accepted = answer.json();
    assert_eq!((&accepted["success"], &accepted["replayed"]), (&json!(true), &json!(false)));
    let id = accepted["spawnId"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("/api/spawn/{id}").as_str()));
    let read = harness.send(harness.ask(Role::Viewer, "GET", &format!("/api/spawn/{id}"))).await.json();
    assert_eq!(
        (&read["kind"], &read["task"], &read["agent"]),
        (&json!("task"), &json!("look around"), &json!("scout"))
    );
    let history = harness.send(harness.ask(Role::Viewer, "GET", "/api/spawn?limit=1")).await.json();
    assert_eq!(history["history"][0]["spawnId"], id);
}

#[actix_web::test]
async fn a_registered_agents_preference_and_the_requests_wishes_reach_the_registry() {
    let harness = Harness::start().await;
    let agent = json!({"name": "scout", "config": {"gateway_config": {"preferred_gateway": "prod"}}});
    assert_eq!(harness.send(harness.admin("POST", "/api/agents").json(agent)).await.status, 201);
    let body = json!({"task": "t", "agent": "scout", "gateway_id": 2, "selector": {"region": "eu"}});
    assert_eq!(spawn(&harness, None, body).await.status, 202);
    let wish = harness.script.spawns.lock().unwrap()[0].clone();
    assert_eq!(wish.preferred.as_deref(), Some("prod"));
    assert_eq!(wish.requested, Some(GatewayId(2)));
    assert_eq!(wish.selector["region"], "eu");
}

#[actix_web::test]
async fn an_agent_whose_name_is_taken_gets_its_work_at_its_gateway_and_by_its_id_there() {
    let harness = Harness::start().await;
    let main = MainAgent { agent_id: "sample".to_owned(), role: None, config: json!({"id": "sample"}) };
    harness.store.create_agent(NewAgent::manual("other")).await.unwrap();
    let taken = NewAgent { source: AgentSource::Cli, ..NewAgent::manual("sample") };
    harness.store.create_agent(taken).await.unwrap();
    let name = harness.store.record_main_agent(GatewayId(1), main).await.unwrap().unwrap().agent.name;
    assert!(name.starts_with("sample-"), "{name}");
    for (body, requested, agent) in [
        (json!({"task": "t", "agent": name}), Some(1), "sample"),
        (json!({"task": "t", "agent": name, "gateway_id": 1}), Some(1), "sample"),
        (json!({"task": "t", "agent": name, "gateway_id": 2}), Some(2), name.as_str()),
        (json!({"task": "t", "agent": "other"}), None, "other"),
    ] {
        harness.script.spawns.lock().unwrap().clear();
        assert_eq!(spawn(&harness, None, body).await.status, 202);
        assert_eq!(harness.script.spawns.lock().unwrap()[0].requested, requested.map(GatewayId), "{agent}");
        assert_eq!(harness.script.agents.lock().unwrap().pop().unwrap().as_deref(), Some(agent));
    }
}

#[actix_web::test]
async fn the_same_key_and_body_replay_the_answer_and_another_body_is_a_conflict() {
    let harness = Harness::start().await;
    let first = spawn(&harness, Some("k-1"), json!({"task": "t"})).await.json();
    let again = spawn(&harness, Some("k-1"), json!({"task": "t"})).await.json();
    assert_eq!((&again["spawnId"], &again["replayed"]), (&first["spawnId"], &json!(true)));
    let other = spawn(&harness, Some("k-1"), json!({"task": "u"})).await;
    assert_eq!((other.status.as_u16(), other.error_code().as_str()), (409, "idempotency_mismatch"));
    let malformed = spawn(&harness, Some("k 1"), json!({"task": "t"})).await;
    assert_eq!(malformed.status, 400);
}

#[actix_web::test]
async fn malformed_work_is_refused_with_its_field_and_nothing_is_sent() {
    let harness = Harness::start().await;
    for body in [
        json!({}),
        json!({"task": 1}),
        json!({"task": "a", "command": "b"}),
        json!({"command": "x", "env": []}),
        // Such a session could be neither read nor deleted.
        json!({"task": "a", "sessionKey": "agent:main/x"}),
    ] {
        let answer = spawn(&harness, None, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (400, "invalid_request"), "{body}");
    }
    assert!(harness.script.spawns.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn the_first_sixty_spawns_of_a_minute_pass_and_then_one_is_refused_with_a_time() {
    let limits = RateLimits::default();
    let harness = Harness::with(HttpSettings { rate_limits: limits, ..settings() }).await;
    // Malformed ones count too, and touch no database. The limit recovers by one a second meanwhile.
    let mut passed = 0;
    let refused = loop {
        let answer = spawn(&harness, None, json!({})).await;
        if answer.status != 400 {
            break answer;
        }
        passed += 1;
        assert!(passed < 1_000, "never refused");
    };
    assert!(passed >= 60, "refused after {passed}");
    assert_eq!((refused.status.as_u16(), refused.error_code().as_str()), (429, "rate_limited"));
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit-limit") == Some("60"));
}
