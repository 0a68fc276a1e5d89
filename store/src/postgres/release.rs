//! Which releases may work on a database, so that nodes can be upgraded one by one: a release adds to the tables what it needs, and takes
//! away what it needs no more only when no node is left that needs it. The database names the oldest release that may work on it.

use std::path::Path;

use diesel::prelude::*;
use gatewarden_core::cluster::may_work;

use super::cluster::{self, OLDEST_RELEASE};
use crate::connection::Connection;
use crate::database::tables;
use crate::error::StoreError;
use crate::startup::{self, Schema};

/// This one.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The oldest one that can work with the tables as this one leaves them: whoever takes something away from them names here the first
/// release that needs it no more.
pub(crate) const OLDEST: &str = "0.1.0";

/// How far the schema is; an error where this release may not work on it: a newer one that only added to it lets it.
pub(crate) fn schema(connection: &mut Connection, place: &Path) -> Result<Schema, StoreError> {
    let schema = startup::schema_of_any_release(connection, place)?;
    match named(connection)? {
        Some(oldest) if !may_work(RELEASE, Some(&oldest)) => {
            Err(StoreError::ReleaseTooOld { place: place.to_path_buf(), oldest })
        }
        None if !schema.unknown.is_empty() => {
            Err(StoreError::TooNew { path: place.to_path_buf(), unknown: schema.unknown })
        }
        _ => Ok(schema),
    }
}

/// Before anything is migrated: an error where that would take something away from a node that lives.
pub(crate) fn spare_nodes(connection: &mut Connection, oldest: &str) -> Result<(), StoreError> {
    let Connection::Postgres(session) = connection else { return Ok(()) };
    if !cluster::exists(session)? {
        return Ok(());
    }
    let mut living = cluster::look(session, None)?.nodes.into_iter().filter(|node| !node.expired);
    let Some(node) = living.find(|node| !may_work(&node.release, Some(oldest))) else { return Ok(()) };
    let (name, url, release) = (node.name, node.url, node.release);
    Err(StoreError::OlderNode { name, url, release, oldest: oldest.to_owned() })
}

/// Names the oldest release, unless a newer one is named. In the transaction that migrates.
pub(crate) fn name_oldest(connection: &mut Connection, oldest: &str) -> Result<(), StoreError> {
    match startup::setting(connection, OLDEST_RELEASE)? {
        Some(named) if may_work(&named, Some(oldest)) => Ok(()),
        _ => Ok(startup::set(connection, OLDEST_RELEASE, oldest)?),
    }
}

fn named(connection: &mut Connection) -> QueryResult<Option<String>> {
    if !tables(connection)?.iter().any(|table| table == "meta") {
        return Ok(None);
    }
    startup::setting(connection, OLDEST_RELEASE)
}
