//! Spawns as clients ask for them, read field by field.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::machines::routing::RouteWish;
use gatewarden_actors::registry::messages::SpawnWork;
use gatewarden_actors::run::Work;
use gatewarden_actors::store::records::{Idempotency, NewSpawn, SpawnKind};
use gatewarden_protocol::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::http::error::{ApiError, invalid};
use crate::http::fields::{Fields, kind_of};

/// Longest task, in bytes.
const LONGEST_TASK: usize = 256 * 1024;
/// Arguments and environment variables of a command.
const MOST_PARTS: usize = 256;
/// Longest argument or value, in bytes.
const LONGEST_PART: usize = 32 * 1024;
/// What is kept of the request in the clear.
const SUMMARY: usize = 200;
/// Longest time that a run may be given.
const LONGEST_RUN: i64 = 7 * 24 * 3600;

/// A spawn: exactly one of `task` and `command`.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct SpawnBody {
    /// What an agent is to do.
    #[schema(example = "Summarise the open issues")]
    task: Option<String>,
    /// The agent; the gateway's default agent where left out. A registered agent's preferred gateway is honoured.
    #[schema(max_length = 200)]
    agent: Option<String>,
    /// Model, as the gateway names it.
    #[schema(max_length = 200)]
    model: Option<String>,
    /// A label for people.
    #[schema(max_length = 200)]
    label: Option<String>,
    /// The session to run in; a new one where left out.
    #[serde(rename = "sessionKey")]
    #[schema(max_length = 512)]
    session_key: Option<String>,
    /// After so many seconds the gateway should give up.
    #[serde(rename = "timeoutSeconds")]
    #[schema(minimum = 1, maximum = 604_800)]
    timeout_seconds: Option<u32>,
    /// The gateway that must take it.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
    /// Labels that the gateway must have.
    selector: Option<BTreeMap<String, String>>,
    /// A program on the gateway's host.
    command: Option<String>,
    /// Its arguments.
    args: Option<Vec<String>>,
    /// Its environment; the values are kept sealed.
    env: Option<BTreeMap<String, String>>,
    /// Its working directory.
    cwd: Option<String>,
}

/// The `Idempotency-Key` header.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > 255 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("The header Idempotency-Key must have 1 to 255 printable ASCII characters without spaces"));
    }
    Ok(Some(text.to_owned()))
}

/// Reads a spawn. The same body always has the same hash, whatever the order of its fields.
pub fn spawn_work(
    body: &Map<String, Value>,
    idempotency_key: Option<String>,
    key_id: i64,
    timeout: Duration,
) -> Result<SpawnWork, ApiError> {
    let mut fields = Fields::new(body);
    let task = long_text(&mut fields, "task", LONGEST_TASK);
    let command = fields.text("command", 1..=4_096).map(str::to_owned);
    match (fields.value("task").is_some(), fields.value("command").is_some()) {
        (false, false) => fields.wrong("task", "is missing (or command, for a program)"),
        (true, true) => fields.wrong("task", "and command exclude each other"),
        _ => {}
    }
    let agent = fields.text("agent", 1..=200).map(str::to_owned);
    let model = fields.text("model", 1..=200).map(str::to_owned);
    let label = fields.text("label", 1..=200).map(str::to_owned);
    let session_key = fields.text("sessionKey", 1..=512).map(str::to_owned);
    let timeout_seconds = fields.integer("timeoutSeconds", 1..=LONGEST_RUN).and_then(|s| u32::try_from(s).ok());
    let gateway_id = fields.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    let selector = texts_by_name(&mut fields, "selector", 64);
    let args = texts(&mut fields, "args");
    let env = texts_by_name(&mut fields, "env", MOST_PARTS);
    let cwd = fields.text("cwd", 1..=4_096).map(str::to_owned);
    fields.problems.into_result()?;

    let (kind, summary, work) = match (task, command) {
        (Some(task), _) => {
            let summary = task.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUMMARY).collect();
            let (agent, model, label) = (agent.clone(), model.clone(), label.clone());
            (SpawnKind::Task, summary, Work::Task { task, agent, session_key, model, label, timeout_seconds })
        }
        (None, Some(command)) => {
            let env = env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
            let summary = command.chars().take(SUMMARY).collect();
            (SpawnKind::Command, summary, Work::Command { command, args, env, cwd })
        }
        (None, None) => return Err(invalid("task is missing (or command, for a program)")),
    };
    let request = Value::Object(body.clone()).to_string();
    let idempotency = idempotency_key.map(|key| Idempotency {
        key_id,
        key,
        body_hash: Sha256::digest(request.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    Ok(SpawnWork {
        wish: RouteWish { preferred: None, requested: gateway_id, selector, excluded: Vec::new() },
        work,
        record: NewSpawn {
            kind,
            request: Secret::new(request),
            summary,
            model,
            gateway_id: None,
            gateway_name: None,
            route: None,
            agent,
            label,
            key_id: (key_id > 0).then_some(key_id),
        },
        idempotency,
        timeout,
    })
}

/// A text that may have several lines.
fn long_text(fields: &mut Fields<'_>, name: &str, most: usize) -> Option<String> {
    let value = fields.value(name)?;
    let Some(text) = value.as_str() else {
        fields.wrong(name, format_args!("must be a text, not {}", kind_of(value)));
        return None;
    };
    if text.trim().is_empty() || text.len() > most {
        fields.wrong(name, format_args!("must have 1 to {most} bytes and not be blank"));
        return None;
    }
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t')) {
        fields.wrong(name, "must not contain control characters other than line ends and tabs");
        return None;
    }
    Some(text.to_owned())
}

fn texts(fields: &mut Fields<'_>, name: &str) -> Vec<String> {
    let Some(values) = fields.array(name) else { return Vec::new() };
    let texts: Vec<String> = values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let fits = |text: &String| text.len() <= LONGEST_PART && !text.contains('\0');
    if texts.len() != values.len() || texts.len() > MOST_PARTS || !texts.iter().all(fits) {
        fields.wrong(name, format_args!("must be at most {MOST_PARTS} texts of at most {LONGEST_PART} bytes each"));
    }
    texts
}

fn texts_by_name(fields: &mut Fields<'_>, name: &str, most: usize) -> BTreeMap<String, String> {
    let Some(object) = fields.object(name) else { return BTreeMap::new() };
    let texts: BTreeMap<String, String> = object
        .iter()
        .filter_map(|(name, value)| value.as_str().map(|value| (name.clone(), value.to_owned())))
        .collect();
    let fits = |(name, value): (&String, &String)| {
        !name.is_empty()
            && name.len() <= 200
            && !name.contains(['=', '\0'])
            && value.len() <= LONGEST_PART
            && !value.contains('\0')
    };
    if texts.len() != object.len() || texts.len() > most || !texts.iter().all(fits) {
        fields.wrong(name, format_args!("must be an object of at most {most} texts by name"));
    }
    texts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<SpawnWork, ApiError> {
        let body = body.as_object().unwrap().clone();
        spawn_work(&body, Some("k".into()), 7, Duration::from_secs(1))
    }

    fn sentence(body: Value) -> String {
        read(body).unwrap_err().0.message
    }

    #[test]
    fn a_task_may_have_several_lines_and_is_shown_in_one() {
        let work = read(json!({"task": "first\nsecond", "agent": "researcher", "gateway_id": 2})).unwrap();
        assert_eq!(work.record.summary, "first second");
        assert_eq!(work.wish.requested, Some(GatewayId(2)));
        assert!(
            matches!(work.work, Work::Task { task, agent: Some(agent), .. } if task == "first\nsecond" && agent == "researcher")
        );
    }

    #[test]
    fn a_commands_environment_is_a_secret_everywhere() {
        let work =
            read(json!({"command": "python", "args": ["a.py"], "env": {"TOKEN": "hush"}, "cwd": "/opt"})).unwrap();
        assert!(!format!("{work:?}").contains("hush"));
        assert_eq!(work.record.summary, "python");
        assert!(work.record.request.expose().contains("hush"), "sealed with the record");
    }

    #[test]
    fn neither_both_or_malformed_work_is_refused_by_field() {
        assert!(sentence(json!({})).contains("task is missing"));
        assert!(sentence(json!({"task": "a", "command": "b"})).contains("exclude each other"));
        for (field, body) in [
            ("task", json!({"task": 5})),
            ("task", json!({"task": "  "})),
            ("task", json!({"task": "a\u{0}b"})),
            ("args", json!({"command": "x", "args": ["a", 1]})),
            ("env", json!({"command": "x", "env": {"A=B": "c"}})),
            ("env", json!({"command": "x", "env": {"A": 1}})),
            ("selector", json!({"task": "x", "selector": {"region": 1}})),
            ("timeoutSeconds", json!({"task": "x", "timeoutSeconds": 0})),
            ("gateway_id", json!({"task": "x", "gateway_id": "1"})),
        ] {
            assert!(sentence(body.clone()).starts_with(field), "{body}");
        }
    }

    #[test]
    fn the_same_body_has_the_same_hash_whatever_its_order() {
        let hash = |text: &str| {
            let body: Map<String, Value> = serde_json::from_str(text).unwrap();
            spawn_work(&body, Some("k".into()), 7, Duration::ZERO).unwrap().idempotency.unwrap().body_hash
        };
        assert_eq!(hash(r#"{"task":"a","label":"b"}"#), hash(r#"{"label":"b", "task":"a"}"#));
        assert_ne!(hash(r#"{"task":"a"}"#), hash(r#"{"task":"b"}"#));
    }
}
