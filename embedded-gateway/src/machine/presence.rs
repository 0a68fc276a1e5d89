//! Who is there: rows for the hello and `system-presence`, and the `presence` event when somebody comes or goes.
//!
//! As 2026.9.6: command lines, back ends and probes come and go all the time and are not shown. Unlike there, changes that come
//! close together make one event, so that many clients which come at once don't make as many lists of each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::GatewayMachine;
use crate::COMPATIBLE_VERSION;
use crate::caller::{Caller, Role, Scope};
use crate::clock::Now;
use crate::effect::Effect;
use crate::payload::without_nulls;
use crate::turn::Turn;

/// Most rows of a list (as in real releases); the gateway's own comes first.
const MOST_ROWS: usize = 200;
const TOGETHER: Duration = Duration::from_millis(250);
/// Modes of clients that are not shown.
const PASSING: [&str; 3] = ["cli", "backend", "probe"];

/// What has changed and isn't told yet.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// How often it was told; in the hello and with each event.
    pub version: u64,
    due: Option<Instant>,
    /// Who has left since, at most [`MOST_ROWS`].
    left: Vec<Arc<Caller>>,
}

impl Presence {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    fn changed(&mut self, now: Instant) {
        self.due.get_or_insert(now + TOGETHER);
    }
}

impl GatewayMachine {
    pub(crate) fn has_come(&mut self, caller: &Caller, now: Now) {
        if is_shown(caller) {
            self.presence.changed(now.at);
        }
    }

    /// Other channels are online than before.
    pub(crate) fn channels_changed(&mut self, now: Now) {
        self.presence.changed(now.at);
    }

    pub(super) fn has_left(&mut self, caller: Arc<Caller>, now: Now) {
        if is_shown(&caller) {
            self.presence.changed(now.at);
            if self.presence.left.len() < MOST_ROWS {
                self.presence.left.push(caller);
            }
        }
    }

    /// Tells readers who is there and who has just left, once that is due.
    pub(super) fn tell_presence(&mut self, turn: &mut Turn<'_>) {
        if self.presence.due.is_none_or(|due| turn.now.at < due) {
            return;
        }
        self.presence.due = None;
        self.presence.version += 1;
        let left = std::mem::take(&mut self.presence.left);
        let to = self.subscribers.holding(Scope::Read);
        if to.is_empty() {
            return;
        }
        let mut rows = self.presence_rows(turn.now);
        let room = MOST_ROWS.saturating_sub(rows.len());
        rows.extend(left.iter().take(room).map(|caller| row(caller, &self.boot_id, "disconnect", turn.now)));
        let payload = Arc::new(json!({ "presence": rows }));
        turn.push(Effect::TellPresence { to, payload, version: self.presence.version });
    }

    pub(crate) fn presence_rows(&self, now: Now) -> Vec<Value> {
        let own = json!({
            "host": "gatewarden",
            "version": COMPATIBLE_VERSION,
            "platform": std::env::consts::OS,
            "mode": "gateway",
            "reason": "self",
            "instanceId": self.boot_id,
            "text": format!("Gateway: gatewarden · app {COMPATIBLE_VERSION} · mode gateway · reason self"),
            "ts": now.wall_ms,
        });
        let shown = self.subscribers.callers().filter(|caller| is_shown(caller));
        let others = shown.take(MOST_ROWS - 1).map(|caller| row(caller, &self.boot_id, "connect", now));
        let channels = self.channels.presence().map(|(key, is_online)| {
            json!({
                "host": key.to_string(),
                "mode": "channel",
                "channel": key.kind.id(),
                "accountId": key.id,
                "online": is_online,
                "reason": if is_online { "connect" } else { "disconnect" },
                "instanceId": format!("{}-{key}", self.boot_id),
                "text": format!("Channel: {key} · {}", if is_online { "online" } else { "offline" }),
                "ts": now.wall_ms,
            })
        });
        std::iter::once(own).chain(channels).chain(others).take(MOST_ROWS).collect()
    }
}

fn is_shown(caller: &Caller) -> bool {
    caller.role == Role::Node || !PASSING.contains(&caller.mode.as_str())
}

fn row(caller: &Caller, boot_id: &str, reason: &str, now: Now) -> Value {
    let name = caller.display_name.as_deref().unwrap_or(&caller.client_id);
    without_nulls(json!({
        "host": name,
        "clientId": caller.client_id,
        "deviceId": caller.device_id,
        "roles": [caller.role],
        "scopes": caller.scopes,
        "instanceId": format!("{boot_id}-{}", caller.connection.0),
        "reason": reason,
        "text": format!("Node: {name} · mode {}", caller.mode),
        "mode": caller.mode,
        "ts": now.wall_ms,
    }))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::caller::{ConnectionId, caller_with};
    use crate::clock::CountingChance;
    use crate::config::{Auth, GatewayConfig};
    use crate::loading::Loaded;

    struct House {
        machine: GatewayMachine,
        now: Now,
    }

    impl House {
        fn new() -> Self {
            let config = Arc::new(GatewayConfig::defaults(PathBuf::from("state"), Auth::None));
            let mut chance = CountingChance::default();
            let now = Now::read();
            let loaded = Loaded::nothing(&config);
            let machine = GatewayMachine::new(config, loaded, &mut Turn::new(now, &mut chance));
            Self { machine, now }
        }

        fn comes(&mut self, number: u64, mode: &str, scope: &str) {
            let mut caller = caller_with(&[scope]);
            (caller.connection, caller.mode) = (ConnectionId(number), mode.to_owned());
            self.machine.subscribers.join(Arc::new(caller.clone()));
            self.machine.has_come(&caller, self.now);
        }

        /// Who is told after a while, of which rows (their reasons), with which version.
        fn told(&mut self) -> Option<(Vec<u64>, Vec<String>, u64)> {
            self.now.at += TOGETHER;
            let mut chance = CountingChance::default();
            let mut turn = Turn::new(self.now, &mut chance);
            self.machine.on_time(&mut turn);
            turn.into_effects().into_iter().find_map(|effect| match effect {
                Effect::TellPresence { to, payload, version } => {
                    let rows = payload["presence"].as_array().unwrap();
                    let reasons = rows.iter().map(|row| row["reason"].as_str().unwrap().to_owned());
                    Some((to.iter().map(|to| to.0).collect(), reasons.collect(), version))
                }
                _ => None,
            })
        }
    }

    #[test]
    fn readers_hear_who_comes_and_goes_once_for_changes_close_together() {
        let mut house = House::new();
        house.comes(1, "ui", "operator.read");
        house.comes(2, "webchat", "operator.pairing");
        assert_eq!(house.machine.next_deadline(), Some(house.now.at + TOGETHER));
        let words = |reasons: &[&str]| reasons.iter().map(|reason| (*reason).to_owned()).collect::<Vec<_>>();
        assert_eq!(house.told(), Some((vec![1], words(&["self", "connect", "connect"]), 1)));
        assert_eq!(house.machine.next_deadline(), None);
        house.machine.disconnected(ConnectionId(2), house.now);
        assert_eq!(house.told(), Some((vec![1], words(&["self", "connect", "disconnect"]), 2)));
        assert_eq!(house.told(), None);
    }

    #[test]
    fn command_lines_back_ends_and_probes_are_no_news() {
        let mut house = House::new();
        for (number, mode) in (1..).zip(PASSING) {
            house.comes(number, mode, "operator.read");
        }
        house.machine.disconnected(ConnectionId(1), house.now);
        assert_eq!(house.told(), None);
        assert_eq!(house.machine.presence_rows(house.now).len(), 1);
    }

    #[test]
    fn a_crowd_makes_a_list_of_bounded_length() {
        let mut house = House::new();
        for number in 0..300 {
            house.comes(number, "ui", "operator.read");
        }
        let (to, rows, _) = house.told().unwrap();
        assert_eq!((to.len(), rows.len()), (300, MOST_ROWS));
        for number in 0..300 {
            house.machine.disconnected(ConnectionId(number), house.now);
        }
        assert_eq!(house.told(), None, "nobody is left to be told");
    }
}
