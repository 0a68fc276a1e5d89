//! Why something was not done to the database as a whole, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::key_file::KeyError;
use crate::open_error::StoreOpenError;

/// Why a backup, a restore or a change of keys failed. The display is a sentence that says what to do; what was there before
/// is still there.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// There is no database.
    #[error("There is no database at {}. Name the state directory with --state-dir, or the configuration with --config.", path.display())]
    NoDatabase {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file to write is there already.
    #[error("{} is there already and is not overwritten. Name a file that does not exist, or a directory.", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file can't be read or written.
    #[error("{} cannot be {what}: {source}. {}", path.display(), cure_of(source))]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done with it, in the past tense.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// A key is needed, and there is none.
    #[error(
        "There is no encryption key at {}. Where the service gets its key as a credential, name the file that the credential \
         is made of with --key FILE.", path.display()
    )]
    NoKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The new key is the old one.
    #[error("The new encryption key is the present one. Nothing was changed: name another file with --new-key.")]
    SameKey,
    /// Something else is sealed with the old key than this release knows of.
    #[error(
        "The database holds {count} sealed values that this release does not know of ({}). Nothing was changed: use the \
         release that wrote them.", columns.join(", ")
    )]
    UnknownSealed {
        /// How many.
        count: usize,
        /// Tables and columns.
        columns: Vec<String>,
    },
    /// The database or its key.
    #[error(transparent)]
    Database(#[from] StoreOpenError),
    /// The thread that did it has died.
    #[error("It was broken off by a fault of ours, which is in the log. Please report it.")]
    BrokenOff,
    /// A key can't be read, drawn or written.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl CareError {
    /// 78 where a person must act on key or database first, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Database(error) => error.exit_code(),
            Self::Key(error) => error.exit_code(),
            Self::NoKey { .. } | Self::UnknownSealed { .. } => 78,
            Self::NoDatabase { .. } | Self::Exists { .. } | Self::File { .. } | Self::SameKey | Self::BrokenOff => 1,
        }
    }

    pub(crate) fn file(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_path_buf(), what, source }
    }
}

fn cure_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "Check that the file and its directory exist, or name another place.",
        io::ErrorKind::PermissionDenied => "Run this as root or as the daemon's user, or name another place.",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Free some space there, or name another place.",
        io::ErrorKind::ReadOnlyFilesystem => "Make the file system writable, or name another place.",
        _ => "Check that its directory exists, is writable and has free space.",
    }
}
