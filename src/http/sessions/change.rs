//! `POST /api/sessions?action=...` changes settings of a session, `DELETE /api/sessions` deletes one.

use actix_web::{HttpRequest, HttpResponse, delete, post, web};
use gatewarden_actors::dialing::Held;
use gatewarden_actors::error::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::holder::Holder;
use super::passing::{self, SessionDone};
use super::session_key;
use crate::http::auth::{By, GatewayOperator};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, GatewayErrors, KeyErrors, invalid};
use crate::http::fields::{Fields, check_text};
use crate::http::front::Front;
use crate::http::query::Query;

/// Thinking levels that every release knows by name.
const THINKING: [&str; 6] = ["off", "minimal", "low", "medium", "high", "xhigh"];
/// Verbose levels.
const VERBOSE: [&str; 3] = ["off", "on", "full"];
/// Longest label, in characters.
const LONGEST_LABEL: usize = 100;

/// A change of one setting.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct ChangeBody {
    /// The session's key.
    #[serde(rename = "sessionKey")]
    #[schema(example = "agent:main:main")]
    session_key: String,
    /// With set-thinking: off, minimal, low, medium, high, xhigh, or another that the gateway lists. With set-verbose: off, on or
    /// full.
    level: Option<String>,
    /// With set-label: up to 100 characters; empty or null clears.
    label: Option<String>,
    /// The gateway; needed where several hold a session of this key.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
}

/// Which session is to go.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct DeleteBody {
    /// The session's key.
    #[serde(rename = "sessionKey")]
    #[schema(example = "agent:main:old")]
    session_key: String,
    /// The gateway; needed where several hold a session of this key.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
}

/// What became of a delete.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionDeleted {
    /// Whether the gateway deleted a session; false where it had none of this key any more.
    pub deleted: bool,
    /// The rest of the answer.
    #[serde(flatten)]
    pub done: SessionDone,
}

/// What is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Thinking,
    Verbose,
    Label,
}

impl Setting {
    fn from_action(action: Option<&str>) -> Option<(Self, &'static str)> {
        match action? {
            "set-thinking" => Some((Self::Thinking, "set-thinking")),
            "set-verbose" => Some((Self::Verbose, "set-verbose")),
            "set-label" => Some((Self::Label, "set-label")),
            _ => None,
        }
    }

    /// The field of `sessions.patch`.
    fn field(self) -> &'static str {
        match self {
            Self::Thinking => "thinkingLevel",
            Self::Verbose => "verboseLevel",
            Self::Label => "label",
        }
    }

    /// The new value out of a body. A thinking level may be a word of the gateway's own.
    fn value(self, fields: &mut Fields<'_>) -> Option<Value> {
        match self {
            Self::Thinking => level(fields, "thinking level", &THINKING, is_level_word),
            Self::Verbose => level(fields, "verbose level", &VERBOSE, |_| false),
            Self::Label => label(fields),
        }
    }
}

fn level(fields: &mut Fields<'_>, what: &str, words: &[&str], or: fn(&str) -> bool) -> Option<Value> {
    let text = fields.value("level").and_then(Value::as_str);
    let level = text.filter(|text| words.contains(text) || or(text));
    if level.is_none() {
        fields.wrong("level", format_args!("must be a {what}: one of {}", words.join(", ")));
    }
    level.map(Value::from)
}

/// Whether a text can be the name of a level at all.
fn is_level_word(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn label(fields: &mut Fields<'_>) -> Option<Value> {
    let problem = match fields.value("label") {
        None if fields.has("label") => return Some(Value::Null),
        None => "is missing: Label must be a text".to_owned(),
        Some(Value::String(text)) if text.is_empty() => return Some(Value::Null),
        Some(Value::String(text)) => match check_text(text, 1..=LONGEST_LABEL) {
            Ok(()) => return Some(Value::from(text.as_str())),
            Err(what) => format!("is wrong: Label {what}"),
        },
        Some(_) => "is wrong: Label must be a text".to_owned(),
    };
    fields.wrong("label", problem);
    None
}

/// Change a setting of a session
#[utoipa::path(
    operation_id = "change_session",
    tag = "Sessions",
    params(("action" = String, Query, description = "set-thinking, set-verbose or set-label")),
    request_body = ChangeBody,
    responses(
        (status = 200, description = "The gateway did it", body = SessionDone),
        (status = 404, description = "No gateway holds this session, or no gateway has this id", body = ErrorBody),
        (status = 409, description = "Several gateways hold a session of this key; details.gateways names them", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/sessions")]
pub(crate) async fn change(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let query = Query::parse(request.query_string());
    let setting = Setting::from_action(query.value("action"));
    query.problems.into_result()?;
    let (setting, action) =
        setting.ok_or_else(|| invalid("Invalid action: ?action= must be set-thinking, set-verbose or set-label"))?;
    let mut fields = Fields::new(&body.0);
    let key = session_key::of_body(&mut fields).unwrap_or_default().to_owned();
    let value = setting.value(&mut fields).unwrap_or_default();
    let only = passing::gateway_id(&mut fields);
    fields.problems.into_result()?;
    let holder = passing::holder(&front, &key, only)?;
    if setting == Setting::Thinking {
        check_thinking(&front, &holder, &value).await?;
    }
    let params = json!({"key": key, setting.field(): value});
    let (result, _cover) = passing::call(&front, &holder, "sessions.patch", params).await?.into_parts();
    passing::log(&by.caller, action, &key, &holder);
    Ok(HttpResponse::Ok().json(SessionDone::new(action, key, holder, result)))
}

/// A level beyond the usual ones must be one that the gateway lists with its agents.
async fn check_thinking(front: &Front, holder: &Holder, level: &Value) -> Result<(), ApiError> {
    let level = level.as_str().unwrap_or_default();
    if THINKING.contains(&level) {
        return Ok(());
    }
    let agents: Result<Held<Value>, Failure> = passing::call(front, holder, "agents.list", json!({})).await;
    let listed = agents.map(|agents| listed_levels(&agents)).unwrap_or_default();
    if listed.iter().any(|known| known == level) {
        return Ok(());
    }
    let beyond: Vec<&str> = listed.iter().map(String::as_str).filter(|known| !THINKING.contains(known)).collect();
    let known = THINKING.into_iter().chain(beyond).collect::<Vec<_>>().join(", ");
    Err(invalid(format!("level must be a thinking level: one of {known}")))
}

/// The thinking levels that a list of agents names.
fn listed_levels(agents: &Value) -> Vec<String> {
    let mut levels: Vec<String> = Vec::new();
    let agents = agents.get("agents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for agent in agents {
        let options = agent.get("thinkingLevels").or_else(|| agent.get("thinkingOptions")).and_then(Value::as_array);
        for option in options.map(Vec::as_slice).unwrap_or_default() {
            let id = option.as_str().or_else(|| option.get("id")?.as_str()).filter(|id| is_level_word(id));
            if let Some(id) = id
                && levels.len() < 50
                && !levels.iter().any(|known| known == id)
            {
                levels.push(id.to_owned());
            }
        }
    }
    levels
}

/// Delete a session
#[utoipa::path(
    operation_id = "delete_session",
    tag = "Sessions",
    request_body = DeleteBody,
    responses(
        (status = 200, description = "Whether the gateway deleted it", body = SessionDeleted),
        (status = 404, description = "No gateway holds this session, or no gateway has this id", body = ErrorBody),
        (status = 409, description = "Several gateways hold a session of this key; details.gateways names them", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[delete("/api/sessions")]
pub(crate) async fn delete(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::new(&body.0);
    let key = session_key::of_body(&mut fields).unwrap_or_default().to_owned();
    let only = passing::gateway_id(&mut fields);
    fields.problems.into_result()?;
    let holder = passing::holder(&front, &key, only)?;
    let reply = passing::call(&front, &holder, "sessions.delete", json!({"key": key})).await?;
    let (result, _cover) = reply.into_parts();
    let deleted = result.get("deleted").and_then(Value::as_bool).unwrap_or(true);
    passing::log(&by.caller, "delete", &key, &holder);
    Ok(HttpResponse::Ok().json(SessionDeleted { deleted, done: SessionDone::new("delete", key, holder, result) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_of_a_gateway_are_read_in_both_spellings() {
        let agents = json!({"agents": [
            {"id": "main", "thinkingLevels": [{"id": "off", "label": "off"}, {"id": "adaptive", "label": "Adaptive"}]},
            {"id": "other", "thinkingOptions": ["off", "max", "not a word", 5]},
            {"id": "plain"},
        ]});
        assert_eq!(listed_levels(&agents), ["off", "adaptive", "max"]);
        assert!(listed_levels(&json!({"agents": "none"})).is_empty());
        assert!(listed_levels(&Value::Null).is_empty());
    }
}
