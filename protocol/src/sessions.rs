//! Sessions as gateways report them, in one form.
//!
//! What `status` means here: **active** is a session with a run under way right now (`hasActiveRun`, status `running`, or
//! document 002's `active: true`); **paused** is one whose run is suspended; **completed** is one whose last run has
//! ended (done, failed or killed). A row that tells none of this has no status: it never ran, or the release doesn't say.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::capabilities::Capabilities;
use crate::decoding::{RowSeed, text_bytes};
use crate::fields;
use crate::limits::{MAX_DECODED_ROW, MAX_SESSIONS, MAX_SESSIONS_BYTES};
use crate::quirks::Quirk;
use crate::words;

mod events;
mod table;

pub use events::{SessionsEvent, read_sessions_event};
pub use table::SessionTable;

/// How long a `running` row of a release whose rows stick at `running` is believed without any sign of life.
pub const RUNNING_BELIEVED_MS: i64 = 15 * 60 * 1_000;

crate::named! {
    /// Whether a session is at work.
    pub enum SessionStatus {
        /// A run is under way.
        Active = "active",
        /// A run is suspended.
        Paused = "paused",
        /// The last run has ended.
        Completed = "completed",
    }
}

/// How a session's last run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunEnd {
    /// Well.
    Done,
    /// Badly.
    Failed,
    /// On request.
    Killed,
}

/// One session of a gateway. What the gateway doesn't tell is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SessionRow {
    /// The gateway's key, any text: `agent:main:main`, `researcher:main`.
    pub key: String,
    /// The agent that it belongs to.
    pub agent: Option<String>,
    /// The model, without its provider.
    pub model: Option<String>,
    /// See the module's text.
    pub status: Option<SessionStatus>,
    /// Tokens: real releases tell the size of the last prompt, document 002 the sum.
    pub total_tokens: Option<u64>,
    /// Size of the context window.
    pub context_tokens: Option<u64>,
    /// Wall ms of the last change.
    pub updated_at_ms: Option<i64>,
    /// `direct`, `chat`, `group` and so on.
    pub kind: Option<String>,
    /// Messages, where told.
    pub message_count: Option<u64>,
    /// Cost so far in US dollars.
    pub cost: Option<f64>,
    /// The name that people gave it.
    pub label: Option<String>,
    /// `hasActiveRun` of protocol 4: what `status` rests on, kept because it is the one certain sign.
    pub has_active_run: Option<bool>,
    /// The run under way or the last one.
    pub run_id: Option<String>,
    /// Wall ms of the gateway at which the run under way or the last one began: tells one run from the next where rows name
    /// no run.
    pub started_at_ms: Option<i64>,
    /// How the last run ended, where the row tells more than that it did. None while one is under way.
    pub run_end: Option<RunEnd>,
    /// What the last run failed of, in the gateway's words.
    pub run_error: Option<String>,
}

/// A row without its texts, shared, with a place in a table that is half full and one in a list.
const ROW_BYTES: usize = size_of::<SessionRow>() + 48 + 2 * size_of::<(String, usize)>() + size_of::<usize>();

/// How rows are to be read: differs by release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowRules {
    /// Rows may stay `running` after their run was aborted.
    pub running_may_stick: bool,
    /// Wall ms, to judge how old such a row is.
    pub now_ms: i64,
}

impl RowRules {
    /// The rules for a gateway.
    pub fn of(capabilities: &Capabilities, now_ms: i64) -> Self {
        Self { running_may_stick: capabilities.has(Quirk::RunningStaysAfterAbort), now_ms }
    }
}

impl SessionRow {
    /// Reads one row of any form. None where it names no session.
    pub fn read(value: &Value, rules: RowRules) -> Option<Self> {
        let key = fields::name(value, &["key", "sessionKey"])?;
        let updated_at_ms = fields::time_ms(value, &["updatedAt", "updatedAtMs", "lastActivityAt", "updated_at"]);
        let has_active_run = fields::flag(value, &["hasActiveRun"]);
        let status = status(value, has_active_run, updated_at_ms, rules);
        let run_end = run_end(value).filter(|_| status == Some(SessionStatus::Completed));
        Some(Self {
            agent: fields::name(value, &["agentId", "agent"]).or_else(|| agent_of_key(&key)),
            model: fields::name(value, &["model"]),
            status,
            total_tokens: fields::whole(value, &["totalTokens"]),
            context_tokens: fields::whole(value, &["contextTokens"]),
            updated_at_ms,
            kind: fields::name(value, &["kind"]),
            message_count: fields::whole(value, &["messageCount"]),
            cost: ["estimatedCostUsd", "cost"]
                .iter()
                .find_map(|field| value.get(*field).and_then(Value::as_f64))
                .filter(|cost| *cost >= 0.0),
            label: fields::shown(value, &["label"]),
            has_active_run,
            run_id: value
                .get("activeRunIds")
                .and_then(|ids| ids.get(0)?.as_str())
                .and_then(words::name)
                .or_else(|| fields::name(value, &["runId", "lastRunId"])),
            started_at_ms: fields::time_ms(value, &["startedAt"]),
            run_end,
            run_error: fields::shown(value, &["lastRunError"]).filter(|_| run_end == Some(RunEnd::Failed)),
            key,
        })
    }

    /// Its run has ended, though the row doesn't know yet.
    fn note_end(&mut self) {
        self.status = Some(SessionStatus::Completed);
        self.has_active_run = self.has_active_run.map(|_| false);
    }

    /// Takes over what a newer, partial row tells, and keeps the rest.
    pub fn merge(&mut self, newer: Self) {
        fn take<T>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        // Told anew with each status; that the same run has ended may be said twice, and once without saying how.
        let same_run = newer.run_id.is_none() || newer.run_id == self.run_id;
        let said_again = newer.status == self.status && newer.run_end.is_none() && same_run;
        if newer.status.is_some() && !said_again {
            self.run_end = newer.run_end;
            self.run_error = newer.run_error;
        }
        take(&mut self.agent, newer.agent);
        take(&mut self.model, newer.model);
        take(&mut self.status, newer.status);
        take(&mut self.total_tokens, newer.total_tokens);
        take(&mut self.context_tokens, newer.context_tokens);
        take(&mut self.updated_at_ms, newer.updated_at_ms);
        take(&mut self.kind, newer.kind);
        take(&mut self.message_count, newer.message_count);
        take(&mut self.cost, newer.cost);
        take(&mut self.label, newer.label);
        take(&mut self.has_active_run, newer.has_active_run);
        take(&mut self.run_id, newer.run_id);
        take(&mut self.started_at_ms, newer.started_at_ms);
    }

    /// What it takes to keep it in a table and to show it, bytes: its texts, itself, and its places there.
    pub fn held_bytes(&self) -> usize {
        let texts = [&self.agent, &self.model, &self.kind, &self.label, &self.run_id, &self.run_error];
        let texts: usize = texts.into_iter().flatten().map(|text| text_bytes(text)).sum();
        ROW_BYTES + 2 * text_bytes(&self.key) + texts
    }

    /// Whether a run is under way.
    pub fn is_active(&self) -> bool {
        self.status == Some(SessionStatus::Active)
    }
}

/// The agent in a key: the second part of `agent:<id>:<rest>`, else the first of `<agent>:<rest>`.
pub fn agent_of_key(key: &str) -> Option<String> {
    let (first, rest) = key.split_once(':')?;
    let agent = if first == "agent" { rest.split(':').next()? } else { first };
    words::name(agent)
}

fn status(
    value: &Value,
    has_active_run: Option<bool>,
    updated_at_ms: Option<i64>,
    rules: RowRules,
) -> Option<SessionStatus> {
    let told = value.get("status").and_then(Value::as_str).map(str::to_ascii_lowercase);
    if fields::flag(value, &["paused"]) == Some(true) || matches!(told.as_deref(), Some("paused" | "suspended")) {
        return Some(SessionStatus::Paused);
    }
    // The certain signs first: they are right even where the text is stale.
    match (has_active_run, fields::flag(value, &["active"])) {
        (Some(true), _) | (None, Some(true)) => return Some(SessionStatus::Active),
        (None, Some(false)) => return Some(SessionStatus::Completed),
        (Some(false), _) if matches!(told.as_deref(), Some("running" | "active")) => {
            return Some(SessionStatus::Completed);
        }
        _ => {}
    }
    match told.as_deref()? {
        "running" | "active" | "busy" | "started" => {
            let ended = fields::time_ms(value, &["endedAt"]) >= fields::time_ms(value, &["startedAt"])
                && value.get("endedAt").is_some_and(Value::is_number);
            let silent = updated_at_ms.is_some_and(|at| rules.now_ms.saturating_sub(at) > RUNNING_BELIEVED_MS);
            let stuck = rules.running_may_stick && (ended || silent);
            Some(if stuck { SessionStatus::Completed } else { SessionStatus::Active })
        }
        "done" | "failed" | "killed" | "completed" | "aborted" | "error" | "cancelled" | "ended" | "timeout" => {
            Some(SessionStatus::Completed)
        }
        _ => None,
    }
}

/// The end of the last run in a row's own words.
fn run_end(value: &Value) -> Option<RunEnd> {
    match value.get("status").and_then(Value::as_str)?.to_ascii_lowercase().as_str() {
        "done" | "completed" | "ended" => Some(RunEnd::Done),
        "failed" | "error" | "timeout" => Some(RunEnd::Failed),
        "killed" | "aborted" | "cancelled" => Some(RunEnd::Killed),
        _ => None,
    }
}

/// One page (or all) of a list of sessions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionPage {
    /// The rows, at most [`MAX_SESSIONS`].
    pub rows: Vec<SessionRow>,
    /// How many sessions the gateway has, where it says so.
    pub total: Option<u64>,
    /// The offset of the next page; none after the last.
    pub next_offset: Option<u64>,
}

/// Reads the reply of `sessions.list`, the body of `GET /sessions` or a `tick` snapshot: `sessions[]`, or a bare array. None
/// where it is neither, or where a row takes more memory than any real one.
///
/// Reads from a value or from text, row by row: what goes beyond [`MAX_SESSIONS`] or [`MAX_SESSIONS_BYTES`] is passed over.
pub fn read_sessions<'de>(document: impl Deserializer<'de>, rules: RowRules) -> Option<SessionPage> {
    document.deserialize_any(PageVisitor { rules }).ok().flatten()
}

struct PageVisitor {
    rules: RowRules,
}

impl<'de> Visitor<'de> for PageVisitor {
    type Value = Option<SessionPage>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sessions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut page = SessionPage::default();
        let mut bytes = 0_usize;
        let mut is_full = false;
        while !is_full {
            let Some(item) = items.next_element_seed(RowSeed(MAX_DECODED_ROW))? else { return Ok(Some(page)) };
            let Some(row) = SessionRow::read(&item, self.rules) else { continue };
            bytes = bytes.saturating_add(row.held_bytes());
            is_full = bytes > MAX_SESSIONS_BYTES || page.rows.len() >= MAX_SESSIONS;
            if !is_full {
                page.rows.push(row);
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(page))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = None;
        let mut facts = Map::new();
        while let Some(name) = entries.next_key::<Cow<'de, str>>()? {
            match &*name {
                "sessions" => list = entries.next_value_seed(ListSeed { rules: self.rules })?,
                "totalCount" | "total" | "hasMore" | "nextOffset" => {
                    facts.insert(name.into_owned(), entries.next_value_seed(RowSeed(MAX_DECODED_ROW))?);
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        let facts = Value::Object(facts);
        let has_more = fields::flag(&facts, &["hasMore"]) == Some(true);
        Ok(list.map(|list| SessionPage {
            total: fields::whole(&facts, &["totalCount", "total"]),
            next_offset: fields::whole(&facts, &["nextOffset"]).filter(|_| has_more),
            ..list
        }))
    }
}

/// The list within a document.
struct ListSeed {
    rules: RowRules,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = Option<SessionPage>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(PageVisitor { rules: self.rules })
    }
}

#[cfg(test)]
mod tests;
