//! What gateways say: reports, wishes for a permit, device tokens, health points.

use actix::prelude::*;
use tracing::{error, warn};

use super::RegistryActor;
use crate::gateway::messages::{FromGateway, GatewayCommand};
use crate::gateway_notice::AuthPermit;
use crate::gateway_notice::GatewayNotice;
use crate::gateway_record::{DeviceToken, GatewayChange};
use crate::gateway_report::{GatewayReport, Phase, Status};
use crate::ids::GatewayId;
use crate::run::SharedSessions;

impl Handler<FromGateway> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: FromGateway, ctx: &mut Self::Context) {
        self.metrics.notice_taken();
        let FromGateway { id, incarnation, notice } = message;
        if self.entries.get(&id).is_none_or(|entry| entry.incarnation != incarnation) {
            self.settle_for_the_departed(&notice);
            return;
        }
        match notice {
            GatewayNotice::Report(report) => self.take_report(id, *report, ctx),
            GatewayNotice::PermitWanted { address } => self.answer_permit(id, &address),
            GatewayNotice::AuthSettled { address, result } => {
                self.addresses.settle(&address, self.clock.now(), result);
            }
            GatewayNotice::DeviceTokenIssued { address, token } => self.keep_device_token(address, token, ctx),
            GatewayNotice::DeviceTokenRejected { address } => self.forget_device_token(address, ctx),
            GatewayNotice::Health(point) if !self.is_hidden(id) => self.health_log.push(id, point),
            GatewayNotice::Health(_) => {}
            GatewayNotice::Sessions(sessions) => self.take_sessions(id, sessions),
            GatewayNotice::Run(run) => self.take_run_notice(id, run, ctx),
        }
    }
}

impl RegistryActor {
    /// A word of a deleted or replaced actor: only the budget of its address still cares.
    fn settle_for_the_departed(&mut self, notice: &GatewayNotice) {
        if let GatewayNotice::AuthSettled { address, result } = notice {
            self.addresses.settle(address, self.clock.now(), *result);
        }
    }

    /// What is told of a gateway that nobody sees is kept until it comes out: it is not told again before it changes.
    fn take_sessions(&mut self, id: GatewayId, sessions: SharedSessions) {
        match self.entries.get_mut(&id).filter(|entry| entry.is_hidden()) {
            Some(hidden) => hidden.unseen_sessions = Some(sessions),
            None => self.roster.publish_sessions(id, sessions),
        }
    }

    fn take_report(&mut self, id: GatewayId, report: GatewayReport, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.report, report);
        let report = &entry.report;
        if (report.phase == Phase::Ready) != (before.phase == Phase::Ready) {
            entry.ready_since = (report.phase == Phase::Ready).then_some(now);
        }
        if let Some(trial) = &entry.trial {
            trial.send_replace(report.clone());
            return;
        }
        entry.unsaved = true;
        let first_outcome = !entry.outcome_known && is_outcome(report);
        entry.outcome_known |= first_outcome;
        let remembered =
            report.phase == Phase::Ready && report.dialect.is_some() && report.dialect != entry.record.dialect;
        let dialect = report.dialect;
        let usable = report.is_usable();
        let turned = usable != before.is_usable();
        let sessions_moved = report.sessions_count != before.sessions_count;
        if turned {
            let first = !std::mem::replace(&mut entry.was_usable, true);
            if !first && entry.flaps.on_transition(now) {
                let until_s =
                    entry.flaps.held_until(now).map_or(0, |until| until.saturating_duration_since(now).as_secs());
                warn!(gateway.id = id.0, gateway.name = %entry.record.name, held_s = until_s,
                    "gateway bounces between usable and not: held down from acting as primary");
            }
            if !usable {
                self.spawns.on_gateway_lost(now, id);
            }
            self.note_turn(id, usable, ctx);
        }
        if let Some(entry) = self.entries.get(&id) {
            self.announce_report(entry, &before);
            self.tell_processes_of_link(entry, &before);
        }
        self.publish(id);
        if turned || first_outcome {
            self.consider_election(Some(id), ctx);
        } else if sessions_moved && self.election.acting().is_none() {
            self.consider_election(None, ctx);
        }
        if remembered {
            let change = GatewayChange { dialect, ..GatewayChange::default() };
            self.remember_dialect(id, change, ctx);
        }
    }

    fn answer_permit(&mut self, id: GatewayId, address: &str) {
        let now = self.clock.now();
        let permit = match self.addresses.reserve(address, now) {
            Ok(device_token) => AuthPermit::Granted { device_token },
            Err(retry_at) => AuthPermit::Denied { retry_at },
        };
        if let Some(handle) = self.entries.get(&id).and_then(|entry| entry.handle.as_ref()) {
            // One permit is under way per gateway, so this never piles up; a dead actor's reservation expires by itself.
            handle.tell(GatewayCommand::Permit(permit));
        }
    }

    fn keep_device_token(&mut self, address: String, token: DeviceToken, ctx: &mut Context<Self>) {
        if !self.addresses.set_token(&address, Some(token.clone())) {
            return;
        }
        let store = self.store.clone();
        let write = async move {
            if let Err(failure) = store.put_device_token(address.clone(), token).await {
                error!(address, %failure, "a device token could not be stored: it is kept in memory until the next one");
            }
        };
        ctx.spawn(write.into_actor(self));
    }

    fn forget_device_token(&mut self, address: String, ctx: &mut Context<Self>) {
        self.addresses.set_token(&address, None);
        self.delete_stored_token(address, ctx);
    }

    pub(super) fn delete_stored_token(&self, address: String, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let write = async move {
            if let Err(failure) = store.delete_device_token(address.clone()).await {
                warn!(address, %failure, "a rejected device token could not be deleted from the store");
            }
        };
        ctx.spawn(write.into_actor(self));
    }
}

/// Whether a report tells the outcome of an attempt, good or bad, rather than that one is under way.
fn is_outcome(report: &GatewayReport) -> bool {
    report.status != Status::Unknown
        || matches!(
            report.phase,
            Phase::Ready | Phase::Backoff | Phase::Blocked | Phase::Starting | Phase::Restarting | Phase::Parked
        )
}
