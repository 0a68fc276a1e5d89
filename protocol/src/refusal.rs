//! Why a gateway can't be worked with right now: one closed list of reasons for refusals, closes, upgrade answers and
//! transport failures alike, each with a sentence and with what to do about it.

mod close;
mod code;
mod upgrade;
mod wire;

pub use close::classify_close;
pub use code::RefusalCode;
pub use upgrade::{UpgradeAnswer, classify_http_reply, classify_upgrade};
pub use wire::classify_error;

use crate::words;

/// What to do about a refusal, in the coarse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalClass {
    /// The gateway is still coming up: try again soon; no failure within its grace.
    Starting,
    /// The gateway announced a restart: try again with backoff; no failure until it is overdue.
    Restarting,
    /// Back off and try again; counts as a failure.
    Retryable,
    /// Only a change by a person cures it: stop, say so, look again slowly.
    Blocked,
    /// Blocked until somebody approves this device on the gateway.
    PairingRequired,
    /// Stop until the time that the gateway named, then try once.
    RateLimited,
}

/// A pairing request that waits on the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairing {
    /// What to approve, where the gateway said it and it is fit for a command line.
    pub request_id: Option<String>,
    /// The device that asks.
    pub device_id: Option<String>,
    /// It waits on an embedded gateway (which says its version along with the refusal).
    pub on_embedded_gateway: bool,
}

impl Pairing {
    /// The command that approves it, to be run on the gateway's machine, where the request is known.
    pub fn command(&self) -> Option<String> {
        let program = if self.on_embedded_gateway { "gatewarden gateway devices" } else { "openclaw devices" };
        self.request_id.as_ref().map(|id| format!("{program} approve {id}"))
    }
}

/// One refusal, classified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable reason.
    pub code: RefusalCode,
    /// What to do; mostly the code's own class.
    pub class: RefusalClass,
    /// The gateway's own words, or what this side saw: one line, at most 500 characters, no control characters.
    pub words: String,
    /// When to try again, where the gateway said it.
    pub retry_after_ms: Option<u64>,
    /// Present where pairing is required.
    pub pairing: Option<Pairing>,
    /// Whether a stored device token is worthless now and must be forgotten.
    pub drop_device_token: bool,
    /// The scope that is missing, where that is the reason.
    pub missing_scope: Option<String>,
    /// The build that the gateway wants a control UI to have: worth one more try with it as `client.buildId`.
    pub gateway_build_id: Option<String>,
    /// Whether the gateway may count it towards locking us out.
    pub counts_as_failed_auth: bool,
}

impl Refusal {
    /// A refusal for a reason, with the defaults of that reason.
    pub fn new(code: RefusalCode, own_words: &str) -> Self {
        Self {
            code,
            class: code.class(),
            words: words::shown(own_words),
            retry_after_ms: None,
            pairing: (code == RefusalCode::PairingRequired).then(Pairing::default),
            drop_device_token: matches!(code, RefusalCode::DeviceTokenMismatch | RefusalCode::DeviceRemoved),
            missing_scope: None,
            gateway_build_id: None,
            counts_as_failed_auth: code.counts_as_failed_auth(),
        }
    }

    /// The same refusal with the time that the gateway asks us to wait.
    #[must_use]
    pub fn with_retry_after_ms(mut self, retry_after_ms: Option<u64>) -> Self {
        self.retry_after_ms = retry_after_ms;
        self
    }

    /// A sentence that names the gateway, with its own words or with what this side saw.
    pub fn for_gateway(&self, name: &str, address: &str) -> String {
        self.about(&format!("Gateway \"{name}\" ({address})"))
    }

    /// The same about something that has no name here yet.
    pub fn about(&self, subject: &str) -> String {
        let happened = match &self.missing_scope {
            Some(scope) => format!("did not grant the scope {scope}"),
            None => self.code.predicate().to_owned(),
        };
        let words = self.words.trim_end_matches('.');
        match words {
            "" => format!("{subject} {happened}."),
            _ if self.code.is_said_by_gateway() => {
                format!("{subject} {happened}. It said: \"{words}\".")
            }
            _ => format!("{subject} {happened}: {words}."),
        }
    }

    /// What to change, and where. Names the exact command where one is needed.
    pub fn help(&self) -> String {
        let approval =
            self.pairing.as_ref().and_then(|pairing| Some((pairing.command()?, pairing.on_embedded_gateway)));
        match (self.code, approval, &self.missing_scope) {
            (RefusalCode::PairingRequired, Some((command, embedded)), _) => {
                let list = if embedded { "gatewarden gateway devices list" } else { "openclaw devices list" };
                format!(
                    "On the gateway's host run: {command} ({list} shows what waits). The connection comes up by itself \
                     within seconds of the approval."
                )
            }
            (RefusalCode::MissingScope, _, Some(scope)) => {
                format!("{} The scope that is missing: {scope}.", self.code.help())
            }
            _ => self.code.help().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
