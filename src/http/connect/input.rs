//! What tools send, read field by field.

use gatewarden_actors::store::records::NewConnection;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::agents::input::{LONGEST_ROLE, name};
use crate::http::error::{ApiError, invalid};
use crate::http::fields::Fields;
use crate::http::query::Query;

/// Largest metadata, in bytes of JSON.
const METADATA: usize = 16 * 1024;

/// A tool that connects.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct ConnectBody {
    /// The agent that it works as; made where it is unknown. Not digits alone.
    #[schema(example = "codex-session-01", min_length = 1, max_length = 200)]
    agent_name: String,
    /// Such as `claude-code` or `codex`.
    #[schema(example = "codex", min_length = 1, max_length = 200)]
    tool_name: String,
    /// Its version.
    #[schema(example = "2.1.0", max_length = 200)]
    tool_version: Option<String>,
    /// The agent's role; changes only an agent that a tool made known.
    #[schema(max_length = 200)]
    agent_role: Option<String>,
    /// What the tool tells of itself, at most 16 KiB. `heartbeat_interval_s` is how often it reports in: where one and a
    /// half of it is more than the daemon's timeout, that counts. Everybody with a key can read it: no secrets.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// A connection to end.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct DisconnectBody {
    /// Which.
    #[schema(example = "conn-0123456789abcdef0123456789abcdef")]
    connection_id: Option<String>,
}

/// Reads a tool that connects.
pub fn new_connection(body: &Map<String, Value>) -> Result<NewConnection, ApiError> {
    let mut fields = Fields::new(body);
    for field in ["agent_name", "tool_name"] {
        if fields.value(field).is_none() {
            fields.missing(field);
        }
    }
    let agent_name = name(&mut fields, "agent_name");
    let tool_name = fields.text("tool_name", 1..=200).map(str::to_owned);
    let tool_version = fields.text("tool_version", 0..=200).filter(|version| !version.is_empty()).map(str::to_owned);
    let agent_role = fields.text("agent_role", 0..=LONGEST_ROLE).filter(|role| !role.is_empty()).map(str::to_owned);
    let metadata = fields.object("metadata").map(|metadata| Value::Object(metadata.clone()));
    if metadata.as_ref().is_some_and(|metadata| metadata.to_string().len() > METADATA) {
        fields.wrong("metadata", format_args!("must have at most {METADATA} bytes"));
    }
    fields.problems.into_result()?;
    let (Some(agent_name), Some(tool_name)) = (agent_name, tool_name) else {
        return Err(invalid("agent_name and tool_name are needed"));
    };
    Ok(NewConnection { agent_name, agent_role, tool_name, tool_version, metadata })
}

/// The connection of a request whose body or query names it.
pub fn connection_id(body: Option<&Map<String, Value>>, query: &str) -> Result<String, ApiError> {
    let mut query = Query::parse(query);
    let from_query = query.text("connection_id", 1..=200);
    query.problems.into_result()?;
    let Some(body) = body else {
        return from_query
            .ok_or_else(|| invalid("The request body is empty: say which connection with {\"connection_id\": ...}"));
    };
    let mut fields = Fields::new(body);
    if fields.value("connection_id").is_none() && from_query.is_none() {
        fields.missing("connection_id");
    }
    let from_body = fields.text("connection_id", 1..=200).map(str::to_owned);
    fields.problems.into_result()?;
    from_body.or(from_query).ok_or_else(|| invalid("connection_id is missing"))
}
