//! What gateways tell of runs, and when it counts.

use std::time::Instant;

use super::{QUIET_CHECK, SpawnBook, SpawnMove};
use crate::ids::GatewayId;
use crate::machines::spawn_state::SpawnState;
use crate::run::RunStage;

/// Words on runs that nobody knows yet; the oldest is dropped beyond this.
const MAX_EARLY: usize = 1_024;
/// Words on one spawn that wait for its acceptance; a gateway's actor tells each stage once.
const MAX_EARLY_OF_ONE: usize = 8;

impl SpawnBook {
    /// A run moved on. Words on a run that isn't known yet are kept until its acceptance is.
    pub fn on_stage(
        &mut self,
        now: Instant,
        gateway: GatewayId,
        run_id: &str,
        session_key: Option<String>,
        stage: RunStage,
    ) {
        let Some(spawn_id) = self.by_run.get(&(gateway, run_id.to_owned())).cloned() else {
            self.early.push_back((gateway, run_id.to_owned(), session_key, stage));
            if self.early.len() > MAX_EARLY {
                self.early.pop_front();
            }
            return;
        };
        if let Some(spawn) = self.open.get_mut(&spawn_id) {
            if spawn.awaiting {
                if spawn.early.len() < MAX_EARLY_OF_ONE {
                    spawn.early.push((session_key, stage));
                }
                return;
            }
            spawn.doubt_since = None;
            spawn.check_at = Some(now + QUIET_CHECK);
        }
        self.move_on(&spawn_id, session_key, stage);
    }

    /// The words that waited for the acceptance. They are as old as that: a connection lost since leaves its doubt.
    pub(super) fn catch_up(&mut self, spawn_id: &str, words: Vec<(Option<String>, RunStage)>) {
        for (session_key, stage) in words {
            self.move_on(spawn_id, session_key, stage);
        }
    }

    fn move_on(&mut self, spawn_id: &str, session_key: Option<String>, stage: RunStage) {
        if let Some(spawn) = self.open.get_mut(spawn_id)
            && session_key.is_some()
        {
            spawn.session_key.clone_from(&session_key);
        }
        let mut step = match stage {
            RunStage::Running { pid } => SpawnMove { pid, ..SpawnMove::to(SpawnState::Running, None) },
            RunStage::Completed { result } => {
                SpawnMove { result: Some(result), ..SpawnMove::to(SpawnState::Completed, None) }
            }
            RunStage::Failed { error, result } => SpawnMove {
                error: Some(error),
                error_code: Some("run_failed".to_owned()),
                result: Some(result),
                ..SpawnMove::to(SpawnState::Failed, None)
            },
            RunStage::Killed { reason } => SpawnMove::to(SpawnState::Killed, Some(reason)),
        };
        step.session_key = session_key;
        // An acceptance that was lost would have told it.
        step.run_id = self.get(spawn_id).map(|spawn| spawn.run_id.clone());
        self.note(spawn_id, step);
    }
}
