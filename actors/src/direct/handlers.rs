//! The messages of [`super::messages`], in their order: each is written, then watched, then told.

use actix::prelude::*;

use super::messages::{CloseConnection, DeleteAgent, Heard, Heartbeat, OpenConnection, TokensUsed};
use super::{Desk, DirectConnectionsActor, MOST_WATCHED, reports_by_itself};
use crate::agent_book::AgentKey;
use crate::error::{ErrorCode, Failure};
use crate::machines::silence::Watched;
use crate::store::records::{
    AgentRecord, AgentStatus, Closed, ConnectionRecord, ConnectionStatus, EndReason, NewConnection, Opened, TokenUsage,
};

impl Handler<OpenConnection> for DirectConnectionsActor {
    type Result = ResponseActFuture<Self, Result<Opened, Failure>>;

    fn handle(&mut self, OpenConnection(new): OpenConnection, _: &mut Self::Context) -> Self::Result {
        // An agent that has one already replaces it, but whether it has one is known only afterwards.
        if self.watch.len() >= MOST_WATCHED {
            let failure = Failure::unavailable("supervision of direct connections")
                .with_help(format!("{MOST_WATCHED} tools are connected, which is the most that are watched."));
            return Box::pin(async move { Err(failure) }.into_actor(self));
        }
        let desk = self.desk.clone();
        let opening = async move { desk.open(new).await };
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
        let desk = self.desk.clone();
        let closing = async move { desk.close(connection_id).await };
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
        let desk = self.desk.clone();
        let hearing = async move { desk.hear(message).await };
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
        let desk = self.desk.clone();
        let deleting = async move { desk.delete_agent(&key).await };
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

impl Desk {
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
                self.announce_status(closed.agent_id, was).await;
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
