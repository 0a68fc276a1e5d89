//! Whether an API key lets its holder in: on the node that acts and on one that stands by.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use gatewarden_actors::error::{ErrorCode, Failure};

use super::error::ApiError;
use super::keyring::{KeyHolder, Keyring};
use super::limits::Limits;
use super::peer;
use super::settings::Network;

/// What keys are checked against.
pub(crate) struct Door<'a> {
    pub(crate) keys: &'a Keyring,
    pub(crate) limits: &'a Limits,
    pub(crate) trusted_proxies: &'a [Network],
    pub(crate) now_s: i64,
}

impl Door<'_> {
    /// The holder of the key in a request's header.
    pub(crate) fn check_header(&self, request: &HttpRequest) -> Result<Arc<KeyHolder>, ApiError> {
        let presented = presented_key(request.headers()).ok_or_else(no_key)?;
        self.check(request, presented)
    }

    /// The holder of this key.
    pub(crate) fn check(&self, request: &HttpRequest, presented: &str) -> Result<Arc<KeyHolder>, ApiError> {
        self.keys.verify(presented, self.now_s).ok_or_else(|| self.wrong_key(request))
    }

    /// What a wrong key is answered: 401, or 429 where the address has tried too many.
    fn wrong_key(&self, request: &HttpRequest) -> ApiError {
        peer::mark_unknown(request);
        let address = peer::client_address(request, self.trusted_proxies);
        if let Err(failure) = self.limits.wrong_key(address).settle(request) {
            return failure.into();
        }
        // At most as often as the limit on wrong keys lets pass.
        tracing::info!(
            client.address = address.map(tracing::field::display),
            http.route = request.match_pattern().unwrap_or_default(),
            "a request came with a wrong API key"
        );
        ApiError(
            Failure::new(ErrorCode::Unauthorized, "The API key is wrong, expired or revoked")
                .with_help("Send a good key in the header X-API-Key, or as Authorization: Bearer <key>."),
        )
    }
}

/// The bytes after `X-API-Key` or `Authorization: Bearer`. A header that is no text presents a key that can't be right.
pub(crate) fn presented_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get("x-api-key") {
        return Some(value.to_str().unwrap_or_default().trim());
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
    Some(if scheme.eq_ignore_ascii_case("bearer") { key.trim() } else { "" })
}

pub(crate) fn no_key() -> ApiError {
    ApiError(
        Failure::new(ErrorCode::Unauthorized, "An API key is needed")
            .with_help("Send it in the header X-API-Key, or as Authorization: Bearer <key>."),
    )
}
