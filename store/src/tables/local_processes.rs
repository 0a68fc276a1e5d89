//! What was started for gateways on this machine.

use diesel::prelude::*;

use crate::error::StoreError;
use crate::records::LocalProcess;
use crate::schema::{gateways, local_processes};
use gatewarden_core::ids::GatewayId;

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = local_processes)]
#[diesel(treat_none_as_null = true)]
struct Row {
    gateway_id: i64,
    wanted: bool,
    pid: Option<i64>,
    start_ticks: Option<i64>,
    boot_id: Option<String>,
    updated_at: i64,
}

pub(crate) fn load_all(connection: &mut SqliteConnection) -> Result<Vec<(GatewayId, LocalProcess)>, StoreError> {
    let rows: Vec<Row> = local_processes::table.select(Row::as_select()).load(connection)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let process = LocalProcess {
                wanted: row.wanted,
                pid: row.pid.and_then(|pid| i32::try_from(pid).ok()),
                start_ticks: row.start_ticks.and_then(|ticks| u64::try_from(ticks).ok()),
                boot_id: row.boot_id,
            };
            (GatewayId(row.gateway_id), process)
        })
        .collect())
}

pub(crate) fn put(
    connection: &mut SqliteConnection,
    id: GatewayId,
    process: &LocalProcess,
    now_s: i64,
) -> Result<(), StoreError> {
    // Deleted meanwhile: there is nothing to remember.
    let there: Option<i64> = gateways::table.find(id.0).select(gateways::id).first(connection).optional()?;
    if there.is_none() {
        return Ok(());
    }
    let row = Row {
        gateway_id: id.0,
        wanted: process.wanted,
        pid: process.pid.map(i64::from),
        start_ticks: process.start_ticks.and_then(|ticks| i64::try_from(ticks).ok()),
        boot_id: process.boot_id.clone(),
        updated_at: now_s,
    };
    diesel::insert_into(local_processes::table)
        .values(&row)
        .on_conflict(local_processes::gateway_id)
        .do_update()
        .set(&row)
        .execute(connection)?;
    Ok(())
}
