//! The shared credential: the token or the password that everybody who is trusted knows.

use gatewarden_protocol::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::refusals::Unauthorized;
use crate::config::Auth;

/// Whether two secrets are the same, in a time that tells nothing of them (their lengths neither: hashes are compared).
pub(super) fn same(one: &Secret, other: &Secret) -> bool {
    let (one, other) = (Sha256::digest(one.expose()), Sha256::digest(other.expose()));
    bool::from(one.as_slice().ct_eq(other.as_slice()))
}

/// Checks what was shown as a shared credential. From protocol 4 on it may stand in either field. The success is
/// `auth.method` of the hello.
pub(super) fn check(
    auth: &Auth,
    token: Option<&Secret>,
    password: Option<&Secret>,
    protocol: u32,
) -> Result<&'static str, Unauthorized> {
    let either = |first: Option<&Secret>, second: Option<&Secret>, expected: &Secret| {
        let second = second.filter(|_| protocol >= 4);
        match (first, second) {
            (None, None) => None,
            (first, second) => {
                Some(first.is_some_and(|it| same(it, expected)) | second.is_some_and(|it| same(it, expected)))
            }
        }
    };
    match auth {
        Auth::None => Ok("none"),
        Auth::Token(expected) => match either(token, password, expected) {
            Some(true) => Ok("token"),
            Some(false) => Err(Unauthorized::TokenMismatch),
            None => Err(Unauthorized::TokenMissing),
        },
        Auth::Password(expected) => match either(password, token, expected) {
            Some(true) => Ok("password"),
            Some(false) => Err(Unauthorized::PasswordMismatch),
            None => Err(Unauthorized::PasswordMissing),
        },
    }
}
