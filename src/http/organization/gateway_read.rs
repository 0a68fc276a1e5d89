//! A gateway as the organization API shows it. A token never gets in here.

use gatewarden_actors::gateway_record::{GatewayRecord, TlsTrust};
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_protocol::{GatewayAddress, wall_time};
use serde::Serialize;
use utoipa::ToSchema;

/// A gateway. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GatewayRead {
    /// A UUID; the same as `uuid` in `/api/gateways`.
    #[schema(example = "55cc268a-4b45-400f-accf-201e025232ac")]
    pub id: String,
    /// A UUID, the same for all gateways of this installation.
    pub organization_id: String,
    /// Unique.
    #[schema(example = "Production Gateway")]
    pub name: String,
    /// `ws://` or `wss://`, as given, without a token.
    #[schema(example = "ws://gateway-host:18789")]
    pub url: String,
    /// Where the gateway's host keeps the workspaces of agents; empty where the gateway was registered without one.
    #[schema(example = "/home/ubuntu/.openclaw/workspaces")]
    pub workspace_root: String,
    /// The main agent, by its id on the gateway; null where none was provisioned.
    #[schema(example = "main")]
    pub gateway_agent_id: Option<String>,
    /// Whether any TLS certificate is taken.
    pub allow_insecure_tls: bool,
    /// Control-UI mode without a device.
    pub disable_device_pairing: bool,
    /// Whether a token is set. The token itself is never shown.
    pub token_set: bool,
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    #[schema(example = "online")]
    pub status: String,
    /// The gateway's release, where known.
    pub version: Option<String>,
    /// When it was registered.
    #[schema(example = "2026-03-05T10:30:00Z")]
    pub created_at: String,
    /// When what an operator sets was last changed.
    #[schema(example = "2026-03-05T10:30:00Z")]
    pub updated_at: String,
    /// Worth knowing: the same address is registered twice, or the main agent could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl GatewayRead {
    /// What a view shows.
    pub fn of(view: &GatewayView, organization_id: &str) -> Self {
        let record = &view.record;
        Self {
            id: record.uuid.clone(),
            organization_id: organization_id.to_owned(),
            name: record.name.clone(),
            url: url_of(record),
            workspace_root: record.workspace_root.clone().unwrap_or_default(),
            gateway_agent_id: record.gateway_agent_id.clone(),
            allow_insecure_tls: record.tls == TlsTrust::None,
            disable_device_pairing: record.disable_device_pairing,
            token_set: record.token.is_some(),
            status: view.report.status.as_str().to_owned(),
            version: view.report.version.clone(),
            created_at: wall_time::of_seconds(record.created_at),
            updated_at: wall_time::of_seconds(record.updated_at),
            warning: None,
        }
    }
}

/// The URL of a gateway: as it was given where it was a ws or wss URL that says everything, else made of host and port.
pub fn url_of(record: &GatewayRecord) -> String {
    let Ok(parsed) = GatewayAddress::parse(&record.host, Some(record.port)) else {
        return format!("ws://{}:{}", record.host, record.port);
    };
    let says_all = GatewayAddress::parse(&record.host, None).is_ok_and(|alone| alone.port() == record.port);
    if says_all && is_ws_url(&record.host) { record.host.clone() } else { parsed.address.dial_url() }
}

/// Whether a text begins like a WebSocket URL.
pub fn is_ws_url(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss"))
}

#[cfg(test)]
mod tests {
    use super::is_ws_url;

    #[test]
    fn only_ws_and_wss_are_websocket_urls() {
        for (text, is) in [("ws://a", true), ("WSS://a:1", true), ("http://a", false), ("wss:/a", false), ("a", false)]
        {
            assert_eq!(is_ws_url(text), is, "{text}");
        }
    }
}
