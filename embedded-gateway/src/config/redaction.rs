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
/// Parts of names whose values nobody else should see.
const SECRET_WORDS: &[&str] =
    &["key", "token", "secret", "pass", "pwd", "auth", "credential", "cookie", "private", "session", "url", "dsn"];

/// A file's tree with its secrets hidden.
pub(crate) fn redacted(tree: &Value, plain: &BTreeSet<String>) -> Value {
    shown("", "", tree, false, plain)
}

fn shown(path: &str, name: &str, value: &Value, is_plain: bool, plain: &BTreeSet<String>) -> Value {
    let is_plain = is_plain || plain.contains(path);
    match value {
        Value::Object(fields) if name == "env" && is_of_a_command(path) => fields
            .iter()
            .map(|(name, value)| {
                (name.clone(), value.as_str().map_or_else(hidden, |text| variable_shown(name, text).into()))
            })
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shown(&join(path, name), name, value, is_plain, plain)))
            .collect(),
        Value::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            match texts.filter(|_| name == "args") {
                Some(texts) if is_of_a_command(path) => arguments_shown(&texts).into(),
                _ => items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| shown(&format!("{path}[{at}]"), "", item, is_plain, plain))
                    .collect(),
            }
        }
        Value::String(text) if !is_plain && !names_a_variable(text) => hidden(),
        Value::Number(_) if !is_plain && !harmless(name, "") => hidden(),
        other => other.clone(),
    }
}

/// Whether arguments and variables here are those of a program that the gateway runs.
fn is_of_a_command(path: &str) -> bool {
    path.starts_with("gatewarden.") || (path.starts_with("agents.") && path.contains(".acp."))
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

pub(crate) fn variable_shown(name: &str, value: &str) -> String {
    if harmless(name, value) || names_a_variable(value) { value } else { REDACTED }.to_owned()
}

/// Whether a variable may be shown: its name doesn't sound secret, and its value doesn't look like a key (long, without
/// spaces or slashes).
fn harmless(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !SECRET_WORDS.iter().any(|word| name.contains(word)) && !looks_like_a_key(value) && !names_a_password(value)
}

/// Arguments, without what an option before them says to be secret (`--password hunter2`).
pub(crate) fn arguments_shown(arguments: &[String]) -> Vec<String> {
    let mut announced = false;
    arguments
        .iter()
        .map(|argument| {
            let shown = if announced { REDACTED.to_owned() } else { argument_shown(argument) };
            announced = argument.starts_with('-') && !argument.contains('=') && !harmless(argument, "");
            shown
        })
        .collect()
}

fn names_a_password(value: &str) -> bool {
    value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

fn argument_shown(argument: &str) -> String {
    let lower = argument.to_ascii_lowercase();
    match argument.split_once('=') {
        Some((name, value)) if !harmless(name, value) => format!("{name}={REDACTED}"),
        _ if looks_like_a_key(argument)
            || names_a_password(argument)
            || (SECRET_WORDS.iter().any(|word| lower.contains(word)) && lower.contains(':')) =>
        {
            REDACTED.to_owned()
        }
        _ => argument.to_owned(),
    }
}

fn looks_like_a_key(value: &str) -> bool {
    let known = ["sk-", "ghp_", "gho_", "xox", "AKIA", "eyJ", "Bearer "].iter().any(|start| value.starts_with(start));
    let dense = value.len() >= 20
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+_=-".contains(&byte))
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic());
    known || dense
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

/// Where an entry of a list stands in the file's list: by its id, else in a list of the same length at the same place.
fn place_of(item: &Value, at: usize, length: usize, file: Option<&Value>) -> Option<usize> {
    let listed = file?.as_array()?;
    match item.get("id").filter(|id| id.is_string()) {
        Some(id) => listed.iter().position(|other| other.get("id") == Some(id)),
        None => (listed.len() == length).then_some(at),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_that_sound_or_look_secret_are_not_shown() {
        for (name, value) in [
            ("OPENAI_API_KEY", "x"),
            ("GITHUB_TOKEN", "y"),
            ("DB_PASSWORD", "z"),
            ("DATABASE_URL", "postgres://u:p@h/db"),
            ("WHATEVER", "sk-abc"),
            ("WHATEVER", "a8f5f167f44f4964e6c998dee827110c"),
        ] {
            assert!(!harmless(name, value), "{name}={value}");
        }
        for (name, value) in [("LANG", "C.UTF-8"), ("HOME", "/home/agent"), ("MODE", "fast")] {
            assert!(harmless(name, value), "{name}={value}");
        }
    }

    #[test]
    fn arguments_that_carry_a_secret_are_not_shown() {
        assert_eq!(argument_shown("--api-key=abc"), format!("--api-key={REDACTED}"));
        assert_eq!(argument_shown("a8f5f167f44f4964e6c998dee827110c"), REDACTED);
        assert_eq!(argument_shown("Authorization: Bearer x"), REDACTED);
        assert_eq!(argument_shown("postgres://user:hunter2@host/db"), REDACTED);
        let spoken = ["--user", "me", "--password", "hunter2", "--verbose", "-token", "x", "y"].map(str::to_owned);
        let shown = arguments_shown(&spoken);
        assert_eq!(shown, ["--user", "me", "--password", REDACTED, "--verbose", "-token", REDACTED, "y"]);
        assert_eq!(argument_shown("--print"), "--print");
        assert_eq!(argument_shown("agent.py"), "agent.py");
    }

    fn file() -> (Value, Value) {
        let file = json!({
            "gateway": {"auth": {"token": "hunter2hunter2", "mode": "token"}, "port": 1},
            "channels": {"telegram": {"botToken": "1:abc", "enabled": true, "pin": 4711, "tokenLimit": 9}},
            "gatewarden": {"commands": {"c": {"args": ["--key", "k1", "run"], "env": {"API_KEY": "k2", "LANG": "C"}}}},
            "agents": {"entries": {"a": {"acp": {"args": ["--token", "k3"], "env": {"API_KEY": "k4", "LANG": "C"}}}}},
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
                "channels": {"telegram": {"botToken": REDACTED, "enabled": true, "pin": 4711, "tokenLimit": REDACTED}},
                "gatewarden": {"commands": {"c": {"args": ["--key", REDACTED, "run"], "env": {"API_KEY": REDACTED, "LANG": "C"}}}},
                "agents": {"entries": {"a": {"acp": {"args": ["--token", REDACTED], "env": {"API_KEY": REDACTED, "LANG": "C"}}}}},
                "hooks": {"webhooks": [{"id": "a", "secret": REDACTED}, {"id": "b", "secret": "${HOOK}"}]},
            })
        );
    }

    #[test]
    fn what_is_sent_back_as_it_was_shown_is_the_file_again() {
        let (file, shown) = file();
        assert_eq!(restored(&shown, &file, &shown), Ok(file.clone()));
        // Entries with an id are known by it, wherever they stand.
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
            (
                json!({"gatewarden": {"commands": {"c": {"args": ["--key", "k9", REDACTED]}}}}),
                "gatewarden.commands.c.args[2]",
            ),
            (json!({"logging": {"file": format!("/x/{REDACTED}")}}), "logging.file"),
        ] {
            assert_eq!(restored(&sent, &file, &shown), Err(place.to_owned()));
        }
    }
}
