//! What the tests of the notifier share.

use crate::gateway_record::{GatewayRecord, GatewaySpec};
use crate::ids::GatewayId;

/// A registered gateway named `gw` and its id.
pub(super) fn record(id: i64) -> GatewayRecord {
    let new = GatewaySpec::at(format!("gw{id}"), "127.0.0.1", 18789);
    GatewayRecord { revision: 1, ..new.into_record(GatewayId(id), format!("uuid-{id}"), 0) }
}
