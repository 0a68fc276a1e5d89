//! What is written and kept of alerts: the rules of a job or of the configuration, and what was told last.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::delivery::Fate;
use super::place::{Place, Route};

const INTERRUPTED: &str = "the gateway ended while it was being sent; it isn't sent again";

/// When and where failures are told: what a client or the configuration writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AlertRules {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cooldown_ms: Option<u64>,
    /// Taken, and without a meaning: no run is left out here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) include_skipped: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account_id: Option<String>,
}

impl AlertRules {
    fn route(&self) -> Route {
        Route {
            mode: self.mode.clone(),
            channel: self.channel.clone(),
            to: self.to.clone(),
            account_id: self.account_id.clone(),
        }
    }

    /// Where to; none where that isn't said. Err: what is wrong with the rules; `at` is where they stand.
    pub(crate) fn place(&self, at: &str) -> Result<Option<Place>, String> {
        if self.after == Some(0) {
            return Err(format!("at {at}/after: must be at least 1"));
        }
        self.route().place(at)
    }
}

/// Of a job: its rules, or `false` for no alerts at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum FailureAlert {
    Off(bool),
    On(AlertRules),
}

/// What was told last of a job's failures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    /// When, and what tells its cause and place from others, unless it is to be told again; none once the job has worked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) incident: Option<(i64, Option<String>)>,
    /// Under which it is sent.
    pub(super) name: String,
    pub(super) fate: Fate,
}

impl Alert {
    pub(super) fn new(incident: Option<(i64, String)>, name: String, fate: Fate) -> Self {
        let incident = incident.map(|(at_ms, cause)| (at_ms, Some(cause)));
        let mut alert = Self { incident, name, fate: Fate::Waiting };
        alert.settle(fate);
        alert
    }

    /// It is known what became of it. What nobody was told is told again, after the same pause.
    pub(super) fn settle(&mut self, fate: Fate) {
        if let (Fate::Failed(_), Some((_, cause))) = (&fate, &mut self.incident) {
            *cause = None;
        }
        self.fate = fate;
    }

    /// Of one that was on its way when the gateway ended: it waits on where it is kept.
    pub(super) fn resume(&mut self, is_kept: impl FnOnce(&str) -> bool) -> bool {
        let is_lost = self.fate == Fate::Waiting && !is_kept(&self.name);
        if is_lost {
            self.fate = Fate::Unknown(INTERRUPTED.to_owned());
        }
        is_lost
    }

    /// Fields of a job's state.
    pub(super) fn to_fields(&self) -> Map<String, Value> {
        let mut fields = self.fate.named("lastFailureNotification");
        if let Some((at_ms, _)) = &self.incident {
            fields.insert("lastFailureAlertAtMs".to_owned(), (*at_ms).into());
        }
        fields
    }
}
