//! Single values of the installation.

use diesel::prelude::*;

use crate::store::schema::meta;

pub(in crate::store) fn get(connection: &mut SqliteConnection, name: &str) -> QueryResult<Option<String>> {
    meta::table.find(name).select(meta::value).first(connection).optional()
}

pub(in crate::store) fn put(connection: &mut SqliteConnection, name: &str, value: &str) -> QueryResult<()> {
    diesel::insert_into(meta::table)
        .values((meta::name.eq(name), meta::value.eq(value)))
        .on_conflict(meta::name)
        .do_update()
        .set(meta::value.eq(value))
        .execute(connection)?;
    Ok(())
}
