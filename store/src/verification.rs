//! Looks at a database before it is used: its pages, whose tables these are, and which key it was sealed with.

use std::path::Path;

use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::error::Trouble;
use super::key_file::SealingKey;
use super::open_error::StoreOpenError;
use super::sealing::{Place, SealError, Sealer};
use super::tables::meta;

/// All migrations, compiled in.
pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations");

/// The row that tells whether a key is the right one.
pub(super) const CANARY: &str = "canary";
pub(super) const CANARY_TEXT: &[u8] = b"gatewarden canary 1";
pub(super) const CANARY_PLACE: Place<'static> = Place { table: "meta", row: CANARY, column: "value" };

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// How far a database's schema is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Schema {
    /// Applied migrations, oldest first; none in an empty database.
    pub(super) applied: Vec<String>,
    /// Migrations of this release that are still to be made.
    pub(super) pending: usize,
}

/// The texts of a query's column `line`.
pub(super) fn lines(connection: &mut SqliteConnection, query: &str) -> QueryResult<Vec<String>> {
    let lines: Vec<Line> = diesel::sql_query(query).load(connection)?;
    Ok(lines.into_iter().map(|line| line.line).collect())
}

/// What is wrong with the pages: nothing, or some sentences of the database. The full check also compares each index
/// with its table, which takes several times as long.
pub(super) fn damage(connection: &mut SqliteConnection, full: bool) -> QueryResult<Vec<String>> {
    let query = if full {
        "SELECT integrity_check AS line FROM pragma_integrity_check LIMIT 10"
    } else {
        "SELECT quick_check AS line FROM pragma_quick_check LIMIT 10"
    };
    Ok(lines(connection, query)?.into_iter().filter(|line| line != "ok").collect())
}

/// How far the schema is; an error for tables of another program or of a newer release.
pub(super) fn schema(connection: &mut SqliteConnection, path: &Path) -> Result<Schema, StoreOpenError> {
    let broken = |error: diesel::result::Error| broken(path, &error.to_string());
    let known: Vec<String> = MigrationSource::<Sqlite>::migrations(&MIGRATIONS)
        .map_err(|error| self::broken(path, &error.to_string()))?
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect();
    let tables = lines(connection, "SELECT name AS line FROM sqlite_master WHERE type = 'table'").map_err(broken)?;
    if tables.is_empty() {
        return Ok(Schema { applied: Vec::new(), pending: known.len() });
    }
    if !tables.iter().any(|table| table == "__diesel_schema_migrations") {
        return Err(corrupt(path, "it is a database of another program"));
    }
    let applied =
        lines(connection, "SELECT version AS line FROM __diesel_schema_migrations ORDER BY version").map_err(broken)?;
    let unknown: Vec<String> = applied.iter().filter(|version| !known.contains(version)).cloned().collect();
    if unknown.is_empty() {
        let pending = known.iter().filter(|version| !applied.contains(version)).count();
        return Ok(Schema { applied, pending });
    }
    Err(StoreOpenError::TooNew { path: path.to_path_buf(), unknown })
}

/// The canary; none in a database that was never sealed.
pub(super) fn canary(connection: &mut SqliteConnection, path: &Path) -> Result<Option<String>, StoreOpenError> {
    let broken = |error: diesel::result::Error| broken(path, &error.to_string());
    let meta = lines(connection, "SELECT name AS line FROM sqlite_master WHERE type = 'table' AND name = 'meta'");
    if meta.map_err(broken)?.is_empty() {
        return Ok(None);
    }
    meta::get(connection, CANARY).map_err(broken)
}

/// Which key opens the canary: this one, or the one that is about to take its place. A new key opens nothing.
pub(super) fn right_key(key: SealingKey, canary: &str, path: &Path) -> Result<(SealingKey, Sealer), StoreOpenError> {
    if let Some(next) = key.next() {
        let sealer = Sealer::new(next.bytes());
        if opens(&sealer, canary, path)? {
            return Ok((next, sealer));
        }
    }
    if key.is_new() {
        return Err(StoreOpenError::KeyMissing { path: path.to_path_buf(), key_path: key.path().to_path_buf() });
    }
    let sealer = Sealer::new(key.bytes());
    if opens(&sealer, canary, path)? {
        return Ok((key, sealer));
    }
    Err(StoreOpenError::WrongKey { path: path.to_path_buf(), key_source: key.path().display().to_string() })
}

/// Whether this key sealed the canary.
pub(super) fn opens(sealer: &Sealer, canary: &str, path: &Path) -> Result<bool, StoreOpenError> {
    match sealer.open(CANARY_PLACE, canary) {
        Ok(text) if text.as_slice() == CANARY_TEXT => Ok(true),
        Ok(_) | Err(SealError::NotAnEnvelope | SealError::CannotSeal) => {
            Err(corrupt(path, "its canary row is damaged"))
        }
        Err(SealError::OtherKey | SealError::NotAuthentic) => Ok(false),
    }
}

/// The database's words tell damage from an obstacle.
pub(super) fn broken(path: &Path, words: &str) -> StoreOpenError {
    match Trouble::of(words) {
        Some(Trouble::Corrupt) => corrupt(path, words),
        _ => StoreOpenError::NotWritable { path: path.to_path_buf(), detail: words.to_owned() },
    }
}

pub(super) fn corrupt(path: &Path, detail: &str) -> StoreOpenError {
    StoreOpenError::Corrupt { path: path.to_path_buf(), detail: detail.to_owned() }
}
