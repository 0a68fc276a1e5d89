//! The state directory: private, and used by one daemon at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::start_error::StartError;

/// A state directory that is ours until this value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// The file whose lock says that the directory is in use.
    pub const LOCK_FILE: &str = "gatewarden.lock";

    /// Makes the directory where there is none (mode 0700) and locks it.
    ///
    /// # Errors
    /// It can't be made or written to, or another daemon has it.
    pub fn claim(path: &Path) -> Result<Self, StartError> {
        let unusable = |source| StartError::StateDir { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(Self::LOCK_FILE))
            .map_err(unusable)?;
        give_to_owner_of_place(&path.join(Self::LOCK_FILE));
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let holder = lock.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
                return Err(StartError::InUse { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // The number is for the sentence that a second daemon says; the lock itself is the kernel's.
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Gives what root made in somebody's directory to that somebody: else the daemon, once it runs as its own user, couldn't use
/// it. Anybody else owns what they make, and can't give it away.
pub(super) fn give_to_owner_of_place(path: &Path) {
    let place = path.parent().unwrap_or(Path::new("/"));
    let (Ok(place), Ok(made)) = (std::fs::metadata(place), std::fs::symlink_metadata(path)) else { return };
    if (place.uid(), place.gid()) != (made.uid(), made.gid()) {
        let _ = chown(path, Some(place.uid()), Some(place.gid()));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_directory_is_private() {
        let parent = tempfile::TempDir::new().unwrap();
        let path = parent.path().join("a/state");
        let claimed = StateDir::claim(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(claimed.path()), 0o700);
        assert_eq!(mode(&path.join(StateDir::LOCK_FILE)), 0o600);
    }

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let dir = tempfile::TempDir::new().unwrap();
        let first = StateDir::claim(dir.path()).unwrap();
        let error = StateDir::claim(dir.path()).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let said = error.to_string();
        assert!(said.contains("in use by another gatewarden"), "{said}");
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        drop(first);
        assert!(StateDir::claim(dir.path()).is_ok(), "the directory is free again");
    }

    #[test]
    fn a_directory_that_is_a_file_is_refused_with_its_path() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("state");
        std::fs::write(&path, "x").unwrap();
        let said = StateDir::claim(&path).unwrap_err().to_string();
        assert!(said.contains(&path.display().to_string()) && said.contains("--state-dir"), "{said}");
    }
}
