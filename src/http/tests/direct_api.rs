//! `/api/connect`, heartbeats and `/api/tokens`.

use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};

use super::support::{Answer, Harness};

async fn connect(harness: &Harness, body: Value) -> Value {
    let answer = harness.send(harness.ask(Role::Operator, "POST", "/api/connect").json(body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn beat(harness: &Harness, path: &str, body: Value) -> Answer {
    harness.send(harness.ask(Role::Operator, "POST", path).json(body)).await
}

async fn costs(harness: &Harness, agent: &str) -> Value {
    let all = harness.send(harness.ask(Role::Viewer, "GET", "/api/tokens?action=agent-costs")).await.json();
    all["agents"][agent]["stats"].clone()
}

#[actix_web::test]
async fn a_tool_connects_beats_and_leaves_as_documented() {
    let harness = Harness::start().await;
    let body = json!({
        "agent_name": "codex-session-01", "tool_name": "codex", "tool_version": "2.1.0",
        "metadata": {"workspace": "/home/user/project", "model": "claude-3-5-sonnet-20241022"}
    });
    let opened = connect(&harness, body).await;
    let id = opened["connection_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("conn-"), "{id}");
    let expected = json!({
        "connection_id": id, "agent_id": 1, "agent_name": "codex-session-01", "status": "connected",
        "sse_url": "/api/events", "heartbeat_url": "/api/agents/1/heartbeat", "token_report_url": "/api/tokens",
        "heartbeat_timeout_s": 60,
    });
    assert_eq!(opened, expected);
    let listed = harness.send(harness.ask(Role::Viewer, "GET", "/api/connect")).await.json();
    let one = &listed["connections"][0];
    let metadata: Value = serde_json::from_str(one["metadata"].as_str().unwrap()).unwrap();
    assert_eq!(metadata["workspace"], "/home/user/project");
    for (field, value) in [
        ("id", json!(1)),
        ("agent_id", json!(1)),
        ("tool_name", json!("codex")),
        ("tool_version", json!("2.1.0")),
        ("connection_id", json!(id)),
        ("status", json!("connected")),
        ("agent_name", json!("codex-session-01")),
        ("agent_status", json!("online")),
        ("agent_role", json!("agent")),
        ("disconnected_at", Value::Null),
        ("end_reason", Value::Null),
        ("heartbeat_timeout_s", json!(60)),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    assert!(one["last_heartbeat"].is_i64() && one["created_at"].is_i64());
    let tokens = json!({"input": 1500, "output": 800, "model": "claude-3-5-sonnet-20241022"});
    for path in ["/api/agents/1/heartbeat", "/api/agents/codex-session-01/heartbeat"] {
        let heard = beat(&harness, path, json!({"connection_id": id, "tokens": tokens})).await;
        assert_eq!(heard.status, 200, "{heard:?}");
        let heard = heard.json();
        assert_eq!((&heard["status"], &heard["agent"]), (&json!("HEARTBEAT_OK"), &json!("codex-session-01")));
        assert_eq!((&heard["token_recorded"], &heard["revived"]), (&json!(true), &json!(false)));
        assert!(heard["checked_at"].as_i64().is_some_and(|at| at > 1_700_000_000));
    }
    assert_eq!(costs(&harness, "codex-session-01").await["totalTokens"], 4600);
    let leave = harness.ask(Role::Operator, "DELETE", "/api/connect").json(json!({"connection_id": id}));
    let left = harness.send(leave).await;
    assert_eq!((left.status.as_u16(), left.json()), (200, json!({"status": "disconnected", "connection_id": id})));
    let agent = harness.send(harness.admin("GET", "/api/agents/1")).await.json();
    assert_eq!((&agent["agent"]["status"], &agent["agent"]["source"]), (&json!("offline"), &json!("cli")));
    let again = harness.send(harness.admin("DELETE", &format!("/api/connect?connection_id={id}"))).await;
    assert_eq!(again.status, 200, "who leaves twice is gone as well");
    let late = beat(&harness, "/api/agents/1/heartbeat", json!({"connection_id": id})).await;
    assert_eq!((late.status.as_u16(), late.error_code().as_str()), (409, "connection_ended"));
}

#[actix_web::test]
async fn a_heartbeat_may_be_empty_and_says_what_the_agent_does_and_used_in_either_words() {
    let harness = Harness::start().await;
    connect(&harness, json!({"agent_name": "a", "tool_name": "t"})).await;
    let empty = harness.send(harness.ask(Role::Operator, "POST", "/api/agents/a/heartbeat")).await;
    assert_eq!((empty.status.as_u16(), &empty.json()["token_recorded"]), (200, &json!(false)));
    assert!(empty.json()["connection_id"].is_string(), "the open one is kept alive");
    let body = json!({"status": "busy", "token_usage": {"model": "m", "inputTokens": 7, "outputTokens": 3}});
    assert_eq!(beat(&harness, "/api/agents/a/heartbeat", body).await.json()["token_recorded"], true);
    assert_eq!(harness.send(harness.admin("GET", "/api/agents/a")).await.json()["agent"]["status"], "busy");
    let stats = costs(&harness, "a").await;
    let expected = json!({"totalTokens": 10, "inputTokens": 7, "outputTokens": 3, "totalCost": 0.0, "requestCount": 1});
    assert_eq!(stats, expected);
}

#[actix_web::test]
async fn a_tool_learns_how_long_it_may_be_silent() {
    let harness = Harness::start().await;
    let body = json!({"agent_name": "a", "tool_name": "t", "metadata": {"heartbeat_interval_s": 100}});
    assert_eq!(connect(&harness, body).await["heartbeat_timeout_s"], 150);
}

#[actix_web::test]
async fn unknown_agents_and_connections_are_404() {
    let harness = Harness::start().await;
    connect(&harness, json!({"agent_name": "a", "tool_name": "t"})).await;
    let nobody = beat(&harness, "/api/agents/nobody/heartbeat", json!({})).await;
    assert_eq!((nobody.status.as_u16(), nobody.error_code().as_str()), (404, "agent_not_found"));
    let body = json!({"connection_id": "conn-x", "tokens": {"model": "m", "input": 5}});
    let wrong = beat(&harness, "/api/agents/a/heartbeat", body).await;
    assert_eq!((wrong.status.as_u16(), wrong.error_code().as_str()), (404, "connection_not_found"));
    assert_eq!(costs(&harness, "a").await, Value::Null, "nothing was noted");
    let gone = harness.admin("DELETE", "/api/connect").json(json!({"connection_id": "conn-x"}));
    let gone = harness.send(gone).await;
    assert_eq!((gone.status.as_u16(), gone.error_code().as_str()), (404, "connection_not_found"));
}

#[actix_web::test]
async fn the_list_is_complete_unless_a_part_is_asked_for() {
    let harness = Harness::start().await;
    for number in 0..60 {
        connect(&harness, json!({"agent_name": format!("agent-{number}"), "tool_name": "t"})).await;
    }
    connect(&harness, json!({"agent_name": "agent-0", "tool_name": "second"})).await;
    let list = |query: &'static str| {
        let harness = &harness;
        async move { harness.send(harness.admin("GET", &format!("/api/connect{query}"))).await.json() }
    };
    let all = list("").await;
    assert_eq!(all["connections"].as_array().unwrap().len(), 61);
    assert_eq!((&all["total"], &all["limit"], &all["offset"]), (&json!(61), &json!(61), &json!(0)));
    assert_eq!(all["connections"][0]["tool_name"], "second", "newest first");
    assert_eq!(list("?status=connected").await["connections"].as_array().unwrap().len(), 60);
    let part = list("?limit=2&page=2").await;
    assert_eq!(part["connections"].as_array().unwrap().len(), 2);
    assert_eq!((&part["total"], &part["limit"], &part["offset"]), (&json!(61), &json!(2), &json!(2)));
}

#[actix_web::test]
async fn every_malformed_field_of_a_tool_is_named() {
    let harness = Harness::start().await;
    connect(&harness, json!({"agent_name": "a", "tool_name": "t"})).await;
    let large = "x".repeat(17_000);
    for body in [&b"{"[..], b"[]", b"5", b"{\"tokens\":NaN}"] {
        let answer = harness.send(harness.admin("POST", "/api/agents/a/heartbeat").bytes(body)).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (400, "invalid_request"));
    }
    let cases = [
        ("POST", "/api/connect", json!({}), vec!["agent_name", "tool_name"]),
        ("POST", "/api/connect", json!({"agent_name": "7", "tool_name": 5}), vec!["agent_name", "tool_name"]),
        (
            "POST",
            "/api/connect",
            json!({"agent_name": "a", "tool_name": "t", "tool_version": 1, "agent_role": [], "metadata": "{}"}),
            vec!["tool_version", "agent_role", "metadata"],
        ),
        (
            "POST",
            "/api/connect",
            json!({"agent_name": "a", "tool_name": "t", "metadata": {"a": large}}),
            vec!["metadata"],
        ),
        ("DELETE", "/api/connect", json!({"connection_id": 5}), vec!["connection_id"]),
        (
            "POST",
            "/api/agents/a/heartbeat",
            json!({"connection_id": 5, "status": "asleep"}),
            vec!["connection_id", "status"],
        ),
        ("POST", "/api/agents/a/heartbeat", json!({"tokens": 5}), vec!["tokens"]),
        ("POST", "/api/agents/a/heartbeat", json!({"tokens": {"input": -1}}), vec!["tokens.input", "tokens.model"]),
        ("POST", "/api/agents/a/heartbeat", json!({"token_usage": {"model": "m"}}), vec!["token_usage.inputTokens"]),
        ("POST", "/api/tokens", json!({}), vec!["model", "inputTokens"]),
        ("POST", "/api/tokens", json!({"model": "m", "inputTokens": 1}), vec!["agent"]),
        (
            "POST",
            "/api/tokens",
            json!({"agent": "a", "model": "m", "input_tokens": 1.5, "outputTokens": 1, "cost": "free"}),
            vec!["input_tokens", "cost"],
        ),
        ("POST", "/api/tokens", json!({"agent": "a", "model": "m", "inputTokens": 1, "cost": -1}), vec!["cost"]),
    ];
    for (method, path, body, words) in cases {
        let answer = harness.send(harness.admin(method, path).json(body.clone())).await;
        assert_eq!(answer.status, 400, "{method} {path} {body}: {answer:?}");
        for word in words {
            assert!(answer.json()["error"].as_str().unwrap().contains(word), "{word}: {answer:?}");
        }
    }
    assert_eq!(costs(&harness, "a").await, Value::Null);
}

#[actix_web::test]
async fn token_usage_is_reported_listed_and_summed_up_by_agent() {
    let harness = Harness::start().await;
    for body in [
        json!({"agent": "a", "model": "m1", "inputTokens": 10, "outputTokens": 5, "cost": 0.25}),
        json!({"agent_name": "a", "model": "m2", "input_tokens": 1, "output_tokens": 2, "cost": 0.5}),
        json!({"model": "m1", "outputTokens": 4, "sessionId": "agent:b:main"}),
    ] {
        let answer = harness.send(harness.ask(Role::Operator, "POST", "/api/tokens").json(body)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["success"]), (201, &json!(true)), "{answer:?}");
    }
    let expected =
        json!({"totalTokens": 18, "inputTokens": 11, "outputTokens": 7, "totalCost": 0.75, "requestCount": 2});
    assert_eq!(costs(&harness, "a").await, expected);
    assert_eq!(costs(&harness, "b").await["totalTokens"], 4);
    for query in ["", "?action=list&timeframe=hour", "?limit=200"] {
        let list = harness.send(harness.ask(Role::Viewer, "GET", &format!("/api/tokens{query}"))).await.json();
        let usage = list["usage"].as_array().unwrap();
        assert_eq!(usage.len(), 3, "{query}");
        let newest = &usage[0];
        assert_eq!((&newest["agent"], &newest["totalTokens"]), (&json!("b"), &json!(4)));
        assert_eq!((&newest["sessionKey"], &newest["source"]), (&json!("agent:b:main"), &json!("api")));
    }
    let one = harness.send(harness.admin("GET", "/api/tokens?limit=1")).await.json();
    assert_eq!(one["usage"].as_array().unwrap().len(), 1);
    for timeframe in ["hour", "day", "week", "month", "all"] {
        let path = format!("/api/tokens?action=agent-costs&timeframe={timeframe}");
        let sums = harness.send(harness.admin("GET", &path)).await.json();
        assert_eq!(sums["agents"]["a"]["stats"]["requestCount"], 2, "{timeframe}");
    }
}

#[actix_web::test]
async fn heartbeats_of_one_agent_are_limited_and_those_of_others_apart() {
    let limits = crate::http::settings::RateLimits {
        gateway_per_minute: std::num::NonZeroU32::new(3).unwrap(),
        ..Default::default()
    };
    let settings = crate::http::settings::HttpSettings { rate_limits: limits, ..Default::default() };
    let harness = Harness::with(settings).await;
    connect(&harness, json!({"agent_name": "a", "tool_name": "t"})).await;
    connect(&harness, json!({"agent_name": "b", "tool_name": "t"})).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(beat(&harness, "/api/agents/a/heartbeat", json!({})).await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(beat(&harness, "/api/agents/b/heartbeat", json!({})).await.status, 200);
}
