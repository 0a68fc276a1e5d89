//! A backup: one consistent, verified file, made while the daemon runs or not.
//!
//! The copy is made by `VACUUM INTO`: from one state of the database, without the daemon's help and without making its writes
//! wait. It is written to a name of its own, put on disk, checked page by page and against the key, and only then gets the
//! name that was asked for. So whatever has that name is whole.
//! And what `doctor` wants to know of a database.

use std::path::{Path, PathBuf};

use diesel::prelude::*;

use super::{LOCK_WAIT, SHORT_LOCK_WAIT};
use crate::connection::Connection;
use crate::database::tables;
use crate::error::StoreError;
use crate::files::{Unfinished, beside};
use crate::key_file::SealingKey;
use crate::schema::gateways;
use crate::sealing::Sealer;
use crate::sqlite;
use crate::startup::{self, canary, right_key};

/// What stands behind the name of a backup that holds the key belonging to it.
pub const KEY_SUFFIX: &str = ".key";

/// What a database was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of the file.
    pub bytes: u64,
    /// Registered gateways.
    pub gateways: u64,
    /// Its newest migration; none in an empty database.
    pub schema: Option<String>,
    /// Whether the key at hand was seen to open it. False where there was none at hand, or nothing was ever sealed.
    pub key_checked: bool,
}

/// A backup that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The file.
    pub path: PathBuf,
    /// The file with the key, where that was wanted.
    pub key_path: Option<PathBuf>,
    /// What it holds.
    pub contents: Contents,
}

/// What to back up, and where to.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The database.
    pub database: &'a Path,
    /// A file that isn't there yet, in a directory that is.
    pub to: &'a Path,
    /// The key that opens the database; without it that can't be checked.
    pub key: Option<SealingKey>,
    /// Whether the key goes into a file of its own beside the backup.
    pub with_key: bool,
}

/// What a copy is tried with.
#[derive(Debug)]
pub(crate) enum Tried<'a> {
    /// Nothing is at hand.
    Nothing,
    /// A key.
    Key(SealingKey),
    /// What the running daemon seals with.
    Sealer(&'a Sealer),
}

/// Makes a backup, mode 0600.
///
/// # Errors
/// Nothing is left of a backup that failed.
pub fn make(wanted: Wanted<'_>) -> Result<Backup, StoreError> {
    let Wanted { database, to, key, with_key } = wanted;
    make_tried(database, to, key.map_or(Tried::Nothing, Tried::Key), with_key)
}

/// The same for the daemon itself, without the key.
pub(crate) fn make_with(database: &Path, to: &Path, sealer: &Sealer) -> Result<Backup, StoreError> {
    make_tried(database, to, Tried::Sealer(sealer), false)
}

fn make_tried(database: &Path, to: &Path, tried: Tried<'_>, with_key: bool) -> Result<Backup, StoreError> {
    let key_path = with_key.then(|| beside(to, KEY_SUFFIX));
    for path in [Some(to), key_path.as_deref()].into_iter().flatten() {
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.to_path_buf() });
        }
    }
    if !database.exists() {
        return Err(StoreError::NoDatabase { path: database.to_path_buf() });
    }
    let mut connection = sqlite::open_to_copy(database, LOCK_WAIT).map_err(|error| error.of(database))?;
    let unfinished = Unfinished::at(beside(to, &format!(".partial-{}", std::process::id())));
    sqlite::copy_to(&mut connection, database, unfinished.path()).map_err(|error| error.of_file(to))?;
    let (contents, key) = look(unfinished.path(), tried).map_err(|error| error.of(database))?;
    let key_file = match (&key_path, &key) {
        (Some(path), Some(key)) => {
            key.write_to(path).map_err(StoreError::file(path, "written"))?;
            // Ours to remove only now: another backup's key isn't.
            Some(Unfinished::at(path.clone()))
        }
        _ => None,
    };
    unfinished.finish_new(to).map_err(StoreError::file(to, "written"))?;
    Ok(Backup { path: to.to_path_buf(), key_path: key_file.map(Unfinished::leave), contents })
}

/// Checks all of a database that nobody else uses: its pages, its tables, and that the key opens it. The key that does. Its
/// errors need [`StoreError::of`].
pub(crate) fn look(path: &Path, tried: Tried<'_>) -> Result<(Contents, Option<SealingKey>), StoreError> {
    let mut connection = sqlite::open_plain(path, LOCK_WAIT)?;
    if let Some(line) = sqlite::damage(&mut connection, true)?.first() {
        return Err(StoreError::corrupt(path, line));
    }
    let schema = startup::schema(&mut connection, path)?;
    let (key, key_checked) = match (canary(&mut connection)?, tried) {
        (Some(canary), Tried::Key(key)) => (Some(right_key(key, &canary, path)?.0), true),
        (Some(canary), Tried::Sealer(sealer)) => {
            if !startup::opens(sealer, &canary, path)? {
                let key_source = "the running daemon's".to_owned();
                return Err(StoreError::WrongKey { path: path.to_path_buf(), key_source });
            }
            (None, true)
        }
        (None, Tried::Key(key)) => (Some(key).filter(|key| !key.is_new()), false),
        (_, Tried::Nothing) | (None, Tried::Sealer(_)) => (None, false),
    };
    let gateways = count_gateways(&mut connection)?;
    let bytes = std::fs::metadata(path).map_err(StoreError::file(path, "read"))?.len();
    Ok((Contents { bytes, gateways, schema: schema.applied.last().cloned(), key_checked }, key))
}

/// A database as it was found.
#[derive(Debug)]
pub struct Inspection {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Bytes of the file that hold nothing.
    pub free_bytes: u64,
    /// What is wrong with its pages, in the database's words; empty where nothing is.
    pub damage: Vec<String>,
    /// Migrations that the next start will make.
    pub pending: usize,
    /// Registered gateways.
    pub gateways: u64,
    /// Whether it was ever sealed with a key.
    pub sealed: bool,
    /// Whether the key opens it; none where there was no key to try, or nothing was ever sealed.
    pub key: Option<Result<(), StoreError>>,
}

/// Looks at a database; with `deep` at every index too.
///
/// # Errors
/// It isn't there, can't be read, or is of another program or a newer release.
pub fn inspect(database: &Path, key: Option<SealingKey>, deep: bool) -> Result<Inspection, StoreError> {
    let size = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.len());
    let bytes = match size(database) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::NoDatabase { path: database.to_path_buf() });
        }
        Err(error) => return Err(StoreError::file(database, "read")(error)),
    };
    let look = || {
        let mut connection = sqlite::open_to_read(database, SHORT_LOCK_WAIT)?;
        let damage = sqlite::damage(&mut connection, deep)?;
        let pending = startup::schema(&mut connection, database)?.pending;
        let canary = canary(&mut connection)?;
        let sealed = canary.is_some();
        let key = canary.zip(key).map(|(canary, key)| right_key(key, &canary, database).map(drop));
        let gateways = count_gateways(&mut connection)?;
        let free_bytes = sqlite::free_bytes(&mut connection)?;
        let log_bytes = size(&beside(database, "-wal")).unwrap_or(0);
        Ok(Inspection { bytes, log_bytes, free_bytes, damage, pending, gateways, sealed, key })
    };
    look().map_err(|error: StoreError| error.of(database))
}

/// How many gateways are registered; none where their table isn't there yet.
fn count_gateways(connection: &mut Connection) -> Result<u64, StoreError> {
    if !tables(connection)?.iter().any(|table| table == "gateways") {
        return Ok(0);
    }
    let count: i64 = gateways::table.count().get_result(connection)?;
    Ok(u64::try_from(count).unwrap_or(0))
}
