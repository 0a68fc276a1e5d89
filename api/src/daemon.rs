//! The daemon itself, its device, and the devices of gateways.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::names::HealthStatus;
use crate::request::{Rule, request};
use crate::rules::{action, check_text, id, over, text, texts};

/// Proof of life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: String,
    /// Release.
    pub version: String,
    /// Seconds since the start.
    pub uptime: u64,
}

/// Ready for requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Always true; otherwise the answer is a 503.
    pub ready: bool,
}

/// The daemon's own state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DaemonStatus {
    /// `ok`, or `degraded` while the store or the registry fails or the daemon doubts its own network.
    #[schema(example = "ok")]
    pub status: String,
    /// Release.
    pub version: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// Whether `/ready` says so.
    pub ready: bool,
    /// The configured primary.
    pub primary: Option<PrimaryStatus>,
    /// Who acts as primary.
    pub acting_primary: Option<ActingPrimaryStatus>,
    /// Gateways.
    pub gateways: GatewayCounts,
    /// Active sessions on all gateways.
    pub sessions: i64,
    /// The store.
    pub store: StoreStatus,
    /// The registry.
    pub registry: RegistryStatus,
    /// Why the daemon doubts its own network, while it does.
    pub self_doubt: Option<String>,
}

/// The configured primary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PrimaryStatus {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its status.
    #[schema(value_type = HealthStatus)]
    pub status: String,
}

/// The acting primary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActingPrimaryStatus {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Why it acts.
    pub reason: String,
    /// Unix seconds at which that ends by itself: when a configured primary that is back takes over, or is no longer held down.
    #[serde(default)]
    pub until: Option<i64>,
}

/// How many gateways there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayCounts {
    /// All.
    pub total: usize,
    /// By status; every status is there.
    #[schema(example = json!({"online": 3, "degraded": 0, "timeout": 0, "offline": 1, "unknown": 0}))]
    pub by_status: BTreeMap<String, usize>,
}

/// State of the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoreStatus {
    /// Whether its writer answers, and the last write worked.
    pub ok: bool,
    /// Writes admitted and not finished.
    pub writer_queue: usize,
    /// Reads admitted and not finished.
    pub reader_queue: usize,
    /// What is wrong.
    pub error: Option<String>,
}

/// State of the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RegistryStatus {
    /// Whether it runs.
    pub ok: bool,
    /// Requests from HTTP that wait for it.
    pub in_flight: usize,
}

/// The public half of the device identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// Lowercase hex SHA-256 of the raw public key: what gateways list.
    pub device_id: String,
    /// Raw Ed25519 public key, base64url without padding.
    pub public_key: String,
}

/// Nodes (`action=list`) or devices (`action=devices`) of a gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodesAnswer {
    /// With `action=list`: the gateway's nodes, as it describes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub nodes: Option<Vec<Value>>,
    /// With `action=devices`: paired devices, as the gateway describes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub devices: Option<Vec<Value>>,
    /// With `action=devices`: requests that wait for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub pending: Option<Vec<Value>>,
    /// The gateway that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<i64>,
    /// False where the gateway could not be asked; then the lists are empty.
    pub available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the gateway did.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodesDone {
    /// Always true.
    pub success: bool,
    /// The action.
    pub action: String,
    /// The gateway that did it.
    pub gateway_id: i64,
    /// Its answer, in its form. After rotate-token it holds the device's new token, this once.
    #[schema(value_type = Object)]
    pub result: Value,
}

const OF_A_TOKEN: [&str; 2] = ["rotate-token", "revoke-token"];

request! {
    /// A decision on a device.
    NodesBody {
        /// `approve`, `reject`, `rotate-token` or `revoke-token`.
        action: String = action(
            &["approve", "reject", "rotate-token", "revoke-token"],
            "Invalid action: it must be approve, reject, rotate-token or revoke-token",
        ) => "approve";
        /// With approve and reject.
        request_id "requestId": Option<String> = with(&["approve", "reject"], true, text(1..=200));
        /// With rotate-token and revoke-token.
        device_id "deviceId": Option<String> = with(&OF_A_TOKEN, true, text(1..=200));
        /// With rotate-token and revoke-token: whose token; `operator` by default.
        role: Option<String> = with(&OF_A_TOKEN, false, text(1..=100));
        /// With rotate-token: scopes of the new token; as before by default.
        scopes: Option<Vec<String>> = with(
            &OF_A_TOKEN,
            false,
            texts(50, |scope| check_text(scope, 1..=100).is_ok(), "must be at most 50 texts"),
        );
        /// The gateway; else the acting primary.
        gateway_id: Option<i64> = id();
    }
    /// What of a gateway is wanted.
    NodesQuery {
        /// list (default) or devices
        action: Option<String> = action(&["list", "devices"], "Unknown action: it must be list or devices");
        /// The gateway; else the acting primary
        gateway_id: Option<i64> = id();
    }
}

/// A field that counts with these actions only, and may be needed there.
fn with<R: Rule>(actions: &'static [&'static str], is_needed: bool, rule: R) -> impl Rule<Out = R::Out> {
    over(rule, move |rule, fields, name| {
        let action = fields.value("action").and_then(Value::as_str).unwrap_or_default();
        if !actions.contains(&action) {
            return None;
        }
        if is_needed && fields.value(name).is_none() {
            rule.note_missing(fields, name);
        }
        rule.read(fields, name)
    })
}
