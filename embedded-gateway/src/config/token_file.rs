//! `gateway-token` in the state directory: the shared token of a gateway that was given none, made at the first start.

use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gatewarden_protocol::Secret;

use crate::clock::Chance;
use crate::private_files::replace;

const NAME: &str = "gateway-token";
/// No token is longer, in bytes.
const LONGEST: u64 = 4096;
const SHORTEST: usize = 12;

/// The token can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The operating system says no.
    #[error("The gateway's token cannot be read or made at {path}: {source}. Check that the directory belongs to you.")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error(
        "The gateway's token in {path} may be read by other users (mode {mode:04o}). Delete the file, so that a new token \
         is made, or run chmod 600 on it."
    )]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds no token.
    #[error("{path} holds no usable token (at least 12 characters). Delete the file, so that a new token is made.")]
    Unusable {
        /// The file.
        path: PathBuf,
    },
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// The one of a state directory.
    pub fn of(state_dir: &Path) -> Self {
        Self(state_dir.join(NAME))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn io(&self, source: std::io::Error) -> TokenFileError {
        TokenFileError::Io { path: self.0.clone(), source }
    }

    /// The token, where there is one.
    ///
    /// # Errors
    /// It can't be read, others may read it, or it is none.
    pub fn read(&self) -> Result<Option<Secret>, TokenFileError> {
        let file = match std::fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(error)),
        };
        let found = file.metadata().map_err(|error| self.io(error))?;
        if ![0, rustix::process::geteuid().as_raw()].contains(&found.uid()) {
            // Root can read it, and whoever put it there knows it.
            return Err(self.io(std::io::Error::new(ErrorKind::PermissionDenied, "the file belongs to another user")));
        }
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenFileError::NotPrivate { path: self.0.clone(), mode });
        }
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).map_err(|error| self.io(error))?;
        let token = text.trim();
        if token.len() < SHORTEST || token.chars().any(char::is_control) {
            return Err(TokenFileError::Unusable { path: self.0.clone() });
        }
        Ok(Some(Secret::new(token)))
    }

    /// The token, made where there is none and synced to disk before it counts.
    pub(super) fn load_or_create(&self, chance: &mut dyn Chance) -> Result<Secret, TokenFileError> {
        if let Some(token) = self.read()? {
            return Ok(token);
        }
        let token = chance.secret();
        let line = format!("{}\n", token.expose());
        replace(&self.0, line.as_bytes()).map_err(|error| self.io(error))?;
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::CountingChance;

    #[test]
    fn the_first_start_makes_a_private_token_and_later_ones_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::of(dir.path());
        assert_eq!(file.read().unwrap(), None);
        let made = file.load_or_create(&mut CountingChance::default()).unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.load_or_create(&mut CountingChance(7)).unwrap(), made);
        assert_eq!(file.read().unwrap(), Some(made));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_waits_beside_it_neither_gets_the_token_nor_lends_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (state, elsewhere) = (dir.path().join("state"), dir.path().join("elsewhere"));
        std::fs::create_dir(&state).unwrap();
        std::fs::write(&elsewhere, "").unwrap();
        let file = TokenFile::of(&state);
        for planted in [true, false] {
            let beside = file.path().with_extension("new");
            if planted {
                std::os::unix::fs::symlink(&elsewhere, &beside).unwrap();
            } else {
                std::fs::write(&beside, "").unwrap();
                std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o666)).unwrap();
            }
            file.load_or_create(&mut CountingChance::default()).unwrap();
            assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "");
            let found = std::fs::symlink_metadata(file.path()).unwrap();
            assert!(found.is_file() && found.mode() & 0o777 == 0o600);
            std::fs::remove_file(file.path()).unwrap();
        }
    }

    #[test]
    fn a_token_that_others_may_read_or_that_is_none_is_refused_with_its_cure() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::of(dir.path());
        std::fs::write(file.path(), "a-token-long-enough").unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = file.read().unwrap_err().to_string();
        assert!(said.contains("0644") && said.contains("chmod 600") && !said.contains("long-enough"), "{said}");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["", "short", "with a\u{7}bell in it"] {
            std::fs::write(file.path(), bad).unwrap();
            let said = file.load_or_create(&mut CountingChance::default()).unwrap_err().to_string();
            assert!(said.contains("Delete the file"), "{said}");
        }
    }
}
