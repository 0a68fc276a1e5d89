//! `/api/agents`.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_report::GatewayReport;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_actors::store::records::{AgentSource, AgentStatus, NewAgent, Role};
use serde_json::{Value, json};

use super::support::Harness;

async fn create(harness: &Harness, body: Value) -> Value {
    let answer = harness.send(harness.ask(Role::Operator, "POST", "/api/agents").json(body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn names(list: &Value) -> Vec<&str> {
    list["agents"].as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap()).collect()
}

#[actix_web::test]
async fn an_agent_is_created_read_changed_and_deleted_by_id_or_name() {
    let harness = Harness::start().await;
    let body = json!({"name": "Worker One", "role": "research", "gateway_id": 1,
                      "config": {"gateway_config": {"preferred_gateway": "prod"}, "model": "m1"}});
    let created = create(&harness, body).await;
    assert!(created.get("warning").is_none(), "{created}");
    let agent = &created["agent"];
    let expected = json!({
        "id": 1, "name": "Worker One", "role": "research", "status": "offline", "gateway_id": 1, "source": "manual",
        "config": {"gateway_config": {"preferred_gateway": "prod"}, "model": "m1"}, "is_gateway_main": false, "board_id": null,
        "last_seen": null, "last_activity": null, "created_at": agent["created_at"], "updated_at": agent["updated_at"],
    });
    assert_eq!(agent, &expected);
    for path in ["/api/agents/1", "/api/agents/Worker%20One"] {
        let read = harness.send(harness.ask(Role::Viewer, "GET", path)).await;
        assert_eq!((read.status.as_u16(), &read.json()["agent"]), (200, agent), "{path}");
    }
    let change = json!({"name": "a/b", "status": "busy", "gateway_id": null, "last_activity": "reads"});
    let changed = harness.send(harness.admin("PUT", "/api/agents/Worker%20One").json(change)).await.json();
    let changed = &changed["agent"];
    assert_eq!((&changed["name"], &changed["status"]), (&json!("a/b"), &json!("busy")));
    assert_eq!((&changed["gateway_id"], &changed["last_activity"]), (&Value::Null, &json!("reads")));
    assert_eq!(changed["config"], agent["config"], "what is left out stays");
    assert_eq!(harness.send(harness.admin("GET", "/api/agents/a%2Fb")).await.status, 200);
    let deleted = harness.send(harness.admin("DELETE", "/api/agents/a%2Fb")).await;
    assert_eq!((deleted.status.as_u16(), deleted.json()), (200, json!({"success": true, "deleted": true})));
    let next = create(&harness, json!({"name": "a/b"})).await;
    assert_eq!(next["agent"]["id"], 2, "an id is never used again");
}

#[actix_web::test]
async fn a_new_agent_says_where_it_is_to_be_found() {
    let harness = Harness::start().await;
    let answer = harness.send(harness.admin("POST", "/api/agents").json(json!({"name": "a"}))).await;
    assert_eq!(answer.header("location"), Some("/api/agents/1"));
    assert_eq!(answer.json()["agent"]["role"], "agent");
}

#[actix_web::test]
async fn the_list_is_paged_and_filtered() {
    let harness = Harness::start().await;
    for (name, role, status) in [("c", "research", "idle"), ("a", "agent", "idle"), ("b", "agent", "busy")] {
        create(&harness, json!({"name": name, "role": role, "status": status})).await;
    }
    create(&harness, json!({"name": "100%", "gateway_id": 1})).await;
    for (query, expected, total) in [
        ("", vec!["100%", "a", "b", "c"], 4),
        ("?limit=2", vec!["100%", "a"], 4),
        ("?limit=2&page=2", vec!["b", "c"], 4),
        ("?limit=2&offset=1", vec!["a", "b"], 4),
        ("?limit=2&page=9", vec![], 4),
        ("?status=idle", vec!["a", "c"], 2),
        ("?role=agent&status=busy", vec!["b"], 1),
        ("?gateway_id=1", vec!["100%"], 1),
        ("?gateway_id=99", vec![], 0),
        ("?search=RESE", vec!["c"], 1),
        ("?search=%25", vec!["100%"], 1),
    ] {
        let list = harness.send(harness.ask(Role::Viewer, "GET", &format!("/api/agents{query}"))).await.json();
        assert_eq!((names(&list), &list["total"]), (expected, &json!(total)), "{query}");
    }
    let page = harness.send(harness.admin("GET", "/api/agents?limit=999999&page=1")).await.json();
    assert_eq!((&page["page"], &page["limit"]), (&json!(1), &json!(200)));
    let page = harness.send(harness.admin("GET", "/api/agents?limit=2&page=2")).await.json();
    assert_eq!((&page["page"], &page["limit"]), (&json!(2), &json!(2)));
}

#[actix_web::test]
async fn an_unknown_agent_is_404_and_a_taken_name_409() {
    let harness = Harness::start().await;
    create(&harness, json!({"name": "a"})).await;
    create(&harness, json!({"name": "b"})).await;
    for (method, path) in [
        ("GET", "/api/agents/99"),
        ("GET", "/api/agents/nobody"),
        ("PUT", "/api/agents/nobody"),
        ("DELETE", "/api/agents/nobody"),
        ("DELETE", "/api/agents/99"),
    ] {
        let answer = harness.send(harness.admin(method, path).json(json!({"role": "r"}))).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (404, "agent_not_found"), "{method} {path}");
    }
    let taken = harness.send(harness.admin("POST", "/api/agents").json(json!({"name": "a"}))).await;
    assert_eq!((taken.status.as_u16(), taken.error_code().as_str()), (409, "name_taken"));
    let taken = harness.send(harness.admin("PUT", "/api/agents/b").json(json!({"name": "a"}))).await;
    assert_eq!((taken.status.as_u16(), taken.error_code().as_str()), (409, "name_taken"));
    let own = harness.send(harness.admin("PUT", "/api/agents/b").json(json!({"name": "b"}))).await;
    assert_eq!(own.status, 200, "its own name is not taken");
    let gateway = harness.send(harness.admin("POST", "/api/agents").json(json!({"name": "x", "gateway_id": 9}))).await;
    assert_eq!((gateway.status.as_u16(), gateway.error_code().as_str()), (404, "gateway_not_found"));
    assert_eq!(harness.send(harness.admin("GET", "/api/agents/x")).await.status, 404, "nothing was stored");
}

#[actix_web::test]
async fn a_preferred_gateway_that_is_not_registered_is_stored_with_a_warning() {
    let harness = Harness::start().await;
    let wants = |gateway: Value| json!({"gateway_config": {"preferred_gateway": gateway}});
    for (number, known) in [json!("prod"), json!(1), json!("1")].into_iter().enumerate() {
        let made = create(&harness, json!({"name": format!("known-{number}"), "config": wants(known)})).await;
        assert!(made.get("warning").is_none(), "{made}");
    }
    for (number, unknown) in [json!("elsewhere"), json!(99)].into_iter().enumerate() {
        let made =
            create(&harness, json!({"name": format!("unknown-{number}"), "config": wants(unknown.clone())})).await;
        let warning = made["warning"].as_str().unwrap();
        assert!(warning.contains(unknown.to_string().trim_matches('"')), "{warning}");
        assert_eq!(made["agent"]["config"], wants(unknown));
    }
    let body = json!({"config": wants(json!("nowhere"))});
    let changed = harness.send(harness.admin("PUT", "/api/agents/known-0").json(body)).await;
    assert_eq!(changed.status, 200);
    assert!(changed.json()["warning"].as_str().unwrap().contains("nowhere"));
}

#[actix_web::test]
async fn every_malformed_field_of_an_agent_is_named() {
    let harness = Harness::start().await;
    create(&harness, json!({"name": "there"})).await;
    let long = "x".repeat(201);
    for (field, value) in [
        ("name", json!(5)),
        ("name", json!("")),
        ("name", json!("17")),
        ("name", json!(long)),
        ("name", json!("a\u{0}")),
        ("role", json!(5)),
        ("role", json!(long)),
        ("status", json!("asleep")),
        ("gateway_id", json!("1")),
        ("gateway_id", json!(0)),
        ("config", json!([])),
        ("config", json!("{}")),
        ("gateway_config", json!({"gateway_config": 5})),
        ("preferred_gateway", json!({"gateway_config": {"preferred_gateway": ["prod"]}})),
        ("preferred_gateway", json!({"gateway_config": {"preferred_gateway": -1}})),
        ("preferred_gateway", json!({"gateway_config": {"preferred_gateway": ""}})),
    ] {
        let name = if field.ends_with("_config") || field.starts_with("preferred") { "config" } else { field };
        let mut body = json!({"name": "new"});
        body[name] = value.clone();
        let made = harness.send(harness.admin("POST", "/api/agents").json(body)).await;
        let changed = harness.send(harness.admin("PUT", "/api/agents/there").json(json!({ name: value }))).await;
        for answer in [made, changed] {
            assert_eq!(answer.status, 400, "{field}: {answer:?}");
            assert!(answer.json()["error"].as_str().unwrap().contains(field), "{field}: {answer:?}");
        }
    }
    let nothing = harness.send(harness.admin("PUT", "/api/agents/there").json(json!({"source": "sync"}))).await;
    assert_eq!(nothing.status, 400);
    assert_eq!(harness.send(harness.admin("GET", "/api/agents")).await.json()["total"], 1);
}

#[actix_web::test]
async fn a_sync_reads_the_acting_primary_or_the_named_gateway_and_counts() {
    let harness = Harness::start().await;
    let listed = json!({"defaultId": "main", "agents": [{"id": "main"}, {"id": "researcher", "model": "m1"}]});
    harness.script.reply("agents.list", Ok(listed));
    let first = harness.send(harness.admin("POST", "/api/agents/sync")).await;
    let expected = json!({"synced": 2, "created": 2, "updated": 0, "skipped": 0, "gateway_id": 1});
    assert_eq!((first.status.as_u16(), first.json()), (200, expected));
    let agent = harness.send(harness.admin("GET", "/api/agents/researcher")).await.json();
    assert_eq!((&agent["agent"]["source"], &agent["agent"]["gateway_id"]), (&json!("sync"), &json!(1)));
    assert_eq!(agent["agent"]["config"], json!({"id": "researcher", "model": "m1"}));
    let second = harness.admin("POST", "/api/agents/sync").json(json!({"gateway_id": 1}));
    let second = harness.send(second).await.json();
    assert_eq!((&second["synced"], &second["created"], &second["updated"]), (&json!(2), &json!(0), &json!(0)));
    assert!(harness.script.calls().iter().all(|(target, method, _)| *target == Some(1) && method == "agents.list"));
}

#[actix_web::test]
async fn a_sync_that_cannot_be_done_says_why_and_changes_nothing() {
    let harness = Harness::start().await;
    for (code, status) in [
        (ErrorCode::GatewayUnavailable, 502),
        (ErrorCode::NoUsableGateway, 502),
        (ErrorCode::GatewayRefused, 502),
        (ErrorCode::NotSupportedByGateway, 501),
        (ErrorCode::GatewayTimeout, 504),
        (ErrorCode::GatewayBusy, 503),
    ] {
        for method in ["agents.list", "config.get"] {
            harness.script.reply(method, Err(Failure::new(code, "The gateway prod can't do it")));
        }
        let answer = harness.send(harness.admin("POST", "/api/agents/sync").json(json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (status, code.as_str()));
    }
    let unknown = harness.send(harness.admin("POST", "/api/agents/sync").json(json!({"gateway_id": 9}))).await;
    assert_eq!((unknown.status.as_u16(), unknown.error_code().as_str()), (404, "gateway_not_found"));
    assert_eq!(harness.send(harness.admin("GET", "/api/agents")).await.json()["total"], 0);
}

#[actix_web::test]
async fn an_agent_that_its_gateway_tells_of_is_seen_when_its_gateway_is() {
    let harness = Harness::start().await;
    let view = harness.roster.reader().get(GatewayId(1)).unwrap();
    let report = GatewayReport { last_seen_ms: Some(1_700_000_000_900), ..view.report.clone() };
    harness.roster.publish(GatewayView::new(view.record.clone(), report, false));
    for (name, source, status, seen) in [
        ("there", AgentSource::Sync, AgentStatus::Busy, json!(1_700_000_000)),
        ("gone", AgentSource::Sync, AgentStatus::Offline, Value::Null),
        ("somebody's", AgentSource::Manual, AgentStatus::Online, Value::Null),
    ] {
        let agent = NewAgent { source, status, gateway_id: Some(GatewayId(1)), ..NewAgent::manual(name.to_owned()) };
        harness.store.create_agent(agent).await.unwrap();
        let read = harness.send(harness.ask(Role::Viewer, "GET", &format!("/api/agents/{name}"))).await.json();
        assert_eq!(read["agent"]["last_seen"], seen, "{read}");
    }
}
