//! What all connections and requests of one gateway share.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Addr, MailboxError};
use gatewarden_listener::MemoryBudget;
use tokio::sync::watch;

use crate::auth::{HostGuard, Ingress};
use crate::clock::Now;
use crate::config::GatewayConfig;
use crate::connection_limits::ConnectionLimits;
use crate::core_actor::{CoreActor, InTurn};
use crate::machine::GatewayMachine;
use crate::metrics::GatewayMetrics;
use crate::tailscale::Tailscale;
use crate::turn::Turn;
use crate::webhook_bodies::Bodies;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Nobody new is let in; those who are in hear how their runs end.
    Draining,
    Stopped,
}

#[derive(Debug)]
pub(crate) struct GatewayContext {
    pub(crate) live_config: watch::Receiver<Arc<GatewayConfig>>,
    pub(crate) core: Addr<CoreActor>,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) budget: MemoryBudget,
    pub(crate) unread: MemoryBudget,
    pub(crate) webhook_bodies: Bodies,
    pub(crate) limits: ConnectionLimits,
    /// Where the gateway listens.
    pub(crate) bound: IpAddr,
    pub(crate) phase: watch::Receiver<Phase>,
    /// None where it is off.
    pub(crate) tailscale: Option<Rc<Tailscale>>,
    pub(crate) started: Instant,
}

impl GatewayContext {
    /// Has the machine decide something in a turn of its own. The error: the gateway has stopped.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>) -> T + Send + 'static,
    ) -> Result<T, MailboxError> {
        self.core.send(InTurn::new(decide)).await
    }

    /// The configuration as it counts now.
    pub(crate) fn config(&self) -> Arc<GatewayConfig> {
        Arc::clone(&self.live_config.borrow())
    }

    /// Which names requests may ask for at a listener.
    pub(crate) fn host_guard<'a>(&self, ingress: Ingress, config: &'a GatewayConfig) -> HostGuard<'a> {
        let published = match ingress {
            Ingress::Ordinary => None,
            Ingress::Tailscale(_) => Some(self.tailscale.as_ref().and_then(|tailscale| tailscale.published())),
        };
        HostGuard { bound: self.bound, config, published }
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
