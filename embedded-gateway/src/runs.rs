//! Runs: a message to an agent, or a command, and the process that works on it. Pure: what a process tells comes in as
//! [`ProcessNews`](crate::effect::ProcessNews), what is to be done goes out as effects.
//!
//! - A session has one process at a time. A message that comes meanwhile waits its turn, at most [`QUEUE`] of them; each is
//!   a run of its own, started when the one before it has ended. (Real gateways hand it to the run under way, which a
//!   process that has read its input can't take.)
//! - A run's id is the caller's idempotency key where there is one. The same key with the same parameters is answered from
//!   memory and never run twice, as long as the run is remembered (`limits.finishedRuns`).
//! - A run is `running` only after its program was executed; it ends with its process.

pub(crate) mod agent_lines;
mod answer;
mod approvals;
mod beginning;
mod events;
mod news;
mod replies;
mod run;
mod steering;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use crate::agents::Agents;
use crate::caller::ConnectionId;
use crate::config::GatewayConfig;
use crate::effect::{LogLevel, RunId};
use crate::sessions::Sessions;
use crate::subscribers::Subscribers;
use crate::turn::Turn;

pub(crate) use beginning::{NewRun, RunRequest, fingerprint, is_of_gateway};
pub(crate) use run::{Asked, ControlAction, Ending, Run, RunState};

pub(crate) const QUEUE: usize = 8;
/// Bytes of all messages that wait, together.
pub(crate) const QUEUED_BYTES: usize = 32 * 1024 * 1024;
/// Callers that may wait for ends (`agent.wait`), together.
pub(crate) const WAITERS: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub sessions: &'a mut Sessions,
    pub agents: &'a Agents,
    pub subscribers: &'a Subscribers,
    pub config: &'a GatewayConfig,
}

#[derive(Debug, Default)]
struct Lane {
    active: Option<RunId>,
    queue: VecDeque<RunId>,
}

#[derive(Debug, Default)]
pub(crate) struct Runs {
    by_id: HashMap<RunId, Run>,
    lanes: BTreeMap<String, Lane>,
    finished: beginning::Finished,
    approvals: approvals::Approvals,
    queued_bytes: usize,
    /// Those that have ended since somebody asked.
    ended: Vec<RunId>,
}

impl Runs {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn get(&self, id: &RunId) -> Option<&Run> {
        self.by_id.get(id)
    }

    /// Which runs have ended since this was asked for last.
    pub(crate) fn take_ended(&mut self) -> Vec<RunId> {
        std::mem::take(&mut self.ended)
    }

    pub(crate) fn processes(&self) -> usize {
        self.under_way().filter(|run| run.state.has_process()).count()
    }

    /// How many wait for the run before them.
    pub(crate) fn queued(&self) -> usize {
        self.lanes.values().map(|lane| lane.queue.len()).sum()
    }

    /// Those that have not ended, in order of their sessions.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = &Run> {
        self.lanes.values().flat_map(|lane| lane.active.iter().chain(&lane.queue)).filter_map(|id| self.by_id.get(id))
    }

    /// Those of one session that have not ended, the one with the process first.
    pub(crate) fn of_session(&self, key: &str) -> Vec<&Run> {
        let lane = self.lanes.get(key);
        lane.into_iter()
            .flat_map(|lane| lane.active.iter().chain(&lane.queue))
            .filter_map(|id| self.by_id.get(id))
            .collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let of_runs = self.under_way().filter_map(|run| {
            run.answer.due().into_iter().chain(run.waiters.iter().map(|waiter| waiter.deadline)).min()
        });
        of_runs.chain(self.approvals.deadline()).min()
    }

    /// A connection is gone: what was owed to it isn't any more. Its runs go on.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId) {
        for run in self.by_id.values_mut().filter(|run| run.state.end().is_none()) {
            run.replies.retain(|reply| reply.connection != connection);
            run.waiters.retain(|waiter| waiter.reply.connection != connection);
            run.controls.retain(|control| control.reply.connection != connection);
        }
    }

    fn waiters(&self) -> usize {
        self.under_way().map(|run| run.waiters.len()).sum()
    }
}

fn log(run: &Run, level: LogLevel, message: String, extra: serde_json::Value, turn: &mut Turn<'_>) {
    turn.log_with(level, &run.agent_id, Some(&run.session_key), message, extra);
}

/// Tells what an agent is at (document 002). A command that runs for no agent counts after all agents.
fn tell_agent_status(run: &Run, status: &str, activity: &str, parts: &Parts<'_>, turn: &mut Turn<'_>) {
    let agents = parts.agents.list();
    let place = agents.iter().position(|agent| agent.id == run.agent_id).or_else(|| {
        parts.config.commands.keys().position(|name| *name == run.template).map(|place| agents.len() + place)
    });
    let emitter = events::EventEmitter::new(parts.subscribers, turn);
    emitter.agent_status(place.map_or(0, |place| place + 1), &run.agent_id, status, activity, turn);
}

/// A caller's word, short and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(100).map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
