//! Nodes: devices that carry out commands for operators. Which are connected, what they offer, and what they are at.
//!
//! What of them outlasts a connection (their pairing, what of their offer is approved, their names) is kept with the devices.

mod ending;
mod invokes;
mod pairing;
mod policy;
mod rows;

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use crate::caller::ConnectionId;
use crate::clock::Now;
use crate::devices::Surface;

pub(crate) use invokes::{Invokes, NewInvoke, Started, error_of_node};
pub(crate) use policy::{Barrier, approval_scope, is_for_admins};
pub(crate) use rows::{paired_row, pending_row};

/// Most nodes that are connected at a time.
pub(crate) const MOST_NODES: usize = 256;

/// The nodes that are connected, by their device's id; of one that connected twice, the newer connection.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    sessions: BTreeMap<String, NodeSession>,
    pub(crate) invokes: Invokes,
}

/// A node's connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeSession {
    pub connection: ConnectionId,
    /// What its client says of itself.
    pub client_id: String,
    pub client_mode: String,
    pub display_name: Option<String>,
    pub platform: String,
    pub device_family: Option<String>,
    pub version: String,
    pub model: Option<String>,
    pub path_env: Option<String>,
    pub remote: String,
    /// All that it offers, whether that is approved and allowed or not.
    pub offered: Surface,
    pub connected_at_ms: i64,
    /// How its machine is, as it last said.
    pub host_stats: Option<Value>,
    /// When that was last told to operators.
    pub stats_told_at: Option<Instant>,
}

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.sessions.keys().cloned().collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&NodeSession> {
        self.sessions.get(id)
    }

    /// The session, if the node speaks by this very connection.
    pub(crate) fn of_connection(&mut self, id: &str, connection: ConnectionId) -> Option<&mut NodeSession> {
        self.sessions.get_mut(id).filter(|session| session.connection == connection)
    }

    fn join(&mut self, id: &str, session: NodeSession, now: Now) {
        if let Some(former) = self.sessions.insert(id.to_owned(), session) {
            self.invokes.lose(former.connection, now.at);
        }
    }

    /// A connection is gone. The node that spoke by it, if it speaks by no newer one.
    pub(crate) fn leave(&mut self, id: &str, connection: ConnectionId, now: Now) -> Option<NodeSession> {
        self.invokes.lose(connection, now.at);
        self.invokes.forget_old(now.at);
        self.of_connection(id, connection)?;
        self.sessions.remove(id)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.invokes.deadline()
    }
}
