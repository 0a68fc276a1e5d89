//! What subscribers are told of direct connections.

use serde_json::json;

use super::Desk;
use crate::agent_book::AgentKey;
use crate::event::EventKind;
use crate::store::records::{AgentStatus, ConnectionRecord};

impl Desk {
    /// A tool connected, or is back after a silence.
    pub(super) fn announce_created(&self, connection: &ConnectionRecord, revived: bool) {
        self.events.publish(
            EventKind::ConnectionCreated,
            json!({
                "connection_id": connection.connection_id,
                "agent_id": connection.agent_id,
                "agent": connection.agent_name,
                "tool_name": connection.tool_name,
                "tool_version": connection.tool_version,
                "revived": revived,
            }),
        );
    }

    /// A tool left (`closed`, `replaced`), was silent for too long (`silent`), or its agent was deleted (`agent_deleted`).
    pub(super) fn announce_ended(&self, connection: &ConnectionRecord, reason: &str) {
        self.events.publish(
            EventKind::ConnectionDisconnected,
            json!({
                "connection_id": connection.connection_id,
                "agent_id": connection.agent_id,
                "agent": connection.agent_name,
                "tool_name": connection.tool_name,
                "reason": reason,
                "last_heartbeat": connection.last_heartbeat,
            }),
        );
    }

    /// Tells how an agent's status changed by what was committed. What can't be read any more is no reason to fail.
    pub(super) async fn announce_status(&self, agent_id: i64, from: Option<AgentStatus>) {
        let Some(from) = from else { return };
        match self.agents.find(&AgentKey::Id(agent_id)).await {
            Ok(agent) if agent.status != from => self.agents.announce(&agent, from),
            Ok(_) => {}
            Err(failure) => tracing::debug!(agent.id = agent_id, %failure, "a change of status was not told"),
        }
    }
}
