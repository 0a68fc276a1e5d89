//! Carries out what the fleet says, in order, and tells people: log, subscribers, audit.

use actix::prelude::*;
use gatewarden_core::fleet::{Effect, Fleet, Notice, RunAnswer, SpawnBatch};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::RegistryActor;
use super::requests::GRACE;
use super::roster::ActingPrimary;
use crate::error::Failure;
use crate::event::EventKind;
use crate::gateway::messages::{GatewayCommand, NoAnswer};
use crate::gateway_record::{GatewayChange, GatewayRecord};
use crate::gateway_report::{GatewayReport, Status};
use crate::ids::GatewayId;
use crate::machines::self_doubt::DoubtChange;
use crate::machines::spawn_state::SpawnState;
use crate::store::records::{AuditActor, AuditEntry, AuditResult, SpawnRecord, Updated};

impl RegistryActor {
    pub(super) fn perform(&mut self, ctx: &mut Context<Self>) {
        for effect in self.fleet.take_effects() {
            self.perform_one(effect, ctx);
        }
        self.metrics.set_spawns_open(self.fleet.open_spawns());
    }

    fn perform_one(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Start(record, incarnation) => {
                let id = record.id;
                self.handles.insert(id, (self.spawn)(record, incarnation, ctx.address().recipient()));
            }
            Effect::Stop(id) => {
                if let Some(handle) = self.handles.remove(&id) {
                    handle.shut_down();
                }
            }
            // A dead actor is started from the record anyway.
            Effect::Update(record) => self.tell(record.id, GatewayCommand::UpdateRecord(record)),
            Effect::Reconnect(id) => self.tell(id, GatewayCommand::Reconnect),
            Effect::Permit(id, permit) => self.tell(id, GatewayCommand::Permit(permit)),
            Effect::Publish(id) => self.publish(id),
            Effect::PublishSessions(id, sessions) => self.roster.publish_sessions(id, sessions),
            Effect::Remove(id) => {
                self.trials.remove(&id);
                self.metrics.forget_gateway(id);
                self.processes.forget(id);
                self.roster.remove(id);
            }
            Effect::TrialReport(id, report) => {
                if let Some(owner) = self.trials.get(&id) {
                    owner.send_replace(*report);
                }
            }
            Effect::Health(id, point) => self.health_log.push(id, point),
            Effect::StoreToken(address, token) => self.store_token(address, token, ctx),
            Effect::StoreChange(id, change) => self.store_change(id, *change, ctx),
            Effect::DeleteReserved(id) => {
                let store = self.store.clone();
                let remove = async move {
                    if let Err(failure) = store.abandon_provisional_gateway(id).await {
                        warn!(%failure, "a half-made gateway could not be removed: it goes at the next start");
                    }
                };
                ctx.spawn(remove.into_actor(self));
            }
            Effect::RecordSpawn { ticket, record, idempotency } => {
                let store = self.store.clone();
                let write = async move { store.record_spawn(*record, idempotency).await };
                self.then(write, ctx, move |fleet, time, recorded| fleet.on_spawn_recorded(time, ticket, recorded));
            }
            Effect::StartRun { ticket, gateway, start } => {
                let within = start.timeout + GRACE;
                let asked = self
                    .handles
                    .get(&gateway)
                    .map(|handle| handle.ask(within, |reply| GatewayCommand::StartRun(start, reply)));
                let asked = async move {
                    let Some(asked) = asked else { return RunAnswer::NotGiven };
                    match asked.await {
                        Ok(Ok(accepted)) => RunAnswer::Accepted(accepted),
                        Ok(Err(refused)) => RunAnswer::NotAccepted(refused),
                        Err(NoAnswer::NotTaken) => RunAnswer::NotGiven,
                        Err(NoAnswer::Ended | NoAnswer::Late) => RunAnswer::Lost,
                    }
                };
                self.then(asked, ctx, move |fleet, time, answer| fleet.on_run_answered(time, ticket, answer));
            }
            Effect::LookUpRun { spawn_id, gateway, question } => {
                let (within, run_id) = (question.timeout * 2, question.run_id.clone());
                let asked = self
                    .handles
                    .get(&gateway)
                    .map(|handle| handle.ask(within, |reply| GatewayCommand::LookUpRun(question, reply)));
                let asked = async move { asked?.await.ok()?.ok() };
                self.then(asked, ctx, move |fleet, time, answer| {
                    fleet.on_run_found(time, &spawn_id, gateway, &run_id, answer);
                });
            }
            Effect::WriteSpawns(SpawnBatch { spawn_ids, steps }) => {
                let store = self.store.clone();
                let write = async move { store.move_spawns(&SpawnState::OPEN, steps).await };
                self.then(write, ctx, move |fleet, time, written| {
                    fleet.on_spawns_written(time, &spawn_ids, written);
                });
            }
            Effect::AnswerSpawn { ticket, answer } => {
                // Who no longer waits needs no answer.
                let _ = self.spawners.remove(&ticket).map(|spawner| spawner.send(*answer));
            }
            Effect::Notify(notice) => self.notify(notice),
        }
    }

    fn tell(&self, id: GatewayId, command: GatewayCommand) {
        if let Some(handle) = self.handles.get(&id) {
            handle.tell(command);
        }
    }

    /// Feeds the fleet with what comes of something that takes time.
    fn then<T: 'static>(
        &self,
        work: impl Future<Output = T> + 'static,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut Fleet, gatewarden_core::fleet::Moment, T) + 'static,
    ) {
        ctx.spawn(work.into_actor(self).map(move |outcome, registry, ctx| {
            registry.feed(ctx, |fleet, time| input(fleet, time, outcome));
        }));
    }

    fn store_token(&self, address: String, token: Option<crate::gateway_record::DeviceToken>, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let write = async move {
            match token {
                Some(token) => {
                    if let Err(failure) = store.put_device_token(address.clone(), token).await {
                        error!(address, %failure, "a device token could not be stored: it is kept in memory until the next one");
                    }
                }
                None => {
                    if let Err(failure) = store.delete_device_token(address.clone()).await {
                        warn!(address, %failure, "a rejected device token could not be deleted from the store");
                    }
                }
            }
        };
        ctx.spawn(write.into_actor(self));
    }

    fn store_change(&self, id: GatewayId, change: GatewayChange, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let write = async move { store.update_gateway(id, change).await };
        self.then(write, ctx, move |fleet, time, updated| match updated {
            Ok(Some(Updated { record, .. })) => fleet.on_updated(time, record),
            Ok(None) => {}
            Err(failure) => error!(gateway.id = id.0, %failure, "the gateway's dialect could not be stored"),
        });
    }

    pub(super) fn notify(&self, notice: Notice) {
        match notice {
            Notice::StatusChanged { record, from, report } => {
                log_status_change(&record, from, &report);
                let change = json!({
                    "gateway_id": record.id,
                    "gateway": record.name,
                    "from": from,
                    "to": report.status,
                    "phase": report.phase,
                    "source": report.source,
                    "latency": report.latency_ms,
                    "error": report.last_error,
                });
                self.events.publish(EventKind::GatewayStatus, change);
            }
            Notice::Blocked { record, report, same_status } => {
                if same_status {
                    log_status_change(&record, report.status, &report);
                }
                let blocked = json!({
                    "gateway_id": record.id,
                    "gateway": record.name,
                    "status": report.status,
                    "error": report.last_error,
                    "pairing": report.pairing,
                });
                self.events.publish(EventKind::GatewayBlocked, blocked);
            }
            Notice::HeldDown { record, held } => {
                warn!(gateway.id = record.id.0, gateway.name = %record.name, held_s = held.as_secs(),
                    "gateway bounces between usable and not: held down from acting as primary");
            }
            Notice::ActorDied { record, from, parked: true } => {
                error!(gateway.id = record.id.0, gateway.name = %record.name, from = from.as_str(),
                    to = "parked", reason = "its actor died too often", "gateway parked");
            }
            Notice::ActorDied { record, from, parked: false } => {
                warn!(gateway.id = record.id.0, gateway.name = %record.name, from = from.as_str(),
                    to = "idle", reason = "its actor died and is started again", "gateway actor restarted");
                self.metrics.count_actor_restart(record.id);
            }
            Notice::PrimaryChanged { from, to, reason } => self.announce_primary(from, to, reason),
            Notice::Doubt(DoubtChange::Began { reason }) => {
                warn!(reason, "the daemon doubts its own network: nothing fails back until this is over");
                self.roster.publish_self_doubt(Some(reason));
                self.metrics.set_self_doubt(true);
            }
            Notice::Doubt(DoubtChange::Ended) => {
                info!("the daemon trusts its own network again");
                self.roster.publish_self_doubt(None);
                self.metrics.set_self_doubt(false);
            }
            Notice::SpawnAccepted { spawn_id, gateway, method } => {
                info!(spawn.id = %spawn_id, gateway.id = gateway.0, method, "spawn accepted");
            }
            Notice::SpawnRerouted { spawn_id, from, to, reason } => {
                info!(spawn.id = %spawn_id, from = from.0, to = to.0, %reason, "spawn moves to another gateway");
            }
            Notice::SpawnStored(record) => {
                self.metrics.count_spawn(record.state);
                self.events.publish(EventKind::SpawnResult, spawn_event(&record));
            }
            Notice::SpawnsNotStored { spawns, first, failure } => {
                warn!(spawn.id = first, spawns, %failure, "how spawns moved could not be stored: tried again");
            }
        }
    }

    fn announce_primary(
        &self,
        from: Option<(GatewayId, Option<String>)>,
        to: Option<(GatewayId, Option<String>)>,
        reason: &'static str,
    ) {
        let name = |gateway: &Option<(GatewayId, Option<String>)>| {
            gateway.as_ref().and_then(|(_, name)| name.clone()).unwrap_or_else(|| "none".to_owned())
        };
        info!(from = name(&from), to = name(&to), reason, "acting primary changed");
        self.metrics.count_primary_change();
        let named = |gateway: &Option<(GatewayId, Option<String>)>| match gateway {
            Some((id, name)) => json!({ "id": id, "name": name }),
            None => Value::Null,
        };
        let details = json!({ "from": named(&from), "to": named(&to), "reason": reason });
        self.events.publish(EventKind::GatewayPrimary, details.clone());
        self.audit.note(AuditEntry {
            at_ms: self.clock.wall_ms(),
            actor: AuditActor::system(),
            address: None,
            request_id: None,
            action: "gateway.primary".to_owned(),
            target: to.as_ref().map(|(id, _)| format!("gateway {id}")),
            result: AuditResult::Ok,
            details,
        });
        let acting = to.as_ref().map(|(id, _)| *id);
        self.roster.publish_acting(acting.map(|id| ActingPrimary { id, name: name(&to), reason: reason.to_owned() }));
    }
}

/// One line per change of status: what the API, the metrics and the events show at the same time.
fn log_status_change(record: &GatewayRecord, from: Status, after: &GatewayReport) {
    let (id, name) = (record.id.0, &record.name);
    let (from, to) = (from.as_str(), after.status.as_str());
    match &after.last_error {
        Some(problem) if after.status != Status::Online => {
            let (reason, words) = (&problem.code, &problem.message);
            warn!(gateway.id = id, gateway.name = %name, from, to, reason, words, "gateway status changed");
        }
        _ => {
            let reason = after.phase.as_str();
            info!(gateway.id = id, gateway.name = %name, from, to, reason, "gateway status changed");
        }
    }
}

/// The event of document 002, with what only a supervisor knows beside it.
fn spawn_event(record: &SpawnRecord) -> Value {
    json!({
        "id": record.spawn_id,
        "spawnId": record.spawn_id,
        "status": record.state.as_str(),
        "gateway": { "id": record.gateway_id, "name": record.gateway_name },
        "agent": record.agent,
        "sessionKey": record.session_key,
        "pid": record.pid,
        "completedAt": record.completed_at_ms,
        "result": record.result,
        "error": record.error,
        "reason": record.reason,
    })
}

/// For whom there is no registry any more.
pub(super) fn gone() -> Failure {
    Failure::unavailable("registry")
}
