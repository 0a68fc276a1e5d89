//! Agents: list, find, create, change, delete, sync, and their signs of life.

use super::{StoreHandle, whole};
use crate::records::{AgentChange, AgentFilter, AgentRecord, AgentSeen, NewAgent, SyncStats, SyncedAgent};
use crate::tables::agents;
use gatewarden_core::error::Failure;
use gatewarden_core::ids::GatewayId;

/// Agents in one page.
const MOST_LISTED: usize = 1_000;

impl StoreHandle {
    /// One page of the agents that pass the filter, by name, and how many pass it in all. `page` counts from 1; `limit` is
    /// 1 to 1,000, others are brought into that range.
    pub async fn list_agents(
        &self,
        filter: AgentFilter,
        page: usize,
        limit: usize,
    ) -> Result<(Vec<AgentRecord>, usize), Failure> {
        let limit = limit.clamp(1, MOST_LISTED);
        self.list_agents_after(filter, page.saturating_sub(1).saturating_mul(limit), limit).await
    }

    /// The same with the number of agents that come before the page.
    pub async fn list_agents_after(
        &self,
        filter: AgentFilter,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<AgentRecord>, usize), Failure> {
        let (offset, limit) = (whole(offset), whole(limit.clamp(1, MOST_LISTED)));
        self.read("list the agents", move |connection, _| agents::list(connection, &filter, offset, limit)).await
    }

    /// The agent with this id.
    pub async fn find_agent_by_id(&self, id: i64) -> Result<Option<AgentRecord>, Failure> {
        self.read("look up the agent", move |connection, _| agents::by_id(connection, id)).await
    }

    /// The agent with exactly this name.
    pub async fn find_agent_by_name(&self, name: String) -> Result<Option<AgentRecord>, Failure> {
        self.read("look up the agent", move |connection, _| agents::by_name(connection, &name)).await
    }

    /// Stores a new agent. `name_taken`, `gateway_not_found`.
    pub async fn create_agent(&self, new: NewAgent) -> Result<AgentRecord, Failure> {
        let now = self.now_s();
        self.write("store the agent", move |connection, _| agents::create(connection, &new, now)).await
    }

    /// Changes an agent; `None` where there is none. A change of nothing answers the record as it is. `name_taken`,
    /// `gateway_not_found`.
    pub async fn update_agent(&self, id: i64, change: AgentChange) -> Result<Option<AgentRecord>, Failure> {
        let now = self.now_s();
        self.write("change the agent", move |connection, _| agents::update(connection, id, &change, now)).await
    }

    /// Deletes an agent; false where there was none.
    pub async fn delete_agent(&self, id: i64) -> Result<bool, Failure> {
        self.write("delete the agent", move |connection, _| agents::delete(connection, id)).await
    }

    /// Takes over a gateway's own list of agents, all or nothing: creates the unknown, updates the changed, leaves the rest
    /// alone, the agents of others too; at most 1,000 of the list are looked at. Whose an agent is, and which part of its
    /// configuration stays ours, is told in `tables/agents/sync.rs`. `gateway_not_found`.
    pub async fn sync_agents(&self, gateway: GatewayId, listed: Vec<SyncedAgent>) -> Result<SyncStats, Failure> {
        let now = self.now_s();
        self.write("sync the agents", move |connection, _| agents::sync(connection, gateway, &listed, now)).await
    }

    /// Notes signs of life, all at once; unknown agents, and those of another gateway than said, are skipped. Answers the
    /// agents that changed, as they are now.
    pub async fn observe_agents(&self, seen: Vec<AgentSeen>) -> Result<Vec<AgentRecord>, Failure> {
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now_s();
        self.write("note what agents do", move |connection, _| agents::observe(connection, &seen, now)).await
    }

    /// The agent of a CLI tool that connects directly: made (source `cli`) where it is unknown, online and seen now in any
    /// case. A role changes only an agent that a CLI tool made known. Answers whether it is new.
    pub async fn upsert_cli_agent(&self, name: String, role: Option<String>) -> Result<(AgentRecord, bool), Failure> {
        let now = self.now_s();
        self.write("store the tool's agent", move |connection, _| {
            agents::upsert_cli(connection, &name, role.as_deref(), now)
        })
        .await
    }
}
