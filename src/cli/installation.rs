//! The installation on this machine: which configuration, key and database, and the commands that look after the database:
//! `gatewarden backup`, `restore`, `rekey` and `store copy`.

mod backup;
mod copy;
mod rekey;
mod restore;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::key_file::SealingKey;
use gatewarden_actors::store::{StoreError, StoreOptions};
use serde_json::{Value, json};

pub(super) use self::backup::{BackupArgs, back_up};
pub(super) use self::copy::{CopyArgs, copy_store};
pub(super) use self::rekey::{RekeyArgs, rekey};
pub(super) use self::restore::{RestoreArgs, restore};
use super::error::CliError;
use super::output::{complain, complain_as_is, print};
use super::{EXIT_FAILURE, EXIT_OK};
use crate::app::{StartError, StateDir, backups};
use crate::config::{Config, Inputs};

/// Which installation.
#[derive(Debug, Clone, Args)]
pub(super) struct ConfigArgs {
    /// Configuration file [default: /etc/gatewarden/gatewarden.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Directory of database and keys
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

/// Which installation, and how it is shown.
#[derive(Debug, Clone, Args)]
pub(super) struct InstallationArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What was done, for programs and for people.
#[derive(Debug)]
pub(super) struct Done {
    json: Value,
    lines: Vec<String>,
}

impl ConfigArgs {
    pub(super) fn inputs(&self) -> Inputs {
        Inputs { config_file: self.config.clone(), state_dir: self.state_dir.clone(), ..Inputs::of_process() }
    }
}

impl InstallationArgs {
    /// Carries a command out and says how it went; the exit code.
    pub(super) fn run(&self, command: impl FnOnce(&Config) -> Result<Done, CliError>) -> u8 {
        let config = Config::load(&self.config.inputs()).map_err(CliError::from);
        match config.and_then(|config| command(&config)) {
            Ok(done) => {
                print(&if self.json { done.json.to_string() } else { done.lines.join("\n") });
                EXIT_OK
            }
            Err(error) => {
                let sentence = error.to_string();
                if self.json {
                    complain_as_is(&json!({ "error": sentence }).to_string());
                } else {
                    complain(&sentence);
                }
                error.exit_code
            }
        }
    }
}

/// The key of a file that was named, else that of the installation.
pub(super) fn key(config: &Config, named: Option<&Path>) -> Result<SealingKey, CliError> {
    let key = match named {
        Some(file) => SealingKey::from_file(file),
        None => SealingKey::load_or_create(config.credentials_dir.as_deref(), &config.state_dir),
    };
    Ok(key.map_err(StartError::from)?)
}

/// The file that the database is, for what is done to files.
fn file(config: &Config) -> Result<&Path, CliError> {
    let database = &config.store.database;
    database.file().ok_or_else(|| StoreError::NoFile { place: database.place() }.into())
}

/// The store of this installation. Reading works beside a running daemon: the database lets several readers in.
pub(super) fn open_store(config: &Config) -> Result<StoreHandle, CliError> {
    let key = key(config, None)?;
    let options = StoreOptions { beside_another: true, ..config.store.clone() };
    let store = StoreHandle::open(options, key, Clock::system(), Arc::new(Metrics::new()));
    Ok(store.map_err(StartError::from)?)
}

/// The state directory, ours alone until this is dropped. Unlike a daemon's start this never makes one.
fn claim(state_dir: &Path) -> Result<StateDir, CliError> {
    StateDir::claim(state_dir).map_err(|error| match error {
        StartError::InUse { path, holder, .. } => {
            let who = holder.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            CliError::coded(
                EXIT_FAILURE,
                format!(
                    "A gatewarden works in the state directory {}{who}. Stop it first, for instance with `systemctl stop \
                     gatewarden`, and start it again afterwards. Nothing was changed.",
                    path.display()
                ),
            )
        }
        other => other.into(),
    })
}

/// Now, as it stands in file names: `20261121T180545Z`.
fn stamp() -> String {
    backups::stamp(Clock::system().wall_ms())
}
