//! The one error type: a stable code, a sentence for a person, and what to do about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

gatewarden_protocol::named! {
    /// Stable codes. The HTTP front maps each to a status in one place; `docs/api.md` and `docs/operations.md` list them all.
    pub enum ErrorCode {
        /// A field, id, header or body is malformed or missing.
        InvalidRequest = "invalid_request",
        /// No key, or a wrong one.
        Unauthorized = "unauthorized",
        /// The key's role is too small.
        Forbidden = "forbidden",
        /// A cookie-authenticated change that doesn't come from our own pages.
        CrossOrigin = "cross_origin",
        /// The `Host` header names nothing that we serve.
        MisdirectedRequest = "misdirected_request",
        /// No such route.
        NotFound = "not_found",
        /// The route exists, but not with this method.
        MethodNotAllowed = "method_not_allowed",
        /// Body larger than allowed.
        PayloadTooLarge = "payload_too_large",
        /// Body of another type than JSON.
        UnsupportedMediaType = "unsupported_media_type",
        /// No gateway has this id.
        GatewayNotFound = "gateway_not_found",
        /// Another gateway, or another agent, has this name.
        NameTaken = "name_taken",
        /// Another gateway is being created at this address right now.
        AddressTaken = "address_taken",
        /// A field is well-formed and means something that can't be (organization API).
        ValidationFailed = "validation_failed",
        /// The gateway was changed since the state that `If-Match` names.
        PreconditionFailed = "precondition_failed",
        /// Nothing runs in the session that could be paused or resumed.
        NoActiveRun = "no_active_run",
        /// The gateway could not be reached, or went away in the middle (organization API).
        GatewayUnreachable = "gateway_unreachable",
        /// The gateway's release is older than the minimum, or can't be told.
        GatewayTooOld = "gateway_too_old",
        /// The configured primary can't be deleted.
        PrimaryUndeletable = "primary_undeletable",
        /// No API key has this id.
        KeyNotFound = "key_not_found",
        /// No agent has this id or name.
        AgentNotFound = "agent_not_found",
        /// No CLI tool's connection has this id, or not with this agent.
        ConnectionNotFound = "connection_not_found",
        /// The CLI tool's connection was closed or replaced.
        ConnectionEnded = "connection_ended",
        /// The address is link-local or a metadata service.
        AddressForbidden = "address_forbidden",
        /// Too many requests; `Retry-After` says when.
        RateLimited = "rate_limited",
        /// The gateway isn't connected or not to be trusted with work.
        GatewayUnavailable = "gateway_unavailable",
        /// No gateway can take the request.
        NoUsableGateway = "no_usable_gateway",
        /// The gateway refused with words of its own.
        GatewayRefused = "gateway_refused",
        /// The gateway can't do this at all.
        NotSupportedByGateway = "not_supported_by_gateway",
        /// The gateway didn't answer in time.
        GatewayTimeout = "gateway_timeout",
        /// Too many requests wait for this gateway.
        GatewayBusy = "gateway_busy",
        /// The database can't take the write or answer the read right now.
        StoreUnavailable = "store_unavailable",
        /// A change has begun and not ended in time: it goes on to its end, and nobody knows yet which.
        OutcomeUnknown = "outcome_unknown",
        /// Another node of the cluster acts; this one stands by.
        Standby = "standby",
        /// The node that acts was not reached by the one that was asked; nothing was begun, or it only reads.
        NodeUnreachable = "node_unreachable",
        /// This node has lost the right to act, or can't tell whether it still has it.
        NotActing = "not_acting",
        /// The daemon is stopping or an internal queue is full.
        Unavailable = "unavailable",
        /// The idempotency key was used for another request.
        IdempotencyMismatch = "idempotency_mismatch",
        /// No spawn has this id.
        SpawnNotFound = "spawn_not_found",
        /// No gateway holds this session.
        SessionNotFound = "session_not_found",
        /// Several gateways hold a session of this key.
        SessionAmbiguous = "session_ambiguous",
        /// The gateway's record names neither a unit nor a command: it is no process of this machine.
        ProcessNotManaged = "process_not_managed",
        /// The gateway's process could not be started, stopped or verified.
        ProcessActionFailed = "process_action_failed",
        /// What is asked for is not built: units of users.
        NotImplemented = "not_implemented",
        /// A fault of ours; the cause is in the log.
        Internal = "internal",
    }
}

/// A failed request: what a person and a program need to know. The cause of an internal fault is logged where it
/// happens and never carried here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code.
    pub code: ErrorCode,
    /// One sentence: what happened, to which gateway or field.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Machine-readable details, for instance the offending fields.
    #[serde(default, deserialize_with = "gatewarden_protocol::nested_json::deserialize")]
    pub details: Option<Value>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, details: None, retry_after: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds machine-readable details.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// No gateway with this id.
    pub fn gateway_not_found(id: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::GatewayNotFound, format!("Gateway {id} not found"))
            .with_help("GET /api/gateways lists the registered gateways with their ids.")
    }

    /// A gateway isn't set any more as its would-be changer read it.
    pub fn changed_since(gateway: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorCode::PreconditionFailed,
            format!("Gateway \"{gateway}\" was changed since the state that If-Match names"),
        )
        .with_help("Read it again (GET /api/gateways/{id}), decide anew, and send the ETag of that answer.")
    }

    /// No agent with this id or name.
    pub fn agent_not_found(id_or_name: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::AgentNotFound, format!("Agent {id_or_name} not found"))
            .with_help("GET /api/agents lists the agents with their ids and names.")
    }

    /// What has begun takes longer than its client should wait. `message` says what.
    pub fn outcome_unknown(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::OutcomeUnknown, message).with_help(
            "It goes on to its end. Read the state before you repeat it; the audit log tells what came of it.",
        )
    }

    /// An actor's mailbox is full or closed, or the daemon is stopping.
    pub fn unavailable(what: &str) -> Self {
        Self::new(ErrorCode::Unavailable, format!("The {what} cannot take the request right now"))
            .with_help("Try again in a second; if it stays so, read the daemon's log.")
            .with_retry_after(Duration::from_secs(1))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code.as_str())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_serialises_to_its_own_stable_name() {
        let mut seen = std::collections::HashSet::new();
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), Value::from(code.as_str()));
            assert_eq!(ErrorCode::from_name(code.as_str()), Some(code));
            assert!(seen.insert(code.as_str()));
        }
    }
}
