//! A gateway that is being created through the organization API: it reserves its name, is loaded by nobody, and either
//! becomes a gateway together with its main agent or leaves nothing behind.

use diesel::prelude::*;

use super::row::{NewRow, Row};
use crate::error::StoreError;
use crate::records::{MainAgent, MainRecorded};
use crate::schema::gateways;
use crate::sealing::Sealer;
use crate::tables::agents;
use gatewarden_core::gateway_record::{GatewayRecord, NewGateway};
use gatewarden_core::ids::GatewayId;

/// Stores the record as provisional. It is never primary: that is decided about gateways that everybody sees.
pub(crate) fn create_provisional(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    new: &NewGateway,
    workspace_root: &str,
    now_s: i64,
) -> Result<GatewayRecord, StoreError> {
    let new = NewGateway { is_primary: false, agents: Vec::new(), ..new.clone() };
    let values = NewRow::of(&new, uuid::Uuid::new_v4().to_string(), sealer, now_s)?.provisional(workspace_root);
    let row: Row = diesel::insert_into(gateways::table)
        .values(&values)
        .returning(Row::as_returning())
        .get_result(connection)
        .map_err(|error| StoreError::for_gateway_name(error, &new.name))?;
    Ok(row.into_record(sealer))
}

/// Records the main agent of a gateway, which ends its provisioning. `None` where there is no such gateway.
pub(crate) fn record_main_agent(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    id: GatewayId,
    main: &MainAgent,
    now_s: i64,
) -> Result<Option<MainRecorded>, StoreError> {
    let present: Option<Row> = gateways::table.find(id.0).select(Row::as_select()).first(connection).optional()?;
    let Some(present) = present.map(|row| row.into_record(sealer)) else { return Ok(None) };
    let agent = agents::record_main(connection, &present, main, now_s)?;
    if !present.provisioning && present.gateway_agent_id.as_ref() == Some(&main.agent_id) {
        return Ok(Some(MainRecorded { record: present, agent }));
    }
    let row: Row = diesel::update(gateways::table.find(id.0))
        .set((
            gateways::gateway_agent_id.eq(&main.agent_id),
            gateways::provisioning.eq(false),
            gateways::updated_at.eq(now_s),
            gateways::revision.eq(gateways::revision + 1),
        ))
        .returning(Row::as_returning())
        .get_result(connection)?;
    Ok(Some(MainRecorded { record: row.into_record(sealer), agent }))
}

/// Removes a gateway that is still being created. False where there is none: it never was, or it is one by now.
pub(crate) fn abandon(connection: &mut SqliteConnection, id: GatewayId) -> Result<bool, StoreError> {
    let provisional = gateways::table.find(id.0).filter(gateways::provisioning.eq(true));
    let removed = diesel::delete(provisional).execute(connection)? > 0;
    Ok(removed)
}

/// Removes what an earlier run of the daemon left half-made; answers the names.
pub(crate) fn purge_provisional(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    Ok(diesel::delete(gateways::table.filter(gateways::provisioning.eq(true)))
        .returning(gateways::name)
        .get_results(connection)?)
}
