//! HTTP answers to a WebSocket upgrade other than 101, read as reasons.

use serde_json::Value;

use super::{Refusal, RefusalCode};
use crate::words;

/// What an answer other than 101 means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeAnswer {
    /// There is no WebSocket here, but the `http` dialect may be: try it where it is allowed. Where it isn't, or fails
    /// too, this is the refusal.
    TryHttp(Refusal),
    /// The answer is a refusal.
    Refused(Refusal),
}

/// Reads an answer. `location` and `retry_after_s` are headers; `body` may be cut off anywhere.
pub fn classify_upgrade(status: u16, location: Option<&str>, retry_after_s: Option<u64>, body: &[u8]) -> UpgradeAnswer {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let said = words_of(status, &document);
    let code = match status {
        200 | 404 | 405 | 426 | 501 => return UpgradeAnswer::TryHttp(Refusal::new(RefusalCode::NotAGateway, &said)),
        300..=399 => {
            let target = location.unwrap_or("nowhere");
            return UpgradeAnswer::Refused(Refusal::new(
                RefusalCode::Redirected,
                &format!("HTTP {status} to {}", without_query(target)),
            ));
        }
        401 | 407 => RefusalCode::Unauthorized,
        403 if kind_of(&document) == Some("proxy_attribution_required") => RefusalCode::ProxyAttributionRequired,
        403 => RefusalCode::UpgradeForbidden,
        429 => RefusalCode::RateLimited,
        503 if is_starting(&document) => RefusalCode::GatewayStarting,
        500..=599 => RefusalCode::GatewayError,
        _ => RefusalCode::NotAGateway,
    };
    let retry_after_ms = retry_after_s.map(|seconds| seconds.saturating_mul(1_000));
    UpgradeAnswer::Refused(Refusal::new(code, &said).with_retry_after_ms(retry_after_ms))
}

/// Reads a failed answer to a request of the `http` dialect. `token_sent` is whether the request carried a token.
pub fn classify_http_reply(status: u16, retry_after_s: Option<u64>, body: &[u8], token_sent: bool) -> Refusal {
    let refused = match classify_upgrade(status, None, retry_after_s, body) {
        UpgradeAnswer::TryHttp(refusal) | UpgradeAnswer::Refused(refusal) => refusal,
    };
    if status != 401 {
        return refused;
    }
    let code = if token_sent { RefusalCode::TokenMismatch } else { RefusalCode::TokenMissing };
    Refusal { words: refused.words, ..Refusal::new(code, "") }
}

fn kind_of(document: &Value) -> Option<&str> {
    document.get("error")?.get("type")?.as_str()
}

/// `GET /ready` of protocol 4, and what its WebSocket says while it starts.
fn is_starting(document: &Value) -> bool {
    document.get("ready") == Some(&Value::Bool(false)) || document.to_string().contains("gateway starting")
}

fn words_of(status: u16, document: &Value) -> String {
    let error = document.get("error");
    let sentence = error
        .and_then(|error| error.get("message").unwrap_or(error).as_str())
        .or_else(|| document.get("message").and_then(Value::as_str))
        .map(words::shown);
    match sentence {
        Some(sentence) if !sentence.is_empty() => format!("HTTP {status}: {sentence}"),
        _ => format!("HTTP {status}"),
    }
}

/// A redirect's target may carry a secret in its query: never shown.
fn without_query(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}
