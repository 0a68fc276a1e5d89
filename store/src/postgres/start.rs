//! Opening a server's database at the daemon's start: look first, write only when all is well.
//!
//! 1. The session: logged in, the lock of whoever writes taken, no pool between that would give the session to others.
//! 2. The server: its version, its encoding, whether it takes writes.
//! 3. Whose tables these are, and whether this release may work on them ([`release`]); whether the sealing key is the right one.
//! 4. In one transaction: pending migrations; for a new database the key file and the canary.
//!
//! There is no copy before an upgrade: that is the operator's `pg_dump`. Who finds the lock taken looks and writes nothing: a
//! command beside a running daemon.

use std::time::Duration;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;

use gatewarden_protocol::Secret;

use super::address::ServerAddress;
use super::mesh_entry::MeshKey;
use super::trouble::Trouble;
use super::{LOCK, PostgresConnection, cluster, connect, in_words, lines, number, open, release, unlock};
use crate::connection::Connection;
use crate::database::{migrate, tables, write_transaction};
use crate::error::StoreError;
use crate::key_file::SealingKey;
use crate::queue::StoreOptions;
use crate::sealing::Sealer;
use crate::startup::{self, Installation};
use crate::tables::credentials::{KnownAdminKey, settle_admin_key};

/// The oldest server whose release is still looked after.
const OLDEST: i64 = 130_000;
/// Migrations may take longer than other work.
const MIGRATING: Duration = Duration::from_secs(600);

/// The same before a node joins, whichever acts: one node at a time. Answers by what nodes know each other, and the admin key that counts
/// for this node, where it takes part in that. Not on a thread that runs a runtime.
pub(crate) fn prepare_node(
    options: &StoreOptions,
    address: &ServerAddress,
    key: SealingKey,
    admin: Option<KnownAdminKey>,
    node: &str,
    now_ms: i64,
) -> Result<(MeshKey, Option<Secret>), StoreError> {
    let mut session = cluster::open(address, options.busy_timeout)?;
    // One that migrates may take its time.
    session.patience = MIGRATING;
    let turn =
        format!("SET lock_timeout = '30s'; SELECT pg_advisory_lock({LOCK}, hashtext('start ' || current_schema()))");
    session.batch_execute(&turn).map_err(|error| Trouble::of_query(&error).at(address))?;
    session.patience = options.busy_timeout;
    let mut connection = Connection::Postgres(session);
    let prepared = prepare_with(&mut connection, options, address, key, true);
    let settled = prepared.and_then(|(_, sealer)| {
        let mesh_key = sealer.mesh_key().clone();
        let Some(admin) = admin else { return Ok((mesh_key, None)) };
        write_transaction(&mut connection, |connection| settle_admin_key(connection, &sealer, &admin, node, now_ms))
            .map(|admin_key| (mesh_key, admin_key))
    });
    settled.map_err(|error| in_words(error, address))
}

/// Checks, migrates and seals; answers what is fixed at the first start, and what seals with the right key.
///
/// On a thread of its own, since the caller's runs a runtime of its own.
pub(crate) fn prepare(
    options: &StoreOptions,
    address: &ServerAddress,
    key: SealingKey,
) -> Result<(Installation, Sealer), StoreError> {
    let prepared = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("store-start".to_owned());
        let started = thread.spawn_scoped(scope, || prepare_here(options, address, key));
        started.map(|thread| thread.join().unwrap_or(Err(StoreError::BrokenOff)))
    });
    prepared.unwrap_or_else(|error| Err(Trouble::Other(error.to_string()).at(address)))
}

fn prepare_here(
    options: &StoreOptions,
    address: &ServerAddress,
    key: SealingKey,
) -> Result<(Installation, Sealer), StoreError> {
    let (session, is_ours) = match open(address, options.busy_timeout, true) {
        Ok(session) => (session, true),
        Err(StoreError::Server { trouble: Trouble::InUse(_), .. }) if options.beside_another => {
            (open(address, options.busy_timeout, false)?, false)
        }
        Err(error) => return Err(error),
    };
    let mut connection = Connection::Postgres(session);
    let prepared = prepare_with(&mut connection, options, address, key, is_ours);
    if let Connection::Postgres(session) = &mut connection
        && is_ours
        && address.fence.is_none()
    {
        // Where it fails the session is lost, and the lock with it.
        let _ = unlock(session);
    }
    prepared.map_err(|error| in_words(error, address))
}

/// Makes all migrations that are still to be made, in the transaction that is open.
pub(crate) fn migrate_server(connection: &mut Connection, address: &ServerAddress) -> Result<(), StoreError> {
    migrate(connection).map_err(|error| match error {
        error if error.contains("permission denied") => Trouble::NoRights(error).at(address),
        error => Trouble::Other(format!("migrating it failed: {error}")).at(address),
    })
}

/// Opens a session for work on the whole database, which may take its time, while no node lives: who does is named.
pub(crate) fn open_alone(address: &ServerAddress, patience: Duration) -> Result<PostgresConnection, StoreError> {
    let mut session = match open(address, patience, true) {
        Err(StoreError::Server { trouble: Trouble::InUse(holder), .. }) => {
            let living = open(address, patience, false).and_then(|mut session| living(&mut session));
            let living = living.unwrap_or_default();
            return Err(Trouble::InUse(if living.is_empty() { holder } else { living }).at(address));
        }
        opened => opened?,
    };
    check_server(&mut session, address, true)?;
    check_pool(&mut session, address, patience)?;
    // One that lost its session a moment ago is about to come back.
    match living(&mut session)? {
        living if living.is_empty() => {}
        living => return Err(Trouble::InUse(living).at(address)),
    }
    session.patience = MIGRATING;
    Ok(session)
}

/// The nodes that have not expired, in words.
fn living(session: &mut PostgresConnection) -> Result<String, StoreError> {
    if !cluster::exists(session)? {
        return Ok(String::new());
    }
    let nodes = cluster::look(session, None)?.nodes;
    let names = nodes.iter().filter(|node| !node.expired).map(|node| format!("node {} at {}", node.name, node.url));
    Ok(names.collect::<Vec<_>>().join(", "))
}

fn prepare_with(
    connection: &mut Connection,
    options: &StoreOptions,
    address: &ServerAddress,
    key: SealingKey,
    is_ours: bool,
) -> Result<(Installation, Sealer), StoreError> {
    let place = options.database.place();
    if let Connection::Postgres(session) = connection {
        check_server(session, address, is_ours)?;
        check_pool(session, address, options.busy_timeout)?;
    }
    let found = tables(connection)?;
    if !found.is_empty() && !found.iter().any(|table| table == "__diesel_schema_migrations") {
        return Err(Trouble::Foreign.at(address));
    }
    let schema = release::schema(connection, &place)?;
    if is_ours {
        release::spare_nodes(connection, release::OLDEST)?;
    }
    if !is_ours && schema.pending > 0 {
        return Err(Trouble::InUse(String::new()).at(address));
    }
    let (key, sealer, leftover_key) = startup::choose_key(connection, key, &place)?;
    if !is_ours {
        return Ok((startup::installation(connection, leftover_key)?, sealer));
    }
    if let Connection::Postgres(session) = connection {
        session.patience = MIGRATING;
    }
    let key = std::cell::RefCell::new(key);
    let installation = write_transaction(connection, |connection| {
        migrate_server(connection, address)?;
        release::name_oldest(connection, release::OLDEST)?;
        startup::seal_if_new(connection, &mut key.borrow_mut(), &sealer, &place)?;
        startup::installation(connection, leftover_key.clone())
    })?;
    if let Connection::Postgres(session) = connection {
        session.patience = options.busy_timeout;
    }
    Ok((installation, sealer))
}

fn check_server(session: &mut PostgresConnection, address: &ServerAddress, is_ours: bool) -> Result<(), StoreError> {
    if number(session, "SELECT current_setting('server_version_num')::bigint")? < OLDEST {
        let version = lines(session, "SELECT current_setting('server_version')")?;
        return Err(Trouble::TooOld(version.concat()).at(address));
    }
    let encoding = lines(session, "SELECT current_setting('server_encoding')")?.concat();
    if encoding != "UTF8" {
        return Err(Trouble::NotUtf8(encoding).at(address));
    }
    let read_only = lines(session, "SELECT current_setting('transaction_read_only')")?.concat();
    if is_ours && read_only == "on" {
        return Err(Trouble::ReadOnly.at(address));
    }
    if lines(session, "SELECT current_schema()::text WHERE current_schema() IS NOT NULL")?.is_empty() {
        return Err(Trouble::NoRights("there is no schema that it may use".to_owned()).at(address));
    }
    Ok(())
}

/// While a second session has a transaction open, a pool that gives sessions to transactions has to let one of the two feel it.
fn check_pool(first: &mut PostgresConnection, address: &ServerAddress, patience: Duration) -> Result<(), StoreError> {
    const SESSION: &str = "SELECT pg_backend_pid()::bigint";
    let own = number(first, SESSION)?;
    let mut second = connect(address, patience)?;
    let other = second.transaction(|second| number(second, SESSION).map(|other| (other, number(first, SESSION))));
    match other {
        Err(error) => Err(Trouble::of_query(&error).at(address)),
        Ok((other, Ok(again))) if other != own && again == own => Ok(()),
        _ => Err(Trouble::Pooled.at(address)),
    }
}
