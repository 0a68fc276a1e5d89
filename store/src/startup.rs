//! Opening a database at the daemon's start: look first, write only when all is well.
//!
//! 1. The file's header, without SQLite: a file that isn't a database is not touched.
//! 2. A quick check of its pages, where that is cheap or the last stop was not clean.
//! 3. Whose tables these are, and whether a newer release wrote them.
//! 4. Whether the sealing key is the one that this database was sealed with (a canary row).
//! 5. Before the migrations of an existing database: a copy of it beside, as `gatewarden.db.before-VERSION` (the release that
//!    migrates), so that going back to the release before is possible. One is kept: the copy of an earlier upgrade goes once
//!    the new one is whole. Without room for it there is no upgrade.
//! 6. In one write transaction: pending migrations, then, for a database that was never sealed, the key file and the canary.
//!
//! Whatever was made by a failed start (an empty database file) is removed again. Maintenance looks at databases in the same way.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use diesel::prelude::*;

use crate::connection::{Connection, Pool, on_either};
use crate::database::{Database, known_migrations, migrate, tables, write_transaction};
use crate::error::StoreError;
use crate::files::{Unfinished, beside, directory_of};
use crate::key_file::{SealingKey, promote_next};
use crate::postgres;
use crate::queue::StoreOptions;
use crate::schema::meta;
use crate::sealing::{Place, SealError, Sealer};
use crate::sqlite::{self, HEADER};

/// Up to this size the quick check is done at each start: some milliseconds (it reads 250 to 500 MiB a second).
const ALWAYS_CHECKED: u64 = 4 * 1024 * 1024;
/// Up to this size it is done after a stop that was not clean: a quarter of a second at most.
const CHECKED_IF_UNCLEAN: u64 = 64 * 1024 * 1024;
/// A database is never smaller than its header.
const SMALLEST: u64 = 100;

/// The row that tells whether a key is the right one.
pub(crate) const CANARY: &str = "canary";
const CANARY_TEXT: &[u8] = b"gatewarden canary 1";
pub(crate) const CANARY_PLACE: Place<'static> = Place { table: "meta", row: CANARY, column: "value" };
const INSTALLATION_ID: &str = "installation_id";
const ORGANIZATION_ID: &str = "organization_id";
/// What stands behind the name of the copy before an upgrade, before the version.
const BEFORE: &str = ".before-";

/// What is fixed at the first start.
#[derive(Debug)]
pub(crate) struct Installation {
    /// A uuid.
    pub(crate) id: String,
    /// The one organization of the organization API: a uuid.
    pub(crate) organization_id: String,
    /// The file of a new key that a broken-off change of keys left, and that opens nothing.
    pub(crate) leftover_key: Option<PathBuf>,
}

/// Checks, migrates and seals; answers what is fixed at the first start, and what seals with the right key.
pub(crate) fn prepare(options: &StoreOptions, key: SealingKey) -> Result<(Installation, Sealer), StoreError> {
    let path = match &options.database {
        Database::File(path) => path,
        Database::Server(address) => return postgres::start::prepare(options, address, key),
    };
    let file = DatabaseFile::find_or_make(path)?;
    let prepared = open(options, &file, key).map_err(|error| error.of(path));
    if prepared.is_err() {
        file.remove_if_made();
    }
    prepared
}

fn open(options: &StoreOptions, file: &DatabaseFile, key: SealingKey) -> Result<(Installation, Sealer), StoreError> {
    let path = &file.path;
    let mut connection = sqlite::open_plain(path, options.busy_timeout)?;
    check_pages(&mut connection, file)?;
    let schema = schema(&mut connection, path)?;
    let (key, sealer, leftover_key) = choose_key(&mut connection, key, path)?;
    if schema.applied.is_empty() {
        // Before its first table, or never.
        sqlite::let_shrink(&mut connection)?;
    }
    if schema.pending > 0 && !schema.applied.is_empty() {
        keep_copy(&mut connection, path)?;
    }
    sqlite::configure(&mut connection, Pool::Writer)?;
    let key = RefCell::new(key);
    let installation = write_transaction(&mut connection, |connection| {
        migrate(connection).map_err(|error| StoreError::NotWritable {
            path: path.clone(),
            detail: format!("migrating it failed: {error}"),
        })?;
        seal_if_new(connection, &mut key.borrow_mut(), &sealer, path)?;
        installation(connection, leftover_key.clone())
    })?;
    // Databases of early releases can't give unused space back. Small ones are written anew once; for a large one that would
    // make the start long, and a restored backup does it as well.
    if file.size <= CHECKED_IF_UNCLEAN && sqlite::can_shrink(&mut connection).is_ok_and(|can| !can) {
        match sqlite::let_shrink_anew(&mut connection) {
            Ok(()) => tracing::info!("the database can give unused space back from now on"),
            Err(error) => tracing::debug!(%error, "the database keeps its unused space"),
        }
    }
    Ok((installation, sealer))
}

/// The key that opens what is there, what it seals with, and the file of one that opens nothing.
pub(crate) fn choose_key(
    connection: &mut Connection,
    key: SealingKey,
    place: &Path,
) -> Result<(SealingKey, Sealer, Option<PathBuf>), StoreError> {
    let next = key.next().map(|next| next.path().to_path_buf());
    let (key, sealer) = match canary(connection)? {
        Some(canary) => take_right_key(key, &canary, place)?,
        None => {
            let sealer = Sealer::new(key.bytes());
            (key, sealer)
        }
    };
    let leftover = next.filter(|next| next != key.path());
    Ok((key, sealer, leftover))
}

/// Seals a database that never was.
pub(crate) fn seal_if_new(
    connection: &mut Connection,
    key: &mut SealingKey,
    sealer: &Sealer,
    place: &Path,
) -> Result<(), StoreError> {
    if setting(connection, CANARY)?.is_some() {
        return Ok(());
    }
    // The key is on disk before the first row is sealed with it.
    key.write_if_new()?;
    let canary = sealer.seal_or("its canary cannot be sealed", CANARY_PLACE, CANARY_TEXT)?;
    set(connection, CANARY, &canary)?;
    tracing::info!(store.path = %place.display(), "made a new database");
    Ok(())
}

/// What is fixed at the first start.
pub(crate) fn installation(
    connection: &mut Connection,
    leftover_key: Option<PathBuf>,
) -> Result<Installation, StoreError> {
    let id = fixed_id(connection, INSTALLATION_ID)?;
    Ok(Installation { id, organization_id: fixed_id(connection, ORGANIZATION_ID)?, leftover_key })
}

/// The check reads every page, so large files are checked only after an unclean stop, and very large ones never.
fn check_pages(connection: &mut Connection, file: &DatabaseFile) -> Result<(), StoreError> {
    let limit = if file.unclean { CHECKED_IF_UNCLEAN } else { ALWAYS_CHECKED };
    if file.made || file.size > limit {
        return Ok(sqlite::check_header(connection)?);
    }
    match sqlite::damage(connection, false)?.first() {
        Some(line) => Err(StoreError::corrupt(&file.path, line)),
        None => Ok(()),
    }
}

/// The key that opens the canary. One that was about to take the other's place when somebody broke that off is put there.
fn take_right_key(key: SealingKey, canary: &str, path: &Path) -> Result<(SealingKey, Sealer), StoreError> {
    let present = key.path().to_path_buf();
    let (key, sealer) = right_key(key, canary, path)?;
    if key.path() != present {
        match promote_next(directory_of(&present)) {
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

/// A uuid that is drawn once and stays.
fn fixed_id(connection: &mut Connection, name: &str) -> QueryResult<String> {
    if let Some(id) = setting(connection, name)? {
        return Ok(id);
    }
    let id = uuid::Uuid::new_v4().to_string();
    set(connection, name, &id)?;
    Ok(id)
}

/// A single value of the installation.
pub(crate) fn setting(connection: &mut Connection, name: &str) -> QueryResult<Option<String>> {
    meta::table.find(name).select(meta::value).first(connection).optional()
}

pub(crate) fn set(connection: &mut Connection, name: &str, value: &str) -> QueryResult<()> {
    let row = (meta::name.eq(name), meta::value.eq(value));
    on_either!(connection, |inner| {
        let added = diesel::insert_into(meta::table).values(row).on_conflict(meta::name);
        added.do_update().set(meta::value.eq(value)).execute(inner)
    })?;
    Ok(())
}

/// Copies an existing database before its migrations are made.
fn keep_copy(connection: &mut Connection, database: &Path) -> Result<(), StoreError> {
    let place = beside(database, &format!("{BEFORE}{}", env!("CARGO_PKG_VERSION")));
    let unfinished = Unfinished::at(beside(&place, ".partial"));
    // Left by a start that was killed: starts of one database come one after the other.
    let _ = fs::remove_file(unfinished.path());
    let copied = sqlite::copy_to(connection, database, unfinished.path())
        .and_then(|()| unfinished.finish(&place).map_err(StoreError::file(&place, "written")));
    copied.map_err(|error| match error.of_file(&place) {
        file @ StoreError::File { .. } => StoreError::NotWritable {
            path: database.to_path_buf(),
            detail: format!("it needs an upgrade, and before that a copy of it, which was not made: {file}"),
        },
        other => other,
    })?;
    tracing::info!(
        store.path = %database.display(), copy = %place.display(),
        "kept a copy of the database as it was before this upgrade"
    );
    forget_other_copies(database, &place);
    Ok(())
}

/// Versions begin with a digit; what an operator's command kept (`before-restore-...`) is not ours to remove.
fn forget_other_copies(database: &Path, kept: &Path) {
    let Some(prefix) = database.file_name().map(|name| format!("{}{BEFORE}", name.to_string_lossy())) else { return };
    let Ok(entries) = fs::read_dir(directory_of(database)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
            && Some(name.as_os_str()) != kept.file_name()
            && fs::remove_file(entry.path()).is_ok()
        {
            tracing::info!(copy = %entry.path().display(), "removed the copy of an earlier upgrade");
        }
    }
}

/// How far a database's schema is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Schema {
    /// Applied migrations, oldest first; none in an empty database.
    pub(crate) applied: Vec<String>,
    /// Migrations of this release that are still to be made.
    pub(crate) pending: usize,
    /// Applied migrations that this release doesn't know: a newer one made them.
    pub(crate) unknown: Vec<String>,
}

/// How far the schema is; an error for tables of another program or of a newer release.
pub(crate) fn schema(connection: &mut Connection, path: &Path) -> Result<Schema, StoreError> {
    let schema = schema_of_any_release(connection, path)?;
    if schema.unknown.is_empty() {
        return Ok(schema);
    }
    Err(StoreError::TooNew { path: path.to_path_buf(), unknown: schema.unknown })
}

/// The same, also of a newer release.
pub(crate) fn schema_of_any_release(connection: &mut Connection, path: &Path) -> Result<Schema, StoreError> {
    let known =
        known_migrations(connection).map_err(|detail| StoreError::NotWritable { path: path.to_path_buf(), detail })?;
    let tables = tables(connection)?;
    if tables.is_empty() {
        return Ok(Schema { pending: known.len(), ..Schema::default() });
    }
    if !tables.iter().any(|table| table == "__diesel_schema_migrations") {
        return Err(StoreError::corrupt(path, "it is a database of another program"));
    }
    let applied = sqlite::applied_migrations(connection)?;
    let unknown = applied.iter().filter(|version| !known.contains(version)).cloned().collect();
    let pending = known.iter().filter(|version| !applied.contains(version)).count();
    Ok(Schema { applied, pending, unknown })
}

/// The canary; none in a database that was never sealed.
pub(crate) fn canary(connection: &mut Connection) -> Result<Option<String>, StoreError> {
    if !tables(connection)?.iter().any(|table| table == CANARY_PLACE.table) {
        return Ok(None);
    }
    Ok(setting(connection, CANARY)?)
}

/// Which key opens the canary: this one, or the one that is about to take its place. A new key opens nothing.
pub(crate) fn right_key(key: SealingKey, canary: &str, path: &Path) -> Result<(SealingKey, Sealer), StoreError> {
    if let Some(next) = key.next() {
        let sealer = Sealer::new(next.bytes());
        if opens(&sealer, canary, path)? {
            return Ok((next, sealer));
        }
    }
    if key.is_new() {
        return Err(StoreError::KeyMissing { path: path.to_path_buf(), key_path: key.path().to_path_buf() });
    }
    let sealer = Sealer::new(key.bytes());
    if opens(&sealer, canary, path)? {
        return Ok((key, sealer));
    }
    Err(StoreError::WrongKey { path: path.to_path_buf(), key_source: key.path().display().to_string() })
}

/// Whether this key sealed the canary.
pub(crate) fn opens(sealer: &Sealer, canary: &str, path: &Path) -> Result<bool, StoreError> {
    match sealer.open(CANARY_PLACE, canary) {
        Ok(text) if text.as_slice() == CANARY_TEXT => Ok(true),
        Ok(_) | Err(SealError::NotAnEnvelope | SealError::CannotSeal) => {
            Err(StoreError::corrupt(path, "its canary row is damaged"))
        }
        Err(SealError::OtherKey | SealError::NotAuthentic) => Ok(false),
    }
}

/// What was found before SQLite opened it.
#[derive(Debug)]
struct DatabaseFile {
    path: PathBuf,
    /// Made just now: empty.
    made: bool,
    /// Bytes.
    size: u64,
    /// A write-ahead log was left: the last stop was not clean.
    unclean: bool,
}

impl DatabaseFile {
    /// Looks at the file, or makes an empty one (0600, in a directory of 0700 if that has to be made too).
    fn find_or_make(path: &Path) -> Result<Self, StoreError> {
        let not_writable =
            |error: io::Error| StoreError::NotWritable { path: path.to_path_buf(), detail: error.to_string() };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(path).map_err(not_writable)?;
                return Ok(Self { path: path.to_path_buf(), made: true, size: 0, unclean: false });
            }
            Err(error) => return Err(not_writable(error)),
        };
        let metadata = file.metadata().map_err(not_writable)?;
        if !metadata.is_file() {
            return Err(not_writable(io::Error::other("it is not a regular file")));
        }
        let size = metadata.len();
        if size > 0 && (!has_header(file).map_err(not_writable)? || size < SMALLEST) {
            return Err(no_database(path));
        }
        narrow_mode(path);
        let mut unclean = false;
        for suffix in ["-wal", "-shm"] {
            let beside = beside(path, suffix);
            if let Ok(metadata) = fs::metadata(&beside) {
                unclean |= suffix == "-wal" && metadata.len() > 0;
                narrow_mode(&beside);
            }
        }
        Ok(Self { path: path.to_path_buf(), made: false, size, unclean })
    }

    /// Removes what [`Self::find_or_make`] made.
    fn remove_if_made(&self) {
        if self.made {
            for path in [self.path.clone(), beside(&self.path, "-wal"), beside(&self.path, "-shm")] {
                // It may not be there; and nobody would miss an empty file that stays.
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Whether a file begins as every database does.
pub(crate) fn has_header(file: File) -> io::Result<bool> {
    let mut start = Vec::with_capacity(HEADER.len());
    file.take(HEADER.len() as u64).read_to_end(&mut start)?;
    Ok(start == HEADER)
}

pub(crate) fn no_database(path: &Path) -> StoreError {
    StoreError::corrupt(path, "its first bytes are not those of a SQLite database")
}

fn make(path: &Path) -> io::Result<()> {
    let dir = directory_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    File::open(dir)?.sync_all()
}

/// Others must not read it. It is no reason not to start if that can't be changed: what is secret in it is sealed.
fn narrow_mode(path: &Path) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return;
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & 0o700)) {
        Ok(()) => {
            tracing::warn!(store.path = %path.display(), "others could read the database (mode {mode:o}); no longer")
        }
        Err(error) => {
            tracing::warn!(store.path = %path.display(), %error, "others can read the database (mode {mode:o}): chmod 600 it");
        }
    }
}

#[cfg(test)]
mod tests;
