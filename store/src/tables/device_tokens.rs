//! Device tokens by canonical address, sealed and bound to it.

use diesel::prelude::*;
use gatewarden_protocol::Secret;

use crate::error::StoreError;
use crate::schema::device_tokens;
use crate::sealing::{Place, Sealer};
use gatewarden_core::gateway_record::DeviceToken;

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = device_tokens)]
struct Row {
    address: String,
    token: String,
    role: String,
    scopes: String,
    issued_at_ms: i64,
    updated_at: i64,
}

fn place(address: &str) -> Place<'_> {
    Place { table: "device_tokens", row: address, column: "token" }
}

pub(crate) fn load_all(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
) -> Result<Vec<(String, DeviceToken)>, StoreError> {
    let rows: Vec<Row> =
        device_tokens::table.order(device_tokens::address).select(Row::as_select()).load(connection)?;
    let mut tokens = Vec::with_capacity(rows.len());
    for row in rows {
        let opened = match sealer.open(place(&row.address), &row.token) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(gateway.address = %row.address, %error, "a stored device token does not open; it is not used");
                continue;
            }
        };
        let token = DeviceToken {
            token: Secret::new(String::from_utf8_lossy(&opened)),
            role: row.role,
            scopes: serde_json::from_str(&row.scopes).unwrap_or_default(),
            issued_at_ms: row.issued_at_ms,
        };
        tokens.push((row.address, token));
    }
    Ok(tokens)
}

pub(crate) fn put(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    address: &str,
    token: &DeviceToken,
    now_s: i64,
) -> Result<(), StoreError> {
    let sealed = sealer
        .seal(place(address), token.token.expose().as_bytes())
        .map_err(|error| StoreError::Sealed { what: "the device token cannot be sealed", error })?;
    let row = Row {
        address: address.to_owned(),
        token: sealed,
        role: token.role.clone(),
        scopes: serde_json::Value::from(token.scopes.clone()).to_string(),
        issued_at_ms: token.issued_at_ms,
        updated_at: now_s,
    };
    diesel::insert_into(device_tokens::table)
        .values(&row)
        .on_conflict(device_tokens::address)
        .do_update()
        .set(&row)
        .execute(connection)?;
    Ok(())
}

pub(crate) fn delete(connection: &mut SqliteConnection, address: &str) -> Result<bool, StoreError> {
    Ok(diesel::delete(device_tokens::table.find(address)).execute(connection)? > 0)
}

pub(crate) fn delete_all(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    diesel::delete(device_tokens::table).execute(connection)?;
    Ok(())
}
