//! `state_dir` and section `store`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewarden_actors::settings::RetentionSettings;
use gatewarden_actors::store::StoreOptions;

use super::duration;
use super::reading::Reader;

const HOUR: Duration = Duration::from_secs(3600);

/// `state_dir`, absolute.
pub(super) fn state_dir(reader: &mut Reader<'_>) -> PathBuf {
    let Some(text) = reader.optional_text("state_dir") else {
        reader.wrong(
            "state_dir",
            "is not set, and neither $HOME nor $XDG_STATE_HOME tells a place; give --state-dir DIR",
        );
        return PathBuf::new();
    };
    std::path::absolute(&text).unwrap_or_else(|error| {
        reader.wrong("state_dir", format!("must be a directory: {error}"));
        PathBuf::new()
    })
}

/// The database.
pub(super) fn options(reader: &mut Reader<'_>, state_dir: &Path) -> StoreOptions {
    let Some(url) = reader.optional_text("store.url") else { return StoreOptions::at(default_path(state_dir)) };
    match url.strip_prefix("sqlite://").filter(|path| path.starts_with('/')) {
        Some(path) => StoreOptions::at(path),
        None => {
            reader.wrong(
                "store.url",
                "must be sqlite:// and an absolute path, such as sqlite:///var/lib/gatewarden/gatewarden.db",
            );
            StoreOptions::at(default_path(state_dir))
        }
    }
}

/// The database unless `store.url` names one.
pub(super) fn default_path(state_dir: &Path) -> PathBuf {
    state_dir.join("gatewarden.db")
}

/// Backups that the daemon makes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// Between two of them; none: never.
    pub interval: Option<Duration>,
    /// How many are kept; 7.
    pub keep: usize,
}

/// Automatic backups.
pub(super) fn backups(reader: &mut Reader<'_>) -> BackupSettings {
    let interval = reader.parsed("store.backup_interval", None, |text| {
        if text == "off" {
            return Ok(None);
        }
        let interval = duration::parse(text).filter(|interval| (HOUR..=366 * 24 * HOUR).contains(interval));
        interval.map(Some).ok_or_else(|| "must be off, or a duration from 1h to 366d such as 24h".to_owned())
    });
    BackupSettings { interval, keep: usize::try_from(reader.number("store.backup_keep", 1..=1_000)).unwrap_or(1) }
}

/// How long logs and histories are kept.
pub(super) fn retention(reader: &mut Reader<'_>) -> RetentionSettings {
    let full = reader.duration("store.health_retention", HOUR..=366 * 24 * HOUR);
    let thinned = reader.duration("store.health_thinned_retention", HOUR..=3660 * 24 * HOUR);
    if thinned < full {
        reader.wrong("store.health_thinned_retention", "must not be below store.health_retention");
    }
    let audit = reader.duration("store.audit_retention", 24 * HOUR..=3660 * 24 * HOUR);
    // Not below the day that idempotency keys are good for: they go with their spawns.
    let spawns = reader.duration("store.spawn_retention", 24 * HOUR..=3660 * 24 * HOUR);
    RetentionSettings { full, thinned, audit, spawns }
}
