//! Idempotency keys: which spawn a client's key stands for, for a day.

use std::time::Duration;

use diesel::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::records::Idempotency;
use crate::schema::idempotency_keys;

/// How long a key is good for.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// The same in ms.
const KEPT_MS: i64 = 24 * 3_600_000;

/// What a key stands for.
pub(super) enum Found {
    Nothing,
    Spawn(String),
    OtherBody,
}

/// Looks for a key that is still good at `judged_ms`.
pub(super) fn look_up(
    connection: &mut SqliteConnection,
    wanted: &Idempotency,
    judged_ms: i64,
) -> Result<Found, StoreError> {
    let found: Option<(String, String)> = idempotency_keys::table
        .find((wanted.key_id, hash(&wanted.key)))
        .filter(idempotency_keys::created_at_ms.gt(judged_ms.saturating_sub(KEPT_MS)))
        .select((idempotency_keys::spawn_id, idempotency_keys::body_hash))
        .first(connection)
        .optional()?;
    Ok(match found {
        None => Found::Nothing,
        Some((spawn_id, body)) if body == wanted.body_hash => Found::Spawn(spawn_id),
        Some(_) => Found::OtherBody,
    })
}

/// Stores a key, in the place of an expired one.
pub(super) fn put(
    connection: &mut SqliteConnection,
    idempotency: &Idempotency,
    spawn_id: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let stands_for = (
        idempotency_keys::body_hash.eq(&idempotency.body_hash),
        idempotency_keys::spawn_id.eq(spawn_id),
        idempotency_keys::created_at_ms.eq(now_ms),
    );
    diesel::insert_into(idempotency_keys::table)
        .values((
            idempotency_keys::key_id.eq(idempotency.key_id),
            idempotency_keys::key_sha256.eq(hash(&idempotency.key)),
            stands_for,
        ))
        .on_conflict((idempotency_keys::key_id, idempotency_keys::key_sha256))
        .do_update()
        .set(stands_for)
        .execute(connection)?;
    Ok(())
}

/// Forgets expired keys; how many there were.
pub(crate) fn purge(connection: &mut SqliteConnection, now_ms: i64) -> Result<usize, StoreError> {
    let expired = idempotency_keys::created_at_ms.le(now_ms.saturating_sub(KEPT_MS));
    Ok(diesel::delete(idempotency_keys::table.filter(expired)).execute(connection)?)
}

fn hash(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
