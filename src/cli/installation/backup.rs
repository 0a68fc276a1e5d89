//! `gatewarden backup`: one consistent, verified file, while the daemon runs or not.

use std::path::{Path, PathBuf};

use clap::Args;
use gatewarden_actors::store::StoreError;
use gatewarden_actors::store::maintenance::backup::{KEY_SUFFIX, Wanted, make};
use gatewarden_actors::store::maintenance::unused;
use serde_json::json;

use super::{Done, InstallationArgs, file, key, stamp};
use crate::app::backups;
use crate::cli::EXIT_CONFIG;
use crate::cli::error::CliError;
use crate::cli::output::{counted, size};
use crate::config::Config;

#[derive(Debug, Args)]
pub(in crate::cli) struct BackupArgs {
    /// File to write, which must not exist, or a directory to write it into [default: backups in the state directory]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Write the encryption key too, into FILE.key. Who has both can read all tokens
    #[arg(long)]
    with_key: bool,
    /// File of the encryption key, where the service gets it as a credential
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) installation: InstallationArgs,
}

/// Makes one.
pub(in crate::cli) fn back_up(args: &BackupArgs, config: &Config) -> Result<Done, CliError> {
    let (database, named) = (file(config)?, args.key.as_deref());
    let found = key(config, named)?;
    let source = found.path().display().to_string();
    let found = (!found.is_missing()).then_some(found);
    if args.with_key && found.is_none() {
        let sentence = format!(
            "There is no encryption key at {source}, so it cannot be put into the backup. Where the service gets its key as a \
             credential, name the file that the credential is made of with --key FILE."
        );
        return Err(CliError::coded(EXIT_CONFIG, sentence));
    }
    let to = target(args.to.as_deref(), config)?;
    let may_be_another = args.to.as_deref().is_none_or(Path::is_dir) && to.symlink_metadata().is_err();
    let backup = match make(Wanted { database, to: &to, key: found, with_key: args.with_key }) {
        // Another command took the place meanwhile.
        Err(StoreError::Exists { .. }) if may_be_another => return back_up(args, config),
        made => made?,
    };
    let contents = &backup.contents;
    let mut lines = vec![format!(
        "backup  {} ({}, {}), checked page by page",
        backup.path.display(),
        size(contents.bytes),
        counted(contents.gateways, "gateway")
    )];
    lines.push(match &backup.key_path {
        Some(path) => {
            format!("key     {}: included. Who has both files can read all tokens; keep them apart", path.display())
        }
        None => {
            "key     NOT included. Without its encryption key the backup cannot be opened: keep a copy of the key in \
                 another place"
                .to_owned()
        }
    });
    if backup.key_path.is_none() && contents.key_checked {
        lines.push(format!("        it is {source}, and was seen to open the backup"));
    } else if !contents.key_checked {
        lines.push(format!(
            "        none is at {source}, so whether one opens the backup was not tried; name its file with --key FILE"
        ));
    }
    let json = json!({ "backup": {
        "path": backup.path.display().to_string(),
        "bytes": contents.bytes,
        "gateways": contents.gateways,
        "schema": contents.schema,
        "key_included": backup.key_path.is_some(),
        "key_path": backup.key_path.as_ref().map(|path| path.display().to_string()),
        "key_checked": contents.key_checked,
    }});
    Ok(Done { json, lines })
}

/// The file to write. Only the default directory is made where there is none.
fn target(named: Option<&Path>, config: &Config) -> Result<PathBuf, CliError> {
    let stamp = stamp();
    let unusable = |path: &Path, error: std::io::Error| {
        CliError::new(format!("{} cannot be used: {error}. Name another place with --to.", path.display()))
    };
    match named {
        None => {
            let dir = backups::directory(&config.state_dir);
            if !config.store.database.place().exists() {
                // Says so itself, without making anything.
                return Ok(free_place(&dir, &stamp));
            }
            backups::make_directory(&dir).map_err(|error| unusable(&dir, error))?;
            Ok(free_place(&dir, &stamp))
        }
        Some(path) => {
            let path = std::path::absolute(path).map_err(|error| unusable(path, error))?;
            Ok(if path.is_dir() { free_place(&path, &stamp) } else { path })
        }
    }
}

/// The file of this time: another backup of the same second is kept.
fn free_place(dir: &Path, stamp: &str) -> PathBuf {
    let place = |stamp: &str| dir.join(backups::file_name(stamp));
    place(&unused(stamp, |stamp| {
        let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
        is_there(place(stamp)) || is_there(dir.join(backups::file_name(stamp) + KEY_SUFFIX))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_backups_of_one_second_have_places_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["gatewarden-20261121T180545Z.db", "gatewarden-20261121T180545Z-2.db", "gatewarden-20261121T180545Z-3.db"];
        for name in names {
            let place = free_place(dir.path(), "20261121T180545Z");
            assert_eq!(place, dir.path().join(name));
            std::fs::write(place, "").unwrap();
        }
    }
}
