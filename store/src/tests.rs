//! Tests of the store on real time (sync arbiters and a paused clock don't mix), each with a database of its own.

mod access;
mod agents;
mod audit;
mod credentials;
mod direct_connections;
mod faults;
mod gateways;
mod health;
mod local_processes;
mod notifications;
mod provisioning;
mod retention;
mod schema_drift;
mod spawns;
mod token_usage;

pub(super) use spawns::{spec as spawn_spec, text as spawn_text};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diesel::{Connection, SqliteConnection};
use gatewarden_protocol::Secret;

use super::error::StoreError;
use super::handle::StoreHandle;
use super::key_file::SealingKey;
use super::queue::StoreOptions;
use gatewarden_clock::clock::Clock;
use gatewarden_core::gateway_record::GatewaySpec;
use gatewarden_core::settings::RetentionSettings;

/// A state directory and the store in it.
pub(super) struct Scratch {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: StoreHandle,
}

impl Scratch {
    pub(super) fn open() -> Self {
        Self::open_with(|_| {})
    }

    pub(super) fn open_with(adjust: impl FnOnce(&mut StoreOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open_in(dir.path(), adjust).unwrap();
        Self { dir, store }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("gatewarden.db")
    }

    /// A second connection, as another process would have.
    pub(super) fn outsider(&self) -> SqliteConnection {
        SqliteConnection::establish(self.path().to_str().unwrap()).unwrap()
    }

    /// Ends the store and opens it again. Waits for its threads, which nobody joins, by their last word.
    pub(super) async fn reopen(self) -> Self {
        self.store.flush().await.unwrap();
        let Self { dir, store } = self;
        drop(store);
        let store = open_in(dir.path(), |_| {}).unwrap();
        Self { dir, store }
    }

    /// Everything that is in the database's files.
    pub(super) fn bytes(&self) -> Vec<u8> {
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

/// Opens the store of a state directory as the daemon does, with a lock timeout that suits tests.
pub(super) fn open_in(dir: &Path, adjust: impl FnOnce(&mut StoreOptions)) -> Result<StoreHandle, StoreError> {
    let mut options = StoreOptions::at(dir.join("gatewarden.db"));
    options.busy_timeout = Duration::from_millis(50);
    adjust(&mut options);
    let key = SealingKey::load_or_create(None, dir)?;
    StoreHandle::open(options, key, Clock::system(), Arc::new(()))
}

pub(super) fn new_gateway(name: &str) -> GatewaySpec {
    GatewaySpec { token: Some(Secret::new(format!("token-of-{name}"))), ..GatewaySpec::at(name, "127.0.0.1", 18789) }
}
