//! A copy of an existing database before its migrations are made, so that going back to the release before is possible.
//!
//! It lies beside the database as `gatewarden.db.before-VERSION`, VERSION being that of the release that migrates. One is
//! kept: the copy of an earlier upgrade goes once the new one is whole. Without room for it there is no upgrade.

use std::fs;
use std::path::Path;

use diesel::SqliteConnection;

use crate::care::backup::{copy_to, of_place};
use crate::care::error::CareError;
use crate::care::files::{Unfinished, beside, directory_of};
use crate::open_error::StoreOpenError;

/// What stands behind the database's name, before the version.
const SUFFIX: &str = ".before-";

/// Makes the copy.
pub(super) fn keep_copy(connection: &mut SqliteConnection, database: &Path) -> Result<(), StoreOpenError> {
    let place = beside(database, &format!("{SUFFIX}{}", env!("CARGO_PKG_VERSION")));
    let unfinished = Unfinished::at(beside(&place, ".partial"));
    // Left by a start that was killed: starts of one database come one after the other.
    let _ = fs::remove_file(unfinished.path());
    copy_to(connection, database, unfinished.path())
        .and_then(|()| unfinished.finish(&place).map_err(CareError::file(&place, "written")))
        .map_err(|error| not_copied(of_place(error, &place), database))?;
    tracing::info!(
        store.path = %database.display(), copy = %place.display(),
        "kept a copy of the database as it was before this upgrade"
    );
    forget_others(database, &place);
    Ok(())
}

fn not_copied(error: CareError, database: &Path) -> StoreOpenError {
    match error {
        CareError::Database(error) => error,
        other => StoreOpenError::NotWritable {
            path: database.to_path_buf(),
            detail: format!("it needs an upgrade, and before that a copy of it, which was not made: {other}"),
        },
    }
}

/// Versions begin with a digit; what an operator's command kept (`before-restore-...`) is not ours to remove.
fn forget_others(database: &Path, kept: &Path) {
    let Some(prefix) = database.file_name().map(|name| format!("{}{SUFFIX}", name.to_string_lossy())) else { return };
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
