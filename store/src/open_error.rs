//! Why the store can't be opened, and what to do about it.

use std::path::PathBuf;

use super::key_file::KeyError;

/// Why [`super::handle::StoreHandle::open`] failed. The display is a sentence that says what to do; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The sealing key is not the one that the database was sealed with.
    #[error(
        "The encryption key does not open the database {}: it was sealed with another key. Put back the key that belongs \
         to it ({}), or restore a backup that was made together with the present key.",
        path.display(), key_source
    )]
    WrongKey {
        /// The database.
        path: PathBuf,
        /// Where the present key came from.
        key_source: String,
    },
    /// There is no sealing key, but the database was sealed with one.
    #[error(
        "The database {} was sealed with a key, but there is none at {}. Put the key file back from a backup. Without it the \
         stored tokens and the device identity can't be read: to start afresh, move the database away.",
        path.display(), key_path.display()
    )]
    KeyMissing {
        /// The database.
        path: PathBuf,
        /// Where the key is expected.
        key_path: PathBuf,
    },
    /// The sealing key can't be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file isn't a database, or a damaged one.
    #[error(
        "The database {} is damaged or not a database ({detail}). Restore it from a backup, or move it away to start afresh; \
         it was not changed.",
        path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The database was written by a newer release.
    #[error(
        "The database {} was written by a newer release of gatewarden (it has the unknown migrations {}). Start that release \
         or a later one, or restore a backup that was made before the upgrade.",
        path.display(), unknown.join(", ")
    )]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Applied migrations that this release doesn't know.
        unknown: Vec<String>,
    },
    /// The file can't be opened, locked or written.
    #[error(
        "The database {} cannot be opened for writing: {detail}. Check that its directory exists, belongs to the daemon's \
         user, has free space and is not in use by another process.",
        path.display()
    )]
    NotWritable {
        /// The database.
        path: PathBuf,
        /// The system's or the database's words.
        detail: String,
    },
}

impl StoreOpenError {
    /// The daemon's exit code: 78 where the configuration, the key or the database must change first, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::WrongKey { .. } | Self::KeyMissing { .. } | Self::Corrupt { .. } | Self::TooNew { .. } => 78,
            Self::Key(error) => error.exit_code(),
            Self::NotWritable { .. } => 1,
        }
    }
}
