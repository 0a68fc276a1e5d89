//! When the sessions and what agents are doing are told, and that nothing is told twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::words;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::GatewayNotice;
use super::active::ActiveConnection;
use super::turn::Turn;
use crate::gateway_report::{SessionSnapshot, SharedSessions};

/// At least this long between two snapshots: events come in bursts, and each snapshot holds all rows.
const BETWEEN: Duration = Duration::from_millis(250);
/// Agents of which there may be news at one time; what goes beyond is dropped.
const MAX_AGENTS: usize = 256;

/// What a gateway says of one of its agents (`agent.status` of document 002).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentNews {
    /// The agent's name there.
    pub name: String,
    /// What it is doing, in the gateway's word.
    pub status: String,
    /// Unix seconds of its last sign of life, where told.
    pub last_seen: Option<i64>,
    /// What it did last, where told.
    pub last_activity: Option<String>,
}

impl AgentNews {
    /// Reads the event's payload; none where it names no agent or no status.
    pub fn read(payload: &Value) -> Option<Self> {
        let text = |name: &str| payload.get(name)?.as_str().map(words::shown).filter(|text| !text.is_empty());
        Some(Self {
            name: text("name")?,
            status: text("status")?,
            last_seen: payload.get("last_seen").and_then(Value::as_i64).filter(|at| *at > 0),
            last_activity: text("last_activity"),
        })
    }
}

/// What was told last, and whether there is news.
#[derive(Debug, Default)]
pub(super) struct SessionPublisher {
    last: Option<SharedSessions>,
    told_at: Option<Instant>,
    changed: bool,
    news_ms: i64,
    /// What the rows told last take, where the table that they came from is gone.
    lost_bytes: usize,
    /// The latest word on each agent since agents were told last.
    agents: BTreeMap<String, AgentNews>,
    agents_told_at: Option<Instant>,
}

impl SessionPublisher {
    /// The table changed, or may have.
    pub(super) fn note(&mut self, wall_ms: i64) {
        self.changed = true;
        self.news_ms = wall_ms;
    }

    /// The gateway says what one of its agents is doing.
    pub(super) fn note_agent(&mut self, news: AgentNews) {
        if self.agents.len() < MAX_AGENTS || self.agents.contains_key(&news.name) {
            self.agents.insert(news.name.clone(), news);
        }
    }

    /// The connection is gone: what was told stays, and news of the table that went with it isn't told any more.
    pub(super) fn connection_lost(&mut self) {
        self.changed = false;
        self.agents.clear();
        self.lost_bytes = self.last.iter().flat_map(|last| &last.rows).map(|row| row.held_bytes()).sum();
    }

    /// Another gateway: what was told of the old one isn't compared with.
    pub(super) fn forget(&mut self) {
        *self = Self { told_at: self.told_at, ..Self::default() };
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.lost_bytes
    }

    /// When there is something to tell.
    pub(super) fn next_deadline(&self, active: Option<&ActiveConnection>, now: Instant) -> Option<Instant> {
        [self.sessions_due(active, now), self.agents_due(now)].into_iter().flatten().min()
    }

    fn sessions_due(&self, active: Option<&ActiveConnection>, now: Instant) -> Option<Instant> {
        let news = self.changed && active.is_some_and(ActiveConnection::knows_sessions);
        news.then(|| self.told_at.map_or(now, |told| told + BETWEEN))
    }

    fn agents_due(&self, now: Instant) -> Option<Instant> {
        (!self.agents.is_empty()).then(|| self.agents_told_at.map_or(now, |told| told + BETWEEN))
    }

    /// Tells the sessions if they changed and it is time; so with the agents.
    pub(super) fn publish(&mut self, turn: &mut Turn<'_>, active: Option<&mut ActiveConnection>) {
        let now = turn.moment.now;
        if self.agents_due(now).is_some_and(|due| now >= due) {
            self.agents_told_at = Some(now);
            turn.notify(GatewayNotice::Agents(std::mem::take(&mut self.agents).into_values().collect()));
        }
        let Some(active) = active else { return };
        if self.sessions_due(Some(active), now).is_none_or(|due| now < due) {
            return;
        }
        self.changed = false;
        let rows = active.sessions.newest_first();
        let complete = active.sessions.is_known();
        let same = self.last.as_deref().is_some_and(|last| {
            last.complete == complete && last.rows.len() == rows.len() && last.rows.iter().eq(rows.iter().copied())
        });
        if same {
            return;
        }
        let rows = active.sessions.give_out();
        self.lost_bytes = 0;
        let snapshot = Arc::new(SessionSnapshot { rows, as_of_ms: self.news_ms, complete });
        self.last = Some(Arc::clone(&snapshot));
        self.told_at = Some(now);
        turn.notify(GatewayNotice::Sessions(snapshot));
    }
}
