//! Opening a database at the daemon's start: look first, write only when all is well.
//!
//! 1. The file's header, without SQLite: a file that isn't a database is not touched.
//! 2. A quick check of its pages, where that is cheap or the last stop was not clean.
//! 3. Whose tables these are, and whether a newer release wrote them.
//! 4. Whether the sealing key is the one that this database was sealed with (a canary row).
//! 5. Before the migrations of an existing database: a copy of it beside ([`before_upgrade`]).
//! 6. In one write transaction: pending migrations, then, for a database that was never sealed, the key file and the canary.
//!
//! Whatever was made by a failed start (an empty database file) is removed again.

mod before_upgrade;
mod database_file;

use std::path::PathBuf;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;

use super::care::space;
use super::connection::{self, Which};
use super::error::StoreError;
use super::key_file::{KeyError, SealingKey, promote_next};
use super::open_error::StoreOpenError;
use super::options::StoreOptions;
use super::sealing::{SealError, Sealer};
use super::tables::meta;
use super::verification::{self, CANARY, CANARY_PLACE, CANARY_TEXT, MIGRATIONS};
use database_file::DatabaseFile;

/// Up to this size the quick check is done at each start: some milliseconds (it reads 250 to 500 MiB a second).
const ALWAYS_CHECKED: u64 = 4 * 1024 * 1024;
/// Up to this size it is done after a stop that was not clean: a quarter of a second at most.
const CHECKED_IF_UNCLEAN: u64 = 64 * 1024 * 1024;

const INSTALLATION_ID: &str = "installation_id";
const ORGANIZATION_ID: &str = "organization_id";

/// What is fixed at the first start.
#[derive(Debug)]
pub(super) struct Installation {
    /// A uuid.
    pub(super) id: String,
    /// The one organization of the organization API: a uuid.
    pub(super) organization_id: String,
    /// The file of a new key that a broken-off change of keys left, and that opens nothing.
    pub(super) leftover_key: Option<PathBuf>,
}

/// Checks, migrates and seals; answers what is fixed at the first start, and what seals with the right key.
pub(super) fn prepare(
    options: &StoreOptions,
    key: SealingKey,
    now_s: i64,
) -> Result<(Installation, Sealer), StoreOpenError> {
    let file = DatabaseFile::find_or_make(&options.path)?;
    let prepared = Startup { options, file: &file, now_s }.run(key);
    if prepared.is_err() {
        file.remove_if_made();
    }
    prepared
}

struct Startup<'a> {
    options: &'a StoreOptions,
    file: &'a DatabaseFile,
    now_s: i64,
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
    fn run(&self, key: SealingKey) -> Result<(Installation, Sealer), StoreOpenError> {
        let opened = connection::open_plain(&self.options.path, self.options.busy_timeout);
        let mut connection = opened.map_err(|error| self.broken(&error.to_string()))?;
        self.check_pages(&mut connection)?;
        let schema = verification::schema(&mut connection, &self.options.path)?;
        let next = key.next().map(|next| next.path().to_path_buf());
        let (mut key, sealer) = match verification::canary(&mut connection, &self.options.path)? {
            Some(canary) => self.right_key(key, &canary)?,
            None => {
                let sealer = Sealer::new(key.bytes());
                (key, sealer)
            }
        };
        let leftover = next.filter(|next| next != key.path());
        if schema.applied.is_empty() {
            // Before its first table, or never.
            space::let_shrink(&mut connection).map_err(|error| self.broken(&error.to_string()))?;
        }
        if schema.pending > 0 && !schema.applied.is_empty() {
            before_upgrade::keep_copy(&mut connection, &self.options.path)?;
        }
        connection::configure(&mut connection, Which::Writer).map_err(|error| self.store_error(&error))?;
        let migrated = connection.immediate_transaction(|connection| self.migrate(connection, &mut key, &sealer));
        let mut installation = migrated.map_err(|aborted| match aborted {
            Aborted::Database(error) => self.broken(&error.to_string()),
            Aborted::Migration(words) => self.broken(&format!("migrating it failed: {words}")),
            Aborted::Key(error) => StoreOpenError::Key(error),
            Aborted::Seal(error) => self.broken(&format!("its canary {error}")),
        })?;
        installation.leftover_key = leftover;
        self.let_shrink(&mut connection);
        Ok((installation, sealer))
    }

    /// Databases of early releases can't give unused space back. Small ones are written anew once; for a large one that would
    /// make the start long, and a restored backup does it as well.
    fn let_shrink(&self, connection: &mut SqliteConnection) {
        if self.file.size <= CHECKED_IF_UNCLEAN && space::can_shrink(connection).is_ok_and(|can| !can) {
            match space::let_shrink_anew(connection) {
                Ok(()) => tracing::info!("the database can give unused space back from now on"),
                Err(error) => tracing::debug!(%error, "the database keeps its unused space"),
            }
        }
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
        let damage = verification::damage(connection, false).map_err(|error| self.broken(&error.to_string()))?;
        match damage.first() {
            Some(line) => Err(verification::corrupt(&self.options.path, line)),
            None => Ok(()),
        }
    }

    /// The key that opens the canary. One that was about to take the other's place when somebody broke that off is put there.
    fn right_key(&self, key: SealingKey, canary: &str) -> Result<(SealingKey, Sealer), StoreOpenError> {
        let present = key.path().to_path_buf();
        let (key, sealer) = verification::right_key(key, canary, &self.options.path)?;
        if key.path() != present {
            let dir = present.parent().unwrap_or(std::path::Path::new("."));
            match promote_next(dir) {
                Ok(()) => {
                    tracing::warn!(key.path = %present.display(), "finished a change of the encryption key that was broken off")
                }
                Err(error) => tracing::warn!(
                    %error, key.path = %key.path().display(),
                    "the database opens with a new encryption key that could not be put in the place of the old one; do not delete it"
                ),
            }
        }
        Ok((key, sealer))
    }

    fn migrate(
        &self,
        connection: &mut SqliteConnection,
        key: &mut SealingKey,
        sealer: &Sealer,
    ) -> Result<Installation, Aborted> {
        connection.run_pending_migrations(MIGRATIONS).map_err(|error| Aborted::Migration(error.to_string()))?;
        if meta::get(connection, CANARY)?.is_none() {
            // The key is on disk before the first row is sealed with it.
            key.write_if_new().map_err(Aborted::Key)?;
            let canary = sealer.seal(CANARY_PLACE, CANARY_TEXT).map_err(Aborted::Seal)?;
            meta::put(connection, CANARY, &canary)?;
            tracing::info!(store.path = %self.options.path.display(), created_at = self.now_s, "made a new database");
        }
        Ok(Installation {
            id: fixed_id(connection, INSTALLATION_ID)?,
            organization_id: fixed_id(connection, ORGANIZATION_ID)?,
            leftover_key: None,
        })
    }

    fn store_error(&self, error: &StoreError) -> StoreOpenError {
        self.broken(&error.to_string())
    }

    fn broken(&self, words: &str) -> StoreOpenError {
        verification::broken(&self.options.path, words)
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

#[cfg(test)]
mod tests;
