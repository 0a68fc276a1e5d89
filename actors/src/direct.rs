//! The `DirectConnections` actor: CLI tools that report in over REST, without a gateway (document 001).
//!
//! | file | decides or does |
//! | --- | --- |
//! | `messages` | what the HTTP front tells |
//! | `reports` | open, close, beat: write, then watch, then tell; and who was silent for too long |
//!
//! It owns the deadlines ([`crate::machines::silence`]) and nothing else: what is connected stands in the store, which is
//! asked again before anybody is given up. So a deadline that is too early costs a look and never a connection; the one
//! thing that must not be is an open connection without a deadline.

pub mod messages;
mod reports;

use std::time::Duration;

use actix::prelude::*;
use gatewarden_api::events::{ConnectionCreatedData, ConnectionDisconnectedData};

use crate::agent_book::AgentBook;
use crate::clock::Clock;
use crate::error::Failure;
use crate::event_hub::EventPublisher;
use crate::machines::silence::{SilenceWatch, Watched, allowance};
use crate::store::handle::StoreHandle;
use crate::store::records::{AgentFilter, AgentRecord, AgentStatus, ConnectionRecord};

/// Tools and agents that are watched at one time; more are refused.
const MAX_WATCHED: usize = 10_000;
/// Deadlines are looked at this often; at most a quarter of the shortest.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Agents read at once at the start.
const PAGE: usize = 1_000;

/// What the actor is made of.
pub struct DirectParts {
    /// Where connections are kept.
    pub store: StoreHandle,
    /// Agents, and the events of their status.
    pub agents: AgentBook,
    /// Where subscribers hear of connections.
    pub events: EventPublisher,
    /// How long a tool may be silent unless it announces more.
    pub heartbeat_timeout: Duration,
    /// Time.
    pub clock: Clock,
}

/// Owns the deadlines of tools and of agents that report in.
pub struct DirectConnectionsActor {
    work: Work,
    heartbeat_timeout: Duration,
    watch: SilenceWatch,
}

/// What a request works with.
#[derive(Clone)]
struct Work {
    store: StoreHandle,
    agents: AgentBook,
    events: EventPublisher,
    clock: Clock,
}

impl DirectConnectionsActor {
    /// Starts on the current arbiter. Everybody who was connected when the daemon stopped has a whole deadline again: that
    /// nobody was there to hear them was not their silence.
    ///
    /// # Errors
    /// The store can't say who is connected.
    pub async fn start(parts: DirectParts) -> Result<Addr<Self>, Failure> {
        let DirectParts { store, agents, events, heartbeat_timeout, clock } = parts;
        let mut actor = Self {
            work: Work { store, agents, events, clock },
            heartbeat_timeout,
            watch: SilenceWatch::new(MAX_WATCHED),
        };
        actor.resume().await?;
        Ok(Actor::start(actor))
    }

    async fn resume(&mut self) -> Result<(), Failure> {
        let open = self.work.store.list_connections(true, None).await?;
        for connection in &open {
            self.expect_again(connection);
        }
        let mut offset = 0;
        loop {
            let (agents, total) = self.work.store.list_agents_after(AgentFilter::default(), offset, PAGE).await?;
            offset += agents.len();
            for agent in agents.iter().filter(|agent| reports_by_itself(agent)) {
                if !open.iter().any(|connection| connection.agent_id == agent.id) {
                    self.expect_agent_again(agent);
                }
            }
            if agents.is_empty() || offset >= total {
                return Ok(());
            }
        }
    }

    /// The tool of an open connection reported in: the next report is due.
    fn expect_again(&mut self, connection: &ConnectionRecord) {
        self.watch.forget(&Watched::Agent(connection.agent_id));
        let allowed = allowance(self.heartbeat_timeout, connection.metadata.as_ref());
        let who = Watched::Connection(connection.connection_id.clone());
        if !self.watch.heard(self.work.clock.now(), who, connection.last_heartbeat, allowed) {
            tracing::error!(connection.id = %connection.connection_id, "more tools are connected than can be watched: {MAX_WATCHED}");
        }
    }

    /// An agent reported in without a connection: it is offline if it stops.
    fn expect_agent_again(&mut self, agent: &AgentRecord) {
        let last_seen = agent.last_seen.unwrap_or_default();
        if !self.watch.heard(self.work.clock.now(), Watched::Agent(agent.id), last_seen, self.heartbeat_timeout) {
            tracing::error!(agent.id = agent.id, "more agents report in than can be watched: {MAX_WATCHED}");
        }
    }
}

/// Whether an agent's own reports are all that says that it is there: its gateway says it of its agents, and a status that a
/// person gave to an agent that never reported in is theirs.
fn reports_by_itself(agent: &AgentRecord) -> bool {
    agent.status != AgentStatus::Offline && agent.gateway_id.is_none() && agent.last_seen.is_some()
}

impl Actor for DirectConnectionsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY.min(self.heartbeat_timeout / 4), Self::give_up_the_silent);
    }
}

impl Work {
    /// A tool connected, or is back after a silence.
    pub(super) fn announce_created(&self, connection: &ConnectionRecord, revived: bool) {
        let ConnectionRecord { connection_id, agent_id, agent_name: agent, tool_name, tool_version, .. } =
            connection.clone();
        self.events.tell(&ConnectionCreatedData { connection_id, agent_id, agent, tool_name, tool_version, revived });
    }

    /// A tool left (`closed`, `replaced`), was silent for too long (`silent`), or its agent was deleted (`agent_deleted`).
    pub(super) fn announce_ended(&self, connection: &ConnectionRecord, reason: &str) {
        let ConnectionRecord { connection_id, agent_id, agent_name: agent, tool_name, last_heartbeat, .. } =
            connection.clone();
        let reason = reason.to_owned();
        let data = ConnectionDisconnectedData { connection_id, agent_id, agent, tool_name, reason, last_heartbeat };
        self.events.tell(&data);
    }

    /// The tool of an agent is gone; `from` is what the agent was before. What can't be read any more is no reason to fail.
    pub(super) async fn note_left(&self, agent_id: i64, from: Option<AgentStatus>) {
        let Some(from) = from else { return };
        if let Err(failure) = self.agents.note_left(agent_id, from).await {
            tracing::debug!(agent.id = agent_id, %failure, "a change of status was not told");
        }
    }
}

#[cfg(test)]
mod tests;
