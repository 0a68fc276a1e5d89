//! Requests that are passed on to a gateway.

use std::time::Duration;

use gatewarden_actors::dialing::Held;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::messages::{Answered, CallGateway};
use gatewarden_protocol::words;
use serde_json::Value;

use super::context::AppContext;

/// A gateway, named for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedGateway {
    pub(crate) id: GatewayId,
    pub(crate) name: String,
}

impl AppContext {
    /// Asks a gateway, or the acting primary. The reply counts as held for the gateway until it is dropped.
    pub(crate) async fn call_gateway(
        &self,
        target: Option<GatewayId>,
        method: &str,
        params: Value,
    ) -> Result<Answered, Failure> {
        let message = CallGateway { target, method: method.to_owned(), params, timeout: self.settings.gateway_timeout };
        let reply = async {
            match message.straight(&self.roster) {
                Ok(reply) => reply.await,
                Err(message) => self.registry.call.pass_on(message).await,
            }
        };
        self.registry.call.carry(reply, self.gateway_patience()).await
    }

    /// How long the answer is waited for: that there is none comes from whoever asks the gateway's actor, before this.
    pub(crate) fn gateway_patience(&self) -> Duration {
        self.settings.gateway_timeout.saturating_add(Duration::from_secs(1))
    }

    /// Asks a gateway for what may be shown: its reply comes without tokens, and one that says no is a failure.
    pub(crate) async fn ask_gateway(
        &self,
        of: &NamedGateway,
        method: &str,
        params: Value,
    ) -> Result<Held<Value>, Failure> {
        let (_, mut reply) = self.call_gateway(Some(of.id), method, params).await?;
        hide_tokens(&mut reply);
        if reply.get("ok") == Some(&Value::Bool(false)) {
            return Err(said_no(of, method, &reply));
        }
        Ok(reply)
    }
}

/// Some replies carry their refusal inside a success.
fn said_no(of: &NamedGateway, method: &str, reply: &Value) -> Failure {
    let said = ["reason", "error", "message"].iter().find_map(|name| {
        let value = reply.get(*name)?;
        value.as_str().or_else(|| value.get("message")?.as_str())
    });
    Failure::new(
        ErrorCode::GatewayRefused,
        format!("Gateway \"{}\" refused {method}: {}", of.name, words::shown(said.unwrap_or("it gave no reason"))),
    )
    .with_help("These are the gateway's own words; its log has more.")
}

/// Reads never show a token, whatever a gateway puts into its rows.
pub(crate) fn hide_tokens(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| {
                !(value.is_string() && matches!(name.as_str(), "token" | "deviceToken" | "bootstrapToken" | "password"))
            });
            map.values_mut().for_each(hide_tokens);
        }
        Value::Array(values) => values.iter_mut().for_each(hide_tokens),
        _ => {}
    }
}
