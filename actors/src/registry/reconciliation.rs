//! What became of spawns: stages as gateways tell them, and questions to gateways that were away.

use std::time::{Duration, Instant};

use actix::prelude::*;
use tracing::info;

use super::RegistryActor;
use super::entry::Entry;
use crate::gateway::messages::GatewayCommand;
use crate::ids::GatewayId;
use crate::machines::spawn_state::SpawnState;
use crate::run::{LookUpRun, RunNotice};
use crate::run::{LookedUp, RunFinding};
use crate::store::records::SpawnRecord;

/// How often doubtful spawns are looked at; O(open spawns), nothing where there is none.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a gateway may take to say what became of a run.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions sent in one look, so that a fleet that comes back isn't flooded.
const MOST_QUESTIONS: usize = 64;

impl RegistryActor {
    pub(super) fn schedule_reconciliation(&self, ctx: &mut Context<Self>) {
        ctx.run_interval(LOOK_INTERVAL, |registry, ctx| {
            registry.metrics.set_spawns_open(registry.spawns.len());
            if !registry.spawns.is_empty() {
                registry.ask_about_spawns(ctx);
                registry.write_spawns(registry.spawns.has_line(), ctx);
            }
        });
    }

    /// Takes over the spawns that an earlier run of the daemon left open.
    pub(super) fn resume_spawns(&mut self, open: Vec<SpawnRecord>) {
        let now = self.clock.now();
        for record in open {
            if record.state == SpawnState::Recorded && record.gateway_name.is_none() {
                self.spawns.end_unsent(&record.spawn_id);
                continue;
            }
            let gateway = record.gateway_id.unwrap_or(GatewayId(0));
            self.spawns.resume(
                now,
                &record.spawn_id,
                gateway,
                record.run_id.as_deref(),
                record.session_key.clone(),
                record.state,
            );
            if !self.entries.contains_key(&gateway) {
                self.spawns.on_gateway_deleted(gateway);
            }
        }
        if !self.spawns.is_empty() {
            info!(
                spawns = self.spawns.len(),
                "spawns of an earlier run are open: their gateways are asked once connected"
            );
        }
    }

    /// A gateway tells how a run moved on.
    pub(super) fn take_run_notice(&mut self, gateway: GatewayId, notice: RunNotice, ctx: &mut Context<Self>) {
        let RunNotice { run_id, session_key, stage } = notice;
        self.spawns.on_stage(self.clock.now(), gateway, &run_id, session_key, stage);
        self.write_spawns(false, ctx);
    }

    fn ask_about_spawns(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let entries = &self.entries;
        let usable_since = |id: GatewayId| -> Option<Instant> { entries.get(&id).and_then(Entry::usable_since) };
        let due = self.spawns.due(now, MOST_QUESTIONS, usable_since);
        for (spawn_id, gateway, run_id, session_key) in due {
            let question = LookUpRun { run_id: run_id.clone(), session_key, timeout: QUESTION_TIMEOUT };
            let sent = self
                .entries
                .get(&gateway)
                .and_then(|entry| entry.handle.as_ref())
                .map(|handle| handle.ask(QUESTION_TIMEOUT * 2, |reply| GatewayCommand::LookUpRun(question, reply)));
            let ask = async move {
                match sent {
                    Some(sent) => sent.await.ok(),
                    None => None,
                }
            };
            ctx.spawn(ask.into_actor(self).map(move |answer, registry, ctx| {
                registry.take_finding(&spawn_id, gateway, &run_id, answer.and_then(Result::ok), ctx);
            }));
        }
    }

    fn take_finding(
        &mut self,
        spawn_id: &str,
        gateway: GatewayId,
        run_id: &str,
        answer: Option<LookedUp>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.clock.now();
        let back = self.entries.get(&gateway).and_then(Entry::usable_since);
        let session_key = answer.as_ref().and_then(|answer| answer.session_key.clone());
        match answer.map(|answer| answer.finding) {
            Some(RunFinding::Running) => self.spawns.found_running(now, spawn_id, session_key),
            Some(RunFinding::Ended(stage)) => {
                self.spawns.answered(spawn_id);
                self.spawns.on_stage(now, gateway, run_id, session_key, stage);
            }
            Some(RunFinding::NotKnown) => self.spawns.found_nothing(now, spawn_id, back),
            // It couldn't be asked: that says nothing about the run, however long the gateway has been back.
            None => self.spawns.found_nothing(now, spawn_id, None),
        }
        self.write_spawns(false, ctx);
    }
}
