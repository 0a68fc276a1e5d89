//! Reports and silence. Each message of [`super::messages`] is written, then watched, then told; of those who were silent for too
//! long the store has the last word on who is given up.

use std::time::Duration;

use actix::prelude::*;

use super::messages::{CloseConnection, DeleteAgent, Heard, Heartbeat, OpenConnection, TokensUsed};
use super::{DirectConnectionsActor, MAX_WATCHED, Work, reports_by_itself};
use crate::agent_book::AgentKey;
use crate::error::{ErrorCode, Failure};
use crate::machines::silence::{Overdue, Watched};
use crate::store::records::{
    AgentChange, AgentRecord, AgentStatus, Closed, ConnectionRecord, ConnectionStatus, EndReason, NewConnection,
    Opened, TokenUsage,
};

/// Deadlines worked off in one go.
const A_TIME: usize = 200;
/// When those are looked at again whom the store could say nothing about.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

impl Handler<OpenConnection> for DirectConnectionsActor {
    type Result = ResponseActFuture<Self, Result<Opened, Failure>>;

    fn handle(&mut self, OpenConnection(new): OpenConnection, _: &mut Self::Context) -> Self::Result {
        // An agent that has one already replaces it, but whether it has one is known only afterwards.
        if self.watch.len() >= MAX_WATCHED {
            let failure = Failure::unavailable("supervision of direct connections")
                .with_help(format!("{MAX_WATCHED} tools are connected, which is the most that are watched."));
            return Box::pin(async move { Err(failure) }.into_actor(self));
        }
        let work = self.work.clone();
        let opening = async move { work.open(new).await };
        Box::pin(opening.into_actor(self).map(|opened, actor, _| {
            let opened = opened?;
            if let Some(replaced) = &opened.replaced {
                actor.watch.forget(&Watched::Connection(replaced.connection_id.clone()));
            }
            actor.expect_again(&opened.connection);
            Ok(opened)
        }))
    }
}

impl Handler<CloseConnection> for DirectConnectionsActor {
    type Result = ResponseActFuture<Self, Result<ConnectionRecord, Failure>>;

    fn handle(&mut self, CloseConnection(connection_id): CloseConnection, _: &mut Self::Context) -> Self::Result {
        let work = self.work.clone();
        let closing = async move { work.close(connection_id).await };
        Box::pin(closing.into_actor(self).map(|closed, actor, _| {
            let closed = closed?;
            actor.watch.forget(&Watched::Connection(closed.connection_id.clone()));
            Ok(closed)
        }))
    }
}

impl Handler<Heartbeat> for DirectConnectionsActor {
    type Result = ResponseActFuture<Self, Result<Heard, Failure>>;

    fn handle(&mut self, message: Heartbeat, _: &mut Self::Context) -> Self::Result {
        let work = self.work.clone();
        let hearing = async move { work.hear(message).await };
        Box::pin(hearing.into_actor(self).map(|heard, actor, _| {
            let heard = heard?;
            match &heard.connection {
                Some(connection) => actor.expect_again(connection),
                None if reports_by_itself(&heard.agent) => actor.expect_agent_again(&heard.agent),
                None => actor.watch.forget(&Watched::Agent(heard.agent.id)),
            }
            Ok(heard)
        }))
    }
}

impl Handler<DeleteAgent> for DirectConnectionsActor {
    type Result = ResponseActFuture<Self, Result<AgentRecord, Failure>>;

    fn handle(&mut self, DeleteAgent(key): DeleteAgent, _: &mut Self::Context) -> Self::Result {
        let work = self.work.clone();
        let deleting = async move { work.delete_agent(&key).await };
        Box::pin(deleting.into_actor(self).map(|deleted, actor, _| {
            let (agent, connections) = deleted?;
            actor.watch.forget(&Watched::Agent(agent.id));
            for connection in connections {
                actor.watch.forget(&Watched::Connection(connection.connection_id));
            }
            Ok(agent)
        }))
    }
}

impl Work {
    async fn open(&self, new: NewConnection) -> Result<Opened, Failure> {
        let before = self.store.find_agent_by_name(new.agent_name.clone()).await?;
        let opened = self.store.open_connection(new).await?;
        if let Some(replaced) = &opened.replaced {
            self.announce_ended(replaced, EndReason::Replaced.as_str());
        }
        self.announce_created(&opened.connection, false);
        let was = before.map_or(AgentStatus::Offline, |agent| agent.status);
        if opened.agent.status != was {
            self.agents.announce(&opened.agent, was);
        }
        Ok(opened)
    }

    async fn close(&self, connection_id: String) -> Result<ConnectionRecord, Failure> {
        let was = self.store.find_connection(connection_id.clone()).await?.map(|found| found.agent_status);
        match self.store.close_connection(connection_id.clone()).await? {
            Closed::Now(closed) => {
                self.announce_ended(&closed, EndReason::Closed.as_str());
                self.note_left(closed.agent_id, was).await;
                Ok(closed)
            }
            Closed::Before(closed) => Ok(closed),
            Closed::NotFound => {
                Err(Failure::new(ErrorCode::ConnectionNotFound, format!("Connection \"{connection_id}\" not found"))
                    .with_help("GET /api/connect lists the connections of CLI tools with their ids."))
            }
        }
    }

    /// Deletes an agent; also the open connections that went with it.
    async fn delete_agent(&self, key: &AgentKey) -> Result<(AgentRecord, Vec<ConnectionRecord>), Failure> {
        let id = self.agents.find(key).await?.id;
        let mut connections = self.store.list_connections(true, None).await?;
        connections.retain(|connection| connection.agent_id == id);
        let deleted = self.agents.delete(&AgentKey::Id(id)).await?;
        for connection in &connections {
            self.announce_ended(connection, "agent_deleted");
        }
        Ok((deleted, connections))
    }

    async fn hear(&self, message: Heartbeat) -> Result<Heard, Failure> {
        let Heartbeat { agent: key, beat, tokens } = message;
        let before = self.agents.find(&key).await?;
        let named = beat.connection_id.clone();
        let beaten =
            self.store.beat_connection(before.id, beat).await?.ok_or_else(|| Failure::agent_not_found(&key))?;
        if let Some(connection_id) = named {
            check_connection(&before.name, &connection_id, beaten.connection.as_ref())?;
        }
        if let Some(connection) = beaten.connection.as_ref().filter(|_| beaten.revived) {
            self.announce_created(connection, true);
        }
        if beaten.status_changed {
            self.agents.announce(&beaten.agent, before.status);
        }
        let tokens_recorded = match tokens {
            Some(tokens) => self.record(&beaten.agent.name, tokens).await,
            None => false,
        };
        Ok(Heard { agent: beaten.agent, connection: beaten.connection, revived: beaten.revived, tokens_recorded })
    }

    async fn record(&self, agent: &str, tokens: TokensUsed) -> bool {
        let usage = TokenUsage {
            at_ms: self.clock.wall_ms(),
            agent: agent.to_owned(),
            model: tokens.model,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cost: None,
            session_key: None,
            source: "heartbeat".to_owned(),
        };
        match self.store.append_token_usage(vec![usage]).await {
            Ok(()) => true,
            Err(failure) => {
                tracing::warn!(agent.name = agent, %failure, "the token usage of a heartbeat was not stored");
                false
            }
        }
    }
}

/// A tool whose connection is not its own (any more) must learn it: to go on silently would leave it for dead later.
fn check_connection(agent: &str, connection_id: &str, found: Option<&ConnectionRecord>) -> Result<(), Failure> {
    match found {
        None => Err(Failure::new(
            ErrorCode::ConnectionNotFound,
            format!("Agent \"{agent}\" has no connection \"{connection_id}\""),
        )
        .with_help("Connect with POST /api/connect and use the connection_id of its answer.")),
        Some(connection) if connection.status == ConnectionStatus::Disconnected => {
            let how = connection.end_reason.map_or("closed", EndReason::as_str);
            Err(Failure::new(
                ErrorCode::ConnectionEnded,
                format!("Connection \"{connection_id}\" of agent \"{agent}\" has been {how}"),
            )
            .with_help("Nothing of this heartbeat was noted. Connect again with POST /api/connect."))
        }
        Some(_) => Ok(()),
    }
}

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
        let overdue = self.watch.take_overdue(self.work.clock.now(), A_TIME);
        if overdue.is_empty() {
            return;
        }
        let work = self.work.clone();
        let deciding = async move {
            let mut fates = Vec::with_capacity(overdue.len());
            for one in overdue {
                fates.push(work.decide(one).await);
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
                        let now = actor.work.clock.now();
                        // It was watched until now, so there is room.
                        actor.watch.heard(now, one.who, one.last_heard_s, AGAIN_AFTER);
                    }
                }
            }
        }));
    }
}

impl Work {
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
            self.note_left(ended.agent_id, Some(before.agent_status)).await;
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
