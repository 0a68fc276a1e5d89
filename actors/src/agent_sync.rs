//! The `AgentSync` actor: reads the agents of each gateway and takes them over, by itself every interval and at once when
//! somebody asks; says when the agents of a gateway are there or gone.
//!
//! It decides nothing: [`crate::machines::sync_schedule`] says when and whom. A gateway that fails costs its own turn and
//! nobody else's.

pub mod messages;
mod reading;

use std::time::Duration;

use actix::prelude::*;

use self::messages::{SyncAgents, SyncedGateway};
use crate::agent_book::AgentBook;
use crate::clock::Clock;
use crate::error::{ErrorCode, Failure};
use crate::ids::GatewayId;
use crate::machines::sync_schedule::{Duty, Seen, SyncSchedule};
use crate::registry::messages::CallGateway;
use crate::registry::roster::RosterReader;
use crate::store::handle::StoreHandle;

/// The schedule is looked at this often; at most a quarter of the interval.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// Between automatic syncs of a gateway.
    pub interval: Duration,
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
    look_every: Duration,
    request_timeout: Duration,
}

impl AgentSyncActor {
    /// Starts on the current arbiter.
    pub fn start(parts: AgentSyncParts) -> Addr<Self> {
        let actor = Self {
            schedule: SyncSchedule::new(parts.interval),
            look_every: LOOK_EVERY.min(parts.interval / 4),
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
            usable: view.report.is_usable(),
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
        ctx.run_interval(self.look_every, Self::look);
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
        let listed = reading::read_list(&self.registry, id, &name, timeout).await?;
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

#[cfg(test)]
mod tests;
