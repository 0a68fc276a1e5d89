//! Carrying out one change of a file of the state directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use crate::effect::FileChange;

pub(super) fn carry_out(state_dir: &Path, change: &FileChange) -> io::Result<()> {
    let path = inside(state_dir, change.file())?;
    match change {
        FileChange::Append { line, .. } => append(&path, line),
        FileChange::Replace { text, .. } => replace(&path, text.as_bytes()),
        FileChange::Remove { .. } => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// The absolute path of a relative one that stays inside.
fn inside(state_dir: &Path, file: &Path) -> io::Result<PathBuf> {
    if file.as_os_str().is_empty() || !file.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not a path inside the state directory", file.display()),
        ));
    }
    Ok(state_dir.join(file))
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    make_folder(path)?;
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let before = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    file.write_all(&bytes).inspect_err(|_| {
        // A full disk may have taken the half of it.
        let _ = file.set_len(before);
    })
}

/// Writes beside the file, syncs, and renames over it: either the old or the new content is there, also after a crash.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(path)?;
    let beside = beside(path);
    let written = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash left behind. Never written through: it could be a link.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Named so that no loader takes it for a real one.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.is_dir() => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        _ => Ok(()),
    }
}
