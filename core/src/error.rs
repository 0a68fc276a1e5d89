//! The one error type: a stable code, a sentence for a person, and what to do about it.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// Stable codes. The HTTP front maps each to a status in one place; `docs/operations.md` lists them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A field, id, header or body is malformed or missing.
    InvalidRequest,
    /// No key, or a wrong one.
    Unauthorized,
    /// The key's role is too small.
    Forbidden,
    /// A cookie-authenticated change that doesn't come from our own pages.
    CrossOrigin,
    /// The `Host` header names nothing that we serve.
    MisdirectedRequest,
    /// No such route.
    NotFound,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// Body larger than allowed.
    PayloadTooLarge,
    /// Body of another type than JSON.
    UnsupportedMediaType,
    /// No gateway has this id.
    GatewayNotFound,
    /// Another gateway, or another agent, has this name.
    NameTaken,
    /// Another gateway is being created at this address right now.
    AddressTaken,
    /// A field is well-formed and means something that can't be (organization API).
    ValidationFailed,
    /// The gateway could not be reached, or went away in the middle (organization API).
    GatewayUnreachable,
    /// The gateway's release is older than the minimum, or can't be told.
    GatewayTooOld,
    /// The configured primary can't be deleted.
    PrimaryUndeletable,
    /// No API key has this id.
    KeyNotFound,
    /// No agent has this id or name.
    AgentNotFound,
    /// No CLI tool's connection has this id, or not with this agent.
    ConnectionNotFound,
    /// The CLI tool's connection was closed or replaced.
    ConnectionEnded,
    /// The address is link-local or a metadata service.
    AddressForbidden,
    /// Too many requests; `Retry-After` says when.
    RateLimited,
    /// The gateway isn't connected or not to be trusted with work.
    GatewayUnavailable,
    /// No gateway can take the request.
    NoUsableGateway,
    /// The gateway refused with words of its own.
    GatewayRefused,
    /// The gateway can't do this at all.
    NotSupportedByGateway,
    /// The gateway didn't answer in time.
    GatewayTimeout,
    /// Too many requests wait for this gateway.
    GatewayBusy,
    /// The database can't take the write or answer the read right now.
    StoreUnavailable,
    /// A change has begun and not ended in time: it goes on to its end, and nobody knows yet which.
    OutcomeUnknown,
    /// The daemon is stopping or an internal queue is full.
    Unavailable,
    /// The idempotency key was used for another request.
    IdempotencyMismatch,
    /// No spawn has this id.
    SpawnNotFound,
    /// No gateway holds this session.
    SessionNotFound,
    /// Several gateways hold a session of this key.
    SessionAmbiguous,
    /// The gateway's record names neither a unit nor a command: it is no process of this machine.
    ProcessNotManaged,
    /// The gateway's process could not be started, stopped or verified.
    ProcessActionFailed,
    /// What is asked for is not built: units of users.
    NotImplemented,
    /// A fault of ours; the cause is in the log.
    Internal,
}

impl ErrorCode {
    /// All codes, for documents and tests.
    pub const ALL: [Self; 39] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::CrossOrigin,
        Self::MisdirectedRequest,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::GatewayNotFound,
        Self::NameTaken,
        Self::AddressTaken,
        Self::ValidationFailed,
        Self::GatewayUnreachable,
        Self::GatewayTooOld,
        Self::PrimaryUndeletable,
        Self::KeyNotFound,
        Self::AgentNotFound,
        Self::ConnectionNotFound,
        Self::ConnectionEnded,
        Self::AddressForbidden,
        Self::RateLimited,
        Self::GatewayUnavailable,
        Self::NoUsableGateway,
        Self::GatewayRefused,
        Self::NotSupportedByGateway,
        Self::GatewayTimeout,
        Self::GatewayBusy,
        Self::StoreUnavailable,
        Self::OutcomeUnknown,
        Self::Unavailable,
        Self::IdempotencyMismatch,
        Self::SpawnNotFound,
        Self::SessionNotFound,
        Self::SessionAmbiguous,
        Self::ProcessNotManaged,
        Self::ProcessActionFailed,
        Self::NotImplemented,
        Self::Internal,
    ];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::CrossOrigin => "cross_origin",
            Self::MisdirectedRequest => "misdirected_request",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::GatewayNotFound => "gateway_not_found",
            Self::NameTaken => "name_taken",
            Self::AddressTaken => "address_taken",
            Self::ValidationFailed => "validation_failed",
            Self::GatewayUnreachable => "gateway_unreachable",
            Self::GatewayTooOld => "gateway_too_old",
            Self::PrimaryUndeletable => "primary_undeletable",
            Self::KeyNotFound => "key_not_found",
            Self::AgentNotFound => "agent_not_found",
            Self::ConnectionNotFound => "connection_not_found",
            Self::ConnectionEnded => "connection_ended",
            Self::AddressForbidden => "address_forbidden",
            Self::RateLimited => "rate_limited",
            Self::GatewayUnavailable => "gateway_unavailable",
            Self::NoUsableGateway => "no_usable_gateway",
            Self::GatewayRefused => "gateway_refused",
            Self::NotSupportedByGateway => "not_supported_by_gateway",
            Self::GatewayTimeout => "gateway_timeout",
            Self::GatewayBusy => "gateway_busy",
            Self::StoreUnavailable => "store_unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Unavailable => "unavailable",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::SpawnNotFound => "spawn_not_found",
            Self::SessionNotFound => "session_not_found",
            Self::SessionAmbiguous => "session_ambiguous",
            Self::ProcessNotManaged => "process_not_managed",
            Self::ProcessActionFailed => "process_action_failed",
            Self::NotImplemented => "not_implemented",
            Self::Internal => "internal",
        }
    }

    /// Reads a name back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

/// A failed request: what a person and a program need to know. The cause of an internal fault is logged where it
/// happens and never carried here.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Stable code.
    pub code: ErrorCode,
    /// One sentence: what happened, to which gateway or field.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Machine-readable details, for instance the offending fields.
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

    /// No agent with this id or name.
    pub fn agent_not_found(id_or_name: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::AgentNotFound, format!("Agent {id_or_name} not found"))
            .with_help("GET /api/agents lists the agents with their ids and names.")
    }

    /// What has begun takes longer than its client should wait. `message` says what.
    pub fn outcome_unknown(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::OutcomeUnknown, message).with_help(
            "It goes on to its end. Read the state before you repeat the request; the audit log tells what came of it.",
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
