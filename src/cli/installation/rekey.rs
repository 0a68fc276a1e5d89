//! `gatewarden rekey`: seals everything anew with another encryption key, while the daemon is stopped.

use std::path::PathBuf;

use clap::Args;
use gatewarden_actors::store::StoreError;
use gatewarden_actors::store::key_file::SealingKey;
use gatewarden_actors::store::maintenance::rekey::{self, Rekey};
use serde_json::json;

use super::{Done, InstallationArgs, claim, key, stamp};
use crate::app::StartError;
use crate::cli::EXIT_CONFIG;
use crate::cli::error::CliError;
use crate::cli::output::counted;
use crate::config::Config;

#[derive(Debug, Args)]
pub(in crate::cli) struct RekeyArgs {
    /// The present encryption key, where the service gets it as a credential [default: the state directory's]
    #[arg(long, value_name = "FILE", requires = "new_key")]
    key: Option<PathBuf>,
    /// The new key: 32 bytes, raw, as 64 hex digits or as base64 [default: one is drawn]
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) installation: InstallationArgs,
}

/// Changes the key.
pub(in crate::cli) fn rekey(args: &RekeyArgs, config: &Config) -> Result<Done, CliError> {
    let database = &config.store.database;
    let old = key(config, args.key.as_deref())?;
    let old_source = old.path().display().to_string();
    if !old.is_of(&config.state_dir) && args.new_key.is_none() {
        let sentence = format!(
            "The present encryption key is {old_source}, which this command cannot replace. Make a new key \
             (`openssl rand -hex 32 > FILE`, mode 0600), name it with --new-key FILE, and put it into the credential afterwards. \
             Nothing was changed."
        );
        return Err(CliError::coded(EXIT_CONFIG, sentence));
    }
    if database.file().is_some_and(|file| !file.exists()) {
        // Before a state directory is made for nothing.
        return Err(StoreError::NoDatabase { path: database.place() }.into());
    }
    let new = match &args.new_key {
        Some(file) => SealingKey::from_file(file),
        None => SealingKey::draw(&config.state_dir),
    };
    let new = new.map_err(StartError::from)?;
    let claimed = claim(&config.state_dir)?;
    let stamp = stamp();
    let patience = config.store.busy_timeout;
    let done = rekey::rekey(Rekey { state_dir: claimed.path(), database, patience, old, new, stamp: &stamp })?;
    let mut lines =
        vec![format!("rekeyed  {} sealed anew in {}", counted(done.count, "secret"), database.place().display())];
    if let Some(kept) = &done.kept {
        lines.push(format!(
            "kept     the old key as {}: backups made before open with it alone. Delete it when you need none of them",
            kept.display()
        ));
    }
    let new_source = args.new_key.as_ref().map(|path| path.display().to_string());
    if !done.key_replaced {
        lines.push(format!(
            "YOU MUST put {} in the place of {old_source} before the daemon starts: into the file or credential that the \
             service loads as gatewarden.key. Keep the old key: backups made before open with it alone.",
            new_source.as_deref().unwrap_or("the new key")
        ));
    }
    if database.file().is_none() {
        lines.push(
            "YOU MUST give the new key to every other node of this database before that node starts again".to_owned(),
        );
    }
    for value in &done.unreadable {
        lines.push(format!("left     {value}: it did not open with the old key either; set it again"));
    }
    if !done.scrubbed {
        lines.push(
            "note     there was no room to write the database anew, so values sealed with the old key may remain in its free \
             space"
                .to_owned(),
        );
    }
    let copy = if database.file().is_some() { "backup" } else { "dump" };
    lines.push(format!("Make a {copy} now: it opens with the new key."));
    let json = json!({ "rekeyed": {
        "count": done.count,
        "unreadable": done.unreadable,
        "kept": done.kept.map(|path| path.display().to_string()),
        "key_replaced": done.key_replaced,
        "scrubbed": done.scrubbed,
    }});
    Ok(Done { json, lines })
}
