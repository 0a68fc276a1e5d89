//! The database moved from a file to a server, and back: every row of every table, as it is stored. What is sealed stays sealed.
//!
//! Nobody else may work on either side. The source is read from one state and not changed. The target is empty; its tables are made,
//! filled, read again and compared in one transaction (of a file: under another name). So it holds everything or nothing.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::LOCK_WAIT;
use crate::connection::Connection;
use crate::database::{Database, migrate, read_transaction, tables, write_transaction};
use crate::error::StoreError;
use crate::files::{Unfinished, beside, give_to_owner_of_place, make_private, sync_file};
use crate::key_file::SealingKey;
use crate::postgres::address::ServerAddress;
use crate::postgres::start::{migrate_server, open_alone};
use crate::rows::{self, Sum};
use crate::{sqlite, startup};

/// All tables, each behind those that it refers to. What nodes tell each other (`cluster_...`) is only of one server.
pub(crate) const TABLES: [&str; 17] = [
    "meta",
    "identity",
    "gateways",
    "agents",
    "device_tokens",
    "api_keys",
    "web_sessions",
    "health_log",
    "audit_log",
    "spawns",
    "idempotency_keys",
    "direct_connections",
    "token_usage",
    "notification_episodes",
    "notification_outbox",
    "local_processes",
    "failed_logins",
];

/// What is copied where.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// A database that is there.
    pub from: &'a Database,
    /// A server's database without tables, or a file that isn't there yet.
    pub to: &'a Database,
    /// The key that opens the source, and then the target.
    pub key: SealingKey,
    /// How long a server's lock and its first answers are waited for.
    pub patience: Duration,
}

/// A table that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// What was computed of these rows on both sides: 64 hex digits.
    pub digest: String,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// All tables.
    pub tables: Vec<CopiedTable>,
    /// The file of the key that opens both.
    pub key_path: PathBuf,
}

/// Copies. Not on a thread that runs a runtime.
///
/// # Errors
/// Somebody works on one of the two, the target isn't empty, the key doesn't open the source, releases differ, or something can't be
/// read or written. The target is as it was.
pub fn copy(wanted: Wanted<'_>) -> Result<Copied, StoreError> {
    let Wanted { from, to, key, patience } = wanted;
    if key.is_missing() {
        return Err(StoreError::NoKey { path: key.path().to_path_buf() });
    }
    let mut source = open_source(from, patience).map_err(|error| from.said_of(error))?;
    let key_path = check(&mut source, from, key).map_err(|error| from.said_of(error))?;
    let tables = match to {
        Database::File(path) => into_file(&mut source, from, path)?,
        Database::Server(address) => {
            let mut target = open_target(address, patience).map_err(|error| to.said_of(error))?;
            carry(&mut source, from, &mut target, to)?
        }
    };
    Ok(Copied { tables, key_path })
}

fn open_source(database: &Database, patience: Duration) -> Result<Connection, StoreError> {
    match database {
        Database::File(path) if !path.exists() => Err(StoreError::NoDatabase { path: path.clone() }),
        Database::File(path) => {
            let mut connection = sqlite::open_alone(path, LOCK_WAIT)?;
            match sqlite::damage(&mut connection, true)?.first() {
                Some(line) => Err(StoreError::corrupt(path, line)),
                None => Ok(connection),
            }
        }
        Database::Server(address) => open_alone(address, patience).map(Connection::Postgres),
    }
}

/// It is whole, of this release, and the key opens it; where that key is.
fn check(source: &mut Connection, database: &Database, key: SealingKey) -> Result<PathBuf, StoreError> {
    let place = database.place();
    let schema = startup::schema(source, &place)?;
    let Some(canary) = startup::canary(source)? else { return Err(StoreError::NoDatabase { path: place }) };
    let (key, _) = startup::right_key(key, &canary, &place)?;
    if schema.pending > 0 {
        return Err(StoreError::Outdated { place });
    }
    Ok(key.path().to_path_buf())
}

fn open_target(address: &ServerAddress, patience: Duration) -> Result<Connection, StoreError> {
    let mut target = Connection::Postgres(open_alone(address, patience)?);
    if tables(&mut target)?.is_empty() {
        Ok(target)
    } else {
        Err(StoreError::NotEmpty { place: address.to_string().into() })
    }
}

fn into_file(source: &mut Connection, from: &Database, path: &Path) -> Result<Vec<CopiedTable>, StoreError> {
    // A log or journal that stayed behind would be taken for the new file's.
    for suffix in ["", "-wal", "-journal"] {
        let there = beside(path, suffix);
        if there.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: there });
        }
    }
    let unfinished = Unfinished::at(beside(path, &format!(".partial-{}", std::process::id())));
    make_private(unfinished.path()).map_err(StoreError::file(unfinished.path(), "written"))?;
    // What can't be written is the file that was asked for.
    let to = Database::File(path.to_path_buf());
    let mut target = sqlite::open_plain(unfinished.path(), LOCK_WAIT).map_err(|error| to.said_of(error))?;
    sqlite::let_shrink(&mut target).map_err(|error| to.said_of(error.into()))?;
    let copied = carry(source, from, &mut target, &to)?;
    drop(target);
    sync_file(unfinished.path()).map_err(StoreError::file(path, "written"))?;
    give_to_owner_of_place(unfinished.path());
    unfinished.finish_new(path).map_err(StoreError::file(path, "written"))?;
    Ok(copied)
}

fn carry(
    source: &mut Connection,
    from: &Database,
    target: &mut Connection,
    to: &Database,
) -> Result<Vec<CopiedTable>, StoreError> {
    read_transaction(source, |source| {
        let source = RefCell::new(source);
        write_transaction(target, |target| {
            match to {
                Database::Server(address) => migrate_server(target, address)?,
                Database::File(path) => {
                    migrate(target).map_err(|detail| StoreError::NotWritable { path: path.clone(), detail })?
                }
            }
            TABLES.iter().map(|table| carry_table(&mut source.borrow_mut(), from, target, to, table)).collect()
        })
    })
}

fn carry_table(
    source: &mut Connection,
    from: &Database,
    target: &mut Connection,
    to: &Database,
    table: &'static str,
) -> Result<CopiedTable, StoreError> {
    let of_source = |error: diesel::result::Error| from.said_of(error.into());
    let of_target = |error: diesel::result::Error| to.said_of(error.into());
    let columns = rows::columns(source, table).map_err(of_source)?;
    let differs = || StoreError::Differs { table, place: to.place() };
    if columns != rows::columns(target, table).map_err(of_target)? {
        return Err(differs());
    }
    let (mut read, mut written) = (Sum::default(), Sum::default());
    rows::each(source, table, &columns, |rows| {
        rows.iter().for_each(|row| read.add(row));
        rows::insert(target, table, &columns, &rows).map(drop).map_err(of_target)
    })
    .map_err(|error| from.said_of(error))?;
    let highest = rows::highest_id(source, table).map_err(of_source)?;
    rows::set_highest_id(target, table, highest).map_err(of_target)?;
    rows::each(target, table, &columns, |rows| {
        rows.iter().for_each(|row| written.add(row));
        Ok(())
    })
    .map_err(|error| to.said_of(error))?;
    if read != written || rows::highest_id(target, table).map_err(of_target)? != highest {
        return Err(differs());
    }
    Ok(CopiedTable { name: table, rows: read.rows, digest: read.digest() })
}
