//! Where sealed values are: one list of all columns that hold any, for changing the key.
//!
//! Whoever adds a sealed column adds it here. A change of keys that was not told of one finds its values by the old key's
//! name in them, and refuses; a test finds it before.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::sealing::{Place, Sealer};
use crate::verification::{CANARY, CANARY_PLACE, lines};

/// Rows read at a time.
const ROWS: i64 = 500;

/// A column with sealed values.
struct SealedColumn {
    table: &'static str,
    column: &'static str,
    /// What names a row in its seal: a column, or a fixed text.
    row: Row,
}

enum Row {
    Column(&'static str),
    Fixed { name: &'static str, only: &'static str },
}

const ALL: [SealedColumn; 6] = [
    // Last would do as well: all is one transaction.
    SealedColumn {
        table: CANARY_PLACE.table,
        column: CANARY_PLACE.column,
        row: Row::Fixed { name: CANARY, only: "name = 'canary'" },
    },
    SealedColumn { table: "identity", column: "seed", row: Row::Fixed { name: "device", only: "id = 1" } },
    SealedColumn { table: "gateways", column: "token", row: Row::Column("uuid") },
    SealedColumn { table: "gateways", column: "url_token", row: Row::Column("uuid") },
    SealedColumn { table: "device_tokens", column: "token", row: Row::Column("address") },
    SealedColumn { table: "spawns", column: "request", row: Row::Column("spawn_id") },
];

/// What became of the sealed values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resealed {
    /// Sealed anew.
    pub(super) count: u64,
    /// Those that didn't open and were left as they are: table, row and column.
    pub(super) unreadable: Vec<String>,
    /// Of them, those that name the old key.
    of_old_key: usize,
}

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    sealed: Option<String>,
}

/// Why a value could not be sealed anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResealError {
    #[error("{0}")]
    Database(#[from] diesel::result::Error),
    #[error("{0}")]
    Seal(#[from] crate::sealing::SealError),
    /// So many values of the old key are where none is known.
    #[error("unknown sealed values")]
    Unknown(usize, Vec<String>),
}

/// Seals every value anew. Inside a transaction of the caller.
pub(super) fn reseal(connection: &mut SqliteConnection, old: &Sealer, new: &Sealer) -> Result<Resealed, ResealError> {
    let mut done = Resealed::default();
    for column in &ALL {
        if exists(connection, column)? {
            reseal_column(connection, column, (old, new), &mut done)?;
        }
    }
    let (left, columns) = left_over(connection, old)?;
    if left > done.of_old_key {
        return Err(ResealError::Unknown(left - done.of_old_key, columns));
    }
    Ok(done)
}

fn exists(connection: &mut SqliteConnection, column: &SealedColumn) -> QueryResult<bool> {
    let SealedColumn { table, column, .. } = column;
    let query = format!("SELECT name AS line FROM pragma_table_info('{table}') WHERE name = '{column}'");
    Ok(!lines(connection, &query)?.is_empty())
}

fn reseal_column(
    connection: &mut SqliteConnection,
    place: &SealedColumn,
    (old, new): (&Sealer, &Sealer),
    done: &mut Resealed,
) -> Result<(), ResealError> {
    let SealedColumn { table, column, row } = place;
    let (name, only) = match row {
        Row::Column(name) => ((*name).to_owned(), "1"),
        Row::Fixed { name, only } => (format!("'{name}'"), *only),
    };
    let select = format!(
        "SELECT rowid AS id, {name} AS name, {column} AS sealed FROM {table} \
         WHERE rowid > ? AND {column} IS NOT NULL AND {only} ORDER BY rowid LIMIT {ROWS}"
    );
    let update = format!("UPDATE {table} SET {column} = ? WHERE rowid = ?");
    let mut after = i64::MIN;
    loop {
        let values: Vec<Value> = diesel::sql_query(&select).bind::<BigInt, _>(after).load(connection)?;
        let Some(last) = values.last() else { return Ok(()) };
        after = last.id;
        for Value { id, name, sealed } in values {
            let sealed = sealed.unwrap_or_default();
            let at = Place { table, row: &name, column };
            match old.open(at, &sealed) {
                Ok(plain) => {
                    let anew = new.seal(at, &plain)?;
                    diesel::sql_query(&update).bind::<Text, _>(anew).bind::<BigInt, _>(id).execute(connection)?;
                    done.count += 1;
                }
                Err(_) => {
                    done.of_old_key += usize::from(sealed.starts_with(&old.prefix()));
                    done.unreadable.push(format!("{table} {name}, {column}"));
                }
            }
        }
    }
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    tab: String,
    #[diesel(sql_type = Text)]
    col: String,
}

/// How many values of this key are anywhere, and in which columns.
fn left_over(connection: &mut SqliteConnection, old: &Sealer) -> QueryResult<(usize, Vec<String>)> {
    let columns: Vec<Named> = diesel::sql_query(
        "SELECT t.name AS tab, c.name AS col FROM sqlite_master t JOIN pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND c.type = 'TEXT'",
    )
    .load(connection)?;
    let (mut left, mut named) = (0, Vec::new());
    for Named { tab, col } in columns {
        let query = format!("SELECT 'x' AS line FROM \"{tab}\" WHERE \"{col}\" GLOB '{}*'", old.prefix());
        let found = lines(connection, &query)?.len();
        if found > 0 {
            left += found;
            named.push(format!("{tab}.{col}"));
        }
    }
    Ok((left, named))
}
