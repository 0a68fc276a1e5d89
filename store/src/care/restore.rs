//! Puts a backup in the place of the database: verified first, the old one kept, and nothing in between that can't be started.
//!
//! Nobody else may use the state directory meanwhile: the caller holds its lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::connection::SimpleConnection;

use super::backup::{Contents, Tried, look};
use super::error::CareError;
use super::files::{
    Unfinished, beside, copy_private, directory_of, give_to_owner_of_place, keep_as, remove_if_there, sync_directory,
};
use super::space;
use crate::connection;
use crate::key_file::{KEY_FILE_NAME, NEXT_KEY_FILE_NAME, SealingKey, promote_next};
use crate::verification;

/// How long a lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// The first bytes of every SQLite database.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

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
pub fn restore(wanted: Restore<'_>) -> Result<Restored, CareError> {
    let mut restoring = Restoring::begin(wanted)?;
    for step in Step::ALL {
        restoring.carry_out(step)?;
    }
    Ok(restoring.done())
}

/// A restore under way: the backup's verified copy lies beside the database.
#[derive(Debug)]
pub(super) struct Restoring<'a> {
    state_dir: &'a Path,
    database: &'a Path,
    key: SealingKey,
    replaces_key: bool,
    stamp: &'a str,
    copy: Option<Unfinished>,
    contents: Contents,
    kept: Vec<PathBuf>,
}

impl<'a> Restoring<'a> {
    pub(super) fn begin(wanted: Restore<'a>) -> Result<Self, CareError> {
        let Restore { state_dir, database, from, key, install_key, stamp } = wanted;
        check_header(from)?;
        let copy = Unfinished::at(beside(database, ".restoring"));
        copy_whole(from, copy.path())?;
        // In the words of whoever named the file: the copy is nobody's business.
        let (contents, key) = look(copy.path(), Tried::Key(key)).map_err(|error| named(error, from))?;
        let key = key.ok_or_else(|| CareError::NoKey { path: state_dir.join(KEY_FILE_NAME) })?;
        let present = SealingKey::load_or_create(None, state_dir).ok().filter(|present| !present.is_new());
        let replaces_key = install_key && present.is_none_or(|present| !present.is_same_as(&key));
        Ok(Self { state_dir, database, key, replaces_key, stamp, copy: Some(copy), contents, kept: Vec::new() })
    }

    pub(super) fn carry_out(&mut self, step: Step) -> Result<(), CareError> {
        let key_path = self.state_dir.join(KEY_FILE_NAME);
        let next_path = self.state_dir.join(NEXT_KEY_FILE_NAME);
        match step {
            Step::StageKey if self.replaces_key => {
                let staged = remove_if_there(&next_path).and_then(|()| self.key.write_to(&next_path));
                staged.map_err(CareError::file(&next_path, "written"))?;
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
                sync_directory(dir).map_err(CareError::file(dir, "written"))?;
            }
            Step::Swap => {
                // The old one's log must not be taken for one of the new database. It is empty, or was kept.
                for suffix in ["-wal", "-shm", "-journal"] {
                    let path = beside(self.database, suffix);
                    remove_if_there(&path).map_err(CareError::file(&path, "removed"))?;
                }
                if let Some(copy) = self.copy.take() {
                    give_to_owner_of_place(copy.path());
                    copy.finish(self.database).map_err(CareError::file(self.database, "replaced"))?;
                }
            }
            Step::PromoteKey if self.replaces_key => {
                promote_next(self.state_dir).map_err(CareError::file(&key_path, "replaced"))?;
            }
            Step::StageKey | Step::PromoteKey => {}
        }
        Ok(())
    }

    pub(super) fn done(self) -> Restored {
        Restored { contents: self.contents, kept: self.kept, key_installed: self.replaces_key }
    }

    /// Writes what the old database's log holds into the database, so that one file is all of it. A damaged one, which is what
    /// one restores after all, keeps its log as a file.
    fn fold_log_in(&self) {
        if self.database.exists() {
            let folded = connection::open_plain(self.database, LOCK_WAIT).map_err(|error| error.to_string()).and_then(
                |mut connection| {
                    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").map_err(|error| error.to_string())
                },
            );
            if let Err(error) = folded {
                tracing::debug!(%error, "the old database keeps its log");
            }
        }
    }

    fn keep(&mut self, path: PathBuf) -> Result<(), CareError> {
        // An empty log says nothing.
        if !fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            return Ok(());
        }
        let kept = match path.to_string_lossy().strip_suffix("-wal") {
            Some(_) => beside(&beside(self.database, &format!(".before-restore-{}", self.stamp)), "-wal"),
            None => beside(&path, &format!(".before-restore-{}", self.stamp)),
        };
        keep_as(&path, &kept).map_err(CareError::file(&kept, "written"))?;
        self.kept.push(kept);
        Ok(())
    }
}

fn check_header(from: &Path) -> Result<(), CareError> {
    use std::io::Read as _;
    let mut start = Vec::with_capacity(HEADER.len());
    let file = fs::File::open(from).map_err(CareError::file(from, "read"))?;
    file.take(HEADER.len() as u64).read_to_end(&mut start).map_err(CareError::file(from, "read"))?;
    if start == HEADER {
        return Ok(());
    }
    Err(verification::corrupt(from, "its first bytes are not those of a SQLite database").into())
}

/// Copies a database with the log that may lie beside it, and makes one file of them.
fn copy_whole(from: &Path, to: &Path) -> Result<(), CareError> {
    for suffix in ["", "-wal"] {
        let (source, target) = (beside(from, suffix), beside(to, suffix));
        remove_if_there(&target).map_err(CareError::file(&target, "written"))?;
        if suffix.is_empty() || source.exists() {
            copy_private(&source, &target).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => CareError::file(&source, "read")(error),
                _ => CareError::file(&target, "written")(error),
            })?;
        }
    }
    let opened = connection::open_plain(to, LOCK_WAIT).map_err(|error| error.to_string());
    let single = opened.and_then(|mut connection| {
        connection.batch_execute("PRAGMA journal_mode = DELETE").map_err(|error| error.to_string())?;
        // One of an early release is written anew: it is a copy, and nobody waits for a daemon. Damage is found later.
        if let Ok(false) = space::can_shrink(&mut connection) {
            let _ = space::let_shrink_anew(&mut connection);
        }
        Ok(())
    });
    single.map_err(|words| verification::broken(from, &words))?;
    fs::File::open(to).and_then(|file| file.sync_all()).map_err(CareError::file(to, "written"))
}

/// The same error about the file that was named.
fn named(error: CareError, from: &Path) -> CareError {
    use crate::open_error::StoreOpenError as Open;
    let path = from.to_path_buf();
    match error {
        CareError::Database(Open::WrongKey { key_source, .. }) => Open::WrongKey { path, key_source }.into(),
        CareError::Database(Open::KeyMissing { key_path, .. }) => Open::KeyMissing { path, key_path }.into(),
        CareError::Database(Open::Corrupt { detail, .. }) => Open::Corrupt { path, detail }.into(),
        CareError::Database(Open::TooNew { unknown, .. }) => Open::TooNew { path, unknown }.into(),
        other => other,
    }
}
