//! `Gateway` actors that died: actix doesn't start an actor again after a panic, so the registry makes a new one from the
//! stored record. One that dies too often is parked, and says so.

use actix::prelude::*;
use tracing::{error, warn};

use super::RegistryActor;
use crate::gateway_report::{GatewayReport, Phase, Problem, Status, StatusSource};
use crate::ids::GatewayId;
use crate::machines::restart_intensity::RestartDecision;

impl RegistryActor {
    /// Looks for actors that are gone though nobody stopped them.
    pub(super) fn watch(&mut self, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let dead: Vec<GatewayId> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.handle.as_ref().is_some_and(|handle| !handle.is_alive()))
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            self.bury(id, ctx);
        }
        self.end_forgotten_trials(ctx);
    }

    fn bury(&mut self, id: GatewayId, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let wall_ms = self.clock.wall_ms();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.handle = None;
        entry.ready_since = None;
        let was_usable = entry.report.is_usable();
        let decision = entry.intensity.on_death(now);
        let mut report = GatewayReport::unknown(wall_ms);
        report.last_seen_ms = entry.report.last_seen_ms;
        report.last_failure_ms = Some(wall_ms);
        report.dialect = entry.report.dialect;
        report.source = StatusSource::Event;
        if decision == RestartDecision::Park {
            report.phase = Phase::Parked;
            report.status = Status::Offline;
            report.last_error = Some(Problem {
                code: "parked".to_owned(),
                message: format!(
                    "The supervision of gateway \"{}\" crashed more than {} times within {} s and was parked",
                    entry.record.name,
                    self.restarts.max_restarts,
                    self.restarts.window.as_secs()
                ),
                help: format!(
                    "This is a fault of gatewarden: please report it with the log. POST /api/gateways/{id}/reconnect starts \
                     it again."
                ),
            });
            entry.outcome_known = true;
            error!(gateway.id = id.0, gateway.name = %entry.record.name, from = entry.report.phase.as_str(),
                to = "parked", reason = "its actor died too often", "gateway parked");
        } else {
            warn!(gateway.id = id.0, gateway.name = %entry.record.name, from = entry.report.phase.as_str(),
                to = "idle", reason = "its actor died and is started again", "gateway actor restarted");
        }
        if let Some(trial) = &entry.trial {
            // Whoever waits for it learns that it ended; a trial is not started again.
            trial.send_replace(GatewayReport { phase: Phase::Parked, ..report });
            return;
        }
        let before = std::mem::replace(&mut entry.report, report);
        if decision == RestartDecision::Restart {
            self.metrics.count_actor_restart(id);
            self.start_gateway(id, ctx);
        }
        self.spawns.on_gateway_lost(now, id);
        if was_usable {
            self.note_turn(id, false, ctx);
        }
        if let Some(entry) = self.entries.get(&id) {
            self.announce_report(entry, &before);
        }
        self.publish(id);
        self.consider_election(Some(id), ctx);
    }
}
