//! Whether what answers `GET /health` is a gateway: many web servers answer 200 to everything.

use serde_json::Value;

use crate::decoding::{Allowance, decode};
use crate::fields;
use crate::limits::MAX_DECODED_ROW;

/// What a health document says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthDocument {
    /// Whether it says that all is well.
    pub healthy: bool,
    /// Server version (document 004's form).
    pub version: Option<String>,
    /// Age of the server's process in ms.
    pub uptime_ms: Option<u64>,
}

impl HealthDocument {
    /// Reads a body. It is a health document if it is JSON by its type (or has no type), and an object with `ok` and `status: "live"`
    /// (real releases), or with a `status` text and at least one of `version` and `uptime` (document 004), or a `/ready`
    /// document. A page of HTML never is.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Option<Self> {
        if !content_type.is_none_or(is_json) {
            return None;
        }
        let document = decode(body, &mut Allowance(MAX_DECODED_ROW)).ok()?;
        let status = document.get("status").and_then(Value::as_str);
        let ok = fields::flag(&document, &["ok"]);
        let ready = fields::flag(&document, &["ready"]);
        let version = fields::shown(&document, &["version"]);
        let uptime_ms = fields::whole(&document, &["uptimeMs"])
            .or_else(|| fields::whole(&document, &["uptime"]).map(|seconds| seconds.saturating_mul(1_000)));
        let healthy = match (ok, ready, status) {
            (Some(ok), _, Some("live")) => ok,
            (_, Some(ready), _) if document.get("failing").is_some_and(Value::is_array) => ready,
            (_, _, Some(status)) if version.is_some() || uptime_ms.is_some() => {
                matches!(status.to_ascii_lowercase().as_str(), "ok" | "live" | "healthy" | "up" | "ready")
                    && ok != Some(false)
            }
            _ => return None,
        };
        Some(Self { healthy, version, uptime_ms })
    }
}

/// `application/json`, `text/json` or `application/*+json`, with or without parameters.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(kind.as_str(), "application/json" | "text/json")
        || (kind.starts_with("application/") && kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_of_real_releases_and_of_document_004_are_read() {
        let live = HealthDocument::read(Some("application/json; charset=utf-8"), br#"{"ok":true,"status":"live"}"#);
        assert_eq!(live, Some(HealthDocument { healthy: true, version: None, uptime_ms: None }));
        let documented = br#"{"status":"ok","version":"2026.2.19","uptime":3600}"#;
        assert_eq!(
            HealthDocument::read(Some("application/json"), documented),
            Some(HealthDocument { healthy: true, version: Some("2026.2.19".into()), uptime_ms: Some(3_600_000) })
        );
        let starting = br#"{"ready":false,"failing":["startup-sidecars"],"uptimeMs":384}"#;
        assert_eq!(
            HealthDocument::read(Some("application/json"), starting),
            Some(HealthDocument { healthy: false, version: None, uptime_ms: Some(384) })
        );
    }

    #[test]
    fn a_web_page_or_any_other_json_is_no_health_document() {
        let page = b"<!doctype html><title>ok</title>";
        assert_eq!(HealthDocument::read(Some("text/html"), page), None);
        assert_eq!(HealthDocument::read(Some("text/html"), br#"{"ok":true,"status":"live"}"#), None);
        assert_eq!(HealthDocument::read(None, page), None);
        for body in
            ["{}", "[]", "null", "true", r#"{"ok":true}"#, r#"{"status":"ok"}"#, r#"{"status":200,"version":"1"}"#]
        {
            assert_eq!(HealthDocument::read(Some("application/json"), body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_document_that_says_something_is_wrong_is_not_healthy() {
        let failing = br#"{"status":"failing","version":"2026.2.19"}"#;
        assert!(!HealthDocument::read(None, failing).unwrap().healthy);
        assert!(!HealthDocument::read(None, br#"{"ok":false,"status":"live"}"#).unwrap().healthy);
    }
}
