//! Gateways that are being created through the organization API, and main agents.

use super::StoreHandle;
use crate::records::{MainAgent, MainRecorded};
use crate::tables::gateways;
use gatewarden_core::error::Failure;
use gatewarden_core::gateway_record::{GatewayRecord, NewGateway};
use gatewarden_core::ids::GatewayId;

impl StoreHandle {
    /// Stores a gateway as provisional: it reserves its name and is loaded by nobody until [`Self::record_main_agent`].
    /// `name_taken`.
    pub async fn create_provisional_gateway(
        &self,
        new: NewGateway,
        workspace_root: String,
    ) -> Result<GatewayRecord, Failure> {
        let now = self.now_s();
        self.write("reserve the gateway", move |connection, sealer| {
            gateways::create_provisional(connection, sealer, &new, &workspace_root, now)
        })
        .await
    }

    /// Records the main agent of a gateway; for a provisional one this is what makes it a gateway, all in one transaction.
    /// Again with the same agent it only refreshes the agent's record. `None` where there is no such gateway.
    pub async fn record_main_agent(&self, id: GatewayId, main: MainAgent) -> Result<Option<MainRecorded>, Failure> {
        let now = self.now_s();
        self.write("record the gateway's main agent", move |connection, sealer| {
            gateways::record_main_agent(connection, sealer, id, &main, now)
        })
        .await
    }

    /// Removes a provisional gateway. False where there is none, or it has become a gateway.
    pub async fn abandon_provisional_gateway(&self, id: GatewayId) -> Result<bool, Failure> {
        self.write("remove the half-made gateway", move |connection, _| gateways::abandon(connection, id)).await
    }

    /// Removes all provisional gateways: those that a crash left half-made. Answers their names.
    pub async fn purge_provisional_gateways(&self) -> Result<Vec<String>, Failure> {
        self.write("remove half-made gateways", |connection, _| gateways::purge_provisional(connection)).await
    }
}
