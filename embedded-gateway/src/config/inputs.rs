//! Where the configuration comes from: flags, environment, and the places where the file is looked for; and what is wrong with
//! it, said so that it can be put right.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::lock_file::Holder;

/// Everything that the configuration is made of. Tests fill it in by hand.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// `--config`: must exist.
    pub config_file: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--port`; 0 takes any free one.
    pub port: Option<u16>,
    /// `--bind`: `loopback`, `lan`, `tailnet` or an address.
    pub bind: Option<String>,
    /// The process's environment.
    pub environment: BTreeMap<String, OsString>,
}

impl Inputs {
    /// The environment of this process; names that aren't Unicode can't be ours.
    pub fn of_process() -> Self {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        Self { environment, ..Self::default() }
    }

    /// The same beside a gateway that runs: its configuration file counts unless another one is named.
    #[must_use]
    pub fn beside(self, running: Option<&Holder>) -> Self {
        let config_file = self.config_file.or_else(|| running?.config.clone());
        Self { config_file, ..self }
    }

    /// A variable, where it is set, not empty and Unicode.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// The home directory, where one is known.
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").filter(|home| home.starts_with('/')).map(PathBuf::from)
    }

    /// `--state-dir`, `OPENCLAW_STATE_DIR`, else `gatewarden/gateway` in the XDG state directory; absolute.
    ///
    /// # Errors
    /// None of them can be had.
    pub fn state_directory(&self) -> Result<PathBuf, Problem> {
        if let Some(dir) = &self.state_dir {
            return absolute(&self.expand(dir));
        }
        if let Some(dir) = self.variable("OPENCLAW_STATE_DIR") {
            return absolute(&self.expand(Path::new(dir)));
        }
        if let Some(dir) = self.variable("XDG_STATE_HOME").filter(|dir| dir.starts_with('/')) {
            return Ok(Path::new(dir).join("gatewarden/gateway"));
        }
        let home = self.home().ok_or_else(|| {
            let cure = "there is no $HOME to keep the gateway's state in; say where with --state-dir DIR";
            Problem::of("the environment", None, cure)
        })?;
        Ok(home.join(".local/state/gatewarden/gateway"))
    }

    /// The configuration file: `--config`, `OPENCLAW_CONFIG`, `OPENCLAW_CONFIG_PATH` (which must exist), else the first of
    /// [`Inputs::usual_files`] that exists. None: defaults.
    ///
    /// # Errors
    /// A named file isn't there.
    pub fn file(&self) -> Result<Option<PathBuf>, Problem> {
        let named = [("--config", self.config_file.clone())].into_iter().chain(
            ["OPENCLAW_CONFIG", "OPENCLAW_CONFIG_PATH"]
                .map(|name| (name, self.variable(name).map(|path| self.expand(Path::new(path))))),
        );
        for (origin, path) in named {
            let Some(path) = path else { continue };
            if path.is_file() {
                return Ok(Some(path));
            }
            let cure = format!("there is no file {}; name one that exists, or leave it out", path.display());
            return Err(Problem::of(origin, Some(&path), cure));
        }
        Ok(self.usual_files().into_iter().find(|path| path.is_file()))
    }

    /// Where a file is looked for that nobody named: `openclaw.json` and `openclaw-gateway.yml` in `gatewarden` of the XDG
    /// configuration directory. A file of a real OpenClaw (`~/.openclaw`) is never taken unasked.
    pub fn usual_files(&self) -> Vec<PathBuf> {
        let base = self
            .variable("XDG_CONFIG_HOME")
            .filter(|dir| dir.starts_with('/'))
            .map(PathBuf::from)
            .or_else(|| self.home().map(|home| home.join(".config")));
        base.map(|base| ["openclaw.json", "openclaw-gateway.yml"].map(|name| base.join("gatewarden").join(name)).into())
            .unwrap_or_default()
    }

    /// `~` and `~/...` become the home directory.
    pub(super) fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home,
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(path)
        .map_err(|error| Problem::of("the state directory", Some(path), format!("it cannot be made absolute: {error}")))
}

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands: a file, an environment variable, a flag.
    pub origin: String,
    /// The key as a path (`gateway.auth.mode`), where there is one.
    pub key: Option<String>,
    /// The offending value: a number, a switch, or what a flag or a variable says.
    pub value: Option<String>,
    /// What is wrong and what would be right.
    pub cure: String,
}

impl Problem {
    pub(super) fn of(origin: &str, value: Option<&Path>, cure: impl Into<String>) -> Self {
        let value = value.map(|value| format!("{:?}", value.display().to_string()));
        Self { origin: origin.to_owned(), key: None, value, cure: cure.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            match &self.value {
                Some(value) => write!(f, "{key} = {value}: ")?,
                None => write!(f, "{key}: ")?,
            }
        }
        f.write_str(&self.cure)
    }
}

/// A configuration that can't be used: everything that is wrong with it, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The gateway's configuration cannot be used:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(variables: &[(&str, &str)]) -> Inputs {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        Inputs { environment, ..Inputs::default() }
    }

    #[test]
    fn the_state_directory_is_a_flag_then_the_environment_then_xdg() {
        let flagged = Inputs { state_dir: Some("/a".into()), ..inputs(&[("OPENCLAW_STATE_DIR", "/b")]) };
        assert_eq!(flagged.state_directory().unwrap(), Path::new("/a"));
        assert_eq!(
            inputs(&[("OPENCLAW_STATE_DIR", "~/b"), ("HOME", "/home/x"), ("XDG_STATE_HOME", "/s")])
                .state_directory()
                .unwrap(),
            Path::new("/home/x/b")
        );
        assert_eq!(inputs(&[("XDG_STATE_HOME", "/s")]).state_directory().unwrap(), Path::new("/s/gatewarden/gateway"));
        assert_eq!(
            inputs(&[("HOME", "/home/x"), ("XDG_STATE_HOME", "relative")]).state_directory().unwrap(),
            Path::new("/home/x/.local/state/gatewarden/gateway")
        );
        assert!(inputs(&[]).state_directory().unwrap_err().to_string().contains("--state-dir"));
    }

    #[test]
    fn a_named_file_must_exist_and_an_unnamed_one_need_not() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        assert_eq!(inputs(&[("HOME", home)]).file().unwrap(), None);
        for name in ["OPENCLAW_CONFIG", "OPENCLAW_CONFIG_PATH"] {
            let said = inputs(&[("HOME", home), (name, "~/none.json")]).file().unwrap_err().to_string();
            assert!(said.contains(name) && said.contains("none.json"), "{said}");
        }
        std::fs::create_dir_all(dir.path().join(".config/gatewarden")).unwrap();
        let usual = dir.path().join(".config/gatewarden/openclaw-gateway.yml");
        std::fs::write(&usual, "").unwrap();
        assert_eq!(inputs(&[("HOME", home)]).file().unwrap(), Some(usual));
        let other = dir.path().join("other.json");
        std::fs::write(&other, "").unwrap();
        assert_eq!(inputs(&[("HOME", home), ("OPENCLAW_CONFIG", "~/other.json")]).file().unwrap(), Some(other));
    }

    #[test]
    fn a_real_openclaws_file_is_not_taken_unasked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".openclaw")).unwrap();
        std::fs::write(dir.path().join(".openclaw/openclaw.json"), "{}").unwrap();
        assert_eq!(inputs(&[("HOME", dir.path().to_str().unwrap())]).file().unwrap(), None);
    }
}
