//! The database and its key.

use gatewarden_actors::store::care::error::CareError;
use gatewarden_actors::store::care::inspection::{Inspection, inspect};

use super::DoctorArgs;
use crate::cli::findings::Report;
use crate::cli::installation::key;
use crate::cli::output::{counted, size};
use crate::config::Config;

const AREA: &str = "database";
const MIB: u64 = 1024 * 1024;
/// A log that is longer is not being written back.
const LONG_LOG: u64 = 256 * MIB;
/// Free space of the file that is worth a word, beside its share.
const MUCH_FREE: u64 = 64 * MIB;

/// Gateways that it holds.
pub(super) fn look(report: &mut Report, config: &Config, args: &DoctorArgs, running: bool) -> u64 {
    let path = &config.store.path;
    let key = match key(config, args.key.as_deref()) {
        Ok(key) => Some(key),
        Err(error) => {
            report.problem("encryption key", error.to_string(), "as the sentence says");
            None
        }
    };
    let key_source = key.as_ref().map(|key| key.path().display().to_string()).unwrap_or_default();
    let is_missing = key.as_ref().is_some_and(|key| key.is_missing());
    match inspect(path, key.filter(|key| !key.is_missing()), args.deep) {
        Err(CareError::NoDatabase { .. }) => {
            report.note(AREA, format!("there is none at {}; the first start makes it", path.display()), "");
            0
        }
        Err(error) => {
            report.problem(
                AREA,
                error.to_string(),
                "as the sentence says; `gatewarden restore FILE` puts a backup back",
            );
            0
        }
        Ok(seen) => {
            pages(report, config, &seen, args.deep);
            match &seen.key {
                Some(Ok(())) => report.fine("encryption key", format!("{key_source} opens the database")),
                Some(Err(error)) => report.problem(
                    "encryption key",
                    error.to_string(),
                    "put the right key there; where the service gets it as a credential, name that file with --key FILE to check it",
                ),
                None if is_missing && running => report.note(
                    "encryption key",
                    format!("none at {key_source}; the running daemon must have it as a credential"),
                    "name the file that the credential is made of with --key FILE to check it",
                ),
                None if is_missing && seen.sealed => report.problem(
                    "encryption key",
                    format!("there is none at {key_source}, and the database is sealed with one"),
                    "put it back from its copy; where the service gets it as a credential, name that file with --key FILE to check it",
                ),
                None => {}
            }
            seen.gateways
        }
    }
}

fn pages(report: &mut Report, config: &Config, seen: &Inspection, deep: bool) {
    let path = config.store.path.display();
    if seen.damage.is_empty() {
        let how = if deep { "every page and index" } else { "every page" };
        report.fine(
            AREA,
            format!("{path} is whole ({how}): {}, {}", size(seen.bytes), counted(seen.gateways, "gateway")),
        );
    } else {
        report.problem(
            AREA,
            format!("{path} is damaged: {}", seen.damage.join("; ")),
            "stop the daemon, keep a copy of the file, then `gatewarden restore FILE` with the newest backup; look at the disk too",
        );
    }
    if seen.pending > 0 {
        let text = format!(
            "{} to be made by the next start, after a copy of it was made",
            counted(u64::try_from(seen.pending).unwrap_or(0), "migration")
        );
        report.note(AREA, text, "");
    }
    if seen.log_bytes > LONG_LOG {
        report.problem(
            AREA,
            format!("its log has grown to {}", size(seen.log_bytes)),
            "some process reads the database without an end: see who with `fuser`, end it, and the log is written back",
        );
    }
    if seen.free_bytes > MUCH_FREE && seen.free_bytes > seen.bytes / 2 {
        report.note(
            AREA,
            format!(
                "{} of it hold nothing; the daemon uses them again and gives them back little by little",
                size(seen.free_bytes)
            ),
            "",
        );
    }
}
