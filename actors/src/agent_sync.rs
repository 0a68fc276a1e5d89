//! The `AgentSync` actor: reads the agents of each gateway and takes them over, by itself every interval and at once when
//! somebody asks; says when the agents of a gateway are there or gone.
//!
//! It decides nothing: [`crate::machines::sync_schedule`] says when and whom. A gateway that fails costs its own turn and
//! nobody else's.

use std::time::Duration;

use actix::prelude::*;
use gatewarden_protocol::{AgentRow, read_agents, read_config_agents};
use serde_json::{Map, Value, json};

use crate::agent_book::AgentBook;
use crate::clock::Clock;
use crate::error::{ErrorCode, Failure};
use crate::gateway_report::Status;
use crate::ids::GatewayId;
use crate::machines::sync_schedule::{Duty, Seen, SyncSchedule};
use crate::registry::messages::CallGateway;
use crate::registry::roster::RosterReader;
use crate::store::handle::StoreHandle;
use crate::store::records::{SyncStats, SyncedAgent};

/// The schedule is looked at this often; at most a quarter of the interval.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the registry may take beyond the deadline of a call.
const GRACE: Duration = Duration::from_secs(1);

/// From HTTP: read a gateway's agents now and take them over. Fails, with nothing changed, with `gateway_not_found`,
/// `no_usable_gateway`, `gateway_unavailable`, `gateway_timeout`, `gateway_refused`, `not_supported_by_gateway`,
/// `store_unavailable`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<SyncedGateway, Failure>")]
pub struct SyncAgents {
    /// The gateway, or the acting primary.
    pub target: Option<GatewayId>,
    /// Deadline of each request to it.
    pub timeout: Duration,
}

/// A gateway whose agents were taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedGateway {
    /// Which.
    pub id: GatewayId,
    /// Its name.
    pub name: String,
    /// What changed.
    pub stats: SyncStats,
}

/// What the sync is made of.
pub struct AgentSyncParts {
    /// Where gateways are asked.
    pub registry: Recipient<CallGateway>,
    /// Which gateways there are, and which may be asked.
    pub roster: RosterReader,
    /// Where agents are kept.
    pub store: StoreHandle,
    /// Where their status is noted and told.
    pub agents: AgentBook,
    /// Between automatic syncs of a gateway; none: only what is asked for is done.
    pub interval: Option<Duration>,
    /// Deadline of each request of an automatic sync.
    pub request_timeout: Duration,
    /// Time.
    pub clock: Clock,
}

/// Owns the schedule.
pub struct AgentSyncActor {
    work: Work,
    roster: RosterReader,
    schedule: SyncSchedule,
    look_every: Option<Duration>,
    request_timeout: Duration,
}

impl AgentSyncActor {
    /// Starts on the current arbiter.
    pub fn start(parts: AgentSyncParts) -> Addr<Self> {
        let actor = Self {
            schedule: SyncSchedule::new(parts.interval.unwrap_or_default()),
            look_every: parts.interval.map(|interval| LOOK_EVERY.min(interval / 4)),
            request_timeout: parts.request_timeout,
            roster: parts.roster.clone(),
            work: Work {
                registry: parts.registry,
                roster: parts.roster,
                store: parts.store,
                agents: parts.agents,
                clock: parts.clock,
            },
        };
        Actor::start(actor)
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let clock = self.work.clock.clone();
        let gateways = self.roster.list().into_iter().map(|view| Seen {
            id: view.record.id,
            usable: view.report.is_usable() && view.report.status != Status::Timeout,
            agents_known: view.report.agents_count.is_some(),
        });
        for duty in self.schedule.look(clock.now(), gateways, || clock.random_unit()) {
            let (work, timeout) = (self.work.clone(), self.request_timeout);
            let doing = async move { work.do_duty(duty, timeout).await };
            ctx.spawn(doing.into_actor(self).map(move |succeeded, actor, _| {
                let clock = &actor.work.clock;
                actor.schedule.done(clock.now(), duty, succeeded, clock.random_unit());
            }));
        }
    }
}

impl Actor for AgentSyncActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(look_every) = self.look_every {
            ctx.run_interval(look_every, Self::look);
        }
    }
}

impl Handler<SyncAgents> for AgentSyncActor {
    type Result = ResponseFuture<Result<SyncedGateway, Failure>>;

    fn handle(&mut self, message: SyncAgents, _: &mut Self::Context) -> Self::Result {
        let work = self.work.clone();
        Box::pin(async move {
            let target = message.target.or_else(|| work.roster.acting_primary().map(|acting| acting.id));
            let id = target.ok_or_else(|| {
                Failure::new(ErrorCode::NoUsableGateway, "No gateway acts as primary, so there are no agents to read")
                    .with_help("Name a gateway with gateway_id; GET /api/gateways shows each one's state.")
                    .with_retry_after(Duration::from_secs(5))
            })?;
            work.sync(id, message.timeout).await
        })
    }
}

/// What a duty works with.
#[derive(Clone)]
struct Work {
    registry: Recipient<CallGateway>,
    roster: RosterReader,
    store: StoreHandle,
    agents: AgentBook,
    clock: Clock,
}

impl Work {
    async fn do_duty(&self, duty: Duty, timeout: Duration) -> bool {
        let id = duty.gateway();
        // Deleted since the look at the roster: nothing is left to do.
        let Some(view) = self.roster.get(id) else { return true };
        let outcome = match duty {
            Duty::Sync(_) => self.sync(id, timeout).await.map(|synced| {
                let stats = synced.stats;
                let news = stats.created + stats.updated > 0;
                if news {
                    tracing::info!(gateway.id = id.0, gateway.name = %synced.name, created = stats.created, updated = stats.updated,
                        skipped = stats.skipped, "took over the agents of gateway {}", synced.name);
                }
            }),
            Duty::Present(_) => self.agents.note_present(id, &view.report.agent_names, self.now_s()).await,
            Duty::Lost(_) => self.agents.note_lost(id).await,
        };
        let Err(failure) = outcome else { return true };
        tracing::warn!(gateway.id = id.0, gateway.name = %view.record.name, code = failure.code.as_str(),
            "the agents of gateway {} were not updated: {}", view.record.name, failure.message);
        false
    }

    async fn sync(&self, id: GatewayId, timeout: Duration) -> Result<SyncedGateway, Failure> {
        let view = self.roster.get(id).ok_or_else(|| Failure::gateway_not_found(id))?;
        let name = view.record.name.clone();
        let listed = read_list(&self.registry, id, &name, timeout).await?;
        let names: Vec<String> = listed.iter().map(|agent| agent.name.clone()).collect();
        let stats = self.store.sync_agents(id, listed).await?;
        // The sync is committed; that its agents were seen alive is worth telling and not worth failing for.
        if let Err(failure) = self.agents.note_present(id, &names, self.now_s()).await {
            tracing::warn!(gateway.id = id.0, gateway.name = %name, %failure, "the agents of gateway {name} were synced, but not marked as online");
        }
        Ok(SyncedGateway { id, name, stats })
    }

    fn now_s(&self) -> i64 {
        self.clock.wall_ms().div_euclid(1000)
    }
}

/// A gateway's own list of agents: from `agents.list`, else out of its configuration (`config.get`, `GET /config`).
async fn read_list(
    registry: &Recipient<CallGateway>,
    gateway: GatewayId,
    name: &str,
    timeout: Duration,
) -> Result<Vec<SyncedAgent>, Failure> {
    let listed = match call(registry, gateway, "agents.list", timeout).await {
        Ok(payload) => read_agents(&payload),
        Err(failure) if failure.code == ErrorCode::NotSupportedByGateway => None,
        Err(failure) => return Err(failure),
    };
    let rows = match listed {
        Some(rows) => rows,
        None => {
            let payload =
                call(registry, gateway, "config.get", timeout).await.map_err(|failure| neither(name, failure))?;
            read_config_agents(&payload).ok_or_else(|| unreadable(name))?
        }
    };
    Ok(rows.into_iter().map(synced).collect())
}

async fn call(
    registry: &Recipient<CallGateway>,
    gateway: GatewayId,
    method: &str,
    timeout: Duration,
) -> Result<Value, Failure> {
    let message = CallGateway { target: Some(gateway), method: method.to_owned(), params: json!({}), timeout };
    match tokio::time::timeout(timeout + GRACE, registry.send(message)).await {
        Ok(Ok(answer)) => answer.map(|(_, payload)| payload.into_inner()),
        Ok(Err(_)) | Err(_) => Err(Failure::unavailable("registry")),
    }
}

fn neither(name: &str, failure: Failure) -> Failure {
    if failure.code != ErrorCode::NotSupportedByGateway {
        return failure;
    }
    Failure::new(
        ErrorCode::NotSupportedByGateway,
        format!("Gateway \"{name}\" offers neither agents.list nor its configuration, so its agents cannot be read"),
    )
    .with_help("Register its agents with POST /api/agents, or update the gateway.")
}

fn unreadable(name: &str) -> Failure {
    Failure::new(
        ErrorCode::GatewayRefused,
        format!("Gateway \"{name}\" answered with something that is no list of agents and no configuration"),
    )
    .with_help("Look at its agents section; nothing was changed here.")
}

/// The id is the name here: it is what sessions and spawns call the agent, and it doesn't change with the agent's mood.
/// Only what is known to be no secret is taken over.
fn synced(row: AgentRow) -> SyncedAgent {
    let mut config = Map::new();
    config.insert("id".to_owned(), Value::from(row.id.clone()));
    for (key, value) in [("name", row.name), ("model", row.model), ("workspace", row.workspace)] {
        if let Some(value) = value {
            config.insert(key.to_owned(), Value::from(value));
        }
    }
    if row.is_default {
        config.insert("default".to_owned(), Value::from(true));
    }
    SyncedAgent { name: row.id, role: row.role, config: Value::Object(config) }
}

#[cfg(test)]
mod tests;
