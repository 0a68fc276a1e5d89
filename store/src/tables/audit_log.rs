//! The audit log: append, list newest first, forget what is old. Nothing changes an entry.

use diesel::prelude::*;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::records::{AuditActor, AuditEntry, AuditRecord, AuditResult, Role};
use crate::schema::audit_log;

/// Rows in one insert statement.
const ROWS_AN_INSERT: usize = 500;
/// Rows removed in one transaction.
const ROWS_A_CHUNK: i64 = 2_000;
const LONGEST_NAME: usize = 200;
const LONGEST_ADDRESS: usize = 100;
const LONGEST_ACTION: usize = 100;
const LONGEST_TARGET: usize = 600;
/// Largest details in bytes of JSON.
const LARGEST_DETAILS: usize = 16 * 1024;

#[derive(Insertable)]
#[diesel(table_name = audit_log)]
#[diesel(treat_none_as_default_value = false)]
struct NewRow {
    at_ms: i64,
    actor_key_id: Option<i64>,
    actor_name: String,
    actor_role: Option<&'static str>,
    address: Option<String>,
    request_id: Option<String>,
    action: String,
    target: Option<String>,
    result: &'static str,
    details: String,
}

impl NewRow {
    fn of(entry: &AuditEntry) -> Self {
        Self {
            at_ms: entry.at_ms,
            actor_key_id: entry.actor.key_id,
            actor_name: cut(&entry.actor.name, LONGEST_NAME),
            actor_role: entry.actor.role.map(Role::as_str),
            address: entry.address.as_deref().map(|text| cut(text, LONGEST_ADDRESS)),
            request_id: entry.request_id.as_deref().map(|text| cut(text, LONGEST_NAME)),
            action: cut(&entry.action, LONGEST_ACTION),
            target: entry.target.as_deref().map(|text| cut(text, LONGEST_TARGET)),
            result: entry.result.as_str(),
            details: details_text(&entry.details),
        }
    }
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

fn details_text(details: &Value) -> String {
    if !details.is_object() {
        return "{}".to_owned();
    }
    let text = details.to_string();
    if text.len() <= LARGEST_DETAILS { text } else { json!({ "left_out_bytes": text.len() }).to_string() }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_log)]
struct Row {
    id: i64,
    at_ms: i64,
    actor_key_id: Option<i64>,
    actor_name: String,
    actor_role: Option<String>,
    address: Option<String>,
    request_id: Option<String>,
    action: String,
    target: Option<String>,
    result: String,
    details: String,
}

impl Row {
    fn into_record(self) -> AuditRecord {
        AuditRecord {
            id: self.id,
            entry: AuditEntry {
                at_ms: self.at_ms,
                actor: AuditActor {
                    key_id: self.actor_key_id,
                    name: self.actor_name,
                    role: self.actor_role.as_deref().and_then(Role::from_name),
                },
                address: self.address,
                request_id: self.request_id,
                action: self.action,
                target: self.target,
                // A result of a later release is at least not a success.
                result: AuditResult::from_name(&self.result).unwrap_or(AuditResult::Unknown),
                details: serde_json::from_str(&self.details).unwrap_or_else(|_| Value::Object(Map::new())),
            },
        }
    }
}

pub(crate) fn append(connection: &mut SqliteConnection, entries: &[AuditEntry]) -> Result<(), StoreError> {
    for chunk in entries.chunks(ROWS_AN_INSERT) {
        let rows: Vec<NewRow> = chunk.iter().map(NewRow::of).collect();
        diesel::insert_into(audit_log::table).values(&rows).execute(connection)?;
    }
    Ok(())
}

pub(crate) fn list(
    connection: &mut SqliteConnection,
    limit: i64,
    since_ms: Option<i64>,
    before_id: Option<i64>,
) -> Result<Vec<AuditRecord>, StoreError> {
    let mut query = audit_log::table.select(Row::as_select()).order(audit_log::id.desc()).limit(limit).into_boxed();
    if let Some(since) = since_ms {
        query = query.filter(audit_log::at_ms.ge(since));
    }
    if let Some(before) = before_id {
        query = query.filter(audit_log::id.lt(before));
    }
    Ok(query.load(connection)?.into_iter().map(Row::into_record).collect())
}

/// Removes some entries older than `before_ms`; 0 when there are none left.
pub(crate) fn remove(connection: &mut SqliteConnection, before_ms: i64) -> Result<usize, StoreError> {
    let ids: Vec<i64> = audit_log::table
        .filter(audit_log::at_ms.lt(before_ms))
        .select(audit_log::id)
        .limit(ROWS_A_CHUNK)
        .load(connection)?;
    Ok(diesel::delete(audit_log::table.filter(audit_log::id.eq_any(ids))).execute(connection)?)
}

/// Removes some of the oldest beyond `most`, by the newest id; 0 when there are none left.
pub(crate) fn remove_beyond(connection: &mut SqliteConnection, most: i64) -> Result<usize, StoreError> {
    let newest: Option<i64> = audit_log::table.select(diesel::dsl::max(audit_log::id)).first(connection)?;
    let Some(newest) = newest.filter(|newest| *newest > most) else { return Ok(0) };
    let ids: Vec<i64> = audit_log::table
        .filter(audit_log::id.le(newest - most))
        .select(audit_log::id)
        .limit(ROWS_A_CHUNK)
        .load(connection)?;
    Ok(diesel::delete(audit_log::table.filter(audit_log::id.eq_any(ids))).execute(connection)?)
}
