//! The daemon words its answers for those who send requests. Here they are put into the words of the command line: requests become
//! commands, fields become options.

use std::sync::LazyLock;

use gatewarden_api::gateway_record::GatewayFields;
use gatewarden_api::request;
use serde_json::Value;

use crate::named_request::{NamedRequest, next_request};

/// What is said otherwise, whole phrases first.
const PHRASES: &[(&str, &str)] = &[
    ("(PUT /api/gateways with id and token)", "(`gatewarden gateways update NAME --token-file FILE`)"),
    ("(PUT /api/gateways with id and password)", "(`gatewarden gateways update NAME --password-file FILE`)"),
    ("{\"action\": \"start\"} starts it", "`gatewarden gateways start` starts it"),
    (", or {\"command\": \"NAME\"} of the", ", or `--command NAME` of the"),
    ("Wait as long as the Retry-After header says.", ""),
    ("The OpenAPI document at /api/openapi.json describes every field.", "`--help` describes every option."),
    ("host must not be used for a gateway", "the address must not be used for a gateway"),
    ("gateway_id", "--gateway"),
    ("Idempotency-Key", "--idempotency-key"),
];

/// Method and path of a request, a word that its body holds, and the command that does it. `*` is an id.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("GET /api/gateways", "", "gateways list"),
    ("POST /api/gateways", "", "gateways add"),
    ("PUT /api/gateways", "is_primary", "gateways update NAME --primary"),
    ("GET /api/gateways/*", "", "gateways show *"),
    ("PUT /api/gateways/*", "node", "gateways update * --no-node"),
    ("PUT /api/gateways/*", "unit", "gateways update * --unit gatewarden-gateway@NAME.service"),
    ("GET /api/gateways/*/logs", "", "logs * --follow"),
    ("POST /api/gateways/*/process", "diagnose", "gateways diagnose *"),
    ("POST /api/gateways/*/process", "start", "gateways start *"),
    ("POST /api/gateways/*/reconnect", "", "gateways reconnect *"),
    ("POST /api/gateways/*/undrain", "", "gateways undrain *"),
    ("GET /api/agents", "", "agents list"),
    ("POST /api/agents", "", "agents add"),
    ("GET /api/sessions", "", "sessions list"),
    ("GET /api/status", "", "status"),
    ("GET /api/events", "", "events"),
    ("GET /api/spawn", "", "spawns list"),
    ("GET /api/spawn/*", "", "spawns show *"),
    ("GET /api/cluster", "", "cluster"),
    ("GET /api/connect", "", "connections list"),
    ("GET /api/keys", "", "keys list"),
    ("POST /api/keys", "", "keys create"),
];

/// What requests call the settings of a gateway.
static SETTINGS: LazyLock<Vec<String>> = LazyLock::new(request::field_names::<GatewayFields>);

/// A text of the daemon.
pub(super) fn of_daemon(text: &str) -> String {
    let text = PHRASES.iter().fold(text.to_owned(), |text, (said, ours)| text.replace(said, ours));
    let mut worded = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(found) = next_request(rest) {
        worded.push_str(&with_options(found.before));
        match command_of(&found) {
            Some(command) => worded.push_str(&format!("`gatewarden {command}`")),
            None => worded.push_str(found.said),
        }
        rest = found.after;
    }
    worded + &with_options(rest)
}

/// The same of a gateway, by its name.
pub(super) fn of_gateway(text: &str, name: &str) -> String {
    of_daemon(text).replace("gateways update NAME ", &format!("gateways update {name} "))
}

/// With settings of a gateway as options. A name of one word could be anything.
fn with_options(text: &str) -> String {
    let settings = SETTINGS.iter().filter(|name| name.contains('_'));
    settings.fold(text.to_owned(), |text, name| text.replace(name, &option_of(name)))
}

/// A sentence about fields of the request, given the error's details.
pub(super) fn of_fields(sentence: &str, details: Option<&Value>) -> String {
    let mut sentence = sentence.to_owned();
    let fields = details.and_then(|details| details.get("fields")?.as_array()).into_iter().flatten();
    for field in fields.filter_map(|field| field.get("field")?.as_str()).filter(|field| !field.is_empty()) {
        // A problem's own words may be the same.
        let parts = sentence.split("; ").map(|part| match part.strip_prefix(field) {
            Some(rest) if rest.starts_with(' ') => format!("{}{rest}", option_of(field)),
            _ => part.to_owned(),
        });
        sentence = parts.collect::<Vec<_>>().join("; ");
    }
    sentence
}

/// What sets a field on the command line.
fn option_of(field: &str) -> String {
    let first = field.split(['.', '[']).next().unwrap_or_default();
    match first {
        "name" | "task" | "command" | "content" => format!("the {}", if first == "content" { "text" } else { first }),
        "host" | "port" => "the address".to_owned(),
        "session_key" => "the session's key".to_owned(),
        "token" => "the token of --token-file".to_owned(),
        "is_primary" => "--primary".to_owned(),
        "labels" => "--label".to_owned(),
        "timeout_seconds" | "timeoutSeconds" => "--timeout".to_owned(),
        "gateway_id" => "--gateway".to_owned(),
        "expires_at" => "--days".to_owned(),
        "tls" => "what is trusted on TLS".to_owned(),
        other => format!("--{}", other.replace('_', "-")),
    }
}

/// The command that does a request.
fn command_of(request: &NamedRequest<'_>) -> Option<String> {
    let (pattern, id) = request.pattern();
    let (_, _, command) = COMMANDS.iter().find(|(known, body, _)| *known == pattern && request.body.contains(body))?;
    Some(command.replace('*', id.unwrap_or("ID")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn requests_become_commands_and_fields_options() {
        for (said, worded) in [
            (
                "GET /api/gateways lists the registered gateways with their ids.",
                "`gatewarden gateways list` lists the registered gateways with their ids.",
            ),
            (
                "First: PUT /api/gateways {\"id\": 3, \"is_primary\": true}.",
                "First: `gatewarden gateways update NAME --primary`.",
            ),
            (
                "POST /api/gateways/3/process {\"action\": \"diagnose\"} shows it; {\"action\": \"start\"} starts it.",
                "`gatewarden gateways diagnose 3` shows it; `gatewarden gateways start` starts it.",
            ),
            (
                "Follow one with GET /api/gateways/{id}/logs?follow=true.",
                "Follow one with `gatewarden logs ID --follow`.",
            ),
            (
                "It may be under way: GET /api/spawn/a1b2c3d4-0000-4000-8000-00000000000f tells what became of it.",
                "It may be under way: `gatewarden spawns show a1b2c3d4-0000-4000-8000-00000000000f` tells what became of it.",
            ),
            ("Nothing of the kind: GET /api.", "Nothing of the kind: GET /api."),
        ] {
            assert_eq!(of_daemon(said), worded);
        }
        let details =
            json!({"fields": [{"field": "is_primary", "problem": "x"}, {"field": "labels.a", "problem": "x"}]});
        let said = of_fields("is_primary must be a boolean; labels.a must be text", Some(&details));
        assert_eq!(said, "--primary must be a boolean; --label must be text");
        let details =
            json!({"fields": [{"field": "command", "problem": "x"}, {"field": "timeoutSeconds", "problem": "y"}]});
        let said =
            of_fields("command must be the name of a command that is known; timeoutSeconds must be 1", Some(&details));
        assert_eq!(said, "the command must be the name of a command that is known; --timeout must be 1");
    }

    /// Lines of code that name a request to somebody who reads an answer.
    fn named_in(path: &Path, found: &mut Vec<String>) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                named_in(&entry.unwrap().path(), found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.to_string_lossy().contains("tests")
        {
            let text = std::fs::read_to_string(path).unwrap();
            let production = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code = production.lines().map(|line| line.split("//").next().unwrap_or_default());
            found.extend(code.filter(|line| next_request(line).is_some()).map(str::to_owned));
        }
    }

    #[test]
    fn every_request_that_an_answer_names_has_a_command() {
        // Only tools that connect by themselves, browsers and the organization API are told of these.
        let of_others = ["POST /api/connect", "POST /api/auth/login", "/api/v1"];
        let mut lines = Vec::new();
        for folder in ["core/src", "actors/src", "store/src", "protocol/src", "src/http"] {
            named_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut lines);
        }
        lines.retain(|line| !of_others.iter().any(|request| line.contains(request)));
        assert!(lines.len() > 10, "only {} were found", lines.len());
        let plain = |line: &String| line.replace("{{", "{").replace("}}", "}").replace("\\\"", "\"");
        let unknown: Vec<String> =
            lines.iter().map(plain).filter(|said| next_request(&of_daemon(said)).is_some()).collect();
        assert!(unknown.is_empty(), "no command is known for these requests: {unknown:#?}");
    }
}
