//! A job: what its owner says of it, and what the scheduler keeps of it.

use std::sync::OnceLock;

use gatewarden_protocol::named;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::alerts::{Alert, AlertRules, FailureAlert};
use super::delivery::{Delivery, Fate};
use super::place::Place;
use super::schedule::{Past, Schedule};
use crate::call::CallError;
use crate::payload::{digest, joined, without_nulls};
use crate::sessions::SessionKey;

/// Longest definition of a job, in bytes of JSON.
const DEFINITION: usize = 64 * 1024;
const NAME: usize = 200;
/// Waits after failures in a row, in ms; the last one from then on.
const BACKOFF_MS: [i64; 5] = [30_000, 60_000, 300_000, 900_000, 3_600_000];
/// Failures in a row after which a job that recurs is switched off.
const MOST_FAILURES: u32 = 10;
/// A stored time may be so far behind the schedule's own: that of the longest wait.
pub(super) const LONGEST_BACKOFF_MS: i64 = 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Payload {
    /// A text for the agent's main session.
    SystemEvent { text: String },
    AgentTurn {
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thinking: Option<String>,
        /// 0: as long as it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_seconds: Option<u64>,
    },
}

impl Payload {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::SystemEvent { text } => text,
            Self::AgentTurn { message, .. } => message,
        }
    }
}

/// What a client writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Definition {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent_id: Option<String>,
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delete_after_run: Option<bool>,
    pub(crate) schedule: Schedule,
    /// `main`, `isolated` or `session:KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session_target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wake_mode: Option<String>,
    pub(crate) payload: Payload,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure_alert: Option<FailureAlert>,
    /// Computed when it is first asked for, and forgotten when something above changes.
    #[serde(skip)]
    revision: OnceLock<String>,
}

fn yes() -> bool {
    true
}

/// What only real gateways can do, by the place where it is asked for, and what to do instead.
const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("/schedule/kind", "on-exit", "watch the command yourself, and call cron.run when it has ended"),
    ("/schedule/kind", "stream", "let the program that writes call cron.run or agent"),
    ("/payload/kind", "command", "make the command an agent (gatewarden.commands), and write an agentTurn for it"),
    ("/payload/kind", "script", "make the script an agent (gatewarden.commands), and write an agentTurn for it"),
    ("/wakeMode", "next-heartbeat", "this gateway has no heartbeats; write now"),
];

impl Definition {
    /// From a whole object. `session` is the key that `current` stands for.
    pub(crate) fn read(method: &str, mut fields: Map<String, Value>, session: Option<&str>) -> Result<Self, CallError> {
        fields.retain(|_, value| !value.is_null());
        if fields.get("sessionTarget").and_then(Value::as_str) == Some("current") {
            let target = session.map_or_else(|| "isolated".to_owned(), |key| format!("session:{key}"));
            fields.insert("sessionTarget".to_owned(), target.into());
        }
        let whole = Value::Object(fields);
        for (place, value, instead) in UNSUPPORTED {
            if whole.pointer(place).and_then(Value::as_str) == Some(value) {
                return Err(wrong(method, &format!("at {place}: {value} is not supported by this gateway: {instead}")));
            }
        }
        // In an alternative it wouldn't be said what is wrong.
        if let Some(rules) = whole.get("failureAlert").filter(|rules| **rules != Value::Bool(false)) {
            let read = serde_json::from_value(rules.clone()).map_err(|error| format!("at /failureAlert: {error}"));
            read.and_then(|rules: AlertRules| rules.place("/failureAlert")).map_err(|what| wrong(method, &what))?;
        }
        let mut definition: Self = serde_json::from_value(whole).map_err(|error| wrong(method, &error.to_string()))?;
        if definition.schedule.is_once() {
            definition.delete_after_run.get_or_insert(true);
        }
        let default = match definition.payload {
            Payload::SystemEvent { .. } => "main",
            Payload::AgentTurn { .. } => "isolated",
        };
        definition.session_target.get_or_insert_with(|| default.to_owned());
        definition.wake_mode.get_or_insert_with(|| "now".to_owned());
        definition.check_words().map_err(|what| wrong(method, &what))?;
        Ok(definition)
    }

    fn check_words(&self) -> Result<(), String> {
        for (name, text) in [
            ("name", Some(&self.name)),
            ("displayName", self.display_name.as_ref()),
            ("agentId", self.agent_id.as_ref()),
        ] {
            if text.is_some_and(|text| text.trim().is_empty() || text.chars().count() > NAME) {
                return Err(format!("at /{name}: must have 1 to {NAME} characters"));
            }
        }
        if self.payload.text().trim().is_empty() {
            return Err("at /payload: there is no text in it".to_owned());
        }
        let target = self.target();
        if target != "main" && target != "isolated" && !target.starts_with("session:") {
            return Err("at /sessionTarget: must be main, isolated, current or session:KEY".to_owned());
        }
        if target != "main" && matches!(self.payload, Payload::SystemEvent { .. }) {
            return Err("isolated/current/session cron jobs require payload.kind=\"agentTurn\"".to_owned());
        }
        if self.wake_mode.as_deref() != Some("now") {
            return Err("at /wakeMode: must be now".to_owned());
        }
        self.delivery.as_ref().map_or(Ok(()), Delivery::check)?;
        if matches!(self.place(), Some(Place::Chat(_))) && target == "main" {
            return Err("at /delivery/to: what is said in the main session goes to no chat; write sessionTarget isolated and an agentTurn, or a webhook"
                .to_owned());
        }
        if self.bytes() > DEFINITION {
            return Err(format!("the job is longer than {DEFINITION} bytes"));
        }
        Ok(())
    }

    /// The same with a patch: null clears, `payload`, `delivery` and `failureAlert` are patched field by field.
    pub(crate) fn patched(
        &self,
        method: &str,
        patch: &Map<String, Value>,
        session: Option<&str>,
    ) -> Result<Self, CallError> {
        let mut fields = self.fields();
        for (name, value) in patch {
            let inner = match (name.as_str(), fields.get_mut(name), value) {
                ("delivery" | "failureAlert", Some(Value::Object(old)), Value::Object(new)) => {
                    Value::Object(Delivery::merged(old, new))
                }
                ("payload", Some(Value::Object(old)), Value::Object(new))
                    if new.get("kind").is_none_or(|kind| old.get("kind") == Some(kind)) =>
                {
                    let mut merged = old.clone();
                    merged.extend(new.clone());
                    merged.retain(|_, value| !value.is_null());
                    Value::Object(merged)
                }
                _ => value.clone(),
            };
            fields.insert(name.clone(), inner);
        }
        let kind = patch.get("schedule").and_then(|schedule| schedule.get("kind")).and_then(Value::as_str);
        if kind.is_some_and(|kind| kind != self.schedule.kind()) && !patch.contains_key("deleteAfterRun") {
            fields.remove("deleteAfterRun");
        }
        Self::read(method, fields, session)
    }

    pub(crate) fn target(&self) -> &str {
        self.session_target.as_deref().unwrap_or("isolated")
    }

    pub(crate) fn agent<'a>(&'a self, default: &'a str) -> &'a str {
        self.agent_id.as_deref().unwrap_or(default)
    }

    /// The session of its runs.
    pub(crate) fn session(&self, id: &str, default_agent: &str) -> Result<SessionKey, CallError> {
        let agent = self.agent(default_agent);
        match self.target().strip_prefix("session:") {
            Some(key) => SessionKey::read(key, agent),
            None if self.target() == "main" => Ok(SessionKey::main_of(agent)),
            None => Ok(SessionKey::of(agent, &format!("cron:{id}"))),
        }
    }

    /// Where the answer goes besides the session, where it goes anywhere.
    pub(crate) fn delivery(&self) -> Option<&Delivery> {
        self.delivery.as_ref().filter(|delivery| delivery.is_wanted())
    }

    /// Where the end of a run is told. What is said in the main session goes to no chat.
    pub(crate) fn place(&self) -> Option<Place> {
        let place = self.delivery()?.place().ok().flatten();
        place.filter(|place| *place != Place::Last || self.target() != "main")
    }

    /// What is said of that before it runs. `reachable`: the place where it would be sent now. Err: why nothing could be.
    pub(crate) fn delivery_preview(&self, reachable: impl FnOnce(&Place) -> Result<Place, String>) -> Value {
        match &self.delivery {
            Some(delivery) => delivery.preview(reachable),
            None => json!({"label": "not requested", "detail": "not requested"}),
        }
    }

    pub(super) fn is_best_effort(&self) -> bool {
        self.delivery.as_ref().is_some_and(Delivery::is_best_effort)
    }

    /// Where failures are told, where that is said beside the delivery of answers.
    pub(super) fn failure_place(&self) -> Option<Place> {
        self.delivery.as_ref()?.failure_place()
    }

    /// All places where something of its runs is told.
    pub(crate) fn told_at(&self) -> Vec<Place> {
        let alerts = match &self.failure_alert {
            Some(FailureAlert::On(rules)) => rules.place("").ok().flatten(),
            Some(FailureAlert::Off(_)) | None => None,
        };
        [self.place(), self.failure_place(), alerts].into_iter().flatten().collect()
    }

    pub(super) fn failure_alert(&self) -> Option<&FailureAlert> {
        self.failure_alert.as_ref()
    }

    fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        serde_json::to_string(self).map_or(usize::MAX, |text| text.len())
    }

    /// Another one for each other definition.
    pub(crate) fn revision(&self) -> &str {
        self.revision.get_or_init(|| format!("sha256:{}", digest(Value::Object(self.fields()).to_string())))
    }

    fn switch_off(&mut self) {
        self.enabled = false;
        self.revision.take();
    }
}

fn wrong(method: &str, what: &str) -> CallError {
    let what: String = gatewarden_protocol::words::shown(what);
    CallError::invalid(format!("invalid {method} params: {what}"))
}

named! {
    pub(crate) enum Status {
        Ok = "ok",
        Error = "error",
    }
}

/// Why and when a job was switched off by the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AutoDisabled {
    reason: String,
    at_ms: i64,
    consecutive_errors: u32,
}

/// What the scheduler keeps of a job. All times are wall ms.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_run_at_ms: Option<i64>,
    /// Since when a run is under way, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) running: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_run_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_run_status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_duration_ms: Option<i64>,
    /// What became of the answer that was to be told last, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_delivery: Option<Fate>,
    /// What was told last of its failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alert: Option<Alert>,
    #[serde(default)]
    pub(crate) consecutive_errors: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) auto_disabled: Option<AutoDisabled>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) created_at_ms: i64,
    pub(crate) updated_at_ms: i64,
    pub(crate) definition: Definition,
    #[serde(default)]
    pub(crate) state: State,
}

impl Job {
    /// When it is due after `now_ms`, where it is switched on.
    pub(super) fn next(&self, now_ms: i64, zone: &TimeZone) -> Option<i64> {
        let past = Past { job: &self.id, last_run_ms: self.state.last_run_at_ms, zone };
        if self.definition.enabled { self.definition.schedule.next(now_ms, past) } else { None }
    }

    pub(crate) fn is_due(&self, now_ms: i64) -> bool {
        self.definition.enabled && self.state.next_run_at_ms.is_some_and(|next| next <= now_ms)
    }

    /// A run has begun. One that was due takes its time with it.
    pub(super) fn begin(&mut self, now_ms: i64, run: &str, zone: &TimeZone) {
        (self.state.running_at_ms, self.state.running) = (Some(now_ms), Some(run.to_owned()));
        if self.is_due(now_ms) {
            self.state.last_run_at_ms = Some(now_ms);
            self.state.next_run_at_ms = if self.definition.schedule.is_once() { None } else { self.next(now_ms, zone) };
        }
    }

    /// A run has ended. Whether the job is done with, and to be deleted.
    pub(super) fn end(&mut self, error: Option<&str>, began_ms: i64, now_ms: i64, retry: bool) -> bool {
        let state = &mut self.state;
        (state.running_at_ms, state.running) = (None, None);
        state.last_run_at_ms = Some(began_ms);
        state.last_duration_ms = Some(now_ms.saturating_sub(began_ms).max(0));
        state.last_error = error.map(str::to_owned);
        state.last_run_status = Some(if error.is_some() { Status::Error } else { Status::Ok });
        state.consecutive_errors = if error.is_some() { state.consecutive_errors.saturating_add(1) } else { 0 };
        let failures = state.consecutive_errors;
        let once = self.definition.schedule.is_once();
        let at = usize::try_from(failures.saturating_sub(1)).ok();
        let wait = at.and_then(|at| BACKOFF_MS.get(at)).copied().unwrap_or(LONGEST_BACKOFF_MS);
        if error.is_some() && once && retry && failures <= 3 && self.definition.enabled {
            // Nothing was begun.
            state.next_run_at_ms = Some(now_ms.saturating_add(wait));
            return false;
        }
        if once {
            // One that was run by hand before its time still has it to come.
            let is_over = state.next_run_at_ms.is_none() && self.definition.enabled;
            if is_over {
                self.definition.switch_off();
            }
            return is_over && error.is_none() && self.definition.delete_after_run == Some(true);
        }
        if error.is_some() {
            let earliest = now_ms.saturating_add(wait);
            state.next_run_at_ms = state.next_run_at_ms.map(|next| next.max(earliest));
            // A full disk, or a gateway that is full, is no fault of the job.
            if failures >= MOST_FAILURES && !retry && self.definition.enabled {
                self.definition.switch_off();
                state.next_run_at_ms = None;
                state.auto_disabled = Some(AutoDisabled {
                    reason: "consecutive-failures".to_owned(),
                    at_ms: now_ms,
                    consecutive_errors: failures,
                });
            }
        }
        false
    }

    /// Of what is shown of it, about.
    pub(crate) fn bytes(&self) -> usize {
        let told = self.state.last_delivery.as_ref().map_or(0, |fate| fate.words().len());
        let alert = self.state.alert.as_ref().map_or(0, |alert| alert.fate.words().len());
        alert + self.definition.bytes() + 2 * self.state.last_error.as_ref().map_or(0, String::len) + told
    }

    /// As real gateways show it.
    pub(crate) fn to_value(&self) -> Value {
        let state = &self.state;
        let mut shown_state = serde_json::to_value(state).unwrap_or_default();
        if let Some(fields) = shown_state.as_object_mut() {
            fields.retain(|name, _| name != "lastDelivery" && name != "alert" && name != "running");
            fields.extend(state.last_delivery.iter().flat_map(|fate| fate.named("last")));
            fields.extend(state.alert.iter().flat_map(Alert::to_fields));
        }
        let shown = json!({
            "id": self.id,
            "createdAtMs": self.created_at_ms,
            "updatedAtMs": self.updated_at_ms,
            "state": shown_state,
            "configRevision": self.definition.revision(),
            "nextRunAtMs": state.next_run_at_ms,
            "lastRunAtMs": state.last_run_at_ms,
            "lastRunStatus": state.last_run_status,
            "lastRunError": state.last_error,
        });
        without_nulls(joined(Value::Object(self.definition.fields()), shown))
    }
}
