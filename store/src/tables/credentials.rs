//! What this installation authenticates with towards gateways: its device seed, and device tokens by canonical address. Sealed.
//! And single values of the installation.

use diesel::prelude::*;
use gatewarden_core::error::Failure;
use gatewarden_core::gateway_record::DeviceToken;
use gatewarden_protocol::Secret;
use serde_json::json;
use zeroize::Zeroizing;

use crate::connection::{Connection, on_either};
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle};
use crate::schema::{device_tokens, identity, meta};
use crate::sealing::{Place, SealError, Sealer};
use crate::startup::{set, setting};
use crate::tables::audit_log::{AuditEntry, AuditResult, append};
use crate::tables::spawns::key_hash;

const ONLY: i64 = 1;
const SEED: Place<'static> = Place { table: "identity", row: "device", column: "seed" };
pub(crate) const ADMIN_KEY: Place<'static> = Place { table: "meta", row: "admin_key", column: "value" };
/// Hashes of admin keys that were retired, the newest last.
const RETIRED_KEYS: &str = "retired_admin_keys";
const MOST_RETIRED: usize = 64;
const STEADY_TIME: &str = "steady_time";

fn token_place(address: &str) -> Place<'_> {
    Place { table: "device_tokens", row: address, column: "token" }
}

impl StoreHandle {
    /// The 32-byte seed of this installation's device identity: drawn and committed at the first call, the same ever after.
    pub async fn load_or_create_device_seed(&self) -> Result<Zeroizing<[u8; 32]>, Failure> {
        // Most often it is there, and reading it needs nobody's leave to write.
        if let Some(seed) = self.read("load the device identity", stored_seed).await? {
            return Ok(seed);
        }
        self.write("make the device identity", |db| {
            if let Some(seed) = stored_seed(db)? {
                return Ok(seed);
            }
            let mut seed = Zeroizing::new([0_u8; 32]);
            getrandom::fill(seed.as_mut_slice()).map_err(|_| broken_seed(SealError::CannotSeal))?;
            replace_seed(db, &seed)?;
            Ok(seed)
        })
        .await
    }

    /// Replaces the seed: for the import of an identity. All device tokens were issued to the old one and go with it.
    pub async fn replace_device_seed(&self, seed: Zeroizing<[u8; 32]>) -> Result<(), Failure> {
        self.write("replace the device identity", move |db| {
            diesel::delete(device_tokens::table).execute(db.connection)?;
            replace_seed(db, &seed)
        })
        .await
    }

    /// All device tokens with the canonical address that each belongs to (of an earlier release: `host:port`). One that doesn't
    /// open is left out and logged: the gateway issues another.
    pub async fn load_device_tokens(&self) -> Result<Vec<(String, DeviceToken)>, Failure> {
        self.read("load the device tokens", |db| {
            let columns =
                (device_tokens::address, device_tokens::token, device_tokens::role, device_tokens::scopes, device_tokens::issued_at_ms);
            let rows: Vec<(String, String, String, String, i64)> =
                device_tokens::table.order(device_tokens::address).select(columns).load(db.connection)?;
            let opened = rows.into_iter().filter_map(|(address, sealed, role, scopes, issued_at_ms)| {
                let token = match db.sealer.open_text(token_place(&address), &sealed) {
                    Ok(token) => token,
                    Err(error) => {
                        tracing::error!(gateway.address = %address, %error, "a stored device token does not open; it is not used");
                        return None;
                    }
                };
                let scopes = serde_json::from_str(&scopes).unwrap_or_default();
                Some((address, DeviceToken { token, role, scopes, issued_at_ms }))
            });
            Ok(opened.collect())
        })
        .await
    }

    /// Stores a device token for a canonical address, in the place of an earlier one.
    pub async fn put_device_token(&self, address: String, token: DeviceToken) -> Result<(), Failure> {
        self.write("store the device token", move |db| {
            let (place, token_text) = (token_place(&address), token.token.expose().as_bytes());
            let sealed = db.sealer.seal_or("the device token cannot be sealed", place, token_text)?;
            let row = (
                device_tokens::token.eq(sealed),
                device_tokens::role.eq(&token.role),
                device_tokens::scopes.eq(serde_json::Value::from(token.scopes.clone()).to_string()),
                device_tokens::issued_at_ms.eq(token.issued_at_ms),
                device_tokens::updated_at.eq(db.now_s()),
            );
            on_either!(db.connection, |inner| {
                diesel::insert_into(device_tokens::table)
                    .values((device_tokens::address.eq(&address), row.clone()))
                    .on_conflict(device_tokens::address)
                    .do_update()
                    .set(row)
                    .execute(inner)
            })?;
            Ok(())
        })
        .await
    }

    /// Forgets the device token of an address; false where there was none.
    pub async fn delete_device_token(&self, address: String) -> Result<bool, Failure> {
        self.write("forget the device token", move |db| {
            Ok(diesel::delete(device_tokens::table.find(&address)).execute(db.connection)? > 0)
        })
        .await
    }

    /// Settles which admin key counts for a node; see [`settle_admin_key`].
    pub async fn settle_admin_key(&self, known: KnownAdminKey, node: String) -> Result<Option<Secret>, Failure> {
        self.write("settle the admin key", move |db| {
            let now_ms = db.now_s() * 1_000;
            settle_admin_key(db.connection, db.sealer, &known, &node, now_ms)
        })
        .await
    }

    /// What the last run knew of the wall clock's past; none at the first start.
    pub async fn load_steady_time(&self) -> Result<Option<String>, Failure> {
        self.read("read what is known of the wall clock", |db| Ok(setting(db.connection, STEADY_TIME)?)).await
    }

    /// Stores it in the place of the last one.
    pub async fn save_steady_time(&self, steady: String) -> Result<(), Failure> {
        self.write("store what is known of the wall clock", move |db| Ok(set(db.connection, STEADY_TIME, &steady)?))
            .await
    }
}

fn broken_seed(error: SealError) -> StoreError {
    StoreError::Sealed { what: "the stored device identity does not open", error }
}

/// What a node knows of the admin key that the nodes share.
#[derive(Debug, Clone)]
pub struct KnownAdminKey {
    /// That of its file.
    pub key: Option<Secret>,
    /// SHA-256 of the one that its file had when it started last: another file since then means that this one is retired.
    pub before: Option<String>,
}

/// Which admin key counts for this node: that of its file, unless that was retired at any node; else the one that the nodes share. Notes
/// what is retired, also in the audit log, and the key for nodes that have none.
pub(crate) fn settle_admin_key(
    connection: &mut Connection,
    sealer: &Sealer,
    known: &KnownAdminKey,
    node: &str,
    now_ms: i64,
) -> Result<Option<Secret>, StoreError> {
    // One that was sealed with another key is as good as none.
    let stored = setting(connection, ADMIN_KEY.row)?.and_then(|sealed| sealer.open_text(ADMIN_KEY, &sealed).ok());
    let mut retired: Vec<String> =
        setting(connection, RETIRED_KEYS)?.unwrap_or_default().split(' ').map(str::to_owned).collect();
    let hash_of = |key: &Option<Secret>| key.as_ref().map(|key| key_hash(key.expose()));
    if let Some(before) = &known.before
        && hash_of(&known.key).as_ref() != Some(before)
        && !retired.contains(before)
    {
        retired.push(before.clone());
        let oldest = retired.len().saturating_sub(MOST_RETIRED);
        set(connection, RETIRED_KEYS, retired.get(oldest..).unwrap_or_default().join(" ").trim())?;
        let found = if known.key.is_some() { "another key" } else { "no key" };
        tracing::warn!(
            node.name = node,
            "the admin key is being retired on all nodes: admin.key of this node has {found} now"
        );
        let target = Some("key admin.key".to_owned());
        let details = json!({ "node": node, "replaced": known.key.is_some() });
        append(connection, &[AuditEntry::by_system(now_ms, "admin_key.retire", target, AuditResult::Ok, details)])?;
    }
    let counts = |key: &Option<Secret>| hash_of(key).is_some_and(|hash| !retired.contains(&hash));
    let key = if counts(&known.key) { known.key.clone() } else { stored.clone().filter(|_| counts(&stored)) };
    match &key {
        None => {
            diesel::delete(meta::table.find(ADMIN_KEY.row)).execute(connection)?;
        }
        Some(key) if stored.as_ref().map(Secret::expose) != Some(key.expose()) => {
            let sealed = sealer.seal_or("the admin key cannot be sealed", ADMIN_KEY, key.expose().as_bytes())?;
            set(connection, ADMIN_KEY.row, &sealed)?;
        }
        Some(_) => {}
    }
    Ok(key)
}

fn stored_seed(db: &mut Db<'_>) -> Result<Option<Zeroizing<[u8; 32]>>, StoreError> {
    let sealed = identity::table.find(ONLY).select(identity::seed);
    let sealed: Option<String> = sealed.first(db.connection).optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let opened = db.sealer.open(SEED, &sealed).map_err(broken_seed)?;
    let mut seed = Zeroizing::new([0_u8; 32]);
    if opened.len() != seed.len() {
        return Err(broken_seed(SealError::NotAnEnvelope));
    }
    seed.copy_from_slice(&opened);
    Ok(Some(seed))
}

fn replace_seed(db: &mut Db<'_>, seed: &[u8; 32]) -> Result<(), StoreError> {
    let sealed = db.sealer.seal_or("the device identity cannot be sealed", SEED, seed)?;
    let row = (identity::seed.eq(&sealed), identity::created_at.eq(db.now_s()));
    on_either!(db.connection, |inner| {
        let added = diesel::insert_into(identity::table).values((identity::id.eq(ONLY), row));
        added.on_conflict(identity::id).do_update().set(row).execute(inner)
    })?;
    Ok(())
}
