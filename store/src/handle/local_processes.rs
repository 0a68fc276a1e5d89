//! What the daemon started on this machine.

use super::StoreHandle;
use crate::records::LocalProcess;
use crate::tables::local_processes;
use gatewarden_core::error::Failure;
use gatewarden_core::ids::GatewayId;

impl StoreHandle {
    /// All of them.
    pub async fn load_local_processes(&self) -> Result<Vec<(GatewayId, LocalProcess)>, Failure> {
        self.read("load the local processes", |connection, _| local_processes::load_all(connection)).await
    }

    /// Remembers one, in the place of what was known of this gateway's. It goes with the gateway.
    pub async fn put_local_process(&self, id: GatewayId, process: LocalProcess) -> Result<(), Failure> {
        let now = self.now_s();
        self.write("remember the local process", move |connection, _| {
            local_processes::put(connection, id, &process, now)
        })
        .await
    }
}
