//! What the commands have in common that look after the database: which installation, which key, and how they say what
//! they did.

use std::path::{Path, PathBuf};

use clap::Args;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::store::StoreError;
use gatewarden_actors::store::key_file::SealingKey;
use serde_json::{Value, json};

use super::{EXIT_CONFIG, EXIT_OK, terminal};
use crate::app::{StartError, StateDir, backups};
use crate::config::{Config, Inputs};

/// Which installation, and how it is shown.
#[derive(Debug, Clone, Args)]
pub(super) struct InstallationArgs {
    /// Configuration file [default: /etc/gatewarden/gatewarden.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Directory of database and keys
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A sentence, and the exit code that goes with it.
#[derive(Debug)]
pub(super) struct Refusal {
    code: u8,
    sentence: String,
}

impl Refusal {
    pub(super) fn new(code: u8, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }

    /// What was said.
    pub(super) fn sentence(&self) -> &str {
        &self.sentence
    }

    /// The same with a sentence more.
    pub(super) fn and(self, sentence: &str) -> Self {
        Self { sentence: format!("{} {sentence}", self.sentence), ..self }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

/// What was done, for programs and for people.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) json: Value,
    pub(super) lines: Vec<String>,
}

impl InstallationArgs {
    pub(super) fn inputs(&self) -> Inputs {
        Inputs { config_file: self.config.clone(), state_dir: self.state_dir.clone(), ..Inputs::of_process() }
    }

    /// Carries a command out and says how it went; the exit code.
    pub(super) fn run(&self, command: impl FnOnce(&Config) -> Result<Done, Refusal>) -> u8 {
        let config = Config::load(&self.inputs()).map_err(|error| Refusal::new(EXIT_CONFIG, error.to_string()));
        match config.and_then(|config| command(&config)) {
            Ok(done) => {
                terminal::print(&if self.json { done.json.to_string() } else { done.lines.join("\n") });
                EXIT_OK
            }
            Err(Refusal { code, sentence }) => {
                if self.json {
                    terminal::complain_as_is(&json!({ "error": sentence }).to_string());
                } else {
                    terminal::complain(&sentence);
                }
                code
            }
        }
    }
}

/// The key of a file that was named, else that of the installation.
pub(super) fn key(config: &Config, named: Option<&Path>) -> Result<SealingKey, Refusal> {
    let key = match named {
        Some(file) => SealingKey::from_file(file),
        None => SealingKey::load_or_create(config.credentials_dir.as_deref(), &config.state_dir),
    };
    key.map_err(|error| StartError::from(error).into())
}

/// The state directory, ours alone until this is dropped. Unlike a daemon's start this never makes one.
pub(super) fn claim(config: &Config) -> Result<StateDir, Refusal> {
    StateDir::claim(&config.state_dir).map_err(|error| match error {
        StartError::InUse { path, holder } => {
            let who = holder.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            let sentence = format!(
                "A gatewarden works in the state directory {}{who}. Stop it first, for instance with `systemctl stop \
                 gatewarden`, and start it again afterwards. Nothing was changed.",
                path.display()
            );
            Refusal::new(super::EXIT_FAILURE, sentence)
        }
        other => other.into(),
    })
}

/// Now, as it stands in file names: `20261121T180545Z`.
pub(super) fn stamp() -> String {
    backups::stamp(Clock::system().wall_ms())
}

/// A size as people say it.
pub(super) fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const GIB: u64 = 1024 * MIB;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        MIB..GIB => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
        _ => format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB),
    }
}

/// `1 gateway`, `2 gateways`.
pub(super) fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_read_as_people_say_them() {
        for (bytes, said) in [(7, "7 bytes"), (2048, "2 KiB"), (1_600_000, "1.5 MiB"), (5_368_709_120, "5.0 GiB")] {
            assert_eq!(size(bytes), said);
        }
        assert_eq!((counted(1, "gateway"), counted(0, "gateway")), ("1 gateway".to_owned(), "0 gateways".to_owned()));
    }
}
