//! A call, and what it is answered with: a payload, or an error worded as real gateways word theirs.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::caller::{Caller, ConnectionId, Scope};
use crate::payload::without_nulls;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReplyTo {
    pub connection: ConnectionId,
    /// The request's id as sent; none in the `rpc` dialect, where it may be missing.
    pub request: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub caller: Arc<Caller>,
    pub request: Option<String>,
    pub method: String,
    /// With what; always an object (missing parameters are an empty one).
    pub params: Value,
}

impl Call {
    pub(crate) fn reply_to(&self) -> ReplyTo {
        ReplyTo { connection: self.caller.connection, request: self.request.clone() }
    }
}

/// An error on the wire: `{"code","message","details"?,"retryable"?,"retryAfterMs"?}`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    /// `INVALID_REQUEST`, `UNAVAILABLE`, `NOT_PAIRED`, `FORBIDDEN`: the codes of real releases.
    pub code: &'static str,
    /// A sentence: what happened and, where it isn't plain, what to do.
    pub message: String,
    /// Machine-readable details; null for none. `details.code` is the finest code.
    pub details: Value,
    /// When to try again, in ms; implies `retryable: true`.
    pub retry_after_ms: Option<u64>,
}

impl CallError {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: "INVALID_REQUEST", message: message.into(), details: Value::Null, retry_after_ms: None }
    }

    /// Not now, or not possible here: the gateway's state or the operating system stands in the way.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: "UNAVAILABLE", message: message.into(), details: Value::Null, retry_after_ms: None }
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { code: "FORBIDDEN", message: message.into(), details: Value::Null, retry_after_ms: None }
    }

    /// No such method (the sentence that clients recognise).
    pub fn unknown_method(method: &str) -> Self {
        Self::invalid(format!("unknown method: {}", method.chars().take(200).collect::<String>()))
    }

    /// A scope is missing: protocol 4's form; protocol 3 clients read the sentence.
    pub(crate) fn missing_scope(scope: Scope) -> Self {
        Self::missing_scope_named(scope.as_str())
    }

    pub(crate) fn missing_scope_named(name: &str) -> Self {
        Self::forbidden(format!("missing scope: {name}"))
            .with_details(json!({"code": "MISSING_SCOPE", "missingScope": name, "requiredScopes": [name]}))
    }

    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// The same with a time to try again.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    pub fn to_value(&self) -> Value {
        without_nulls(json!({
            "code": self.code,
            "message": self.message,
            "details": self.details,
            "retryable": self.retry_after_ms.map(|_| true),
            "retryAfterMs": self.retry_after_ms,
        }))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Payload(Value),
    /// Not at once: the method has kept the call's [`ReplyTo`] and responds through
    /// [`crate::turn::Turn::respond`] later (or more than once, as `agent` does).
    Later,
}

impl From<Value> for Answer {
    fn from(payload: Value) -> Self {
        Self::Payload(payload)
    }
}

pub(crate) type Outcome = Result<Answer, CallError>;
