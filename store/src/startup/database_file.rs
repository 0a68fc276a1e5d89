//! The database as a file: its header, its mode, and whether we made it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::care::files::beside;
use crate::open_error::StoreOpenError;

/// The first bytes of every SQLite database.
const HEADER: &[u8; 16] = b"SQLite format 3\0";
/// A database is never smaller than its header.
const SMALLEST: u64 = 100;

/// What was found before SQLite opened it.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    /// Made just now: empty.
    pub(super) made: bool,
    /// Bytes.
    pub(super) size: u64,
    /// A write-ahead log was left: the last stop was not clean.
    pub(super) unclean: bool,
}

impl DatabaseFile {
    /// Looks at the file, or makes an empty one (0600, in a directory of 0700 if that has to be made too).
    pub(super) fn find_or_make(path: &Path) -> Result<Self, StoreOpenError> {
        let not_writable =
            |error: io::Error| StoreOpenError::NotWritable { path: path.to_path_buf(), detail: error.to_string() };
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
        if size > 0 {
            let mut start = Vec::with_capacity(HEADER.len());
            file.take(HEADER.len() as u64).read_to_end(&mut start).map_err(not_writable)?;
            if size < SMALLEST || start != HEADER {
                let detail = "its first bytes are not those of a SQLite database".to_owned();
                return Err(StoreOpenError::Corrupt { path: path.to_path_buf(), detail });
            }
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
    pub(super) fn remove_if_made(&self) {
        if self.made {
            for path in [self.path.clone(), beside(&self.path, "-wal"), beside(&self.path, "-shm")] {
                // It may not be there; and nobody would miss an empty file that stays.
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
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
