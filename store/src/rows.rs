//! Rows without their types, for what goes over a whole database and knows its tables by name only: read in pieces, added, resealed.

use diesel::backend::Backend;
use diesel::connection::{LoadConnection, SimpleConnection as _};
use diesel::deserialize::FromSql;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::result::Error as DieselError;
use diesel::row::{Field as _, Row as _};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Double, HasSqlType, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteType};
use sha2::{Digest as _, Sha256};

use crate::connection::{Connection, number};
use crate::database::tables;
use crate::error::StoreError;
use crate::postgres::PostgresConnection;

/// Rows that are in memory at a time.
const ROWS: usize = 64;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Whole,
    /// A number in SQLite.
    Truth,
    Real,
    Text,
}

/// A column of either database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    name: String,
    kind: Kind,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Nothing,
    Whole(i64),
    Real(f64),
    Text(String),
}

#[derive(QueryableByName)]
struct Declared {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    declared: String,
}

/// The columns of a table by name; none where it isn't there.
pub(crate) fn columns(connection: &mut Connection, table: &str) -> QueryResult<Vec<Column>> {
    let query = match connection {
        Connection::Sqlite(_) => {
            format!("SELECT name, type AS declared FROM pragma_table_info('{table}') ORDER BY name")
        }
        Connection::Postgres(_) => format!(
            "SELECT column_name::text AS name, upper(data_type::text) AS declared FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = '{table}' ORDER BY column_name::text COLLATE \"C\""
        ),
    };
    let declared: Vec<Declared> = diesel::sql_query(query).load(connection)?;
    let column = |Declared { name, declared }| {
        let kind = match declared.as_str() {
            "BIGINT" | "INTEGER" => Kind::Whole,
            "BOOLEAN" => Kind::Truth,
            "DOUBLE PRECISION" => Kind::Real,
            "TEXT" => Kind::Text,
            other => return Err(unreadable(&format!("{table}.{name} has the unknown type {other}"))),
        };
        Ok(Column { name, kind })
    };
    declared.into_iter().map(column).collect()
}

/// Gives all rows of a table to `take`, some at a time. Inside a transaction.
pub(crate) fn each(
    connection: &mut Connection,
    table: &str,
    columns: &[Column],
    mut take: impl FnMut(Vec<Vec<Cell>>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let expression = |column: &Column| match (&*connection, column.kind) {
        (Connection::Sqlite(_), _) | (_, Kind::Text | Kind::Real) => format!("\"{}\"", column.name),
        (_, Kind::Whole) => format!("\"{}\"::bigint", column.name),
        (_, Kind::Truth) => format!("\"{}\"::int::bigint", column.name),
    };
    let expressions = columns.iter().map(expression).collect::<Vec<_>>().join(", ");
    let query = format!("SELECT {expressions} FROM \"{table}\"");
    match connection {
        Connection::Sqlite(inner) => {
            let mut some = Vec::with_capacity(ROWS);
            for row in LoadConnection::load(inner, diesel::sql_query(query))? {
                let row = row?;
                let cell = |(at, column): (usize, &Column)| match row.get(at).as_ref().and_then(|field| field.value()) {
                    Some(value) if !is_of(value.value_type(), column.kind) => {
                        let what = format!("a value of {table}.{} is not of the column's type", column.name);
                        Err(unreadable(&what))
                    }
                    value => cell::<Sqlite>(value, column.kind),
                };
                some.push(columns.iter().enumerate().map(cell).collect::<QueryResult<Vec<_>>>()?);
                if some.len() == ROWS {
                    take(std::mem::take(&mut some))?;
                }
            }
            take(some)
        }
        Connection::Postgres(inner) => in_pieces(inner, &query, |inner| {
            let mut some = Vec::with_capacity(ROWS);
            for row in LoadConnection::load(inner, diesel::sql_query(NEXT_PIECE))? {
                let row = row?;
                let cell = |(at, column): (usize, &Column)| {
                    cell::<Pg>(row.get(at).as_ref().and_then(|field| field.value()), column.kind)
                };
                some.push(columns.iter().enumerate().map(cell).collect::<QueryResult<Vec<_>>>()?);
            }
            let is_end = some.is_empty();
            take(some).map(|()| is_end)
        }),
    }
}

const NEXT_PIECE: &str = "FETCH 64 FROM piece";

/// Opens a cursor on a query, and calls `piece` until it says that there is no more.
fn in_pieces(
    session: &mut PostgresConnection,
    query: &str,
    mut piece: impl FnMut(&mut PostgresConnection) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    session.batch_execute(&format!("DECLARE piece NO SCROLL CURSOR FOR {query}"))?;
    while !piece(session)? {}
    Ok(session.batch_execute("CLOSE piece")?)
}

/// SQLite takes any value into any column.
fn is_of(found: Option<SqliteType>, kind: Kind) -> bool {
    match kind {
        Kind::Whole | Kind::Truth => {
            matches!(found, Some(SqliteType::Long | SqliteType::Integer | SqliteType::SmallInt))
        }
        Kind::Real => matches!(found, Some(SqliteType::Double | SqliteType::Float)),
        Kind::Text => found == Some(SqliteType::Text),
    }
}

fn cell<DB: Backend>(value: Option<DB::RawValue<'_>>, kind: Kind) -> QueryResult<Cell>
where
    i64: FromSql<BigInt, DB>,
    f64: FromSql<Double, DB>,
    String: FromSql<Text, DB>,
{
    let Some(value) = value else { return Ok(Cell::Nothing) };
    let read = match kind {
        Kind::Whole | Kind::Truth => i64::from_sql(value).map(Cell::Whole),
        Kind::Real => f64::from_sql(value).map(Cell::Real),
        Kind::Text => String::from_sql(value).map(Cell::Text),
    };
    read.map_err(DieselError::DeserializationError)
}

fn unreadable(what: &str) -> DieselError {
    DieselError::DeserializationError(what.to_owned().into())
}

/// Adds rows to a table. The caller keeps to the pieces of [`each`].
pub(crate) fn insert(
    connection: &mut Connection,
    table: &str,
    columns: &[Column],
    rows: &[Vec<Cell>],
) -> QueryResult<usize> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut number = 0;
    let mut place = |column: &Column| {
        number += 1;
        match (&*connection, column.kind) {
            (Connection::Sqlite(_), _) => "?".to_owned(),
            (_, Kind::Truth) => format!("(${number} <> 0)"),
            _ => format!("${number}"),
        }
    };
    let places = |_| format!("({})", columns.iter().map(&mut place).collect::<Vec<_>>().join(", "));
    let places = rows.iter().map(places).collect::<Vec<_>>().join(", ");
    let names = columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ");
    let query = format!("INSERT INTO \"{table}\" ({names}) VALUES {places}");
    match connection {
        Connection::Sqlite(inner) => bound::<Sqlite>(query, columns, rows).execute(inner),
        Connection::Postgres(inner) => bound::<Pg>(query, columns, rows).execute(inner),
    }
}

fn bound<'a, DB>(query: String, columns: &[Column], rows: &'a [Vec<Cell>]) -> BoxedSqlQuery<'a, DB, SqlQuery>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Double> + HasSqlType<Text>,
    Option<i64>: ToSql<Nullable<BigInt>, DB>,
    Option<f64>: ToSql<Nullable<Double>, DB>,
    Option<&'a str>: ToSql<Nullable<Text>, DB>,
{
    let mut query = diesel::sql_query(query).into_boxed();
    for (cell, column) in rows.iter().flat_map(|row| row.iter().zip(columns)) {
        query = match (cell, column.kind) {
            (Cell::Whole(number), _) => query.bind::<Nullable<BigInt>, _>(Some(*number)),
            (Cell::Real(number), _) => query.bind::<Nullable<Double>, _>(Some(*number)),
            (Cell::Text(text), _) => query.bind::<Nullable<Text>, _>(Some(text.as_str())),
            (Cell::Nothing, Kind::Whole | Kind::Truth) => query.bind::<Nullable<BigInt>, _>(None::<i64>),
            (Cell::Nothing, Kind::Real) => query.bind::<Nullable<Double>, _>(None::<f64>),
            (Cell::Nothing, Kind::Text) => query.bind::<Nullable<Text>, _>(None::<&str>),
        };
    }
    query
}

/// The highest id that a table ever gave; 0 where it gave none, or its rows are named otherwise.
pub(crate) fn highest_id(connection: &mut Connection, table: &str) -> QueryResult<i64> {
    let query = match connection {
        Connection::Sqlite(_) => {
            format!("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = '{table}'")
        }
        Connection::Postgres(_) => format!(
            "SELECT COALESCE(MAX(last_value), 0)::bigint FROM pg_sequences \
             WHERE schemaname = current_schema() AND sequencename = '{table}_id_seq'"
        ),
    };
    number(connection, &query)
}

/// Sets it, so that the id of a deleted row is given to no other one.
pub(crate) fn set_highest_id(connection: &mut Connection, table: &str, id: i64) -> QueryResult<()> {
    if id == 0 {
        return Ok(());
    }
    connection.batch_execute(&match connection {
        Connection::Sqlite(_) => format!(
            "DELETE FROM sqlite_sequence WHERE name = '{table}'; INSERT INTO sqlite_sequence (name, seq) VALUES ('{table}', {id})"
        ),
        Connection::Postgres(_) => format!("SELECT setval('\"{table}_id_seq\"', {id})"),
    })
}

/// How many rows there are and what they hold, in whichever order: the sum of the SHA-256 of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    parts: [u64; 4],
}

impl Sum {
    /// Counts a row. NUL in a text is what a server makes of it.
    pub(crate) fn add(&mut self, row: &[Cell]) {
        let mut hash = Sha256::new();
        for cell in row {
            match cell {
                Cell::Nothing => hash.update([0]),
                Cell::Whole(number) => hash.update([&[1][..], &number.to_be_bytes()].concat()),
                Cell::Real(number) => hash.update([&[2][..], &number.to_bits().to_be_bytes()].concat()),
                Cell::Text(text) => {
                    let text = text.replace('\0', "\u{fffd}");
                    hash.update([&[3][..], &text.len().to_be_bytes()].concat());
                    hash.update(text);
                }
            }
        }
        self.rows += 1;
        for (part, bytes) in self.parts.iter_mut().zip(hash.finalize().chunks_exact(8)) {
            let bytes = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            *part = part.wrapping_add(bytes);
        }
    }

    /// As text: 64 hex digits.
    pub(crate) fn digest(&self) -> String {
        self.parts.iter().map(|part| format!("{part:016x}")).collect()
    }
}

/// A text with the name of its row.
#[derive(QueryableByName)]
pub(crate) struct StoredText {
    #[diesel(sql_type = BigInt)]
    rowid: i64,
    /// What names the row for people and seals.
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
    #[diesel(sql_type = Text)]
    pub(crate) text: String,
}

/// A column of text of a table whose name is not known to the compiler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextColumn<'a> {
    pub(crate) table: &'a str,
    pub(crate) column: &'a str,
    /// What names its rows, and which of them count: both SQL.
    pub(crate) name: &'a str,
    pub(crate) only: &'a str,
}

impl TextColumn<'_> {
    /// Gives all its values to `take`, some at a time; `take` may set them. Inside a transaction.
    pub(crate) fn each(
        &self,
        connection: &mut Connection,
        mut take: impl FnMut(&mut Connection, Vec<StoredText>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Self { table, column, name, only } = self;
        if !columns(connection, table)?.iter().any(|there| there.name == *column) {
            return Ok(());
        }
        let (mut after, is_file) = (i64::MIN, matches!(connection, Connection::Sqlite(_)));
        if !is_file {
            connection.batch_execute(&format!(
                "DECLARE piece NO SCROLL CURSOR FOR SELECT 0::bigint AS rowid, {name} AS name, {column} AS text FROM {table} \
                 WHERE {column} IS NOT NULL AND {only}"
            ))?;
        }
        loop {
            let query = match is_file {
                true => format!(
                    "SELECT rowid AS rowid, {name} AS name, {column} AS text FROM {table} \
                     WHERE rowid > {after} AND {column} IS NOT NULL AND {only} ORDER BY rowid LIMIT {ROWS}"
                ),
                false => NEXT_PIECE.to_owned(),
            };
            let some: Vec<StoredText> = diesel::sql_query(query).load(connection)?;
            let Some(last) = some.last() else { break };
            after = last.rowid;
            take(connection, some)?;
        }
        if !is_file {
            connection.batch_execute("CLOSE piece")?;
        }
        Ok(())
    }

    pub(crate) fn set(&self, connection: &mut Connection, row: &str, text: &str) -> QueryResult<()> {
        let Self { table, column, name, only } = self;
        let places = if matches!(connection, Connection::Sqlite(_)) { ["?", "?"] } else { ["$1", "$2"] };
        let query = format!("UPDATE {table} SET {column} = {} WHERE {only} AND {name} = {}", places[0], places[1]);
        diesel::sql_query(query).bind::<Text, _>(text).bind::<Text, _>(row).execute(connection).map(drop)
    }
}

/// How many texts that begin so are in each column that has any, as `table.column`. The beginning is no pattern.
pub(crate) fn columns_with(connection: &mut Connection, beginning: &str) -> QueryResult<Vec<(String, usize)>> {
    let mut found = Vec::new();
    // What nodes tell each other is no secret.
    for table in tables(connection)?
        .iter()
        .filter(|table| !["sqlite_", "__", "cluster_"].iter().any(|other| table.starts_with(other)))
    {
        for Column { name, .. } in columns(connection, table)?.iter().filter(|column| column.kind == Kind::Text) {
            let length = beginning.len();
            let query =
                format!("SELECT COUNT(*) FROM \"{table}\" WHERE substr(\"{name}\", 1, {length}) = '{beginning}'");
            let count = usize::try_from(number(connection, &query)?).unwrap_or(0);
            if count > 0 {
                found.push((format!("{table}.{name}"), count));
            }
        }
    }
    Ok(found)
}
