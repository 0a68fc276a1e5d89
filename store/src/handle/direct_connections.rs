//! Direct connections of CLI tools: open, beat, close, list.

use std::time::Duration;

use super::{StoreHandle, span_ms, whole};
use crate::records::{Beat, Beaten, Closed, ConnectionRecord, NewConnection, Opened};
use crate::tables::direct_connections;
use gatewarden_core::error::Failure;

/// Connections in one answer.
const MOST_LISTED: usize = 10_000;

impl StoreHandle {
    /// How long ended connections are kept: 30 days.
    pub const CONNECTIONS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

    /// Stores the connection of a tool: makes its agent where that is unknown, marks it as online, and ends the connection
    /// that the agent had, all or nothing. An agent has at most one open connection.
    pub async fn open_connection(&self, new: NewConnection) -> Result<Opened, Failure> {
        let now = self.now_s();
        self.write("store the tool's connection", move |connection, _| direct_connections::open(connection, &new, now))
            .await
    }

    /// Ends a connection; its agent goes offline.
    pub async fn close_connection(&self, connection_id: String) -> Result<Closed, Failure> {
        let now = self.now_s();
        self.write("end the tool's connection", move |connection, _| {
            direct_connections::close(connection, &connection_id, now)
        })
        .await
    }

    /// Notes a heartbeat of an agent; `None` where there is no such agent. A connection that was given up for silence is
    /// open again; one that was closed or replaced stays as it is, and then the heartbeat says nothing about the agent.
    pub async fn beat_connection(&self, agent_id: i64, beat: Beat) -> Result<Option<Beaten>, Failure> {
        let now = self.now_s();
        self.write("note the heartbeat", move |connection, _| {
            direct_connections::beat(connection, agent_id, &beat, now)
        })
        .await
    }

    /// Gives up connections for silence: each (connection id, Unix seconds of the last heartbeat that the caller knows of)
    /// that is open and got no later heartbeat meanwhile. Answers those that it ended; their agents are offline. A later
    /// heartbeat revives such a connection.
    pub async fn close_stale_connections(&self, silent: Vec<(String, i64)>) -> Result<Vec<ConnectionRecord>, Failure> {
        if silent.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now_s();
        self.write("give up silent connections", move |connection, _| {
            direct_connections::close_stale(connection, &silent, now)
        })
        .await
    }

    /// Connections newest first, all or only the open ones: at most `limit`, and 10,000.
    pub async fn list_connections(
        &self,
        open_only: bool,
        limit: Option<usize>,
    ) -> Result<Vec<ConnectionRecord>, Failure> {
        let limit = whole(limit.unwrap_or(MOST_LISTED).clamp(1, MOST_LISTED));
        self.read("list the connections", move |connection, _| direct_connections::list(connection, open_only, limit))
            .await
    }

    /// One connection.
    pub async fn find_connection(&self, connection_id: String) -> Result<Option<ConnectionRecord>, Failure> {
        self.read("look up the connection", move |connection, _| direct_connections::find(connection, &connection_id))
            .await
    }

    /// Forgets connections that ended longer than `keep` ago; how many there were.
    pub async fn thin_connections(&self, now_ms: i64, keep: Duration) -> Result<usize, Failure> {
        let before_s = now_ms.saturating_sub(span_ms(keep)).div_euclid(1000);
        self.write_in_turns("forget old connections", move |connection| {
            direct_connections::remove(connection, before_s)
        })
        .await
    }
}
