//! Sections `hooks` (webhooks), `audit` and `logging`, and `gatewarden`, which is our own, but for its commands.

use std::io::Read as _;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use gatewarden_protocol::Secret;

use super::gateway_section::is_plain_path;
use super::section::{Others, Section, set};
use super::{Audit, GatewayConfig, Limits, Log, Metrics, Webhook};
use crate::log_kinds::{AUDIT_EVENTS, LogLevel};

/// No webhook secret is shorter: it is all that stands between the network and an agent.
const MIN_SECRET: usize = 16;
/// No secret is longer, in bytes.
const MAX_SECRET: u64 = 4096;
/// Most webhooks of one gateway.
const MAX_WEBHOOKS: usize = 100;

/// `hooks.webhooks[]`.
pub(super) fn webhooks(root: &Section<'_>, config: &mut GatewayConfig) {
    let hooks = root.section("hooks");
    let items = hooks.items("webhooks");
    if items.len() > MAX_WEBHOOKS {
        hooks.wrong("webhooks", None, format!("has more than {MAX_WEBHOOKS} entries"));
    }
    for (at, item) in items.iter().take(MAX_WEBHOOKS).enumerate() {
        let section = Section::open(hooks.findings, Some(item), format!("hooks.webhooks[{at}]"));
        let Some(webhook) = webhook(section) else { continue };
        for other in &config.webhooks {
            for (name, one, value) in [("id", &other.id, &webhook.id), ("path", &other.path, &webhook.path)] {
                if one == value {
                    let cure = "is taken by an earlier webhook";
                    hooks.wrong(&format!("webhooks[{at}].{name}"), None, cure);
                }
            }
        }
        config.webhooks.push(webhook);
    }
    hooks.close(Others::RefusedBut(
        "enabled path token defaultSessionKey allowRequestSessionKey allowedSessionKeyPrefixes allowedAgentIds maxBodyBytes \
        presets transformsDir mappings gmail internal",
    ));
}

fn webhook(section: Section<'_>) -> Option<Webhook> {
    let required = |name| {
        let text = section.text(name);
        if text.is_none() && section.value(name).is_none() {
            section.missing(name, "");
        }
        text
    };
    let (id, message) = (required("id"), required("message"));
    let path = required("path");
    if let Some(path) = &path {
        let own = path.strip_prefix("/webhook/").is_some_and(|rest| !rest.is_empty());
        if !own || !is_plain_path(path) || path.ends_with('/') {
            let cure = "must be a plain path below /webhook/, such as /webhook/my-hook";
            section.wrong("path", None, cure);
        }
    }
    let agent_id = section.text("agentId").unwrap_or_else(|| "main".to_owned());
    let secret = secret(&section);
    section.close(Others::RefusedBut(""));
    Some(Webhook { id: id?, path: path?, agent_id, message: message?, secret })
}

/// `secret`, or `secretFile` with a private file.
fn secret(section: &Section<'_>) -> Option<Secret> {
    let written = section.secret("secret");
    let secret = written.or(secret_file(section, "secretFile"));
    if secret.as_ref().is_some_and(|secret| secret.expose().len() < MIN_SECRET) {
        section.wrong("secret", None, format!("is shorter than {MIN_SECRET} characters and can be guessed"));
    }
    secret
}

/// The secret in the private file that a key names.
pub(super) fn secret_file(section: &Section<'_>, name: &'static str) -> Option<Secret> {
    let file = section.path_of(name)?;
    read_secret(&file).map_err(|cure| section.wrong(name, None, cure)).ok()
}

fn read_secret(file: &Path) -> Result<Secret, String> {
    let opened = std::fs::File::open(file).map_err(|error| format!("cannot be read: {error}"))?;
    let mode = opened.metadata().map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        return Err(format!("other users may read this secret (mode {mode:04o}); run chmod 600 on the file"));
    }
    let mut text = String::new();
    opened.take(MAX_SECRET).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    match text.trim() {
        "" => Err("the file is empty; put the secret into it".to_owned()),
        secret => Ok(Secret::new(secret)),
    }
}

/// `audit` (document 002).
pub(super) fn audit(root: &Section<'_>, into: &mut Audit) {
    let section = root.section("audit");
    set(&mut into.enabled, section.switch("enabled"));
    set(&mut into.file, section.path_of("logFile"));
    let events = section.list("events", |event| {
        let known = match event.strip_suffix('*') {
            Some(prefix) => AUDIT_EVENTS.iter().any(|known| known.starts_with(prefix)),
            None => AUDIT_EVENTS.contains(&event.as_str()),
        };
        if known { Ok(event) } else { Err(format!("is no audit event; known: {}", AUDIT_EVENTS.join(", "))) }
    });
    into.events = events.into_iter().collect();
    section.close(Others::RefusedBut(""));
}

/// `logging` of real OpenClaw: `level` and `file`.
pub(super) fn logging(root: &Section<'_>, into: &mut Log) {
    let section = root.section("logging");
    set(&mut into.level, section.parsed("level", parse_level));
    set(&mut into.file, section.path_of("file"));
    section.close(Others::Ignored);
}

/// The words of real releases, brought down to four levels.
pub(super) fn parse_level(text: &str) -> Result<LogLevel, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "trace" | "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "error" | "fatal" | "silent" => Ok(LogLevel::Error),
        _ => Err("must be debug, info, warn or error"),
    }
}

/// `gatewarden`, but for its commands.
pub(super) fn ours(ours: &Section<'_>, config: &mut GatewayConfig) {
    limits(ours, &mut config.limits);
    let metrics = ours.section("metrics");
    let enabled = metrics.switch("enabled").unwrap_or(true);
    let (port, address) = (metrics.number("port", 0..=65_535), metrics.address("address"));
    metrics.close(Others::RefusedBut(""));
    config.metrics = config
        .metrics
        .filter(|_| enabled)
        .map(|default| Metrics { port: port.unwrap_or(default.port), address: address.unwrap_or(default.address) });
    config.allowed_hosts = ours.list("allowedHosts", |host| {
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        if plain && !host.is_empty() {
            Ok(host.to_ascii_lowercase())
        } else {
            Err("must be a host name without port, such as gateway.example.com; no wildcards")
        }
    });
    set(&mut config.remote_programs, ours.switch("remotePrograms"));
    set(&mut config.log.max_bytes, ours.number("logMaxBytes", 64 * 1024..=1024 * 1024 * 1024));
}

fn limits(ours: &Section<'_>, limits: &mut Limits) {
    let section = ours.section("limits");
    let counts: [(&'static str, RangeInclusive<u64>, &mut usize); 10] = [
        ("connections", 1..=100_000, &mut limits.connections),
        ("unauthenticated", 1..=10_000, &mut limits.unauthenticated),
        ("maxPayload", 64 * 1024..=256 * 1024 * 1024, &mut limits.max_payload),
        ("maxBuffered", 64 * 1024..=1024 * 1024 * 1024, &mut limits.max_buffered),
        ("maxBufferedTotal", 1024 * 1024..=64 * 1024 * 1024 * 1024, &mut limits.max_buffered_total),
        ("processes", 0..=10_000, &mut limits.processes),
        ("outputLine", 256..=1024 * 1024, &mut limits.output_line),
        ("sessions", 1..=1_000_000, &mut limits.sessions),
        ("historyMessages", 2..=100_000, &mut limits.history_messages),
        ("finishedRuns", 1..=100_000, &mut limits.finished_runs),
    ];
    for (name, range, field) in counts {
        set(field, section.number(name, range));
    }
    set(&mut limits.auth_failures, section.number("authFailures", 1..=10_000));
    // Less is too little for a program to be loaded.
    limits.process_open_files = section.number("processOpenFiles", 16..=1_048_576);
    limits.process_memory = section.number("processMemory", 16 * 1024 * 1024..=1 << 50);
    set(&mut limits.output_bytes_per_second, section.number("outputBytesPerSecond", 1024..=1024 * 1024 * 1024));
    let (ms, second) = (Duration::from_millis, Duration::from_secs);
    let durations: [(&'static str, RangeInclusive<Duration>, &mut Duration); 6] = [
        ("handshake", ms(100)..=second(300), &mut limits.handshake),
        ("tick", ms(100)..=second(3_600), &mut limits.tick),
        ("ping", ms(100)..=second(3_600), &mut limits.ping),
        ("lockout", second(1)..=second(86_400), &mut limits.lockout),
        ("killGrace", ms(10)..=second(300), &mut limits.kill_grace),
        ("sessionAge", second(60)..=second(10 * 366 * 86_400), &mut limits.session_age),
    ];
    for (name, range, field) in durations {
        set(field, section.duration(name, range));
    }
    section.close(Others::RefusedBut(""));
}
