//! The spawns that are under way: what is known of each, what must be written down, what must be asked.
//!
//! Rules:
//! 1. Steps are written in order, those of many spawns together; a write that fails is tried again. So the stored state
//!    lags behind at most, and never goes backwards.
//! 2. A final stage ends a spawn; whatever comes later is ignored.
//! 3. Until it is known whether the gateway took a spawn, its words about it wait: the record tells of the acceptance first.
//! 4. A spawn whose gateway was lost is asked about once the gateway is back; so is one that is quiet, seconds after the last that
//!    was heard of it. A gateway that knows nothing of it for some time after its return (ten minutes, a setting; a minute where it never said that it took it) makes it `lost`,
//!    as do 24 hours without the gateway, and the gateway's deletion.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::ids::GatewayId;
use crate::spawn::{RunNotice, RunStage, SpawnRecord, SpawnState};

/// A quiet spawn is asked about this soon after the last that was heard of it, since an event may have been missed or never sent; then
/// after twice as long each time.
pub(crate) const FIRST_CHECK: Duration = Duration::from_secs(10);
/// The longest time between two such questions. A gateway that can't tell of a spawn that was quiet for so long makes it `unknown`.
pub(crate) const QUIET_CHECK: Duration = Duration::from_secs(5 * 60);
/// A doubtful one is asked about this soon after the doubt arose or its gateway returned, then after twice as long each time.
pub(crate) const FIRST_DOUBT_CHECK: Duration = Duration::from_secs(2);
/// The longest time between two such questions while its gateway is usable; shorter where it would be lost sooner.
pub(crate) const DOUBT_CHECK: Duration = Duration::from_secs(15);
/// One that its gateway never said to have taken is lost so soon after the gateway's return: a gateway that took it would know it.
pub(crate) const NEVER_TAKEN_LOST_AFTER: Duration = Duration::from_secs(60);
/// How long a spawn may be in doubt at all.
pub(crate) const LOST_AT_LATEST: Duration = Duration::from_secs(24 * 3600);
/// Why a spawn failed that no gateway took.
pub(crate) const NOT_ACCEPTED: &str = "it was not accepted";
/// Of an end that was found out only when the gateway was asked.
const FOUND_OUT: &str = "it ended at the latest then: its gateway did not say when, and was asked";
/// Words on runs that nobody knows, or knows to be accepted, yet; the oldest is dropped beyond this.
const MAX_EARLY: usize = 1_024;

/// One spawn under way.
#[derive(Debug, Clone)]
pub(crate) struct OpenSpawn {
    /// Where it is, or went.
    pub(crate) gateway: GatewayId,
    /// As last decided; what is stored may lag behind.
    pub(crate) state: SpawnState,
    /// The run's id on the gateway.
    pub(crate) run_id: String,
    pub(crate) session_key: Option<String>,
    unwritten: VecDeque<SpawnRecord>,
    /// How many of them, from the front, are being written.
    writing: usize,
    /// Whether it waits in line for a write.
    in_line: bool,
    check_at: Option<Instant>,
    asking: bool,
    /// When the gateway said something of it by itself, and how long to wait for more before it is asked.
    heard: Option<(Instant, Duration)>,
    doubt_since: Option<Instant>,
    /// How long to wait after the next question about it that tells nothing.
    doubt_pause: Duration,
    /// Whether the connection to its gateway, or the daemon, ended while it was under way.
    was_cut_off: bool,
    /// Whether doubt arose while the gateway was being asked: the answer is older than it.
    doubted_again: bool,
    /// Whether the gateway has yet to say if it takes it.
    awaiting: bool,
    /// Whether its answer to that was lost, and nothing else was heard of it.
    never_taken: bool,
}

/// A question to a gateway: what became of a spawn's run?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) spawn_id: String,
    pub(crate) gateway: GatewayId,
    pub(crate) run_id: String,
    pub(crate) session_key: Option<String>,
}

/// Keeps all spawns from the moment they are recorded until their end is written down.
#[derive(Debug)]
pub(crate) struct SpawnTracker {
    lost_after: Duration,
    /// In order, so that the same history always asks the same.
    open: BTreeMap<String, OpenSpawn>,
    in_flight: HashMap<GatewayId, usize>,
    by_run: HashMap<(GatewayId, String), String>,
    /// What gateways said of runs too early.
    early: Vec<(GatewayId, RunNotice)>,
    /// Spawns with steps to write and none being written, each once, the longest waiting first.
    line: VecDeque<String>,
    /// Runs that nobody asks about any more, though their gateways told no end.
    given_up: Vec<(GatewayId, String)>,
}

impl SpawnTracker {
    /// `lost_after`: how long a gateway that is back may know nothing of a spawn.
    pub(crate) fn new(lost_after: Duration) -> Self {
        Self {
            lost_after,
            open: BTreeMap::new(),
            in_flight: HashMap::new(),
            by_run: HashMap::new(),
            early: Vec::new(),
            line: VecDeque::new(),
            given_up: Vec::new(),
        }
    }

    pub(crate) fn get(&self, spawn_id: &str) -> Option<&OpenSpawn> {
        self.open.get(spawn_id)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Entries that are kept for spawns under way.
    pub(crate) fn waiting(&self) -> usize {
        self.open.len() + self.in_flight.len() + self.by_run.len() + self.early.len() + self.line.len()
    }

    /// Whether nothing has ended it yet.
    pub(crate) fn is_open(&self, spawn_id: &str) -> bool {
        self.get(spawn_id).is_some_and(|spawn| !spawn.state.is_final())
    }

    /// Spawns under way on a gateway.
    pub(crate) fn in_flight(&self, gateway: GatewayId) -> usize {
        self.in_flight.get(&gateway).copied().unwrap_or(0)
    }

    /// A recorded spawn is given to a gateway.
    pub(crate) fn open(&mut self, spawn_id: &str, gateway: GatewayId) {
        self.insert(spawn_id, gateway, spawn_id, None, SpawnState::Sent).awaiting = true;
        self.note(spawn_id, SpawnState::Sent, SpawnRecord::default());
    }

    /// An open spawn of an earlier run of the daemon: in doubt until its gateway has been asked. One that is `recorded` may have
    /// been sent too: that it is `sent` is written a moment after the request is given to the connection. One that had no
    /// gateway yet was certainly not sent.
    pub(crate) fn resume(&mut self, now: Instant, record: &SpawnRecord) {
        let (spawn_id, state) = (&record.spawn_id, record.state);
        let run_id = record.run_id.as_ref().unwrap_or(spawn_id);
        self.insert(spawn_id, record.gateway(), run_id, record.session_key.clone(), state);
        if state == SpawnState::Recorded && record.gateway_name.is_none() {
            return self.fail(spawn_id, "no_usable_gateway", "The daemon ended before a gateway could take it");
        }
        let change = because("the daemon was restarted while it was under way");
        if state == SpawnState::Recorded {
            self.note(spawn_id, SpawnState::Sent, change.clone());
        }
        if matches!(state, SpawnState::Recorded | SpawnState::Sent) {
            self.note(spawn_id, SpawnState::Unknown, change);
        }
        self.cut_off(now, spawn_id);
    }

    fn insert(
        &mut self,
        spawn_id: &str,
        gateway: GatewayId,
        run_id: &str,
        session_key: Option<String>,
        state: SpawnState,
    ) -> &mut OpenSpawn {
        *self.in_flight.entry(gateway).or_default() += 1;
        self.by_run.insert((gateway, run_id.to_owned()), spawn_id.to_owned());
        self.open
            .entry(spawn_id.to_owned())
            .insert_entry(OpenSpawn {
                gateway,
                state,
                run_id: run_id.to_owned(),
                session_key,
                unwritten: VecDeque::new(),
                writing: 0,
                in_line: false,
                check_at: None,
                asking: false,
                heard: None,
                doubt_since: None,
                doubt_pause: FIRST_DOUBT_CHECK,
                was_cut_off: false,
                doubted_again: false,
                awaiting: false,
                never_taken: false,
            })
            .into_mut()
    }

    /// The gateway certainly didn't take it: it goes to another one.
    pub(crate) fn reroute(&mut self, spawn_id: &str, gateway: GatewayId, name: &str, reason: String) {
        let Some(spawn) = self.open.get_mut(spawn_id).filter(|spawn| !spawn.state.is_final()) else { return };
        let former = std::mem::replace(&mut spawn.gateway, gateway);
        // What the former gateway said, or failed to say, is of no concern any more.
        (spawn.doubt_since, spawn.check_at) = (None, None);
        let run_id = spawn.run_id.clone();
        self.take_early(former, |run| *run == run_id);
        self.leave(former, &run_id);
        *self.in_flight.entry(gateway).or_default() += 1;
        self.by_run.insert((gateway, run_id), spawn_id.to_owned());
        let (gateway_id, gateway_name) = (Some(gateway), Some(name.to_owned()));
        self.note(spawn_id, SpawnState::Sent, SpawnRecord { gateway_id, gateway_name, ..because(reason) });
    }

    /// The gateway took it, as the record tells. What it had said of the run before is taken into account now.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        SpawnRecord { spawn_id, run_id, session_key, pid, state, .. }: &SpawnRecord,
    ) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        let run_id = run_id.as_ref().unwrap_or(spawn_id);
        let gateway = spawn.gateway;
        let own_id = std::mem::replace(&mut spawn.run_id, run_id.clone());
        if own_id != *run_id && !spawn.state.is_final() {
            self.by_run.remove(&(gateway, own_id.clone()));
            self.by_run.insert((gateway, run_id.clone()), spawn_id.clone());
        }
        if session_key.is_some() {
            spawn.session_key.clone_from(session_key);
        }
        spawn.awaiting = false;
        // Its connection may have been lost meanwhile: then it is still to be asked about.
        if spawn.check_at.is_none() {
            spawn.hear(now);
        }
        let (run, session_key) = (Some(run_id.clone()), session_key.clone());
        self.note(spawn_id, *state, SpawnRecord { run_id: run, session_key, pid: *pid, ..SpawnRecord::default() });
        self.catch_up(spawn_id, gateway, |run| run == run_id || *run == own_id);
    }

    /// The gateway refused it for good, or nobody could take it.
    pub(crate) fn fail(&mut self, spawn_id: &str, code: &str, error: &str) {
        if let Some(spawn) = self.open.get_mut(spawn_id) {
            spawn.awaiting = false;
            let (gateway, run_id) = (spawn.gateway, spawn.run_id.clone());
            self.take_early(gateway, |run| *run == run_id);
        }
        let (error, error_code) = (Some(error.to_owned()), Some(code.to_owned()));
        self.note(spawn_id, SpawnState::Failed, SpawnRecord { error, error_code, ..because(NOT_ACCEPTED) });
    }

    /// It was on the wire and the answer is lost.
    pub(crate) fn mark_unknown(&mut self, now: Instant, spawn_id: &str, reason: &str) {
        self.note(spawn_id, SpawnState::Unknown, because(reason));
        self.doubt(now, spawn_id);
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        (spawn.awaiting, spawn.never_taken) = (false, spawn.heard.is_none());
        let (gateway, run_id) = (spawn.gateway, spawn.run_id.clone());
        self.catch_up(spawn_id, gateway, |run| *run == run_id);
    }

    /// A run moved on. Words on a run that isn't known yet are kept until its acceptance is.
    pub(crate) fn on_stage(&mut self, now: Instant, gateway: GatewayId, notice: RunNotice) {
        let spawn_id = self.by_run.get(&(gateway, notice.run_id.clone())).cloned();
        let spawn = spawn_id.as_ref().and_then(|spawn_id| self.open.get_mut(spawn_id));
        let (Some(spawn_id), Some(spawn)) = (&spawn_id, spawn.filter(|spawn| !spawn.awaiting)) else {
            self.early.push((gateway, notice));
            if self.early.len() > MAX_EARLY {
                self.early.remove(0);
            }
            return;
        };
        spawn.doubt_since = None;
        spawn.hear(now);
        self.move_on(spawn_id, notice.session_key, notice.stage, SpawnRecord::default());
    }

    /// The gateway was asked, and told how a run ended, maybe when.
    pub(crate) fn on_stage_found(
        &mut self,
        now: Instant,
        gateway: GatewayId,
        notice: RunNotice,
        ended_at_ms: Option<i64>,
    ) {
        let Some(spawn_id) = self.by_run.get(&(gateway, notice.run_id.clone())).cloned() else { return };
        let Some(spawn) = self.open.get_mut(&spawn_id).filter(|spawn| !spawn.awaiting) else {
            return self.on_stage(now, gateway, notice);
        };
        let known = match ended_at_ms {
            Some(_) => SpawnRecord { completed_at_ms: ended_at_ms, ..SpawnRecord::default() },
            None if spawn.doubt_since.is_some() || !spawn.heard_within(now, FIRST_CHECK * 2) => because(FOUND_OUT),
            None => SpawnRecord::default(),
        };
        spawn.doubt_since = None;
        self.move_on(&spawn_id, notice.session_key, notice.stage, known);
    }

    fn take_early(&mut self, gateway: GatewayId, is_its_run: impl Fn(&String) -> bool) -> Vec<(GatewayId, RunNotice)> {
        self.early.extract_if(.., |(at, notice)| *at == gateway && is_its_run(&notice.run_id)).collect()
    }

    /// The words that waited for the acceptance. They are as old as that: a connection lost since leaves its doubt.
    fn catch_up(&mut self, spawn_id: &str, gateway: GatewayId, is_its_run: impl Fn(&String) -> bool) {
        for (_, notice) in self.take_early(gateway, is_its_run) {
            // Whatever became of the acceptance: the gateway spoke of it, so it took it.
            self.open.get_mut(spawn_id).into_iter().for_each(|spawn| spawn.never_taken = false);
            self.move_on(spawn_id, notice.session_key, notice.stage, SpawnRecord::default());
        }
    }

    fn move_on(&mut self, spawn_id: &str, session_key: Option<String>, stage: RunStage, known: SpawnRecord) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        if session_key.is_some() {
            spawn.session_key.clone_from(&session_key);
        }
        // An acceptance that was lost would have told the run's id.
        let known = SpawnRecord { run_id: Some(spawn.run_id.clone()), session_key, ..known };
        let shown = |result: serde_json::Value| Some(result).filter(|result| !result.is_null());
        let (to, change) = match stage {
            RunStage::Running { pid } => (SpawnState::Running, SpawnRecord { pid, ..known }),
            RunStage::Completed { result } => (SpawnState::Completed, SpawnRecord { result: shown(result), ..known }),
            RunStage::Failed { error, result } => {
                let (error, error_code) = (Some(error), Some("run_failed".to_owned()));
                (SpawnState::Failed, SpawnRecord { error, error_code, result: shown(result), ..known })
            }
            RunStage::Killed { reason } => (SpawnState::Killed, SpawnRecord { reason: Some(reason), ..known }),
        };
        self.note(spawn_id, to, change);
    }

    /// The connection to a gateway was lost: everything there is in doubt until it has been asked.
    pub(crate) fn on_gateway_lost(&mut self, now: Instant, gateway: GatewayId) {
        for spawn_id in self.on(gateway) {
            self.cut_off(now, &spawn_id);
        }
    }

    /// A gateway is back: everything in doubt there is asked about at once.
    pub(crate) fn on_gateway_back(&mut self, now: Instant, gateway: GatewayId) {
        for spawn_id in self.on(gateway) {
            if self.get(&spawn_id).is_some_and(|spawn| spawn.doubt_since.is_some()) {
                self.doubt(now, &spawn_id);
            }
        }
    }

    /// Those that nothing has ended yet.
    pub(crate) fn all_open(&self) -> impl Iterator<Item = (&String, &OpenSpawn)> {
        self.open.iter().filter(|(_, spawn)| !spawn.state.is_final())
    }

    /// The gateway was deleted: what was there can't be known any more.
    pub(crate) fn on_gateway_deleted(&mut self, gateway: GatewayId) {
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

    fn cut_off(&mut self, now: Instant, spawn_id: &str) {
        if let Some(spawn) = self.open.get_mut(spawn_id) {
            spawn.was_cut_off = true;
        }
        self.doubt(now, spawn_id);
    }

    fn doubt(&mut self, now: Instant, spawn_id: &str) {
        if let Some(spawn) = self.open.get_mut(spawn_id).filter(|spawn| !spawn.state.is_final()) {
            spawn.doubted_again |= spawn.asking;
            spawn.doubt_since.get_or_insert(now);
            spawn.doubt_pause = FIRST_DOUBT_CHECK;
            spawn.check_at = Some(now);
        }
    }

    fn give_up(&mut self, spawn_id: &str, reason: &str) {
        let Some(spawn) = self.open.get(spawn_id) else { return };
        // An acceptance that was answered may not have been stored when the daemon was killed: the record still names the
        // run that its client was told of, which is the one that the gateway was asked about.
        let (run_id, session_key) = (Some(spawn.run_id.clone()), spawn.session_key.clone());
        self.given_up.push((spawn.gateway, spawn.run_id.clone()));
        self.note(spawn_id, SpawnState::Lost, SpawnRecord { run_id, session_key, ..because(reason) });
    }

    /// After each input: words on runs that no acceptance can be about any more are forgotten.
    pub(crate) fn forget_early(&mut self) {
        let open = &self.open;
        let awaits = |gateway| open.values().any(|it| it.gateway == gateway && it.awaiting && !it.state.is_final());
        self.early.retain(|(gateway, _)| awaits(*gateway));
    }

    /// The runs that were given up since that was last taken: their gateways' actors need not follow them any more.
    pub(crate) fn take_given_up(&mut self) -> Vec<(GatewayId, String)> {
        std::mem::take(&mut self.given_up)
    }

    /// What gateways must be asked now, at most `max`. `usable_since` says since when a gateway is usable. Those in doubt for too
    /// long are given up instead. O(open spawns).
    pub(crate) fn due(
        &mut self,
        now: Instant,
        max: usize,
        usable_since: impl Fn(GatewayId) -> Option<Instant>,
    ) -> Vec<Question> {
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
            if due.len() < max && spawn.check_at.is_some_and(|at| at <= now) && usable_since(spawn.gateway).is_some() {
                spawn.asking = true;
                due.push(Question {
                    spawn_id: spawn_id.clone(),
                    gateway: spawn.gateway,
                    run_id: spawn.run_id.clone(),
                    session_key: spawn.session_key.clone(),
                });
            }
        }
        for spawn_id in overdue {
            self.give_up(&spawn_id, "its gateway did not come back within 24 hours");
        }
        due
    }

    /// The question about it was answered.
    pub(crate) fn answered(&mut self, spawn_id: &str) {
        if let Some(spawn) = self.open.get_mut(spawn_id) {
            (spawn.asking, spawn.doubted_again) = (false, false);
        }
    }

    /// The gateway says that it is under way.
    pub(crate) fn found_running(&mut self, now: Instant, spawn_id: &str, session_key: Option<String>) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        spawn.asking = false;
        // The connection may have been lost between its answer and now: then it is asked again.
        if !std::mem::take(&mut spawn.doubted_again) {
            (spawn.doubt_since, spawn.was_cut_off, spawn.never_taken) = (None, false, false);
            spawn.heard = Some((now, spawn.heard.map_or(FIRST_CHECK, |(_, pause)| pause)));
            spawn.wait_longer(now);
        }
        let run_id = Some(spawn.run_id.clone());
        self.note(spawn_id, SpawnState::Running, SpawnRecord { run_id, session_key, ..SpawnRecord::default() });
    }

    /// The gateway knows nothing of it, or couldn't be asked. `usable_since` is the gateway's return.
    pub(crate) fn found_nothing(&mut self, now: Instant, spawn_id: &str, usable_since: Option<Instant>) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        (spawn.asking, spawn.doubted_again) = (false, false);
        let quiet_for = spawn.heard.map_or(QUIET_CHECK, |(at, _)| now.saturating_duration_since(at));
        if spawn.doubt_since.is_none() && quiet_for < QUIET_CHECK {
            // Not every gateway can tell of a run that goes on well.
            return spawn.wait_longer(now);
        }
        spawn.check_at = Some(now + spawn.doubt_pause.min(self.lost_after / 4));
        spawn.doubt_pause = (spawn.doubt_pause * 2).min(DOUBT_CHECK);
        let since = *spawn.doubt_since.get_or_insert(now);
        let Some(back) = usable_since else { return };
        let heard = match spawn.heard {
            _ if spawn.was_cut_off => "its gateway is back".to_owned(),
            Some(_) => format!("its gateway has said nothing of it for {} s", quiet_for.as_secs()),
            None => "its gateway never said that it took it".to_owned(),
        };
        let never_taken = spawn.never_taken && spawn.state == SpawnState::Unknown;
        let patience = if never_taken { self.lost_after.min(NEVER_TAKEN_LOST_AFTER) } else { self.lost_after };
        if now.saturating_duration_since(back.max(since)) >= patience {
            self.give_up(spawn_id, &format!("{heard} and knows nothing of it"));
        } else if matches!(spawn.state, SpawnState::Accepted | SpawnState::Running) {
            self.note(spawn_id, SpawnState::Unknown, because(format!("{heard} and cannot tell")));
        }
    }

    /// Decides a step: it holds at once, and is on the list of what must be written.
    fn note(&mut self, spawn_id: &str, to: SpawnState, known: SpawnRecord) {
        let Some(spawn) = self.open.get_mut(spawn_id) else { return };
        let starts = spawn.state == SpawnState::Sent && to == SpawnState::Sent;
        if !to.may_follow(spawn.state) || (to == spawn.state && !starts) {
            return;
        }
        spawn.state = to;
        spawn.unwritten.push_back(SpawnRecord { spawn_id: spawn_id.to_owned(), state: to, ..known });
        if spawn.writing == 0 && !std::mem::replace(&mut spawn.in_line, true) {
            self.line.push_back(spawn_id.to_owned());
        }
        if to.is_final() {
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

    /// What is to be written now: whole spawns, each with its steps in order, until there are `max` steps (a spawn is never
    /// torn: its last one may exceed that). Each is left out of later batches until [`SpawnTracker::written`] tells how it ended.
    pub(crate) fn take_batch(&mut self, max: usize) -> Vec<SpawnRecord> {
        let mut steps = Vec::new();
        while steps.len() < max
            && let Some(spawn_id) = self.line.pop_front()
        {
            let Some(spawn) = self.open.get_mut(&spawn_id) else { continue };
            spawn.in_line = false;
            spawn.writing = spawn.unwritten.len();
            steps.extend(spawn.unwritten.iter().cloned());
        }
        steps
    }

    /// The write of a spawn's steps ended. Steps that could not be written stay first, and go back in line. True where the
    /// spawn is over by it.
    pub(crate) fn written(&mut self, spawn_id: &str, done: bool) -> bool {
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
        let over = done && spawn.state.is_final();
        if over {
            self.open.remove(spawn_id);
        }
        over
    }

    /// Whether something decided about a spawn isn't written yet.
    pub(crate) fn has_unwritten(&self, spawn_id: &str) -> bool {
        self.last_unwritten(spawn_id).is_some()
    }

    /// What was decided last about a spawn and isn't written yet.
    pub(crate) fn last_unwritten(&self, spawn_id: &str) -> Option<&SpawnRecord> {
        self.open.get(spawn_id)?.unwritten.back()
    }

    /// Whether anything decided about any of them isn't written yet. O(open spawns).
    pub(crate) fn has_any_unwritten(&self) -> bool {
        self.open.values().any(|spawn| !spawn.unwritten.is_empty())
    }

    /// Whether any spawn waits in line for a write.
    pub(crate) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }
}

impl OpenSpawn {
    /// Since when it is in doubt, and when its gateway is asked.
    pub(crate) fn doubt(&self) -> Option<(Instant, Option<Instant>)> {
        self.doubt_since.map(|since| (since, self.check_at))
    }

    fn heard_within(&self, now: Instant, span: Duration) -> bool {
        self.heard.is_some_and(|(at, _)| now.saturating_duration_since(at) <= span)
    }

    /// The gateway said something of it: more is due soon, or it is asked.
    fn hear(&mut self, now: Instant) {
        (self.was_cut_off, self.never_taken) = (false, false);
        self.heard = Some((now, FIRST_CHECK));
        self.check_at = Some(now + FIRST_CHECK);
    }

    /// It was asked, and nothing has changed.
    fn wait_longer(&mut self, now: Instant) {
        if let Some((_, pause)) = &mut self.heard {
            *pause = (*pause * 2).min(QUIET_CHECK);
            self.check_at = Some(now + *pause);
        }
    }
}

fn because(reason: impl Into<String>) -> SpawnRecord {
    SpawnRecord { reason: Some(reason.into()), ..SpawnRecord::default() }
}

#[cfg(test)]
mod tests;
