//! What everybody who listens is told: that the gateway is there, and that it stops.

use serde_json::json;

use super::GatewayMachine;
use crate::caller::ConnectionId;
use crate::sessions::tick_snapshot;
use crate::turn::Turn;

impl GatewayMachine {
    /// The `tick` event. Real releases send the time alone; document 002 shows the sessions with it. Those go only to who may
    /// read them.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.wall_ms;
        let (readers, others): (Vec<_>, Vec<_>) =
            self.subscribers.callers().cloned().partition(|caller| caller.holds(crate::caller::Scope::Read));
        let numbers = |callers: Vec<std::sync::Arc<crate::caller::Caller>>| -> Vec<ConnectionId> {
            callers.iter().map(|caller| caller.connection).collect()
        };
        if !readers.is_empty() {
            let snapshot = tick_snapshot(&self.sessions, now);
            turn.tell(numbers(readers), "tick", json!({"ts": now, "snapshot": snapshot}));
        }
        turn.tell(numbers(others), "tick", json!({"ts": now}));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The gateway stops: everybody is told before anything is ended.
    pub(crate) fn stopping(&mut self, turn: &mut Turn<'_>) {
        self.stopping = true;
        let all = self.subscribers.callers().map(|caller| caller.connection).collect();
        turn.tell(all, "shutdown", json!({"reason": "gateway stopping", "restartExpectedMs": null}));
        let (runs, mut parts) = self.runs();
        runs.stop(&mut parts, turn);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::caller::caller_with;
    use crate::clock::{CountingChance, Now};
    use crate::config::{Auth, GatewayConfig};
    use crate::effect::Effect;
    use crate::loading::Loaded;

    fn told(decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>)) -> Vec<(u64, String, serde_json::Value)> {
        let config = Arc::new(GatewayConfig::defaults(PathBuf::from("state"), Auth::None));
        let mut chance = CountingChance::default();
        let mut turn = Turn::new(Now::read(), &mut chance);
        let loaded = Loaded::nothing(&config);
        let mut machine = GatewayMachine::new(config, loaded, &mut turn);
        for (number, scope) in [(1, "operator.read"), (2, "operator.pairing")] {
            let mut caller = caller_with(&[scope]);
            caller.connection = ConnectionId(number);
            machine.subscribers.join(Arc::new(caller));
        }
        decide(&mut machine, &mut turn);
        let mut told = Vec::new();
        for effect in turn.into_effects() {
            if let Effect::Tell { to, event, payload } = effect {
                told.extend(to.iter().map(|connection| (connection.0, event.clone(), (*payload).clone())));
            }
        }
        told
    }

    #[test]
    fn a_tick_shows_sessions_only_to_those_who_may_read_them() {
        let told = told(GatewayMachine::tick);
        assert_eq!(told.len(), 2);
        for (connection, event, payload) in told {
            assert_eq!(event, "tick");
            assert!(payload["ts"].is_i64());
            assert_eq!(payload["snapshot"]["sessions"].is_array(), connection == 1, "{payload}");
        }
    }

    #[test]
    fn everybody_is_told_of_the_end() {
        let told = told(GatewayMachine::stopping);
        assert_eq!(
            told.iter().map(|(connection, event, _)| (*connection, event.as_str())).collect::<Vec<_>>(),
            [(1, "shutdown"), (2, "shutdown")]
        );
    }
}
