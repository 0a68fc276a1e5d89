//! Names for daemons, each with its URL and the file that holds its key, kept in the user's configuration directory. One of them may
//! be in use: commands that name no daemon talk to it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gatewarden_embedded_gateway::private_files::replace;
use gatewarden_protocol::Secret;
use serde::{Deserialize, Serialize};

use super::PlaceArgs;
use crate::cli::error::CliError;
use crate::cli::files::read_secret;
use crate::cli::output::{complain, plain};
use crate::config::{Inputs, URL_VARIABLE};

/// A daemon that has a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::cli) struct Context {
    /// Its name, where it was chosen by that.
    #[serde(skip)]
    pub(in crate::cli) name: String,
    pub(in crate::cli) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) key_file: Option<PathBuf>,
}

impl Context {
    pub(in crate::cli) fn key(&self) -> Result<Option<Secret>, CliError> {
        self.key_file.as_deref().map(read_secret).transpose()
    }
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::cli) struct Contexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) current: Option<String>,
    #[serde(default)]
    pub(in crate::cli) contexts: BTreeMap<String, Context>,
}

pub(in crate::cli) fn directory(inputs: &Inputs) -> Option<PathBuf> {
    let absolute = |name| inputs.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("gatewarden"))
}

impl Contexts {
    pub(in crate::cli) fn load(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join("contexts.toml");
        let broken = |error: &dyn std::fmt::Display| {
            CliError::usage(format!("{} cannot be read: {error}.", path.display()))
                .cure("Correct or delete it; `gatewarden context add` makes it anew.")
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| broken(&error.message())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(broken(&error)),
        }
    }

    /// In the file's place only once it is whole.
    pub(in crate::cli) fn save(&self, dir: &Path) -> Result<(), CliError> {
        let path = dir.join("contexts.toml");
        let text = toml::to_string(self).map_err(CliError::new)?;
        replace(&path, text.as_bytes())
            .map_err(|error| CliError::new(format!("{} cannot be written: {error}.", path.display())))
    }

    fn chosen(&self, name: &str) -> Result<Context, CliError> {
        Ok(Context { name: name.to_owned(), ..self.get(name)?.clone() })
    }

    pub(in crate::cli) fn get(&self, name: &str) -> Result<&Context, CliError> {
        self.contexts.get(name).ok_or_else(|| {
            CliError::usage(format!("There is no context called {}.", plain(name)))
                .cure("`gatewarden context list` shows all; `gatewarden context add` makes one.")
        })
    }
}

/// The daemon that `--context` names, else the one in use where nothing else says which daemon.
pub(in crate::cli) fn chosen(args: &PlaceArgs, inputs: &Inputs) -> Result<Option<Context>, CliError> {
    let dir = directory(inputs);
    let load = || dir.as_deref().map_or_else(|| Ok(Contexts::default()), Contexts::load);
    if let Some(name) = &args.context {
        return load()?.chosen(name).map(Some);
    }
    if args.url.is_some() || args.state_dir.is_some() || inputs.variable(URL_VARIABLE).is_some() {
        return Ok(None);
    }
    let contexts = match load() {
        // Whoever gives a key asks the daemon of this machine, where no context can say otherwise.
        Err(error) if args.key_file.is_some() => {
            complain(&format!("{}. The daemon of this machine is asked.", error.sentence()));
            return Ok(None);
        }
        contexts => contexts?,
    };
    contexts.current.as_deref().map(|name| contexts.chosen(name)).transpose()
}
