//! Single values of the installation.

use diesel::prelude::*;

use crate::schema::meta;

pub(crate) fn get(connection: &mut SqliteConnection, name: &str) -> QueryResult<Option<String>> {
    meta::table.find(name).select(meta::value).first(connection).optional()
}

pub(crate) fn put(connection: &mut SqliteConnection, name: &str, value: &str) -> QueryResult<()> {
    diesel::insert_into(meta::table)
        .values((meta::name.eq(name), meta::value.eq(value)))
        .on_conflict(meta::name)
        .do_update()
        .set(meta::value.eq(value))
        .execute(connection)?;
    Ok(())
}
