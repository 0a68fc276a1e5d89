//! The tools: which route of the REST API each of them is. What it takes, and what that means, comes out of the OpenAPI document,
//! which comes out of the types of `api/`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::RestCall;
use crate::named_request::next_request;

/// What a tool does to gateways and their work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    /// It begins something, or makes the daemon look again.
    Adds,
    /// It may end somebody's work.
    Ends,
}

/// Name, method, route, effect, and what an assistant should know of it.
#[rustfmt::skip]
const TOOLS: &[(&str, &str, &str, Effect, &str)] = &[
    ("fleet_status", "GET", "/api/status", Effect::Reads,
        "The daemon's own state and the fleet in figures: how many gateways are online, which one is the acting primary."),
    ("list_gateways", "GET", "/api/gateways", Effect::Reads,
        "All gateways with their status and the reason where one is not online. Large fleets: use limit and offset."),
    ("gateway_details", "GET", "/api/gateways/{id}", Effect::Reads,
        "One gateway in full: status, reason, last failure, version, capabilities, settings."),
    ("check_gateways", "POST", "/api/gateways/health", Effect::Adds,
        "Check one gateway (gateway_id) or all of them now and say what each answered. Limited to one check in 10 s."),
    ("spawn", "POST", "/api/spawn", Effect::Adds,
        "Give a gateway work: a task for an agent, or a command. Answers once a gateway has taken it. Needs the role operator. Give \
         an idempotency_key, so that the same call made again does not run the work twice."),
    ("list_spawns", "GET", "/api/spawn", Effect::Reads,
        "Work that was given, newest first, and what became of it."),
    ("spawn_status", "GET", "/api/spawn/{id}", Effect::Reads,
        "What became of one spawn: its status, its result, or what went wrong."),
    ("list_sessions", "GET", "/api/sessions", Effect::Reads,
        "The sessions of all gateways."),
    ("session_history", "GET", "/api/sessions/{key}/history", Effect::Reads,
        "What was said in a session."),
    ("send_to_session", "POST", "/api/sessions/{key}/message", Effect::Adds,
        "Say something in a session, which makes its agent work. Needs the role operator."),
    ("control_session", "POST", "/api/sessions/{key}/control", Effect::Ends,
        "Pause, resume or end a session. Needs the role operator."),
    ("gateway_logs", "GET", "/api/gateways/{id}/logs", Effect::Reads,
        "The newest entries of a gateway's log. Needs the role operator."),
    (EVENTS, "GET", "/api/events", Effect::Reads,
        "What has happened since the event of a number (last_event_id), oldest first. Without a number: nothing that is past, only the \
         number to go on from. Ask again with the last_event_id of the answer."),
];

/// The tool that reads a stream.
const EVENTS: &str = "events_since";
/// What the API says to those who send requests, and what is said to an assistant.
const PHRASES: [(&str, &str); 3] = [
    ("The OpenAPI document at /api/openapi.json describes every field.", "tools/list describes every argument."),
    ("Wait as long as the Retry-After header says.", "Try again later."),
    ("Idempotency-Key", "idempotency_key"),
];
/// What would make an answer a stream, and what a header says again.
const LEFT_OUT: [(&str, &str); 2] = [("gateway_logs", "follow"), ("gateway_logs", "last_event_id")];
const LONGEST_WAIT_S: u64 = 20;
const MAX_EVENTS: u64 = 200;
const EVENTS_UNASKED: u64 = 50;

/// How long and how much to read of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Following {
    pub(super) wait: Duration,
    pub(super) limit: usize,
    /// Whether it goes on from a number.
    pub(super) is_since: bool,
}

/// Where an argument goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    IdempotencyKey,
    Body,
    /// Of reading a stream.
    Here,
}

/// All tools, as they are listed and called.
#[derive(Debug)]
pub(crate) struct Toolbox(Vec<Described>);

#[derive(Debug)]
struct Described {
    listed: Tool,
    method: &'static str,
    route: &'static str,
    places: BTreeMap<String, Place>,
    required: Vec<String>,
}

impl Toolbox {
    /// Those of a daemon that has this OpenAPI document.
    pub(crate) fn of(document: &Value) -> Self {
        Self(TOOLS.iter().map(|row| describe(document, row)).collect())
    }

    pub(super) fn listed(&self) -> Vec<Tool> {
        self.0.iter().map(|tool| tool.listed.clone()).collect()
    }

    /// The request that a call of a tool is; a sentence where it is none.
    pub(super) fn call(&self, name: &str, arguments: &JsonObject) -> Result<(RestCall, Option<Following>), String> {
        let Some(tool) = self.0.iter().find(|tool| tool.listed.name == name) else {
            let known: Vec<&str> = self.0.iter().map(|tool| &*tool.listed.name).collect();
            return Err(format!("There is no tool of this name; there are {}", known.join(", ")));
        };
        tool.call(arguments)
    }
}

impl Described {
    fn call(&self, arguments: &JsonObject) -> Result<(RestCall, Option<Following>), String> {
        if let Some(missing) = self.required.iter().find(|name| arguments.get(*name).is_none_or(Value::is_null)) {
            return Err(format!("{} needs the argument {missing}", self.listed.name));
        }
        let mut path = self.route.to_owned();
        let (mut query, mut body, mut idempotency_key) = (String::new(), Map::new(), None);
        for (name, value) in arguments.iter().filter(|(_, value)| !value.is_null()) {
            match self.places.get(name) {
                None => return Err(self.unknown()),
                Some(Place::Path) => path = path.replace(&format!("{{{name}}}"), &part(name, value)?),
                Some(Place::Query) => {
                    let sign = if query.is_empty() { '?' } else { '&' };
                    // Writing into a text can't fail.
                    let _ = write!(query, "{sign}{name}={}", part(name, value)?);
                }
                Some(Place::IdempotencyKey) => idempotency_key = Some(text(name, value)?),
                Some(Place::Body) => {
                    body.insert(name.clone(), value.clone());
                }
                Some(Place::Here) => {}
            }
        }
        let following = if self.listed.name == EVENTS {
            let wait = number(arguments, "wait_seconds", 0, 0..=LONGEST_WAIT_S)?;
            let limit = number(arguments, "max_events", EVENTS_UNASKED, 1..=MAX_EVENTS)?;
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let is_since = arguments.get("last_event_id").is_some_and(|number| !number.is_null());
            Some(Following { wait: Duration::from_secs(wait), limit, is_since })
        } else {
            None
        };
        path.push_str(&query);
        let body = (self.method != "GET").then_some(Value::Object(body));
        Ok((RestCall { method: self.method, path, idempotency_key, body }, following))
    }

    fn unknown(&self) -> String {
        let known: Vec<&str> = self.places.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "no arguments".to_owned() } else { known.join(", ") };
        format!("{} takes {known}, and nothing else", self.listed.name)
    }
}

/// A refusal of the API, which names requests, with the tools that make them.
pub(super) fn with_tools(text: &str) -> String {
    let text = PHRASES.iter().fold(text.to_owned(), |text, (said, ours)| text.replace(said, ours));
    let (mut worded, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some(found) = next_request(rest) {
        let (pattern, id) = found.pattern();
        let is_it = |method: &str, route: &str| {
            format!("{method} {}", route.replace("{id}", "*").replace("{key}", "*")) == pattern
        };
        worded.push_str(found.before);
        match TOOLS.iter().find(|(_, method, route, ..)| is_it(method, route)) {
            Some((name, ..)) => worded.push_str(&id.map_or((*name).to_owned(), |id| format!("{name} with id {id}"))),
            None => worded.push_str(found.said),
        }
        rest = found.after;
    }
    worded + rest
}

/// A value as one part of a path or a query.
fn part(name: &str, value: &Value) -> Result<String, String> {
    let text = text(name, value)?;
    Ok(url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20"))
}

fn text(name: &str, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return Err(format!("{name} must be a text or a number")),
    };
    // Else the path would be another one, and a header would end.
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(format!("{name} must not be empty or have control characters"));
    }
    Ok(text)
}

fn number(
    arguments: &JsonObject,
    name: &str,
    unasked: u64,
    within: std::ops::RangeInclusive<u64>,
) -> Result<u64, String> {
    let Some(value) = arguments.get(name).filter(|value| !value.is_null()) else {
        return Ok(unasked);
    };
    value
        .as_u64()
        .filter(|number| within.contains(number))
        .ok_or_else(|| format!("{name} must be an integer from {} to {}", within.start(), within.end()))
}

/// A tool, out of what the document says of its route.
fn describe(
    document: &Value,
    &(name, method, route, effect, about): &(&'static str, &'static str, &'static str, Effect, &'static str),
) -> Described {
    let operation = at(document, &["paths", route, &method.to_lowercase()]);
    let (mut places, mut properties, mut required) = (BTreeMap::new(), Map::new(), Vec::new());
    for parameter in at(operation, &["parameters"]).as_array().into_iter().flatten() {
        let field = at(parameter, &["name"]).as_str().unwrap_or_default();
        let (field, place) = match at(parameter, &["in"]).as_str() {
            Some("path") => (field, Place::Path),
            Some("query") if !LEFT_OUT.contains(&(name, field)) => (field, Place::Query),
            Some("header") if field == "Idempotency-Key" => ("idempotency_key", Place::IdempotencyKey),
            _ => continue,
        };
        if place == Place::Path {
            required.push(field.to_owned());
        }
        let mut schema = inline(document, at(parameter, &["schema"]));
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), at(parameter, &["description"]).clone());
        }
        properties.insert(field.to_owned(), schema);
        places.insert(field.to_owned(), place);
    }
    let body = inline(document, at(operation, &["requestBody", "content", "application/json", "schema"]));
    for (field, schema) in at(&body, &["properties"]).as_object().into_iter().flatten() {
        properties.insert(field.clone(), schema.clone());
        places.insert(field.clone(), Place::Body);
    }
    required
        .extend(at(&body, &["required"]).as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    if name == EVENTS {
        let waits = "Wait so many seconds for the first event where there is none yet.";
        let bounds = "At most so many events.";
        for (field, least, most, unasked, about) in
            [("wait_seconds", 0, LONGEST_WAIT_S, 0, waits), ("max_events", 1, MAX_EVENTS, EVENTS_UNASKED, bounds)]
        {
            let schema =
                json!({"type": "integer", "minimum": least, "maximum": most, "default": unasked, "description": about});
            properties.insert(field.to_owned(), schema);
            places.insert(field.to_owned(), Place::Here);
        }
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), json!(false));
    let annotations =
        ToolAnnotations::new().read_only(effect == Effect::Reads).destructive(effect == Effect::Ends).open_world(false);
    let listed = Tool::new(name, about, Arc::new(schema)).with_annotations(annotations);
    Described { listed, method, route, places, required }
}

/// A schema without references to others. What may be left out as a whole is as if it could not: then nothing is in it.
fn inline(document: &Value, schema: &Value) -> Value {
    // No schema of the document is that deep, nor within itself.
    const DEEPEST: u32 = 16;

    fn resolve(document: &Value, schema: &Value, depth: u32) -> Value {
        if depth > DEEPEST {
            return json!({});
        }
        if let Some(name) = at(schema, &["$ref"]).as_str().and_then(|path| path.strip_prefix("#/components/schemas/")) {
            return resolve(document, at(document, &["components", "schemas", name]), depth + 1);
        }
        let is_null = |schema: &Value| at(schema, &["type"]) == "null";
        if let [one, other] = at(schema, &["oneOf"]).as_array().map(Vec::as_slice).unwrap_or_default()
            && (is_null(one) || is_null(other))
        {
            return resolve(document, if is_null(one) { other } else { one }, depth + 1);
        }
        match schema {
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), resolve(document, value, depth + 1))).collect()
            }
            Value::Array(items) => items.iter().map(|item| resolve(document, item, depth + 1)).collect(),
            other => other.clone(),
        }
    }

    resolve(document, schema, 0)
}

/// What is at this place; null where nothing is.
fn at<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    static NOTHING: Value = Value::Null;
    path.iter().try_fold(value, |value, name| value.get(name)).unwrap_or(&NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolbox() -> Toolbox {
        Toolbox::of(&serde_json::to_value(crate::http::openapi()).unwrap())
    }

    fn refusal(name: &str, arguments: Value) -> String {
        toolbox().call(name, arguments.as_object().unwrap()).unwrap_err()
    }

    #[test]
    fn every_tool_is_a_route_that_there_is() {
        let document = serde_json::to_value(crate::http::openapi()).unwrap();
        for (name, method, route, ..) in TOOLS {
            assert!(document["paths"][route][method.to_lowercase()].is_object(), "{name}: {method} {route}");
        }
    }

    #[test]
    fn the_page_lists_the_tools_that_there_are() {
        const PAGE: &str = include_str!("../../docs/mcp.md");
        for (name, method, route, ..) in TOOLS {
            assert!(PAGE.contains(&format!("| `{name}` | `{method} {route}` |")), "docs/mcp.md lacks {name}");
        }
        assert_eq!(PAGE.matches("` | `GET /api").count() + PAGE.matches("` | `POST /api").count(), TOOLS.len());
    }

    #[test]
    fn what_a_tool_takes_is_what_the_route_takes() {
        let toolbox = toolbox();
        let schema = |name: &str| {
            let tool = toolbox.0.iter().find(|tool| tool.listed.name == name).unwrap();
            Value::Object((*tool.listed.input_schema).clone())
        };
        let spawn = schema("spawn");
        assert_eq!(spawn["properties"]["timeoutSeconds"]["maximum"], 604_800);
        assert!(spawn["properties"]["idempotency_key"].is_object());
        assert_eq!(schema("control_session")["required"], json!(["key", "action"]));
        assert!(schema("check_gateways")["properties"].as_object().is_some_and(|fields| !fields.is_empty()));
        assert!(schema("gateway_logs")["properties"].get("follow").is_none(), "a stream has no end");
        for tool in toolbox.listed() {
            assert!(!Value::Object((*tool.input_schema).clone()).to_string().contains("$ref"), "{}", tool.name);
        }
    }

    #[test]
    fn wrong_arguments_are_refused_with_a_sentence() {
        assert!(refusal("nonsense", json!({})).contains("list_gateways"));
        assert!(refusal("gateway_details", json!({})).contains("needs the argument id"));
        assert!(refusal("gateway_details", json!({"id": ""})).contains("must not be empty"));
        assert!(refusal("gateway_details", json!({"id": [1]})).contains("must be a text or a number"));
        assert!(refusal("gateway_logs", json!({"id": 1, "follow": true})).contains("nothing else"));
        assert!(refusal("events_since", json!({"wait_seconds": 21})).contains("from 0 to 20"));
        assert!(refusal("spawn", json!({"task": "x", "idempotency_key": "a\r\nb"})).contains("control characters"));
    }

    #[test]
    fn what_the_api_names_as_a_request_is_named_as_a_tool() {
        for (said, worded) in [
            (r#"{"help":"GET /api/gateways lists them."}"#, r#"{"help":"list_gateways lists them."}"#),
            ("GET /api/spawn/a1-b2 tells what became of it.", "spawn_status with id a1-b2 tells what became of it."),
            ("Follow GET /api/gateways/{id}/logs?follow=true.", "Follow gateway_logs."),
            ("POST /api/gateways/3/reconnect tries at once.", "POST /api/gateways/3/reconnect tries at once."),
            (
                "limit is wrong. The OpenAPI document at /api/openapi.json describes every field.",
                "limit is wrong. tools/list describes every argument.",
            ),
        ] {
            assert_eq!(with_tools(said), worded);
        }
    }

    #[test]
    fn a_key_is_taken_as_it_is() {
        let (call, _) = toolbox().call("session_history", json!({"key": "agent:a/b"}).as_object().unwrap()).unwrap();
        assert_eq!(call.path, "/api/sessions/agent%3Aa%2Fb/history");
        let listed = toolbox().listed();
        let tool = listed.iter().find(|tool| tool.name == "session_history").unwrap();
        assert_eq!(tool.input_schema["properties"]["key"]["description"], "The session's key");
    }

    #[test]
    fn what_ends_work_is_marked_and_what_reads_too() {
        for tool in toolbox().listed() {
            let marks = tool.annotations.clone().unwrap();
            assert_eq!(marks.destructive_hint, Some(tool.name == "control_session"), "{}", tool.name);
            let changes = ["spawn", "check_gateways", "send_to_session", "control_session"].contains(&&*tool.name);
            assert_eq!(marks.read_only_hint, Some(!changes), "{}", tool.name);
        }
    }
}
