//! Which texts can be the key of a session.

use actix_web::HttpRequest;
use gatewarden_protocol::limits::MAX_NAME;
use serde_json::Value;

use crate::http::error::{ApiError, invalid};
use crate::http::fields::{Fields, kind_of};

/// Keys look like `researcher:main` or `agent:main:telegram:default:user123`: printable text that can't be taken for a path.
/// The sentence that is returned says what is wrong.
pub fn check(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("must not be empty");
    }
    if key.chars().take(MAX_NAME + 1).count() > MAX_NAME {
        return Err("must have at most 512 characters");
    }
    if key.chars().any(char::is_control) {
        return Err("must not contain control characters");
    }
    if key.contains(char::REPLACEMENT_CHARACTER) {
        return Err("must be valid UTF-8");
    }
    if key.contains(['/', '\\']) {
        return Err("must not contain / or \\");
    }
    if key == "." || key.contains("..") {
        return Err("must not be . or contain ..");
    }
    if key.trim().is_empty() {
        return Err("must not be blank");
    }
    Ok(())
}

/// The key in the path, percent-encoded or not.
pub fn of_path(request: &HttpRequest) -> Result<String, ApiError> {
    let text: Option<String> = request.match_info().load().ok();
    let text = text.ok_or_else(|| invalid("The session key in the path is not valid text"))?;
    check(&text).map_err(|what| invalid(format!("The session key {what}")))?;
    Ok(text)
}

/// The field `sessionKey` of a body.
pub fn of_body<'a>(fields: &mut Fields<'a>) -> Option<&'a str> {
    let problem = match fields.value("sessionKey") {
        None => "is missing: give the session key".to_owned(),
        Some(Value::String(key)) => match check(key) {
            Ok(()) => return Some(key),
            Err(what) => format!("is not a session key: it {what}"),
        },
        Some(other) => format!("must be a session key, which is a text, not {}", kind_of(other)),
    };
    fields.wrong("sessionKey", problem);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_real_gateways_pass() {
        for key in
            ["researcher:main", "agent:main:telegram:default:user123", "main", "a b", "ключ", "a.b", &"x".repeat(512)]
        {
            assert_eq!(check(key), Ok(()), "{key}");
        }
    }

    #[test]
    fn a_key_that_could_be_a_path_or_break_a_line_does_not() {
        for key in [
            "",
            " ",
            ".",
            "..",
            "a..b",
            "a/b",
            "/",
            "a\\b",
            "a\nb",
            "a\u{0}",
            "\u{7f}",
            "\u{85}",
            "a\u{fffd}",
            &"x".repeat(513),
        ] {
            assert!(check(key).is_err(), "{key:?}");
        }
    }
}
