//! Spawns in doubt: their gateway was lost, or has been quiet for long. Whom to ask, and when to give up.

use std::time::{Duration, Instant};

use super::{QUIET_CHECK, SpawnBook, SpawnMove};
use crate::ids::GatewayId;
use crate::machines::spawn_state::SpawnState;

/// A doubtful one is asked about this often while its gateway is usable; more often where it would be lost sooner.
pub const DOUBT_CHECK: Duration = Duration::from_secs(15);
/// How long a spawn may be in doubt at all.
pub const LOST_AT_LATEST: Duration = Duration::from_secs(24 * 3600);

impl SpawnBook {
    /// The connection to a gateway was lost: everything there is in doubt until it has been asked.
    pub fn on_gateway_lost(&mut self, now: Instant, gateway: GatewayId) {
        let there: Vec<String> = self.on(gateway);
        for spawn_id in there {
            self.doubt(now, &spawn_id);
        }
    }

    /// The gateway was deleted: what was there can't be known any more.
    pub fn on_gateway_deleted(&mut self, gateway: GatewayId) {
        for spawn_id in self.on(gateway) {
            self.give_up(&spawn_id, "its gateway was deleted");
        }
    }

    fn on(&self, gateway: GatewayId) -> Vec<String> {
        if self.in_flight(gateway) == 0 {
            return Vec::new();
        }
        self.open.iter().filter(|(_, spawn)| spawn.gateway == gateway).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn doubt(&mut self, now: Instant, spawn_id: &str) {
        if let Some(spawn) = self.open.get_mut(spawn_id).filter(|spawn| !spawn.state.is_final()) {
            spawn.doubted_again |= spawn.asking;
            spawn.doubt_since.get_or_insert(now);
            spawn.check_at = Some(now);
        }
    }

    fn give_up(&mut self, spawn_id: &str, reason: &str) {
        let Some(spawn) = self.open.get(spawn_id) else { return };
        // An acceptance that was answered may not have been stored when the daemon was killed: the record still names the
        // run that its client was told of, which is the one that the gateway was asked about.
        let (run_id, session_key) = (Some(spawn.run_id.clone()), spawn.session_key.clone());
        let lost = SpawnMove { run_id, session_key, ..SpawnMove::to(SpawnState::Lost, Some(reason.to_owned())) };
        self.note(spawn_id, lost);
    }

    /// The spawns whose gateways must be asked now: spawn, gateway, run, session. `usable_since` says since when a gateway
    /// is usable. At most `most`; those in doubt for too long are given up instead. O(open spawns).
    pub fn due(
        &mut self,
        now: Instant,
        most: usize,
        usable_since: impl Fn(GatewayId) -> Option<Instant>,
    ) -> Vec<(String, GatewayId, String, Option<String>)> {
        let mut due = Vec::new();
        let mut overdue = Vec::new();
        for (spawn_id, spawn) in &mut self.open {
            if spawn.state.is_final() || spawn.asking || spawn.awaiting {
                continue;
            }
            if spawn.doubt_since.is_some_and(|since| now.saturating_duration_since(since) >= LOST_AT_LATEST) {
                overdue.push(spawn_id.clone());
                continue;
            }
            if due.len() < most && spawn.check_at.is_some_and(|at| at <= now) && usable_since(spawn.gateway).is_some() {
                spawn.asking = true;
                due.push((spawn_id.clone(), spawn.gateway, spawn.run_id.clone(), spawn.session_key.clone()));
            }
        }
        for spawn_id in overdue {
            self.give_up(&spawn_id, "its gateway did not come back within 24 hours");
        }
        due
    }

    /// The spawn of a run, while it is under way.
    pub fn spawn_of(&self, gateway: GatewayId, run_id: &str) -> Option<String> {
        self.by_run.get(&(gateway, run_id.to_owned())).cloned()
    }

    /// The question about it was answered.
    pub fn answered(&mut self, spawn_id: &str) {
        if let Some(spawn) = self.open.get_mut(spawn_id) {
            (spawn.asking, spawn.doubted_again) = (false, false);
        }
    }

    /// The gateway says that it is under way.
    pub fn found_running(&mut self, now: Instant, spawn_id: &str, session_key: Option<String>) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        spawn.asking = false;
        // The connection may have been lost between its answer and now: then it is asked again.
        if !std::mem::take(&mut spawn.doubted_again) {
            spawn.doubt_since = None;
            spawn.check_at = Some(now + QUIET_CHECK);
        }
        let run_id = Some(spawn.run_id.clone());
        self.note(spawn_id, SpawnMove { run_id, session_key, ..SpawnMove::to(SpawnState::Running, None) });
    }

    /// The gateway knows nothing of it, or couldn't be asked. `usable_since` is the gateway's return.
    pub fn found_nothing(&mut self, now: Instant, spawn_id: &str, usable_since: Option<Instant>) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        (spawn.asking, spawn.doubted_again) = (false, false);
        spawn.check_at = Some(now + DOUBT_CHECK.min(self.lost_after / 4));
        let since = *spawn.doubt_since.get_or_insert(now);
        let Some(back) = usable_since else { return };
        if now.saturating_duration_since(back.max(since)) >= self.lost_after {
            self.give_up(spawn_id, "its gateway is back and knows nothing of it");
        } else if matches!(spawn.state, SpawnState::Accepted | SpawnState::Running) {
            self.note(spawn_id, SpawnMove::to(SpawnState::Unknown, Some("its gateway could not tell".to_owned())));
        }
    }
}
