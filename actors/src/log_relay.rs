//! The `LogRelay` actor: gives gateways' log entries to the event hub as `log` events, while a subscriber of events asks
//! for them by name.
//!
//! Each such subscriber holds a lease. While there is one, the relay follows the gateways that leases name, as one follower
//! each however many subscribers there are; without leases nothing runs. A subscriber that asks for all types holds none:
//! nobody makes the daemon read the logs of a whole fleet by accident.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use actix::prelude::*;
use gatewarden_protocol::{LogEntry, LogLevel};

use crate::clock::Clock;
use crate::error::{ErrorCode, Failure};
use crate::event_data;
use crate::event_hub::EventPublisher;
use crate::ids::GatewayId;
use crate::log_watch::{LogBegin, LogDelivery, LogRequest};
use crate::registry::messages::WatchGatewayLogs;
use crate::registry::roster::RosterReader;

/// Gateways whose logs are relayed at one time.
pub const MAX_GATEWAYS: usize = 64;
/// Leases at one time.
const MAX_LEASES: usize = 1_000;
/// How often the relay looks who is still there and what can be followed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A gateway whose log could not be followed is tried again after this.
const RETRY: Duration = Duration::from_secs(2);
/// The same for one that gives out no log at all.
const RETRY_UNSUPPORTED: Duration = Duration::from_secs(60);
/// With so many events on their way to the hub, log entries wait: they must not push others out.
const FULL: usize = 2_000;
/// How long they wait before the next look.
const PAUSE: Duration = Duration::from_millis(20);

/// From HTTP: relay these gateways' logs, or all gateways', as long as the lease is held. `unavailable` where these would be
/// too many.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<LogLease, Failure>")]
pub struct RelayLogs {
    /// Which; none for all.
    pub gateways: Option<Arc<[GatewayId]>>,
}

/// Keeps log entries coming until it is dropped.
#[derive(Debug)]
pub struct LogLease {
    gateways: Arc<Option<Arc<[GatewayId]>>>,
}

/// What a relay is made of.
pub struct LogRelayParts {
    /// Where gateways are followed.
    pub registry: Recipient<WatchGatewayLogs>,
    /// Which gateways there are, and which can be followed.
    pub roster: RosterReader,
    /// Where the entries go.
    pub events: EventPublisher,
    /// Deadline for a gateway's first answer.
    pub timeout: Duration,
    /// Time.
    pub clock: Clock,
}

/// Owns the leases and the followings.
pub struct LogRelayActor {
    parts: LogRelayParts,
    leases: Vec<Weak<Option<Arc<[GatewayId]>>>>,
    following: BTreeMap<GatewayId, SpawnHandle>,
    not_before: HashMap<GatewayId, Instant>,
    next_look: Option<SpawnHandle>,
}

impl LogRelayActor {
    /// Starts on the current arbiter.
    pub fn start(parts: LogRelayParts) -> Addr<Self> {
        Actor::start(Self {
            parts,
            leases: Vec::new(),
            following: BTreeMap::new(),
            not_before: HashMap::new(),
            next_look: None,
        })
    }

    /// The gateways that leases ask for, among those that exist.
    fn wanted(&self) -> BTreeSet<GatewayId> {
        let leases: Vec<_> = self.leases.iter().filter_map(Weak::upgrade).collect();
        let all = leases.iter().any(|gateways| gateways.is_none());
        let named = leases.iter().filter_map(|gateways| gateways.as_deref()).flatten();
        let roster = &self.parts.roster;
        if all {
            let mut ids: Vec<_> = roster.list().iter().map(|view| view.record.id).collect();
            ids.sort_unstable();
            ids.into_iter().take(MAX_GATEWAYS).collect()
        } else {
            named.copied().filter(|id| roster.get(*id).is_some()).take(MAX_GATEWAYS).collect()
        }
    }

    /// Lets go of what nobody wants any more, and follows what can be followed.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if let Some(handle) = self.next_look.take() {
            ctx.cancel_future(handle);
        }
        self.leases.retain(|lease| lease.strong_count() > 0);
        let wanted = self.wanted();
        self.following.retain(|id, handle| {
            let stays = wanted.contains(id);
            if !stays {
                ctx.cancel_future(*handle);
            }
            stays
        });
        let now = self.parts.clock.now();
        self.not_before.retain(|_, at| *at > now);
        for id in wanted {
            let usable = self.parts.roster.get(id).is_some_and(|view| view.report.is_usable());
            if usable && !self.following.contains_key(&id) && !self.not_before.contains_key(&id) {
                self.follow(id, ctx);
            }
        }
        if !self.leases.is_empty() {
            self.next_look = Some(ctx.run_later(LOOK_EVERY, Self::look));
        }
    }

    fn follow(&mut self, id: GatewayId, ctx: &mut Context<Self>) {
        let request = LogRequest { begin: LogBegin::Now, level: None };
        let watch = WatchGatewayLogs { gateway: id, request, timeout: self.parts.timeout };
        let watching = self.parts.registry.send(watch);
        let relay = Relay { id, roster: self.parts.roster.clone(), events: self.parts.events.clone() };
        let following = async move {
            match watching.await {
                Ok(Ok(subscription)) => {
                    while let Some(delivery) = subscription.next().await {
                        relay.pass_on(&delivery).await;
                    }
                    RETRY
                }
                Ok(Err(failure)) if failure.code == ErrorCode::NotSupportedByGateway => RETRY_UNSUPPORTED,
                Ok(Err(_)) | Err(_) => RETRY,
            }
        };
        let handle = ctx.spawn(following.into_actor(self).map(move |pause, relay, _| {
            relay.following.remove(&id);
            relay.not_before.insert(id, relay.parts.clock.now() + pause);
        }));
        self.following.insert(id, handle);
    }
}

impl Actor for LogRelayActor {
    type Context = Context<Self>;
}

impl Handler<RelayLogs> for LogRelayActor {
    type Result = Result<LogLease, Failure>;

    fn handle(&mut self, RelayLogs { gateways }: RelayLogs, ctx: &mut Self::Context) -> Self::Result {
        self.leases.retain(|lease| lease.strong_count() > 0);
        let count = match &gateways {
            None => self.parts.roster.len(),
            Some(named) => self.wanted().into_iter().chain(named.iter().copied()).collect::<BTreeSet<_>>().len(),
        };
        if count > MAX_GATEWAYS || self.leases.len() >= MAX_LEASES {
            return Err(Failure::new(
                ErrorCode::Unavailable,
                format!(
                    "The logs of {MAX_GATEWAYS} gateways can be followed as events at one time, these would be {count}"
                ),
            )
            .with_help(
                "Name fewer gateways with gateway_id, or follow one with GET /api/gateways/{id}/logs?follow=true.",
            )
            .with_retry_after(Duration::from_secs(10)));
        }
        let lease = LogLease { gateways: Arc::new(gateways) };
        self.leases.push(Arc::downgrade(&lease.gateways));
        self.look(ctx);
        Ok(lease)
    }
}

/// The way of one gateway's entries to the hub.
struct Relay {
    id: GatewayId,
    roster: RosterReader,
    events: EventPublisher,
}

impl Relay {
    async fn pass_on(&self, delivery: &LogDelivery) {
        while self.events.backlog() > FULL {
            tokio::time::sleep(PAUSE).await;
        }
        let name = self.roster.get(self.id).map(|view| view.record.name.clone()).unwrap_or_default();
        let entry = match delivery {
            LogDelivery::Entry { entry, .. } => LogEntry::clone(entry),
            notice => {
                // In the same shape, so that a reader of log entries sees it among them.
                LogEntry {
                    level: Some(LogLevel::Warn),
                    source: Some("gatewarden".to_owned()),
                    ..LogEntry::plain(&notice.sentence(&name))
                }
            }
        };
        self.events.tell(&event_data::log(self.id, &name, entry));
    }
}

#[cfg(test)]
mod tests;
