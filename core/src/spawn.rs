//! Spawns: what was asked for, where it went and what became of it. Which state may follow which:
//!
//! ```text
//! recorded -> sent -> accepted -> running -> completed | failed | killed | lost
//!               \---------\----------\--> unknown --> any later one, never sent again
//! ```
//!
//! The rule behind the table: a spawn is never run twice. Only the daemon that recorded it sends it: one that finds it
//! `recorded` at its start takes it for sent. Once it may be on the wire nothing leads back to `recorded`, and
//! once nobody knows whether it was taken (`unknown`) nothing leads back to `sent`. `sent` may follow `sent`: another
//! gateway is tried after the first one certainly did not take it. A step may be skipped where a gateway says more than was
//! asked, as a result that overtakes the acceptance. A final state never changes.

use std::time::Duration;

use gatewarden_protocol::named;
use serde_json::Value;

use crate::ids::GatewayId;
use crate::machines::routing::RouteRequest;
use crate::run::Work;

named! {
    /// What a spawn runs.
    #[derive(Default)]
    pub enum SpawnKind {
        /// An agent with a task.
        #[default]
        Task = "task",
        /// A command with arguments.
        Command = "command",
    }
}

named! {
    /// Where a spawn is in its life.
    #[derive(Default)]
    pub enum SpawnState {
        /// Written down, with the gateway that it is about to be given to. Durable before the request is given to a connection.
        #[default]
        Recorded = "recorded",
        /// Given to a connection. Written down within moments of it: whoever finds `recorded` after a crash can't tell whether it was
        /// sent, asks that gateway, and never sends it.
        Sent = "sent",
        /// The gateway took it.
        Accepted = "accepted",
        /// It runs.
        Running = "running",
        /// It was or may have been on the wire, and what became of it is not known for the time being.
        Unknown = "unknown",
        /// Ended well. Final, as all that follow.
        Completed = "completed",
        /// Refused, or ended badly.
        Failed = "failed",
        /// Ended because somebody asked for it.
        Killed = "killed",
        /// What became of it will not be known any more.
        Lost = "lost",
    }
}

impl SpawnState {
    /// The states that can still change.
    pub const OPEN: [Self; 5] = [Self::Recorded, Self::Sent, Self::Accepted, Self::Running, Self::Unknown];

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        match self {
            Self::Recorded | Self::Sent | Self::Accepted | Self::Running | Self::Unknown => false,
            Self::Completed | Self::Failed | Self::Killed | Self::Lost => true,
        }
    }

    /// Whether this state may come after `earlier`. An open state may follow itself: more became known about it.
    pub fn may_follow(self, earlier: Self) -> bool {
        match earlier {
            Self::Completed | Self::Failed | Self::Killed | Self::Lost => false,
            // That it was sent is written first: only then can it have been accepted, run, be in doubt, or have ended well.
            Self::Recorded => matches!(self, Self::Recorded | Self::Sent | Self::Failed | Self::Killed | Self::Lost),
            Self::Sent => self != Self::Recorded,
            Self::Accepted => !matches!(self, Self::Recorded | Self::Sent),
            Self::Running => !matches!(self, Self::Recorded | Self::Sent | Self::Accepted),
            Self::Unknown => !matches!(self, Self::Recorded | Self::Sent),
        }
    }
}

/// A piece of work for some gateway, from the client's request to its answer.
#[derive(Debug, Clone)]
pub struct SpawnRequest {
    /// What is recorded of it. Its id is drawn by whoever asks; where it goes is filled in by the fleet.
    pub record: SpawnRecord,
    /// Where it should go.
    pub route: RouteRequest,
    /// What to run.
    pub work: Work,
    /// Deadline of the acceptance.
    pub timeout: Duration,
}

/// A spawn as it is recorded, without its request's text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpawnRecord {
    /// A uuid: the idempotency key on the wire, and the run's id on real gateways.
    pub spawn_id: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds of the last change.
    pub updated_at_ms: i64,
    /// What it runs.
    pub kind: SpawnKind,
    /// What of the request may be shown in lists and stored in the clear: the task's or the command's beginning, no
    /// environment. At most 500 characters are kept.
    pub summary: String,
    /// The model asked for.
    pub model: Option<String>,
    /// The gateway that it went to, or is to go to; `None` where none could take it. That gateway may be gone.
    pub gateway_id: Option<GatewayId>,
    /// Its name at that time.
    pub gateway_name: Option<String>,
    /// Why that one: `preferred`, `requested`, `primary`, `acting_primary` or `least_loaded`.
    pub route: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The caller's label.
    pub label: Option<String>,
    /// The API key that asked; `None` for the key of the configuration.
    pub key_id: Option<i64>,
    /// The session that it runs in, as the gateway said.
    pub session_key: Option<String>,
    /// The gateway's own name for the run, or the one by which it was asked about it.
    pub run_id: Option<String>,
    /// Where it is in its life.
    pub state: SpawnState,
    /// Process id at the gateway.
    pub pid: Option<i64>,
    /// The gateway's result; one above 64 KiB of JSON is left out, and says so.
    pub result: Option<Value>,
    /// Stable code of what went wrong.
    pub error_code: Option<String>,
    /// What went wrong, for a person, with the gateway's words. At most 4,000 characters are kept.
    pub error: Option<String>,
    /// Unix milliseconds; set exactly where the state is final.
    pub completed_at_ms: Option<i64>,
    /// Why it is in this state, for a person. At most 1,000 characters are kept.
    pub reason: Option<String>,
}

impl SpawnRecord {
    /// The gateway that it is for; 0, which none has, where none could take it.
    pub(crate) fn gateway(&self) -> GatewayId {
        self.gateway_id.unwrap_or(GatewayId(0))
    }
}

/// What becomes known with a step of a spawn: `None` leaves a field as it is, but for the reason of an earlier state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpawnChange {
    /// The gateway that it goes to now, by id and name.
    pub gateway: Option<(GatewayId, String)>,
    /// See [`SpawnRecord::session_key`].
    pub session_key: Option<String>,
    /// See [`SpawnRecord::run_id`].
    pub run_id: Option<String>,
    /// See [`SpawnRecord::pid`].
    pub pid: Option<i64>,
    /// See [`SpawnRecord::result`].
    pub result: Option<Value>,
    /// See [`SpawnRecord::error_code`].
    pub error_code: Option<String>,
    /// See [`SpawnRecord::error`].
    pub error: Option<String>,
    /// See [`SpawnRecord::reason`].
    pub reason: Option<String>,
    /// When it ended, where that wasn't just now.
    pub completed_at_ms: Option<i64>,
}

/// Why what is said of an open spawn may not be true any more: its gateway is silent or away, or has not said what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnDoubt {
    /// Since when without a break, wall ms.
    pub since_ms: i64,
    /// When the gateway is asked, wall ms; none while it can't be.
    pub ask_at_ms: Option<i64>,
}

/// One step of one spawn, among others.
#[derive(Debug, Clone, PartialEq)]
pub struct SpawnStep {
    /// See [`SpawnRecord::spawn_id`].
    pub spawn_id: String,
    /// The state to go to.
    pub to: SpawnState,
    /// What becomes known with it.
    pub change: SpawnChange,
}

/// The `Idempotency-Key` of a request to spawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The API key that it belongs to; 0 for the key of the configuration.
    pub key_id: i64,
    /// What the client sent. Only its hash is stored.
    pub key: String,
    /// Hash of the request's body, made by the caller; the same for the same request.
    pub body_hash: String,
}

/// How a request to record a spawn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// Recorded; to be sent now.
    New(SpawnRecord),
    /// The same request was recorded before: this is what became of it. Nothing is to be sent.
    Replay(SpawnRecord),
    /// The idempotency key was used for another request. Nothing is recorded.
    Mismatch,
}

#[cfg(test)]
mod tests;
