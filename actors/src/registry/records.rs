//! Create, update, delete, reserve, confirm: the store commits first, then the fleet acts, then the client is answered.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::watch;
use tracing::{debug, error, info};

use super::RegistryActor;
use super::roster::GatewayView;
use crate::error::{ErrorCode, Failure};
use crate::gateway_record::{GatewayChange, GatewaySpec, NewGateway, SharedRecord};
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;
use crate::store::records::{Created, DeleteOutcome, MainAgent, MainRecorded};

/// From HTTP: store a new gateway, start its actor, reply with the gateway as readers now see it, and how many agents were registered
/// with it. `name_taken`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<(Arc<GatewayView>, usize), Failure>")]
pub struct CreateGateway(pub NewGateway);

/// From HTTP: store a change, tell the actor, reply. `gateway_not_found`, `name_taken`, `precondition_failed`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Arc<GatewayView>, Failure>")]
pub struct UpdateGateway {
    /// Which.
    pub id: GatewayId,
    /// What; not empty.
    pub change: GatewayChange,
    /// Only while the gateway is set as this record says.
    pub from: Option<SharedRecord>,
}

/// From HTTP: delete the record, stop the actor. False where there was none; `primary_undeletable`.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<bool, Failure>")]
pub struct DeleteGateway(pub GatewayId);

/// From the organization API: reserve name and address of a new gateway and dial it. It doesn't become primary by this, and
/// nobody else sees it until it is confirmed; what is neither confirmed nor abandoned when the [`Trial`] is dropped is removed. `name_taken`, `address_taken`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Trial, Failure>")]
pub struct ReserveGateway(pub GatewaySpec);

/// A gateway under trial. Dropping it ends the trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// As dialled; its id is what requests to it name.
    pub record: SharedRecord,
    /// What its actor says, from the first word on.
    pub reports: watch::Receiver<GatewayReport>,
}

/// From the organization API: dial what is not stored, to see whether it could be.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Trial, Failure>")]
pub struct TryGateway(pub GatewaySpec);

/// From the organization API: the gateway has this main agent. A reserved gateway becomes one that everybody sees, in the same
/// write. `gateway_not_found`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Arc<GatewayView>, Failure>")]
pub struct ConfirmGateway {
    /// Reserved, or a gateway already.
    pub id: GatewayId,
    /// As found or made there.
    pub main: MainAgent,
}

/// From the organization API: end a trial and remove what was reserved for it. A gateway that everybody sees is left alone.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<(), Failure>")]
pub struct AbandonGateway(pub GatewayId);

type Answer<T> = ResponseActFuture<RegistryActor, Result<T, Failure>>;

impl RegistryActor {
    /// Waits for a write; what follows from it is done whoever still waits for the answer.
    fn commit<W: 'static, T: 'static>(
        &self,
        write: impl Future<Output = Result<W, Failure>> + 'static,
        then: impl FnOnce(&mut Self, W, &mut Context<Self>) -> Result<T, Failure> + 'static,
    ) -> Answer<T> {
        Box::pin(write.into_actor(self).map(|written, registry, ctx| then(registry, written?, ctx)))
    }

    fn answer<T: 'static>(&self, answer: Result<T, Failure>) -> Answer<T> {
        Box::pin(async { answer }.into_actor(self))
    }

    /// The gateway as readers now see it.
    pub(super) fn seen(&self, id: GatewayId) -> Result<Arc<GatewayView>, Failure> {
        self.roster.reader().get(id).ok_or_else(|| Failure::gateway_not_found(id))
    }

    /// Whoever began the trial follows its reports, and ends it by going away.
    fn follow_trial(&mut self, id: GatewayId) -> Result<Trial, Failure> {
        let member = self.fleet.dialled(id).ok_or_else(|| Failure::gateway_not_found(id))?;
        let (owner, reports) = watch::channel(member.report.clone());
        self.trials.insert(id, owner);
        Ok(Trial { record: member.record.clone(), reports })
    }

    /// Where there is no gateway at all, the configured default one is registered (`api.md`, `GET /api/gateways`).
    pub(super) fn seed_if_empty(&self) -> ResponseActFuture<Self, ()> {
        let is_empty = self.fleet.members().next().is_none() && !self.fleet.is_stopping();
        let Some(seed) = self.seed.clone().filter(|_| is_empty) else {
            return Box::pin(async {}.into_actor(self));
        };
        let store = self.store.clone();
        let write = async move { store.seed_gateway_if_empty(seed).await };
        Box::pin(write.into_actor(self).map(|seeded, registry, ctx| match seeded {
            Ok(Some(record)) => {
                info!(gateway.id = record.id.0, gateway.name = %record.name, "no gateway was registered: seeded the default one");
                registry.feed(ctx, |fleet, time| fleet.on_created(time, record, None));
            }
            Ok(None) => {}
            Err(failure) => error!(%failure, "the default gateway could not be seeded"),
        }))
    }
}

impl Handler<CreateGateway> for RegistryActor {
    type Result = Answer<(Arc<GatewayView>, usize)>;

    fn handle(&mut self, CreateGateway(new): CreateGateway, _: &mut Self::Context) -> Self::Result {
        if let Err(failure) = self.fleet.may_change() {
            return self.answer(Err(failure));
        }
        let store = self.store.clone();
        self.commit(async move { store.create_gateway(new).await }, |registry, created, ctx| {
            let Created { record, demoted, agents_registered } = created;
            let id = record.id;
            debug!(gateway.id = id.0, gateway.name = %record.name, "gateway registered");
            registry.feed(ctx, |fleet, time| fleet.on_created(time, record, demoted));
            Ok((registry.seen(id)?, agents_registered))
        })
    }
}

impl Handler<UpdateGateway> for RegistryActor {
    type Result = Answer<Arc<GatewayView>>;

    fn handle(&mut self, UpdateGateway { id, change, from }: UpdateGateway, _: &mut Self::Context) -> Self::Result {
        let refused = self
            .fleet
            .may_change()
            .err()
            .or_else(|| self.fleet.is_on_trial(id).then(|| Failure::gateway_not_found(id)));
        if let Some(failure) = refused {
            return self.answer(Err(failure));
        }
        let store = self.store.clone();
        let write = async move { store.update_gateway_from(id, change, from).await };
        self.commit(write, move |registry, updated, ctx| {
            if updated.is_empty() {
                return Err(Failure::gateway_not_found(id));
            }
            registry.feed(ctx, |fleet, time| fleet.on_all_updated(time, updated));
            registry.seen(id)
        })
    }
}

impl Handler<DeleteGateway> for RegistryActor {
    type Result = Answer<bool>;

    fn handle(&mut self, DeleteGateway(id): DeleteGateway, _: &mut Self::Context) -> Self::Result {
        if let Err(failure) = self.fleet.may_change() {
            return self.answer(Err(failure));
        }
        if self.fleet.is_on_trial(id) {
            return self.answer(Ok(false));
        }
        let store = self.store.clone();
        let commit =
            self.commit(async move { store.delete_gateway(id).await }, move |registry, outcome, ctx| match outcome {
                DeleteOutcome::NotFound => Ok(false),
                DeleteOutcome::IsPrimary => Err(Failure::new(
                    ErrorCode::PrimaryUndeletable,
                    "Cannot delete the primary gateway",
                )
                .with_help(
                    "Assign another gateway as primary first: PUT /api/gateways {\"id\": ..., \"is_primary\": true}.",
                )),
                DeleteOutcome::Deleted => {
                    debug!(gateway.id = id.0, "gateway deleted");
                    registry.feed(ctx, |fleet, time| fleet.on_deleted(time, id));
                    Ok(true)
                }
            });
        // Whoever deletes the last gateway finds the seeded one right after the answer.
        Box::pin(commit.then(|answer, registry, _| registry.seed_if_empty().map(move |(), _, _| answer)))
    }
}

impl Handler<ReserveGateway> for RegistryActor {
    type Result = Answer<Trial>;

    fn handle(&mut self, ReserveGateway(new): ReserveGateway, _: &mut Self::Context) -> Self::Result {
        let address = match self.fleet.reserve(&new) {
            Ok(address) => address,
            Err(failure) => return self.answer(Err(failure)),
        };
        let store = self.store.clone();
        let write = async move { store.create_provisional_gateway(new).await };
        Box::pin(write.into_actor(self).map(move |stored, registry, ctx| match stored {
            Ok(record) => {
                let id = record.id;
                registry.feed(ctx, |fleet, time| fleet.begin_trial(time, record));
                registry.follow_trial(id)
            }
            Err(failure) => {
                registry.fleet.unreserve(&address);
                Err(failure)
            }
        }))
    }
}

impl Handler<TryGateway> for RegistryActor {
    type Result = Result<Trial, Failure>;

    fn handle(&mut self, TryGateway(new): TryGateway, ctx: &mut Self::Context) -> Self::Result {
        let id = self.feed(ctx, |fleet, time| fleet.try_unstored(time, new))?;
        self.follow_trial(id)
    }
}

impl Handler<ConfirmGateway> for RegistryActor {
    type Result = Answer<Arc<GatewayView>>;

    fn handle(&mut self, ConfirmGateway { id, main }: ConfirmGateway, _: &mut Self::Context) -> Self::Result {
        let refused = self
            .fleet
            .may_change()
            .err()
            .or_else(|| self.fleet.dialled(id).is_none().then(|| Failure::gateway_not_found(id)));
        if let Some(failure) = refused {
            return self.answer(Err(failure));
        }
        let was_reserved = self.fleet.is_on_trial(id);
        let store = self.store.clone();
        self.commit(async move { store.record_main_agent(id, main).await }, move |registry, recorded, ctx| {
            let MainRecorded { record, .. } = recorded.ok_or_else(|| Failure::gateway_not_found(id))?;
            if registry.fleet.is_on_trial(id) {
                info!(gateway.id = id.0, gateway.name = %record.name, "gateway registered with its main agent");
                registry.trials.remove(&id);
                registry.feed(ctx, |fleet, time| fleet.promote(time, record));
            } else if was_reserved {
                // The trial was given up while this was written: what is written stands.
                registry.feed(ctx, |fleet, time| fleet.on_created(time, record, None));
            } else {
                registry.feed(ctx, |fleet, time| fleet.on_updated(time, record));
            }
            registry.seen(id)
        })
    }
}

impl Handler<AbandonGateway> for RegistryActor {
    type Result = Answer<()>;

    fn handle(&mut self, AbandonGateway(id): AbandonGateway, _: &mut Self::Context) -> Self::Result {
        let is_reserved = self.fleet.is_on_trial(id) && id.0 > 0;
        let store = self.store.clone();
        let write =
            async move { if is_reserved { store.abandon_provisional_gateway(id).await.map(|_| ()) } else { Ok(()) } };
        Box::pin(write.into_actor(self).map(move |removed, registry, ctx| {
            // Also where the row could not be removed: it is invisible, and goes at the next start.
            registry.feed(ctx, |fleet, _| fleet.end_trial(id));
            removed
        }))
    }
}
