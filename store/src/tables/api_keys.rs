//! API keys: their hashes.

use diesel::prelude::*;

use crate::error::StoreError;
use crate::records::{ApiKey, NewApiKey, Role};
use crate::schema::api_keys;

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
struct Row {
    id: i64,
    name: String,
    role: String,
    sha256: String,
    prefix: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl Row {
    /// A role that this release doesn't know grants nothing: such a key is left out.
    fn into_key(self) -> Option<ApiKey> {
        let Some(role) = Role::from_name(&self.role) else {
            tracing::error!(api_key.id = self.id, role = %self.role, "a stored API key has an unknown role; it is not used");
            return None;
        };
        Some(ApiKey {
            id: self.id,
            name: self.name,
            role,
            sha256: self.sha256,
            prefix: self.prefix,
            created_at: self.created_at,
            expires_at: self.expires_at,
            last_used_at: self.last_used_at,
        })
    }
}

pub(crate) fn insert(connection: &mut SqliteConnection, new: &NewApiKey, now_s: i64) -> Result<ApiKey, StoreError> {
    let id: i64 = diesel::insert_into(api_keys::table)
        .values((
            api_keys::name.eq(&new.name),
            api_keys::role.eq(new.role.as_str()),
            api_keys::sha256.eq(&new.sha256),
            api_keys::prefix.eq(&new.prefix),
            api_keys::created_at.eq(now_s),
            api_keys::expires_at.eq(new.expires_at),
        ))
        .returning(api_keys::id)
        .get_result(connection)?;
    Ok(ApiKey {
        id,
        name: new.name.clone(),
        role: new.role,
        sha256: new.sha256.clone(),
        prefix: new.prefix.clone(),
        created_at: now_s,
        expires_at: new.expires_at,
        last_used_at: None,
    })
}

pub(crate) fn load_all(connection: &mut SqliteConnection) -> Result<Vec<ApiKey>, StoreError> {
    let rows: Vec<Row> = api_keys::table.order(api_keys::id).select(Row::as_select()).load(connection)?;
    Ok(rows.into_iter().filter_map(Row::into_key).collect())
}

pub(crate) fn delete(connection: &mut SqliteConnection, id: i64) -> Result<bool, StoreError> {
    Ok(diesel::delete(api_keys::table.find(id)).execute(connection)? > 0)
}

pub(crate) fn touch(connection: &mut SqliteConnection, used: &[(i64, i64)]) -> Result<(), StoreError> {
    for (id, used_s) in used {
        let earlier = api_keys::last_used_at.is_null().or(api_keys::last_used_at.lt(used_s));
        diesel::update(api_keys::table.find(id).filter(earlier))
            .set(api_keys::last_used_at.eq(used_s))
            .execute(connection)?;
    }
    Ok(())
}

pub(crate) fn count(connection: &mut SqliteConnection) -> Result<usize, StoreError> {
    let count: i64 = api_keys::table.count().get_result(connection)?;
    Ok(usize::try_from(count).unwrap_or_default())
}
