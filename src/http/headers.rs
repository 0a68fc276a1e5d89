//! Headers of requests and answers: which hosts are served (against DNS rebinding), which origins may read answers, what browsers
//! may do with them, and the request's id.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use gatewarden_actors::error::{ErrorCode, Failure};

/// Probes of load balancers send names that nobody configured, and are told nothing but a word.
const EXEMPT: [&str; 2] = ["/health", "/ready"];

/// Refuses a request whose `Host` names nothing that is served here.
pub(crate) fn check_host(path: &str, headers: &HeaderMap, allowed: &[String]) -> Result<(), Failure> {
    if EXEMPT.contains(&path) {
        return Ok(());
    }
    let mut hosts = headers.get_all(header::HOST);
    // HTTP/1.0 has none, and no browser speaks that.
    let Some(host) = hosts.next() else {
        return Ok(());
    };
    if hosts.next().is_none() && host.to_str().is_ok_and(|host| is_allowed(host, allowed)) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::MisdirectedRequest, "The Host header names nothing that is served here")
        .with_help("Add the name to http.allowed_hosts in the configuration, or use the IP address."))
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if let Some(literal) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return literal.parse::<Ipv6Addr>().is_ok();
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

/// The origin of a request, if it is one that may read the answer.
pub(crate) fn allowed_origin(request: &ServiceRequest, origins: &[String]) -> Option<HeaderValue> {
    let origin = request.headers().get(header::ORIGIN)?;
    origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Whether this is a browser's question before the real request.
pub(crate) fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

pub(crate) fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, PATCH, DELETE"))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, MCP-Protocol-Version, X-API-Key, \
             X-Gateway-Token, X-Request-Id",
        ))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}

/// Lets that origin read the answer.
pub(crate) fn write_cors(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "ETag, Location, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, X-Ignored-Fields, X-Request-Id",
        ),
    );
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
}

/// Tells caches that the answer depends on who asks; where CORS is configured at all.
pub(crate) fn vary_by_origin(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// For everything that is not a page: nothing may be loaded, run or framed.
const CLOSED: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// For our pages: own scripts only; the API browser styles inline and draws its icons from data URLs.
const PAGES: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

pub(crate) fn is_page(path: &str) -> bool {
    path.starts_with("/docs")
}

/// Headers that keep browsers from doing foolish things with our answers.
pub(crate) fn write_security(is_page: bool, headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    // The dashboard's answers bring a policy of their own, and say what may be stored.
    if headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        return;
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, if is_page { PAGES } else { CLOSED });
    if !is_page {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Names what of a body and a query had no effect, since the route knows no such field.
pub(crate) const IGNORED_FIELDS: HeaderName = HeaderName::from_static("x-ignored-fields");

/// The header, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Draws ids: a random part for this run and a counter.
#[derive(Debug)]
pub(crate) struct RequestIds {
    run: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let mut run = [0_u8; 8];
        // Without randomness ids of two runs look alike, which harms nobody.
        let _ = getrandom::fill(&mut run);
        Self { run: u64::from_le_bytes(run), next: AtomicU64::new(1) }
    }

    pub(crate) fn assign(&self, headers: &HeaderMap) -> HeaderValue {
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

/// 1 to 128 letters, digits and `. _ : -`: nothing that could break a log line or a header.
fn is_sane(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    use actix_web::http::header::HeaderValue;

    fn passes(path: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        check_host(path, &headers, &["localhost".to_owned(), "warden.example.com".to_owned()]).is_ok()
    }

    #[test]
    fn our_names_and_ip_literals_pass_and_others_do_not() {
        for ours in ["localhost:3000", "LOCALHOST", "warden.example.com", "warden.example.com.:443", "127.0.0.1:3000"] {
            assert!(passes("/api/gateways", ours), "{ours}");
        }
        assert!(passes("/api/gateways", "[::1]:3000"));
        for foreign in ["evil.example", "evil.localhost", "localhost.evil", "1.2.3.4.evil", "[evil]", "", "2130706433"]
        {
            assert!(!passes("/api/gateways", foreign), "{foreign}");
        }
    }

    #[test]
    fn probes_pass_with_any_name() {
        for path in EXEMPT {
            assert!(passes(path, "whatever.cluster.local"));
        }
        assert!(!passes("/metrics", "whatever.cluster.local"), "names gateways");
        assert!(passes("/metrics", "10.0.0.1:3000") && passes("/metrics", "localhost:3000"));
        assert!(passes("/api/gateways", "10.0.0.1"));
    }

    #[test]
    fn two_host_headers_are_one_too_many() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(check_host("/api/gateways", &headers, &["localhost".to_owned()]).is_err());
    }

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
