//! What a failed job means to the one who asked: every error of the database becomes a `Failure` here.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::sealing::SealError;
use gatewarden_core::error::{ErrorCode, Failure};
use std::time::Duration;

/// Why a job failed, inside of the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("{0}")]
    Database(#[from] DieselError),
    /// The connection could not be opened (again).
    #[error("{0}")]
    Connection(#[from] diesel::ConnectionError),
    /// A secret can't be sealed or opened; the text says which.
    #[error("{what}: {error}")]
    Sealed { what: &'static str, error: SealError },
    /// An answer to the caller rather than a fault.
    #[error("{0}")]
    Refused(Box<Failure>),
}

/// What kind of trouble the database is in, as far as its words tell. SQLite's extended codes don't get through diesel;
/// these texts are those of `sqlite3_errstr`, unchanged for many years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
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
}

impl Trouble {
    pub(super) fn of(message: &str) -> Option<Self> {
        const TEXTS: [(&str, Trouble); 11] = [
            ("database is locked", Trouble::Locked),
            ("table is locked", Trouble::Locked),
            ("schema is locked", Trouble::Locked),
            ("locking protocol", Trouble::Locked),
            ("disk is full", Trouble::Full),
            ("readonly database", Trouble::ReadOnly),
            ("disk I/O error", Trouble::Io),
            ("unable to open database", Trouble::Io),
            ("large file support", Trouble::Io),
            ("malformed", Trouble::Corrupt),
            ("not a database", Trouble::Corrupt),
        ];
        TEXTS.iter().find(|(text, _)| message.contains(text)).map(|(_, trouble)| *trouble)
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Locked => "the database is locked by another process",
            Self::Full => "there is no space left for the database",
            Self::ReadOnly => "the database is read-only",
            Self::Io => "the database file cannot be read or written",
            Self::Corrupt => "the database file is damaged",
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
        }
    }
}

impl StoreError {
    /// Whether the connection is doubtful after this error, so that the next job gets a new one.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Self::Database(DieselError::NotFound | DieselError::RollbackTransaction) => false,
            Self::Database(DieselError::DatabaseError(DatabaseErrorKind::Unknown, info)) => {
                Trouble::of(info.message()) != Some(Trouble::Locked)
            }
            Self::Database(DieselError::DatabaseError(..)) | Self::Sealed { .. } | Self::Refused(_) => false,
            Self::Database(_) | Self::Connection(_) => true,
        }
    }

    /// A unique name that is taken is an answer; everything else stays what it is.
    pub(super) fn for_gateway_name(error: DieselError, name: &str) -> Self {
        match &error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info)
                if info.message().contains("gateways.name") || info.constraint_name() == Some("gateways_name_key") =>
            {
                Self::Refused(Box::new(
                    Failure::new(ErrorCode::NameTaken, format!("Another gateway is already named \"{name}\""))
                        .with_help(
                            "Choose another name, or change the gateway that has it (GET /api/gateways lists them).",
                        ),
                ))
            }
            _ => Self::Database(error),
        }
    }

    /// The same for agents.
    pub(super) fn for_agent_name(error: DieselError, name: &str) -> Self {
        match &error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info)
                if info.message().contains("agents.name") || info.constraint_name() == Some("agents_name_key") =>
            {
                Self::refused(
                    Failure::new(ErrorCode::NameTaken, format!("Another agent is already named \"{name}\"")).with_help(
                        "Choose another name, or change the agent that has it (GET /api/agents lists them).",
                    ),
                )
            }
            _ => Self::Database(error),
        }
    }

    /// An answer to the caller.
    pub(super) fn refused(failure: Failure) -> Self {
        Self::Refused(Box::new(failure))
    }

    /// What the caller gets. `what` completes "Could not ..."; causes are logged here, once, and not carried on.
    pub(super) fn into_failure(self, what: &'static str) -> Failure {
        if let Self::Refused(failure) = self {
            return *failure;
        }
        let cause = self.to_string();
        match Trouble::of(&cause) {
            Some(trouble) => {
                tracing::warn!(store.job = what, error = %cause, "could not {what}: {}", trouble.sentence());
                unavailable(format!("Could not {what}: {}", trouble.sentence())).with_help(trouble.help())
            }
            None => {
                tracing::error!(store.job = what, error = %cause, "could not {what}");
                internal(what)
            }
        }
    }
}

/// The store can't do it now; trying again may help.
pub(super) fn unavailable(message: String) -> Failure {
    Failure::new(ErrorCode::StoreUnavailable, message)
        .with_help("Try again in a second; if it stays so, read the daemon's log.")
        .with_retry_after(Duration::from_secs(1))
}

/// Whether the database file itself is damaged.
pub(super) fn is_damage(failure: &Failure) -> bool {
    failure.message.ends_with(Trouble::Corrupt.sentence())
}

/// A fault of ours.
pub(super) fn internal(what: &'static str) -> Failure {
    Failure::new(ErrorCode::Internal, format!("Could not {what}: internal fault of the store"))
        .with_help("The cause is in the daemon's log; please report it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(kind: DatabaseErrorKind, message: &str) -> DieselError {
        DieselError::DatabaseError(kind, Box::new(message.to_owned()))
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
            let failure =
                StoreError::Database(database(DatabaseErrorKind::Unknown, text)).into_failure("store the gateway");
            assert_eq!(failure.code, ErrorCode::StoreUnavailable, "{text}");
            assert!(failure.message.starts_with("Could not store the gateway: the"), "{}", failure.message);
            assert!(failure.help.is_some() && failure.retry_after.is_some());
        }
    }

    #[test]
    fn an_unknown_error_is_internal_and_does_not_leak_its_cause() {
        let error = StoreError::Database(database(DatabaseErrorKind::Unknown, "no such column: tok-secret"));
        let failure = error.into_failure("store the gateway");
        assert_eq!(failure.code, ErrorCode::Internal);
        assert!(!format!("{failure:?}").contains("tok-secret"));
    }

    #[test]
    fn only_a_violation_of_the_name_means_a_taken_name() {
        let taken = database(DatabaseErrorKind::UniqueViolation, "UNIQUE constraint failed: gateways.name");
        let failure = StoreError::for_gateway_name(taken, "prod").into_failure("store the gateway");
        assert_eq!(failure.code, ErrorCode::NameTaken);
        assert!(failure.message.contains("\"prod\""));
        let other = database(DatabaseErrorKind::UniqueViolation, "UNIQUE constraint failed: gateways.is_primary");
        let failure = StoreError::for_gateway_name(other, "prod").into_failure("store the gateway");
        assert_eq!(failure.code, ErrorCode::Internal);
    }
}
