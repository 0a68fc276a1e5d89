//! Which type of event each kind of data belongs to, and how records of the daemon are put into data of events.

use gatewarden_api::events;
use gatewarden_api::gateways::{LastError, Pairing};
use gatewarden_protocol::LogEntry;
use serde::Serialize;

use crate::event::EventKind;
use crate::gateway_report::{PairingView, Problem};
use crate::ids::GatewayId;
use crate::store::records::AuditEntry;

/// Data of an event, as the API shows it. Without secrets.
pub trait EventData: Serialize {
    /// The type of an event that has it.
    const KIND: EventKind;
}

macro_rules! kinds {
    ($($data:ident: $kind:ident;)*) => {
        $(impl EventData for events::$data {
            const KIND: EventKind = EventKind::$kind;
        })*
    };
}

kinds! {
    GatewayStatusData: GatewayStatus;
    GatewayVitalsData: GatewayVitals;
    GatewayPrimaryData: GatewayPrimary;
    GatewayBlockedData: GatewayBlocked;
    GatewayProcessData: GatewayProcess;
    SessionUpdateData: SessionUpdate;
    LogData: Log;
    AgentStatusData: AgentStatus;
    SpawnResultData: SpawnResult;
    ConnectionCreatedData: ConnectionCreated;
    ConnectionDisconnectedData: ConnectionDisconnected;
    AuditData: Audit;
}

/// What is wrong with a gateway.
pub fn last_error(problem: &Problem) -> LastError {
    let Problem { code, message, help } = problem.clone();
    LastError { code, message, help }
}

/// A pairing request that waits.
pub fn pairing(view: &PairingView) -> Pairing {
    let PairingView { request_id, command, device_id } = view.clone();
    Pairing { request_id, device_id, command }
}

/// A gateway's log entry.
pub fn log(id: GatewayId, gateway: &str, entry: LogEntry) -> events::LogData {
    events::LogData { gateway_id: id.0, gateway: gateway.to_owned(), entry: entry.into() }
}

/// An entry of the audit log.
pub fn audit(entry: AuditEntry) -> events::AuditData {
    let AuditEntry { at_ms, actor, address, request_id, action, target, result, details } = entry;
    let role = actor.role.map(|role| role.as_str().to_owned());
    let actor = events::AuditedBy { key_id: actor.key_id, name: actor.name, role };
    events::AuditData { at_ms, actor, address, request_id, action, target, result: result.as_str().to_owned(), details }
}
