//! `schema.rs` against what the migrations make of an empty database.

use std::collections::BTreeMap;

use diesel::Connection as _;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use diesel_migrations::MigrationHarness;

use crate::connection::Connection;
use crate::database::{Database, POSTGRES_MIGRATIONS, SQLITE_MIGRATIONS as MIGRATIONS};

/// Table -> columns as (name, type in schema.rs, nullable).
type Schema = BTreeMap<String, Vec<(String, String, bool)>>;

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    declared: String,
    #[diesel(sql_type = Integer)]
    required: i32,
    #[diesel(sql_type = Integer)]
    key: i32,
}

fn migrated() -> SqliteConnection {
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    connection.run_pending_migrations(MIGRATIONS).unwrap();
    connection
}

/// What the database says, in the words of `schema.rs`.
fn of_database() -> (Schema, BTreeMap<String, Vec<String>>) {
    let columns: Vec<Column> = diesel::sql_query(
        "SELECT t.name AS table_name, c.name AS name, c.type AS declared, c.\"notnull\" AS required, c.pk AS key \
         FROM sqlite_master t JOIN pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> '__diesel_schema_migrations' \
         ORDER BY t.name, c.cid",
    )
    .load(&mut migrated())
    .unwrap();
    let (mut schema, mut keys) = (Schema::new(), BTreeMap::<String, Vec<String>>::new());
    for column in columns {
        let diesel_type = match (column.declared.as_str(), column.key > 0) {
            // diesel.toml: an integer primary key is a BigInt.
            ("INTEGER", true) | ("BIGINT", _) => "BigInt",
            ("INTEGER", false) => "Integer",
            ("TEXT", _) => "Text",
            ("BOOLEAN", _) => "Bool",
            ("DOUBLE PRECISION", _) => "Double",
            (other, _) => panic!("{}.{} has the type {other}, which no rule allows", column.table_name, column.name),
        };
        if column.key > 0 {
            keys.entry(column.table_name.clone()).or_default().push(column.name.clone());
        }
        let entry = (column.name, diesel_type.to_owned(), column.required == 0);
        schema.entry(column.table_name).or_default().push(entry);
    }
    (schema, keys)
}

/// What `schema.rs` says, read from its text.
fn of_schema_rs() -> (Schema, BTreeMap<String, Vec<String>>) {
    let (mut schema, mut keys) = (Schema::new(), BTreeMap::new());
    let mut table = None;
    for line in include_str!("../schema.rs").lines().map(str::trim) {
        if let Some((name, key)) = line.strip_suffix(") {").and_then(|head| head.split_once(" (")) {
            keys.insert(name.to_owned(), key.split(", ").map(str::to_owned).collect());
            table = Some(name.to_owned());
        } else if let (Some(table), Some((name, kind))) = (&table, line.trim_end_matches(',').split_once(" -> ")) {
            let inner = kind.strip_prefix("Nullable<").and_then(|inner| inner.strip_suffix('>'));
            let entry = (name.to_owned(), inner.unwrap_or(kind).to_owned(), inner.is_some());
            schema.entry(table.clone()).or_default().push(entry);
        } else if line == "}" {
            table = None;
        }
    }
    (schema, keys)
}

#[test]
fn schema_rs_is_what_the_migrations_make() {
    let (database, database_keys) = of_database();
    let (written, written_keys) = of_schema_rs();
    assert!(database.len() >= 8, "the migrations made {} tables", database.len());
    assert_eq!(database, written);
    assert_eq!(database_keys, written_keys);
}

#[test]
fn a_copy_of_a_database_carries_every_table() {
    let mut carried = crate::maintenance::copy::TABLES.to_vec();
    carried.sort_unstable();
    assert_eq!(carried, of_schema_rs().0.into_keys().collect::<Vec<_>>());
}

/// The same of a server, whose migrations are others. The tables of the cluster are only there, and diesel knows nothing of them.
#[test]
fn schema_rs_is_what_the_migrations_make_on_a_server() {
    let Some(server) = super::server() else { return };
    let scratch_schema = Database::Server(super::new_schema(&server));
    let columns = super::outside(&scratch_schema, |connection| {
        let Connection::Postgres(session) = connection else { panic!("it is a server") };
        session.run_pending_migrations(POSTGRES_MIGRATIONS).unwrap();
        session.revert_all_migrations(POSTGRES_MIGRATIONS).unwrap();
        session.run_pending_migrations(POSTGRES_MIGRATIONS).unwrap();
        let query = "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable) FROM information_schema.columns \
                     WHERE table_schema = current_schema() AND table_name <> '__diesel_schema_migrations' \
                     AND table_name NOT LIKE 'cluster_%'";
        crate::postgres::lines(session, query).unwrap()
    });
    let (mut written, mut found) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for (table, columns) in of_schema_rs().0 {
        for (name, kind, nullable) in columns {
            written.insert(format!("{table} {name} {kind} {}", if nullable { "YES" } else { "NO" }));
        }
    }
    for line in columns {
        let kinds = [
            ("bigint", "BigInt"),
            ("integer", "Integer"),
            ("text", "Text"),
            ("boolean", "Bool"),
            ("double precision", "Double"),
        ];
        let kind =
            kinds.iter().find(|(theirs, _)| line.contains(&format!(" {theirs} "))).unwrap_or_else(|| panic!("{line}"));
        found.insert(line.replacen(&format!(" {} ", kind.0), &format!(" {} ", kind.1), 1));
    }
    assert_eq!(found, written);
}

/// So that a change of one isn't forgotten in the other. A file has no cluster.
#[test]
fn the_migrations_of_both_databases_end_with_the_same() {
    let newest = |dir: &str| {
        let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(dir);
        std::fs::read_dir(place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with("_cluster"))
            .map(|name| name[..17].to_owned())
            .max()
    };
    assert_eq!(newest("sqlite"), newest("postgres"));
}

#[test]
fn every_migration_can_be_undone_and_done_again() {
    let mut connection = migrated();
    connection.revert_all_migrations(MIGRATIONS).unwrap();
    connection.run_pending_migrations(MIGRATIONS).unwrap();
}
