//! A backup: one consistent, verified file, made while the daemon runs or not.
//!
//! The copy is made by `VACUUM INTO`: from one state of the database, without the daemon's help and without making its writes
//! wait. It is written to a name of its own, put on disk, checked page by page and against the key, and only then gets the
//! name that was asked for. So whatever has that name is whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::error::CareError;
use super::files::{Unfinished, beside, directory_of, make_private, sync_directory, sync_file};
use crate::connection;
use crate::key_file::SealingKey;
use crate::open_error::StoreOpenError;
use crate::sealing::Sealer;
use crate::verification;

/// How long a lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);

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
pub fn make(wanted: Wanted<'_>) -> Result<Backup, CareError> {
    let Wanted { database, to, key, with_key } = wanted;
    make_tried(database, to, key.map_or(Tried::Nothing, Tried::Key), with_key)
}

/// The same for the daemon itself, without the key.
pub(crate) fn make_with(database: &Path, to: &Path, sealer: &Sealer) -> Result<Backup, CareError> {
    make_tried(database, to, Tried::Sealer(sealer), false)
}

fn make_tried(database: &Path, to: &Path, tried: Tried<'_>, with_key: bool) -> Result<Backup, CareError> {
    let key_path = with_key.then(|| beside(to, KEY_SUFFIX));
    for path in [Some(to), key_path.as_deref()].into_iter().flatten() {
        if path.symlink_metadata().is_ok() {
            return Err(CareError::Exists { path: path.to_path_buf() });
        }
    }
    if !database.exists() {
        return Err(CareError::NoDatabase { path: database.to_path_buf() });
    }
    let mut connection = connection::open_to_copy(database, LOCK_WAIT)
        .map_err(|error| verification::broken(database, &error.to_string()))?;
    let unfinished = Unfinished::at(beside(to, &format!(".partial-{}", std::process::id())));
    copy_to(&mut connection, database, unfinished.path()).map_err(|error| of_place(error, to))?;
    let (contents, key) = look(unfinished.path(), tried).map_err(|error| about(error, database))?;
    let key_file = match (&key_path, &key) {
        (Some(path), Some(key)) => {
            let unfinished = Unfinished::at(path.clone());
            key.write_to(path).map_err(CareError::file(path, "written"))?;
            Some(unfinished)
        }
        _ => None,
    };
    unfinished.finish(to).map_err(CareError::file(to, "written"))?;
    Ok(Backup { path: to.to_path_buf(), key_path: key_file.map(Unfinished::leave), contents })
}

/// Copies one state of a database into a new private file and puts that on disk.
pub(crate) fn copy_to(connection: &mut SqliteConnection, database: &Path, to: &Path) -> Result<(), CareError> {
    // SQLite takes an empty file for none. It would make its own one readable to everybody.
    make_private(to).map_err(CareError::file(to, "written"))?;
    let copied = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(connection::uri(to)).execute(connection);
    copied.map_err(|error| about_copy(&error.to_string(), database, to))?;
    sync_file(to).and_then(|()| sync_directory(directory_of(to))).map_err(CareError::file(to, "written"))
}

/// The database's words, said of the file that they are about.
fn about_copy(words: &str, database: &Path, to: &Path) -> CareError {
    if words.contains("disk is full") {
        return CareError::File {
            path: to.to_path_buf(),
            what: "written",
            source: std::io::ErrorKind::StorageFull.into(),
        };
    }
    verification::broken(database, words).into()
}

/// What can't be written is the file that was asked for, whatever it is called while it is being made.
pub(crate) fn of_place(error: CareError, place: &Path) -> CareError {
    match error {
        CareError::File { what, source, .. } => CareError::File { path: place.to_path_buf(), what, source },
        other => other,
    }
}

/// A wrong key is said of the database, not of a copy that is gone by then.
fn about(error: CareError, database: &Path) -> CareError {
    match error {
        CareError::Database(StoreOpenError::WrongKey { key_source, .. }) => {
            CareError::Database(StoreOpenError::WrongKey { path: database.to_path_buf(), key_source })
        }
        CareError::Database(StoreOpenError::KeyMissing { key_path, .. }) => {
            CareError::Database(StoreOpenError::KeyMissing { path: database.to_path_buf(), key_path })
        }
        CareError::Database(StoreOpenError::Corrupt { detail, .. }) => {
            CareError::Database(StoreOpenError::Corrupt { path: database.to_path_buf(), detail })
        }
        other => other,
    }
}

/// Checks all of a database that nobody else uses: its pages, its tables, and that the key opens it. The key that does.
pub(super) fn look(path: &Path, tried: Tried<'_>) -> Result<(Contents, Option<SealingKey>), CareError> {
    let broken = |error: &dyn std::fmt::Display| verification::broken(path, &error.to_string());
    let mut connection = connection::open_plain(path, LOCK_WAIT).map_err(|error| broken(&error))?;
    let damage = verification::damage(&mut connection, true).map_err(|error| broken(&error))?;
    if let Some(line) = damage.first() {
        return Err(verification::corrupt(path, line).into());
    }
    let schema = verification::schema(&mut connection, path)?;
    let (key, key_checked) = match (verification::canary(&mut connection, path)?, tried) {
        (Some(canary), Tried::Key(key)) => (Some(verification::right_key(key, &canary, path)?.0), true),
        (Some(canary), Tried::Sealer(sealer)) => {
            if !verification::opens(sealer, &canary, path)? {
                let key_source = "the running daemon's".to_owned();
                return Err(StoreOpenError::WrongKey { path: path.to_path_buf(), key_source }.into());
            }
            (None, true)
        }
        (None, Tried::Key(key)) => (Some(key).filter(|key| !key.is_new()), false),
        (_, Tried::Nothing) | (None, Tried::Sealer(_)) => (None, false),
    };
    let gateways =
        if schema.applied.is_empty() { 0 } else { count(&mut connection).map_err(|error| broken(&error))? };
    let bytes = std::fs::metadata(path).map_err(CareError::file(path, "read"))?.len();
    Ok((Contents { bytes, gateways, schema: schema.applied.last().cloned(), key_checked }, key))
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// How many gateways are registered; none where their table isn't there yet.
pub(super) fn count(connection: &mut SqliteConnection) -> QueryResult<u64> {
    let there = verification::lines(connection, "SELECT name AS line FROM sqlite_master WHERE name = 'gateways'")?;
    if there.is_empty() {
        return Ok(0);
    }
    let count: Count = diesel::sql_query("SELECT COUNT(*) AS count FROM gateways").get_result(connection)?;
    Ok(u64::try_from(count.count).unwrap_or(0))
}
