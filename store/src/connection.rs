//! How a connection is set up. The only place with PRAGMAs that make SQLite what we need.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};

use super::care::files::beside;
use super::error::StoreError;

/// What a connection, a thread or a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Writer,
    Reader,
}

impl Which {
    /// The metric's label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

/// Opens an existing database with nothing but the lock timeout set: it must come first, as the other settings wait for
/// locks too. Never makes a file.
pub(super) fn open_plain(path: &Path, busy_timeout: Duration) -> Result<SqliteConnection, StoreError> {
    let mut connection = SqliteConnection::establish(&uri(path))?;
    connection.batch_execute(&format!("PRAGMA busy_timeout = {}", busy_timeout.as_millis()))?;
    Ok(connection)
}

/// Opens an existing database for its use, one PRAGMA per call so that none hides another's failure.
pub(super) fn open(path: &Path, busy_timeout: Duration, which: Which) -> Result<SqliteConnection, StoreError> {
    let mut connection = open_plain(path, busy_timeout)?;
    configure(&mut connection, which)?;
    Ok(connection)
}

/// Opens a database to look at it and for nothing else: no file is made beside it. One without a log was closed as it should
/// be and is in nobody's hands, so the files that readers share are done without.
pub(super) fn open_to_read(path: &Path, busy_timeout: Duration) -> Result<SqliteConnection, StoreError> {
    let how = if beside(path, "-wal").exists() { "mode=ro" } else { "mode=ro&immutable=1" };
    let mut connection = SqliteConnection::establish(&format!("{}?{how}", uri_path(path)))?;
    connection.batch_execute(&format!("PRAGMA busy_timeout = {}", busy_timeout.as_millis()))?;
    Ok(connection)
}

/// Opens a database to copy it, also while others use it. Where its directory can't be written, as [`open_to_read`].
pub(super) fn open_to_copy(path: &Path, busy_timeout: Duration) -> Result<SqliteConnection, StoreError> {
    let mut connection = open_plain(path, busy_timeout)?;
    // The file is read only now.
    match connection.batch_execute("SELECT COUNT(*) FROM sqlite_master") {
        Ok(()) => Ok(connection),
        Err(error) => open_to_read(path, busy_timeout).map_err(|_| error.into()),
    }
}

/// The settings after the lock timeout.
pub(super) fn configure(connection: &mut SqliteConnection, which: Which) -> Result<(), StoreError> {
    match which {
        Which::Writer => {
            connection.batch_execute("PRAGMA journal_mode = WAL")?;
            // A commit is on disk before it is answered.
            connection.batch_execute("PRAGMA synchronous = FULL")?;
            connection.batch_execute("PRAGMA foreign_keys = ON")?;
            // A burst doesn't leave a large log behind.
            connection.batch_execute("PRAGMA journal_size_limit = 16777216")?;
        }
        Which::Reader => connection.batch_execute("PRAGMA query_only = ON")?,
    }
    Ok(())
}

/// `mode=rw`: SQLite must not make an empty database where the file has gone.
pub(super) fn uri(path: &Path) -> String {
    format!("{}?mode=rw", uri_path(path))
}

/// A path as SQLite takes it with parameters behind a question mark.
pub(super) fn uri_path(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_survives_the_way_into_a_uri() {
        assert_eq!(uri(Path::new("/var/lib/a b?c#d%e/g.db")), "file:/var/lib/a%20b%3Fc%23d%25e/g.db?mode=rw");
    }

    #[test]
    fn a_missing_file_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.db");
        assert!(open_plain(&path, Duration::from_millis(10)).is_err());
        assert!(!path.exists());
    }
}
