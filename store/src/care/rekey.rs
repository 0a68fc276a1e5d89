//! Seals everything anew with another key.
//!
//! The state directory's own key: the new key is on disk beside the old one before anything is sealed with it, everything is
//! sealed in one transaction, and then the new key takes the old one's place. In between, whichever of the two opens the
//! database counts. A key that an operator holds (the file behind a credential) is the operator's to replace: both are on
//! disk by then, so only the transaction is ours.
//!
//! Nobody else may use the state directory meanwhile: the caller holds its lock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;

use super::error::CareError;
use super::files::{directory_of, give_to_owner_of_place, keep_as, remove_if_there, sync_directory};
use super::sealed_columns::{ResealError, Resealed, reseal};
use crate::connection::{self, Which};
use crate::key_file::{KEY_FILE_NAME, NEXT_KEY_FILE_NAME, SealingKey, promote_next};
use crate::sealing::Sealer;
use crate::verification;

/// How long a lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Which key is to take the place of which.
#[derive(Debug)]
pub struct Rekey<'a> {
    /// The state directory, locked by the caller.
    pub state_dir: &'a Path,
    /// The database.
    pub database: &'a Path,
    /// The key that opens it now.
    pub old: SealingKey,
    /// The key that is to open it.
    pub new: SealingKey,
    /// Stands in the name of the old key that is kept, such as `20261121T180545Z`.
    pub stamp: &'a str,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// Values that were sealed anew.
    pub count: u64,
    /// Values that didn't open with the old key either and were left as they are: table, row and column.
    pub unreadable: Vec<String>,
    /// The old key under its new name, where it was the state directory's.
    pub kept: Option<PathBuf>,
    /// Whether the state directory's key file holds the new key. Where it doesn't, the operator must hand the new one over.
    pub key_replaced: bool,
    /// Whether the database was also written anew, so that nothing sealed with the old key is left in its free space.
    pub scrubbed: bool,
}

/// The order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The new key is on disk beside the old one: whichever opens the database counts from here on.
    StageKey,
    /// The old key has a second name.
    KeepOld,
    /// Everything is sealed with the new key.
    Reseal,
    /// The new key has the key file's name.
    PromoteKey,
    /// What was sealed with the old key is gone from the free space of the file and of its log.
    Scrub,
}

impl Step {
    /// All of them in their order.
    pub const ALL: [Self; 5] = [Self::StageKey, Self::KeepOld, Self::Reseal, Self::PromoteKey, Self::Scrub];
}

/// Changes the key.
///
/// # Errors
/// The old key doesn't open the database, or something can't be written. The database opens with the old key then, unless the
/// very last file operations failed: then with the new one, which the next start finds.
pub fn rekey(wanted: Rekey<'_>) -> Result<Rekeyed, CareError> {
    let mut rekeying = Rekeying::begin(wanted)?;
    for step in Step::ALL {
        rekeying.carry_out(step)?;
    }
    Ok(rekeying.done())
}

/// A change of keys under way.
#[derive(Debug)]
pub(super) struct Rekeying<'a> {
    state_dir: &'a Path,
    database: &'a Path,
    old: Sealer,
    new: SealingKey,
    /// Whether the key file is ours to replace.
    own_file: bool,
    stamp: &'a str,
    resealed: Resealed,
    kept: Option<PathBuf>,
    scrubbed: bool,
}

impl<'a> Rekeying<'a> {
    pub(super) fn begin(wanted: Rekey<'a>) -> Result<Self, CareError> {
        let Rekey { state_dir, database, old, new, stamp } = wanted;
        if !database.exists() {
            return Err(CareError::NoDatabase { path: database.to_path_buf() });
        }
        if old.is_missing() {
            return Err(CareError::NoKey { path: old.path().to_path_buf() });
        }
        let own_file = old.is_of(state_dir);
        let mut connection = open(database)?;
        verification::schema(&mut connection, database)?;
        let (old, sealer) = match verification::canary(&mut connection, database)? {
            Some(canary) => verification::right_key(old, &canary, database)?,
            None => {
                let sealer = Sealer::new(old.bytes());
                (old, sealer)
            }
        };
        if old.is_same_as(&new) {
            return Err(CareError::SameKey);
        }
        if own_file && !old.is_of(state_dir) {
            // An earlier change was broken off after its transaction.
            let path = state_dir.join(KEY_FILE_NAME);
            promote_next(state_dir).map_err(CareError::file(&path, "replaced"))?;
        }
        let (resealed, kept) = (Resealed::default(), None);
        Ok(Self { state_dir, database, old: sealer, new, own_file, stamp, resealed, kept, scrubbed: false })
    }

    pub(super) fn carry_out(&mut self, step: Step) -> Result<(), CareError> {
        let key_path = self.state_dir.join(KEY_FILE_NAME);
        let next_path = self.state_dir.join(NEXT_KEY_FILE_NAME);
        match step {
            Step::StageKey if self.own_file => {
                let staged = remove_if_there(&next_path).and_then(|()| self.new.write_to(&next_path));
                staged.map_err(CareError::file(&next_path, "written"))?;
                give_to_owner_of_place(&next_path);
            }
            Step::KeepOld if self.own_file => {
                let kept = self.state_dir.join(format!("{KEY_FILE_NAME}.before-rekey-{}", self.stamp));
                keep_as(&key_path, &kept)
                    .and_then(|()| sync_directory(directory_of(&kept)))
                    .map_err(CareError::file(&kept, "written"))?;
                self.kept = Some(kept);
            }
            Step::Reseal => self.reseal()?,
            Step::PromoteKey if self.own_file => {
                promote_next(self.state_dir).map_err(CareError::file(&key_path, "replaced"))?;
            }
            Step::Scrub => self.scrubbed = self.scrub(),
            Step::StageKey | Step::KeepOld | Step::PromoteKey => {}
        }
        Ok(())
    }

    pub(super) fn done(self) -> Rekeyed {
        Rekeyed {
            count: self.resealed.count,
            unreadable: self.resealed.unreadable,
            kept: self.kept,
            key_replaced: self.own_file,
            scrubbed: self.scrubbed,
        }
    }

    fn reseal(&mut self) -> Result<(), CareError> {
        let database = self.database;
        let mut connection = open(database)?;
        connection::configure(&mut connection, Which::Writer)
            .map_err(|error| verification::broken(database, &error.to_string()))?;
        let (old, new) = (&self.old, Sealer::new(self.new.bytes()));
        let done = connection.immediate_transaction(|connection| reseal(connection, old, &new));
        self.resealed = done.map_err(|error| match error {
            ResealError::Unknown(count, columns) => CareError::UnknownSealed { count, columns },
            other => verification::broken(database, &other.to_string()).into(),
        })?;
        Ok(())
    }

    /// Needs room for a second copy of the database; where there is none, everything but this is done.
    fn scrub(&self) -> bool {
        let scrubbed = open(self.database).is_ok_and(|mut connection| {
            connection.batch_execute("VACUUM").is_ok()
                && connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").is_ok()
        });
        for suffix in ["-wal", "-shm"] {
            give_to_owner_of_place(&super::files::beside(self.database, suffix));
        }
        scrubbed
    }
}

fn open(database: &Path) -> Result<SqliteConnection, CareError> {
    connection::open_plain(database, LOCK_WAIT)
        .map_err(|error| verification::broken(database, &error.to_string()).into())
}
