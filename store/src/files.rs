//! Whole files: private, owned by whoever owns the place, on disk before they count.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// The name with something behind it.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory that a file is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Puts renames and new names in a directory on disk.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// An empty file of mode 0600 that wasn't there before.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Puts a file's content on disk.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Gives a file to the owner of its directory. Commands of root must not leave files that the daemon's user can't open;
/// anybody else owns what they make, and can't give it away.
pub(crate) fn give_to_owner_of_place(path: &Path) {
    let (Ok(place), Ok(file)) = (fs::metadata(directory_of(path)), fs::symlink_metadata(path)) else { return };
    if (place.uid(), place.gid()) != (file.uid(), file.gid()) {
        let _ = chown(path, Some(place.uid()), Some(place.gid()));
    }
}

/// Copies a file to a new private one, and puts it on disk.
pub(crate) fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// Keeps a file under a second name, so that its first name can be taken over without a moment in which neither is there.
pub(crate) fn keep_as(path: &Path, kept: &Path) -> io::Result<()> {
    // Some file systems know no second names.
    fs::hard_link(path, kept).or_else(|_| copy_private(path, kept))?;
    fs::set_permissions(kept, Permissions::from_mode(0o600))?;
    give_to_owner_of_place(kept);
    Ok(())
}

/// Removes a file that may not be there.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file in the making: gone again unless it was put in its place.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    finished: bool,
}

impl Unfinished {
    /// Something is being made at this path.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, finished: false }
    }

    /// Where.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames it into its place, which is over whatever is there, and puts the new name on disk.
    pub(crate) fn finish(mut self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        self.finished = true;
        sync_directory(directory_of(place))
    }

    /// Gives it a name that nothing has; of two at the same instant one fails.
    pub(crate) fn finish_new(self, place: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, place) {
            Ok(()) => sync_directory(directory_of(place)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Some file systems know no second names.
            Err(_) => {
                make_private(place)?;
                // An empty file would look like one that was finished.
                self.finish(place).inspect_err(|_| drop(fs::remove_file(place)))
            }
        }
    }

    /// Somebody else takes it from here.
    pub(crate) fn leave(mut self) -> PathBuf {
        self.finished = true;
        self.path.clone()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            for suffix in ["", "-journal", "-wal", "-shm"] {
                // Nobody takes it for whole by its name, so that one which stays does no harm.
                let _ = fs::remove_file(beside(&self.path, suffix));
            }
        }
    }
}
