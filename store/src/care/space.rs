//! Unused space of the database: kept for what comes next up to a measure, and given back beyond it.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

/// Unused pages that stay, of 4 KiB each: what one day forgets, the next one needs.
const PAGES_KEPT: i64 = 1_024;
/// Pages given back in one transaction: some milliseconds.
const PAGES_A_TURN: i64 = 512;
/// How `PRAGMA auto_vacuum` says that pages are given back when somebody asks.
const INCREMENTAL: i64 = 2;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn number(connection: &mut SqliteConnection, query: &str) -> QueryResult<i64> {
    let found: Number = diesel::sql_query(query).get_result(connection)?;
    Ok(found.number)
}

/// Whether pages of this database can be given back.
pub(crate) fn can_shrink(connection: &mut SqliteConnection) -> QueryResult<bool> {
    Ok(number(connection, "SELECT auto_vacuum AS number FROM pragma_auto_vacuum")? == INCREMENTAL)
}

/// Makes a database without tables one whose pages can be given back.
pub(crate) fn let_shrink(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA auto_vacuum = INCREMENTAL")
}

/// The same for one with tables: it is written anew.
pub(crate) fn let_shrink_anew(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")
}

/// Gives some pages back; how many. 0 where no more than those that stay are unused.
pub(crate) fn give_back(connection: &mut SqliteConnection) -> QueryResult<usize> {
    const UNUSED: &str = "SELECT freelist_count AS number FROM pragma_freelist_count";
    let before = number(connection, UNUSED)?;
    if before <= PAGES_KEPT || !can_shrink(connection)? {
        return Ok(0);
    }
    let some = (before - PAGES_KEPT).min(PAGES_A_TURN);
    connection.batch_execute(&format!("PRAGMA incremental_vacuum({some})"))?;
    Ok(usize::try_from(before - number(connection, UNUSED)?).unwrap_or(0))
}
