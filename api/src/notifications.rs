//! Notifications, as they are sent to webhooks (`docs/notifications.md`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::events::GatewayOrNone;
use crate::gateways::LastError;
use crate::names::{Condition, ConnectionPhase, HealthStatus, NotificationKind, ProcessState};
use crate::spawn::GatewayName;

/// A failure of a gateway, its end, or a reminder of it. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Notification {
    /// The same for each attempt to deliver it.
    #[schema(example = "9f1c0a6be2d94c0d9e1c8b0f0a3d5e77-0")]
    pub id: String,
    /// What began or goes on, or `recovered`.
    #[schema(value_type = NotificationKind)]
    pub kind: String,
    /// What began, goes on or has ended.
    #[schema(value_type = Condition)]
    pub condition: String,
    /// One line for people.
    #[schema(example = "Gateway production is down.")]
    pub text: String,
    /// When it was sent first.
    pub at_ms: i64,
    /// When the condition began to hold; of a digest, for the first gateway.
    pub began_ms: i64,
    /// When the condition ceased to hold; only of `recovered`.
    pub ended_ms: Option<i64>,
    /// The same for all notifications of one failure, with reminders and end.
    #[schema(example = "9f1c0a6be2d94c0d9e1c8b0f0a3d5e77")]
    pub episode: String,
    /// Counts the notifications of an episode.
    pub sequence: u32,
    /// Whether it goes on for long.
    pub reminder: bool,
    /// Whether the gateway comes and goes.
    pub flapping: bool,
    /// Whether it is withdrawn: the gateway was deleted, or is no longer selected.
    pub removed: bool,
    /// The destination's name.
    #[schema(example = "ops")]
    pub destination: String,
    /// A UUID, the same for all notifications of this installation.
    #[schema(example = "6b0f6c0e-3c1e-4b43-9f0e-0d0c3a1f2b11")]
    pub installation: String,
    /// The gateway; not of `failover`, of `network_doubt` and of a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<NotifiedGateway>,
    /// Of `failover`: the configured primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured: Option<GatewayOrNone>,
    /// Of `failover`: who acts; null for nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<GatewayName>)]
    pub acting: Option<Option<GatewayName>>,
    /// Of `failover` and `network_doubt`: why; null where it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Option<String>>,
    /// Of a digest: how many gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Of a digest: the first twenty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<DigestGateway>>,
}

/// The gateway of a notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotifiedGateway {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// How it is; left out where it was deleted.
    #[serde(flatten)]
    #[schema(value_type = NotifiedState)]
    pub state: Option<NotifiedState>,
}

/// How a gateway is when a notification is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotifiedState {
    /// Its labels.
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
    /// Its status.
    #[schema(value_type = HealthStatus, required = false)]
    pub status: String,
    /// Phase of the connection.
    #[schema(value_type = ConnectionPhase, required = false)]
    pub phase: String,
    /// When the status took its present value.
    #[schema(required = false)]
    pub since_ms: i64,
    /// When it last answered.
    pub last_seen_ms: Option<i64>,
    /// When it is dialled again by itself, if it waits for that.
    pub next_attempt_ms: Option<i64>,
    /// Why it is not online.
    pub error: Option<LastError>,
    /// Its process on this machine, where it is one.
    pub process: Option<NotifiedProcess>,
}

/// A gateway's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotifiedProcess {
    /// Where it is.
    #[schema(value_type = ProcessState)]
    pub state: String,
    /// Restarts that nobody asked for.
    pub restarts: u64,
    /// Why it doesn't run.
    pub reason: Option<String>,
}

/// One gateway of a digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DigestGateway {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The episode of its own, under which its end is sent.
    #[schema(example = "9f1c0a6be2d94c0d9e1c8b0f0a3d5e77")]
    pub episode: String,
    /// Its status; null where it was deleted.
    #[schema(value_type = Option<HealthStatus>)]
    pub status: Option<String>,
    /// Stable code of what is wrong.
    #[schema(example = "connection_refused")]
    pub error: Option<String>,
}
