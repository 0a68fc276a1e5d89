//! Every request has an id: the caller's, if it sent a sane one, else one of ours. It is in the answer and in the log.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Draws ids: a random part for this run and a counter.
#[derive(Debug)]
pub struct RequestIds {
    run: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of a new run.
    pub fn new() -> Self {
        let mut run = [0_u8; 8];
        // Without randomness ids of two runs look alike, which harms nobody.
        let _ = getrandom::fill(&mut run);
        Self { run: u64::from_le_bytes(run), next: AtomicU64::new(1) }
    }

    /// The id of a request with these headers.
    pub fn assign(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(value) = headers.get(REQUEST_ID)
            && is_sane(value.as_bytes())
        {
            return value.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Digits and a hyphen are always a header value.
        HeaderValue::try_from(format!("{:016x}-{number}", self.run)).unwrap_or(HeaderValue::from_static("0"))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// 1 to 128 letters, digits and `. _ : -`: nothing that could break a log line or a header.
fn is_sane(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(sent: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(sent) = sent {
            headers.insert(REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        }
        RequestIds::new().assign(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_sane_id_is_kept_and_another_is_replaced() {
        assert_eq!(assigned(Some("req-1.a:b_c")), "req-1.a:b_c");
        for strange in ["", "a b", "<script>", "\"", &"x".repeat(129)] {
            assert_ne!(assigned(Some(strange)), strange);
        }
        assert!(!assigned(None).is_empty());
    }

    #[test]
    fn two_requests_have_two_ids() {
        let ids = RequestIds::new();
        assert_ne!(ids.assign(&HeaderMap::new()), ids.assign(&HeaderMap::new()));
    }
}
