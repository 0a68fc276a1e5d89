//! One file a table: its records, which are its rows, its queries, and the handle's methods for it.

pub(crate) mod access;
pub(crate) mod agents;
pub(crate) mod audit_log;
pub(crate) mod columns;
pub(crate) mod credentials;
pub(crate) mod direct_connections;
pub(crate) mod failed_logins;
pub(crate) mod gateways;
pub(crate) mod health_log;
pub(crate) mod local_processes;
pub(crate) mod notifications;
pub(crate) mod spawns;
pub(crate) mod token_usage;

use crate::error::StoreError;
use crate::handle::{StoreHandle, whole};
use gatewarden_core::error::Failure;

/// Rows in one insert statement: some ten values each, well below a database's limit.
const ROWS_AN_INSERT: usize = 500;
/// Rows removed in one transaction: some milliseconds.
const ROWS_A_CHUNK: i64 = 2_000;

/// Deletes some rows of a query by their ids; how many. 0 when there are none left.
macro_rules! delete_some {
    ($db:expr, $table:ident, $query:expr) => {{
        let ids: Vec<i64> = $query.select($table::id).limit($crate::tables::ROWS_A_CHUNK).load(&mut *$db.connection)?;
        diesel::delete($table::table.filter($table::id.eq_any(ids))).execute(&mut *$db.connection)?
    }};
}

/// Deletes some of the oldest rows of a query beyond so many, by the table's newest id; how many.
macro_rules! delete_beyond {
    ($db:expr, $table:ident, $most:expr, $query:expr) => {{
        let newest: Option<i64> = $table::table.select(diesel::dsl::max($table::id)).first(&mut *$db.connection)?;
        match newest.map(|newest| newest - $most).filter(|last| *last > 0) {
            Some(last) => crate::tables::delete_some!($db, $table, $query.filter($table::id.le(last))),
            None => 0,
        }
    }};
}

use {delete_beyond, delete_some};

impl StoreHandle {
    /// Most entries of the audit log, and most reports of token usage, however young: 1,000,000.
    pub const MOST_LOGGED: usize = 1_000_000;
    /// Most spawns that have ended, however young: 500,000.
    pub const MOST_SPAWNS: usize = 500_000;

    /// Forgets the oldest entries of the audit log and reports of token usage beyond `logged`, and the oldest ended spawns
    /// beyond `spawns`; how many there were. So a flood costs history, and never the disk.
    pub async fn cut_logs(&self, logged: usize, spawns: usize) -> Result<usize, Failure> {
        let (logged, spawns) = (whole(logged), whole(spawns));
        let audit = self.write_in_turns("cut the audit log", move |db| audit_log::cut(db, logged)).await?;
        let tokens = self.write_in_turns("cut the token usage", move |db| token_usage::cut(db, logged)).await?;
        let ended = self.write_in_turns("cut the ended spawns", move |db| spawns::cut(db, spawns)).await?;
        Ok(audit + tokens + ended)
    }
}

/// The beginning of a text, of so many characters.
fn cut_text(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

/// JSON as text; where it is longer than so many bytes, an object that says how long it was.
fn json_text(value: &serde_json::Value, largest: usize) -> String {
    let text = value.to_string();
    if text.len() <= largest { text } else { serde_json::json!({ "left_out_bytes": text.len() }).to_string() }
}

/// What the database says where a row must be there.
fn not_found() -> StoreError {
    diesel::result::Error::NotFound.into()
}
