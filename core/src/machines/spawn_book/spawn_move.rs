//! One step of a spawn, as it is written down.

use serde_json::Value;

use crate::ids::GatewayId;
use crate::machines::spawn_state::SpawnState;

/// One change to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct SpawnMove {
    /// The state to go to.
    pub to: SpawnState,
    /// The run's id on the gateway, once known.
    pub run_id: Option<String>,
    /// Its session, once known.
    pub session_key: Option<String>,
    /// Its process, once known.
    pub pid: Option<i64>,
    /// What came of it.
    pub result: Option<Value>,
    /// The gateway's words on a failure.
    pub error: Option<String>,
    /// A stable code of the failure.
    pub error_code: Option<String>,
    /// Why it went to this state.
    pub reason: Option<String>,
    /// The gateway that it goes to instead, by id and name.
    pub gateway: Option<(GatewayId, String)>,
}

impl SpawnMove {
    /// A move without further news.
    pub fn to(state: SpawnState, reason: Option<String>) -> Self {
        Self {
            to: state,
            run_id: None,
            session_key: None,
            pid: None,
            result: None,
            error: None,
            error_code: None,
            reason,
            gateway: None,
        }
    }
}
