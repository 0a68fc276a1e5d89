//! Copies, restores and changes of keys, with a crash at every step.

mod backups;
mod copies;
mod rekeys;
mod restores;

use std::path::Path;

use crate::handle::StoreHandle;
use crate::key_file::SealingKey;
use crate::tests::{Scratch, new_gateway, open_in};

/// A state directory whose daemon has stopped.
pub(super) struct Stopped {
    pub(super) dir: tempfile::TempDir,
}

impl Stopped {
    /// One with gateways of these names.
    pub(super) async fn with(names: &[&str]) -> Self {
        let scratch = Scratch::in_file();
        for name in names {
            scratch.store.create_gateway(new_gateway(name)).await.unwrap();
        }
        let seed = scratch.store.load_or_create_device_seed().await.unwrap();
        assert_eq!(seed.len(), 32);
        Self::of(scratch).await
    }

    pub(super) async fn of(scratch: Scratch) -> Self {
        scratch.store.checkpoint().await.unwrap();
        let Scratch { dir, store, .. } = scratch;
        end(store).await;
        Self { dir }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn database(&self) -> std::path::PathBuf {
        self.path().join("gatewarden.db")
    }

    pub(super) fn key(&self) -> SealingKey {
        SealingKey::load_or_create(None, self.path()).unwrap()
    }

    /// Starts on it: the names of all gateways, each of whose tokens must open.
    pub(super) async fn starts_with(&self) -> Vec<String> {
        let store = open_in(self.path(), |_| {}).unwrap();
        let gateways = store.load_gateways().await.unwrap();
        for gateway in &gateways {
            let token = gateway.token.as_ref().unwrap_or_else(|| panic!("the token of {} does not open", gateway.name));
            assert_eq!(token.expose(), format!("token-of-{}", gateway.name));
        }
        store.load_or_create_device_seed().await.unwrap();
        store.checkpoint().await.unwrap();
        end(store).await;
        gateways.into_iter().map(|gateway| gateway.spec.name).collect()
    }

    /// Names of files in the directory.
    pub(super) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
            .collect();
        names.sort();
        names
    }
}

/// Ends a store, and with it every connection.
pub(super) async fn end(store: StoreHandle) {
    store.flush().await.unwrap();
    store.close_for_test().await;
}
