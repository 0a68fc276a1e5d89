//! What keeps a server's database from being used: each with a sentence, its cure, and whether a person must act first.

use std::error::Error as _;
use std::fmt;

use tokio_postgres::error::SqlState;

/// Why a server's database can't be used. Texts are the server's words, or the system's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentences say what they are")]
pub enum Trouble {
    Unreachable(String),
    Starting(String),
    Crowded(String),
    WrongPassword(String),
    NotAdmitted(String),
    NoTls,
    Untrusted(String),
    Authorities(String),
    NoDatabase(String),
    NoRights(String),
    ReadOnly,
    InUse(String),
    Pooled,
    Foreign,
    TooOld(String),
    NotUtf8(String),
    Other(String),
}

impl Trouble {
    /// Why nobody was let in.
    pub(super) fn of_login(error: &tokio_postgres::Error) -> Self {
        let words = chain(error);
        let Some(code) = error.code() else {
            return if words.contains("server does not support TLS") {
                Self::NoTls
            } else if words.contains("certificate") {
                Self::Untrusted(words)
            } else if words.contains("session does not allow writes") || words.contains("does not allow") {
                Self::ReadOnly
            } else {
                Self::Unreachable(words)
            };
        };
        match *code {
            SqlState::INVALID_PASSWORD => Self::WrongPassword(words),
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Self::NotAdmitted(words),
            SqlState::INVALID_CATALOG_NAME => Self::NoDatabase(words),
            SqlState::INSUFFICIENT_PRIVILEGE => Self::NoRights(words),
            SqlState::TOO_MANY_CONNECTIONS => Self::Crowded(words),
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN => Self::Starting(words),
            _ => Self::Other(words),
        }
    }

    /// 78 where a person must change something first; else 1: it may be over by itself.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable(_)
            | Self::Starting(_)
            | Self::Crowded(_)
            | Self::ReadOnly
            | Self::InUse(_)
            | Self::Other(_) => 1,
            _ => 78,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(
                f,
                "the server cannot be reached ({why}). Check that it runs and that host and port of store.url are right."
            ),
            Self::Starting(why) => write!(f, "the server is starting or stopping ({why}). Try again in a moment."),
            Self::Crowded(why) => write!(
                f,
                "the server has no connection left ({why}). gatewarden needs 4, and 2 more at its start: raise max_connections, \
                 or the limit of the role."
            ),
            Self::WrongPassword(why) => {
                write!(f, "the server refuses the password ({why}). Put the role's password into store.url.")
            }
            Self::NotAdmitted(why) => write!(
                f,
                "the server does not admit this role from here ({why}). Add a line for it to pg_hba.conf; where that asks for \
                 TLS (hostssl), take sslmode=verify-full in store.url."
            ),
            Self::NoTls => f.write_str(
                "the server offers no TLS. Switch ssl on there; on a network that is protected by other means, put \
                 sslmode=disable into store.url.",
            ),
            Self::Untrusted(why) => write!(
                f,
                "the server's certificate is not trusted ({why}). Name the file of its authority in store.url with \
                 sslrootcert=/path/ca.pem, and the host as the certificate names it."
            ),
            Self::Authorities(why) => write!(
                f,
                "there is nothing to check the server's certificate with ({why}). Let sslrootcert of store.url name a file with \
                 the authority's certificate, or install ca-certificates."
            ),
            Self::NoDatabase(why) => write!(f, "there is no such database ({why}). Make it: createdb -O ROLE DATABASE."),
            Self::NoRights(why) => write!(
                f,
                "the role lacks rights ({why}). Make it the owner of the database: ALTER DATABASE DATABASE OWNER TO ROLE."
            ),
            Self::ReadOnly => f.write_str(
                "the server takes no writes: it is a standby, or set to read only. Name the primary in store.url, or all hosts \
                 with target_session_attrs=read-write.",
            ),
            Self::InUse(who) if who.is_empty() => f.write_str(
                "another gatewarden works on it. Stop it first, with all its nodes: this needs the database for itself.",
            ),
            Self::InUse(who) => write!(
                f,
                "another gatewarden works on it ({who}). Stop it first, with all its nodes: this needs the database for itself. One \
                 whose machine has died loses it within half a minute."
            ),
            Self::Pooled => f.write_str(
                "a connection pool gives each transaction another session (pgbouncer with pool_mode = transaction). gatewarden \
                 needs its own: use pool_mode = session for it, or connect to the server directly.",
            ),
            Self::Foreign => f.write_str(
                "it holds tables of another program. Give gatewarden a database of its own: createdb -O ROLE DATABASE.",
            ),
            Self::TooOld(version) => write!(f, "the server is PostgreSQL {version}; 13 or later is needed."),
            Self::NotUtf8(encoding) => write!(
                f,
                "its encoding is {encoding}, and UTF8 is needed. Make another one: createdb -E UTF8 -T template0 DATABASE."
            ),
            Self::Other(why) => write!(f, "{why}. The server's log may say more."),
        }
    }
}

/// An error with its causes.
fn chain(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return said.message().to_owned();
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = inner.source();
    }
    words
}
