//! What a connection machine and whoever dials for it hand each other: requests, answers, failures, and what holds memory.

use std::time::Duration;

use bytes::Bytes;
use gatewarden_protocol::GatewayAddress;
use gatewarden_protocol::health_document::HealthDocument;

use crate::gateway_record::TlsTrust;

pub mod failure;
pub mod memory_budget;

pub use failure::{DialFailure, DialStep, SocketError};
pub use memory_budget::{Held, MemoryAccount, MemoryBudget, MemoryPermit};

/// A WebSocket to open.
#[derive(Debug, Clone)]
pub struct DialRequest {
    /// Where.
    pub address: GatewayAddress,
    /// Whom to trust, where the address says TLS.
    pub tls: TlsTrust,
    /// Budget of all steps together.
    pub timeout: Duration,
    /// An `Origin` header: for control-UI mode only. Real gateways turn on lock-outs when they see one.
    pub origin: Option<String>,
}

/// An HTTP answer.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, lower-case, at most 200 characters.
    pub content_type: Option<String>,
    /// `Retry-After` where it is a number of seconds, at most a day.
    pub retry_after: Option<Duration>,
    /// The answering clock, wall ms, where it tells it (`Date`, to the second).
    pub date_ms: Option<i64>,
    /// The whole body.
    pub body: Held<Bytes>,
    /// From the start of the dial to the body's last byte.
    pub took: Duration,
}

/// What `GET /health` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The document.
    pub document: HealthDocument,
    /// Whether the gateway is well: the document says so, under status 200.
    pub is_healthy: bool,
    /// From the start of the dial to the last byte.
    pub took: Duration,
}

/// Why there is no health document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HealthFailure {
    /// No HTTP answer at all.
    #[error(transparent)]
    Unreached(#[from] DialFailure),
    /// An answer, but no gateway's: many releases serve their web page on `/health`.
    #[error("GET /health was answered with HTTP {status}, but with no health document ({})", content_type.as_deref().unwrap_or("no content type"))]
    NotAHealthDocument {
        /// The status.
        status: u16,
        /// `Content-Type`, lower-case.
        content_type: Option<String>,
    },
}

impl HealthFailure {
    /// The failing step: that of the dial, or `health_document`.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Unreached(failure) => failure.step().as_str(),
            Self::NotAHealthDocument { .. } => "health_document",
        }
    }
}

/// Reads an answer to `GET /health`, under 200 or (a gateway that is not well) 503. The status code alone proves nothing.
///
/// # Errors
/// [`HealthFailure::NotAHealthDocument`].
pub fn read_health(reply: &HttpReply) -> Result<Health, HealthFailure> {
    matches!(reply.status, 200 | 503)
        .then(|| HealthDocument::read(reply.content_type.as_deref(), &reply.body))
        .flatten()
        .map(|document| Health { is_healthy: document.healthy && reply.status == 200, document, took: reply.took })
        .ok_or_else(|| HealthFailure::NotAHealthDocument {
            status: reply.status,
            content_type: reply.content_type.clone(),
        })
}
