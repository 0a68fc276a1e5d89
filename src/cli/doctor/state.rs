//! The state directory: modes, owners, what lies about.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::app::backups;
use crate::cli::findings::Report;
use crate::config::Config;

const AREA: &str = "state directory";
/// Files that must be the daemon's alone.
const PRIVATE: [&str; 6] =
    ["gatewarden.db", "gatewarden.db-wal", "gatewarden.db-shm", "gatewarden.key", "admin.key", "gatewarden.lock"];
/// Most files of one kind that are named.
const MAX_NAMED: usize = 10;
/// A backup that is older is said.
const OLD_BACKUP_S: i64 = 8 * 24 * 3600;

/// Whether there is one to look into.
pub(super) fn look(report: &mut Report, config: &Config, running: bool) -> bool {
    let dir = &config.state_dir;
    let shown = dir.display();
    let metadata = match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            let cure = "name another one with --state-dir or state_dir";
            report.problem(AREA, format!("{shown} is not a directory"), cure);
            return false;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let cure = "if there should be one, name it with --state-dir: the service's is /var/lib/gatewarden";
            report.note(AREA, format!("{shown} does not exist; the first start makes it"), cure);
            return false;
        }
        Err(error) => {
            let text = format!("{shown} cannot be looked at: {error}");
            report.problem(AREA, text, "run this as root or as the daemon's user");
            return false;
        }
    };
    let before = report.problems();
    report.must_be_private(AREA, dir);
    report.must_be_writable(
        AREA,
        dir,
        "give it to the daemon's user (chown), and see that its file system is not read-only; writes answer 503 until then",
    );
    for name in PRIVATE {
        private_file(report, &dir.join(name), metadata.uid());
    }
    if dir.join("gatewarden.key.next").exists() && !running {
        report.note(
            AREA,
            "a change of the encryption key was broken off (gatewarden.key.next)",
            "nothing is lost: the next start finishes it or takes it back. Do not delete the file yourself",
        );
    }
    if report.problems() == before {
        report.fine(AREA, format!("{shown} is private and writable"));
    }
    true
}

fn private_file(report: &mut Report, file: &Path, owner: u32) {
    report.must_be_private(AREA, file);
    let Ok(metadata) = std::fs::metadata(file) else { return };
    if metadata.uid() != owner {
        let shown = file.display();
        let text = format!("{shown} belongs to user {} and its directory to user {owner}", metadata.uid());
        report.problem(AREA, text, format!("chown {owner} {shown}, else the daemon cannot use it"));
    }
}

/// Backups, and what restores and changes of keys kept.
pub(super) fn leftovers(report: &mut Report, config: &Config, now_ms: i64) {
    let dir = backups::directory(&config.state_dir);
    let newest = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "db"))
        .filter_map(|entry| {
            let modified = entry.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(modified.as_secs()).ok()
        })
        .max();
    let cure =
        "`gatewarden backup` makes one while the daemon runs; store.backup_interval = \"24h\" makes them by itself";
    match newest.map(|newest| now_ms / 1000 - newest) {
        Some(age) if age > OLD_BACKUP_S => {
            report.note("backups", format!("the newest in {} is {} days old", dir.display(), age / 86_400), cure);
        }
        Some(_) => report.fine("backups", format!("there is a recent one in {}", dir.display())),
        None if config.store.database.file().is_some_and(Path::exists) => {
            report.note("backups", format!("none in {}; there may be some elsewhere", dir.display()), cure);
        }
        None => {}
    }
    let mut kept: Vec<String> = std::fs::read_dir(&config.state_dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.contains(".before-restore-") || name.contains(".before-rekey-"))
        .collect();
    kept.sort();
    if !kept.is_empty() {
        let more = kept.len().saturating_sub(MAX_NAMED);
        kept.truncate(MAX_NAMED);
        let and = if more == 0 { String::new() } else { format!(" and {more} more") };
        report.note(
            "leftovers",
            format!("{}{and}", kept.join(", ")),
            "delete them once all is well; an old key is needed as long as a backup from its time is",
        );
    }
}
