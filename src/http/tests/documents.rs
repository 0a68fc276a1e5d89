//! The OpenAPI document, its page, and the daemon's own state.

use std::io::Read as _;

use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};

use super::support::{Answer, Ask, Harness};

/// The pages are compiled in compressed and sent as they are.
fn inflated(answer: &Answer) -> String {
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    text
}

#[actix_web::test]
async fn every_operation_of_the_document_is_routed() {
    let harness = Harness::start().await;
    let document = crate::http::openapi();
    for (path, item) in &document.paths.paths {
        let concrete = path.replace("{id}", "1").replace("{key}", "main");
        for method in crate::http::route_table::methods(item) {
            let answer = harness.send(harness.admin(method.as_str(), &concrete)).await;
            assert_ne!(answer.status, 405, "{method} {path}");
            let is_routed = answer.status != 404 || answer.error_code() != "not_found";
            assert!(is_routed, "{method} {path}");
        }
    }
    assert!(document.paths.paths.len() >= 20);
}

#[actix_web::test]
async fn the_document_is_complete_and_refers_only_to_what_it_holds() {
    let harness = Harness::start().await;
    let document = harness.send(Ask::new("GET", "/api/openapi.json")).await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for scheme in ["api_key", "bearer", "session"] {
        assert!(document["components"]["securitySchemes"][scheme].is_object(), "{scheme}");
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} is missing");
    }
    let mut ids = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place} has the id of another");
            assert!(operation["summary"].is_string(), "{place} has no summary");
            assert!(operation["security"].is_array(), "{place} does not say who may");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with(['1', '2'])), "{place}");
            for (status, response) in responses {
                // A client of JSON-RPC reads no other errors.
                if status.as_str() >= "400" && (place.as_str(), status.as_str()) != ("post /mcp", "400") {
                    let schema = &response["content"]["application/json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/ErrorBody", "{place} {status}");
                }
            }
        }
    }
}

#[actix_web::test]
async fn the_document_names_every_tag_every_code_and_the_headers_of_answers() {
    let harness = Harness::start().await;
    let document = harness.send(Ask::new("GET", "/api/openapi.json")).await.json();
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            for tag in operation["tags"].as_array().unwrap() {
                assert!(tags.contains(&tag), "{place}: tag {tag} is not described");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let headers = response["headers"].as_object().unwrap();
                assert!(headers.contains_key("X-Request-Id"), "{place} {status}");
                let waits = matches!(status.as_str(), "429" | "503");
                assert_eq!(headers.contains_key("Retry-After"), waits, "{place} {status}");
            }
        }
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let lists = schemas.values().filter(|schema| schema["type"] == "string");
    for list in lists.clone() {
        assert!(!list["enum"].as_array().unwrap().is_empty(), "{list} lists no names");
    }
    assert!(lists.count() >= 10);
}

#[test]
fn a_body_that_may_be_left_out_is_declared_by_its_type_alone() {
    let document = serde_json::to_value(crate::http::openapi()).unwrap();
    let body = &document["paths"]["/api/gateways/health"]["post"]["requestBody"];
    assert_eq!(body["required"], false);
    assert_eq!(body["content"]["application/json"]["schema"], json!({"$ref": "#/components/schemas/HealthBody"}));
    let bodies = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    for body in bodies.map(|operation| &operation["requestBody"]) {
        assert_eq!(body["content"]["application/json"]["schema"]["oneOf"], Value::Null, "{body}");
    }
}

#[test]
fn the_document_says_where_the_path_of_something_new_is() {
    let document = serde_json::to_value(crate::http::openapi()).unwrap();
    for path in ["/api/gateways", "/api/agents"] {
        let header = &document["paths"][path]["post"]["responses"]["201"]["headers"]["Location"];
        assert_eq!(header["schema"]["type"], "string", "{path}");
    }
}

#[actix_web::test]
async fn every_list_says_which_part_of_how_many_it_is() {
    let harness = Harness::start().await;
    let lists = [
        ("/api/gateways", "gateways"),
        ("/api/agents", "agents"),
        ("/api/sessions", "sessions"),
        ("/api/spawn", "history"),
        ("/api/connect", "connections"),
        ("/api/keys", "keys"),
        ("/api/v1/gateways", "items"),
        ("/api/v1/gateways/sessions", "sessions"),
    ];
    for (path, name) in lists {
        let part = harness.send(harness.admin("GET", &format!("{path}?limit=2&offset=1"))).await.json();
        assert!(part[name].is_array(), "{path}: {part}");
        assert_eq!((&part["limit"], &part["offset"]), (&json!(2), &json!(1)), "{path}");
        let all = harness.send(harness.admin("GET", path)).await.json();
        assert_eq!((&all["total"], &all["offset"]), (&part["total"], &json!(0)), "{path}");
        assert!(part["total"].is_u64() && all["limit"].is_u64(), "{path}: {part}");
    }
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_str() {
                    Some(reference) if name == "$ref" => references.push(reference.to_owned()),
                    _ => collect_references(value, references),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, references)),
        _ => {}
    }
}

#[actix_web::test]
async fn the_page_is_served_with_everything_it_loads() {
    let harness = Harness::start().await;
    let moved = harness.send(Ask::new("GET", "/docs")).await;
    assert!(moved.status.is_redirection());
    assert_eq!(moved.header("location"), Some("/docs/"));
    let page = harness.send(Ask::new("GET", "/docs/").header("accept-encoding", "br, gzip;q=0.8")).await;
    assert_eq!(page.status, 200);
    let text = inflated(&page);
    for takes in [None, Some("identity"), Some("br, gzip;q=0")] {
        let ask = Ask::new("GET", "/docs/");
        let ask = match takes {
            Some(takes) => ask.header("accept-encoding", takes),
            None => ask,
        };
        let plain = harness.send(ask).await;
        assert_eq!(plain.header("content-encoding"), None, "{takes:?}");
        assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
        assert_eq!(plain.text(), text, "{takes:?}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"));
    let mut loaded = 0;
    for part in text.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css")) {
        assert!(!part.contains("://"), "{part} comes from elsewhere");
        let path = format!("/docs/{}", part.trim_start_matches("./"));
        assert_eq!(harness.send(Ask::new("GET", &path)).await.status, 200, "{path}");
        loaded += 1;
    }
    assert!(loaded >= 3, "{text}");
    assert!(!text.contains("<script>"), "the policy forbids inline scripts");
    let start = harness.send(Ask::new("GET", "/docs/swagger-initializer.js")).await.text();
    assert!(start.contains("/api/openapi.json"), "{start}");
}

#[actix_web::test]
async fn health_says_version_and_uptime() {
    let harness = Harness::start().await;
    for path in ["/health", "/api/health"] {
        let body = harness.send(Ask::new("GET", path)).await.json();
        assert_eq!(body["status"], "ok");
        assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
        assert!(body["uptime"].is_u64());
    }
}

#[actix_web::test]
async fn status_is_the_daemons_state_in_one_document() {
    let harness = Harness::start().await;
    let body = harness.send(harness.ask(Role::Viewer, "GET", "/api/status")).await.json();
    assert_eq!(body["status"], "ok");
    assert_eq!(body["primary"], json!({"id": 1, "name": "prod", "status": "online"}));
    assert_eq!(body["acting_primary"]["name"], "prod");
    assert_eq!(body["gateways"]["total"], 1);
    assert_eq!(
        body["gateways"]["by_status"],
        json!({"online": 1, "degraded": 0, "timeout": 0, "offline": 0, "unknown": 0})
    );
    assert_eq!(body["sessions"], 3);
    assert_eq!(body["store"]["ok"], true);
    assert_eq!(body["registry"], json!({"ok": true, "in_flight": 0}));
    assert_eq!(body["self_doubt"], Value::Null);
    assert_eq!(body["ready"], true);
}

#[actix_web::test]
async fn identity_is_the_public_half_only() {
    let harness = Harness::start().await;
    let body = harness.send(harness.ask(Role::Viewer, "GET", "/api/identity")).await.json();
    assert_eq!(body, json!({"device_id": "ab".repeat(32), "public_key": "PUBLIC"}));
}

#[test]
fn every_error_code_is_in_the_manual_with_its_status() {
    let manual = include_str!("../../../docs/api.md");
    for code in gatewarden_actors::error::ErrorCode::ALL {
        let name = format!("`{}`", code.as_str());
        let status = crate::http::error::status_of(code).as_u16().to_string();
        let row = manual.lines().find(|line| line.starts_with('|') && line.contains(&name));
        assert!(row.is_some_and(|row| row.contains(&status)), "{name} {status}");
    }
}

/// Every schema of the routes by its name, as often as routes bring it along.
#[derive(Default)]
struct Schemas(Vec<(String, Value)>);

impl crate::http::route_table::Routes for Schemas {
    fn service<F: actix_web::dev::HttpServiceFactory + utoipa_actix_web::OpenApiFactory + 'static>(
        &mut self,
        route: F,
    ) -> &mut Self {
        let mut schemas = Vec::new();
        route.schemas(&mut schemas);
        self.0.extend(schemas.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap())));
        self
    }
}

#[test]
fn no_two_schemas_of_the_document_share_a_name() {
    let mut schemas = Schemas::default();
    crate::http::routes::api(&mut schemas);
    let mut by_name = std::collections::HashMap::new();
    for (name, schema) in schemas.0 {
        let first = by_name.entry(name.clone()).or_insert_with(|| schema.clone());
        assert_eq!(*first, schema, "{name} means two things: the document holds only one of them");
    }
    assert!(by_name.len() > 50);
}

#[actix_web::test]
async fn a_path_without_parameters_is_never_taken_for_one_with_them() {
    let harness = Harness::start().await;
    for (method, path, allowed) in [
        ("PUT", "/api/gateways/connect", "POST"),
        ("DELETE", "/api/gateways/health", "POST"),
        ("GET", "/api/agents/sync", "POST"),
        ("PATCH", "/api/v1/gateways/commands", "GET, HEAD"),
        ("PUT", "/api/v1/gateways", "GET, HEAD, POST"),
        ("OPTIONS", "/api/v1/gateways/status", "GET, HEAD"),
        ("OPTIONS", "/api/gateways/7", "GET, HEAD, PUT, DELETE"),
    ] {
        let answer = harness.send(harness.admin(method, path)).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.error_code(), "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
}
