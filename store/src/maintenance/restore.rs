//! Puts a backup in the place of the database: verified first, the old one kept, and nothing in between that can't be started.
//!
//! Nobody else may use the state directory meanwhile: the caller holds its lock.

use std::fs;
use std::path::{Path, PathBuf};

use super::backup::{Contents, Tried, look};
use super::{SHORT_LOCK_WAIT, unused};
use crate::error::StoreError;
use crate::files::{
    Unfinished, beside, copy_private, directory_of, give_to_owner_of_place, keep_as, remove_if_there, sync_directory,
    sync_file,
};
use crate::key_file::{KEY_FILE_NAME, NEXT_KEY_FILE_NAME, SealingKey, promote_next};
use crate::{sqlite, startup};

/// What is put back, and where.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The state directory, locked by the caller.
    pub state_dir: &'a Path,
    /// The database to replace; it needn't be there.
    pub database: &'a Path,
    /// The backup. It is not changed.
    pub from: &'a Path,
    /// The key that must open it.
    pub key: SealingKey,
    /// Whether that key becomes the one of the state directory.
    pub install_key: bool,
    /// Stands in the names of what is kept, such as `20261121T180545Z`.
    pub stamp: &'a str,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the database holds now.
    pub contents: Contents,
    /// What was there before, under its new names.
    pub kept: Vec<PathBuf>,
    /// Whether the key file is another one now.
    pub key_installed: bool,
}

/// The order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The new key is on disk beside the present one: whichever opens the database counts from here on.
    StageKey,
    /// The old database and the old key have a second name.
    KeepOld,
    /// The backup has the database's name.
    Swap,
    /// The new key has the key file's name.
    PromoteKey,
}

impl Step {
    /// All of them in their order.
    pub const ALL: [Self; 4] = [Self::StageKey, Self::KeepOld, Self::Swap, Self::PromoteKey];
}

/// Restores. Until the backup has been verified, nothing at all is changed.
///
/// # Errors
/// The backup is damaged, of a newer release, or not opened by the key; or a file can't be written.
pub fn restore(wanted: Restore<'_>) -> Result<Restored, StoreError> {
    let mut restoring = Restoring::begin(wanted)?;
    for step in Step::ALL {
        restoring.carry_out(step)?;
    }
    Ok(restoring.done())
}

/// A restore under way: the backup's verified copy lies beside the database.
#[derive(Debug)]
pub(crate) struct Restoring<'a> {
    state_dir: &'a Path,
    database: &'a Path,
    key: SealingKey,
    replaces_key: bool,
    stamp: String,
    copy: Option<Unfinished>,
    contents: Contents,
    kept: Vec<PathBuf>,
}

impl<'a> Restoring<'a> {
    pub(crate) fn begin(wanted: Restore<'a>) -> Result<Self, StoreError> {
        let Restore { state_dir, database, from, key, install_key, stamp } = wanted;
        let file = fs::File::open(from).map_err(StoreError::file(from, "read"))?;
        if !startup::has_header(file).map_err(StoreError::file(from, "read"))? {
            return Err(startup::no_database(from));
        }
        let copy = Unfinished::at(beside(database, ".restoring"));
        copy_whole(from, copy.path())?;
        // In the words of whoever named the file: the copy is nobody's business.
        let (contents, key) = look(copy.path(), Tried::Key(key)).map_err(|error| error.of(from))?;
        let key = key.ok_or_else(|| StoreError::NoKey { path: state_dir.join(KEY_FILE_NAME) })?;
        let present = SealingKey::load_or_create(None, state_dir).ok().filter(|present| !present.is_new());
        let replaces_key = install_key && present.is_none_or(|present| !present.is_same_as(&key));
        let key_path = state_dir.join(KEY_FILE_NAME);
        let stamp = unused(stamp, |stamp| {
            let kept = kept_as(database, stamp);
            kept.exists() || beside(&kept, "-wal").exists() || kept_as(&key_path, stamp).exists()
        });
        Ok(Self { state_dir, database, key, replaces_key, stamp, copy: Some(copy), contents, kept: Vec::new() })
    }

    pub(crate) fn carry_out(&mut self, step: Step) -> Result<(), StoreError> {
        let key_path = self.state_dir.join(KEY_FILE_NAME);
        let next_path = self.state_dir.join(NEXT_KEY_FILE_NAME);
        match step {
            Step::StageKey if self.replaces_key => {
                let staged = remove_if_there(&next_path).and_then(|()| self.key.write_to(&next_path));
                staged.map_err(StoreError::file(&next_path, "written"))?;
                give_to_owner_of_place(&next_path);
            }
            Step::KeepOld => {
                self.fold_log_in();
                self.keep(self.database.to_path_buf())?;
                self.keep(beside(self.database, "-wal"))?;
                if self.replaces_key {
                    self.keep(key_path)?;
                }
                let dir = directory_of(self.database);
                sync_directory(dir).map_err(StoreError::file(dir, "written"))?;
            }
            Step::Swap => {
                // The old one's log must not be taken for one of the new database. It is empty, or was kept.
                for suffix in ["-wal", "-shm", "-journal"] {
                    let path = beside(self.database, suffix);
                    remove_if_there(&path).map_err(StoreError::file(&path, "removed"))?;
                }
                if let Some(copy) = self.copy.take() {
                    give_to_owner_of_place(copy.path());
                    copy.finish(self.database).map_err(StoreError::file(self.database, "replaced"))?;
                }
            }
            Step::PromoteKey if self.replaces_key => {
                promote_next(self.state_dir).map_err(StoreError::file(&key_path, "replaced"))?;
            }
            Step::StageKey | Step::PromoteKey => {}
        }
        Ok(())
    }

    pub(crate) fn done(self) -> Restored {
        Restored { contents: self.contents, kept: self.kept, key_installed: self.replaces_key }
    }

    /// Writes what the old database's log holds into the database, so that one file is all of it. A damaged one, which is what
    /// one restores after all, keeps its log as a file.
    fn fold_log_in(&self) {
        if self.database.exists() {
            let folded = sqlite::open_plain(self.database, SHORT_LOCK_WAIT)
                .and_then(|mut connection| Ok(sqlite::empty_log(&mut connection)?));
            if let Err(error) = folded {
                tracing::debug!(%error, "the old database keeps its log");
            }
        }
    }

    fn keep(&mut self, path: PathBuf) -> Result<(), StoreError> {
        // An empty log says nothing.
        if !fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            return Ok(());
        }
        let kept = match path.to_string_lossy().strip_suffix("-wal") {
            Some(_) => beside(&kept_as(self.database, &self.stamp), "-wal"),
            None => kept_as(&path, &self.stamp),
        };
        keep_as(&path, &kept).map_err(StoreError::file(&kept, "written"))?;
        self.kept.push(kept);
        Ok(())
    }
}

fn kept_as(path: &Path, stamp: &str) -> PathBuf {
    beside(path, &format!(".before-restore-{stamp}"))
}

/// Copies a database with the log that may lie beside it, and makes one file of them.
fn copy_whole(from: &Path, to: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal"] {
        let (source, target) = (beside(from, suffix), beside(to, suffix));
        remove_if_there(&target).map_err(StoreError::file(&target, "written"))?;
        if suffix.is_empty() || source.exists() {
            copy_private(&source, &target).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => StoreError::file(&source, "read")(error),
                _ => StoreError::file(&target, "written")(error),
            })?;
        }
    }
    let make_single = || {
        let mut connection = sqlite::open_plain(to, SHORT_LOCK_WAIT)?;
        sqlite::fold_log_in(&mut connection)?;
        // One of an early release is written anew: it is a copy, and nobody waits for a daemon. Damage is found later.
        if let Ok(false) = sqlite::can_shrink(&mut connection) {
            let _ = sqlite::let_shrink_anew(&mut connection);
        }
        Ok(())
    };
    make_single().map_err(|error: StoreError| error.of(from))?;
    sync_file(to).map_err(StoreError::file(to, "written"))
}
