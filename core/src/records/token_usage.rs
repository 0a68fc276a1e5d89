//! What agents report of their use of tokens.

use serde::Serialize;

/// One report. Numbers outside of 0 to 10^12 are brought into that range when stored; a cost that is no such number is left
/// out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenUsage {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The agent, by name; at most 200 characters are kept, as of all texts here.
    pub agent: String,
    /// The model.
    pub model: String,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// In US dollars, where it was reported.
    pub cost: Option<f64>,
    /// The session, where it was reported; at most 512 characters.
    pub session_key: Option<String>,
    /// How the report came: `heartbeat` or `api`.
    pub source: String,
}

/// A stored report.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRecord {
    /// Grows with each report.
    pub id: i64,
    /// The report.
    #[serde(flatten)]
    pub usage: TokenUsage,
}

/// What an agent used over a time; serializes to `stats` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenStats {
    /// Both together.
    pub total_tokens: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// In US dollars, of the reports that named a cost.
    pub total_cost: f64,
    /// Reports.
    pub request_count: i64,
}
