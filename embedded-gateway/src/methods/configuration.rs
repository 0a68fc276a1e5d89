//! `config.get`: the configuration as it counts, without its secrets.
//!
//! What is shown is made from the checked configuration, never from the file's text: nothing can slip through because it was
//! spelled in a way that a search for secrets doesn't know.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Method;
use crate::agents::Agent;
use crate::call::{Call, Outcome};
use crate::caller::Scope;
use crate::config::{Auth, GatewayConfig};
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::payload::{joined, joined_if, without_nulls};
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[Method { name: "config.get", scope: Scope::Read, run: config_get }];
/// What stands in the place of a secret, as real gateways have it.
pub(super) const REDACTED: &str = "__OPENCLAW_REDACTED__";

fn config_get(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    let shown = shown(machine, call.caller.protocol);
    let raw = serde_json::to_string_pretty(&shown).unwrap_or_default();
    let hash: String = Sha256::digest(raw.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let config = &machine.config;
    let path = config.file.as_ref().filter(|_| call.caller.holds(Scope::Admin));
    let payload = json!({
        "path": path.map(|file| file.display().to_string()),
        "exists": config.file.is_some(),
        "raw": raw,
        "parsed": shown,
        "resolved": shown,
        "valid": true,
        "config": shown,
        "hash": hash,
        "issues": [],
        "warnings": [],
        "legacyIssues": [],
    });
    let more = || json!({"sourceConfig": shown, "runtimeConfig": shown, "configRevisionHash": hash, "appliedConfigHash": hash});
    Ok(joined_if(payload, call.caller.protocol >= 4, more).into())
}

/// The configuration in the form of `openclaw.json`; agents as the protocol has them.
fn shown(machine: &GatewayMachine, protocol: u32) -> Value {
    let config = &machine.config;
    json!({
        "gateway": gateway(config),
        "agents": agents(machine, protocol),
        "hooks": {"webhooks": config.webhooks.iter().map(|hook| json!({
            "id": hook.id,
            "path": hook.path,
            "agentId": hook.agent_id,
            "message": hook.message,
            "secret": hook.secret.as_ref().map(|_| REDACTED),
        })).collect::<Vec<_>>()},
        "audit": {"enabled": config.audit.enabled, "events": config.audit.events},
        "logging": {"level": config.log.level.as_str(), "maxBytes": config.log.max_bytes},
        "metrics": config.metrics.map(|metrics| json!({"port": metrics.port, "address": metrics.address})),
        "commands": commands(config),
    })
}

fn gateway(config: &GatewayConfig) -> Value {
    let (mode, secret) = match &config.auth {
        Auth::Token(_) => ("token", Some("token")),
        Auth::Password(_) => ("password", Some("password")),
        Auth::None => ("none", None),
    };
    let mut auth = json!({
        "mode": mode,
        "deviceAuth": {
            "enabled": config.device_auth.enabled,
            "requireSignature": config.device_auth.require_signature,
            "tokenTTL": config.device_auth.token_ttl.as_secs(),
            "maxDevicesPerUser": config.device_auth.max_devices_per_user,
        },
    });
    if let Some(secret) = secret {
        auth = joined(auth, json!({secret: REDACTED}));
    }
    json!({
        "mode": "local",
        "port": config.port,
        "bind": config.bind.describe(),
        "auth": auth,
        "controlUi": {
            "enabled": config.control_ui.enabled,
            "basePath": config.control_ui.base_path,
            "allowedOrigins": config.control_ui.allowed_origins,
            "requireDeviceAuth": config.control_ui.require_device_auth,
        },
        "tls": {"enabled": config.tls.is_some()},
    })
}

fn agents(machine: &GatewayMachine, protocol: u32) -> Value {
    let default = machine.agents.default_id();
    let row = |agent: &Agent| {
        without_nulls(json!({
            "id": (protocol < 4).then_some(&agent.id),
            "name": agent.name,
            "workspace": agent.workspace.display().to_string(),
            "model": agent.model,
            "command": agent.command,
            "acp": agent.acp.as_ref().map(|acp| json!({"program": acp.command.program.display().to_string()})),
            "default": (agent.id == default).then_some(true),
        }))
    };
    let agents = machine.agents.list();
    if protocol >= 4 {
        let entries: Map<String, Value> = agents.iter().map(|agent| (agent.id.clone(), row(agent))).collect();
        return json!({"defaults": {}, "entries": entries});
    }
    json!({"defaults": {}, "list": agents.iter().map(row).collect::<Vec<_>>()})
}

/// The allow-list: which programs, and the names of what may be set. Arguments and values of the environment stay untold
/// where they could be secret.
fn commands(config: &GatewayConfig) -> Value {
    let shown: Map<String, Value> = config
        .commands
        .iter()
        .map(|(name, template)| {
            let env: Map<String, Value> = template
                .env
                .iter()
                .map(|(name, value)| {
                    (name.clone(), if harmless(name, value) { value.clone() } else { REDACTED.to_owned() }.into())
                })
                .collect();
            let row = json!({
                "program": template.program.display().to_string(),
                "args": arguments_shown(&template.args),
                "env": env,
                "allowedEnv": template.allowed_env,
                "jsonLines": template.json_lines,
                "timeoutMs": template.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            });
            (name.clone(), row)
        })
        .collect();
    Value::Object(shown)
}

/// Parts of names whose values nobody else should see.
const SECRET_WORDS: &[&str] =
    &["key", "token", "secret", "pass", "pwd", "auth", "credential", "cookie", "private", "session", "url", "dsn"];

/// Whether a variable may be shown: its name doesn't sound secret, and its value doesn't look like a key (long, without
/// spaces or slashes).
fn harmless(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !SECRET_WORDS.iter().any(|word| name.contains(word)) && !looks_like_a_key(value) && !names_a_password(value)
}

/// Arguments, without what an option before them says to be secret (`--password hunter2`).
fn arguments_shown(arguments: &[String]) -> Vec<String> {
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

#[cfg(test)]
mod tests {
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
}
