//! The audit log: who did what, when, from where, to what, with what result.

use serde::Serialize;
use serde_json::Value;

use super::Role;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditActor {
    /// The stored key that was used; `None` for a key of the configuration, for nobody, and for the daemon.
    pub key_id: Option<i64>,
    /// The key's name; `system` for the daemon, `anonymous` for a request without a good key.
    pub name: String,
    /// What that key may do.
    pub role: Option<Role>,
}

impl AuditActor {
    /// The daemon itself: an election, a timer.
    pub fn system() -> Self {
        Self { key_id: None, name: "system".to_owned(), role: None }
    }

    /// Somebody without a good key.
    pub fn anonymous() -> Self {
        Self { key_id: None, name: "anonymous".to_owned(), role: None }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// Done.
    Ok,
    /// Not allowed, or malformed: nothing happened.
    Refused,
    /// Tried, and it didn't work.
    Failed,
    /// Begun, and what came of it is not known: the daemon was stopped, or has a fault.
    Unknown,
}

impl AuditResult {
    /// The stable name, as shown in the API and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Reads a name back.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ok, Self::Refused, Self::Failed, Self::Unknown].into_iter().find(|result| result.as_str() == name)
    }
}

/// One thing that was done or refused. Holds no secrets: neither target nor details may name a token, a key or an
/// environment value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Who.
    pub actor: AuditActor,
    /// From where: the peer's IP address. At most 100 characters are kept.
    pub address: Option<String>,
    /// The request's id, at most 200 characters.
    pub request_id: Option<String>,
    /// What: a stable name such as `gateway.update`, at most 100 characters.
    pub action: String,
    /// To what: such as `gateway 3` or `session agent:main`, at most 600 characters.
    pub target: Option<String>,
    /// How it ended.
    pub result: AuditResult,
    /// More of it, a JSON object; one above 16 KiB is left out, and says so.
    pub details: Value,
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditRecord {
    /// Grows with each entry; the cursor of a list.
    pub id: i64,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
}
