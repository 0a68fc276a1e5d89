//! A server's database, looked at and not changed: for `gatewarden doctor`.

use super::address::ServerAddress;
use super::cluster::{self, ClusterNode};
use super::mesh_entry::MeshKey;
use super::tls::Protection;
use super::trouble::Trouble;
use super::{in_words, lines, number, open, release};
use crate::connection::Connection;
use crate::database::tables;
use crate::error::StoreError;
use crate::key_file::SealingKey;
use crate::queue::StoreOptions;
use crate::startup;

/// A server's database as it was found.
#[derive(Debug)]
pub struct ServerInspection {
    /// The server's version in its own words.
    pub version: String,
    /// Bytes of the database.
    pub bytes: u64,
    /// Migrations that the next start will make.
    pub pending: usize,
    /// Registered gateways.
    pub gateways: u64,
    /// Whether it was ever sealed with a key.
    pub sealed: bool,
    /// Whether the key opens it; none where there was no key to try, or nothing was ever sealed.
    pub key: Option<Result<(), StoreError>>,
    /// Whether the connection is protected by TLS.
    pub protected: bool,
    /// Settings of the server by which a crash of its machine may cost what was acknowledged.
    pub unsafe_settings: Vec<String>,
    /// The living nodes that share it.
    pub nodes: Vec<ClusterNode>,
}

/// Looks at a server's database. Not on a thread that runs a runtime.
///
/// # Errors
/// It can't be reached or used, or is of another program or a newer release.
pub fn inspect(
    options: &StoreOptions,
    address: &ServerAddress,
    key: Option<SealingKey>,
) -> Result<ServerInspection, StoreError> {
    let mut session = open(address, options.busy_timeout, false)?;
    let look = || -> Result<ServerInspection, StoreError> {
        let version = lines(&mut session, "SELECT current_setting('server_version')")?.concat();
        let bytes = number(&mut session, "SELECT pg_database_size(current_database())")?;
        let unsafe_settings = lines(
            &mut session,
            "SELECT name || ' = off' FROM pg_settings \
             WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name",
        )?;
        let mesh_key = key
            .as_ref()
            .map(|key| MeshKey::of(key.bytes()))
            .filter(|_| cluster::has_mesh(&mut session).unwrap_or(false));
        let nodes = if cluster::exists(&mut session)? {
            cluster::look(&mut session, mesh_key.as_ref())?.nodes
        } else {
            Vec::new()
        };
        let has_gateways = super::tables(&mut session)?.iter().any(|table| table == "gateways");
        let gateways = if has_gateways { number(&mut session, "SELECT COUNT(*) FROM gateways")? } else { 0 };
        let place = options.database.place();
        let mut connection = Connection::Postgres(open(address, options.busy_timeout, false)?);
        let found = tables(&mut connection)?;
        if !found.is_empty() && !found.iter().any(|table| table == "__diesel_schema_migrations") {
            return Err(Trouble::Foreign.at(address));
        }
        let pending = release::schema(&mut connection, &place)?.pending;
        let canary = startup::canary(&mut connection)?;
        let sealed = canary.is_some();
        let key = canary.zip(key).map(|(canary, key)| startup::right_key(key, &canary, &place).map(drop));
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        let protected = address.protection != Protection::Plain;
        Ok(ServerInspection {
            version,
            bytes: whole(bytes),
            pending,
            gateways: whole(gateways),
            sealed,
            key,
            protected,
            unsafe_settings,
            nodes,
        })
    };
    look().map_err(|error| in_words(error, address))
}
