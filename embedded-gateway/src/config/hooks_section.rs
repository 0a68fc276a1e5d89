//! Sections `hooks` (webhooks), `audit` and `logging`.

use std::collections::BTreeSet;

use gatewarden_protocol::Secret;
use serde_json::Value;

use super::section::{Others, Reader, Section};
use super::{Audit, GatewayConfig, Log, Webhook};
use crate::effect::{AUDIT_EVENTS, LogLevel};

/// No webhook secret is shorter: it is all that stands between the network and an agent.
const SHORTEST_SECRET: usize = 16;
/// Most webhooks of one gateway.
const MOST_WEBHOOKS: usize = 100;
/// No secret is longer, in bytes.
const LONGEST_SECRET: u64 = 4096;

pub(super) fn webhooks(reader: &mut Reader<'_>, root: &mut Section<'_>, config: &mut GatewayConfig) {
    let mut hooks = root.section(reader, "hooks");
    let items = hooks.items(reader, "webhooks");
    if items.len() > MOST_WEBHOOKS {
        reader.wrong("hooks.webhooks", None, format!("has more than {MOST_WEBHOOKS} entries"));
    }
    for (at, item) in items.iter().take(MOST_WEBHOOKS).enumerate() {
        let section = Section::open(reader, Some(item), format!("hooks.webhooks[{at}]"));
        if let Some(webhook) = webhook(reader, section) {
            for (taken, name, value) in config.webhooks.iter().flat_map(|other| {
                [(other.id == webhook.id, "id", &webhook.id), (other.path == webhook.path, "path", &webhook.path)]
            }) {
                if taken {
                    let path = format!("hooks.webhooks[{at}].{name}");
                    reader.wrong(&path, Some(&Value::String(value.clone())), "is taken by an earlier webhook");
                }
            }
            config.webhooks.push(webhook);
        }
    }
    hooks.close(
        reader,
        Others::RefusedBut(&[
            "enabled",
            "path",
            "token",
            "defaultSessionKey",
            "allowRequestSessionKey",
            "allowedSessionKeyPrefixes",
            "allowedAgentIds",
            "maxBodyBytes",
            "presets",
            "transformsDir",
            "mappings",
            "gmail",
            "internal",
        ]),
    );
}

fn webhook(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Webhook> {
    let required = |reader: &mut Reader<'_>, section: &mut Section<'_>, name: &'static str| {
        let text = section.text(reader, name);
        if text.is_none() && section.value(name).is_none() {
            reader.wrong(&section.key(name), None, "is missing");
        }
        text
    };
    let id = required(reader, &mut section, "id");
    let path = required(reader, &mut section, "path");
    let agent_id = section.text(reader, "agentId").unwrap_or_else(|| "main".to_owned());
    let message = required(reader, &mut section, "message");
    let secret = secret(reader, &mut section);
    if let Some(path) = &path {
        let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        let own = path.strip_prefix("/webhook/").is_some_and(|rest| !rest.is_empty());
        if !(own && plain) || path.contains("..") || path.contains("//") || path.ends_with('/') {
            let cure = "must be a plain path below /webhook/, such as /webhook/my-hook";
            reader.wrong(&section.key("path"), Some(&path.clone().into()), cure);
        }
    }
    section.close(reader, Others::RefusedBut(&[]));
    Some(Webhook { id: id?, path: path?, agent_id, message: message?, secret: secret? })
}

/// `secret`, or `secretFile` with a private file. There is no webhook without one.
fn secret(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Secret> {
    let (written, path) = (section.secret(reader, "secret"), section.key("secret"));
    let from_file = section.path_of(reader, "secretFile").and_then(|file| match read_secret(&file) {
        Ok(secret) => Some(secret),
        Err(cure) => {
            let value = Value::String(file.display().to_string());
            reader.wrong(&section.key("secretFile"), Some(&value), cure);
            None
        }
    });
    let failed = section.value("secret").is_some() || section.value("secretFile").is_some();
    let secret = written.or(from_file);
    match &secret {
        None if !failed => {
            let cure = "is missing: a webhook without a secret would let anybody run the agent; write secret or secretFile \
                        (make one with `openssl rand -hex 24`)";
            reader.wrong(&path, None, cure);
        }
        Some(secret) if secret.expose().len() < SHORTEST_SECRET => {
            reader.wrong(&path, None, format!("is shorter than {SHORTEST_SECRET} characters and can be guessed"));
        }
        _ => {}
    }
    secret
}

fn read_secret(file: &std::path::Path) -> Result<Secret, String> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let opened = std::fs::File::open(file).map_err(|error| format!("cannot be read: {error}"))?;
    let mode = opened.metadata().map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        return Err(format!("other users may read this secret (mode {mode:04o}); run chmod 600 on the file"));
    }
    let mut text = String::new();
    opened.take(LONGEST_SECRET).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    match text.trim() {
        "" => Err("the file is empty; put the secret into it".to_owned()),
        secret => Ok(Secret::new(secret)),
    }
}

/// `audit` (document 002).
pub(super) fn audit(reader: &mut Reader<'_>, root: &mut Section<'_>, into: &mut Audit) {
    let mut section = root.section(reader, "audit");
    into.enabled = section.switch(reader, "enabled").unwrap_or(into.enabled);
    if let Some(file) = section.path_of(reader, "logFile") {
        into.file = file;
    }
    let events = section.texts(reader, "events");
    for (at, event) in events.iter().enumerate() {
        let known = match event.strip_suffix('*') {
            Some(prefix) => AUDIT_EVENTS.iter().any(|known| known.starts_with(prefix)),
            None => AUDIT_EVENTS.contains(&event.as_str()),
        };
        if !known {
            let cure = format!("is no audit event; known: {}", AUDIT_EVENTS.join(", "));
            reader.wrong(&format!("audit.events[{at}]"), Some(&event.clone().into()), cure);
        }
    }
    into.events = events.into_iter().collect::<BTreeSet<_>>();
    section.close(reader, Others::RefusedBut(&[]));
}

/// `logging` of real OpenClaw: `level` and `file`.
pub(super) fn logging(reader: &mut Reader<'_>, root: &mut Section<'_>, into: &mut Log) {
    let mut section = root.section(reader, "logging");
    if let Some(level) = section.text(reader, "level") {
        match parse_level(&level) {
            Some(level) => into.level = level,
            None => reader.wrong("logging.level", Some(&level.into()), LEVELS),
        }
    }
    if let Some(file) = section.path_of(reader, "file") {
        into.file = file;
    }
    section.close(reader, Others::Ignored);
    if let Some(level) = reader.inputs.variable("LOG_LEVEL") {
        match parse_level(level) {
            Some(level) => into.level = level,
            None => {
                let value = Value::from(level);
                let file = std::mem::replace(&mut reader.origin, "the environment".to_owned());
                reader.wrong("LOG_LEVEL", Some(&value), LEVELS);
                reader.origin = file;
            }
        }
    }
}

const LEVELS: &str = "must be debug, info, warn or error";

/// The words of real releases, brought down to four levels.
pub(super) fn parse_level(text: &str) -> Option<LogLevel> {
    match text.to_ascii_lowercase().as_str() {
        "trace" | "debug" => Some(LogLevel::Debug),
        "info" => Some(LogLevel::Info),
        "warn" | "warning" => Some(LogLevel::Warn),
        "error" | "fatal" | "silent" => Some(LogLevel::Error),
        _ => None,
    }
}
