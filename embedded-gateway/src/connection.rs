//! WebSocket connections: one task each, which owns its socket.
//!
//! ```text
//! accepted socket -> upgrade (Host, handshake, limits) -> conversation
//!                                                          listen: frames -> requests -> core
//!                                                          speak:  Outgoing -> wording -> frames
//!                                                          watch:  pings
//! ```

mod connection_limits;
mod conversation;
mod frames;
mod memory_budget;
mod outbound;
mod requests;
mod socket;
mod upgrade;
mod wire;
mod wording;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::watch;

use crate::caller::ConnectionId;
use crate::clock::Now;
use crate::config::GatewayConfig;
use crate::core_actor::CoreActor;
use crate::http::guard::HostGuard;
use crate::metrics::GatewayMetrics;

pub(crate) use connection_limits::{ConnectionLimits, ConnectionSlot};
pub(crate) use conversation::STOPPING;
pub(crate) use memory_budget::MemoryBudget;
pub(crate) use outbound::{Outbound, OutboundItem, Outgoing, Overflow};
pub(crate) use socket::Socket;
pub(crate) use upgrade::upgrade;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Nobody new is let in; those who are in hear how their runs end.
    Draining,
    Stopped,
}

#[derive(Debug)]
pub(crate) struct GatewayContext {
    pub(crate) config: Arc<GatewayConfig>,
    pub(crate) core: Addr<CoreActor>,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) budget: MemoryBudget,
    pub(crate) unread: MemoryBudget,
    pub(crate) connection_limits: ConnectionLimits,
    pub(crate) hosts: HostGuard,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) started: Instant,
}

impl GatewayContext {
    pub(crate) fn next_connection(&self) -> ConnectionId {
        self.connection_limits.next_connection()
    }

    pub(crate) fn uptime(&self, now: Now) -> Duration {
        now.at.saturating_duration_since(self.started)
    }

    /// Resolves when the gateway lets nobody in any more.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Resolves when every connection has been told to end.
    pub(crate) async fn stopped(&self) {
        self.reached(Phase::Stopped).await;
    }

    async fn reached(&self, wanted: Phase) {
        // A sender that is gone has stopped, too.
        let _ = self.phase.clone().wait_for(|phase| *phase >= wanted).await;
    }
}
