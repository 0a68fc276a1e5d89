//! Where backups lie that nobody named a place for, and what they are called.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The directory in the state directory.
pub(crate) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("backups")
}

/// A backup's name, by the time at which it was made (`20261121T180545Z`): names sort by age.
pub(crate) fn file_name(stamp: &str) -> String {
    format!("gatewarden-{stamp}.db")
}

/// Makes the directory where there is none, mode 0700, owned by whoever owns the state directory.
pub(crate) fn make_directory(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).create(dir)?;
    super::state_dir::give_to_owner_of_place(dir);
    Ok(())
}
