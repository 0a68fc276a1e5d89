//! Gateways: load, create, change, delete, seed, and their observations.

use super::StoreHandle;
use crate::records::{Created, DeleteOutcome, Updated};
use crate::tables::gateways;
use gatewarden_core::error::Failure;
use gatewarden_core::gateway_record::{GatewayChange, GatewayRecord, NewGateway, Observed};
use gatewarden_core::ids::GatewayId;

impl StoreHandle {
    /// All gateways by id. A token that doesn't open (changed or moved) is left out of its record and logged as an error:
    /// that gateway is supervised without it, and all others are not affected.
    pub async fn load_gateways(&self) -> Result<Vec<GatewayRecord>, Failure> {
        self.read("load the gateways", gateways::load_all).await
    }

    /// Stores a new gateway and registers its agents. As primary it takes the place of the present one in the same
    /// transaction. `name_taken`.
    pub async fn create_gateway(&self, new: NewGateway) -> Result<Created, Failure> {
        let now = self.now_s();
        self.write("store the gateway", move |connection, sealer| gateways::create(connection, sealer, &new, now)).await
    }

    /// Changes a gateway; `None` where there is none. `is_primary: true` unsets the other one in the same transaction. The
    /// revision grows by one, on the demoted gateway too. `updated_at` follows only where something that an operator sets
    /// has changed: observations and the dialect leave it. A change of nothing answers the record as it is. `name_taken`.
    pub async fn update_gateway(&self, id: GatewayId, change: GatewayChange) -> Result<Option<Updated>, Failure> {
        let now = self.now_s();
        self.write("change the gateway", move |connection, sealer| {
            gateways::update(connection, sealer, id, &change, now)
        })
        .await
    }

    /// Deletes a gateway with its health log, unless it is the configured primary. Its agents stay, without a gateway.
    pub async fn delete_gateway(&self, id: GatewayId) -> Result<DeleteOutcome, Failure> {
        let now = self.now_s();
        self.write("delete the gateway", move |connection, _| gateways::delete(connection, id, now)).await
    }

    /// Stores own observations, all at once. Ids that are gone are skipped; revisions and `updated_at` stay.
    pub async fn save_observed(&self, observed: Vec<(GatewayId, Observed)>) -> Result<(), Failure> {
        if observed.is_empty() {
            return Ok(());
        }
        self.write("store observations", move |connection, _| gateways::save_observed(connection, &observed)).await
    }

    /// Stores `new` if there is no gateway at all; `None` where there was one.
    pub async fn seed_gateway_if_empty(&self, new: NewGateway) -> Result<Option<GatewayRecord>, Failure> {
        let now = self.now_s();
        self.write("store the first gateway", move |connection, sealer| {
            gateways::seed_if_empty(connection, sealer, &new, now)
        })
        .await
    }
}
