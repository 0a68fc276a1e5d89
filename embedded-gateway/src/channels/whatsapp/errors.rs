//! What the Graph API says where something doesn't work, by its codes: what that means for a request, and what helps.

use gatewarden_protocol::{Secret, words};
use serde_json::Value;

use super::Fault;

/// Longest text of the service that is shown, in characters.
const SAID: usize = 240;

const NEW_TOKEN: &str = "Make an access token of a system user that may use the business account (permission \
    whatsapp_business_messaging), write it to cloudApi.accessToken or accessTokenFile and reload the configuration";
const WRITES_FIRST: &str = "the person has to write first: for 24 hours from then on answers are taken";

/// Whether a body is an error in the words of the Graph API: then nothing was done.
pub(super) fn is_graph_error(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|answer| answer.pointer("/error/code").is_some())
}

/// What an answer says.
pub(super) fn answer(status: u16, body: &[u8], token: &Secret) -> Result<Value, Fault> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = answer.get("error").filter(|error| error.is_object());
    match (status, error) {
        (200..=299, None) if answer.is_object() => Ok(answer),
        (200..=299, None) => Err(Fault::Trouble("its answer is none of the Graph API".to_owned())),
        (_, Some(error)) => Err(fault(status, error, token)),
        (401 | 403, None) => Err(Fault::Setup(format!("HTTP {status} without a reason"), NEW_TOKEN)),
        (404, None) => Err(Fault::Setup("HTTP 404: there is no Graph API".to_owned(), "Check cloudApi.apiRoot")),
        (429, None) => Err(Fault::Slow(0)),
        (400..=499, None) => Err(Fault::Refused(format!("HTTP {status}"))),
        _ => Err(Fault::Trouble(format!("HTTP {status}"))),
    }
}

fn fault(status: u16, error: &Value, token: &Secret) -> Fault {
    let code = code_of(error);
    let said = in_words(error, token);
    match code {
        // The token has ended, was taken back, or is none.
        0 | 102 | 190 | 463 | 467 => Fault::Setup(format!("the access token isn't accepted {said}"), NEW_TOKEN),
        3 | 10 | 200..=299 => Fault::Setup(format!("the access token may not do this {said}"), NEW_TOKEN),
        131_005 => Fault::Setup(format!("the access token may not do this {said}"), NEW_TOKEN),
        368 | 130_497 | 131_031 => Fault::Setup(
            format!("the business account is locked {said}"),
            "Look at the account's quality and restrictions in the WhatsApp Manager",
        ),
        131_042 => Fault::Setup(
            format!("the business account can't pay {said}"),
            "Correct its means of payment in the WhatsApp Manager",
        ),
        133_010 => Fault::Setup(
            format!("the phone number isn't registered {said}"),
            "Register it for the Cloud API (POST /PHONE_NUMBER_ID/register, or the app's page \"API Setup\")",
        ),
        // The path has the number's id: who can't see it gets the same code as for one that doesn't exist.
        100 if said.contains("does not exist") || said.contains("nonexisting") => Fault::Setup(
            format!("there is no such phone number for this token {said}"),
            "Check cloudApi.phoneNumberId (it isn't the number itself), and that the token's user may use its business account",
        ),
        4 | 80_007 | 130_429 | 131_048 | 131_056 | 131_057 | 133_016 => Fault::Slow(0),
        1 | 2 | 131_000 | 131_016 | 133_004 => Fault::Trouble(said),
        _ if status >= 500 => Fault::Trouble(said),
        _ if status == 429 => Fault::Slow(0),
        code => Fault::Refused(match cure_of(code) {
            Some(cure) => format!("{said}; {cure}"),
            None => said,
        }),
    }
}

fn code_of(error: &Value) -> i64 {
    let code = error.get("code");
    // Some services between write it as a text.
    code.and_then(Value::as_i64).or_else(|| code?.as_str()?.parse().ok()).unwrap_or(-1)
}

/// What helps where a message couldn't be delivered.
fn cure_of(code: i64) -> Option<&'static str> {
    Some(match code {
        131_047 | 470 => WRITES_FIRST,
        131_026 => {
            "the number may have no WhatsApp, an old version of it, or hasn't accepted its terms; ask the person to write first"
        }
        131_030 => {
            "a test number writes only to numbers that are listed at the app's page \"API Setup\": add this one there"
        }
        131_049 | 131_050 => "WhatsApp holds messages to this person back; wait until the person writes",
        131_021 => "sender and receiver are the same number",
        130_472 => "the person is part of an experiment of WhatsApp, and gets no such messages until writing first",
        131_048 | 131_056 | 130_429 => "WhatsApp limits how much may be sent; less at a time",
        131_042 => "correct the business account's means of payment in the WhatsApp Manager",
        _ => return None,
    })
}

/// Code, title and details, without the token.
fn in_words(error: &Value, token: &Secret) -> String {
    let text = |at: &str| error.pointer(at).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let title = text("/message").or(text("/title")).unwrap_or("no reason is given");
    let details = text("/error_data/details").filter(|details| *details != title);
    let said = [Some(title), details].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let said = if token.is_empty() { said } else { said.replace(token.expose(), "[token]") };
    let said: String = said.chars().take(SAID).collect();
    format!("({}: {})", code_of(error), words::shown(&said).trim_end())
}

/// A message that was accepted and then couldn't be delivered, for the log. `errors`: of its status.
pub(super) fn undelivered(person: &str, errors: Option<&Value>) -> String {
    let error = errors.and_then(|errors| errors.get(0)).cloned().unwrap_or_default();
    let said = in_words(&error, &Secret::new(""));
    let cure = cure_of(code_of(&error)).map_or_else(String::new, |cure| format!("; {cure}"));
    format!("an answer to {} wasn't delivered {said}{cure}", words::shown(person))
}

/// A fault that the service tells by itself, for the log.
pub(super) fn told(error: &Value) -> String {
    format!("the service tells of a fault {}", in_words(error, &Secret::new("")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(status: u16, code: i64, message: &str, details: &str) -> Fault {
        let body = json!({"error": {"message": message, "type": "OAuthException", "code": code,
            "error_data": {"messaging_product": "whatsapp", "details": details}, "fbtrace_id": "x"}});
        answer(status, body.to_string().as_bytes(), &Secret::new("EAAsecret")).unwrap_err()
    }

    #[test]
    fn errors_are_told_apart_by_what_can_be_done_about_them() {
        for (status, code) in
            [(401, 190), (400, 190), (403, 10), (403, 200), (400, 131_031), (400, 133_010), (400, 131_042)]
        {
            assert!(matches!(said(status, code, "m", "d"), Fault::Setup(..)), "{code}");
        }
        let gone =
            "Unsupported get request. Object with ID '1' does not exist, cannot be loaded due to missing permissions";
        assert!(matches!(said(400, 100, gone, ""), Fault::Setup(_, cure) if cure.contains("phoneNumberId")));
        for (status, code) in [(429, 130_429), (400, 131_056), (400, 80_007), (429, 7)] {
            assert!(matches!(said(status, code, "m", "d"), Fault::Slow(_)), "{code}");
        }
        for (status, code) in [(500, 131_000), (500, 2), (503, 131_016), (500, 99)] {
            assert!(matches!(said(status, code, "m", "d"), Fault::Trouble(_)), "{code}");
        }
        for (code, cure) in [(131_047, "write first"), (131_026, "no WhatsApp"), (131_030, "API Setup")] {
            let fault = said(400, code, "m", "d");
            assert!(
                matches!(&fault, Fault::Refused(said) if said.contains(cure) && said.contains(&code.to_string())),
                "{fault}"
            );
        }
        assert!(matches!(said(400, 100, "Invalid parameter", ""), Fault::Refused(_)));
    }

    #[test]
    fn what_is_no_graph_api_is_trouble_or_a_setting() {
        let of = |status: u16, body: &str| answer(status, body.as_bytes(), &Secret::new("EAAsecret")).unwrap_err();
        for (status, body) in [(502, "<html>"), (200, "garbage"), (200, "[]"), (302, "")] {
            assert!(matches!(of(status, body), Fault::Trouble(_)), "{status} {body}");
        }
        assert!(matches!(of(404, "<html>"), Fault::Setup(..)));
        assert!(matches!(of(401, ""), Fault::Setup(..)));
        assert!(!is_graph_error(b"<html>") && is_graph_error(br#"{"error":{"code":131000}}"#));
    }

    #[test]
    fn no_error_repeats_the_token() {
        let fault = said(401, 190, "Malformed access token EAAsecret", "EAAsecret\u{1b}[31m");
        let said = fault.to_string();
        assert!(said.contains("[token]") && !said.contains("EAAsecret") && !said.contains('\u{1b}'), "{said}");
    }

    #[test]
    fn what_was_not_delivered_is_said_with_what_helps() {
        let errors = json!([{"code": 131_047, "title": "Re-engagement message", "error_data": {"details": "24 hours have passed"}}]);
        let said = undelivered("+15551234567", Some(&errors));
        for part in ["+15551234567", "131047", "24 hours have passed", "has to write first"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(undelivered("x", None).contains("no reason is given"));
    }
}
