//! The main agent of a gateway, found or made there; nothing is recorded here.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::GatewayRecord;
use gatewarden_actors::registry::messages::CallGateway;
use gatewarden_actors::store::records::MainAgent;
use serde_json::json;

use crate::http::front::Front;
use crate::http::sessions::passing::deadline;

/// The main agent as the gateway has it now.
pub async fn provision_main_agent(front: &Front, record: &GatewayRecord) -> Result<MainAgent, Failure> {
    let timeout = front.settings.gateway_timeout;
    let message = CallGateway { target: Some(record.id), method: "agents.list".to_owned(), params: json!({}), timeout };
    let (_, reply) = front.app.registry.call.send(message, deadline(timeout)).await?;
    let id = reply.get("defaultId").and_then(serde_json::Value::as_str).ok_or_else(|| {
        Failure::new(ErrorCode::GatewayRefused, format!("Gateway \"{}\" names no default agent", record.name))
    })?;
    Ok(MainAgent { agent_id: id.to_owned(), role: None, config: json!({"id": id}) })
}
