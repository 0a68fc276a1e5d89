//! Agents for those who change them: what is committed is told to subscribers, in this order.
//!
//! Agents have no actor. Their state is a row, their owner the store; what this adds is who an agent is
//! ([`AgentKey`]) and the `agent.status` events.

use std::collections::HashSet;

use gatewarden_api::events::AgentStatusData;
use serde_json::Value;

use crate::error::Failure;
use crate::event_hub::EventPublisher;
use crate::gateway_notice::AgentNews;
use crate::ids::GatewayId;
use crate::store::handle::StoreHandle;
use crate::store::records::{AgentChange, AgentFilter, AgentRecord, AgentSeen, AgentStatus, NewAgent};

/// Longest name of an agent, in characters.
pub const LONGEST_AGENT_NAME: usize = 200;
/// Agents of one gateway that are looked at.
const MOST_OF_A_GATEWAY: usize = 1_000;

/// How somebody names an agent. Digits alone are an id, so no agent may be *given* such a name; one that a gateway calls
/// so is reached by its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AgentKey {
    /// The database's key.
    Id(i64),
    /// The unique name.
    Name(String),
}

impl AgentKey {
    /// Reads an id or a name; `None` where it is neither: empty, too long, with control characters, or not a positive
    /// number.
    pub fn read(text: &str) -> Option<Self> {
        if is_like_an_id(text) {
            return text.parse().ok().filter(|id| *id > 0).map(Self::Id);
        }
        let fits = !text.trim().is_empty()
            && text.chars().take(LONGEST_AGENT_NAME + 1).count() <= LONGEST_AGENT_NAME
            && !text.chars().any(char::is_control);
        fits.then(|| Self::Name(text.to_owned()))
    }
}

impl std::fmt::Display for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// Whether a name would be taken for an id.
pub fn is_like_an_id(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads and changes agents. Cheap to clone.
#[derive(Clone)]
pub struct AgentBook {
    store: StoreHandle,
    events: EventPublisher,
}

impl AgentBook {
    /// The book over a store.
    pub fn new(store: StoreHandle, events: EventPublisher) -> Self {
        Self { store, events }
    }

    /// One agent. `agent_not_found`.
    pub async fn find(&self, key: &AgentKey) -> Result<AgentRecord, Failure> {
        let found = match key {
            AgentKey::Id(id) => self.store.find_agent_by_id(*id).await?,
            AgentKey::Name(name) => self.store.find_agent_by_name(name.clone()).await?,
        };
        found.ok_or_else(|| Failure::agent_not_found(key))
    }

    /// Stores a new agent. `name_taken`, `gateway_not_found`.
    pub async fn create(&self, new: NewAgent) -> Result<AgentRecord, Failure> {
        let created = self.store.create_agent(new).await?;
        if created.status != AgentStatus::Offline {
            self.announce(&created, AgentStatus::Offline);
        }
        Ok(created)
    }

    /// Changes an agent. `agent_not_found`, `name_taken`, `gateway_not_found`.
    pub async fn change(&self, key: &AgentKey, change: AgentChange) -> Result<AgentRecord, Failure> {
        let before = self.find(key).await?;
        let after = self.store.update_agent(before.id, change).await?.ok_or_else(|| Failure::agent_not_found(key))?;
        if after.status != before.status {
            self.announce(&after, before.status);
        }
        Ok(after)
    }

    /// Deletes an agent; the record as it was. `agent_not_found`.
    pub async fn delete(&self, key: &AgentKey) -> Result<AgentRecord, Failure> {
        let before = self.find(key).await?;
        if !self.store.delete_agent(before.id).await? {
            return Err(Failure::agent_not_found(key));
        }
        if before.status != AgentStatus::Offline {
            let gone = AgentRecord { status: AgentStatus::Offline, ..before.clone() };
            self.announce(&gone, before.status);
        }
        Ok(before)
    }

    /// A gateway that may be trusted names these agents: they are seen now, and those of them that were offline are online.
    /// What else they were said to be doing stays. An agent is named by its name, or by the one that its gateway shows.
    pub async fn note_present(&self, gateway: GatewayId, named: &[String], now_s: i64) -> Result<(), Failure> {
        let named: HashSet<&str> = named.iter().map(String::as_str).collect();
        let before = self.of_gateway(gateway).await?;
        let is_named = |agent: &AgentRecord| {
            let shown = agent.config.get("name").and_then(Value::as_str);
            named.contains(agent.name.as_str()) || shown.is_some_and(|shown| named.contains(shown))
        };
        let seen = before.iter().filter(|agent| is_named(agent)).map(|agent| AgentSeen {
            name: agent.name.clone(),
            gateway_id: Some(gateway),
            status: (agent.status == AgentStatus::Offline).then_some(AgentStatus::Online),
            last_seen: Some(now_s),
            last_activity: None,
        });
        self.observe(&before, seen.collect()).await
    }

    /// A gateway says what its agents are doing. Agents that aren't registered with it, and words for a status that nobody knows,
    /// are left out.
    pub async fn note_said(&self, gateway: GatewayId, said: Vec<AgentNews>) -> Result<(), Failure> {
        let before = self.of_gateway(gateway).await?;
        let stored = |name: &str| {
            let shown = |agent: &&AgentRecord| agent.config.get("name").and_then(Value::as_str) == Some(name);
            before.iter().find(|agent| agent.name == name).or_else(|| before.iter().find(shown))
        };
        let seen = said.into_iter().filter_map(|news| {
            Some(AgentSeen {
                name: stored(&news.name)?.name.clone(),
                gateway_id: Some(gateway),
                status: Some(AgentStatus::from_name(&news.status)?),
                last_seen: news.last_seen,
                last_activity: news.last_activity,
            })
        });
        self.observe(&before, seen.collect()).await
    }

    /// A gateway has been gone for too long: its agents are offline.
    pub async fn note_lost(&self, gateway: GatewayId) -> Result<(), Failure> {
        let before = self.of_gateway(gateway).await?;
        let gone = before.iter().filter(|agent| agent.status != AgentStatus::Offline).map(|agent| AgentSeen {
            name: agent.name.clone(),
            gateway_id: Some(gateway),
            status: Some(AgentStatus::Offline),
            last_seen: None,
            last_activity: None,
        });
        self.observe(&before, gone.collect()).await
    }

    async fn of_gateway(&self, gateway: GatewayId) -> Result<Vec<AgentRecord>, Failure> {
        let filter = AgentFilter { gateway_id: Some(gateway), ..AgentFilter::default() };
        Ok(self.store.list_agents_after(filter, 0, MOST_OF_A_GATEWAY).await?.0)
    }

    /// Notes signs of life of agents that were just read, and tells whose status changed.
    async fn observe(&self, before: &[AgentRecord], seen: Vec<AgentSeen>) -> Result<(), Failure> {
        for changed in self.store.observe_agents(seen).await? {
            let was = before.iter().find(|agent| agent.id == changed.id).map(|agent| agent.status);
            if let Some(was) = was.filter(|was| *was != changed.status) {
                self.announce(&changed, was);
            }
        }
        Ok(())
    }

    /// Tells subscribers of a committed change of status.
    pub fn announce(&self, agent: &AgentRecord, from: AgentStatus) {
        self.events.tell(&AgentStatusData {
            agent_id: agent.id,
            agent: agent.name.clone(),
            from: from.as_str().to_owned(),
            to: agent.status.as_str().to_owned(),
            gateway_id: agent.gateway_id.map(|id| id.0),
            last_seen: agent.last_seen,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_an_id_and_everything_else_that_fits_is_a_name() {
        assert_eq!(AgentKey::read("7"), Some(AgentKey::Id(7)));
        for name in ["researcher", "codex-session-01", "7a", "-7", "Worker One", "日本"] {
            assert_eq!(AgentKey::read(name), Some(AgentKey::Name(name.to_owned())), "{name}");
        }
        let (long, longest) = ("x".repeat(201), "x".repeat(200));
        for neither in ["", " ", "0", "000", "99999999999999999999", "a\nb", "a\0", &long] {
            assert_eq!(AgentKey::read(neither), None, "{neither:?}");
        }
        assert!(AgentKey::read(&longest).is_some());
    }
}
