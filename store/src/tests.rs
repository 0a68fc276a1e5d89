//! Tests of the store on real time (sync arbiters and a paused clock don't mix), each with a database of its own: a file, or where
//! TEST_POSTGRES names a server (`.ci/postgres` does) a schema there. What is about files is always tried on one.

mod access;
mod agents;
mod audit;
mod credentials;
mod direct_connections;
mod failed_logins;
mod faults;
mod gateways;
mod health;
mod local_processes;
mod notifications;
mod provisioning;
mod retention;
mod schema_drift;
mod spawn_commits;
mod spawns;
mod token_usage;

pub(super) use spawns::{new_spawn, text as spawn_text};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use gatewarden_protocol::Secret;

use super::connection::Connection;
use super::database::Database;
use super::error::StoreError;
use super::handle::StoreHandle;
use super::key_file::SealingKey;
use super::postgres;
use super::postgres::address::ServerAddress;
use super::queue::StoreOptions;
use gatewarden_clock::clock::Clock;
use gatewarden_core::gateway_record::GatewaySpec;
use gatewarden_core::settings::RetentionSettings;

/// A state directory and the store in it.
pub(super) struct Scratch {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: StoreHandle,
    pub(super) database: Database,
}

impl Scratch {
    pub(super) fn open() -> Self {
        Self::open_with(|_| {})
    }

    pub(super) fn open_with(adjust: impl FnOnce(&mut StoreOptions)) -> Self {
        match server() {
            Some(server) => Self::of(Database::Server(new_schema(&server)), adjust),
            None => Self::in_file_with(adjust),
        }
    }

    /// For what is about files.
    pub(super) fn in_file() -> Self {
        Self::in_file_with(|_| {})
    }

    pub(super) fn in_file_with(adjust: impl FnOnce(&mut StoreOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::File(dir.path().join("gatewarden.db"));
        let store = open(&database, dir.path(), adjust).unwrap();
        Self { dir, store, database }
    }

    pub(super) fn of(database: Database, adjust: impl FnOnce(&mut StoreOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&database, dir.path(), adjust).unwrap();
        Self { dir, store, database }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("gatewarden.db")
    }

    /// A second connection to a file, as another process would have.
    pub(super) fn outsider(&self) -> Connection {
        crate::sqlite::open_plain(&self.path(), Duration::ZERO).unwrap()
    }

    /// Does what another process would do.
    pub(super) fn execute(&self, query: impl AsRef<str>) -> diesel::QueryResult<usize> {
        let query = query.as_ref();
        outside(&self.database, |connection| diesel::sql_query(query).execute(connection))
    }

    /// Ends the store and opens it again. Waits for its threads, which nobody joins, by their last word.
    pub(super) async fn reopen(self) -> Self {
        self.store.flush().await.unwrap();
        self.store.close_for_test().await;
        let Self { dir, store, database } = self;
        drop(store);
        let store = open(&database, dir.path(), |_| {}).unwrap();
        Self { dir, store, database }
    }

    /// Everything that is in the database's files, or in the tables of a server.
    pub(super) fn bytes(&self) -> Vec<u8> {
        if self.database.file().is_none() {
            return outside(&self.database, |connection| {
                let Connection::Postgres(session) = connection else { return Vec::new() };
                let tables = postgres::tables(session).unwrap();
                let queries = tables.iter().map(|name| format!("SELECT {name}::text FROM {name}"));
                queries.flat_map(|query| postgres::lines(session, &query).unwrap().concat().into_bytes()).collect()
            });
        }
        let mut bytes = Vec::new();
        for suffix in ["", "-wal"] {
            bytes.extend(std::fs::read(format!("{}{suffix}", self.path().display())).unwrap_or_default());
        }
        bytes
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        self.bytes().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// The server that tests may use.
pub(super) fn server() -> Option<String> {
    std::env::var("TEST_POSTGRES").ok().filter(|url| !url.is_empty())
}

/// An empty schema of a server, which is to its tables as a database of their own.
pub(super) fn new_schema(server: &str) -> ServerAddress {
    let address = |url: String| ServerAddress::parse(&Secret::new(url)).unwrap();
    let name = format!("t{}", uuid::Uuid::new_v4().simple());
    let create = format!("CREATE SCHEMA {name}");
    outside(&Database::Server(address(server.to_owned())), |connection| connection.batch_execute(&create)).unwrap();
    address(format!("{server}?options=-csearch_path%3D{name}"))
}

/// Not on the test's own thread, which runs a runtime of its own.
pub(super) fn outside<T: Send>(database: &Database, act: impl FnOnce(&mut Connection) -> T + Send) -> T {
    let open = || match database {
        Database::File(path) => crate::sqlite::open_plain(path, Duration::ZERO).unwrap(),
        Database::Server(address) => Connection::Postgres(postgres::connect(address, Duration::from_secs(10)).unwrap()),
    };
    std::thread::scope(|scope| scope.spawn(|| act(&mut open())).join().unwrap())
}

/// Opens the store of a state directory as the daemon does, with a lock timeout that suits tests.
pub(super) fn open_in(dir: &Path, adjust: impl FnOnce(&mut StoreOptions)) -> Result<StoreHandle, StoreError> {
    open(&Database::File(dir.join("gatewarden.db")), dir, adjust)
}

pub(super) fn open(
    database: &Database,
    dir: &Path,
    adjust: impl FnOnce(&mut StoreOptions),
) -> Result<StoreHandle, StoreError> {
    let mut options = StoreOptions::of(database.clone());
    if database.file().is_some() {
        options.busy_timeout = Duration::from_millis(50);
    }
    adjust(&mut options);
    let key = SealingKey::load_or_create(None, dir)?;
    StoreHandle::open(options, key, Clock::system(), Arc::new(()))
}

pub(super) fn new_gateway(name: &str) -> GatewaySpec {
    GatewaySpec { token: Some(Secret::new(format!("token-of-{name}"))), ..GatewaySpec::at(name, "127.0.0.1", 18789) }
}
