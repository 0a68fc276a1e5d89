//! Browser logins: hashes of their cookies' tokens.

use diesel::prelude::*;

use crate::error::StoreError;
use crate::records::WebSession;
use crate::schema::web_sessions;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = web_sessions)]
struct Row {
    token_sha256: String,
    key_id: Option<i64>,
    key_sha256: String,
    created_at: i64,
    expires_at: i64,
}

pub(crate) fn insert(connection: &mut SqliteConnection, session: &WebSession) -> Result<(), StoreError> {
    let WebSession { token_sha256, key_id, key_sha256, created_at, expires_at } = session.clone();
    diesel::insert_into(web_sessions::table)
        .values(Row { token_sha256, key_id, key_sha256, created_at, expires_at })
        .execute(connection)?;
    Ok(())
}

pub(crate) fn find(connection: &mut SqliteConnection, token_sha256: &str) -> Result<Option<WebSession>, StoreError> {
    let row: Option<Row> =
        web_sessions::table.find(token_sha256).select(Row::as_select()).first(connection).optional()?;
    Ok(row.map(|Row { token_sha256, key_id, key_sha256, created_at, expires_at }| WebSession {
        token_sha256,
        key_id,
        key_sha256,
        created_at,
        expires_at,
    }))
}

pub(crate) fn delete(connection: &mut SqliteConnection, token_sha256: &str) -> Result<bool, StoreError> {
    Ok(diesel::delete(web_sessions::table.find(token_sha256)).execute(connection)? > 0)
}

pub(crate) fn purge(connection: &mut SqliteConnection, now_s: i64) -> Result<usize, StoreError> {
    Ok(diesel::delete(web_sessions::table.filter(web_sessions::expires_at.lt(now_s))).execute(connection)?)
}
