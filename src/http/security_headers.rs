//! Headers that keep browsers from doing foolish things with our answers.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// For everything that is not a page: nothing may be loaded, run or framed.
const CLOSED: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// For our pages: own scripts only; the API browser styles inline and draws its icons from data URLs.
const PAGES: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// Whether this path is one of our pages.
pub fn is_page(path: &str) -> bool {
    path.starts_with("/docs")
}

/// Adds them to a response.
pub fn write(is_page: bool, headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(header::CONTENT_SECURITY_POLICY, if is_page { PAGES } else { CLOSED });
    if !is_page {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
