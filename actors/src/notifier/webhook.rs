//! One attempt at delivery: the request, its signature, and what an answer means.

use std::time::Duration;

use bytes::Bytes;
use gatewarden_protocol::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::destination::Destination;
use crate::dialing::{DialFailure, Dialer, HttpReply, HttpRequest};
use crate::machines::notification_outbox::Blame;

/// What the receiver tells duplicates by.
pub const ID_HEADER: &str = "x-gatewarden-id";
/// Unix seconds of this attempt.
pub const TIMESTAMP_HEADER: &str = "x-gatewarden-timestamp";
/// `v1=` and the hex HMAC-SHA256 of timestamp, full stop and body.
pub const SIGNATURE_HEADER: &str = "x-gatewarden-signature";
/// The longest answer, bytes. Nobody reads it; a longer one is no answer of a receiver of webhooks.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why a notification wasn't taken, without the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotTaken {
    /// Whose fault it is.
    pub(super) blame: Blame,
    /// What happened, as a clause.
    pub(super) reason: String,
    /// What to do.
    pub(super) help: &'static str,
    /// When the destination wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// The signature of a body sent at this time.
pub(super) fn signature(secret: &Secret, timestamp_s: i64, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { return String::new() };
    mac.update(timestamp_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// Sends a notification once.
///
/// # Errors
/// It wasn't taken, as far as we know: the destination may have it all the same.
pub(super) async fn send(
    dialer: &dyn Dialer,
    destination: &Destination,
    id: &str,
    body: Bytes,
    timestamp_s: i64,
) -> Result<(), NotTaken> {
    let mut headers = vec![(ID_HEADER, id.to_owned()), (TIMESTAMP_HEADER, timestamp_s.to_string())];
    if let Some(secret) = &destination.secret {
        headers.push((SIGNATURE_HEADER, signature(secret, timestamp_s, &body)));
    }
    let mut request = HttpRequest::post(
        destination.url.address().clone(),
        destination.tls.clone(),
        destination.url.path(),
        body,
        destination.timeout,
        MAX_ANSWER,
    );
    request.headers = headers;
    match dialer.http(request, &dialer.memory().account()).await {
        Ok(HttpReply { status: 200..=299, .. }) => Ok(()),
        Ok(reply) => Err(refused(&reply)),
        Err(failure) => Err(unreached(&failure)),
    }
}

fn refused(reply: &HttpReply) -> NotTaken {
    let status = reply.status;
    let (blame, help) = match status {
        408 | 425 | 429 | 500..=599 => (Blame::Destination, "Look into the receiver's log; it is tried again."),
        401 | 403 => (
            Blame::Notification,
            "Compare secret with the receiver's, its clock with this machine's, and the URL with the one it was given.",
        ),
        300..=399 => (Blame::Notification, "Redirects are not followed: write the URL that it leads to."),
        404 | 405 | 410 => (Blame::Notification, "Check path and query of the URL: nothing takes webhooks there."),
        _ => (Blame::Notification, "The receiver does not want this notification: look into its log."),
    };
    NotTaken { blame, reason: format!("it answered HTTP {status}"), help, retry_after: reply.retry_after }
}

fn unreached(failure: &DialFailure) -> NotTaken {
    let help = match failure {
        DialFailure::ForbiddenAddress { .. } => {
            "Write the receiver's own address: link-local and cloud metadata addresses are never dialled."
        }
        DialFailure::NameNotResolved { .. } => "Check the host in the URL, and the name server of this machine.",
        DialFailure::Refused => "Start the receiver, or correct the port in the URL: nothing listens there.",
        DialFailure::TlsNotTrusted { .. } => "Give the receiver's certificate authority with ca_file.",
        DialFailure::TrustUnusable { .. } => "Correct ca_file, or install certificate authorities on this machine.",
        DialFailure::TlsFailed { .. } => "If the receiver speaks no TLS, write http:// instead of https://.",
        DialFailure::NotHttp { .. } | DialFailure::ReplyTooLarge { .. } => "Check that the URL leads to a web server.",
        _ => "Check that the receiver is up, and that no firewall is in the way.",
    };
    NotTaken { blame: Blame::Destination, reason: failure.to_string(), help, retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16) -> HttpReply {
        HttpReply {
            status,
            content_type: None,
            retry_after: None,
            date_ms: None,
            body: Bytes::new().into(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn the_signature_is_the_one_of_the_documentation() {
        // printf '%s' '1795265517.{"id":"e1-0"}' | openssl dgst -sha256 -hmac 'a-secret-of-ops'
        let signed = signature(&Secret::new("a-secret-of-ops"), 1_795_265_517, br#"{"id":"e1-0"}"#);
        assert_eq!(signed, "v1=d5d631ad02f04329cb4f98122d45bb8ede8eab9ece564435e0c3d1639d73e4b5");
        assert_ne!(signed, signature(&Secret::new("a-secret-of-ops"), 1_795_265_518, br#"{"id":"e1-0"}"#));
        assert_ne!(signed, signature(&Secret::new("another"), 1_795_265_517, br#"{"id":"e1-0"}"#));
    }

    #[test]
    fn a_destination_that_cannot_waits_as_a_whole_and_one_that_will_not_only_with_this_one() {
        for status in [408, 425, 429, 500, 502, 503, 599] {
            assert_eq!(refused(&reply(status)).blame, Blame::Destination, "{status}");
        }
        for status in [301, 308, 400, 401, 403, 404, 410, 422] {
            assert_eq!(refused(&reply(status)).blame, Blame::Notification, "{status}");
        }
        assert_eq!(unreached(&DialFailure::Refused).blame, Blame::Destination);
    }
}
