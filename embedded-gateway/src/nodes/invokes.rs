//! Commands that nodes are carrying out, until they answer, their time is up, or the node is gone.
//!
//! A command is sent once. Who asks for it again by the same key waits for the same answer, or is told it again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::{CallError, ReplyTo};
use crate::caller::ConnectionId;

/// Under way at a time, of all nodes together and of one.
const MOST: usize = 256;
const MOST_OF_A_NODE: usize = 32;
/// Who waits for one answer.
const MOST_WAITING: usize = 8;
/// Answers that are kept for who asks again: how many, how large, how long.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 16 * 1024;
const KEPT_FOR: Duration = Duration::from_secs(600);
/// When a caller may try again that found no room.
const RETRY_MS: u64 = 1_000;
/// Longest words of a node about what went wrong, in characters.
const MOST_WORDS: usize = 4_096;

/// A command that is wanted of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewInvoke {
    pub node: String,
    /// The node's.
    pub connection: ConnectionId,
    pub command: String,
    /// By which the caller knows this wish from others, and whose keys it is among.
    pub key: (String, String),
    /// Of command and parameters: a key stands for one wish.
    pub digest: String,
    pub timeout: Duration,
    pub reply_to: ReplyTo,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Started {
    /// It is to be sent to the node.
    Send,
    /// It is under way already, and will be answered.
    Waits,
    /// It has ended before.
    Ended(Result<Value, CallError>),
}

#[derive(Debug)]
struct Running {
    wanted: NewInvoke,
    waiting: Vec<ReplyTo>,
    until: Instant,
}

#[derive(Debug)]
struct Finished {
    node: String,
    key: (String, String),
    digest: String,
    outcome: Result<Value, CallError>,
    at: Instant,
}

/// A command that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub id: String,
    pub node: String,
    /// The node's.
    pub connection: ConnectionId,
    pub command: String,
    pub waiting: Vec<ReplyTo>,
}

#[derive(Debug, Default)]
pub(crate) struct Invokes {
    running: BTreeMap<String, Running>,
    finished: VecDeque<Finished>,
    /// Whose node has gone, until somebody tells those who wait.
    lost: Vec<Ended>,
    lost_at: Option<Instant>,
}

impl Invokes {
    /// Takes on a wish under this id.
    pub(crate) fn start(&mut self, id: &str, wanted: NewInvoke, now: Instant) -> Result<Started, CallError> {
        self.forget_old(now);
        let is_same = |node: &str, key: &(String, String)| node == wanted.node && *key == wanted.key;
        if let Some(running) = self.running.values_mut().find(|one| is_same(&one.wanted.node, &one.wanted.key)) {
            same_wish(&running.wanted.digest, &wanted.digest)?;
            if running.waiting.len() >= MOST_WAITING {
                return Err(full(format!("{MOST_WAITING} requests wait for the answer to this command already")));
            }
            running.waiting.push(wanted.reply_to);
            return Ok(Started::Waits);
        }
        if let Some(finished) = self.finished.iter().find(|one| is_same(&one.node, &one.key)) {
            same_wish(&finished.digest, &wanted.digest)?;
            return Ok(Started::Ended(finished.outcome.clone()));
        }
        if self.running.len() >= MOST {
            return Err(full(format!("nodes are carrying out {MOST} commands, the most at a time")));
        }
        if self.running.values().filter(|running| running.wanted.node == wanted.node).count() >= MOST_OF_A_NODE {
            return Err(full(format!("the node is carrying out {MOST_OF_A_NODE} commands, the most at a time")));
        }
        let (waiting, until) = (vec![wanted.reply_to.clone()], now + wanted.timeout);
        self.running.insert(id.to_owned(), Running { wanted, waiting, until });
        Ok(Started::Send)
    }

    /// What a node is at under this id, by this connection.
    pub(crate) fn command(&self, id: &str, connection: ConnectionId) -> Option<&str> {
        let running = self.running.get(id).filter(|running| running.wanted.connection == connection);
        running.map(|running| running.wanted.command.as_str())
    }

    /// A command has ended like this. Those who wait for it are to be answered. None where it isn't under way (any more), or not
    /// by this connection.
    pub(crate) fn end(
        &mut self,
        id: &str,
        connection: ConnectionId,
        outcome: &Result<Value, CallError>,
        now: Instant,
    ) -> Option<Ended> {
        self.command(id, connection)?;
        let Running { wanted, waiting, .. } = self.running.remove(id)?;
        Some(self.finish(id.to_owned(), wanted, waiting, kept(outcome), now))
    }

    fn finish(
        &mut self,
        id: String,
        wanted: NewInvoke,
        waiting: Vec<ReplyTo>,
        outcome: Result<Value, CallError>,
        at: Instant,
    ) -> Ended {
        if self.finished.len() >= KEPT {
            self.finished.pop_front();
        }
        let NewInvoke { node, connection, command, key, digest, .. } = wanted;
        self.finished.push_back(Finished { node: node.clone(), key, digest, outcome, at });
        Ended { id, node, connection, command, waiting }
    }

    /// Those whose time is up.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<(String, ConnectionId)> {
        let overdue = self.running.iter().filter(|(_, running)| running.until <= now);
        overdue.map(|(id, running)| (id.clone(), running.wanted.connection)).collect()
    }

    pub(crate) fn all(&self) -> Vec<(String, ConnectionId)> {
        self.running.iter().map(|(id, running)| (id.clone(), running.wanted.connection)).collect()
    }

    /// A node's connection is gone: what it was at has an end that nobody knows. [`Self::take_lost`] tells of it.
    pub(super) fn lose(&mut self, connection: ConnectionId, now: Instant) {
        let ids = self.all().into_iter().filter(|(_, by)| *by == connection).map(|(id, _)| id);
        for id in ids.collect::<Vec<_>>() {
            if let Some(Running { wanted, waiting, .. }) = self.running.remove(&id) {
                let ended = self.finish(id, wanted, waiting, Err(gone()), now);
                self.lost.push(ended);
                self.lost_at = Some(now);
            }
        }
    }

    /// Those whose node has gone since the last time, and what they are answered.
    pub(crate) fn take_lost(&mut self) -> Vec<(Ended, CallError)> {
        self.lost_at = None;
        std::mem::take(&mut self.lost).into_iter().map(|ended| (ended, gone())).collect()
    }

    /// When somebody has to look again; a time that has passed where something is lost.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lost_at.or_else(|| self.running.values().map(|running| running.until).min())
    }

    pub(super) fn forget_old(&mut self, now: Instant) {
        self.finished.retain(|finished| now.saturating_duration_since(finished.at) < KEPT_FOR);
    }
}

/// What a node says that went wrong, as real gateways pass it on.
pub(crate) fn error_of_node(code: Option<&str>, message: Option<&str>) -> CallError {
    let short = |text: &str| text.chars().take(MOST_WORDS).collect::<String>();
    let (code, message) = (code.map(short), message.map_or_else(|| "node invoke failed".to_owned(), short));
    let sentence = code.as_ref().map_or_else(|| message.clone(), |code| format!("{code}: {message}"));
    CallError::unavailable(sentence)
        .with_details(json!({"nodeError": {"code": code, "message": message}, "nodeCommandDispatched": true}))
}

fn gone() -> CallError {
    error_of_node(Some("NOT_CONNECTED"), Some("node disconnected; whether it carried the command out is not known"))
}

fn full(what: String) -> CallError {
    CallError::unavailable(format!("{what}; try again in a moment")).retry_after(RETRY_MS)
}

fn same_wish(one: &str, other: &str) -> Result<(), CallError> {
    if one == other {
        return Ok(());
    }
    Err(CallError::invalid("idempotencyKey stands for another command or other parameters; use a new one"))
}

/// As much of an answer as is remembered.
fn kept(outcome: &Result<Value, CallError>) -> Result<Value, CallError> {
    match outcome {
        Ok(payload) => match payload.to_string().len() {
            bytes if bytes > KEPT_BYTES => Err(CallError::unavailable(format!(
                "this command was carried out already; its answer of {bytes} bytes was not kept. A new idempotencyKey has it carried \
                out again"
            ))
            .with_details(json!({"code": "RESULT_NOT_KEPT", "bytes": bytes}))),
            _ => Ok(payload.clone()),
        },
        Err(error) => Err(error.clone()),
    }
}
