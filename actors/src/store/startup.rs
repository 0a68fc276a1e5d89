//! Opening a database at the daemon's start: look first, write only when all is well.
//!
//! 1. The file's header, without SQLite: a file that isn't a database is not touched.
//! 2. A quick check of its pages, where that is cheap or the last stop was not clean.
//! 3. Whose tables these are, and whether a newer release wrote them.
//! 4. Whether the sealing key is the one that this database was sealed with (a canary row).
//! 5. In one write transaction: pending migrations, then, for a database that was never sealed, the key file and the canary.
//!
//! Whatever was made by a failed start (an empty database file) is removed again.

mod database_file;

use diesel::connection::SimpleConnection;
use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::{self, Which};
use super::error::{StoreError, Trouble};
use super::key_file::{KeyError, SealingKey};
use super::open_error::StoreOpenError;
use super::options::StoreOptions;
use super::sealing::{Place, SealError, Sealer};
use super::tables::meta;
use database_file::DatabaseFile;

/// All migrations, compiled in.
pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations");

/// Up to this size the quick check is done at each start: some milliseconds (it reads 250 to 500 MiB a second).
const ALWAYS_CHECKED: u64 = 4 * 1024 * 1024;
/// Up to this size it is done after a stop that was not clean: a quarter of a second at most.
const CHECKED_IF_UNCLEAN: u64 = 64 * 1024 * 1024;

const CANARY: &str = "canary";
const CANARY_TEXT: &[u8] = b"gatewarden canary 1";
const CANARY_PLACE: Place<'static> = Place { table: "meta", row: CANARY, column: "value" };
const INSTALLATION_ID: &str = "installation_id";
const ORGANIZATION_ID: &str = "organization_id";

/// What is fixed at the first start.
#[derive(Debug)]
pub(super) struct Installation {
    /// A uuid.
    pub(super) id: String,
    /// The one organization of the organization API: a uuid.
    pub(super) organization_id: String,
}

/// Checks, migrates and seals; answers what is fixed at the first start.
pub(super) fn prepare(
    options: &StoreOptions,
    key: SealingKey,
    sealer: &Sealer,
    now_s: i64,
) -> Result<Installation, StoreOpenError> {
    let file = DatabaseFile::find_or_make(&options.path)?;
    let prepared = Startup { options, file: &file, sealer, now_s }.run(key);
    if prepared.is_err() {
        file.remove_if_made();
    }
    prepared
}

struct Startup<'a> {
    options: &'a StoreOptions,
    file: &'a DatabaseFile,
    sealer: &'a Sealer,
    now_s: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Why the write transaction was rolled back.
enum Aborted {
    Database(diesel::result::Error),
    Migration(String),
    Key(KeyError),
    Seal(SealError),
}

impl From<diesel::result::Error> for Aborted {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

impl Startup<'_> {
    fn run(&self, mut key: SealingKey) -> Result<Installation, StoreOpenError> {
        let opened = connection::open_plain(&self.options.path, self.options.busy_timeout);
        let mut connection = opened.map_err(|error| self.broken(&error.to_string()))?;
        self.check_pages(&mut connection)?;
        self.check_schema(&mut connection)?;
        self.check_key(&mut connection, &key)?;
        connection::configure(&mut connection, Which::Writer).map_err(|error| self.store_error(&error))?;
        let migrated = connection.immediate_transaction(|connection| self.migrate(connection, &mut key));
        migrated.map_err(|aborted| match aborted {
            Aborted::Database(error) => self.broken(&error.to_string()),
            Aborted::Migration(words) => self.broken(&format!("migrating it failed: {words}")),
            Aborted::Key(error) => StoreOpenError::Key(error),
            Aborted::Seal(error) => self.broken(&format!("its canary {error}")),
        })
    }

    /// `quick_check` reads every page, so large files are checked only after an unclean stop, and very large ones never.
    fn check_pages(&self, connection: &mut SqliteConnection) -> Result<(), StoreOpenError> {
        let limit = if self.file.unclean { CHECKED_IF_UNCLEAN } else { ALWAYS_CHECKED };
        if self.file.made || self.file.size > limit {
            // The header is still read here, by SQLite itself.
            return connection
                .batch_execute("PRAGMA schema_version; SELECT COUNT(*) FROM sqlite_master")
                .map_err(|error| self.broken(&error.to_string()));
        }
        let lines: Vec<Line> = diesel::sql_query("SELECT quick_check AS line FROM pragma_quick_check")
            .load(connection)
            .map_err(|error| self.broken(&error.to_string()))?;
        match lines.first() {
            Some(Line { line }) if line != "ok" => Err(self.corrupt(line)),
            _ => Ok(()),
        }
    }

    fn check_schema(&self, connection: &mut SqliteConnection) -> Result<(), StoreOpenError> {
        let tables = lines(connection, "SELECT name AS line FROM sqlite_master WHERE type = 'table'")
            .map_err(|error| self.broken(&error.to_string()))?;
        if tables.is_empty() {
            return Ok(());
        }
        if !tables.iter().any(|table| table == "__diesel_schema_migrations") {
            return Err(self.corrupt("it is a database of another program"));
        }
        let applied = lines(connection, "SELECT version AS line FROM __diesel_schema_migrations ORDER BY version")
            .map_err(|error| self.broken(&error.to_string()))?;
        let known: Vec<String> = MigrationSource::<Sqlite>::migrations(&MIGRATIONS)
            .map_err(|error| self.broken(&error.to_string()))?
            .iter()
            .map(|migration| migration.name().version().to_string())
            .collect();
        let unknown: Vec<String> = applied.into_iter().filter(|version| !known.contains(version)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(StoreOpenError::TooNew { path: self.options.path.clone(), unknown })
    }

    fn check_key(&self, connection: &mut SqliteConnection, key: &SealingKey) -> Result<(), StoreOpenError> {
        let has_meta =
            lines(connection, "SELECT name AS line FROM sqlite_master WHERE type = 'table' AND name = 'meta'")
                .map_err(|error| self.broken(&error.to_string()))?;
        if has_meta.is_empty() {
            return Ok(());
        }
        let Some(canary) = meta::get(connection, CANARY).map_err(|error| self.broken(&error.to_string()))? else {
            return Ok(());
        };
        let path = self.options.path.clone();
        if key.is_new() {
            return Err(StoreOpenError::KeyMissing { path, key_path: key.path().to_path_buf() });
        }
        match self.sealer.open(CANARY_PLACE, &canary) {
            Ok(text) if text.as_slice() == CANARY_TEXT => Ok(()),
            Ok(_) | Err(SealError::NotAnEnvelope | SealError::CannotSeal) => {
                Err(self.corrupt("its canary row is damaged"))
            }
            Err(SealError::OtherKey | SealError::NotAuthentic) => {
                Err(StoreOpenError::WrongKey { path, key_source: key.path().display().to_string() })
            }
        }
    }

    fn migrate(&self, connection: &mut SqliteConnection, key: &mut SealingKey) -> Result<Installation, Aborted> {
        connection.run_pending_migrations(MIGRATIONS).map_err(|error| Aborted::Migration(error.to_string()))?;
        if meta::get(connection, CANARY)?.is_none() {
            // The key is on disk before the first row is sealed with it.
            key.write_if_new().map_err(Aborted::Key)?;
            let canary = self.sealer.seal(CANARY_PLACE, CANARY_TEXT).map_err(Aborted::Seal)?;
            meta::put(connection, CANARY, &canary)?;
            tracing::info!(store.path = %self.options.path.display(), created_at = self.now_s, "made a new database");
        }
        Ok(Installation {
            id: fixed_id(connection, INSTALLATION_ID)?,
            organization_id: fixed_id(connection, ORGANIZATION_ID)?,
        })
    }

    fn store_error(&self, error: &StoreError) -> StoreOpenError {
        self.broken(&error.to_string())
    }

    /// The database's words tell damage from an obstacle.
    fn broken(&self, words: &str) -> StoreOpenError {
        match Trouble::of(words) {
            Some(Trouble::Corrupt) => self.corrupt(words),
            _ => StoreOpenError::NotWritable { path: self.options.path.clone(), detail: words.to_owned() },
        }
    }

    fn corrupt(&self, detail: &str) -> StoreOpenError {
        StoreOpenError::Corrupt { path: self.options.path.clone(), detail: detail.to_owned() }
    }
}

/// A uuid that is drawn once and stays.
fn fixed_id(connection: &mut SqliteConnection, name: &str) -> QueryResult<String> {
    if let Some(id) = meta::get(connection, name)? {
        return Ok(id);
    }
    let id = uuid::Uuid::new_v4().to_string();
    meta::put(connection, name, &id)?;
    Ok(id)
}

fn lines(connection: &mut SqliteConnection, query: &str) -> QueryResult<Vec<String>> {
    let lines: Vec<Line> = diesel::sql_query(query).load(connection)?;
    Ok(lines.into_iter().map(|line| line.line).collect())
}

#[cfg(test)]
mod tests;
