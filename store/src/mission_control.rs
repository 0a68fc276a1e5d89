//! The gateways in another program's database: builderz Mission Control keeps them in a SQLite table `gateways` (document 001).
//! Opened for reading only, and nothing of it is kept.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{QueryableByName, SqliteConnection};
use gatewarden_protocol::Secret;

use super::connection::uri_path;

/// How long a writer of theirs is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// Most gateways that are read.
const MOST: usize = 10_000;

/// One of their gateways, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignGateway {
    /// Unique there.
    pub name: String,
    /// Host name, address or URL.
    pub host: String,
    /// Its port, unchecked.
    pub port: i64,
    /// Its token; their documents call it encrypted, their releases store it as it is.
    pub token: Option<Secret>,
    /// At most one there.
    pub is_primary: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    host: String,
    #[diesel(sql_type = BigInt)]
    port: i64,
    #[diesel(sql_type = Nullable<Text>)]
    token: Option<String>,
    #[diesel(sql_type = BigInt)]
    is_primary: i64,
}

/// Reads them all, by id.
///
/// # Errors
/// A sentence on why the file can't be read as such a database.
pub fn read(path: &Path) -> Result<Vec<ForeignGateway>, String> {
    // A database whose log can't be opened for want of rights to its directory is still readable as it stands.
    let path_in_uri = uri_path(path);
    let rows = rows(&format!("{path_in_uri}?mode=ro")).or_else(|_| rows(&format!("{path_in_uri}?mode=ro&immutable=1")));
    let rows =
        rows.map_err(|error| format!("{} cannot be read as a database of Mission Control: {error}", path.display()))?;
    Ok(rows
        .into_iter()
        .map(|row| ForeignGateway {
            name: row.name,
            host: row.host,
            port: row.port,
            token: row.token.filter(|token| !token.is_empty()).map(Secret::new),
            is_primary: row.is_primary != 0,
        })
        .collect())
}

fn rows(uri: &str) -> Result<Vec<Row>, String> {
    let mut connection = SqliteConnection::establish(uri).map_err(|error| error.to_string())?;
    connection
        .batch_execute(&format!("PRAGMA busy_timeout = {}; PRAGMA query_only = ON", BUSY.as_millis()))
        .map_err(|error| error.to_string())?;
    diesel::sql_query(format!(
        "SELECT CAST(name AS TEXT) AS name, CAST(host AS TEXT) AS host, CAST(port AS INTEGER) AS port, \
         CAST(token AS TEXT) AS token, CAST(COALESCE(is_primary, 0) AS INTEGER) AS is_primary \
         FROM gateways ORDER BY id LIMIT {MOST}"
    ))
    .load(&mut connection)
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE gateways (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, host TEXT NOT \
        NULL DEFAULT '127.0.0.1', port INTEGER NOT NULL DEFAULT 18789, token TEXT NOT NULL DEFAULT '', is_primary INTEGER NOT \
        NULL DEFAULT 0, status TEXT NOT NULL DEFAULT 'unknown', last_seen INTEGER, latency INTEGER, sessions_count INTEGER NOT \
        NULL DEFAULT 0, agents_count INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL DEFAULT (unixepoch()), updated_at \
        INTEGER NOT NULL DEFAULT (unixepoch()))";

    fn database(sql: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mission control.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        for sql in sql {
            connection.batch_execute(sql).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn their_gateways_are_read_by_id_with_tokens_where_there_are_any() {
        let (_dir, path) = database(&[
            "PRAGMA journal_mode = WAL",
            TABLE,
            "INSERT INTO gateways (name, host, port, token, is_primary) VALUES ('primary', '127.0.0.1', 18789, 'tok', 1)",
            "INSERT INTO gateways (name, host, port) VALUES ('far', 'wss://far.example', 443)",
        ]);
        let found = read(&path).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].port, found[0].is_primary), ("primary", 18789, true));
        assert_eq!(found[0].token.as_ref().map(Secret::expose), Some("tok"));
        assert_eq!((found[1].host.as_str(), &found[1].token), ("wss://far.example", &None));
    }

    #[test]
    fn what_is_no_such_database_is_said_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.db");
        assert!(read(&missing).unwrap_err().contains("none.db"));
        assert!(!missing.exists());
        let (_dir, other) = database(&["CREATE TABLE users (id INTEGER)"]);
        assert!(read(&other).unwrap_err().contains("no such table"), "{:?}", read(&other));
    }
}
