//! Seals everything anew with another key.
//!
//! The state directory's own key: the new key is on disk beside the old one before anything is sealed with it, everything is
//! sealed in one transaction, and then the new key takes the old one's place. In between, whichever of the two opens the
//! database counts. A key that an operator holds (the file behind a credential) is the operator's to replace: both are on
//! disk by then, so only the transaction is ours.
//!
//! Nobody else may use the state directory meanwhile: the caller holds its lock.

use std::path::{Path, PathBuf};

use super::LOCK_WAIT;
use crate::connection::{Connection, Pool};
use crate::database::write_transaction;
use crate::error::StoreError;
use crate::files::{beside, directory_of, give_to_owner_of_place, keep_as, remove_if_there, sync_directory};
use crate::key_file::{KEY_FILE_NAME, NEXT_KEY_FILE_NAME, SealingKey, promote_next};
use crate::sealing::{Place, Sealer};
use crate::sqlite::{self, TextColumn};
use crate::startup::{self, CANARY, CANARY_PLACE};

/// Rows read at a time.
const ROWS: i64 = 500;

/// Where sealed values are, by table and column: whoever adds a sealed column adds it here. A change of keys that was not told
/// of one finds its values by the old key's name in them, and refuses; a test finds it before.
const SEALED: [(&str, &str, RowName); 7] = [
    (CANARY_PLACE.table, CANARY_PLACE.column, RowName::Fixed { name: CANARY, only: "name = 'canary'" }),
    ("identity", "seed", RowName::Fixed { name: "device", only: "id = 1" }),
    ("gateways", "token", RowName::Column("uuid")),
    ("gateways", "url_token", RowName::Column("uuid")),
    ("gateways", "password", RowName::Column("uuid")),
    ("device_tokens", "token", RowName::Column("address")),
    ("spawns", "request", RowName::Column("spawn_id")),
];

/// What names a row in its seal.
enum RowName {
    Column(&'static str),
    Fixed { name: &'static str, only: &'static str },
}

/// What became of the sealed values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Resealed {
    /// Sealed anew.
    count: u64,
    /// Those that didn't open and were left as they are: table, row and column.
    unreadable: Vec<String>,
    /// Of them, those that name the old key.
    of_old_key: usize,
}

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
pub fn rekey(wanted: Rekey<'_>) -> Result<Rekeyed, StoreError> {
    let mut rekeying = Rekeying::begin(wanted)?;
    for step in Step::ALL {
        rekeying.carry_out(step)?;
    }
    Ok(rekeying.done())
}

/// A change of keys under way.
#[derive(Debug)]
pub(crate) struct Rekeying<'a> {
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
    pub(crate) fn begin(wanted: Rekey<'a>) -> Result<Self, StoreError> {
        let Rekey { state_dir, database, old, new, stamp } = wanted;
        if !database.exists() {
            return Err(StoreError::NoDatabase { path: database.to_path_buf() });
        }
        if old.is_missing() {
            return Err(StoreError::NoKey { path: old.path().to_path_buf() });
        }
        let own_file = old.is_of(state_dir);
        let mut connection = sqlite::open_plain(database, LOCK_WAIT).map_err(|error| error.of(database))?;
        startup::schema(&mut connection, database)?;
        let (old, sealer) = match startup::canary(&mut connection)? {
            Some(canary) => startup::right_key(old, &canary, database)?,
            None => {
                let sealer = Sealer::new(old.bytes());
                (old, sealer)
            }
        };
        if old.is_same_as(&new) {
            return Err(StoreError::SameKey);
        }
        if own_file && !old.is_of(state_dir) {
            // An earlier change was broken off after its transaction.
            let path = state_dir.join(KEY_FILE_NAME);
            promote_next(state_dir).map_err(StoreError::file(&path, "replaced"))?;
        }
        let (resealed, kept) = (Resealed::default(), None);
        Ok(Self { state_dir, database, old: sealer, new, own_file, stamp, resealed, kept, scrubbed: false })
    }

    pub(crate) fn carry_out(&mut self, step: Step) -> Result<(), StoreError> {
        let key_path = self.state_dir.join(KEY_FILE_NAME);
        let next_path = self.state_dir.join(NEXT_KEY_FILE_NAME);
        match step {
            Step::StageKey if self.own_file => {
                let staged = remove_if_there(&next_path).and_then(|()| self.new.write_to(&next_path));
                staged.map_err(StoreError::file(&next_path, "written"))?;
                give_to_owner_of_place(&next_path);
            }
            Step::KeepOld if self.own_file => {
                let kept = self.state_dir.join(format!("{KEY_FILE_NAME}.before-rekey-{}", self.stamp));
                keep_as(&key_path, &kept)
                    .and_then(|()| sync_directory(directory_of(&kept)))
                    .map_err(StoreError::file(&kept, "written"))?;
                self.kept = Some(kept);
            }
            Step::Reseal => self.reseal()?,
            Step::PromoteKey if self.own_file => {
                promote_next(self.state_dir).map_err(StoreError::file(&key_path, "replaced"))?;
            }
            Step::Scrub => self.scrubbed = self.scrub(),
            Step::StageKey | Step::KeepOld | Step::PromoteKey => {}
        }
        Ok(())
    }

    pub(crate) fn done(self) -> Rekeyed {
        Rekeyed {
            count: self.resealed.count,
            unreadable: self.resealed.unreadable,
            kept: self.kept,
            key_replaced: self.own_file,
            scrubbed: self.scrubbed,
        }
    }

    fn reseal(&mut self) -> Result<(), StoreError> {
        let (old, new) = (&self.old, Sealer::new(self.new.bytes()));
        let reseal = || {
            let mut connection = sqlite::open(self.database, LOCK_WAIT, Pool::Writer)?;
            write_transaction(&mut connection, |connection| reseal(connection, old, &new))
        };
        self.resealed = reseal().map_err(|error| error.of(self.database))?;
        Ok(())
    }

    /// Needs room for a second copy of the database; where there is none, everything but this is done.
    fn scrub(&self) -> bool {
        let scrubbed = sqlite::open_plain(self.database, LOCK_WAIT)
            .is_ok_and(|mut connection| sqlite::scrub(&mut connection).is_ok());
        for suffix in ["-wal", "-shm"] {
            give_to_owner_of_place(&beside(self.database, suffix));
        }
        scrubbed
    }
}

/// Seals every value anew. Inside a transaction of the caller.
fn reseal(connection: &mut Connection, old: &Sealer, new: &Sealer) -> Result<Resealed, StoreError> {
    let mut done = Resealed::default();
    for (table, column, row) in &SEALED {
        let values = TextColumn { table, column };
        if !values.exists(connection)? {
            continue;
        }
        let (name, only) = match row {
            RowName::Column(name) => ((*name).to_owned(), "1"),
            RowName::Fixed { name, only } => (format!("'{name}'"), *only),
        };
        let mut after = i64::MIN;
        loop {
            let some = values.values(connection, (&name, only), after, ROWS)?;
            let Some(last) = some.last() else { break };
            after = last.rowid;
            for value in some {
                let sealed = value.text.unwrap_or_default();
                let at = Place { table, row: &value.name, column };
                match old.open(at, &sealed) {
                    Ok(plain) => {
                        let anew = new
                            .seal(at, &plain)
                            .map_err(|error| StoreError::Sealed { what: "a value cannot be sealed anew", error })?;
                        values.set(connection, value.rowid, &anew)?;
                        done.count += 1;
                    }
                    Err(_) => {
                        done.of_old_key += usize::from(sealed.starts_with(&old.prefix()));
                        done.unreadable.push(format!("{table} {}, {column}", value.name));
                    }
                }
            }
        }
    }
    // How many values of the old key are anywhere.
    let left = sqlite::columns_with(connection, &old.prefix())?;
    let count = left.iter().map(|(_, count)| count).sum::<usize>().saturating_sub(done.of_old_key);
    if count > 0 {
        return Err(StoreError::UnknownSealed { count, columns: left.into_iter().map(|(column, _)| column).collect() });
    }
    Ok(done)
}
