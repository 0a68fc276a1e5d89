//! Seals everything anew with another key.
//!
//! The state directory's own key: the new key is on disk beside the old one before anything is sealed with it, everything is
//! sealed in one transaction, and then the new key takes the old one's place. In between, whichever of the two opens the
//! database counts. A key that an operator holds (the file behind a credential) is the operator's to replace: both are on
//! disk by then, so only the transaction is ours.
//!
//! Nobody else may use the state directory meanwhile: the caller holds its lock. On a server no node may live; one that was taken
//! for dead and wakes later has lost its right to write, since it has the old key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LOCK_WAIT, unused};
use crate::connection::{Connection, Pool};
use crate::database::{Database, write_transaction};
use crate::error::StoreError;
use crate::files::{beside, directory_of, give_to_owner_of_place, keep_as, remove_if_there, sync_directory};
use crate::key_file::{KEY_FILE_NAME, NEXT_KEY_FILE_NAME, SealingKey, promote_next};
use crate::postgres::{self, start::open_alone};
use crate::rows::{TextColumn, columns_with};
use crate::sealing::{Place, Sealer};
use crate::sqlite;
use crate::startup::{self, CANARY, CANARY_PLACE};
use crate::tables::credentials::ADMIN_KEY;

/// Where sealed values are, by table and column: whoever adds a sealed column adds it here. A change of keys that was not told
/// of one finds its values by the old key's name in them, and refuses; a test finds it before.
const SEALED: [(&str, &str, RowName); 8] = [
    (CANARY_PLACE.table, CANARY_PLACE.column, RowName::Fixed { name: CANARY, only: "name = 'canary'" }),
    (ADMIN_KEY.table, ADMIN_KEY.column, RowName::Fixed { name: ADMIN_KEY.row, only: "name = 'admin_key'" }),
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
    pub database: &'a Database,
    /// How long a server's lock is waited for.
    pub patience: Duration,
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
pub(crate) struct Rekeying<'a> {
    state_dir: &'a Path,
    database: &'a Database,
    connection: Connection,
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
        let Rekey { state_dir, database, patience, old, new, stamp } = wanted;
        if let Database::File(path) = database
            && !path.exists()
        {
            return Err(StoreError::NoDatabase { path: path.clone() });
        }
        if old.is_missing() {
            return Err(StoreError::NoKey { path: old.path().to_path_buf() });
        }
        let own_file = old.is_of(state_dir);
        let place = database.place();
        let mut connection = match database {
            Database::File(path) => sqlite::open(path, LOCK_WAIT, Pool::Writer).map_err(|error| error.of(path))?,
            Database::Server(address) => Connection::Postgres(open_alone(address, patience)?),
        };
        let look = |connection: &mut Connection| -> Result<_, StoreError> {
            startup::schema(connection, &place)?;
            startup::canary(connection)
        };
        let (old, sealer) = match look(&mut connection).map_err(|error| database.said_of(error))? {
            Some(canary) => startup::right_key(old, &canary, &place)?,
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
        Ok(Self { state_dir, database, connection, old: sealer, new, own_file, stamp, resealed, kept, scrubbed: false })
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
                let kept_as = |stamp: &str| self.state_dir.join(format!("{KEY_FILE_NAME}.before-rekey-{stamp}"));
                let kept = kept_as(&unused(self.stamp, |stamp| kept_as(stamp).exists()));
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
        let resealed = write_transaction(&mut self.connection, |connection| {
            if let Connection::Postgres(session) = connection {
                postgres::cluster::retire_all(session)?;
            }
            reseal(connection, old, &new)
        });
        self.resealed = resealed.map_err(|error| self.database.said_of(error))?;
        Ok(())
    }

    /// Needs room for a second copy of the tables; where there is none, everything but this is done.
    fn scrub(&mut self) -> bool {
        let scrubbed = match &mut self.connection {
            connection @ Connection::Sqlite(_) => sqlite::scrub(connection),
            Connection::Postgres(session) => {
                postgres::scrub(session, &SEALED.iter().map(|(table, ..)| *table).collect::<BTreeSet<_>>())
            }
        };
        if let Database::File(path) = self.database {
            for suffix in ["-wal", "-shm"] {
                give_to_owner_of_place(&beside(path, suffix));
            }
        }
        scrubbed.is_ok()
    }
}

/// Seals every value anew. Inside a transaction of the caller.
fn reseal(connection: &mut Connection, old: &Sealer, new: &Sealer) -> Result<Resealed, StoreError> {
    let mut done = Resealed::default();
    for (table, column, row) in &SEALED {
        let (name, only) = match row {
            RowName::Column(name) => ((*name).to_owned(), "1 = 1"),
            RowName::Fixed { name, only } => (format!("'{name}'"), *only),
        };
        let values = TextColumn { table, column, name: &name, only };
        values.each(connection, |connection, some| {
            for value in some {
                let at = Place { table, row: &value.name, column };
                match old.open(at, &value.text) {
                    Ok(plain) => {
                        let anew = new.seal_or("a value cannot be sealed anew", at, &plain)?;
                        values.set(connection, &value.name, &anew)?;
                        done.count += 1;
                    }
                    Err(_) => {
                        done.of_old_key += usize::from(value.text.starts_with(&old.prefix()));
                        done.unreadable.push(format!("{table} {}, {column}", value.name));
                    }
                }
            }
            Ok(())
        })?;
    }
    // How many values of the old key are anywhere.
    let left = columns_with(connection, &old.prefix())?;
    let count = left.iter().map(|(_, count)| count).sum::<usize>().saturating_sub(done.of_old_key);
    if count > 0 {
        return Err(StoreError::UnknownSealed { count, columns: left.into_iter().map(|(column, _)| column).collect() });
    }
    Ok(done)
}
