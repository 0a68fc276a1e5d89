//! The way from HTTP to the supervision of direct connections; bounded like the registry's.

use std::time::Duration;

use actix::prelude::*;
use gatewarden_actors::direct::DirectConnectionsActor;
use gatewarden_actors::direct::messages::{CloseConnection, DeleteAgent, Heartbeat, OpenConnection};
use gatewarden_actors::machines::silence;
use serde_json::Value;

use super::registry_door::Door;

/// Changes under way at one time; they are committed one after another, so more would only wait.
const CHANGES: usize = 64;
/// Heartbeats under way at one time.
const HEARTBEATS: usize = 256;
const WHOSE: &str = "supervision of direct connections";

/// All messages that the HTTP front sends there.
pub struct DirectDoor {
    /// Tools that connect.
    pub open: Door<OpenConnection>,
    /// Tools that leave.
    pub close: Door<CloseConnection>,
    /// Tools that report in.
    pub heartbeat: Door<Heartbeat>,
    /// Agents that are deleted together with their connections.
    pub delete_agent: Door<DeleteAgent>,
    heartbeat_timeout: Duration,
}

impl DirectDoor {
    /// The door of a running actor, which allows this silence.
    pub fn new(actor: &Addr<DirectConnectionsActor>, heartbeat_timeout: Duration) -> Self {
        Self {
            open: Door::to(WHOSE, actor.clone().recipient(), CHANGES),
            close: Door::to(WHOSE, actor.clone().recipient(), CHANGES),
            heartbeat: Door::to(WHOSE, actor.clone().recipient(), HEARTBEATS),
            delete_agent: Door::to(WHOSE, actor.clone().recipient(), CHANGES),
            heartbeat_timeout,
        }
    }

    /// How long a tool that told this of itself may be silent.
    pub fn allowance(&self, metadata: Option<&Value>) -> Duration {
        silence::allowance(self.heartbeat_timeout, metadata)
    }
}
