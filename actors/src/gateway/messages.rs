//! What the registry sends to a `Gateway` actor, and what that actor says back.

use std::time::{Duration, Instant};

use actix::prelude::*;
use serde_json::Value;

use super::run_messages::RunNotice;
use crate::dialing::Held;
use crate::error::Failure;
use crate::gateway_record::{DeviceToken, SharedRecord};
use crate::gateway_report::{GatewayReport, Status};
use crate::ids::GatewayId;
use crate::run::SharedSessions;

/// From the registry: the stored record changed. A change of address, credentials, transport, trust or pairing mode
/// reconnects at once; any other is only taken over. No reply; a dead actor is started again from the new record.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct UpdateRecord(pub SharedRecord);

/// From the registry, for an operator: drop the connection and dial now, leaving blocked or backoff.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Reconnect;

/// From the registry: check the gateway now. Replies when it is known, at the latest after `timeout`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "ProbeOutcome")]
pub struct Probe {
    /// Budget for all steps together.
    pub timeout: Duration,
}

/// What a probe found. It also feeds the gateway's status.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeOutcome {
    /// Wall ms at the end of the probe.
    pub probed_at_ms: i64,
    /// The report after this probe was taken into account.
    pub report: GatewayReport,
    /// Round trip in ms, where the gateway answered.
    pub latency_ms: Option<f64>,
    /// The step that failed (`resolve`, `connect`, `tls`, `upgrade`, `challenge`, `authenticate`, `request`,
    /// `health_document`), with its words.
    pub failed_step: Option<(String, String)>,
}

/// From the registry: send one request and wait for its (first) reply.
/// Fails with `gateway_unavailable`, `gateway_timeout`, `gateway_refused`, `gateway_busy` or `not_supported_by_gateway`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Held<Value>, Failure>")]
pub struct Call {
    /// Method name on the wire.
    pub method: String,
    /// Its parameters (an object).
    pub params: Value,
    /// Deadline for the reply.
    pub timeout: Duration,
}

/// From the registry: close the socket with a reason, fail what is pending, stop. Replies when done.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct ShutDown;

/// From the registry, in answer to [`GatewayNotice::PermitWanted`]: whether one authentication may be tried now.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
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

/// From a `Gateway` actor to whoever supervises it (the registry; a recorder in tests).
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct FromGateway {
    /// Who says it.
    pub id: GatewayId,
    /// The incarnation that says it: a restarted actor has a higher one, and a late word of the old one is ignored.
    pub incarnation: u64,
    /// What it says.
    pub notice: GatewayNotice,
}

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
}

/// One entry of the health log: a status change, or a fold of the heartbeats of one probe interval.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthPoint {
    /// Wall ms.
    pub at_ms: i64,
    /// Status at that time.
    pub status: Status,
    /// Last latency, ms.
    pub latency_ms: Option<f64>,
    /// Minimum since the previous point.
    pub latency_min_ms: Option<f64>,
    /// Average since the previous point.
    pub latency_avg_ms: Option<f64>,
    /// Maximum since the previous point.
    pub latency_max_ms: Option<f64>,
    /// Heartbeats missed since the previous point.
    pub misses: u32,
    /// The sentence of the problem, if any.
    pub error: Option<String>,
}
