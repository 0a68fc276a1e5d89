//! The audit log: who did what, when, from where, to what, with what result. Append, list newest first, forget what is old;
//! nothing changes an entry. Who has entries to write uses [`crate::batching::AuditLogWriter`].

use std::time::Duration;

use diesel::prelude::*;
use gatewarden_core::error::Failure;
use serde::Serialize;
use serde_json::Value;

use super::access::Role;
use super::columns::{Json, stored_enum};
use super::{ROWS_AN_INSERT, cut_text, delete_beyond, delete_some, json_text};
use crate::connection::{Connection, on_either};
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle, span_ms, whole};
use crate::schema::audit_log;

/// Entries in one answer.
const MAX_LISTED: usize = 1_000;
const LONGEST_NAME: usize = 200;
const LONGEST_ADDRESS: usize = 100;
const LONGEST_ACTION: usize = 100;
const LONGEST_TARGET: usize = 600;
/// Largest details in bytes of JSON.
const LARGEST_DETAILS: usize = 16 * 1024;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Queryable, Selectable)]
#[diesel(table_name = audit_log)]
pub struct AuditActor {
    /// The stored key that was used; `None` for a key of the configuration, for nobody, and for the daemon.
    #[diesel(column_name = actor_key_id)]
    pub key_id: Option<i64>,
    /// The key's name; `system` for the daemon, `anonymous` for a request without a good key.
    #[diesel(column_name = actor_name)]
    pub name: String,
    #[diesel(column_name = actor_role, deserialize_as = ActorRole)]
    pub role: Option<Role>,
}

impl AuditActor {
    /// The daemon itself: an election, a timer.
    pub(crate) fn system() -> Self {
        Self { key_id: None, name: "system".to_owned(), role: None }
    }

    /// Somebody without a good key.
    pub fn anonymous() -> Self {
        Self { key_id: None, name: "anonymous".to_owned(), role: None }
    }
}

stored_enum! {
    pub enum AuditResult {
        Ok = "ok",
        /// Not allowed, or malformed: nothing happened.
        Refused = "refused",
        /// Tried, and it didn't work.
        Failed = "failed",
        /// Begun, and what came of it is not known: the daemon was stopped, or has a fault.
        Unknown = "unknown",
    } else Unknown
}

/// One thing that was done or refused. Holds no secrets: neither target nor details may name a token, a key or an
/// environment value.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable)]
#[diesel(table_name = audit_log)]
pub struct AuditEntry {
    /// Unix milliseconds.
    pub at_ms: i64,
    #[diesel(embed)]
    pub actor: AuditActor,
    /// From where: the peer's IP address. At most 100 characters are kept.
    pub address: Option<String>,
    /// The request's id, at most 200 characters.
    pub request_id: Option<String>,
    /// What: a stable name such as `gateway.update`, at most 100 characters.
    pub action: String,
    /// To what: such as `gateway 3` or `session agent:main`, at most 600 characters.
    pub target: Option<String>,
    pub result: AuditResult,
    /// More of it, a JSON object; one above 16 KiB is left out, and says so.
    #[diesel(deserialize_as = Json)]
    pub details: Value,
}

impl AuditEntry {
    /// What the daemon did by itself.
    pub fn by_system(at_ms: i64, action: &str, target: Option<String>, result: AuditResult, details: Value) -> Self {
        let (actor, action) = (AuditActor::system(), action.to_owned());
        Self { at_ms, actor, address: None, request_id: None, action, target, result, details }
    }
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable)]
#[diesel(table_name = audit_log)]
pub struct AuditRecord {
    /// Grows with each entry; the cursor of a list.
    pub id: i64,
    #[serde(flatten)]
    #[diesel(embed)]
    pub entry: AuditEntry,
}

/// The role of an entry's actor: none where this release doesn't know it.
pub struct ActorRole(Option<Role>);

impl<ST, DB> Queryable<ST, DB> for ActorRole
where
    DB: diesel::backend::Backend,
    Option<String>: diesel::deserialize::FromStaticSqlRow<ST, DB>,
{
    type Row = Option<String>;

    fn build(name: Option<String>) -> diesel::deserialize::Result<Self> {
        Ok(Self(name.as_deref().and_then(Role::from_name)))
    }
}

impl From<ActorRole> for Option<Role> {
    fn from(role: ActorRole) -> Self {
        role.0
    }
}

impl StoreHandle {
    /// Appends entries, all or none.
    pub async fn append_audit(&self, entries: Vec<AuditEntry>) -> Result<(), Failure> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write("append to the audit log", move |db| append(db.connection, &entries)).await
    }

    /// Entries newest first: not older than `since_ms` (Unix milliseconds), and with a smaller id than `before_id`, where
    /// they are given. `limit` is 1 to 1,000.
    pub async fn list_audit(
        &self,
        limit: usize,
        since_ms: Option<i64>,
        before_id: Option<i64>,
    ) -> Result<Vec<AuditRecord>, Failure> {
        let limit = whole(limit.clamp(1, MAX_LISTED));
        self.read("read the audit log", move |db| {
            let newest = audit_log::table.select(AuditRecord::as_select()).order(audit_log::id.desc()).limit(limit);
            let mut query = newest.into_boxed();
            if let Some(since) = since_ms {
                query = query.filter(audit_log::at_ms.ge(since));
            }
            if let Some(before) = before_id {
                query = query.filter(audit_log::id.lt(before));
            }
            Ok(query.load(db.connection)?)
        })
        .await
    }

    /// Forgets entries older than `keep`; how many there were.
    pub async fn thin_audit(&self, now_ms: i64, keep: Duration) -> Result<usize, Failure> {
        let before = now_ms.saturating_sub(span_ms(keep));
        self.write_in_turns("forget old audit entries", move |db| {
            Ok(delete_some!(db, audit_log, audit_log::table.filter(audit_log::at_ms.lt(before))))
        })
        .await
    }
}

pub(super) fn append(connection: &mut Connection, entries: &[AuditEntry]) -> Result<(), StoreError> {
    let cut = |text: &Option<String>, longest| text.as_deref().map(|text| cut_text(text, longest));
    for chunk in entries.chunks(ROWS_AN_INSERT) {
        let rows = chunk.iter().map(|entry| {
            let details =
                if entry.details.is_object() { json_text(&entry.details, LARGEST_DETAILS) } else { "{}".into() };
            (
                audit_log::at_ms.eq(entry.at_ms),
                audit_log::actor_key_id.eq(entry.actor.key_id),
                audit_log::actor_name.eq(cut_text(&entry.actor.name, LONGEST_NAME)),
                audit_log::actor_role.eq(entry.actor.role),
                audit_log::address.eq(cut(&entry.address, LONGEST_ADDRESS)),
                audit_log::request_id.eq(cut(&entry.request_id, LONGEST_NAME)),
                audit_log::action.eq(cut_text(&entry.action, LONGEST_ACTION)),
                audit_log::target.eq(cut(&entry.target, LONGEST_TARGET)),
                audit_log::result.eq(entry.result),
                audit_log::details.eq(details),
            )
        });
        let added = diesel::insert_into(audit_log::table).values(rows.collect::<Vec<_>>());
        on_either!(connection, |inner| added.execute(inner))?;
    }
    Ok(())
}

/// Removes some of the oldest beyond so many; 0 when there are none left.
pub(super) fn cut(db: &mut Db<'_>, most: i64) -> Result<usize, StoreError> {
    Ok(delete_beyond!(db, audit_log, most, audit_log::table))
}
