//! What the OpenAPI document says of events, notifications and examples.

use gatewarden_actors::event::EventKind;
use serde_json::{Value, json};

use super::schema_check::problems;
use super::support::Harness;

fn document() -> Value {
    serde_json::to_value(crate::http::openapi()).unwrap()
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The schema of the data of events of a type.
fn data_of(document: &Value, kind: EventKind) -> &Value {
    let mapped = &document["components"]["schemas"]["Event"]["discriminator"]["mapping"][kind.as_str()];
    let event =
        mapped.as_str().map(|reference| &document.pointer(reference.trim_start_matches('#')).unwrap()["properties"]);
    let event = event.unwrap_or_else(|| panic!("events of the type {kind} have no schema"));
    assert_eq!(event["type"]["enum"], json!([kind.as_str()]));
    &event["data"]
}

/// The names of all fields of a schema, with those of its parts and choices.
fn fields(document: &Value, schema: &Value, names: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        fields(document, document.pointer(reference.trim_start_matches('#')).unwrap(), names);
    }
    for part in ["allOf", "oneOf"].iter().filter_map(|name| schema[*name].as_array()).flatten() {
        fields(document, part, names);
    }
    names.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
}

#[test]
fn every_type_of_event_has_a_schema_and_the_manual_lists_the_fields_of_its_data() {
    let document = document();
    let manual = include_str!("../../../docs/events.md");
    for kind in EventKind::ALL {
        let mut expected = Vec::new();
        fields(&document, data_of(&document, kind), &mut expected);
        let row = manual.lines().find(|line| line.starts_with(&format!("| `{}` |", kind.as_str())));
        let listed =
            row.and_then(|row| row.rsplit('|').nth(1)).unwrap_or_else(|| panic!("{kind} is not in the manual"));
        let mut listed: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
        expected.sort_unstable();
        expected.dedup();
        listed.sort_unstable();
        assert_eq!(listed, expected, "{kind}");
    }
}

#[test]
fn an_event_is_valid_by_the_schema_of_its_type_alone() {
    let document = document();
    let error = json!({"code": "token_mismatch", "message": "m", "help": "h"});
    let data = json!({
        "gateway_id": 1, "gateway": "prod", "from": "online", "to": "degraded", "phase": "blocked", "source": "event",
        "latency": null, "error": error,
    });
    let mut event = json!({"id": 7, "type": "gateway.status", "ts": 5, "data": data});
    assert_eq!(problems(&document, &schema("Event"), &event), Vec::<String>::new());
    event["type"] = "gateway.blocked".into();
    assert!(!problems(&document, &schema("Event"), &event).is_empty());
    let session = json!({"gateway_id": 1, "gateway": "prod", "change": "more", "sessions": 3});
    let event = json!({"type": "session.update", "ts": 5, "data": session});
    assert_eq!(problems(&document, &schema("Event"), &event), Vec::<String>::new());
}

#[test]
fn the_notification_of_the_manual_is_valid_by_the_schema_of_the_webhook() {
    let document = document();
    let webhook = &document["webhooks"]["notification"]["post"];
    let schema = &webhook["requestBody"]["content"]["application/json"]["schema"];
    let manual = include_str!("../../../docs/notifications.md");
    let body = manual.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(problems(&document, schema, &serde_json::from_str(body).unwrap()), Vec::<String>::new());
    for header in webhook["parameters"].as_array().unwrap() {
        assert!(manual.contains(&format!("| `{}` |", header["name"].as_str().unwrap())), "{header}");
    }
}

/// Every JSON body that an operation takes or gives, by operation.
fn bodies(document: &Value) -> Vec<(String, &Value)> {
    let mut bodies = Vec::new();
    for (path, item) in [&document["paths"], &document["webhooks"]].iter().flat_map(|all| all.as_object().unwrap()) {
        for (method, operation) in item.as_object().unwrap() {
            let answers =
                operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.starts_with('2'));
            let all = std::iter::once(&operation["requestBody"]).chain(answers.map(|(_, answer)| answer));
            let json = all.map(|one| &one["content"]["application/json"]).filter(|content| content.is_object());
            bodies.extend(json.map(|content| (format!("{method} {path}"), content)));
        }
    }
    bodies
}

#[test]
fn every_body_and_every_answer_has_an_example_that_is_valid_by_its_schema() {
    let document = document();
    let bodies = bodies(&document);
    assert!(bodies.len() > 80, "{}", bodies.len());
    let mut wrong = Vec::new();
    for (place, content) in bodies {
        // A document of another standard.
        if place == "post /mcp" || place == "get /api/openapi.json" {
            continue;
        }
        match content.get("example") {
            None => wrong.push(format!("{place} has no example of {}", content["schema"])),
            Some(example) => {
                let problems = problems(&document, &content["schema"], example);
                wrong.extend(problems.into_iter().map(|problem| format!("{place} {problem}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_entry_of_the_file_of_examples_names_something_of_the_document() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut known: Vec<String> = schemas.keys().cloned().collect();
    for (name, schema) in schemas {
        let mut names = Vec::new();
        fields(&document, schema, &mut names);
        known.extend(names.iter().map(|field| format!("{name}.{field}")));
        known.append(&mut names);
    }
    let named: Value = serde_json::from_str(include_str!("../openapi/examples.json")).unwrap();
    let strange: Vec<_> = named.as_object().unwrap().keys().filter(|name| !known.contains(name)).collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[actix_web::test]
async fn the_example_of_every_body_is_read_by_the_daemon() {
    let harness = Harness::start().await;
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            if !example.is_object() {
                continue;
            }
            let id = if path.starts_with("/api/v1") { "55cc268a-4b45-400f-accf-201e025232ac" } else { "1" };
            let path = path.replace("{id}", id).replace("{key}", "agent:main:main");
            let query = if (&**method, &*path) == ("post", "/api/sessions") { "?action=set-label" } else { "" };
            let answer = harness
                .send(harness.admin(&method.to_uppercase(), &format!("{path}{query}")).json(example.clone()))
                .await;
            let refused = matches!(answer.status.as_u16(), 400 | 413 | 415 | 422);
            assert!(!refused, "{method} {path}: {example}\n{}", answer.text());
        }
    }
}

#[test]
fn only_what_is_in_the_words_of_others_has_no_declared_form() {
    let document = document();
    let mut free = Vec::new();
    collect_free("", &document["components"]["schemas"], &mut free);
    let expected = [
        "AuditData.details",
        "ConnectBody.metadata",
        "ErrorBody.details",
        "GatewayCommands.commands",
        "GatewayStatus.sessions",
        "NodesAnswer.devices",
        "NodesAnswer.nodes",
        "NodesAnswer.pending",
        "NodesDone.result",
        "SessionDone.result",
        "Spawn.result",
        "SpawnAccepted.result",
        "SpawnResultData.result",
    ];
    assert_eq!(free, expected);
}

fn collect_free(place: &str, value: &Value, free: &mut Vec<String>) {
    let is_object = value["type"] == "object" || value["type"][0] == "object";
    if is_object && value.get("properties").is_none() {
        let any = value.get("additionalProperties");
        assert!(any.is_some(), "{place}: generators take it for an object without fields");
        if any == Some(&Value::Bool(true)) {
            free.push(place.to_owned());
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let is_part = matches!(name.as_str(), "properties" | "items" | "allOf" | "oneOf");
        let place = match (place, is_part) {
            (_, true) => place.to_owned(),
            ("", false) => name.clone(),
            (_, false) => format!("{place}.{name}"),
        };
        if name != "example" {
            collect_free(&place, inner, free);
        }
    }
    value.as_array().into_iter().flatten().for_each(|inner| collect_free(place, inner, free));
}
