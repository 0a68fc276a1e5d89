//! The secret of a webhook: shown as a bearer token, or used to sign the body.

use actix_http::header::HeaderMap;
use gatewarden_protocol::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::credential::same_secret;

/// Where the hex HMAC-SHA256 of the body may stand, alone or after `sha256=`. The second is GitHub's.
const SIGNATURE_HEADERS: [&str; 2] = ["x-signature", "x-hub-signature-256"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Right,
    /// Another secret, or a signature that doesn't hold.
    Wrong,
    Nothing,
    /// The webhook has no secret.
    NotNeeded,
}

/// Looks at a request's bearer token and signature. Where it has both, both must be right.
pub(crate) fn shown(headers: &HeaderMap, bearer: Option<Secret>, secret: Option<&Secret>, body: &[u8]) -> Shown {
    let Some(secret) = secret else { return Shown::NotNeeded };
    let signature = SIGNATURE_HEADERS.iter().find_map(|name| headers.get(*name));
    let token_holds = bearer.map(|token| same_secret(&token, secret));
    let signature_holds = signature.map(|value| value.to_str().is_ok_and(|value| signed(value, secret, body)));
    match (token_holds, signature_holds) {
        _ if secret.is_empty() => Shown::Wrong,
        (None, None) => Shown::Nothing,
        (token, signature) if token != Some(false) && signature != Some(false) => Shown::Right,
        _ => Shown::Wrong,
    }
}

/// Whether a signature is that of the body, in a time that tells nothing of it.
pub(crate) fn signed(value: &str, secret: &Secret, body: &[u8]) -> bool {
    let Ok(signature) = hex::decode(value.trim().trim_start_matches("sha256=")) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { return false };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

#[cfg(test)]
mod tests {
    use actix_http::header::{HeaderName, HeaderValue};

    use super::*;

    const BODY: &[u8] = b"what do ya want for nothing?";
    /// RFC 4231, test case 2: key `Jefe`.
    const SIGNATURE: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    fn with(header: Option<(&'static str, &str)>, bearer: Option<&str>, secret: &str) -> Shown {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        shown(&headers, bearer.map(Secret::new), Some(&Secret::new(secret)), BODY)
    }

    #[test]
    fn a_signature_of_the_body_is_as_good_as_the_secret() {
        assert_eq!(with(Some(("x-signature", SIGNATURE)), None, "Jefe"), Shown::Right);
        assert_eq!(with(Some(("x-signature", &SIGNATURE.to_uppercase())), None, "Jefe"), Shown::Right);
        let github = format!("sha256={SIGNATURE}");
        assert_eq!(with(Some(("x-hub-signature-256", &github)), None, "Jefe"), Shown::Right);
        assert_eq!(with(None, Some("Jefe"), "Jefe"), Shown::Right);
    }

    #[test]
    fn anything_else_is_wrong_or_nothing() {
        assert_eq!(with(None, None, "Jefe"), Shown::Nothing);
        assert_eq!(with(None, Some("jefe"), "Jefe"), Shown::Wrong);
        assert_eq!(with(Some(("x-signature", SIGNATURE)), None, "Other"), Shown::Wrong);
        assert_eq!(with(Some(("x-signature", "")), None, "Jefe"), Shown::Wrong);
        assert_eq!(with(Some(("x-signature", &"ä".repeat(32))), None, "Jefe"), Shown::Wrong);
        assert_eq!(with(Some(("x-signature", SIGNATURE)), Some("wrong"), "Jefe"), Shown::Wrong, "both must hold");
        assert_eq!(with(None, Some(""), ""), Shown::Wrong, "an empty secret opens nothing");
    }
}
