//! What `doctor` wants to know of a database. Changes nothing.

use std::path::Path;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::backup::count;
use super::error::CareError;
use super::files::beside;
use crate::connection;
use crate::key_file::SealingKey;
use crate::open_error::StoreOpenError;
use crate::verification;

/// How long a lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(3);

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
    pub key: Option<Result<(), StoreOpenError>>,
}

/// Looks at a database; with `deep` at every index too.
///
/// # Errors
/// It isn't there, can't be read, or is of another program or a newer release.
pub fn inspect(database: &Path, key: Option<SealingKey>, deep: bool) -> Result<Inspection, CareError> {
    let broken = |error: &dyn std::fmt::Display| verification::broken(database, &error.to_string());
    let size = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.len());
    let bytes = match size(database) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(CareError::NoDatabase { path: database.to_path_buf() });
        }
        Err(error) => return Err(CareError::file(database, "read")(error)),
    };
    let mut connection = connection::open_to_read(database, LOCK_WAIT).map_err(|error| broken(&error))?;
    let damage = verification::damage(&mut connection, deep).map_err(|error| broken(&error))?;
    let pending = verification::schema(&mut connection, database)?.pending;
    let canary = verification::canary(&mut connection, database)?;
    let sealed = canary.is_some();
    let key = canary.zip(key).map(|(canary, key)| verification::right_key(key, &canary, database).map(drop));
    let gateways = count(&mut connection).map_err(|error| broken(&error))?;
    let free_bytes = free(&mut connection).map_err(|error| broken(&error))?;
    let log_bytes = size(&beside(database, "-wal")).unwrap_or(0);
    Ok(Inspection { bytes, log_bytes, free_bytes, damage, pending, gateways, sealed, key })
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn free(connection: &mut SqliteConnection) -> QueryResult<u64> {
    let free: Number = diesel::sql_query(
        "SELECT f.freelist_count * p.page_size AS number FROM pragma_freelist_count f, pragma_page_size p",
    )
    .get_result(connection)?;
    Ok(u64::try_from(free.number).unwrap_or(0))
}
