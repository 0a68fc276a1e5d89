//! What a gateway's actor says to the registry, and what it is told without being asked for an answer.

use std::time::Instant;

use gatewarden_protocol::words;
use serde_json::Value;

use crate::gateway_record::{DeviceToken, SharedRecord};
use crate::gateway_report::{GatewayReport, HealthPoint};
use crate::run::{RunNotice, SharedSessions};

/// What a `Gateway` actor says.
#[derive(Debug, Clone)]
pub enum GatewayNotice {
    /// The report changed (any field).
    Report(Box<GatewayReport>),
    /// One authentication is wanted for `address`; answered with [`AuthPermit`].
    PermitWanted {
        /// The address in its canonical form.
        address: String,
    },
    /// The permitted authentication has ended.
    AuthSettled {
        /// The address in its canonical form.
        address: String,
        /// How.
        result: AuthResult,
    },
    /// The gateway issued a device token: keep it for this address.
    DeviceTokenIssued {
        /// The address in its canonical form.
        address: String,
        /// The token.
        token: DeviceToken,
    },
    /// The gateway rejected the device token: forget it.
    DeviceTokenRejected {
        /// The address in its canonical form.
        address: String,
    },
    /// One point for the health log.
    Health(HealthPoint),
    /// A run that this gateway took moved on.
    Run(RunNotice),
    /// The sessions changed; at most a few times a second.
    Sessions(SharedSessions),
    /// What it says its agents are doing; at most a few times a second, each agent once.
    Agents(Vec<AgentNews>),
}

/// What a gateway says of one of its agents (`agent.status` of document 002).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentNews {
    /// The agent's name there.
    pub name: String,
    /// What it is doing, in the gateway's word.
    pub status: String,
    /// Unix seconds of its last sign of life, where told.
    pub last_seen: Option<i64>,
    /// What it did last, where told.
    pub last_activity: Option<String>,
}

impl AgentNews {
    /// Reads the event's payload; none where it names no agent or no status.
    pub fn read(payload: &Value) -> Option<Self> {
        let text = |name: &str| payload.get(name)?.as_str().map(words::shown).filter(|text| !text.is_empty());
        Some(Self {
            name: text("name")?,
            status: text("status")?,
            last_seen: payload.get("last_seen").and_then(Value::as_i64).filter(|at| *at > 0),
            last_activity: text("last_activity"),
        })
    }
}

/// What the registry tells a gateway's actor, and that its connection.
#[derive(Debug, Clone)]
pub enum GatewayOrder {
    /// The stored record changed. A change of address, credentials, transport, trust or pairing mode reconnects at once; any
    /// other is only taken over.
    Record(SharedRecord),
    /// For an operator: drop the connection and dial now, whatever is waited for.
    Reconnect,
    /// In answer to [`GatewayNotice::PermitWanted`]. One is under way per gateway, so this never piles up.
    Permit(AuthPermit),
    /// The spawn of this run was given up: nothing more is wanted of it.
    ForgetRun(String),
}

/// From the registry, in answer to [`GatewayNotice::PermitWanted`]: whether one authentication may be tried now.
#[derive(Debug, Clone)]
pub enum AuthPermit {
    /// Dial and authenticate; the outcome must be told with [`GatewayNotice::AuthSettled`].
    Granted {
        /// The device token kept for this address, if any.
        device_token: Option<DeviceToken>,
    },
    /// The address has used up its failed authentications; ask again then.
    Denied {
        /// When a permit may be had.
        retry_at: Instant,
    },
}

/// How a permitted authentication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthResult {
    /// The gateway let us in.
    Accepted,
    /// Nothing was tried: the attempt ended before any credential was sent, or with a refusal that is not about them.
    NotFailed,
    /// The gateway refused the credentials.
    Failed,
    /// Credentials were sent and the answer never came: counts as failed, to be safe, until one is accepted.
    Unknown,
}
