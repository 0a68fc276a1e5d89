//! Keys, browser sessions, and who did what with them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use gatewarden_protocol::Secret;

use crate::events::AuditData;
use crate::gateway_record::MAX_TIME;
use crate::names::Role;
use crate::pages::Part;
use crate::request::{Rule, request};
use crate::rules::{capped, integer, over, raw, small, text, word};

/// All keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// By id.
    pub keys: Vec<Key>,
    /// Which part it is.
    #[serde(flatten)]
    pub part: Part,
    /// Whether a key of the configuration, or of the state directory, lets its holder in as an admin, too.
    #[serde(default)]
    pub configured: bool,
    /// Where that key is: `configuration`, or `admin.key` in the state directory.
    #[serde(default)]
    #[schema(example = "admin.key")]
    pub configured_in: Option<String>,
}

/// A key as it is listed. The key itself is nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Never used again after a revocation.
    pub id: i64,
    /// What it is for.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    #[schema(value_type = Role, example = "viewer")]
    pub role: String,
    /// Its first characters.
    #[schema(example = "gw_1a2b3c4d")]
    pub prefix: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; none for never.
    pub expires_at: Option<i64>,
    /// Unix seconds; none for never.
    pub last_used_at: Option<i64>,
}

/// A new key, shown once.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NewKeyAnswer {
    /// The key itself: it can't be read again.
    pub api_key: String,
    /// How it will be listed.
    pub key: Key,
}

/// Whether there was something to revoke.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Always true; an unknown id is a 404.
    pub deleted: bool,
}

/// Who is logged in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoginAnswer {
    /// Name of the key.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    #[schema(value_type = Role, example = "viewer")]
    pub role: String,
    /// Unix seconds at which the session ends.
    pub expires_at: i64,
}

/// A link that logs a browser in once.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkAnswer {
    /// To stand behind the daemon's address. It holds a secret.
    pub path: String,
    /// Unix seconds from which on it is worthless.
    pub expires_at: i64,
}

/// Who asks, and which daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionAnswer {
    /// The key; null for the one of the configuration.
    pub key_id: Option<i64>,
    /// Name of the key.
    pub name: String,
    /// What it may do.
    #[schema(value_type = Role, example = "viewer")]
    pub role: String,
    /// Whether a browser session asks.
    pub browser: bool,
    /// Unix seconds at which the session or its key ends; null for never.
    pub expires_at: Option<i64>,
    /// The daemon's release.
    pub version: String,
    /// The daemon's time, Unix milliseconds.
    pub time_ms: i64,
}

/// The session is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogoutAnswer {
    /// Always true.
    pub logged_out: bool,
}

/// A page of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// Newest first.
    pub audit: Vec<AuditRow>,
    /// What to pass as `before` for the next page; null on the last one.
    pub next_before: Option<i64>,
}

/// One thing that was done or refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// Grows with each entry.
    pub id: i64,
    /// Unix seconds.
    pub at: i64,
    /// What it was.
    #[serde(flatten)]
    pub entry: AuditData,
}

request! {
    /// A new key.
    NewKeyBody {
        /// What it is for; 1 to 200 characters.
        name: String = text(1..=200) => "dashboard";
        /// `viewer`, `operator` or `admin`.
        role: String = word(&["viewer", "operator", "admin"]) => "viewer";
        /// Unix seconds after which it is no longer good; never by default.
        expires_at: Option<i64> = integer(0..=MAX_TIME);
    }
    /// What to log in with: a key, or the secret of a login link.
    LoginBody {
        /// The key.
        api_key: Option<Secret> = api_key();
        /// The secret of a login link: what stands behind `once=` in it. It is used up.
        once: Option<Secret> = api_key();
    }
    /// What kind of login link is wanted.
    LinkBody {
        /// For how long it is good; 120 by default.
        seconds: Option<u32> = small::<u32>(1..=300);
    }
    /// Which part of the audit log is wanted.
    AuditQuery {
        /// Newest entries; 50 by default, more than 200 is capped
        limit: Option<usize> = capped(200);
        /// Not older than this, Unix seconds
        since: Option<i64> = integer(0..=i64::MAX);
        /// Only entries with an id below this: the next page
        before: Option<i64> = integer(1..=i64::MAX);
    }
    /// Which events are wanted.
    EventsQuery {
        /// Types to be sent, separated by commas; all but log and gateway.vitals by default
        types: Option<String> = raw() => "gateway.status,gateway.primary";
        /// Log entries of these gateways only, separated by commas; other types are not affected
        gateway_id: Option<String> = raw() => "1,2";
        /// Go on after this number, for clients that cannot set headers
        last_event_id: Option<i64> = integer(0..=i64::MAX);
    }
}

/// Whatever is presented: whether it is a key at all is for the daemon to say, but there must be something.
fn api_key() -> impl Rule<Out = Secret> {
    over(text(1..=1000), |text, fields, name| text.read(fields, name).map(Secret::new))
}
