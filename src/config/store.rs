//! `state_dir`, and sections `store` and `log`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewarden_actors::settings::RetentionSettings;
use gatewarden_actors::store::postgres::address::ServerAddress;
use gatewarden_actors::store::{Database, StoreOptions};
use gatewarden_api::cluster::{NODE_NAME, is_node_name};

use super::reader::{Reader, or};
use super::value::{DEFAULT, Setting};
use super::{DAY, HOUR, units};

/// Backups that the daemon makes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupSettings {
    /// Between two of them; none: never.
    pub(crate) interval: Option<Duration>,
    pub(crate) keep: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// To the journal where standard error is one, for people on a terminal, else JSON.
    #[default]
    Auto,
    Pretty,
    /// One JSON object a line.
    Json,
    /// To the journal with fields of its own.
    Journald,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    /// Which ones: a level, or a list such as `info,gatewarden_actors=debug`. Normalised; always valid.
    pub(crate) filter: String,
}

/// This daemon among others on the same database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSettings {
    pub(crate) name: String,
    /// Where people and programs reach it; none: where it listens.
    pub(crate) url: Option<String>,
    /// Where it takes connections of other nodes; none: it doesn't.
    pub(crate) mesh_listen: Option<SocketAddr>,
    /// Where other nodes reach it, as `host:port`; none: where it listens for them.
    pub(crate) mesh_address: Option<String>,
}

pub(super) fn node(reader: &mut Reader<'_>) -> NodeSettings {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let default = Setting::text(if host.is_empty() { "gatewarden" } else { &host }, "default (host name)");
    let name = reader.take("node.name", Some(default)).map(|raw| raw.to_string()).unwrap_or_default();
    if !is_node_name(&name) {
        reader.wrong("node.name", NODE_NAME);
    }
    let url = reader.optional_text("node.url").filter(|url| !url.is_empty());
    let is_http =
        |url: &str| url::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    if url.as_deref().is_some_and(|url| !is_http(url)) {
        reader.wrong("node.url", "must be http:// or https:// with a host, such as https://gw-a.example");
    }
    let mesh_listen = reader.optional_text("node.mesh_listen").filter(|text| !text.is_empty()).and_then(|text| {
        let address = text.parse().ok();
        if address.is_none() {
            reader.wrong("node.mesh_listen", "must be ADDRESS:PORT, such as 0.0.0.0:3001 or 192.0.2.7:3001");
        }
        address
    });
    let mesh_address = reader.optional_text("node.mesh_address").filter(|text| !text.is_empty());
    if mesh_address.as_deref().is_some_and(|address| !is_host_and_port(address)) {
        reader.wrong("node.mesh_address", "must be HOST:PORT, such as warden-a.example:3001 or [2001:db8::7]:3001");
    }
    NodeSettings { name, url: url.map(|url| url.trim_end_matches('/').to_owned()), mesh_listen, mesh_address }
}

fn is_host_and_port(text: &str) -> bool {
    let Some((_, port)) = text.rsplit_once(':') else { return false };
    port.parse::<u16>().is_ok_and(|port| port != 0)
        && url::Url::parse(&format!("http://{text}/"))
            .is_ok_and(|url| url.has_host() && url.username().is_empty() && url.path() == "/" && url.query().is_none())
}

pub(super) fn state_dir(reader: &mut Reader<'_>) -> PathBuf {
    let default = default_state_dir(reader);
    let raw = reader.take("state_dir", default);
    if raw.as_ref().is_some_and(|raw| raw.as_text().is_none()) {
        reader.wrong("state_dir", "must be a directory, as a text");
        return PathBuf::new();
    }
    let Some(text) = raw.map(|raw| raw.to_string()).filter(|text| !text.is_empty()) else {
        let expected = "is not set, and neither $HOME nor $XDG_STATE_HOME tells a place; give --state-dir DIR";
        reader.wrong("state_dir", expected);
        return PathBuf::new();
    };
    std::path::absolute(&text).unwrap_or_else(|error| {
        reader.wrong("state_dir", format!("must be a directory: {error}"));
        PathBuf::new()
    })
}

fn default_state_dir(reader: &Reader<'_>) -> Option<Setting> {
    let variable = |name| reader.inputs.variable(name);
    if let Some(dirs) = variable("STATE_DIRECTORY") {
        // systemd gives a list where a unit has several; ours has one.
        return Some(Setting::text(dirs.split(':').next().unwrap_or(dirs), "$STATE_DIRECTORY"));
    }
    if let Some(home) = variable("XDG_STATE_HOME").filter(|home| home.starts_with('/')) {
        return Some(Setting::text(format!("{home}/gatewarden"), "default ($XDG_STATE_HOME)"));
    }
    let home = variable("HOME").filter(|home| home.starts_with('/'))?;
    Some(Setting::text(format!("{}/.local/state/gatewarden", home.trim_end_matches('/')), "default ($HOME)"))
}

/// The database; a file in the state directory, unless a URL names another or a server.
pub(super) fn options(reader: &mut Reader<'_>, state_dir: &Path) -> StoreOptions {
    let default = state_dir.join("gatewarden.db");
    let shown = Setting::text(format!("sqlite://{}", default.display()), DEFAULT);
    let (key, file_key) = (or("store.url", &[]), "store.url_file");
    let url = reader.secret_where(key, file_key, "store_url", Some(shown), |url| !url.starts_with("sqlite:"));
    let Some(url) = url.filter(|_| reader.is_set("store.url")) else { return StoreOptions::at(default) };
    if ServerAddress::is_meant_by(url.expose()) {
        match ServerAddress::parse(&url) {
            Ok(address) => return StoreOptions::of(Database::Server(address)),
            Err(expected) => reader.wrong("store.url", expected),
        }
    } else if let Some(path) = url.expose().strip_prefix("sqlite://").filter(|path| path.starts_with('/')) {
        return StoreOptions::at(path);
    } else {
        let expected = "must be sqlite:// and an absolute path, such as sqlite:///var/lib/gatewarden/gatewarden.db, or \
                        postgres://USER:PASSWORD@HOST/DATABASE";
        reader.wrong("store.url", expected);
    }
    StoreOptions::at(default)
}

pub(super) fn retention(reader: &mut Reader<'_>) -> RetentionSettings {
    let full = reader.duration("store.health_retention", "24h", HOUR..=366 * DAY);
    let thinned = reader.duration("store.health_thinned_retention", "7d", HOUR..=3660 * DAY);
    if thinned < full {
        reader.wrong("store.health_thinned_retention", "must not be below store.health_retention");
    }
    let audit = reader.duration("store.audit_retention", "90d", DAY..=3660 * DAY);
    // Not below the day that idempotency keys are good for: they go with their spawns.
    let spawns = reader.duration("store.spawn_retention", "30d", DAY..=3660 * DAY);
    RetentionSettings { full, thinned, audit, spawns }
}

pub(super) fn backups(reader: &mut Reader<'_>, store: &StoreOptions) -> BackupSettings {
    let interval = reader.parsed("store.backup_interval", "off", None, |text| {
        if text == "off" {
            return Ok(None);
        }
        let interval = units::parse_duration(text).filter(|interval| (HOUR..=366 * DAY).contains(interval));
        interval.map(Some).ok_or_else(|| "must be off, or a duration from 1h to 366d such as 24h".to_owned())
    });
    if interval.is_some() && store.database.file().is_none() {
        reader.wrong("store.backup_interval", "must be off where store.url names a PostgreSQL: pg_dump backs that up");
    }
    BackupSettings { interval, keep: reader.count("store.backup_keep", 7, 1..=1_000) }
}

pub(super) fn log(reader: &mut Reader<'_>) -> LogSettings {
    let format = reader.parsed("log.format", "auto", LogFormat::Auto, |text| match text {
        "auto" => Ok(LogFormat::Auto),
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        "journald" => Ok(LogFormat::Journald),
        _ => Err("must be auto, pretty, json or journald".to_owned()),
    });
    let directives = reader.list(or("log.level", &["LOG_LEVEL"]), "info");
    let filter = log_filter(&directives).unwrap_or_else(|expected| {
        reader.wrong("log.level", expected);
        String::new()
    });
    LogSettings { format, filter }
}

/// Checked here because the filter's own reader takes any word for a target and then logs that target in full.
fn log_filter(directives: &[String]) -> Result<String, String> {
    const EXPECTED: &str =
        "must be error, warn, info, debug, trace or off, also by target, such as info,gatewarden_actors=debug";
    let level_of = |text: &str| match text.to_ascii_lowercase().as_str() {
        "warning" => Ok("warn".to_owned()),
        level if ["error", "warn", "info", "debug", "trace", "off"].contains(&level) => Ok(level.to_owned()),
        _ => Err(EXPECTED.to_owned()),
    };
    let is_target = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
    };
    let mut written = Vec::new();
    for directive in directives {
        written.push(match directive.rsplit_once('=') {
            Some((target, level)) if is_target(target) => format!("{target}={}", level_of(level)?),
            Some((target, _)) => return Err(format!("{target:?} is not a target such as gatewarden_actors::gateway")),
            None => level_of(directive)?,
        });
    }
    if written.is_empty() { Err(EXPECTED.to_owned()) } else { Ok(written.join(",")) }
}
