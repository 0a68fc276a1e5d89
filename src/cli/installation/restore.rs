//! `gatewarden restore`: puts a backup in the place of the database, while the daemon is stopped.

use std::path::{Path, PathBuf};

use clap::Args;
use gatewarden_actors::store::StoreError;
use gatewarden_actors::store::maintenance::backup::KEY_SUFFIX;
use gatewarden_actors::store::maintenance::restore::{self, Restore};
use serde_json::json;

use super::{Done, InstallationArgs, claim, file, key, stamp};
use crate::cli::EXIT_CONFIG;
use crate::cli::error::CliError;
use crate::cli::output::{counted, size};
use crate::config::Config;

#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// The encryption key that belongs to it; it becomes the key of this installation [default: the present key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) installation: InstallationArgs,
}

/// Restores.
pub(in crate::cli) fn restore(args: &RestoreArgs, config: &Config) -> Result<Done, CliError> {
    let database = file(config)?;
    if !args.from.is_file() {
        let what = if args.from.exists() { "is no file" } else { "does not exist" };
        let sentence = format!("{} {what}. Name a backup. Nothing was changed.", args.from.display());
        return Err(CliError::new(sentence));
    }
    let named = args.key.as_deref();
    let wanted = key(config, named)?;
    let present = key(config, None)?;
    // A credential is not ours to replace; with the right key in it already, there is nothing to replace.
    let from_credential = !present.is_of(&config.state_dir);
    if from_credential && !present.is_same_as(&wanted) {
        let sentence = format!(
            "The encryption key of this service is the credential {}, which this command cannot change. Put the backup's key \
             into that credential first, then restore without --key. Nothing was changed.",
            present.path().display()
        );
        return Err(CliError::coded(EXIT_CONFIG, sentence));
    }
    let claimed = claim(&config.state_dir)?;
    let stamp = stamp();
    let done = restore::restore(Restore {
        state_dir: claimed.path(),
        database,
        from: &args.from,
        key: wanted,
        install_key: named.is_some() && !from_credential,
        stamp: &stamp,
    })
    .map_err(|error| with_hint(error, &args.from, named))?;
    let mut lines = vec![format!(
        "restored  {} from {} ({}, {})",
        database.display(),
        args.from.display(),
        size(done.contents.bytes),
        counted(done.contents.gateways, "gateway")
    )];
    if done.key_installed {
        lines.push("key       the backup's key is the key of this installation now".to_owned());
    }
    lines.extend(done.kept.iter().map(|path| format!("kept      {}", path.display())));
    lines.push("Start the daemon as before. Delete what was kept once all is well.".to_owned());
    let json = json!({ "restored": {
        "path": database.display().to_string(),
        "from": args.from.display().to_string(),
        "gateways": done.contents.gateways,
        "schema": done.contents.schema,
        "key_installed": done.key_installed,
        "kept": done.kept.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    }});
    Ok(Done { json, lines })
}

/// A backup that was made with its key has that beside it.
fn with_hint(error: StoreError, from: &Path, named: Option<&Path>) -> CliError {
    if let StoreError::Corrupt { path, detail } = &error
        && path == from
    {
        let sentence = format!(
            "The backup {} is damaged, or not a database ({detail}). Name another one. Nothing was changed.",
            path.display()
        );
        return CliError::coded(error.exit_code(), sentence);
    }
    let is_about_key = matches!(&error, StoreError::WrongKey { .. } | StoreError::KeyMissing { .. });
    let error = CliError::from(error);
    let mut beside = from.as_os_str().to_owned();
    beside.push(KEY_SUFFIX);
    let beside = PathBuf::from(beside);
    match (is_about_key, named) {
        (true, None) if beside.is_file() => {
            error.and(&format!("Its own key seems to be there: --key {}.", beside.display()))
        }
        (true, None) => error.and("Name the backup's key with --key FILE. Nothing was changed."),
        _ => error.and("Nothing was changed."),
    }
}
