//! Where the database is, and what is done to it in another way in a file than on a server: opened, changed, looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::connection::{Connection, Pool, number, on_either};
use crate::error::StoreError;
use crate::postgres;
use crate::postgres::address::ServerAddress;
use crate::sqlite;

/// All migrations, compiled in. Both directories end with the same one: a test compares what they make.
pub(crate) const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/sqlite");
pub(crate) const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/postgres");

/// How often a write is tried again that met another one.
const MAX_ATTEMPTS: usize = 10;

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of SQLite's.
    File(PathBuf),
    /// A PostgreSQL server.
    Server(ServerAddress),
}

impl Database {
    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }

    /// What it is called in sentences: a path, or an address without its password.
    pub fn place(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Server(address) => address.to_string().into(),
        }
    }

    /// The error in words that name this database.
    pub(crate) fn said_of(&self, error: StoreError) -> StoreError {
        match self {
            Self::File(path) => error.of(path),
            Self::Server(address) => postgres::in_words(error, address),
        }
    }

    /// Opens an existing database for its use. `patience`: how long a lock, and a server's answer, is waited for.
    pub(crate) fn open(&self, patience: Duration, pool: Pool) -> Result<Connection, StoreError> {
        match self {
            Self::File(path) => sqlite::open(path, patience, pool),
            Self::Server(address) => postgres::open(address, patience, pool == Pool::Writer).map(Connection::Postgres),
        }
    }
}

/// All of it or nothing, and on disk when it is answered. `work` is done again where the server says that another write came
/// between.
pub(crate) fn write_transaction<T>(
    connection: &mut Connection,
    work: impl Fn(&mut Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    for _ in 1..MAX_ATTEMPTS {
        match transaction(connection, Pool::Writer, fenced(&work)) {
            Err(StoreError::Database {
                error: DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _),
                ..
            }) => tracing::debug!("a write met another one and is done again"),
            outcome => return outcome,
        }
    }
    transaction(connection, Pool::Writer, fenced(&work))
}

/// First of all the right to write is checked, and kept until the end.
fn fenced<T>(
    work: &impl Fn(&mut Connection) -> Result<T, StoreError>,
) -> impl FnOnce(&mut Connection) -> Result<T, StoreError> {
    move |connection| {
        if let Connection::Postgres(session) = connection {
            session.check_fence()?;
        }
        work(connection)
    }
}

/// All of it from one state of the database.
pub(crate) fn read_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    transaction(connection, Pool::Reader, work)
}

fn transaction<T>(
    connection: &mut Connection,
    pool: Pool,
    work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match connection {
        // A write takes the lock first, so that it can't lose against another one half-way.
        Connection::Sqlite(inner) if pool == Pool::Writer => {
            AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN IMMEDIATE")?;
        }
        Connection::Sqlite(inner) => AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN")?,
        // A reader's session is read-only by its settings.
        Connection::Postgres(inner) if pool == Pool::Writer => {
            inner.begin("BEGIN ISOLATION LEVEL SERIALIZABLE")?;
        }
        Connection::Postgres(inner) => {
            inner.begin("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        }
    }
    match work(connection) {
        Ok(done) => match <Connection as diesel::Connection>::TransactionManager::commit_transaction(connection) {
            Ok(()) => {
                if let Connection::Postgres(inner) = connection {
                    inner.count_change();
                }
                Ok(done)
            }
            Err(error) if pool == Pool::Writer && is_lost(connection) => Err(StoreError::InDoubt(error.to_string())),
            Err(error) => Err(error.into()),
        },
        Err(error) => {
            // What is left open is noticed by whoever owns the connection.
            let _ = <Connection as diesel::Connection>::TransactionManager::rollback_transaction(connection);
            Err(error)
        }
    }
}

/// Whether nothing more can be heard of the server.
fn is_lost(connection: &Connection) -> bool {
    match connection {
        Connection::Sqlite(_) => false,
        Connection::Postgres(inner) => inner.is_lost(),
    }
}

/// Whether a transaction is open; a failed rollback leaves one.
pub(crate) fn in_transaction(connection: &mut Connection) -> bool {
    let depth = on_either!(connection, |inner| {
        AnsiTransactionManager::transaction_manager_status_mut(inner).transaction_depth()
    });
    !matches!(depth, Ok(None))
}

/// Makes all migrations that are still to be made, in the transaction that is open.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let made = match connection {
        Connection::Sqlite(inner) => inner.run_pending_migrations(SQLITE_MIGRATIONS).map(drop),
        Connection::Postgres(inner) => inner.run_pending_migrations(POSTGRES_MIGRATIONS).map(drop),
    };
    made.map_err(|error| error.to_string())
}

/// The migrations of this release for this database, oldest first.
pub(crate) fn known_migrations(connection: &Connection) -> Result<Vec<String>, String> {
    let names = match connection {
        Connection::Sqlite(_) => MigrationSource::<Sqlite>::migrations(&SQLITE_MIGRATIONS)
            .map(|all| all.iter().map(|migration| migration.name().version().to_string()).collect()),
        Connection::Postgres(_) => MigrationSource::<Pg>::migrations(&POSTGRES_MIGRATIONS)
            .map(|all| all.iter().map(|migration| migration.name().version().to_string()).collect()),
    };
    names.map_err(|error| error.to_string())
}

/// The names of all tables.
pub(crate) fn tables(connection: &mut Connection) -> QueryResult<Vec<String>> {
    match connection {
        Connection::Sqlite(_) => sqlite::tables(connection),
        Connection::Postgres(inner) => postgres::tables(inner),
    }
}

/// Something that grows with what this connection has changed; `None` where that can't be asked. Of a server it is enough that it
/// commits.
pub(crate) fn changes(connection: &mut Connection) -> Option<i64> {
    match connection {
        Connection::Sqlite(_) => sqlite::changes(connection),
        Connection::Postgres(inner) => Some(inner.changes()),
    }
}

/// What time it is for what several daemons may read, Unix ms: that of a server's clock, since those of its nodes differ. Of a file
/// it is `own_ms`.
pub(crate) fn time_ms(connection: &mut Connection, own_ms: i64) -> QueryResult<i64> {
    match connection {
        Connection::Sqlite(_) => Ok(own_ms),
        Connection::Postgres(_) => {
            number(connection, "SELECT floor(1000 * extract(epoch FROM clock_timestamp()))::bigint")
        }
    }
}

/// Writes something without meaning, in the transaction that is open.
pub(crate) fn write_trial(connection: &mut Connection) -> QueryResult<()> {
    match connection {
        Connection::Sqlite(_) => sqlite::write_trial(connection),
        Connection::Postgres(inner) => postgres::write_trial(inner),
    }
}

/// Whether the error says that a value which must be unique is there already: the column as `table.column`.
pub(crate) fn is_taken(error: &DieselError, column: &str) -> bool {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => match info.constraint_name() {
            Some(constraint) => constraint == format!("{}_key", column.replace('.', "_")),
            None => info.message().contains(column),
        },
        _ => false,
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        let words = error.to_string();
        let fault = sqlite::fault_in(&words).or_else(|| postgres::fault_of(&error, &words));
        Self::Database { fault, error }
    }
}

impl From<diesel::ConnectionError> for StoreError {
    fn from(error: diesel::ConnectionError) -> Self {
        DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(error.to_string())).into()
    }
}
