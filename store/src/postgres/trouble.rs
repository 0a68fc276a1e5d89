//! What keeps a server's database from being used: each with a sentence, its cure, and whether a person must act first.

use std::error::Error as _;
use std::fmt;

use tokio_postgres::error::SqlState;

/// Why a server's database can't be used. Texts are the server's words, or the system's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentences say what they are")]
pub enum Trouble {
    Unreachable(String),
    Silent(String),
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
            | Self::Silent(_)
            | Self::Starting(_)
            | Self::Crowded(_)
            | Self::ReadOnly
            | Self::InUse(_)
            | Self::Other(_) => 1,
            _ => 78,
        }
    }
}

impl Trouble {
    /// What it is, without a stop at its end.
    pub fn said(&self) -> String {
        match self {
            Self::Unreachable(why) => format!("the server cannot be reached ({why})"),
            Self::Silent(why) => format!("the server doesn't answer ({why})"),
            Self::Starting(why) => format!("the server is starting or stopping ({why})"),
            Self::Crowded(why) => format!("the server has no connection left ({why})"),
            Self::WrongPassword(why) => format!("the server refuses the password ({why})"),
            Self::NotAdmitted(why) => format!("the server does not admit this role from here ({why})"),
            Self::NoTls => "the server offers no TLS".to_owned(),
            Self::Untrusted(why) => format!("the server's certificate is not trusted ({why})"),
            Self::Authorities(why) => format!("there is nothing to check the server's certificate with ({why})"),
            Self::NoDatabase(why) => format!("there is no such database ({why})"),
            Self::NoRights(why) => format!("the role lacks rights ({why})"),
            Self::ReadOnly => "the server takes no writes: it is a standby, or set to read only".to_owned(),
            Self::InUse(who) if who.is_empty() => "another gatewarden works on it".to_owned(),
            Self::InUse(who) => format!("another gatewarden works on it ({who})"),
            Self::Pooled => {
                "a connection pool gives each transaction another session (pgbouncer with pool_mode = transaction)"
                    .to_owned()
            }
            Self::Foreign => "it holds tables of another program".to_owned(),
            Self::TooOld(version) => format!("the server is PostgreSQL {version}"),
            Self::NotUtf8(encoding) => format!("its encoding is {encoding}, and UTF8 is needed"),
            Self::Other(why) => why.clone(),
        }
    }

    /// What to do, in sentences.
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Unreachable(why) if why.contains("refused") => {
                "Nothing listens there: start PostgreSQL on that machine, let it listen on this address (listen_addresses), or \
                 correct host and port of store.url."
            }
            Self::Unreachable(why) if why.contains("lookup") => {
                "The host has no address: correct its name in store.url, or the name resolution of this machine."
            }
            Self::Unreachable(why) if why.contains("timed out") => {
                "Nothing comes back: check that the machine runs, the network and the firewalls between, and the host of store.url."
            }
            Self::Unreachable(_) => "Check that it runs and that host and port of store.url are right.",
            Self::Silent(_) => {
                "Look on that machine at its load and its disk, at who holds locks (pg_stat_activity, pg_locks), and whether \
                 PostgreSQL listens on that port at all: a frozen server goes on when it is let, a hung one after a restart."
            }
            Self::Starting(_) => "Try again in a moment.",
            Self::Crowded(_) => {
                "gatewarden needs 4, and 2 more at its start: raise max_connections, or the limit of the role."
            }
            Self::WrongPassword(_) => "Put the role's password into store.url.",
            Self::NotAdmitted(_) => {
                "Add a line for it to pg_hba.conf; where that asks for TLS (hostssl), take sslmode=verify-full in store.url."
            }
            Self::NoTls => {
                "Switch ssl on there; on a network that is protected by other means, put sslmode=disable into store.url."
            }
            Self::Untrusted(_) => {
                "Name the file of its authority in store.url with sslrootcert=/path/ca.pem, and the host as the certificate names it."
            }
            Self::Authorities(_) => {
                "Let sslrootcert of store.url name a file with the authority's certificate, or install ca-certificates."
            }
            Self::NoDatabase(_) => "Make it: createdb -O ROLE DATABASE.",
            Self::NoRights(_) => "Make it the owner of the database: ALTER DATABASE DATABASE OWNER TO ROLE.",
            Self::ReadOnly => "Name the primary in store.url, or all hosts with target_session_attrs=read-write.",
            Self::InUse(_) => {
                "Stop it first, with all its nodes: this needs the database for itself. One that has died is out of the way after \
                 some seconds, at most half a minute."
            }
            Self::Pooled => {
                "gatewarden needs its own: use pool_mode = session for it, or connect to the server directly."
            }
            Self::Foreign => "Give gatewarden a database of its own: createdb -O ROLE DATABASE.",
            Self::TooOld(_) => "Upgrade it: 13 or later is needed.",
            Self::NotUtf8(_) => "Make another one: createdb -E UTF8 -T template0 DATABASE.",
            Self::Other(_) => "The server's log may say more.",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.said(), self.cure())
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
