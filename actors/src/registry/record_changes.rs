//! Create, update, delete: the store commits first, then the actors act, then the client is answered.

use std::sync::Arc;

use actix::prelude::*;
use tracing::{debug, error, info};

use super::RegistryActor;
use super::entry::{Entry, canonical_address};
use super::messages::{CreateGateway, DeleteGateway, GatewayCommitted, UpdateGateway};
use crate::error::{ErrorCode, Failure};
use crate::gateway::messages::GatewayCommand;
use crate::gateway_record::{GatewayChange, GatewayRecord};
use crate::gateway_report::{Status, StatusSource};
use crate::ids::GatewayId;
use crate::store::records::{Created, DeleteOutcome, Updated};

impl Handler<CreateGateway> for RegistryActor {
    type Result = ResponseActFuture<Self, Result<GatewayCommitted, Failure>>;

    fn handle(&mut self, message: CreateGateway, _: &mut Self::Context) -> Self::Result {
        if self.stopping {
            return refuse_while_stopping(self);
        }
        let store = self.store.clone();
        let write = async move { store.create_gateway(message.0).await };
        Box::pin(write.into_actor(self).map(|created, registry, ctx| {
            let Created { record, demoted, agents_registered } = created?;
            debug!(gateway.id = record.id.0, gateway.name = %record.name, "gateway registered");
            let id = record.id;
            if let Some(demoted) = demoted {
                registry.take_record(demoted, ctx);
            }
            registry.admit(record, ctx);
            registry.committed(id, agents_registered)
        }))
    }
}

impl Handler<UpdateGateway> for RegistryActor {
    type Result = ResponseActFuture<Self, Result<GatewayCommitted, Failure>>;

    fn handle(&mut self, message: UpdateGateway, _: &mut Self::Context) -> Self::Result {
        if self.stopping {
            return refuse_while_stopping(self);
        }
        let UpdateGateway { id, change } = message;
        if self.is_hidden(id) {
            return Box::pin(async move { Err(Failure::gateway_not_found(id)) }.into_actor(self));
        }
        let store = self.store.clone();
        let observed = change.clone();
        let write = async move { store.update_gateway(id, change).await };
        Box::pin(write.into_actor(self).map(move |updated, registry, ctx| {
            let Updated { record, demoted } = updated?.ok_or_else(|| Failure::gateway_not_found(id))?;
            if let Some(demoted) = demoted {
                registry.take_record(demoted, ctx);
            }
            registry.take_record(record, ctx);
            registry.take_external_observation(id, &observed);
            registry.committed(id, 0)
        }))
    }
}

impl Handler<DeleteGateway> for RegistryActor {
    type Result = ResponseActFuture<Self, Result<bool, Failure>>;

    fn handle(&mut self, message: DeleteGateway, _: &mut Self::Context) -> Self::Result {
        if self.stopping {
            return refuse_while_stopping(self);
        }
        let id = message.0;
        if self.is_hidden(id) {
            return Box::pin(async { Ok(false) }.into_actor(self));
        }
        let store = self.store.clone();
        let write = async move { store.delete_gateway(id).await };
        let commit = write.into_actor(self).map(move |outcome, registry, ctx| match outcome? {
            DeleteOutcome::NotFound => Ok(false),
            DeleteOutcome::IsPrimary => {
                Err(Failure::new(ErrorCode::PrimaryUndeletable, "Cannot delete the primary gateway").with_help(
                    "Assign another gateway as primary first: PUT /api/gateways {\"id\": ..., \"is_primary\": true}.",
                ))
            }
            DeleteOutcome::Deleted => {
                registry.dismiss(id, ctx);
                Ok(true)
            }
        });
        // Whoever deletes the last gateway finds the seeded one right after the answer.
        Box::pin(commit.then(|answer, registry, _| registry.seed_if_empty().map(move |(), _, _| answer)))
    }
}

impl RegistryActor {
    pub(super) fn committed(&self, id: GatewayId, agents_registered: usize) -> Result<GatewayCommitted, Failure> {
        let entry = self.entries.get(&id).ok_or_else(|| Failure::gateway_not_found(id))?;
        let view = self.roster.reader().get(id).ok_or_else(|| Failure::gateway_not_found(id))?;
        let same_address = self
            .addresses
            .others(&entry.address, id)
            .into_iter()
            .filter_map(|other| self.entries.get(&other))
            .filter(|entry| !entry.is_hidden())
            .map(|entry| entry.record.name.clone())
            .collect();
        Ok(GatewayCommitted { view, same_address, agents_registered })
    }

    /// Takes over a committed record and tells the actor. A record that is older than the one known is ignored: two
    /// commits may be answered in either order.
    pub(super) fn take_record(&mut self, record: GatewayRecord, ctx: &mut Context<Self>) {
        let id = record.id;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if record.revision <= entry.record.revision {
            return;
        }
        let address = canonical_address(&record);
        entry.record = Arc::new(record);
        if address != entry.address {
            let former = std::mem::replace(&mut entry.address, address.clone());
            self.addresses.join(&address, id);
            if self.addresses.leave(&former, id) {
                self.delete_stored_token(former, ctx);
            }
        }
        if let Some(entry) = self.entries.get(&id)
            && let Some(handle) = &entry.handle
        {
            // At most one message per committed change; a dead actor is started from the record anyway.
            handle.tell(GatewayCommand::UpdateRecord(entry.record.clone()));
        }
        self.tell_processes_of_record(id);
        self.publish(id);
        self.consider_election(Some(id), ctx);
    }

    /// What an external health checker wrote stands until our own next observation.
    fn take_external_observation(&mut self, id: GatewayId, change: &GatewayChange) {
        let wall_ms = self.clock.wall_ms();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let report = &mut entry.report;
        let status = change.status.as_deref().and_then(status_named);
        if let Some(status) = status
            && status != report.status
        {
            report.status = status;
            report.since_ms = wall_ms;
        }
        if let Some(seconds) = change.last_seen {
            report.last_seen_ms = Some(seconds.saturating_mul(1_000));
        }
        if let Some(latency) = change.latency {
            #[expect(clippy::cast_precision_loss, reason = "latencies are small")]
            let latency = latency as f64;
            report.latency_ms = Some(latency);
        }
        if let Some(count) = change.sessions_count {
            report.sessions_count = u32::try_from(count).ok();
        }
        if let Some(count) = change.agents_count {
            report.agents_count = u32::try_from(count).ok();
        }
        let observed = status.is_some()
            || change.last_seen.is_some()
            || change.latency.is_some()
            || change.sessions_count.is_some()
            || change.agents_count.is_some();
        if observed {
            report.source = StatusSource::External;
            report.as_of_ms = wall_ms;
            self.publish(id);
        }
    }

    /// Stores the dialect of a success, so that the next start needn't detect it.
    pub(super) fn remember_dialect(&mut self, id: GatewayId, change: GatewayChange, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let write = async move { store.update_gateway(id, change).await };
        ctx.spawn(write.into_actor(self).map(move |updated, registry, ctx| match updated {
            Ok(Some(Updated { record, .. })) => registry.take_record(record, ctx),
            Ok(None) => {}
            Err(failure) => error!(gateway.id = id.0, %failure, "the gateway's dialect could not be stored"),
        }));
    }

    pub(super) fn dismiss(&mut self, id: GatewayId, ctx: &mut Context<Self>) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(handle) = entry.handle {
            handle.tell(GatewayCommand::ShutDown(tokio::sync::oneshot::channel().0));
        }
        if self.addresses.leave(&entry.address, id) {
            self.delete_stored_token(entry.address, ctx);
        }
        self.metrics.forget_gateway(id);
        if entry.record.provisioning {
            return;
        }
        debug!(gateway.id = id.0, gateway.name = %entry.record.name, "gateway deleted");
        self.tell_processes_of_removal(&entry.record);
        self.spawns.on_gateway_deleted(id);
        self.roster.remove(id);
        self.note_removal(id, entry.report.is_usable(), ctx);
        self.consider_election(Some(id), ctx);
    }

    /// Where there is no gateway at all, the configured default one is registered (`api.md`, `GET /api/gateways`).
    pub(super) fn seed_if_empty(&self) -> ResponseActFuture<Self, ()> {
        let Some(seed) = self.seed.clone().filter(|_| self.entries.values().all(Entry::is_hidden) && !self.stopping)
        else {
            return Box::pin(async {}.into_actor(self));
        };
        let store = self.store.clone();
        let write = async move { store.seed_gateway_if_empty(seed).await };
        Box::pin(write.into_actor(self).map(|seeded, registry, ctx| match seeded {
            Ok(Some(record)) => {
                info!(gateway.id = record.id.0, gateway.name = %record.name, "no gateway was registered: seeded the default one");
                registry.admit(record, ctx);
            }
            Ok(None) => {}
            Err(failure) => error!(%failure, "the default gateway could not be seeded"),
        }))
    }
}

fn status_named(name: &str) -> Option<Status> {
    Status::ALL.into_iter().find(|status| status.as_str() == name)
}

pub(super) fn refuse_while_stopping<T: 'static>(
    registry: &RegistryActor,
) -> ResponseActFuture<RegistryActor, Result<T, Failure>> {
    Box::pin(async { Err(Failure::unavailable("daemon")) }.into_actor(registry))
}
