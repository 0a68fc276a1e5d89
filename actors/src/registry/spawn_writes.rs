//! Writing down how spawns moved: many moves in one transaction; subscribers hear of each once it is written.

use actix::prelude::*;
use serde_json::{Value, json};
use tracing::warn;

use super::RegistryActor;
use crate::error::Failure;
use crate::event::EventKind;
use crate::machines::spawn_state::SpawnState;
use crate::machines::write_pace::{GATHER, Pace};
use crate::store::records::SpawnRecord;

impl RegistryActor {
    /// To be called after each decision about spawns. `urgent`: somebody waits for it to be stored.
    pub(super) fn write_spawns(&mut self, urgent: bool, ctx: &mut Context<Self>) {
        // What somebody waits for may be in the write under way, or behind it.
        if urgent || self.spawns.has_line() {
            let pace = self.write_pace.on_move(urgent);
            self.keep_pace(pace, ctx);
        }
    }

    fn keep_pace(&mut self, pace: Pace, ctx: &mut Context<Self>) {
        match pace {
            Pace::Now => {
                let writing = self.write_batch();
                ctx.spawn(writing.map(|pace, registry: &mut Self, ctx| registry.keep_pace(pace, ctx)));
            }
            Pace::Soon => {
                ctx.run_later(GATHER, |registry, ctx| {
                    let pace = registry.write_pace.gathered();
                    registry.keep_pace(pace, ctx);
                });
            }
            Pace::Wait => {}
        }
    }

    /// Writes what is in line, once: for the daemon's stop. What can't be written now is found open at the next start.
    pub(super) fn write_last_spawns(&mut self) -> ResponseActFuture<Self, ()> {
        Box::pin(self.write_batch().map(|_, _, _| ()))
    }

    fn write_batch(&mut self) -> ResponseActFuture<Self, Pace> {
        let batch = self.spawns.take_batch(self.write_pace.begin());
        if batch.is_empty() {
            let pace = self.write_pace.ended(0, true, false);
            return Box::pin(async move { pace }.into_actor(self));
        }
        let steps = batch
            .iter()
            .flat_map(|(spawn_id, moves)| moves.iter().map(|step| (spawn_id.clone(), step.clone())))
            .collect();
        let spawn_ids: Vec<String> = batch.into_iter().map(|(spawn_id, _)| spawn_id).collect();
        let store = self.store.clone();
        let write = async move { store.move_spawns(&SpawnState::OPEN, steps).await };
        Box::pin(write.into_actor(self).map(move |written, registry, _| registry.spawns_written(&spawn_ids, written)))
    }

    fn spawns_written(&mut self, spawn_ids: &[String], written: Result<Vec<SpawnRecord>, Failure>) -> Pace {
        let done = written.is_ok();
        for spawn_id in spawn_ids {
            self.spawns.written(spawn_id, done);
            let answer = match &written {
                Ok(_) if self.spawns.has_unwritten(spawn_id) => None,
                Ok(_) => Some(Ok(())),
                Err(failure) => Some(Err(failure.clone())),
            };
            if let Some(answer) = answer
                && let Some(waiter) = self.awaited_writes.remove(spawn_id)
            {
                // Who no longer waits needs no answer.
                let _ = waiter.send(answer);
            }
        }
        match written {
            Ok(records) => {
                self.metrics.set_spawns_open(self.spawns.len());
                for record in &records {
                    self.metrics.count_spawn(record.state);
                    self.events.publish(EventKind::SpawnResult, spawn_event(record));
                }
            }
            Err(failure) => {
                let first = spawn_ids.first().map(String::as_str).unwrap_or_default();
                warn!(spawn.id = first, spawns = spawn_ids.len(), %failure,
                    "how spawns moved could not be stored: tried again");
            }
        }
        self.write_pace.ended(spawn_ids.len(), done, self.spawns.has_line())
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
