//! Carries out what the fleet says, in order, and tells people: log, subscribers, audit.

use actix::prelude::*;
use gatewarden_api::events::{
    GatewayBlockedData, GatewayOrNone, GatewayPrimaryData, GatewayStatusData, SpawnResultData,
};
use gatewarden_api::spawn::GatewayName;
use gatewarden_core::fleet::{Effect, Fleet, Notice, SpawnBatch, Time};
use tracing::{error, info, warn};

use super::roster::ActingPrimary;
use super::{GRACE, RegistryActor, time_of};
use crate::agent_book::AgentBook;
use crate::event_data;
use crate::gateway::GatewayCommand;
use crate::gateway_record::{DeviceToken, GatewayChange, GatewayRecord};
use crate::gateway_report::{GatewayReport, Status};
use crate::ids::GatewayId;
use crate::machines::election::PrimaryChange;
use crate::machines::restart_intensity::RestartDecision;
use crate::machines::self_doubt::DoubtChange;
use crate::run::{NoAnswer, SharedSessions};
use crate::spawn::{SpawnRecord, SpawnState};
use crate::store::records::{AuditActor, AuditEntry, AuditResult, Committed};

impl RegistryActor {
    pub(super) fn perform(&mut self, ctx: &mut Context<Self>) {
        // What readers see changes before subscribers hear of it: whoever knows an event's number finds it in what is read then.
        let (news, effects): (Vec<Effect>, Vec<Effect>) =
            self.fleet.take_effects(time_of(&self.clock)).into_iter().partition(|it| matches!(it, Effect::Notify(_)));
        for effect in effects.into_iter().chain(news) {
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
            Effect::Tell(id, order) => self.tell(id, GatewayCommand::Order(order)),
            Effect::Publish(id) => self.publish(id),
            Effect::PublishChecks(checks) => self.roster.publish_spawn_doubts(checks),
            Effect::PublishSessions(id, sessions) => self.publish_sessions(id, &sessions),
            Effect::Remove(id) => {
                self.trials.remove(&id);
                self.metrics.forget_gateway(id);
                self.processes.forget(id);
                self.publish_sessions(id, &SharedSessions::default());
                self.roster.remove(id);
            }
            Effect::TrialReport(id, report) => {
                if let Some(owner) = self.trials.get(&id) {
                    owner.send_replace(*report);
                }
            }
            Effect::Health(id, point) => self.health_log.push((id, point)),
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
            Effect::RecordSpawn(ticket, spec, text, idempotency) => {
                let store = self.store.clone();
                let write = async move { store.record_spawn(*spec, text, idempotency).await };
                self.then(write, ctx, move |fleet, time, recorded| fleet.on_spawn_recorded(time, ticket, recorded));
            }
            Effect::StartRun(ticket, gateway, start) => {
                let (timeout, name) = (start.timeout, self.fleet.name_of(gateway));
                let asked = self
                    .handles
                    .get(&gateway)
                    .map(|handle| handle.ask(timeout + GRACE, |reply| GatewayCommand::StartRun(start, reply)));
                let asked = async move {
                    let answered = match asked {
                        Some(asked) => asked.await,
                        None => Err(NoAnswer::NotTaken),
                    };
                    answered.unwrap_or_else(|no_answer| Err(no_answer.of_run(&name, timeout)))
                };
                self.then(asked, ctx, move |fleet, time, answer| fleet.on_run_answered(time, ticket, answer));
            }
            Effect::LookUpRun(spawn_id, gateway, question) => {
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
            Effect::AnswerSpawn(ticket, answer) => {
                if let Some(spawner) = self.spawners.remove(&ticket) {
                    // Who no longer waits needs no answer.
                    let _ = spawner.send(*answer);
                }
            }
            Effect::NoteAgents(id, said) => {
                let agents = AgentBook::new(self.store.clone(), self.events.clone());
                let note = async move {
                    if let Err(failure) = agents.note_said(id, said).await {
                        warn!(gateway.id = id.0, %failure, "what a gateway says of its agents could not be stored");
                    }
                };
                ctx.spawn(note.into_actor(self));
            }
            Effect::Notify(notice) => {
                if matches!(notice, Notice::HeldDown(..)) {
                    // Rare, and what a crash may not undo.
                    self.save_observations(ctx);
                }
                self.notify(notice);
            }
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
        input: impl FnOnce(&mut Fleet, Time, T) + 'static,
    ) {
        ctx.spawn(work.into_actor(self).map(move |outcome, registry, ctx| {
            registry.feed(ctx, |fleet, time| input(fleet, time, outcome));
        }));
    }

    fn store_token(&self, address: String, token: Option<DeviceToken>, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let write = async move {
            let written = match token {
                Some(token) => store.put_device_token(address.clone(), token).await,
                None => store.delete_device_token(address.clone()).await.map(|_| ()),
            };
            if let Err(failure) = written {
                error!(address, %failure, "a device token could not be stored or deleted: only memory is right until the next one");
            }
        };
        ctx.spawn(write.into_actor(self));
    }

    fn store_change(&self, id: GatewayId, change: GatewayChange, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let write = async move { store.update_gateway(id, change).await };
        self.then(write, ctx, move |fleet, time, updated| match updated {
            Ok(Some(Committed { record, .. })) => fleet.on_updated(time, record),
            Ok(None) => {}
            Err(failure) => error!(gateway.id = id.0, %failure, "the gateway's dialect could not be stored"),
        });
    }

    pub(super) fn notify(&self, notice: Notice) {
        match notice {
            Notice::StatusChanged(record, from, report) => {
                log_status_change(&record, from, &report);
                self.events.tell(&GatewayStatusData {
                    gateway_id: record.id.0,
                    gateway: record.name.clone(),
                    from: from.as_str().to_owned(),
                    to: report.status.as_str().to_owned(),
                    phase: report.phase.as_str().to_owned(),
                    source: report.source.as_str().to_owned(),
                    latency: report.latency_ms,
                    error: report.last_error.as_ref().map(event_data::last_error),
                });
            }
            Notice::Blocked(record, report, same_status) => {
                if same_status {
                    log_status_change(&record, report.status, &report);
                }
                self.events.tell(&GatewayBlockedData {
                    gateway_id: record.id.0,
                    gateway: record.name.clone(),
                    status: report.status.as_str().to_owned(),
                    error: report.last_error.as_ref().map(event_data::last_error),
                    pairing: report.pairing.as_ref().map(event_data::pairing),
                });
            }
            Notice::HeldDown(record, held) => {
                warn!(gateway.id = record.id.0, gateway.name = %record.name, held_s = held.as_secs(),
                    "gateway bounces between usable and not: held down from acting as primary");
            }
            Notice::ActorDied(record, from, RestartDecision::Park) => {
                error!(gateway.id = record.id.0, gateway.name = %record.name, from = from.as_str(),
                    to = "parked", reason = "its actor died too often", "gateway parked");
            }
            Notice::ActorDied(record, from, RestartDecision::Restart) => {
                warn!(gateway.id = record.id.0, gateway.name = %record.name, from = from.as_str(),
                    to = "idle", reason = "its actor died and is started again", "gateway actor restarted");
                self.metrics.count_actor_restart(record.id);
            }
            Notice::PrimaryChanged(change) => self.announce_primary(&change),
            Notice::PrimaryKept(acting, reason) => self.publish_acting(acting, reason),
            Notice::Doubt(DoubtChange::Began { reason }) => {
                warn!(reason, "the daemon doubts its own network: nothing fails back until this is over");
                self.roster.publish_self_doubt(Some(reason));
                self.metrics.set_self_doubt(true);
            }
            Notice::Doubt(DoubtChange::Counted { reason }) => self.roster.publish_self_doubt(Some(reason)),
            Notice::Doubt(DoubtChange::Ended) => {
                info!("the daemon trusts its own network again");
                self.roster.publish_self_doubt(None);
                self.metrics.set_self_doubt(false);
            }
            Notice::SpawnAccepted(spawn_id, gateway, method) => {
                info!(spawn.id = %spawn_id, gateway.id = gateway.0, method, "spawn accepted");
            }
            Notice::SpawnRerouted(spawn_id, from, to, reason) => {
                info!(spawn.id = %spawn_id, from = from.0, to = to.0, %reason, "spawn moves to another gateway");
            }
            Notice::SpawnStored(record) => {
                self.metrics.count_spawn(record.state);
                self.events.tell(&spawn_event(&record));
            }
            Notice::SpawnsNotStored(spawn_ids, failure) => {
                let first = spawn_ids.first().map(String::as_str).unwrap_or_default();
                warn!(spawn.id = first, spawns = spawn_ids.len(), %failure, "how spawns moved could not be stored: tried again");
            }
        }
    }

    fn announce_primary(&self, change: &PrimaryChange) {
        let name = |id: GatewayId| self.fleet.get(id).map(|member| member.record.name.clone());
        let shown = |id: Option<GatewayId>| id.and_then(name).unwrap_or_else(|| "none".to_owned());
        let (from, to, reason) = (shown(change.from), shown(change.to), change.reason);
        info!(from, to, reason, "acting primary changed");
        self.metrics.count_primary_change();
        let named = |id: Option<GatewayId>| id.map(|id| GatewayName { id: id.0, name: name(id) });
        let data = GatewayPrimaryData { from: named(change.from), to: named(change.to), reason: reason.to_owned() };
        self.publish_acting(change.to, reason);
        self.events.tell(&data);
        self.audit.note(AuditEntry {
            at_ms: self.clock.wall_ms(),
            actor: AuditActor::system(),
            address: None,
            request_id: None,
            action: "gateway.primary".to_owned(),
            target: change.to.map(|id| format!("gateway {id}")),
            result: AuditResult::Ok,
            details: serde_json::to_value(data).unwrap_or_default(),
        });
    }

    fn publish_acting(&self, acting: Option<GatewayId>, reason: &str) {
        let member = acting.and_then(|id| self.fleet.get(id));
        let acting = member.map(|member| ActingPrimary {
            id: member.record.id,
            name: member.record.name.clone(),
            reason: reason.to_owned(),
            until_ms: self.fleet.acting_until_ms(time_of(&self.clock)),
        });
        self.roster.publish_acting(acting, self.fleet.failover());
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
fn spawn_event(record: &SpawnRecord) -> SpawnResultData {
    let spec = &record.spec;
    SpawnResultData {
        id: record.spawn_id.clone(),
        spawn_id: record.spawn_id.clone(),
        status: record.state.as_str().to_owned(),
        gateway: GatewayOrNone { id: spec.gateway_id.map(|id| id.0), name: spec.gateway_name.clone() },
        agent: spec.agent.clone(),
        session_key: record.session_key.clone(),
        pid: record.pid,
        completed_at: record.completed_at_ms,
        result: record.result.clone(),
        error: record.error.clone(),
        reason: record.reason.clone(),
    }
}
