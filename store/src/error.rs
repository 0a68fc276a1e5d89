//! Why the store can't do something: the one error of this crate. A job's error becomes a [`Failure`] for whoever asked; what
//! keeps a database from being opened, copied or put back is a sentence for a person, who is told what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use gatewarden_core::error::{ErrorCode, Failure};

use crate::postgres::trouble::Trouble;
use crate::sealing::{Place, SealError, Sealer};

/// What kind of trouble the database is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another process holds a lock.
    Locked,
    /// No space left.
    Full,
    /// The file or its filesystem became read-only.
    ReadOnly,
    /// The file can't be read, written or found.
    Io,
    /// The file's content is damaged.
    Corrupt,
    /// The server gives no answer, or lets nobody in for the moment.
    Unreachable,
    /// The server lets this daemon in no longer.
    Refused,
    /// Another gatewarden has the server's database.
    InUse,
    /// The server has no space left.
    ServerFull,
    /// The server takes no writes.
    ServerReadOnly,
}

impl Fault {
    fn sentence(self) -> &'static str {
        match self {
            Self::Locked => "the database is locked by another process",
            Self::Full => "there is no space left for the database",
            Self::ReadOnly => "the database is read-only",
            Self::Io => "the database file cannot be read or written",
            Self::Corrupt => "the database file is damaged",
            Self::Unreachable => "the database server does not answer",
            Self::Refused => "the database server refuses this daemon",
            Self::InUse => "another gatewarden works on the database",
            Self::ServerFull => "the database server has no space left",
            Self::ServerReadOnly => "the database server takes no writes",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Locked => {
                "Try again; if it stays so, end the process that holds the lock (a backup tool, a database shell)."
            }
            Self::Full => "Free some space on the state directory's filesystem; the daemon goes on by itself.",
            Self::ReadOnly => {
                "Make the database file, its directory and its filesystem writable for the daemon's user; the daemon goes on by \
                 itself."
            }
            Self::Io => {
                "Check the state directory and its filesystem; the daemon goes on by itself once they are well."
            }
            Self::Corrupt => "Stop the daemon and restore the database from a backup.",
            Self::Unreachable => "Look at the server and the way to it; the daemon goes on by itself once it answers.",
            Self::Refused => "The daemon's log says why. Put it right on the server; the daemon goes on by itself.",
            Self::InUse => "Stop the other one; this one goes on by itself.",
            Self::ServerFull => "Free some space on the server; the daemon goes on by itself.",
            Self::ServerReadOnly => {
                "Make the server the primary again, or name the primary in store.url and restart the daemon."
            }
        }
    }
}

impl Trouble {
    /// The same, said of a daemon at work.
    fn fault(&self) -> Fault {
        match self {
            Self::ReadOnly => Fault::ServerReadOnly,
            Self::InUse(_) => Fault::InUse,
            Self::Unreachable(_) | Self::Silent(_) | Self::Starting(_) | Self::Crowded(_) | Self::Other(_) => {
                Fault::Unreachable
            }
            _ => Fault::Refused,
        }
    }
}

impl Sealer {
    /// Seals a secret for one place, or says `what` cannot be sealed.
    pub(crate) fn seal_or(&self, what: &'static str, place: Place<'_>, plain: &[u8]) -> Result<String, StoreError> {
        self.seal(place, plain).map_err(|error| StoreError::Sealed { what, error })
    }
}

/// Why something was not done. The display is a sentence; of those about files and keys it says what to do, and what was there
/// before is still there.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what the fields are")]
pub enum StoreError {
    /// The database refused; with what that means, where it is known.
    #[error("{error}")]
    Database { fault: Option<Fault>, error: DieselError },
    /// A secret can't be sealed or opened; the text says which.
    #[error("{what}: {error}")]
    Sealed { what: &'static str, error: SealError },
    /// An answer to whoever asked rather than a fault.
    #[error("{0}")]
    Refused(Box<Failure>),
    /// The job panicked; with its words.
    #[error("the job panicked: {0}")]
    Panicked(String),
    /// The sealing key is not the one that the database was sealed with.
    #[error(
        "The encryption key does not open the database {}: it was sealed with another key than {}. Let the key that belongs to it \
         take its place (with several nodes, that of the node that acts), or restore a backup that was made together with the \
         present key.",
        path.display(), key_source
    )]
    WrongKey { path: PathBuf, key_source: String },
    /// There is no sealing key, but the database was sealed with one.
    #[error(
        "The database {} was sealed with a key, but there is none at {}. Put the key file back from a backup. Without it the \
         stored tokens and the device identity can't be read: to start afresh, move the database away.",
        path.display(), key_path.display()
    )]
    KeyMissing { path: PathBuf, key_path: PathBuf },
    /// The file isn't a database, or a damaged one.
    #[error(
        "The database {} is damaged or not a database ({detail}). Restore it from a backup, or move it away to start afresh; \
         it was not changed.",
        path.display()
    )]
    Corrupt { path: PathBuf, detail: String },
    /// The database was written by a newer release.
    #[error(
        "The database {} was written by a newer release of gatewarden (it has the unknown migrations {}). Start that release \
         or a later one, or restore a backup that was made before the upgrade.",
        path.display(), unknown.join(", ")
    )]
    TooNew { path: PathBuf, unknown: Vec<String> },
    /// The file can't be opened, locked or written.
    #[error(
        "The database {} cannot be opened for writing: {detail}. Check that its directory exists, belongs to the daemon's \
         user, has free space and is not in use by another process.",
        path.display()
    )]
    NotWritable { path: PathBuf, detail: String },
    /// A key file is there and can't be read.
    #[error("The encryption key {} cannot be read: {source}. Let the daemon's user read it.", path.display())]
    KeyUnreadable { path: PathBuf, source: io::Error },
    /// A key file isn't a key.
    #[error(
        "The encryption key {} is malformed: it must hold 32 bytes, raw, as 64 hex digits or as base64. `head -c 32 /dev/urandom` \
         makes a new one; one that was in use is put back from a backup.",
        path.display()
    )]
    KeyMalformed { path: PathBuf },
    /// Others may read the key file, and that can't be changed.
    #[error(
        "The encryption key {} can be read by other users (mode {mode:o}), and that could not be changed: {source}. Run \
         chmod 600 on it as its owner.",
        path.display()
    )]
    KeyTooOpen { path: PathBuf, mode: u32, source: io::Error },
    /// A new key can't be written.
    #[error(
        "A new encryption key cannot be written to {}: {source}. Check that the state directory belongs to the daemon's user \
         and has free space.",
        path.display()
    )]
    KeyNotWritable { path: PathBuf, source: io::Error },
    /// The system gives no random numbers.
    #[error("A new encryption key cannot be drawn: the system gives no random numbers ({0}).")]
    NoRandomness(getrandom::Error),
    /// There is no database.
    #[error("There is no database at {}. Name the state directory with --state-dir, or the configuration with --config.", path.display())]
    NoDatabase { path: PathBuf },
    /// A server's database that must be empty has tables.
    #[error(
        "The database {} is not empty, and nothing was changed. Make an empty one (createdb), or drop its tables if nothing of \
         them is needed any more.",
        place.display()
    )]
    NotEmpty { place: PathBuf },
    /// The database is of an older release.
    #[error(
        "The database {} was written by an older release and has not been upgraded. Start the daemon of this release on it once, \
         stop it, and try again. Nothing was changed.",
        place.display()
    )]
    Outdated { place: PathBuf },
    /// A copy isn't the same as what was copied.
    #[error("The copy of table {table} in {} differs from the original, so nothing was kept of it. Please report it.", place.display())]
    Differs { table: &'static str, place: PathBuf },
    /// The file to write is there already.
    #[error("{} is there already and is not overwritten. Name a file that does not exist, or a directory.", path.display())]
    Exists { path: PathBuf },
    /// A file can't be read or written; `what` is what was to be done with it, in the past tense.
    #[error("{} cannot be {what}: {source}. {}", path.display(), cure_of(source))]
    File { path: PathBuf, what: &'static str, source: io::Error },
    /// A key is needed, and there is none.
    #[error(
        "There is no encryption key at {}. Where the service gets its key as a credential, name the file that the credential \
         is made of with --key FILE.", path.display()
    )]
    NoKey { path: PathBuf },
    /// The new key is the old one.
    #[error("The new encryption key is the present one. Nothing was changed: name another file with --new-key.")]
    SameKey,
    /// Something else is sealed with the old key than this release knows of.
    #[error(
        "The database holds {count} sealed values that this release does not know of ({}). Nothing was changed: use the \
         release that wrote them.", columns.join(", ")
    )]
    UnknownSealed { count: usize, columns: Vec<String> },
    /// A server's database can't be used.
    #[error("The database {place} cannot be used: {trouble}")]
    Server { place: String, trouble: Trouble },
    /// A write was to be committed, and the server gave no answer to that.
    #[error("the server was lost at the commit ({0}): nobody knows yet whether it is done")]
    InDoubt(String),
    /// It is done to files, and the database is a server's.
    #[error(
        "The database {} is not a file, and this works on files. A PostgreSQL is backed up and restored with its own tools \
         (pg_dump, pg_restore); keep a copy of the encryption key apart from the dump.",
        place.display()
    )]
    NoFile { place: PathBuf },
    /// A living node has this node's name.
    #[error(
        "Another node named \"{name}\" works on this database ({url}). Give each node a name of its own: node.name in the \
         configuration."
    )]
    NodeNameTaken { name: String, url: String },
    /// A newer release has changed the database so that this one can't work on it.
    #[error(
        "The database {} is one for gatewarden {oldest} and later, and this is {}: it changes nothing there. Upgrade gatewarden on this \
         machine, then start it again.",
        place.display(), env!("CARGO_PKG_VERSION")
    )]
    ReleaseTooOld { place: PathBuf, oldest: String },
    /// A living node is of a release that can't work on what this one makes of the database.
    #[error(
        "Node {name} at {url} works on this database with gatewarden {release}, and what this release makes of the database is for \
         {oldest} and later. Upgrade that node or stop it, then start this one again. Nothing was changed."
    )]
    OlderNode { name: String, url: String, release: String, oldest: String },
    /// The thread that did it has died.
    #[error("It was broken off by a fault of ours, which is in the log. Please report it.")]
    BrokenOff,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Refused(Box::new(failure))
    }
}

impl StoreError {
    /// A file that can't be written, read, and so on.
    pub(crate) fn file(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists { path: path.to_path_buf() },
            _ => Self::File { path: path.to_path_buf(), what, source },
        }
    }

    pub(crate) fn corrupt(path: &Path, detail: &str) -> Self {
        Self::Corrupt { path: path.to_path_buf(), detail: detail.to_owned() }
    }

    pub(crate) fn serialization(error: serde_json::Error) -> Self {
        Self::Database { fault: None, error: DieselError::SerializationError(Box::new(error)) }
    }

    /// The same error, said of the database at this path: damage is told from an obstacle.
    pub(crate) fn of(self, path: &Path) -> Self {
        let path = path.to_path_buf();
        match self {
            Self::Database { fault: Some(Fault::Corrupt), error } => Self::Corrupt { path, detail: error.to_string() },
            Self::Database { error, .. } => Self::NotWritable { path, detail: error.to_string() },
            Self::Sealed { what, error } => Self::NotWritable { path, detail: format!("{what}: {error}") },
            Self::WrongKey { key_source, .. } => Self::WrongKey { path, key_source },
            Self::KeyMissing { key_path, .. } => Self::KeyMissing { path, key_path },
            Self::Corrupt { detail, .. } => Self::Corrupt { path, detail },
            Self::TooNew { unknown, .. } => Self::TooNew { path, unknown },
            other => other,
        }
    }

    /// What can't be written is the file that was asked for, whatever it is called while it is being made.
    pub(crate) fn of_file(self, asked: &Path) -> Self {
        match self {
            Self::File { what, source, .. } => Self::File { path: asked.to_path_buf(), what, source },
            other => other,
        }
    }

    /// The exit code of a command, or of a daemon that can't start: 78 where a person must act on configuration, key or database
    /// first, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::WrongKey { .. }
            | Self::KeyMissing { .. }
            | Self::Corrupt { .. }
            | Self::TooNew { .. }
            | Self::KeyMalformed { .. }
            | Self::KeyTooOpen { .. }
            | Self::NoKey { .. }
            | Self::Outdated { .. }
            | Self::NodeNameTaken { .. }
            | Self::ReleaseTooOld { .. }
            | Self::UnknownSealed { .. } => 78,
            Self::Server { trouble, .. } => trouble.exit_code(),
            Self::NoFile { .. } => 64,
            _ => 1,
        }
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Database { fault, .. } => *fault,
            Self::Server { trouble, .. } => Some(trouble.fault()),
            Self::InDoubt(_) => Some(Fault::Unreachable),
            _ => None,
        }
    }

    /// Whether the connection is doubtful after this error, so that the next job gets a new one.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Self::Database { error: DieselError::NotFound | DieselError::RollbackTransaction, .. } => false,
            Self::Database { error: DieselError::DatabaseError(kind, _), fault } => match kind {
                DatabaseErrorKind::Unknown => *fault != Some(Fault::Locked),
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ReadOnlyTransaction => true,
                _ => false,
            },
            Self::Database { .. } | Self::Panicked(_) | Self::InDoubt(_) => true,
            _ => false,
        }
    }

    /// What the caller gets. `what` completes "Could not ..."; causes are logged here, once, and not carried on.
    pub(crate) fn into_failure(self, what: &'static str) -> Failure {
        match (self.fault(), self) {
            (_, Self::Refused(failure)) => *failure,
            (_, cause @ Self::InDoubt(_)) => {
                tracing::warn!(store.job = what, error = %cause, "nobody knows yet whether this is done: {what}");
                in_doubt(what)
            }
            (Some(fault), cause) => {
                tracing::warn!(store.job = what, error = %cause, "could not {what}: {}", fault.sentence());
                unavailable(format!("Could not {what}: {}", fault.sentence())).with_help(fault.help())
            }
            (None, cause) => {
                tracing::error!(store.job = what, error = %cause, "could not {what}");
                Failure::new(ErrorCode::Internal, format!("Could not {what}: internal fault of the store"))
                    .with_help("The cause is in the daemon's log; please report it.")
            }
        }
    }
}

/// The store can't do it now; trying again may help.
pub(crate) fn unavailable(message: String) -> Failure {
    Failure::new(ErrorCode::StoreUnavailable, message)
        .with_help("Try again in a second; if it stays so, read the daemon's log.")
        .with_retry_after(Duration::from_secs(1))
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

/// What a caller gets of a write whose end nobody knows.
pub(crate) fn in_doubt(what: &str) -> Failure {
    Failure::outcome_unknown(format!("The store began to {what} and has not said in time whether it is done"))
        .with_retry_after(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(kind: DatabaseErrorKind, message: &str) -> StoreError {
        DieselError::DatabaseError(kind, Box::new(message.to_owned())).into()
    }

    #[test]
    fn trouble_of_the_database_is_unavailable_with_a_sentence_and_help() {
        for text in [
            "database is locked",
            "database table is locked: gateways",
            "database or disk is full",
            "attempt to write a readonly database",
            "disk I/O error",
            "unable to open database file",
            "database disk image is malformed",
            "file is not a database",
        ] {
            let failure = database(DatabaseErrorKind::Unknown, text).into_failure("store the gateway");
            assert_eq!(failure.code, ErrorCode::StoreUnavailable, "{text}");
            assert!(failure.message.starts_with("Could not store the gateway: the"), "{}", failure.message);
            assert!(failure.help.is_some() && failure.retry_after.is_some());
        }
    }

    #[test]
    fn an_unknown_error_is_internal_and_does_not_leak_its_cause() {
        let failure =
            database(DatabaseErrorKind::Unknown, "no such column: tok-secret").into_failure("store the gateway");
        assert_eq!(failure.code, ErrorCode::Internal);
        assert!(!format!("{failure:?}").contains("tok-secret"));
    }

    #[test]
    fn a_connection_is_kept_after_a_refusal_and_a_lock_and_not_after_what_may_have_broken_it() {
        assert!(!database(DatabaseErrorKind::UniqueViolation, "UNIQUE constraint failed").spoils_connection());
        assert!(!database(DatabaseErrorKind::Unknown, "database is locked").spoils_connection());
        assert!(database(DatabaseErrorKind::Unknown, "disk I/O error").spoils_connection());
        assert!(database(DatabaseErrorKind::UnableToSendCommand, "connection reset").spoils_connection());
    }
}
