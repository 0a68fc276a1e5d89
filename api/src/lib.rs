//! What the REST API takes and gives: one declaration of each request and answer, for the daemon that serves it, the OpenAPI
//! document, and clients. Times are Unix seconds unless a field says otherwise.

pub mod access;
pub mod agents;
pub mod cluster;
pub mod daemon;
pub mod events;
mod fields;
pub mod gateway_record;
pub mod gateways;
pub mod names;
pub mod notifications;
pub mod organization;
pub mod pages;
pub mod request;
pub mod responses;
pub mod rules;
pub mod sessions;
pub mod spawn;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Every error on `/api`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence for a person: what happened, to which gateway or field.
    pub error: String,
    /// Stable code for a program.
    #[schema(value_type = names::ErrorCode, example = "invalid_request")]
    pub code: String,
    /// Machine-readable details, by code; for instance `fields`: a list of offending fields with a sentence each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub details: Option<Value>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// On `/api/v1` the sentence again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
