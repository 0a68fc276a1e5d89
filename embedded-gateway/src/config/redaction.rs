//! What clients see of the configuration's file: marks in the place of secrets; and the secrets back in the place of those marks
//! when a client sends them back.
//!
//! Shown is what the code that reads the configuration asked for as something else than a secret
//! ([`super::section::Findings::plain`]). What it didn't ask for it can't judge, so texts there are hidden: a secret of another
//! program can't slip through because it was spelled in a way that a search for secrets doesn't know.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What stands in the place of a secret, as real gateways have it.
pub(crate) const REDACTED: &str = "__OPENCLAW_REDACTED__";

/// A file's tree with its secrets hidden.
pub(crate) fn redacted(tree: &Value, plain: &BTreeSet<String>) -> Value {
    shown("", tree, false, plain)
}

fn shown(path: &str, value: &Value, is_plain: bool, plain: &BTreeSet<String>) -> Value {
    let is_plain = is_plain || plain.contains(path);
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shown(&join(path, name), value, is_plain, plain)))
            .collect(),
        Value::Array(items) => {
            let item = |(at, item)| shown(&format!("{path}[{at}]"), item, is_plain, plain);
            items.iter().enumerate().map(item).collect()
        }
        Value::String(text) if !is_plain && !names_a_variable(text) => hidden(),
        Value::Number(_) if !is_plain => hidden(),
        other => other.clone(),
    }
}

fn hidden() -> Value {
    REDACTED.into()
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// `${NAME}` and nothing else: the secret itself isn't in the file.
fn names_a_variable(text: &str) -> bool {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'))
}

/// An argument or the value of a variable of a program that the gateway runs.
pub(crate) fn argument_shown(value: &str) -> &str {
    if names_a_variable(value) { value } else { REDACTED }
}

/// What a client sent, with the file's secrets in the place of their marks. `shown` is what it was shown of the file. The error:
/// where a mark stands for nothing.
pub(crate) fn restored(sent: &Value, file: &Value, shown: &Value) -> Result<Value, String> {
    restore("", sent, Some(file), Some(shown))
}

fn restore(path: &str, sent: &Value, file: Option<&Value>, shown: Option<&Value>) -> Result<Value, String> {
    match sent {
        Value::String(text) if text.contains(REDACTED) => {
            // Only the very place that was shown so gets its secret back.
            file.filter(|_| shown == Some(sent)).cloned().ok_or_else(|| path.to_owned())
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                let [file, shown] = [file, shown].map(|tree| tree.and_then(|tree| tree.get(name)));
                Ok((name.clone(), restore(&join(path, name), value, file, shown)?))
            });
            fields.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        Value::Array(items) => {
            let items = items.iter().enumerate().map(|(at, item)| {
                let place = place_of(item, at, items.len(), file);
                let [file, shown] =
                    [file, shown].map(|tree| place.and_then(|place| tree.and_then(|tree| tree.get(place))));
                restore(&format!("{path}[{at}]"), item, file, shown)
            });
            items.collect()
        }
        other => Ok(other.clone()),
    }
}

/// Where an entry of a list stands in the file's list: by its id where that was shown, else in a list of the same length at the same
/// place.
fn place_of(item: &Value, at: usize, length: usize, file: Option<&Value>) -> Option<usize> {
    let listed = file?.as_array()?;
    match item.get("id").filter(|id| id.as_str().is_some_and(|id| id != REDACTED)) {
        Some(id) => listed.iter().position(|other| other.get("id") == Some(id)),
        None => (listed.len() == length).then_some(at),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file() -> (Value, Value) {
        let file = json!({
            "gateway": {"auth": {"token": "hunter2hunter2", "mode": "token"}, "port": 1},
            "channels": {"telegram": {"botToken": "1:abc", "enabled": true, "pin": 4711, "tokenLimit": 9}},
            "gatewarden": {"commands": {"c": {"args": ["--key", "k1", "run"], "env": {"API_KEY": "k2", "LANG": "${LANG}"}}}},
            "agents": {"entries": {"a": {"acp": {"args": ["--token", "k3"], "env": {"API_KEY": "k4"}}}}},
            "hooks": {"webhooks": [{"id": "a", "secret": "first"}, {"id": "b", "secret": "${HOOK}"}]},
        });
        let plain = ["gateway.auth.mode", "gateway.port", "hooks.webhooks[0].id", "hooks.webhooks[1].id"];
        let shown = redacted(&file, &plain.map(str::to_owned).into());
        (file, shown)
    }

    #[test]
    fn only_what_was_read_as_no_secret_is_shown() {
        let (_, shown) = file();
        assert_eq!(
            shown,
            json!({
                "gateway": {"auth": {"token": REDACTED, "mode": "token"}, "port": 1},
                "channels": {"telegram": {"botToken": REDACTED, "enabled": true, "pin": REDACTED, "tokenLimit": REDACTED}},
                "gatewarden": {"commands": {"c": {"args": [REDACTED, REDACTED, REDACTED], "env": {"API_KEY": REDACTED, "LANG": "${LANG}"}}}},
                "agents": {"entries": {"a": {"acp": {"args": [REDACTED, REDACTED], "env": {"API_KEY": REDACTED}}}}},
                "hooks": {"webhooks": [{"id": "a", "secret": REDACTED}, {"id": "b", "secret": "${HOOK}"}]},
            })
        );
    }

    #[test]
    fn what_is_sent_back_as_it_was_shown_is_the_file_again() {
        let (file, shown) = file();
        assert_eq!(restored(&shown, &file, &shown), Ok(file.clone()));
        // Also where not even an id was shown, since nobody here reads the section.
        let file = json!({"others": [{"id": "a", "key": "k1"}, {"id": "b", "key": "k2"}]});
        let shown = redacted(&file, &BTreeSet::new());
        assert_eq!(restored(&shown, &file, &shown), Ok(file));
    }

    #[test]
    fn an_entry_with_an_id_is_known_by_it_wherever_it_stands() {
        let (file, shown) = self::file();
        let sent = json!({"hooks": {"webhooks": [{"id": "new"}, {"id": "a", "secret": REDACTED}]}});
        let back = restored(&sent, &file, &shown).unwrap();
        assert_eq!(back["hooks"]["webhooks"][1]["secret"], "first");
    }

    #[test]
    fn a_mark_that_stands_for_nothing_is_refused_with_its_place() {
        let (file, shown) = file();
        for (sent, place) in [
            (json!({"gateway": {"auth": {"password": REDACTED}}}), "gateway.auth.password"),
            // A secret isn't moved to where it could be read.
            (json!({"gateway": {"auth": {"mode": REDACTED}}}), "gateway.auth.mode"),
            (json!({"hooks": {"webhooks": [{"id": "c", "secret": REDACTED}]}}), "hooks.webhooks[0].secret"),
            (json!({"gatewarden": {"commands": {"c": {"args": [REDACTED]}}}}), "gatewarden.commands.c.args[0]"),
            (json!({"logging": {"file": format!("/x/{REDACTED}")}}), "logging.file"),
        ] {
            assert_eq!(restored(&sent, &file, &shown), Err(place.to_owned()));
        }
    }
}
