//! Requests about one session, passed on to the gateway that holds it.

use std::time::Duration;

use gatewarden_actors::dialing::Held;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::messages::CallGateway;
use gatewarden_protocol::words;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::holder::{self, Holder};
use super::known::KnownSessions;
use crate::http::auth::Caller;
use crate::http::fields::Fields;
use crate::http::front::Front;

/// What a gateway did with one session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionDone {
    /// Always true: what the gateway refuses is an error.
    pub success: bool,
    /// What was done.
    #[schema(example = "kill")]
    pub action: String,
    /// The session's key.
    #[schema(example = "agent:main:main")]
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
    /// What the gateway answered.
    #[schema(value_type = Object)]
    pub result: Value,
}

impl SessionDone {
    /// The answer to a request that the gateway carried out.
    pub fn new(action: &str, session: String, holder: Holder, result: Value) -> Self {
        Self {
            success: true,
            action: action.to_owned(),
            session,
            gateway: holder.name,
            gateway_id: holder.id.0,
            result,
        }
    }
}

/// The gateway that holds a session; `only` where the caller names it.
pub fn holder(front: &Front, key: &str, only: Option<GatewayId>) -> Result<Holder, Failure> {
    let known = KnownSessions::read(&front.app.roster);
    holder::find(&known.sources(), key, only)
}

/// The field `gateway_id` of a body.
pub fn gateway_id(fields: &mut Fields<'_>) -> Option<GatewayId> {
    fields.integer("gateway_id", 1..=i64::MAX).map(GatewayId)
}

/// Asks the gateway. Its reply comes without tokens, and counts as held for the gateway until it is dropped; a reply that says
/// no is a failure.
pub async fn call(front: &Front, holder: &Holder, method: &str, params: Value) -> Result<Held<Value>, Failure> {
    let timeout = front.settings.gateway_timeout;
    let message = CallGateway { target: Some(holder.id), method: method.to_owned(), params, timeout };
    let (_, mut reply) = front.app.registry.call.send(message, deadline(timeout)).await?;
    crate::http::nodes::hide_tokens(&mut reply);
    if reply.get("ok") == Some(&Value::Bool(false)) {
        return Err(said_no(holder, method, &reply));
    }
    Ok(reply)
}

/// How long the registry's answer is waited for: it answers itself when the gateway doesn't.
pub fn deadline(timeout: Duration) -> Duration {
    timeout.saturating_add(Duration::from_secs(1))
}

/// Some replies carry their refusal inside a success.
fn said_no(holder: &Holder, method: &str, reply: &Value) -> Failure {
    let said = ["reason", "error", "message"].iter().find_map(|name| {
        let value = reply.get(*name)?;
        value.as_str().or_else(|| value.get("message")?.as_str())
    });
    Failure::new(
        ErrorCode::GatewayRefused,
        format!("Gateway \"{}\" refused {method}: {}", holder.name, words::shown(said.unwrap_or("it gave no reason"))),
    )
    .with_help("These are the gateway's own words; its log has more.")
}

/// One line for each change: who, what, which session, where.
pub fn log(caller: &Caller, what: &str, session: &str, holder: &Holder) {
    tracing::info!(
        caller.key = caller.key.name,
        caller.role = caller.key.role.as_str(),
        session.key = session,
        gateway.id = holder.id.0,
        gateway.name = holder.name,
        "session: {what}"
    );
}
