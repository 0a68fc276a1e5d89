//! Gateways that are dialled before anybody sees them: one that is being created through the organization API has reserved
//! its name and address, one that is only tried is stored nowhere. Both have an actor like any other; neither is published,
//! elected, given work, measured or written about.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::watch;
use tracing::{info, warn};

use super::RegistryActor;
use super::entry::{Entry, canonical_address};
use super::messages::{AbandonGateway, ConfirmGateway, GatewayCommitted, ReserveGateway, TryGateway};
use super::record_changes::refuse_while_stopping;
use crate::error::{ErrorCode, Failure};
use crate::gateway::messages::GatewayCommand;
use crate::gateway_record::{GatewayRecord, NewGateway, SharedRecord};
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;
use crate::store::records::MainRecorded;

/// A gateway under trial. Dropping it ends the trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// As dialled; its id is what requests to it name.
    pub record: SharedRecord,
    /// What its actor says, from the first word on.
    pub reports: watch::Receiver<GatewayReport>,
}

impl Handler<ReserveGateway> for RegistryActor {
    type Result = ResponseActFuture<Self, Result<Trial, Failure>>;

    fn handle(&mut self, message: ReserveGateway, _: &mut Self::Context) -> Self::Result {
        if self.stopping {
            return refuse_while_stopping(self);
        }
        let ReserveGateway { new, workspace_root } = message;
        let address = canonical_address(&unstored(GatewayId(0), new.clone(), 0));
        if !self.reserved.insert(address.clone()) {
            let failure = Failure::new(
                ErrorCode::AddressTaken,
                format!("Another gateway is being created at {address} right now"),
            )
            .with_help("Wait until that creation has ended: GET /api/v1/gateways shows the gateway if it succeeded.");
            return Box::pin(async { Err(failure) }.into_actor(self));
        }
        let store = self.store.clone();
        let write = async move { store.create_provisional_gateway(new, workspace_root).await };
        Box::pin(write.into_actor(self).map(move |stored, registry, ctx| match stored {
            Ok(record) => Ok(registry.begin_trial(record, ctx)),
            Err(failure) => {
                registry.reserved.remove(&address);
                Err(failure)
            }
        }))
    }
}

impl Handler<TryGateway> for RegistryActor {
    type Result = Result<Trial, Failure>;

    fn handle(&mut self, message: TryGateway, ctx: &mut Self::Context) -> Self::Result {
        if self.stopping {
            return Err(Failure::unavailable("daemon"));
        }
        self.last_trial = self.last_trial.saturating_sub(1);
        let record = unstored(GatewayId(self.last_trial), message.0, self.clock.wall_ms() / 1_000);
        Ok(self.begin_trial(record, ctx))
    }
}

impl Handler<ConfirmGateway> for RegistryActor {
    type Result = ResponseActFuture<Self, Result<GatewayCommitted, Failure>>;

    fn handle(&mut self, message: ConfirmGateway, _: &mut Self::Context) -> Self::Result {
        let ConfirmGateway { id, main } = message;
        if self.stopping {
            return refuse_while_stopping(self);
        }
        if !self.entries.contains_key(&id) {
            return Box::pin(async move { Err(Failure::gateway_not_found(id)) }.into_actor(self));
        }
        let reserved = self.is_hidden(id);
        let store = self.store.clone();
        let write = async move { store.record_main_agent(id, main).await };
        Box::pin(write.into_actor(self).map(move |recorded, registry, ctx| {
            let MainRecorded { record, .. } = recorded?.ok_or_else(|| Failure::gateway_not_found(id))?;
            if registry.is_hidden(id) {
                registry.come_out(record, ctx);
            } else if reserved {
                // The trial was given up while this was written: what is written stands.
                registry.admit(record, ctx);
            } else {
                registry.take_record(record, ctx);
            }
            registry.committed(id, 0)
        }))
    }
}

impl Handler<AbandonGateway> for RegistryActor {
    type Result = ResponseActFuture<Self, Result<(), Failure>>;

    fn handle(&mut self, message: AbandonGateway, _: &mut Self::Context) -> Self::Result {
        let id = message.0;
        let hidden = self.is_hidden(id);
        let store = self.store.clone();
        let write = async move {
            if hidden && id.0 > 0 { store.abandon_provisional_gateway(id).await.map(|_| ()) } else { Ok(()) }
        };
        Box::pin(write.into_actor(self).map(move |removed, registry, ctx| {
            // Also where the row could not be removed: it is invisible, and goes at the next start.
            registry.end_trial(id, ctx);
            removed
        }))
    }
}

impl RegistryActor {
    /// Whether this is a gateway that nobody sees.
    pub(super) fn is_hidden(&self, id: GatewayId) -> bool {
        self.entries.get(&id).is_some_and(Entry::is_hidden)
    }

    fn begin_trial(&mut self, record: GatewayRecord, ctx: &Context<Self>) -> Trial {
        let record = Arc::new(record);
        let id = record.id;
        let mut entry = Entry::new(record.clone(), &self.restarts, self.clock.wall_ms());
        let (reporter, reports) = watch::channel(entry.report.clone());
        entry.trial = Some(reporter);
        self.addresses.join(&entry.address, id);
        self.entries.insert(id, entry);
        self.start_gateway(id, ctx);
        Trial { record, reports }
    }

    /// A reserved gateway becomes one like any other, connection and all.
    fn come_out(&mut self, record: GatewayRecord, ctx: &mut Context<Self>) {
        let id = record.id;
        let wall_ms = self.clock.wall_ms();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.record = Arc::new(record);
        entry.trial = None;
        entry.outcome_known = true;
        entry.unsaved = true;
        let usable = entry.report.is_usable();
        entry.was_usable = usable;
        let dialect = entry.report.dialect;
        let sessions = entry.unseen_sessions.take();
        if let Some(handle) = &entry.handle {
            handle.tell(GatewayCommand::UpdateRecord(entry.record.clone()));
        }
        info!(gateway.id = id.0, gateway.name = %entry.record.name, "gateway registered with its main agent");
        self.reserved.remove(&entry.address);
        if usable {
            self.note_turn(id, true, ctx);
        }
        if let Some(entry) = self.entries.get(&id) {
            self.announce_report(entry, &GatewayReport::unknown(wall_ms));
        }
        self.publish(id);
        if let Some(sessions) = sessions {
            self.roster.publish_sessions(id, sessions);
        }
        self.consider_election(Some(id), ctx);
        if dialect.is_some() {
            let change = crate::gateway_record::GatewayChange { dialect, ..Default::default() };
            self.remember_dialect(id, change, ctx);
        }
    }

    fn end_trial(&mut self, id: GatewayId, ctx: &mut Context<Self>) {
        let Some(entry) = self.entries.get(&id).filter(|entry| entry.is_hidden()) else { return };
        if id.0 > 0 {
            self.reserved.remove(&entry.address);
        }
        self.dismiss(id, ctx);
    }

    /// Whoever began it is gone without a word: a panic, or a daemon that is busy dying.
    pub(super) fn end_forgotten_trials(&mut self, ctx: &mut Context<Self>) {
        let forgotten: Vec<GatewayId> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_hidden() && entry.trial.as_ref().is_some_and(watch::Sender::is_closed))
            .map(|(id, _)| *id)
            .collect();
        for id in forgotten {
            self.end_trial(id, ctx);
            if id.0 <= 0 {
                continue;
            }
            let store = self.store.clone();
            let remove = async move {
                if let Err(failure) = store.abandon_provisional_gateway(id).await {
                    warn!(%failure, "a half-made gateway could not be removed: it goes at the next start");
                }
            };
            ctx.spawn(remove.into_actor(self));
        }
    }
}

/// What would be stored, as a trial: dialled, and seen by nobody.
fn unstored(id: GatewayId, new: NewGateway, now_s: i64) -> GatewayRecord {
    // Whatever it is to be: a trial is nobody's primary, has no labels, and starts no process.
    let new = NewGateway { is_primary: false, labels: BTreeMap::new(), process: None, ..new };
    GatewayRecord { provisioning: true, ..new.into_record(id, "", now_s) }
}
