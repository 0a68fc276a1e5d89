//! Those who were silent for too long: the store has the last word on who is given up.

use std::time::Duration;

use actix::prelude::*;

use super::{Desk, DirectConnectionsActor, reports_by_itself};
use crate::agent_book::AgentKey;
use crate::error::{ErrorCode, Failure};
use crate::machines::silence::{Overdue, Watched};
use crate::store::records::{AgentChange, AgentRecord, AgentStatus, ConnectionRecord, ConnectionStatus, EndReason};

/// Deadlines worked off in one go.
const A_TIME: usize = 200;
/// When those are looked at again whom the store could say nothing about.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What became of one who was overdue.
pub(super) enum Fate {
    /// Given up, or gone already.
    Ended,
    /// It had reported in meanwhile: the next report is due.
    Alive(Box<Alive>),
    /// Nobody knows; look again.
    Unknown(Overdue),
}

pub(super) enum Alive {
    Connection(ConnectionRecord),
    Agent(AgentRecord),
}

impl DirectConnectionsActor {
    pub(super) fn give_up_the_silent(&mut self, ctx: &mut Context<Self>) {
        let overdue = self.watch.take_overdue(self.desk.clock.now(), A_TIME);
        if overdue.is_empty() {
            return;
        }
        let desk = self.desk.clone();
        let deciding = async move {
            let mut fates = Vec::with_capacity(overdue.len());
            for one in overdue {
                fates.push(desk.decide(one).await);
            }
            fates
        };
        ctx.spawn(deciding.into_actor(self).map(|fates, actor, _| {
            for fate in fates {
                match fate {
                    Fate::Ended => {}
                    Fate::Alive(alive) => match *alive {
                        Alive::Connection(connection) => actor.expect_again(&connection),
                        Alive::Agent(agent) => actor.expect_agent_again(&agent),
                    },
                    Fate::Unknown(one) => {
                        let now = actor.desk.clock.now();
                        // It was watched until now, so there is room.
                        actor.watch.heard(now, one.who, one.last_heard_s, AGAIN_AFTER);
                    }
                }
            }
        }));
    }
}

impl Desk {
    pub(super) async fn decide(&self, one: Overdue) -> Fate {
        let decided = match &one.who {
            Watched::Connection(connection_id) => self.decide_connection(connection_id, one.last_heard_s).await,
            Watched::Agent(id) => self.decide_agent(*id, one.last_heard_s).await,
        };
        decided.unwrap_or_else(|failure| {
            tracing::warn!(who = ?one.who, %failure, "nobody knows whether a silent tool is gone: looking again soon");
            Fate::Unknown(one)
        })
    }

    async fn decide_connection(&self, connection_id: &str, last_heard_s: i64) -> Result<Fate, Failure> {
        let Some(before) = self.store.find_connection(connection_id.to_owned()).await? else {
            return Ok(Fate::Ended);
        };
        if before.status == ConnectionStatus::Disconnected {
            return Ok(Fate::Ended);
        }
        let silent = vec![(connection_id.to_owned(), last_heard_s)];
        if let Some(ended) = self.store.close_stale_connections(silent).await?.pop() {
            tracing::info!(
                connection.id = connection_id,
                agent.name = %ended.agent_name,
                tool = %ended.tool_name,
                "the tool of agent {} was silent for too long: it counts as disconnected",
                ended.agent_name
            );
            self.announce_ended(&ended, EndReason::Silent.as_str());
            self.announce_status(ended.agent_id, Some(before.agent_status)).await;
            return Ok(Fate::Ended);
        }
        let now = self.store.find_connection(connection_id.to_owned()).await?;
        let open = now.filter(|connection| connection.status == ConnectionStatus::Connected);
        Ok(open.map_or(Fate::Ended, |connection| Fate::Alive(Box::new(Alive::Connection(connection)))))
    }

    async fn decide_agent(&self, id: i64, last_heard_s: i64) -> Result<Fate, Failure> {
        let agent = match self.agents.find(&AgentKey::Id(id)).await {
            Ok(agent) if reports_by_itself(&agent) => agent,
            Ok(_) => return Ok(Fate::Ended),
            Err(failure) if failure.code == ErrorCode::AgentNotFound => return Ok(Fate::Ended),
            Err(failure) => return Err(failure),
        };
        if agent.last_seen.is_some_and(|last_seen| last_seen > last_heard_s) {
            return Ok(Fate::Alive(Box::new(Alive::Agent(agent))));
        }
        let offline = AgentChange { status: Some(AgentStatus::Offline), ..AgentChange::default() };
        self.agents.change(&AgentKey::Id(id), offline).await?;
        tracing::info!(agent.id = id, agent.name = %agent.name, "agent {} was silent for too long: it counts as offline", agent.name);
        Ok(Fate::Ended)
    }
}
