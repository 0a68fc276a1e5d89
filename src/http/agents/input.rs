//! Agents as clients write them, read field by field.

use gatewarden_actors::agent_book::{LONGEST_AGENT_NAME, is_like_an_id};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::store::records::{AgentChange, AgentStatus, NewAgent};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::error::{ApiError, invalid};
use crate::http::fields::{Fields, check_text, whole_number};

/// What an agent may be doing.
pub const STATUSES: [&str; 5] = ["offline", "online", "idle", "busy", "error"];
/// Longest role, in characters.
pub const LONGEST_ROLE: usize = 200;
/// Largest configuration, in bytes of JSON.
const CONFIG: usize = 64 * 1024;

/// A new agent.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct NewAgentBody {
    /// Unique; 1 to 200 characters, not digits alone.
    #[schema(example = "researcher", min_length = 1, max_length = 200)]
    name: String,
    /// What it is for; `agent` by default.
    #[schema(max_length = 200)]
    role: Option<String>,
    /// `offline` (default), `online`, `idle`, `busy` or `error`.
    status: Option<String>,
    /// The gateway that it belongs to.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
    /// At most 64 KiB. `gateway_config.preferred_gateway` is the id or name of the gateway that its work goes to first.
    /// Everybody with a key can read it: no secrets.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
}

/// What can be changed of an agent; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct AgentFields {
    /// New name.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// New role.
    #[schema(min_length = 1, max_length = 200)]
    role: Option<String>,
    /// New status, until it is heard otherwise.
    status: Option<String>,
    /// New gateway; null for none.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
    /// The whole configuration anew.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// What it did last; null for nothing.
    #[schema(max_length = 1000)]
    last_activity: Option<String>,
}

/// Reads a new agent.
pub fn new_agent(body: &Map<String, Value>) -> Result<NewAgent, ApiError> {
    let mut fields = Fields::new(body);
    if fields.value("name").is_none() {
        fields.missing("name");
    }
    let name = name(&mut fields, "name");
    let role = fields.text("role", 0..=LONGEST_ROLE).filter(|role| !role.is_empty()).map(str::to_owned);
    let status = status(&mut fields);
    let gateway_id = fields.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    let config = config(&mut fields);
    fields.problems.into_result()?;
    let Some(name) = name else {
        return Err(invalid("name is missing"));
    };
    let blank = NewAgent::manual(name);
    Ok(NewAgent {
        role,
        status: status.unwrap_or(blank.status),
        gateway_id,
        config: config.unwrap_or_else(|| blank.config.clone()),
        ..blank
    })
}

/// Reads a change of an agent; it may turn out empty.
pub fn change(body: &Map<String, Value>) -> Result<AgentChange, ApiError> {
    let mut fields = Fields::new(body);
    let name = name(&mut fields, "name");
    let role = fields.text("role", 1..=LONGEST_ROLE).map(str::to_owned);
    let status = status(&mut fields);
    let gateway_id = fields.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    let clears = |name: &str| body.get(name).is_some_and(Value::is_null);
    let config = config(&mut fields);
    let last_activity = fields.text("last_activity", 0..=1000).map(str::to_owned);
    fields.problems.into_result()?;
    Ok(AgentChange {
        name,
        role,
        status,
        gateway_id: gateway_id.map(Some).or(clears("gateway_id").then_some(None)),
        config,
        last_activity: last_activity.map(Some).or(clears("last_activity").then_some(None)),
        ..AgentChange::default()
    })
}

/// An agent's name as somebody wants to give it.
pub fn name(fields: &mut Fields<'_>, field: &str) -> Option<String> {
    let name = fields.text(field, 1..=LONGEST_AGENT_NAME)?;
    if is_like_an_id(name) {
        fields.wrong(field, "must not be digits alone: it would be taken for an id");
        return None;
    }
    Some(name.to_owned())
}

/// What an agent is said to be doing.
pub fn status(fields: &mut Fields<'_>) -> Option<AgentStatus> {
    fields.word("status", &STATUSES).and_then(AgentStatus::from_name)
}

fn config(fields: &mut Fields<'_>) -> Option<Value> {
    let config = fields.object("config")?;
    if let Some(ours) = config.get("gateway_config").filter(|value| !value.is_null()) {
        match ours.as_object() {
            Some(ours) => preferred_gateway(fields, ours),
            None => fields.wrong("config.gateway_config", "must be an object"),
        }
    }
    let config = Value::Object(config.clone());
    if config.to_string().len() > CONFIG {
        fields.wrong("config", format_args!("must have at most {CONFIG} bytes"));
    }
    Some(config)
}

/// The form is checked here; whether there is such a gateway is only worth a warning.
fn preferred_gateway(fields: &mut Fields<'_>, ours: &Map<String, Value>) {
    let Some(value) = ours.get("preferred_gateway").filter(|value| !value.is_null()) else {
        return;
    };
    let is_id = whole_number(value).is_some_and(|id| id > 0);
    let is_name = value.as_str().is_some_and(|name| check_text(name, 1..=200).is_ok());
    if !is_id && !is_name {
        fields.wrong("config.gateway_config.preferred_gateway", "must be the id or the name of a gateway");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_status_of_the_store_can_be_written() {
        assert_eq!(STATUSES, AgentStatus::ALL.map(AgentStatus::as_str));
    }

    #[test]
    fn one_answer_names_every_field_that_is_wrong() {
        let body = json!({"name": "17", "role": 5, "status": "asleep", "gateway_id": "one",
                          "config": {"gateway_config": {"preferred_gateway": []}}});
        let ApiError(failure) = new_agent(&map(body)).unwrap_err();
        for word in ["name must not be digits", "role", "status", "gateway_id", "preferred_gateway"] {
            assert!(failure.message.contains(word), "{}", failure.message);
        }
        assert_eq!(failure.details.unwrap()["fields"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn null_clears_where_there_is_something_to_clear_and_else_counts_as_left_out() {
        let cleared = change(&map(json!({"gateway_id": null, "last_activity": null, "name": null}))).unwrap();
        assert_eq!((cleared.gateway_id, cleared.last_activity.clone()), (Some(None), Some(None)));
        assert_eq!(cleared.name, None);
        assert!(change(&map(json!({"name": null, "colour": "red"}))).unwrap().is_empty());
    }

    #[test]
    fn a_configuration_beyond_its_bound_is_refused() {
        let body = json!({"name": "a", "config": {"notes": "x".repeat(CONFIG)}});
        assert!(new_agent(&map(body)).unwrap_err().0.message.contains("config must have at most"));
    }
}
