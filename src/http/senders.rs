//! The way from HTTP to actors: each kind of message has its own recipient, bound and deadline.
//!
//! A mailbox alone bounds nothing here: a `send` that finds it full goes on through a fresh sender with a slot of its
//! own. So each sender counts what is under way and refuses beyond that at once.
//!
//! A message that was delivered can't be taken back. Where it changes something, its deadline answers the client
//! ([`overdue`]), and the reply is waited for all the same: what follows from it is done whoever still waits.

use std::pin::pin;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use gatewarden_actors::direct::DirectConnectionsActor;
use gatewarden_actors::direct::messages::{CloseConnection, DeleteAgent, Heartbeat, OpenConnection};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::machines::silence;
use gatewarden_actors::overdue;
use gatewarden_actors::registry::SpawnWork;
use gatewarden_actors::registry::messages::{
    CallGateway, ControlSessionAt, ProbeGateways, ReconnectGateway, WatchGatewayLogs,
};
use gatewarden_actors::registry::records::{
    AbandonGateway, ConfirmGateway, CreateGateway, DeleteGateway, ReserveGateway, TryGateway, UpdateGateway,
};
use serde_json::Value;
use tokio::sync::Semaphore;

/// Changes under way at one time; they are committed one after another, so more would only wait.
const CHANGES: usize = 64;
/// Requests passed on to gateways at one time; each may take as long as its gateway.
const CALLS: usize = 512;
/// Controls of sessions under way at one time.
const CONTROLS: usize = 256;
/// Health checks under way at one time, a sweep being one.
const PROBES: usize = 128;
/// Heartbeats of tools under way at one time.
const HEARTBEATS: usize = 256;

/// One kind of message to one actor.
pub(crate) struct BoundedSender<M>
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

impl<M, T> BoundedSender<M>
where
    M: Message<Result = Result<T, Failure>> + Send,
    T: Send + 'static,
{
    /// Lets `capacity` messages be under way. `whose` completes "The ... cannot take the request".
    pub(crate) fn new(whose: &'static str, recipient: Recipient<M>, capacity: usize) -> Self {
        Self { recipient, permits: Semaphore::new(capacity), capacity, whose }
    }

    /// Sends and waits for the reply: at most until `deadline`, or on behalf of a client whose request changes something to the
    /// end.
    pub(crate) async fn send(&self, message: M, deadline: Duration) -> Result<T, Failure> {
        self.carry(self.pass_on(message), deadline).await
    }

    /// Sends, whatever is under way.
    pub(crate) async fn pass_on(&self, message: M) -> Result<T, Failure> {
        self.recipient.send(message).await.unwrap_or_else(|_gone| Err(Failure::unavailable(self.whose)))
    }

    /// The same of one that may go another way. It begins once there is room for it.
    pub(crate) async fn carry(
        &self,
        reply: impl Future<Output = Result<T, Failure>>,
        deadline: Duration,
    ) -> Result<T, Failure> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(Failure::unavailable(self.whose));
        };
        let mut reply = pin!(reply);
        match overdue::within(deadline, reply.as_mut()).await {
            Some(reply) => reply,
            None => {
                let late = format!("The {} did not answer within {} s", self.whose, deadline.as_secs());
                if !overdue::tell_client(|| Failure::outcome_unknown(late.clone())) {
                    return Err(Failure::new(ErrorCode::Unavailable, late)
                        .with_help("Try again in a second; if it stays so, read the daemon's log.")
                        .with_retry_after(Duration::from_secs(1)));
                }
                reply.await
            }
        }
    }

    /// Messages under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.capacity.saturating_sub(self.permits.available_permits())
    }

    /// Whether somebody still listens.
    pub(crate) fn is_open(&self) -> bool {
        self.recipient.connected()
    }
}

/// Declares [`RegistrySender`]: each kind of message with how many may be under way.
macro_rules! registry_sender {
    ($($field:ident: $message:ty, $capacity:ident;)*) => {
        /// All messages to the registry.
        pub(crate) struct RegistrySender {
            $(pub(crate) $field: BoundedSender<$message>,)*
        }

        impl RegistrySender {
            pub(crate) fn new<A>(registry: &Addr<A>) -> Self
            where
                A: Actor $(+ Handler<$message>)*,
                A::Context: $(ToEnvelope<A, $message> +)*,
            {
                Self { $($field: BoundedSender::new("registry", registry.clone().recipient(), $capacity),)* }
            }

            /// Messages under way, all kinds together.
            pub(crate) fn in_flight(&self) -> usize {
                0 $(+ self.$field.in_flight())*
            }
        }
    };
}

registry_sender! {
    create: CreateGateway, CHANGES;
    update: UpdateGateway, CHANGES;
    delete: DeleteGateway, CHANGES;
    reconnect: ReconnectGateway, CHANGES;
    probe: ProbeGateways, PROBES;
    call: CallGateway, CALLS;
    spawn: SpawnWork, CALLS;
    control: ControlSessionAt, CONTROLS;
    watch_logs: WatchGatewayLogs, PROBES;
    reserve: ReserveGateway, CHANGES;
    trial: TryGateway, CHANGES;
    confirm: ConfirmGateway, CHANGES;
    abandon: AbandonGateway, CHANGES;
}

impl RegistrySender {
    /// Whether the registry still listens.
    pub(crate) fn is_open(&self) -> bool {
        self.create.is_open()
    }
}

/// All messages to the supervision of direct connections, and how much silence is allowed there.
pub(crate) struct DirectSender {
    pub(crate) open: BoundedSender<OpenConnection>,
    pub(crate) close: BoundedSender<CloseConnection>,
    pub(crate) heartbeat: BoundedSender<Heartbeat>,
    pub(crate) delete_agent: BoundedSender<DeleteAgent>,
    heartbeat_timeout: Duration,
}

impl DirectSender {
    pub(crate) fn new(actor: &Addr<DirectConnectionsActor>, heartbeat_timeout: Duration) -> Self {
        const WHOSE: &str = "supervision of direct connections";
        Self {
            open: BoundedSender::new(WHOSE, actor.clone().recipient(), CHANGES),
            close: BoundedSender::new(WHOSE, actor.clone().recipient(), CHANGES),
            heartbeat: BoundedSender::new(WHOSE, actor.clone().recipient(), HEARTBEATS),
            delete_agent: BoundedSender::new(WHOSE, actor.clone().recipient(), CHANGES),
            heartbeat_timeout,
        }
    }

    /// How long a tool that told this of itself may be silent.
    pub(crate) fn allowance(&self, metadata: Option<&Value>) -> Duration {
        silence::allowance(self.heartbeat_timeout, metadata)
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
    async fn more_than_it_admits_is_refused_at_once_and_not_queued() {
        tokio::time::pause();
        let door = std::rc::Rc::new(BoundedSender::new("registry", Silent.start().recipient(), 3));
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
        let door = BoundedSender::new("registry", Gone.start().recipient(), 3);
        let failure = door.send(DeleteGateway(GatewayId(1)), Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Unavailable);
        assert!(!door.is_open());
    }
}
