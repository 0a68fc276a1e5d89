//! What the tests of the notifier share.

use std::collections::BTreeMap;

use crate::gateway_record::{GatewayRecord, Observed, TlsTrust, Transport};
use crate::ids::GatewayId;

/// A registered gateway named `gw` and its id.
pub(super) fn record(id: i64) -> GatewayRecord {
    GatewayRecord {
        id: GatewayId(id),
        uuid: format!("uuid-{id}"),
        name: format!("gw{id}"),
        host: "127.0.0.1".to_owned(),
        port: 18789,
        token: None,
        url_token: None,
        is_primary: false,
        priority: 0,
        workspace_root: None,
        gateway_agent_id: None,
        provisioning: false,
        process: None,
        labels: BTreeMap::new(),
        transport: Transport::Auto,
        tls: TlsTrust::System,
        disable_device_pairing: false,
        drained: false,
        dialect: None,
        observed: Observed::default(),
        created_at: 0,
        updated_at: 0,
        revision: 1,
    }
}
