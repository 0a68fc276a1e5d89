//! The connection that queries are written for: SQLite or PostgreSQL. A query is built once and put into words for the database
//! that is there.

use diesel::prelude::*;

use crate::postgres::Number;

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

/// What a query calls `number`.
pub(crate) fn number(connection: &mut Connection, query: &str) -> QueryResult<i64> {
    let found: Number = diesel::sql_query(query).get_result(connection)?;
    Ok(found.number)
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
