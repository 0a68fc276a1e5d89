//! Agents for those who change them: what is committed is told to subscribers, in this order.
//!
//! Agents have no actor. Their state is a row, their owner the store; what this adds is who an agent is
//! ([`AgentKey`]) and the `agent.status` events.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatewarden_api::events::AgentStatusData;

use crate::error::Failure;
use crate::event_hub::EventPublisher;
use crate::ids::GatewayId;
use crate::machines::connection::AgentNews;
use crate::store::handle::StoreHandle;
use crate::store::records::{AgentChange, AgentFilter, AgentRecord, AgentSeen, AgentStatus, NewAgent};

/// Longest name of an agent, in characters.
pub const MAX_AGENT_NAME: usize = 200;
/// Agents of one gateway that are looked at.
const MAX_OF_A_GATEWAY: usize = 1_000;

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
            && text.chars().take(MAX_AGENT_NAME + 1).count() <= MAX_AGENT_NAME
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
    /// The agents that each gateway named last; none where it is lost.
    named: Arc<Mutex<Named>>,
}

type Named = HashMap<GatewayId, Option<Arc<HashSet<String>>>>;

impl AgentBook {
    /// The book over a store.
    pub fn new(store: StoreHandle, events: EventPublisher) -> Self {
        Self { store, events, named: Arc::default() }
    }

    /// One agent. `agent_not_found`.
    pub async fn find(&self, key: &AgentKey) -> Result<AgentRecord, Failure> {
        let found = match key {
            AgentKey::Id(id) => self.store.find_agent_by_id(*id).await?,
            AgentKey::Name(name) => self.store.find_agent_by_name(name.clone()).await?,
        };
        found.ok_or_else(|| Failure::agent_not_found(key))
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its gateway gives no answer, so that nobody can say that the agent is there.
    fn is_lost(&self, gateway: Option<GatewayId>) -> bool {
        gateway.is_some_and(|gateway| matches!(self.named().get(&gateway), Some(None)))
    }

    /// Stores a new agent, as offline where its gateway gives no answer. `name_taken`, `gateway_not_found`.
    pub async fn create(&self, mut new: NewAgent) -> Result<AgentRecord, Failure> {
        if self.is_lost(new.gateway_id) {
            new.status = AgentStatus::Offline;
        }
        let created = self.store.create_agent(new).await?;
        if created.status != AgentStatus::Offline {
            self.announce(&created, AgentStatus::Offline);
        }
        Ok(created)
    }

    /// Changes an agent, which is offline where its gateway gives no answer. `agent_not_found`, `name_taken`, `gateway_not_found`.
    pub async fn change(&self, key: &AgentKey, mut change: AgentChange) -> Result<AgentRecord, Failure> {
        let before = self.find(key).await?;
        let is_about_presence = change.status.is_some() || change.gateway_id.is_some();
        if is_about_presence && self.is_lost(change.gateway_id.unwrap_or(before.gateway_id)) {
            change.status = Some(AgentStatus::Offline);
        }
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
    /// What else they were said to be doing stays. An agent is named by any of [`AgentRecord::names`].
    pub async fn note_present(&self, gateway: GatewayId, named: &[String], now_s: i64) -> Result<(), Failure> {
        let named: Arc<HashSet<String>> = Arc::new(named.iter().cloned().collect());
        self.named().insert(gateway, Some(Arc::clone(&named)));
        let before = self.of_gateway(gateway).await?;
        let seen = before.iter().filter(|agent| is_among(agent, &named)).map(|agent| AgentSeen {
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
            let by_name = before.iter().find(|agent| agent.name == name);
            by_name.or_else(|| before.iter().find(|agent| agent.names().any(|called| called == name)))
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
        self.named().insert(gateway, None);
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

    /// An agent's tool is gone, so it was stored as offline; where its gateway names it, it is online all the same. `from` is
    /// what it was while the tool was there.
    pub async fn note_left(&self, id: i64, from: AgentStatus) -> Result<(), Failure> {
        let mut agent = self.find(&AgentKey::Id(id)).await?;
        let is_named = |named: &HashSet<String>| is_among(&agent, named);
        let named =
            agent.gateway_id.is_some_and(|id| self.named().get(&id).and_then(Option::as_deref).is_some_and(is_named));
        if named && agent.status == AgentStatus::Offline {
            let online = AgentChange { status: Some(AgentStatus::Online), ..AgentChange::default() };
            agent = self.store.update_agent(id, online).await?.unwrap_or(agent);
        }
        if agent.status != from {
            self.announce(&agent, from);
        }
        Ok(())
    }

    /// Has a gateway deleted, and tells which of its agents are offline or gone because of that.
    pub async fn deleting<E: From<Failure>>(
        &self,
        gateway: GatewayId,
        deletion: impl Future<Output = Result<bool, E>>,
    ) -> Result<bool, E> {
        let before = self.of_gateway(gateway).await?;
        let deleted = deletion.await?;
        for agent in before.into_iter().filter(|agent| deleted && agent.status != AgentStatus::Offline) {
            // What can't be read any more is no reason to fail: the gateway is gone.
            let Ok(now) = self.store.find_agent_by_id(agent.id).await else { continue };
            let was = agent.status;
            let now = now.unwrap_or(AgentRecord { status: AgentStatus::Offline, gateway_id: None, ..agent });
            if now.status != was {
                self.announce(&now, was);
            }
        }
        self.named().remove(&gateway);
        Ok(deleted)
    }

    async fn of_gateway(&self, gateway: GatewayId) -> Result<Vec<AgentRecord>, Failure> {
        let filter = AgentFilter { gateway_id: Some(gateway), ..AgentFilter::default() };
        Ok(self.store.list_agents_after(filter, 0, MAX_OF_A_GATEWAY).await?.0)
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

fn is_among(agent: &AgentRecord, named: &HashSet<String>) -> bool {
    agent.names().any(|name| named.contains(name))
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
