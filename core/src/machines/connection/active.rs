//! The authenticated connection: its requests, and what is read from the gateway by itself. Agents and sessions are read after
//! connecting, when an event says that something was missed, and slowly all the while: one list at a time, and never a heavy
//! one on a short timer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::capabilities::{Capabilities, SessionsFeed, SessionsList};
use gatewarden_protocol::health_document::HealthDocument;
use gatewarden_protocol::hello::HealthSnapshot;
use gatewarden_protocol::limits::{MAX_SESSIONS, MAX_SESSIONS_BYTES};
use gatewarden_protocol::pending::PendingRequests;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};
use gatewarden_protocol::{
    AgentRow, Dialect, Method, RowRules, SessionPage, SessionRow, SessionTable, SessionsEvent, Support, encode_request,
    read_agents, read_config_agents, read_sessions, words,
};
use serde_json::{Value, json};

use super::Effect;
use super::http_dialect::{self, SLACK};
use super::run_ends::RunEnds;
use super::turn::{CallToken, Epoch, MAX_CALL, Moment, NoAnswer, Outcome, PendingKind, Turn};
use crate::error::Failure;
use crate::gateway_report::Phase;
use crate::machines::heartbeat::Heartbeat;
use crate::machines::sequence::Sequence;
use crate::settings::GatewaySettings;

/// Places in the table that callers don't get where their answers are no signs of life: for the heartbeat and reads of our own.
const OWN_PLACES: usize = 8;
/// Second replies that are waited for; the oldest is given up beyond that.
const MAX_SECOND_REPLIES: usize = 1024;
/// So many frames that are none within so long end the connection.
const MAX_GARBAGE: u32 = 100;
const GARBAGE_WINDOW: Duration = Duration::from_secs(60);
/// Rows asked for per page, and pages of one list, whatever the gateway says about more.
const PAGE: u64 = 500;
const MAX_PAGES: u32 = 64;
/// An event that says only that something changed is followed by a read after this: such events come in bursts.
const AFTER_BURST: Duration = Duration::from_secs(10);
/// A gateway that calls itself degraded is asked after this whether it still does: of itself it says so once a minute at best.
const DEGRADED_RECHECK: Duration = Duration::from_secs(10);
/// A list that failed is asked for again after this.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct ActiveConnection {
    pub(super) dialect: Dialect,
    pub(super) capabilities: Capabilities,
    pub(super) pending: PendingRequests<PendingKind>,
    /// Requests that were answered once and will be answered again, with the run whose end that is, if it is one of ours.
    /// They wait here since the places in the table are for answers that come soon.
    second_replies: VecDeque<(String, Option<String>)>,
    pub(super) heartbeat: Heartbeat,
    pub(super) sequence: Sequence,
    pub(super) sessions: SessionTable,
    pub(super) active_sessions: Option<u32>,
    pub(super) run_ends: RunEnds,
    pub(super) agents: Option<Vec<AgentRow>>,
    /// Shared with reports, of which there are several at any time.
    pub(super) agent_names: Arc<[String]>,
    agents_bytes: usize,
    reads: Reads,
    pub(super) scopes: Arc<[String]>,
    /// Wall ms at which the gateway let us in.
    pub(super) since_ms: i64,
    /// Why the gateway calls itself degraded, while it does.
    pub(super) degraded: Option<String>,
    /// When it is asked whether it still does.
    health_at: Option<Instant>,
    /// Uptime, and the wall ms at which it was that.
    uptime: Option<(u64, i64)>,
    /// Frames that are none, since when.
    garbage: (u32, Instant),
}

/// What is to be read, and the list under way.
#[derive(Debug)]
struct Reads {
    agents_wanted: bool,
    config_wanted: bool,
    subscribe_wanted: bool,
    sessions_at: Option<Instant>,
    next_resync: Instant,
    under_way: bool,
    rows: Vec<SessionRow>,
    row_bytes: usize,
    pages: u32,
}

/// The connection, if it takes requests now.
pub(super) fn ready<'a>(
    turn: &Turn<'_>,
    active: Option<&'a mut ActiveConnection>,
) -> Result<&'a mut ActiveConnection, Failure> {
    active.filter(|_| turn.phase == Phase::Ready).ok_or_else(|| turn.unavailable())
}

/// Somebody asks the gateway for something.
pub(super) fn call(
    turn: &mut Turn<'_>,
    active: Option<&mut ActiveConnection>,
    call: CallToken,
    method: &str,
    params: &Value,
    timeout: Duration,
) {
    let sent = ready(turn, active).and_then(|active| {
        if Method::from_name(method).is_some_and(|known| active.capabilities.support(known) == Support::No) {
            return Err(turn.peer.not_supported(method));
        }
        active.request(turn, method, params, timeout.min(MAX_CALL), PendingKind::Caller(call))
    });
    if let Err(failure) = sent {
        turn.push(Effect::Answer(call, Err(failure)));
    }
}

impl ActiveConnection {
    pub(super) fn new(
        moment: Moment,
        epoch: Epoch,
        settings: &GatewaySettings,
        dialect: Dialect,
        capabilities: Capabilities,
    ) -> Self {
        let mut heartbeat = Heartbeat::new(
            settings.heartbeat_interval,
            settings.heartbeat_timeout,
            settings.missed_heartbeats,
            settings.degraded_latency,
        );
        heartbeat.start(moment.now);
        let places = settings.max_pending + if dialect == Dialect::Http { OWN_PLACES } else { 0 };
        Self {
            dialect,
            capabilities,
            pending: PendingRequests::new(format!("gw{}-", epoch.0), places),
            second_replies: VecDeque::new(),
            heartbeat,
            sequence: Sequence::default(),
            sessions: SessionTable::default(),
            active_sessions: None,
            run_ends: RunEnds::default(),
            agents: None,
            agent_names: Arc::default(),
            agents_bytes: 0,
            reads: Reads {
                agents_wanted: false,
                config_wanted: false,
                subscribe_wanted: false,
                sessions_at: None,
                next_resync: moment.now + settings.resync_interval,
                under_way: false,
                rows: Vec::new(),
                row_bytes: 0,
                pages: 0,
            },
            scopes: Arc::default(),
            since_ms: moment.wall_ms,
            degraded: None,
            health_at: None,
            uptime: None,
            garbage: (0, moment.now),
        }
    }

    /// Sends a request, unless the gateway can't be asked that or too many wait already.
    pub(super) fn request(
        &mut self,
        turn: &mut Turn<'_>,
        method: &str,
        params: &Value,
        timeout: Duration,
        kind: PendingKind,
    ) -> Result<(), Failure> {
        self.request_as(turn, None, method, params, timeout, kind)
    }

    /// Sends a request under an id of the caller's choice, if any.
    pub(super) fn request_as(
        &mut self,
        turn: &mut Turn<'_>,
        chosen_id: Option<&str>,
        method: &str,
        params: &Value,
        timeout: Duration,
        kind: PendingKind,
    ) -> Result<(), Failure> {
        let epoch = turn.epoch;
        let over_http = self.dialect == Dialect::Http;
        let operation = if over_http {
            Some(http_dialect::operation(method, params).ok_or_else(|| turn.peer.not_supported(method))?)
        } else {
            None
        };
        let is_own = kind == PendingKind::Heartbeat || kind.is_read();
        if !is_own && self.pending.len() >= turn.peer.settings.max_pending {
            return Err(turn.peer.busy());
        }
        // An answer that the shell brings late is still the shell's to judge.
        let deadline = turn.moment.now + if over_http { timeout + SLACK } else { timeout };
        let id = self.pending.insert(chosen_id, method, deadline, kind).map_err(|_| turn.peer.busy())?;
        if !is_own && self.dialect == Dialect::Openclaw {
            // The other dialects may answer only when the work is done.
            self.heartbeat.on_request(turn.moment.now);
        }
        turn.push(match operation {
            Some(operation) => Effect::Http { epoch, id, operation, timeout },
            None => Effect::Send {
                epoch,
                text: encode_request(self.dialect, &id, method, params),
                starts: if let PendingKind::Run(call) = kind { Some(call) } else { None },
            },
        });
        Ok(())
    }

    /// Sends a request of our own. A table that is full of callers' requests leaves it out: their replies are signs of
    /// life as good as its own.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_>, method: &str, params: &Value, kind: PendingKind) -> bool {
        let settings = &turn.peer.settings;
        let over_http = self.dialect == Dialect::Http && kind == PendingKind::Heartbeat;
        let timeout = if over_http { settings.heartbeat_timeout } else { settings.request_timeout };
        let sent = self.request(turn, method, params, timeout, kind);
        if let Err(failure) = &sent {
            turn.push(Effect::Remark(format!("{method} was left out: {}", failure.message)));
            self.unread(turn.moment.now, kind);
        }
        sent.is_ok()
    }

    /// A second reply will come under this id.
    pub(super) fn expect_second_reply(&mut self, id: String, run_id: Option<String>) {
        if self.second_replies.len() >= MAX_SECOND_REPLIES {
            self.second_replies.pop_front();
        }
        self.second_replies.push_back((id, run_id));
    }

    /// The run of the second reply under this id; none where none is waited for.
    pub(super) fn take_second_reply(&mut self, id: &str) -> Option<Option<String>> {
        let at = self.second_replies.iter().position(|(waiting, _)| waiting == id)?;
        self.second_replies.remove(at).map(|(_, run_id)| run_id)
    }

    /// One more frame that is none. True when there are too many.
    pub(super) fn on_garbage(&mut self, now: Instant) -> bool {
        let (count, since) = &mut self.garbage;
        if now.saturating_duration_since(*since) > GARBAGE_WINDOW {
            (*count, *since) = (0, now);
        }
        *count += 1;
        *count >= MAX_GARBAGE
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let reads = &self.reads;
        let read_at =
            (!reads.under_way).then(|| reads.sessions_at.map_or(reads.next_resync, |at| at.min(reads.next_resync)));
        let due = [
            self.heartbeat.next_deadline(),
            self.pending.next_deadline(),
            self.sequence.next_deadline(),
            self.health_at,
            self.run_ends.next_deadline(),
            read_at,
        ];
        due.into_iter().flatten().min()
    }

    pub(super) fn on_deadline(&mut self, turn: &mut Turn<'_>) {
        let now = turn.moment.now;
        if self.sequence.on_deadline(now) | self.run_ends.are_contradicted(&self.sessions, now) {
            self.reads.sessions_at = Some(now);
        }
        self.ask_health(turn);
        self.read_next(turn);
    }

    /// Asks a gateway that calls itself degraded whether it still does.
    fn ask_health(&mut self, turn: &mut Turn<'_>) {
        let now = turn.moment.now;
        if self.health_at.is_none_or(|at| at > now) {
            return;
        }
        self.health_at = None;
        if self.dialect == Dialect::Http {
            // Its heartbeat is its health document.
            self.heartbeat.hasten(now);
        } else if self.capabilities.may_have(Method::Health) {
            self.health_at = Some(now + DEGRADED_RECHECK);
            self.ask(turn, "health", &json!({}), PendingKind::Health);
        }
    }

    /// What is kept of the gateway's rows, bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.sessions.held_bytes() + self.reads.row_bytes + self.agents_bytes
    }

    pub(super) fn row_rules(&self, moment: Moment) -> RowRules {
        RowRules::of(&self.capabilities, moment.wall_ms)
    }

    /// After each change of the table: counting walks all of it.
    pub(super) fn count_sessions(&mut self) {
        self.active_sessions = self.sessions.is_known().then(|| self.sessions.active_count());
    }

    /// Takes in what the runs started here tell of their sessions. True where that is news. Over HTTP the list alone counts: it is read
    /// a second after each acceptance.
    pub(super) fn take_own_runs(&mut self, told: Vec<SessionsEvent>, moment: Moment) -> bool {
        let mut changed = false;
        for mut event in told.into_iter().filter(|_| self.dialect != Dialect::Http) {
            if let SessionsEvent::Run { key, running, at_ms, .. } = &mut event {
                self.run_ends.note(key, *running, moment.now);
                // Our clock isn't the gateway's: rows that come with events must not be measured by it.
                *at_ms = (self.capabilities.sessions_feed() != SessionsFeed::Subscribe).then_some(moment.wall_ms);
            }
            changed |= !self.sessions.apply(event).is_empty();
        }
        if changed {
            self.count_sessions();
        }
        changed
    }

    /// Whether the table holds all sessions: one that hasn't been read in full looks as if sessions had gone.
    pub(super) fn knows_sessions(&self) -> bool {
        self.sessions.is_known() || self.capabilities.sessions_list() == SessionsList::Events
    }

    pub(super) fn take_agents(&mut self, agents: Vec<AgentRow>) {
        self.agents_bytes = agents.iter().map(AgentRow::held_bytes).sum();
        self.agent_names = agents.iter().map(|agent| agent.shown_name().to_owned()).collect();
        self.agents = Some(agents);
    }

    pub(super) fn uptime_at(&self, wall_ms: i64) -> Option<u64> {
        let (uptime, at) = self.uptime?;
        Some(uptime.saturating_add(u64::try_from(wall_ms.saturating_sub(at)).unwrap_or(0)))
    }

    pub(super) fn take_uptime(&mut self, uptime_ms: Option<u64>, wall_ms: i64) {
        self.uptime = uptime_ms.map(|uptime_ms| (uptime_ms, wall_ms)).or(self.uptime);
    }

    pub(super) fn take_health(&mut self, now: Instant, health: &HealthSnapshot) {
        let bad = health.degraded || health.ok == Some(false);
        self.take_verdict(now, bad.then(|| health.degraded_reasons.join(", ")));
        if self.agents.is_none()
            && let Some(agents) = &health.agents
        {
            self.take_agents(agents.clone());
        }
    }

    pub(super) fn take_document(&mut self, moment: Moment, document: &HealthDocument) {
        self.take_uptime(document.uptime_ms, moment.wall_ms);
        self.take_verdict(moment.now, (!document.healthy).then(|| "its health document says so".to_owned()));
    }

    /// Why the gateway calls itself degraded, if it does.
    fn take_verdict(&mut self, now: Instant, degraded: Option<String>) {
        self.health_at = degraded.as_ref().map(|_| now + DEGRADED_RECHECK);
        self.degraded = degraded;
    }

    /// After connecting: all of it. Agents first, since that cheap read tells whether we may read at all; the
    /// subscription before the list, so that nothing falls between them.
    pub(super) fn read_everything(&mut self, turn: &mut Turn<'_>) {
        self.reads.agents_wanted = true;
        self.reads.config_wanted = turn.peer.version.is_none() && self.dialect == Dialect::Openclaw;
        self.reads.subscribe_wanted = self.capabilities.sessions_feed() == SessionsFeed::Subscribe;
        self.reads.sessions_at = Some(turn.moment.now);
        self.read_next(turn);
    }

    /// Starts the next read that is due, if none is under way.
    pub(super) fn read_next(&mut self, turn: &mut Turn<'_>) {
        let now = turn.moment.now;
        let over_http = self.dialect == Dialect::Http;
        let reads = &mut self.reads;
        if reads.under_way {
            return;
        }
        if now >= reads.next_resync {
            reads.next_resync = now + turn.peer.settings.resync_interval;
            reads.agents_wanted = true;
            reads.sessions_at = Some(now);
        }
        if std::mem::take(&mut reads.agents_wanted) {
            if !over_http && self.capabilities.may_have(Method::AgentsList) {
                return self.read(turn, "agents.list", &json!({}), PendingKind::Agents);
            }
            reads.config_wanted = true;
        }
        if std::mem::take(&mut reads.config_wanted) && self.capabilities.may_have(Method::ConfigGet) {
            return self.read(turn, "config.get", &json!({}), PendingKind::AgentsFromConfig);
        }
        if std::mem::take(&mut reads.subscribe_wanted) {
            return self.read(turn, "sessions.subscribe", &json!({}), PendingKind::Subscribe);
        }
        if reads.sessions_at.is_some_and(|at| now >= at) {
            reads.sessions_at = None;
            reads.rows = Vec::new();
            reads.row_bytes = 0;
            reads.pages = 0;
            match self.capabilities.sessions_list() {
                SessionsList::Paged => {
                    self.read(turn, "sessions.list", &json!({ "limit": PAGE }), PendingKind::Sessions);
                }
                SessionsList::AtOnce | SessionsList::Http => {
                    self.read(turn, "sessions.list", &json!({}), PendingKind::Sessions);
                }
                SessionsList::Events => {}
            }
        }
    }

    fn read(&mut self, turn: &mut Turn<'_>, method: &str, params: &Value, kind: PendingKind) {
        self.reads.under_way = true;
        self.ask(turn, method, params, kind);
    }

    /// A read was answered. Gives the release that last wrote the configuration, where that was read.
    ///
    /// # Errors
    /// We may not read at all.
    pub(super) fn on_read(
        &mut self,
        turn: &mut Turn<'_>,
        kind: PendingKind,
        outcome: Outcome,
    ) -> Result<Option<String>, Box<Refusal>> {
        self.reads.under_way = false;
        let mut version = None;
        match (kind, outcome) {
            (PendingKind::Agents, Ok(payload)) => match read_agents(&payload) {
                Some(agents) => self.take_agents(agents),
                None => self.reads.config_wanted = true,
            },
            (PendingKind::AgentsFromConfig, Ok(payload)) => {
                if self.agents.is_none()
                    && let Some(agents) = read_config_agents(&payload)
                {
                    self.take_agents(agents);
                }
                version = last_touched_version(&payload);
            }
            // The others are no reads, or are read as text.
            (_, Ok(_)) => {}
            (kind, Err(NoAnswer::NotOffered(error))) => {
                // Whatever stands in for the missing method is asked next.
                self.reads.agents_wanted |= kind == PendingKind::Agents;
                turn.push(Effect::Remark(format!("not offered: {}", words::shown(&error.message))));
            }
            // Old releases take the scopes away without a word: the first read finds out.
            (_, Err(NoAnswer::Refused(error))) if error.missing_scope().as_deref() == Some("operator.read") => {
                let missing_scope = error.missing_scope();
                let refusal = Refusal::new(RefusalCode::MissingScope, &error.message);
                return Err(Box::new(Refusal { missing_scope, ..refusal }));
            }
            (kind, Err(_)) => self.unread(turn.moment.now, kind),
        }
        self.read_next(turn);
        Ok(version)
    }

    /// A read came to nothing: what it should have told is asked for again later.
    fn unread(&mut self, now: Instant, kind: PendingKind) {
        if kind.is_read() {
            self.reads.under_way = false;
        }
        if kind == PendingKind::Sessions {
            self.reads.sessions_at = Some(now + AFTER_FAILURE);
        }
    }

    /// A page of the list of sessions came. True where it was the last one.
    pub(super) fn on_list(&mut self, turn: &mut Turn<'_>, list: &str) -> bool {
        self.reads.under_way = false;
        let rules = self.row_rules(turn.moment);
        let Some(page) = read_sessions(&mut serde_json::Deserializer::from_str(list), rules) else {
            self.unread(turn.moment.now, PendingKind::Sessions);
            return false;
        };
        let next = self.take_page(page);
        match next {
            Some(offset) => {
                let params = json!({ "limit": PAGE, "offset": offset });
                self.read(turn, "sessions.list", &params, PendingKind::Sessions);
            }
            None => {
                self.reads.row_bytes = 0;
                self.sessions.replace(std::mem::take(&mut self.reads.rows));
                self.count_sessions();
            }
        }
        next.is_none()
    }

    /// Keeps the rows of a page, and says where the next one begins.
    fn take_page(&mut self, page: SessionPage) -> Option<u64> {
        let reads = &mut self.reads;
        let mut more = !page.rows.is_empty();
        for row in page.rows {
            reads.row_bytes = reads.row_bytes.saturating_add(row.held_bytes());
            if reads.row_bytes > MAX_SESSIONS_BYTES || reads.rows.len() >= MAX_SESSIONS {
                more = false;
                break;
            }
            reads.rows.push(row);
        }
        reads.pages += 1;
        more &= reads.pages < MAX_PAGES && self.dialect != Dialect::Http;
        page.next_offset.filter(|offset| more && *offset > 0)
    }

    /// Events were missed: the sessions are read again now.
    pub(super) fn want_sessions(&mut self, now: Instant) {
        self.reads.sessions_at = Some(now);
    }

    /// Something changed, and the event doesn't say what.
    pub(super) fn want_sessions_after_burst(&mut self, now: Instant) {
        self.reads.sessions_at.get_or_insert(now + AFTER_BURST);
    }

    /// Somebody needs the sessions read by then.
    pub(super) fn want_sessions_by(&mut self, by: Instant) {
        self.reads.sessions_at = Some(self.reads.sessions_at.map_or(by, |at| at.min(by)));
    }

    /// The agents may have changed.
    pub(super) fn want_agents(&mut self) {
        self.reads.agents_wanted = true;
    }
}

/// The release that last wrote the configuration: for gateways that call their version `dev`.
fn last_touched_version(config: &Value) -> Option<String> {
    ["config", "parsed", "resolved"]
        .iter()
        .filter_map(|field| config.get(*field))
        .chain([config])
        .find_map(|document| document.get("meta")?.get("lastTouchedVersion")?.as_str())
        .map(words::shown)
        .filter(|version| !version.is_empty())
}
