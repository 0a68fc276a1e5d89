//! The message of a webhook: text with places like `{{body.a.b}}`, which are filled in from the JSON body.

use serde_json::Value;

/// Longest message, in bytes; what exceeds it is cut.
const MAX_MESSAGE: usize = 128 * 1024;

/// Fills the places in, once: what the body says is never read as a template. Text goes in as it is, other values as JSON; what
/// the body lacks is left empty. A place that isn't closed, or names something other than `body`, stays as it is written.
pub(super) fn fill(template: &str, body: &Value) -> String {
    let mut message = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        message.push_str(before);
        let Some((place, following)) = after.split_once("}}") else {
            message.push_str("{{");
            rest = after;
            continue;
        };
        match path(place.trim()) {
            Some(path) => message.push_str(&text(look_up(body, path))),
            None => message.extend(["{{", place, "}}"]),
        }
        rest = following;
    }
    message.push_str(rest);
    let end = message.floor_char_boundary(MAX_MESSAGE);
    message.truncate(end);
    message
}

/// `body` and `body.a.b`, without the `body`.
fn path(place: &str) -> Option<&str> {
    let rest = place.strip_prefix("body")?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.').filter(|path| !path.is_empty()) }
}

fn look_up<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|name| !name.is_empty()).try_fold(body, |value, name| match value {
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        _ => value.get(name),
    })
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_filled_in_from_the_body() {
        let body = json!({"message": "Hello", "a": {"b": [10, {"c": true}]}, "n": null, "x.y": 1});
        for (template, message) in [
            ("Webhook triggered: {{body.message}}", "Webhook triggered: Hello"),
            ("{{ body.a.b.0 }} and {{body.a.b.1.c}}", "10 and true"),
            ("{{body.a}}", r#"{"b":[10,{"c":true}]}"#),
            ("[{{body.n}}{{body.missing}}{{body.a.b.7}}]", "[]"),
            ("{{env.HOME}} {{bodyguard}} {{body.}}", "{{env.HOME}} {{bodyguard}} {{body.}}"),
            ("open {{body.message", "open {{body.message"),
            ("no places", "no places"),
        ] {
            assert_eq!(fill(template, &body), message, "{template}");
        }
        assert_eq!(fill("{{body}}", &json!([1])), "[1]");
    }

    #[test]
    fn what_the_body_says_is_not_a_template() {
        let body = json!({"one": "{{body.two}}", "two": "secret"});
        assert_eq!(fill("{{body.one}}", &body), "{{body.two}}");
    }

    #[test]
    fn a_long_message_is_cut() {
        let body = json!({"text": "ä".repeat(100_000)});
        assert_eq!(fill("{{body.text}}{{body.text}}", &body).len(), MAX_MESSAGE);
    }
}
