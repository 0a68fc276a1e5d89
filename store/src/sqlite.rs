//! Everything that only SQLite understands: how a connection is set up, checks, copies, unused space, and what its errors mean.

use std::path::Path;
use std::time::Duration;

use diesel::connection::{Connection as _, SimpleConnection as _};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::connection::{Connection, Pool, number};
use crate::error::{Fault, StoreError};
use crate::files::{beside, directory_of, make_private, sync_directory, sync_file};

/// The first bytes of every database.
pub(crate) const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Unused pages that stay, of 4 KiB each: what one day forgets, the next one needs.
const PAGES_KEPT: i64 = 1_024;
/// Pages given back in one transaction: some milliseconds.
const PAGES_A_TURN: i64 = 512;
/// How `PRAGMA auto_vacuum` says that pages are given back when somebody asks.
const INCREMENTAL: i64 = 2;

/// Opens an existing database with nothing but the lock timeout set: it must come first, as the other settings wait for
/// locks too. Never makes a file.
pub(crate) fn open_plain(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    establish(&uri(path), busy_timeout)
}

/// Opens an existing database for its use.
pub(crate) fn open(path: &Path, busy_timeout: Duration, pool: Pool) -> Result<Connection, StoreError> {
    let mut connection = open_plain(path, busy_timeout)?;
    configure(&mut connection, pool)?;
    Ok(connection)
}

/// The same for work that nobody else may be at: they can't even read meanwhile.
pub(crate) fn open_alone(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let mut connection = open_plain(path, busy_timeout)?;
    connection.batch_execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT")?;
    Ok(connection)
}

/// Opens a database to look at it and for nothing else: no file is made beside it. One without a log was closed as it should
/// be and is in nobody's hands, so the files that readers share are done without.
pub(crate) fn open_to_read(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let how = if beside(path, "-wal").exists() { "mode=ro" } else { "mode=ro&immutable=1" };
    establish(&format!("{}?{how}", uri_path(path)), busy_timeout)
}

/// Opens a database to copy it, also while others use it. Where its directory can't be written, as [`open_to_read`].
pub(crate) fn open_to_copy(path: &Path, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let mut connection = open_plain(path, busy_timeout)?;
    // The file is read only now.
    match connection.batch_execute("SELECT COUNT(*) FROM sqlite_master") {
        Ok(()) => Ok(connection),
        Err(error) => open_to_read(path, busy_timeout).map_err(|_| error.into()),
    }
}

fn establish(uri: &str, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let mut connection = Connection::Sqlite(SqliteConnection::establish(uri)?);
    connection.batch_execute(&format!("PRAGMA busy_timeout = {}", busy_timeout.as_millis()))?;
    Ok(connection)
}

/// The settings after the lock timeout, one PRAGMA per call so that none hides another's failure.
pub(crate) fn configure(connection: &mut Connection, pool: Pool) -> Result<(), StoreError> {
    match pool {
        Pool::Writer => {
            connection.batch_execute("PRAGMA journal_mode = WAL")?;
            // A commit is on disk before it is answered.
            connection.batch_execute("PRAGMA synchronous = FULL")?;
            connection.batch_execute("PRAGMA foreign_keys = ON")?;
            // A burst doesn't leave a large log behind.
            connection.batch_execute("PRAGMA journal_size_limit = 16777216")?;
        }
        Pool::Reader => connection.batch_execute("PRAGMA query_only = ON")?,
    }
    Ok(())
}

/// `mode=rw`: SQLite must not make an empty database where the file has gone.
fn uri(path: &Path) -> String {
    format!("{}?mode=rw", uri_path(path))
}

/// A path as SQLite takes it with parameters behind a question mark.
pub(crate) fn uri_path(path: &Path) -> String {
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

/// What kind of trouble the database is in. SQLite's extended codes don't get through diesel; these texts are those of
/// `sqlite3_errstr`, unchanged for many years.
pub(crate) fn fault_in(words: &str) -> Option<Fault> {
    const TEXTS: [(&str, Fault); 11] = [
        ("database is locked", Fault::Locked),
        ("table is locked", Fault::Locked),
        ("schema is locked", Fault::Locked),
        ("locking protocol", Fault::Locked),
        ("disk is full", Fault::Full),
        ("readonly database", Fault::ReadOnly),
        ("disk I/O error", Fault::Io),
        ("unable to open database", Fault::Io),
        ("large file support", Fault::Io),
        ("malformed", Fault::Corrupt),
        ("not a database", Fault::Corrupt),
    ];
    TEXTS.iter().find(|(text, _)| words.contains(text)).map(|(_, fault)| *fault)
}

fn lines(connection: &mut Connection, query: &str) -> QueryResult<Vec<String>> {
    sql::<Text>(query).load(connection)
}

/// The names of all tables.
pub(crate) fn tables(connection: &mut Connection) -> QueryResult<Vec<String>> {
    lines(connection, "SELECT name FROM sqlite_master WHERE type = 'table'")
}

/// Applied migrations, oldest first.
pub(crate) fn applied_migrations(connection: &mut Connection) -> QueryResult<Vec<String>> {
    lines(connection, "SELECT version FROM __diesel_schema_migrations ORDER BY version")
}

/// Whether the file can be read at all: its header, and its list of tables.
pub(crate) fn check_header(connection: &mut Connection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA schema_version; SELECT COUNT(*) FROM sqlite_master")
}

/// What is wrong with the pages: nothing, or some sentences of the database. The full check also compares each index
/// with its table, which takes several times as long.
pub(crate) fn damage(connection: &mut Connection, full: bool) -> QueryResult<Vec<String>> {
    let query = if full {
        "SELECT integrity_check FROM pragma_integrity_check LIMIT 10"
    } else {
        "SELECT quick_check FROM pragma_quick_check LIMIT 10"
    };
    Ok(lines(connection, query)?.into_iter().filter(|line| line != "ok").collect())
}

/// Rows changed on this connection so far; `None` where that can't be asked.
pub(crate) fn changes(connection: &mut Connection) -> Option<i64> {
    diesel::select(sql::<BigInt>("total_changes()")).get_result(connection).ok()
}

/// Writes some pages and takes them back, in the transaction that is open.
pub(crate) fn write_trial(connection: &mut Connection) -> QueryResult<()> {
    connection.batch_execute(
        "CREATE TABLE write_trial (pages BLOB NOT NULL);
         INSERT INTO write_trial VALUES (randomblob(20000));
         DROP TABLE write_trial;",
    )
}

/// Copies one state of a database into a new private file and puts that on disk.
pub(crate) fn copy_to(connection: &mut Connection, database: &Path, to: &Path) -> Result<(), StoreError> {
    // SQLite takes an empty file for none. It would make its own one readable to everybody.
    make_private(to).map_err(StoreError::file(to, "written"))?;
    let copied = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(uri(to)).execute(connection);
    copied.map_err(|error| match StoreError::from(error) {
        // The database's words, but said of the copy.
        StoreError::Database { fault: Some(Fault::Full), .. } => {
            StoreError::file(to, "written")(std::io::ErrorKind::StorageFull.into())
        }
        other => other.of(database),
    })?;
    sync_file(to).and_then(|()| sync_directory(directory_of(to))).map_err(StoreError::file(to, "written"))
}

/// Makes the write-ahead log empty where no reader is in the way.
pub(crate) fn empty_log(connection: &mut Connection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")
}

/// Makes one file of a database and its log.
pub(crate) fn fold_log_in(connection: &mut Connection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA journal_mode = DELETE")
}

/// Keeps the statistics in order by which queries are planned.
pub(crate) fn optimize(connection: &mut Connection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA optimize")
}

/// Writes the whole database anew, so that nothing is left in its free space or its log.
pub(crate) fn scrub(connection: &mut Connection) -> QueryResult<()> {
    connection.batch_execute("VACUUM")?;
    empty_log(connection)
}

/// Whether pages of this database can be given back.
pub(crate) fn can_shrink(connection: &mut Connection) -> QueryResult<bool> {
    Ok(number(connection, "SELECT auto_vacuum FROM pragma_auto_vacuum")? == INCREMENTAL)
}

/// Makes a database without tables one whose pages can be given back.
pub(crate) fn let_shrink(connection: &mut Connection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA auto_vacuum = INCREMENTAL")
}

/// The same for one with tables: it is written anew.
pub(crate) fn let_shrink_anew(connection: &mut Connection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")
}

/// Gives some pages back; how many. 0 where no more than those that stay are unused.
pub(crate) fn give_back(connection: &mut Connection) -> QueryResult<usize> {
    const UNUSED: &str = "SELECT freelist_count FROM pragma_freelist_count";
    let before = number(connection, UNUSED)?;
    if before <= PAGES_KEPT || !can_shrink(connection)? {
        return Ok(0);
    }
    let some = (before - PAGES_KEPT).min(PAGES_A_TURN);
    connection.batch_execute(&format!("PRAGMA incremental_vacuum({some})"))?;
    Ok(usize::try_from(before - number(connection, UNUSED)?).unwrap_or(0))
}

/// Bytes of the file that hold nothing.
pub(crate) fn free_bytes(connection: &mut Connection) -> QueryResult<u64> {
    let query = "SELECT f.freelist_count * p.page_size FROM pragma_freelist_count f, pragma_page_size p";
    number(connection, query).map(|bytes| u64::try_from(bytes).unwrap_or(0))
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
