//! What is remembered of processes that the daemon started for gateways on this machine.

use diesel::prelude::*;
use gatewarden_core::error::Failure;
use gatewarden_core::ids::GatewayId;

use crate::connection::on_either;
use crate::handle::StoreHandle;
use crate::schema::{gateways, local_processes};

/// A local process as stored: enough to find it again, and to tell it from a later one with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalProcess {
    /// Whether it shall run: false once an operator stopped it.
    pub wanted: bool,
    /// The process, while there is one.
    pub pid: Option<i32>,
    /// When it started, in clock ticks since the machine's start.
    pub start_ticks: Option<u64>,
    /// Which start of the machine.
    pub boot_id: Option<String>,
}

impl StoreHandle {
    pub async fn load_local_processes(&self) -> Result<Vec<(GatewayId, LocalProcess)>, Failure> {
        self.read("load the local processes", |db| {
            let columns = (
                local_processes::gateway_id,
                local_processes::wanted,
                local_processes::pid,
                local_processes::start_ticks,
                local_processes::boot_id,
            );
            let rows = local_processes::table.select(columns).load(db.connection)?;
            let processes = rows.into_iter().map(|row: (i64, bool, Option<i64>, Option<i64>, Option<String>)| {
                let (id, wanted, pid, ticks, boot_id) = row;
                let pid = pid.and_then(|pid| i32::try_from(pid).ok());
                let start_ticks = ticks.and_then(|ticks| u64::try_from(ticks).ok());
                (GatewayId(id), LocalProcess { wanted, pid, start_ticks, boot_id })
            });
            Ok(processes.collect())
        })
        .await
    }

    /// Remembers one, in the place of what was known of this gateway's. It goes with the gateway.
    pub async fn put_local_process(&self, id: GatewayId, process: LocalProcess) -> Result<(), Failure> {
        self.write("remember the local process", move |db| {
            // Deleted meanwhile: there is nothing to remember.
            let there: Option<i64> = gateways::table.find(id.0).select(gateways::id).first(db.connection).optional()?;
            if there.is_none() {
                return Ok(());
            }
            let row = (
                local_processes::wanted.eq(process.wanted),
                local_processes::pid.eq(process.pid.map(i64::from)),
                local_processes::start_ticks.eq(process.start_ticks.and_then(|ticks| i64::try_from(ticks).ok())),
                local_processes::boot_id.eq(&process.boot_id),
                local_processes::updated_at.eq(db.now_s()),
            );
            on_either!(db.connection, |inner| {
                let added =
                    diesel::insert_into(local_processes::table).values((local_processes::gateway_id.eq(id.0), row));
                added.on_conflict(local_processes::gateway_id).do_update().set(row).execute(inner)
            })?;
            Ok(())
        })
        .await
    }
}
