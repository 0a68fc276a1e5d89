//! The connection that queries are written for: SQLite or PostgreSQL. A query is built once and put into words for the database
//! that is there.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::BigInt;

pub(crate) use self::either::{EitherConnection as Connection, MultiBackend as Backend};

#[expect(unreachable_pub, reason = "the derive writes it")]
mod either {
    use diesel::prelude::*;

    use crate::postgres::PostgresConnection;

    /// A connection to the database.
    #[derive(diesel::MultiConnection)]
    #[expect(clippy::large_enum_variant, reason = "there is one for each thread of the store")]
    pub enum EitherConnection {
        Sqlite(SqliteConnection),
        Postgres(PostgresConnection),
    }
}

/// Runs a statement on the connection that is there: for what diesel writes only for a database that it knows, `RETURNING` and
/// `ON CONFLICT`.
macro_rules! on_either {
    ($connection:expr, |$inner:ident| $statement:expr) => {
        match $connection {
            $crate::connection::Connection::Sqlite($inner) => $statement,
            $crate::connection::Connection::Postgres($inner) => $statement,
        }
    };
}

pub(crate) use on_either;

/// An `UPDATE` that the database parses once: diesel has each parsed anew, as its columns may vary without bound. For one that is carried
/// out often, in a few dozen forms at most, which are all kept.
pub(crate) struct ParsedOnce<Q>(pub(crate) Q);

impl<Q: Query> Query for ParsedOnce<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> QueryId for ParsedOnce<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q, C> RunQueryDsl<C> for ParsedOnce<Q> {}

impl<DB: diesel::backend::Backend, Q: QueryFragment<DB>> QueryFragment<DB> for ParsedOnce<Q> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

/// The number that a query asks for.
pub(crate) fn number(connection: &mut Connection, query: &str) -> QueryResult<i64> {
    sql::<BigInt>(query).get_result(connection)
}

/// What a connection, a thread or a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    Writer,
    Reader,
}

impl Pool {
    /// The metric's label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use diesel::connection::{Connection as _, InstrumentationEvent};

    use super::*;
    use crate::schema::meta;

    #[test]
    fn an_update_that_comes_again_and_again_is_parsed_once() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        diesel::sql_query("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            .execute(&mut connection)
            .unwrap();
        let kept = Arc::new(AtomicUsize::new(0));
        let counted = kept.clone();
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if matches!(event, InstrumentationEvent::CacheQuery { .. }) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let put = |value: &'static str| diesel::update(meta::table).set(meta::value.eq(value)).returning(meta::value);
        for value in ["a", "b", "c"] {
            let _: Option<String> = put(value).get_result(&mut connection).optional().unwrap();
        }
        assert_eq!(kept.load(Ordering::Relaxed), 0, "diesel keeps none by itself: else there is no need of this type");
        for value in ["a", "b", "c"] {
            let _: Option<String> = ParsedOnce(put(value)).get_result(&mut connection).optional().unwrap();
        }
        assert_eq!(kept.load(Ordering::Relaxed), 1);
    }
}
