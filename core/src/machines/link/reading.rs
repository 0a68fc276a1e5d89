//! What is read from a gateway by itself: agents and sessions, after connecting, when an event says that something was
//! missed, and slowly all the while. One list at a time, and never a heavy one on a short timer.

use std::time::{Duration, Instant};

use gatewarden_protocol::capabilities::{SessionsFeed, SessionsList};
use gatewarden_protocol::limits::{MAX_SESSIONS, MAX_SESSIONS_BYTES};
use gatewarden_protocol::refusal::{Refusal, RefusalCode};
use gatewarden_protocol::{
    Dialect, Method, RowRules, SessionPage, SessionRow, WireError, read_agents, read_config_agents, read_sessions,
    words,
};
use serde_json::{Value, json};

use super::calls::Waiter;
use super::{HttpOperation, Link, Moment};

/// Rows asked for per page.
const PAGE: u64 = 500;
/// Pages of one list, whatever the gateway says about more.
const MAX_PAGES: u32 = 64;
/// An event that says only that something changed is followed by a read after this: such events come in bursts.
const AFTER_BURST: Duration = Duration::from_secs(10);

/// After something of our own doing, until the list shows it.
const SOON: Duration = Duration::from_secs(1);
/// A list that failed is asked for again after this.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What is to be read, and what is under way.
#[derive(Debug)]
pub(super) struct Reading {
    agents_wanted: bool,
    config_wanted: bool,
    subscribe_wanted: bool,
    sessions_at: Option<Instant>,
    next_resync: Instant,
    under_way: bool,
    rows: Vec<SessionRow>,
    row_bytes: usize,
    /// Whether the list has more rows than are kept.
    is_full: bool,
    pages: u32,
}

impl Reading {
    pub(super) fn new(next_resync: Instant) -> Self {
        Self {
            agents_wanted: false,
            config_wanted: false,
            subscribe_wanted: false,
            sessions_at: None,
            next_resync,
            under_way: false,
            rows: Vec::new(),
            row_bytes: 0,
            is_full: false,
            pages: 0,
        }
    }

    /// What the rows of the list under way take, bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The rows that came so far; the next ones begin a list of their own.
    fn take_rows(&mut self) -> Vec<SessionRow> {
        self.row_bytes = 0;
        self.is_full = false;
        std::mem::take(&mut self.rows)
    }

    /// Events were missed: read the sessions again now.
    pub(super) fn want(&mut self, now: Instant) {
        self.sessions_at = Some(now);
    }

    /// Something changed, and the event doesn't say what.
    pub(super) fn want_sessions(&mut self, now: Instant) {
        self.sessions_at.get_or_insert(now + AFTER_BURST);
    }

    /// There is something new in the sessions that no event will tell.
    pub(super) fn want_sessions_soon(&mut self, now: Instant) {
        self.want_sessions_within(now + SOON);
    }

    /// Somebody needs the sessions read by then.
    pub(super) fn want_sessions_within(&mut self, by: Instant) {
        self.sessions_at = Some(self.sessions_at.map_or(by, |at| at.min(by)));
    }

    /// The agents may have changed.
    pub(super) fn want_agents(&mut self) {
        self.agents_wanted = true;
    }

    /// When something is to be read.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (!self.under_way).then(|| self.sessions_at.map_or(self.next_resync, |at| at.min(self.next_resync)))
    }
}

impl Link {
    /// After connecting: all of it. Agents first, since that cheap read tells whether we may read at all; the
    /// subscription before the list, so that nothing falls between them.
    pub(super) fn read_everything(&mut self, moment: Moment) {
        let version_unknown = self.knowledge.version().is_none();
        if let Some(live) = &mut self.live {
            live.reading.agents_wanted = true;
            live.reading.config_wanted = version_unknown && live.dialect == Dialect::Openclaw;
            live.reading.subscribe_wanted = live.capabilities.sessions_feed() == SessionsFeed::Subscribe;
            live.reading.sessions_at = Some(moment.now);
        }
        self.read_if_wanted(moment);
    }

    /// Starts the next read that is due, if none is under way.
    pub(super) fn read_if_wanted(&mut self, moment: Moment) {
        let resync = moment.now + self.settings.resync_interval;
        let Some(live) = &mut self.live else { return };
        let reading = &mut live.reading;
        if reading.under_way {
            return;
        }
        if moment.now >= reading.next_resync {
            reading.next_resync = resync;
            reading.agents_wanted = true;
            reading.sessions_at = Some(moment.now);
        }
        if live.dialect == Dialect::Http {
            self.read_over_http(moment);
            return;
        }
        let has = |method| live.capabilities.may_have(method);
        if std::mem::take(&mut reading.agents_wanted) {
            if has(Method::AgentsList) {
                self.start_read(moment, "agents.list", &json!({}), Waiter::Agents);
                return;
            }
            reading.config_wanted = true;
        }
        if std::mem::take(&mut reading.config_wanted) && has(Method::ConfigGet) {
            self.start_read(moment, "config.get", &json!({}), Waiter::AgentsFromConfig);
            return;
        }
        if std::mem::take(&mut reading.subscribe_wanted) {
            self.start_read(moment, "sessions.subscribe", &json!({}), Waiter::Subscribe);
            return;
        }
        if reading.sessions_at.is_some_and(|at| moment.now >= at) {
            reading.sessions_at = None;
            reading.take_rows();
            reading.pages = 0;
            match live.capabilities.sessions_list() {
                SessionsList::Paged => {
                    self.start_read(moment, "sessions.list", &json!({ "limit": PAGE }), Waiter::Sessions);
                }
                SessionsList::AtOnce => self.start_read(moment, "sessions.list", &json!({}), Waiter::Sessions),
                SessionsList::Events | SessionsList::Http => {}
            }
        }
    }

    fn start_read(&mut self, moment: Moment, method: &str, params: &Value, waiter: Waiter) {
        if let Some(live) = &mut self.live {
            live.reading.under_way = true;
        }
        self.ask(moment, method, params, waiter);
    }

    /// A read of ours was answered.
    pub(super) fn read(&mut self, moment: Moment, waiter: Waiter, outcome: Result<Value, WireError>, unknown: bool) {
        let Some(live) = &mut self.live else { return };
        live.reading.under_way = false;
        let payload = match outcome {
            Ok(payload) => payload,
            Err(error) if unknown => {
                // Whatever stands in for the missing method is asked next.
                live.reading.agents_wanted |= waiter == Waiter::Agents;
                self.push(super::Effect::Remark(format!("not offered: {}", words::shown(&error.message))));
                return self.read_if_wanted(moment);
            }
            // Old releases take the scopes away without a word: the first read finds out.
            Err(error) if error.missing_scope().as_deref() == Some("operator.read") => {
                let mut refusal = Refusal::new(RefusalCode::MissingScope, &error.message);
                refusal.missing_scope = error.missing_scope();
                return self.end(moment, refusal);
            }
            Err(_) => {
                self.unread(moment, waiter);
                return self.read_if_wanted(moment);
            }
        };
        match waiter {
            Waiter::Agents => match read_agents(&payload) {
                Some(agents) => live.take_agents(agents),
                None => live.reading.config_wanted = true,
            },
            Waiter::AgentsFromConfig => {
                if live.agents.is_none()
                    && let Some(agents) = read_config_agents(&payload)
                {
                    live.take_agents(agents);
                }
                let version = last_touched_version(&payload);
                if self.knowledge.version().is_none() {
                    self.knowledge.identify(version, None);
                }
            }
            // The others are no reads, or are read as text.
            _ => {}
        }
        self.read_if_wanted(moment);
    }

    /// A page of the list of sessions came.
    pub(super) fn read_list(&mut self, moment: Moment, list: &str) {
        let Some(live) = &mut self.live else { return };
        live.reading.under_way = false;
        let rules = RowRules::of(&live.capabilities, moment.wall_ms);
        match read_sessions(&mut serde_json::Deserializer::from_str(list), rules) {
            Some(page) => self.take_sessions_page(moment, page),
            None => self.unread(moment, Waiter::Sessions),
        }
        self.read_if_wanted(moment);
    }

    fn take_sessions_page(&mut self, moment: Moment, page: SessionPage) {
        let Some(live) = &mut self.live else { return };
        let reading = &mut live.reading;
        let got_rows = !page.rows.is_empty();
        for row in page.rows {
            reading.row_bytes = reading.row_bytes.saturating_add(row.held_bytes());
            if reading.row_bytes > MAX_SESSIONS_BYTES || reading.rows.len() >= MAX_SESSIONS {
                reading.is_full = true;
                break;
            }
            reading.rows.push(row);
        }
        reading.pages += 1;
        let more =
            page.next_offset.filter(|offset| got_rows && reading.pages < MAX_PAGES && !reading.is_full && *offset > 0);
        match more {
            Some(offset) => {
                let params = json!({ "limit": PAGE, "offset": offset });
                self.start_read(moment, "sessions.list", &params, Waiter::Sessions);
            }
            None => {
                let rows = reading.take_rows();
                live.sessions.replace(rows);
                live.count_sessions();
                self.telling.note(moment.wall_ms);
                self.look_ups_after_list();
                self.runs_after_http_list(moment);
            }
        }
    }

    /// A read of ours came to nothing: what it should have told is asked for again later.
    pub(super) fn unread(&mut self, moment: Moment, waiter: Waiter) {
        let Some(live) = &mut self.live else { return };
        match waiter {
            Waiter::Sessions => {
                live.reading.under_way = false;
                live.reading.sessions_at = Some(moment.now + AFTER_FAILURE);
            }
            Waiter::Agents | Waiter::AgentsFromConfig | Waiter::Subscribe => live.reading.under_way = false,
            Waiter::Logs => {
                let failure = self.busy();
                self.logs_unread(moment, failure);
            }
            // The others are no reads.
            _ => {}
        }
    }

    /// The `http` dialect has two lists, each at its own path.
    fn read_over_http(&mut self, moment: Moment) {
        let Some(live) = &mut self.live else { return };
        let reading = &mut live.reading;
        if std::mem::take(&mut reading.agents_wanted) {
            reading.under_way = true;
            self.ask_http_read(moment, HttpOperation::Config, Waiter::AgentsFromConfig);
        } else if reading.sessions_at.is_some_and(|at| moment.now >= at) {
            reading.sessions_at = None;
            reading.take_rows();
            reading.pages = MAX_PAGES;
            reading.under_way = true;
            self.ask_http_read(moment, HttpOperation::Sessions, Waiter::Sessions);
        }
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
