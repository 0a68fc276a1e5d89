//! The spawns that are under way: what is known of each, what must be written down, what must be asked.
//!
//! Rules:
//! 1. Moves are written in order, those of many spawns together; a write that fails is tried again. So the stored state
//!    lags behind at most, and never goes backwards.
//! 2. A final stage ends a spawn; whatever comes later is ignored.
//! 3. Until it is known whether the gateway took a spawn, its words about it wait: the record tells of the acceptance first.
//! 4. A spawn whose gateway was lost is asked about once the gateway is back; so is one that has been quiet for long. A
//!    gateway that knows nothing of it for some time after its return (ten minutes, a setting) makes it `lost`, as do 24 hours without the
//!    gateway, and the gateway's deletion.

mod doubt;
mod spawn_move;
mod stages;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

pub use self::doubt::{DOUBT_CHECK, LOST_AT_LATEST};
pub use self::spawn_move::SpawnMove;
use super::spawn_state::SpawnState;
use crate::ids::GatewayId;
use crate::run::RunStage;

/// A quiet running spawn is asked about this often: an event may have been missed.
pub const QUIET_CHECK: Duration = Duration::from_secs(5 * 60);
/// Why a spawn failed that no gateway took.
pub const NOT_ACCEPTED: &str = "it was not accepted";

/// One spawn under way.
#[derive(Debug, Clone)]
pub struct OpenSpawn {
    /// Where it is, or went.
    pub gateway: GatewayId,
    /// As last decided; what is stored may lag behind.
    pub state: SpawnState,
    /// The run's id on the gateway.
    pub run_id: String,
    /// Its session.
    pub session_key: Option<String>,
    unwritten: VecDeque<SpawnMove>,
    /// How many of them, from the front, are being written.
    writing: usize,
    /// Whether it waits in line for a write.
    in_line: bool,
    check_at: Option<Instant>,
    asking: bool,
    doubt_since: Option<Instant>,
    /// Whether doubt arose while the gateway was being asked: the answer is older than it.
    doubted_again: bool,
    /// Whether the gateway has yet to say if it takes it.
    awaiting: bool,
    early: Vec<(Option<String>, RunStage)>,
}

/// See the module.
#[derive(Debug)]
pub struct SpawnBook {
    lost_after: Duration,
    open: HashMap<String, OpenSpawn>,
    in_flight: HashMap<GatewayId, usize>,
    by_run: HashMap<(GatewayId, String), String>,
    early: VecDeque<(GatewayId, String, Option<String>, RunStage)>,
    /// Spawns with moves to write and none being written, each once, the longest waiting first.
    line: VecDeque<String>,
}

impl SpawnBook {
    /// An empty book. `lost_after`: how long a gateway that is back may know nothing of a spawn.
    pub fn new(lost_after: Duration) -> Self {
        Self {
            lost_after,
            open: HashMap::new(),
            in_flight: HashMap::new(),
            by_run: HashMap::new(),
            early: VecDeque::new(),
            line: VecDeque::new(),
        }
    }

    /// A recorded spawn is about to be sent.
    pub fn open(&mut self, spawn_id: &str, gateway: GatewayId) {
        self.insert(spawn_id, gateway, spawn_id, None, SpawnState::Sent);
        if let Some(spawn) = self.open.get_mut(spawn_id) {
            spawn.awaiting = true;
        }
        self.note(spawn_id, SpawnMove::to(SpawnState::Sent, None));
    }

    /// A spawn of an earlier run of the daemon that had no gateway yet: it was certainly not sent.
    pub fn end_unsent(&mut self, spawn_id: &str) {
        self.insert(spawn_id, GatewayId(0), spawn_id, None, SpawnState::Recorded);
        self.fail(spawn_id, "no_usable_gateway", "The daemon ended before a gateway could take it");
    }

    /// An open spawn of an earlier run of the daemon: in doubt until its gateway has been asked. One that is `recorded` may have
    /// been sent too: that it is `sent` is written a moment later.
    pub fn resume(
        &mut self,
        now: Instant,
        spawn_id: &str,
        gateway: GatewayId,
        run_id: Option<&str>,
        session_key: Option<String>,
        state: SpawnState,
    ) {
        self.insert(spawn_id, gateway, run_id.unwrap_or(spawn_id), session_key, state);
        let reason = Some("the daemon was restarted while it was under way".to_owned());
        if state == SpawnState::Recorded {
            self.note(spawn_id, SpawnMove::to(SpawnState::Sent, reason.clone()));
        }
        if matches!(state, SpawnState::Recorded | SpawnState::Sent) {
            self.note(spawn_id, SpawnMove::to(SpawnState::Unknown, reason));
        }
        self.doubt(now, spawn_id);
    }

    fn insert(
        &mut self,
        spawn_id: &str,
        gateway: GatewayId,
        run_id: &str,
        session_key: Option<String>,
        state: SpawnState,
    ) {
        let spawn = OpenSpawn {
            gateway,
            state,
            run_id: run_id.to_owned(),
            session_key,
            unwritten: VecDeque::new(),
            writing: 0,
            in_line: false,
            check_at: None,
            asking: false,
            doubt_since: None,
            doubted_again: false,
            awaiting: false,
            early: Vec::new(),
        };
        *self.in_flight.entry(gateway).or_default() += 1;
        self.by_run.insert((gateway, run_id.to_owned()), spawn_id.to_owned());
        self.open.insert(spawn_id.to_owned(), spawn);
    }

    /// One spawn.
    pub fn get(&self, spawn_id: &str) -> Option<&OpenSpawn> {
        self.open.get(spawn_id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Spawns under way on a gateway.
    pub fn in_flight(&self, gateway: GatewayId) -> usize {
        self.in_flight.get(&gateway).copied().unwrap_or(0)
    }

    /// The gateway certainly didn't take it: it goes to another one.
    pub fn divert(&mut self, spawn_id: &str, gateway: GatewayId, name: &str, reason: String) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        let former = std::mem::replace(&mut spawn.gateway, gateway);
        // What the former gateway said, or failed to say, is of no concern any more.
        (spawn.doubt_since, spawn.check_at) = (None, None);
        spawn.early.clear();
        let run_id = spawn.run_id.clone();
        self.leave(former, &run_id);
        *self.in_flight.entry(gateway).or_default() += 1;
        self.by_run.insert((gateway, run_id), spawn_id.to_owned());
        let step =
            SpawnMove { gateway: Some((gateway, name.to_owned())), ..SpawnMove::to(SpawnState::Sent, Some(reason)) };
        self.note(spawn_id, step);
    }

    /// The gateway took it. What it had said of the run before is taken into account now.
    pub fn accept(
        &mut self,
        now: Instant,
        spawn_id: &str,
        run_id: &str,
        session_key: Option<String>,
        pid: Option<i64>,
        running: bool,
    ) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        let gateway = spawn.gateway;
        if spawn.run_id != run_id {
            self.by_run.remove(&(gateway, std::mem::replace(&mut spawn.run_id, run_id.to_owned())));
            self.by_run.insert((gateway, run_id.to_owned()), spawn_id.to_owned());
        }
        if session_key.is_some() {
            spawn.session_key.clone_from(&session_key);
        }
        spawn.awaiting = false;
        let mut early = std::mem::take(&mut spawn.early);
        // Its connection may have been lost meanwhile: then it is still to be asked about.
        spawn.check_at.get_or_insert(now + QUIET_CHECK);
        let to = if running { SpawnState::Running } else { SpawnState::Accepted };
        let accepted = SpawnMove { run_id: Some(run_id.to_owned()), session_key, pid, ..SpawnMove::to(to, None) };
        self.note(spawn_id, accepted);
        self.early.retain(|(at, run, session, stage)| {
            let ours = *at == gateway && run == run_id;
            if ours {
                early.push((session.clone(), stage.clone()));
            }
            !ours
        });
        self.catch_up(spawn_id, early);
    }

    /// The gateway refused it for good, or nobody could take it.
    pub fn fail(&mut self, spawn_id: &str, code: &str, error: &str) {
        if let Some(spawn) = self.open.get_mut(spawn_id) {
            spawn.awaiting = false;
            spawn.early.clear();
        }
        self.note(
            spawn_id,
            SpawnMove {
                error: Some(error.to_owned()),
                error_code: Some(code.to_owned()),
                ..SpawnMove::to(SpawnState::Failed, Some(NOT_ACCEPTED.to_owned()))
            },
        );
    }

    /// It was on the wire and the answer is lost.
    pub fn lose_sight(&mut self, now: Instant, spawn_id: &str, reason: &str) {
        self.note(spawn_id, SpawnMove::to(SpawnState::Unknown, Some(reason.to_owned())));
        self.doubt(now, spawn_id);
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        spawn.awaiting = false;
        let early = std::mem::take(&mut spawn.early);
        self.catch_up(spawn_id, early);
    }

    /// Decides a move: into the book at once, onto the list of what must be written.
    fn note(&mut self, spawn_id: &str, step: SpawnMove) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        let starts = spawn.state == SpawnState::Sent && step.to == SpawnState::Sent;
        if !step.to.may_follow(spawn.state) || (step.to == spawn.state && !starts) {
            return;
        }
        spawn.state = step.to;
        spawn.unwritten.push_back(step);
        if spawn.writing == 0 && !std::mem::replace(&mut spawn.in_line, true) {
            self.line.push_back(spawn_id.to_owned());
        }
        if spawn.state.is_final() {
            let (gateway, run_id) = (spawn.gateway, spawn.run_id.clone());
            self.leave(gateway, &run_id);
        }
    }

    fn leave(&mut self, gateway: GatewayId, run_id: &str) {
        self.by_run.remove(&(gateway, run_id.to_owned()));
        if let Some(count) = self.in_flight.get_mut(&gateway) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.in_flight.remove(&gateway);
            }
        }
    }

    /// What is to be written now: whole spawns, each with its moves in order, until there are `most` moves (a spawn is never
    /// torn: its last one may exceed that). Each is left out of later batches until [`SpawnBook::written`] tells how it ended.
    pub fn take_batch(&mut self, most: usize) -> Vec<(String, Vec<SpawnMove>)> {
        let (mut batch, mut moves) = (Vec::new(), 0);
        while moves < most
            && let Some(spawn_id) = self.line.pop_front()
        {
            let Some(spawn) = self.open.get_mut(&spawn_id) else { continue };
            spawn.in_line = false;
            spawn.writing = spawn.unwritten.len();
            moves += spawn.writing;
            batch.push((spawn_id, spawn.unwritten.iter().cloned().collect()));
        }
        batch
    }

    /// The write of a spawn's moves ended. Moves that could not be written stay first, and go back in line. True where the
    /// spawn's book is closed by it.
    pub fn written(&mut self, spawn_id: &str, done: bool) -> bool {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return false };
        let taken = std::mem::take(&mut spawn.writing);
        if done {
            spawn.unwritten.drain(..taken.min(spawn.unwritten.len()));
        }
        if !spawn.unwritten.is_empty() {
            if !std::mem::replace(&mut spawn.in_line, true) {
                self.line.push_back(spawn_id.to_owned());
            }
            return false;
        }
        let closed = done && spawn.state.is_final();
        if closed {
            self.open.remove(spawn_id);
        }
        closed
    }

    /// Whether something decided about a spawn isn't written yet.
    pub fn has_unwritten(&self, spawn_id: &str) -> bool {
        self.open.get(spawn_id).is_some_and(|spawn| !spawn.unwritten.is_empty())
    }

    /// Whether any spawn waits in line for a write.
    pub fn has_line(&self) -> bool {
        !self.line.is_empty()
    }
}

#[cfg(test)]
mod tests;
