//! The way from HTTP to the registry: each kind of message has its own recipient, bound and deadline.
//!
//! A mailbox alone bounds nothing here: a `send` that finds it full goes on through a fresh sender with a slot of its
//! own. So each door counts what is under way and refuses beyond that at once.
//!
//! A message that was delivered can't be taken back. Where it changes something, its deadline answers the client
//! ([`overdue`]), and the reply is waited for all the same: what follows from it is done whoever still waits.

use std::pin::pin;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::overdue;
use gatewarden_actors::registry::messages::{
    AbandonGateway, CallGateway, ConfirmGateway, ControlSessionAt, CreateGateway, DeleteGateway, ProbeGateways,
    ReconnectGateway, ReserveGateway, SpawnWork, TryGateway, UpdateGateway, WatchGatewayLogs,
};
use tokio::sync::Semaphore;

/// Changes under way at one time; they are committed one after another, so more would only wait.
const CHANGES: usize = 64;
/// Requests passed on to gateways at one time; each may take as long as its gateway.
const CALLS: usize = 512;
/// Controls of sessions under way at one time.
const CONTROLS: usize = 256;
/// Health checks under way at one time, a sweep being one.
const PROBES: usize = 128;

/// One kind of message to the registry.
pub struct Door<M>
where
    M: Message + Send,
    M::Result: Send,
{
    recipient: Recipient<M>,
    permits: Semaphore,
    capacity: usize,
    /// Who listens, for people.
    whose: &'static str,
}

impl<M, T> Door<M>
where
    M: Message<Result = Result<T, Failure>> + Send,
    T: Send + 'static,
{
    /// A door that lets `capacity` messages be under way.
    pub fn new(recipient: Recipient<M>, capacity: usize) -> Self {
        Self::to("registry", recipient, capacity)
    }

    /// The same to somebody else than the registry: `whose` completes "The ... cannot take the request".
    pub fn to(whose: &'static str, recipient: Recipient<M>, capacity: usize) -> Self {
        Self { recipient, permits: Semaphore::new(capacity), capacity, whose }
    }

    /// Sends and waits for the reply: at most until `deadline`, or on behalf of a client whose request changes something to the
    /// end.
    pub async fn send(&self, message: M, deadline: Duration) -> Result<T, Failure> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(Failure::unavailable(self.whose));
        };
        let mut sent = pin!(self.recipient.send(message));
        let reply = match overdue::within(deadline, sent.as_mut()).await {
            Some(reply) => reply,
            None => {
                let late = format!("The {} did not answer within {} s", self.whose, deadline.as_secs());
                if !overdue::tell_client(|| Failure::outcome_unknown(late.clone())) {
                    return Err(Failure::new(ErrorCode::Unavailable, late)
                        .with_help("Try again in a second; if it stays so, read the daemon's log.")
                        .with_retry_after(Duration::from_secs(1)));
                }
                sent.await
            }
        };
        reply.unwrap_or_else(|_gone| Err(Failure::unavailable(self.whose)))
    }

    /// Messages under way.
    pub fn in_flight(&self) -> usize {
        self.capacity.saturating_sub(self.permits.available_permits())
    }

    /// Whether somebody still listens.
    pub fn is_open(&self) -> bool {
        self.recipient.connected()
    }
}

/// All messages that the HTTP front sends to the registry.
pub struct RegistryDoor {
    /// New gateways.
    pub create: Door<CreateGateway>,
    /// Changes of gateways.
    pub update: Door<UpdateGateway>,
    /// Deletions.
    pub delete: Door<DeleteGateway>,
    /// Reconnects by an operator.
    pub reconnect: Door<ReconnectGateway>,
    /// Health checks.
    pub probe: Door<ProbeGateways>,
    /// Requests that are passed on to a gateway.
    pub call: Door<CallGateway>,
    /// Work for gateways.
    pub spawn: Door<SpawnWork>,
    /// Control of sessions.
    pub control: Door<ControlSessionAt>,
    /// Followers of a gateway's log, until they have their first entries.
    pub watch_logs: Door<WatchGatewayLogs>,
    /// Gateways that are being created.
    pub reserve: Door<ReserveGateway>,
    /// Gateways that are only tried.
    pub trial: Door<TryGateway>,
    /// Main agents of gateways.
    pub confirm: Door<ConfirmGateway>,
    /// Ends of trials.
    pub abandon: Door<AbandonGateway>,
}

impl RegistryDoor {
    /// The door of a running registry.
    pub fn new<A>(registry: &Addr<A>) -> Self
    where
        A: Actor
            + Handler<CreateGateway>
            + Handler<UpdateGateway>
            + Handler<DeleteGateway>
            + Handler<ReconnectGateway>
            + Handler<ProbeGateways>
            + Handler<CallGateway>
            + Handler<SpawnWork>
            + Handler<ControlSessionAt>
            + Handler<WatchGatewayLogs>
            + Handler<ReserveGateway>
            + Handler<TryGateway>
            + Handler<ConfirmGateway>
            + Handler<AbandonGateway>,
        A::Context: ToEnvelope<A, CreateGateway>
            + ToEnvelope<A, UpdateGateway>
            + ToEnvelope<A, DeleteGateway>
            + ToEnvelope<A, ReconnectGateway>
            + ToEnvelope<A, ProbeGateways>
            + ToEnvelope<A, CallGateway>
            + ToEnvelope<A, SpawnWork>
            + ToEnvelope<A, ControlSessionAt>
            + ToEnvelope<A, WatchGatewayLogs>
            + ToEnvelope<A, ReserveGateway>
            + ToEnvelope<A, TryGateway>
            + ToEnvelope<A, ConfirmGateway>
            + ToEnvelope<A, AbandonGateway>,
    {
        Self {
            create: Door::new(registry.clone().recipient(), CHANGES),
            update: Door::new(registry.clone().recipient(), CHANGES),
            delete: Door::new(registry.clone().recipient(), CHANGES),
            reconnect: Door::new(registry.clone().recipient(), CHANGES),
            probe: Door::new(registry.clone().recipient(), PROBES),
            call: Door::new(registry.clone().recipient(), CALLS),
            spawn: Door::new(registry.clone().recipient(), CALLS),
            control: Door::new(registry.clone().recipient(), CONTROLS),
            watch_logs: Door::new(registry.clone().recipient(), PROBES),
            reserve: Door::new(registry.clone().recipient(), CHANGES),
            trial: Door::new(registry.clone().recipient(), CHANGES),
            confirm: Door::new(registry.clone().recipient(), CHANGES),
            abandon: Door::new(registry.clone().recipient(), CHANGES),
        }
    }

    /// Messages under way, all kinds together.
    pub fn in_flight(&self) -> usize {
        self.create.in_flight()
            + self.update.in_flight()
            + self.delete.in_flight()
            + self.reconnect.in_flight()
            + self.probe.in_flight()
            + self.call.in_flight()
            + self.spawn.in_flight()
            + self.control.in_flight()
            + self.watch_logs.in_flight()
            + self.reserve.in_flight()
            + self.trial.in_flight()
            + self.confirm.in_flight()
            + self.abandon.in_flight()
    }

    /// Whether the registry still listens.
    pub fn is_open(&self) -> bool {
        self.create.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatewarden_actors::ids::GatewayId;

    struct Silent;

    impl Actor for Silent {
        type Context = Context<Self>;
    }

    impl Handler<DeleteGateway> for Silent {
        type Result = ResponseFuture<Result<bool, Failure>>;

        fn handle(&mut self, _: DeleteGateway, _: &mut Self::Context) -> Self::Result {
            Box::pin(std::future::pending())
        }
    }

    #[actix_web::test]
    async fn more_than_the_door_admits_is_refused_at_once_and_not_queued() {
        tokio::time::pause();
        let door = std::rc::Rc::new(Door::new(Silent.start().recipient(), 3));
        let waiting: Vec<_> = (0..3)
            .map(|id| {
                let door = door.clone();
                actix_rt::spawn(async move { door.send(DeleteGateway(GatewayId(id)), Duration::from_secs(10)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(door.in_flight(), 3);
        let before = tokio::time::Instant::now();
        let failure = door.send(DeleteGateway(GatewayId(9)), Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Unavailable);
        assert!(failure.retry_after.is_some());
        assert_eq!(before.elapsed(), Duration::ZERO);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
        }
        assert_eq!(door.in_flight(), 0);
    }

    #[actix_web::test]
    async fn a_registry_that_is_gone_is_a_503() {
        struct Gone;
        impl Actor for Gone {
            type Context = Context<Self>;
            fn started(&mut self, ctx: &mut Self::Context) {
                ctx.stop();
            }
        }
        impl Handler<DeleteGateway> for Gone {
            type Result = Result<bool, Failure>;
            fn handle(&mut self, _: DeleteGateway, _: &mut Self::Context) -> Self::Result {
                Ok(true)
            }
        }
        let door = Door::new(Gone.start().recipient(), 3);
        let failure = door.send(DeleteGateway(GatewayId(1)), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Unavailable);
        assert!(!door.is_open());
    }
}
