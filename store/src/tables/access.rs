//! Who may use the daemon: API keys and browser logins. Only hashes are stored.

use std::collections::HashMap;

use diesel::prelude::*;
use gatewarden_core::error::Failure;

use super::columns::stored_enum;
use crate::connection::{Connection, on_either};
use crate::handle::StoreHandle;
use crate::schema::{api_keys, web_sessions};

stored_enum! {
    /// What a key may do; each role may do what the smaller ones may.
    pub enum Role {
        Viewer = "viewer",
        /// Reads, and gives gateways work.
        Operator = "operator",
        Admin = "admin",
    }
}

/// An API key to be stored: only its hash ever is.
#[derive(Debug, Clone, PartialEq, Eq, Insertable)]
#[diesel(table_name = api_keys)]
pub struct NewApiKey {
    /// What it is for, in its owner's words.
    pub name: String,
    pub role: Role,
    /// SHA-256 of the key, 64 lowercase hex digits; unique.
    pub sha256: String,
    /// The first characters of the key, so that its owner can tell it from others.
    pub prefix: String,
    /// Unix seconds after which it is no longer good; `None` for never.
    pub expires_at: Option<i64>,
}

/// A stored API key.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = api_keys)]
pub struct ApiKey {
    /// The database's key; never used again after a delete.
    pub id: i64,
    pub name: String,
    pub role: Role,
    /// See [`NewApiKey::sha256`]. For comparison only, never shown.
    pub sha256: String,
    pub prefix: String,
    /// Unix seconds.
    pub created_at: i64,
    pub expires_at: Option<i64>,
    /// Unix seconds of the last use that was written down; `None` for never.
    pub last_used_at: Option<i64>,
}

/// A browser's login.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = web_sessions)]
pub struct WebSession {
    /// SHA-256 of the cookie's token, 64 lowercase hex digits; unique.
    pub token_sha256: String,
    /// The stored key that logged in: deleting the key ends the session. `None` for a key of the configuration.
    pub key_id: Option<i64>,
    /// SHA-256 of the key that logged in, so that a session of a configured key ends when that key changes.
    pub key_sha256: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds after which it is no longer good.
    pub expires_at: i64,
}

/// All keys by id whose role this release knows, expired ones too.
pub(crate) fn known_keys(connection: &mut Connection) -> QueryResult<Vec<ApiKey>> {
    let known = api_keys::table.filter(api_keys::role.eq_any(Role::ALL)).order(api_keys::id);
    known.select(ApiKey::as_select()).load(connection)
}

/// How many browser logins are held in memory where any is looked up.
const MOST_IN_MEMORY: i64 = 1_000;

/// The browser logins that began last, by the hash of their cookie's token.
pub(crate) fn latest_web_sessions(connection: &mut Connection) -> QueryResult<HashMap<String, WebSession>> {
    let latest = web_sessions::table.order(web_sessions::created_at.desc()).limit(MOST_IN_MEMORY);
    let sessions: Vec<WebSession> = latest.select(WebSession::as_select()).load(connection)?;
    Ok(sessions.into_iter().map(|session| (session.token_sha256.clone(), session)).collect())
}

impl StoreHandle {
    /// Stores a key.
    pub async fn insert_key(&self, new: NewApiKey) -> Result<ApiKey, Failure> {
        self.write("store the API key", move |db| {
            let added = diesel::insert_into(api_keys::table).values((&new, api_keys::created_at.eq(db.now_s())));
            Ok(on_either!(db.connection, |inner| added.returning(ApiKey::as_returning()).get_result(inner))?)
        })
        .await
    }

    /// All keys by id, expired ones too. One with a role that this release doesn't know grants nothing: it is left out.
    pub async fn list_keys(&self) -> Result<Vec<ApiKey>, Failure> {
        self.read("load the API keys", |db| {
            let strange: Vec<(i64, String)> = api_keys::table
                .filter(api_keys::role.ne_all(Role::ALL))
                .select((api_keys::id, api_keys::role))
                .load(db.connection)?;
            for (id, role) in strange {
                tracing::error!(api_key.id = id, %role, "a stored API key has an unknown role; it is not used");
            }
            Ok(known_keys(db.connection)?)
        })
        .await
    }

    /// Deletes a key and its browser logins; false where there was none.
    pub async fn delete_key(&self, id: i64) -> Result<bool, Failure> {
        self.write("delete the API key", move |db| {
            Ok(diesel::delete(api_keys::table.find(id)).execute(db.connection)? > 0)
        })
        .await
    }

    /// Notes when keys were last used (id, Unix seconds): gathered by the caller, stored at once. An earlier time than the
    /// stored one, and a key that is gone, change nothing.
    pub async fn touch_keys(&self, used: Vec<(i64, i64)>) -> Result<(), Failure> {
        if used.is_empty() {
            return Ok(());
        }
        self.write("note the use of API keys", move |db| {
            for (id, used_s) in &used {
                let earlier = api_keys::last_used_at.is_null().or(api_keys::last_used_at.lt(used_s));
                diesel::update(api_keys::table.find(id).filter(earlier))
                    .set(api_keys::last_used_at.eq(used_s))
                    .execute(db.connection)?;
            }
            Ok(())
        })
        .await
    }

    /// Stores a browser's login.
    pub async fn insert_web_session(&self, session: WebSession) -> Result<(), Failure> {
        self.write("store the login", move |db| {
            diesel::insert_into(web_sessions::table).values(&session).execute(db.connection)?;
            Ok(())
        })
        .await
    }

    /// The login with this hash of its cookie's token, expired or not.
    pub async fn find_web_session(&self, token_sha256: String) -> Result<Option<WebSession>, Failure> {
        self.read("look up the login", move |db| {
            let found = web_sessions::table.find(&token_sha256).select(WebSession::as_select());
            Ok(found.first(db.connection).optional()?)
        })
        .await
    }

    /// Ends a login; false where there was none.
    pub async fn delete_web_session(&self, token_sha256: String) -> Result<bool, Failure> {
        self.write("end the login", move |db| {
            Ok(diesel::delete(web_sessions::table.find(&token_sha256)).execute(db.connection)? > 0)
        })
        .await
    }

    /// Forgets logins that expired before `now_s` (Unix seconds); how many there were.
    pub async fn purge_web_sessions(&self, now_s: i64) -> Result<usize, Failure> {
        self.write("forget expired logins", move |db| {
            let expired = web_sessions::table.filter(web_sessions::expires_at.lt(now_s));
            Ok(diesel::delete(expired).execute(db.connection)?)
        })
        .await
    }
}
