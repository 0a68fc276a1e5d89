//! Create, update, delete, reserve, confirm: the store commits first, then the fleet acts, then the client is answered.

use actix::prelude::*;
use tokio::sync::watch;
use tracing::{debug, error, info};

use super::RegistryActor;
use super::messages::{
    AbandonGateway, ConfirmGateway, CreateGateway, DeleteGateway, GatewayCommitted, ReserveGateway, Trial, TryGateway,
    UpdateGateway,
};
use crate::error::{ErrorCode, Failure};
use crate::ids::GatewayId;
use crate::store::records::{Committed, DeleteOutcome, MainRecorded};

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

    fn committed(&self, id: GatewayId, agents_registered: usize) -> Result<GatewayCommitted, Failure> {
        let view = self.roster.reader().get(id).ok_or_else(|| Failure::gateway_not_found(id))?;
        Ok(GatewayCommitted { view, same_address: self.fleet.of_same_address(id), agents_registered })
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
    type Result = Answer<GatewayCommitted>;

    fn handle(&mut self, CreateGateway(new): CreateGateway, _: &mut Self::Context) -> Self::Result {
        if let Err(failure) = self.fleet.may_change() {
            return self.answer(Err(failure));
        }
        let store = self.store.clone();
        self.commit(async move { store.create_gateway(new).await }, |registry, created, ctx| {
            let Committed { record, demoted, agents_registered } = created;
            let id = record.id;
            debug!(gateway.id = id.0, gateway.name = %record.name, "gateway registered");
            registry.feed(ctx, |fleet, time| fleet.on_created(time, record, demoted));
            registry.committed(id, agents_registered)
        })
    }
}

impl Handler<UpdateGateway> for RegistryActor {
    type Result = Answer<GatewayCommitted>;

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
            let Committed { record, demoted, .. } = updated.ok_or_else(|| Failure::gateway_not_found(id))?;
            registry.feed(ctx, |fleet, time| fleet.on_all_updated(time, demoted.into_iter().chain([record])));
            registry.committed(id, 0)
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
    type Result = Answer<GatewayCommitted>;

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
            registry.committed(id, 0)
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
