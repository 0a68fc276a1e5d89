//! What goes wrong in a command: a sentence, its cure, and a stable exit code.

use std::fmt;

use gatewarden_actors::error::ErrorCode;
use gatewarden_actors::store::StoreError;
use gatewarden_api::ErrorBody;
use serde_json::{Value, json};

use super::http_client::{Reply, words};
use super::output::{Output, complain, complain_as_is, plain_lines};
use super::wording;
use super::{EXIT_CONFIG, EXIT_DENIED, EXIT_FAILURE, EXIT_LATER, EXIT_UNREACHABLE, EXIT_USAGE};
use crate::app::StartError;
use crate::config::ConfigError;

/// A failure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CliError {
    pub(super) exit_code: u8,
    sentence: String,
    /// Empty where there is none.
    help: String,
    /// The API's error object, where it was the API that said no.
    body: Option<Value>,
    /// When the daemon says that it may work, in seconds.
    pub(super) retry_after_s: Option<u64>,
}

impl CliError {
    pub(super) fn coded(exit_code: u8, error: impl fmt::Display) -> Self {
        Self { exit_code, sentence: error.to_string(), help: String::new(), body: None, retry_after_s: None }
    }

    /// Of no special kind.
    pub(super) fn new(sentence: impl fmt::Display) -> Self {
        Self::coded(EXIT_FAILURE, sentence)
    }

    /// The command line is wrong.
    pub(super) fn usage(sentence: impl fmt::Display) -> Self {
        Self::coded(EXIT_USAGE, sentence)
    }

    /// The same with what to do.
    pub(super) fn cure(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }

    /// The same with one more sentence.
    pub(super) fn and(self, sentence: &str) -> Self {
        Self { sentence: format!("{} {sentence}", self.sentence), ..self }
    }

    /// No answer from what should be a daemon.
    pub(super) fn unreachable(endpoint: &impl fmt::Display, error: &ureq::Error) -> Self {
        use std::io::ErrorKind;
        const LOOK: &str = "Check host, port and scheme (http or https) of --url.";
        let kind = match error {
            ureq::Error::Io(error) => error.kind(),
            ureq::Error::ConnectionFailed => ErrorKind::ConnectionRefused,
            ureq::Error::Timeout(_) => ErrorKind::TimedOut,
            ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => ErrorKind::InvalidData,
            _ => ErrorKind::Other,
        };
        let words = words(error);
        let (what, help) = match kind {
            ErrorKind::ConnectionRefused => (
                format!("No daemon listens at {endpoint}."),
                "Start it (`gatewarden serve`, or `systemctl start gatewarden`), or name another place with --url.",
            ),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => (
                format!("The daemon at {endpoint} does not answer in time."),
                "Check that its machine is up, that no firewall lies between, and look at the daemon's log.",
            ),
            ErrorKind::InvalidData => (format!("What answers at {endpoint} is no gatewarden daemon: {words}."), LOOK),
            _ => (format!("The daemon at {endpoint} cannot be reached: {words}."), LOOK),
        };
        Self::coded(EXIT_UNREACHABLE, what).cure(help)
    }

    /// An answer that no daemon gives.
    pub(super) fn foreign(endpoint: &impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::coded(EXIT_UNREACHABLE, format!("What answers at {endpoint} is no gatewarden daemon: {what}."))
            .cure("Check host, port and path of --url, and the proxy in front of the daemon.")
    }

    /// The daemon says no.
    pub(super) fn refused(endpoint: &impl fmt::Display, reply: &Reply) -> Self {
        let status = reply.status;
        let body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
        let Ok(said) = serde_json::from_value::<ErrorBody>(body.clone()) else {
            return Self::foreign(endpoint, format!("HTTP {status}, and no error of ours"));
        };
        let exit_code = match status {
            401 | 403 => EXIT_DENIED,
            // It goes on: to send it again would not be the same as to come later.
            503 if said.code == "outcome_unknown" => EXIT_FAILURE,
            429 | 503 => EXIT_LATER,
            _ => EXIT_FAILURE,
        };
        let sentence = wording::of_daemon(&wording::of_fields(&said.error, said.details.as_ref()));
        // The API tells programs which header to send; people have a file.
        let mut help = match (status, said.code.as_str()) {
            (401, _) => "Give a key that this daemon knows, with --key-file or in $GATEWARDEN_API_KEY.".to_owned(),
            (403, "forbidden") => "Use a key of a larger role; `gatewarden keys create` makes one.".to_owned(),
            _ => wording::of_daemon(&said.help.unwrap_or_default())
                .replace("details.not_listed names some", &untold(&body)),
        };
        // What a gateway lacks doesn't come by waiting.
        let passes = exit_code == EXIT_LATER
            && !["no_usable_gateway", "gateway_unavailable", "standby"].contains(&said.code.as_str());
        if let Some(seconds) = reply.retry_after_s.filter(|_| passes) {
            help = format!("{help} Try again in {seconds} s.").trim().to_owned();
        }
        Self { exit_code, sentence, help, body: Some(body), retry_after_s: reply.retry_after_s }
    }

    /// The same about one of many things, which the sentence may not name.
    pub(super) fn about(self, name: &str) -> Self {
        if self.sentence.contains(name) {
            self
        } else {
            Self { sentence: format!("{name}: {}", self.sentence), ..self }
        }
    }

    /// The same with a gateway called as it was typed, where the daemon has its id.
    pub(super) fn naming(self, id: i64, named: &str) -> Self {
        let sentence = self.sentence.replace(&format!("Gateway {id} "), &format!("Gateway \"{named}\" "));
        // As a word of a command only what is one.
        let is_word = named.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let word = |help: String, end: &str| help.replace(&format!(" {id}{end}"), &format!(" {named}{end}"));
        let of_its_own = |help: String| {
            ["--token-file", "--password-file"].iter().fold(help, |help, option| {
                help.replace(&format!("update NAME {option}"), &format!("update {named} {option}"))
            })
        };
        let help = if is_word { of_its_own(word(word(self.help, "`"), " --")) } else { self.help };
        Self { sentence, help, ..self }
    }

    /// Whether the same may work in a moment: nobody answers, or not now.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.exit_code, EXIT_UNREACHABLE | EXIT_LATER)
    }

    /// Whether it is about one of many things and not about all that may follow.
    pub(super) fn is_of_one(&self) -> bool {
        self.exit_code == EXIT_FAILURE
    }

    /// Whether the API gave this code.
    pub(super) fn is_code(&self, code: &str) -> bool {
        self.body.as_ref().and_then(|body| body.get("code")).and_then(Value::as_str) == Some(code)
    }

    /// About a spawn that has not ended in time, with its id where that is known.
    pub(super) fn of_spawn(self, id: Option<&str>) -> Self {
        let code = ErrorCode::GatewayTimeout.as_str();
        let body = json!({"error": self.sentence, "code": code, "help": self.help, "details": {"spawnId": id}});
        Self { body: Some(body), ..self }
    }

    /// What the API said, which names arguments and not options; the key is this program's own matter.
    pub(super) fn for_assistant(&self) -> String {
        match (&self.body, self.is_code("unauthorized")) {
            (Some(body), false) => {
                let again =
                    self.retry_after_s.map(|seconds| format!("\nTry again in {seconds} s.")).unwrap_or_default();
                format!("{body}{again}")
            }
            _ => self.to_string(),
        }
    }

    /// What went wrong, without the cure.
    pub(super) fn sentence(&self) -> &str {
        self.sentence.trim_end_matches('.')
    }

    /// The spawn whose outcome isn't known, where the API names it: its gateway may have taken the work.
    pub(super) fn unknown_spawn(&self) -> Option<&str> {
        self.body.as_ref().filter(|_| self.is_code("gateway_timeout"))?.pointer("/details/spawnId")?.as_str()
    }

    /// The code of what is no error of the API.
    fn code(&self) -> &'static str {
        match self.exit_code {
            EXIT_USAGE => "usage",
            EXIT_UNREACHABLE => "unreachable",
            EXIT_DENIED => "denied",
            EXIT_CONFIG => "config",
            _ => "failed",
        }
    }

    /// Says it on standard error; with `--json` as the API's error object. The exit code.
    pub(super) fn say(&self, output: Output) -> u8 {
        if output.is_json() {
            let own = || json!({"error": self.sentence, "code": self.code(), "help": self.help});
            complain_as_is(&self.body.clone().unwrap_or_else(own).to_string());
        } else {
            complain(&plain_lines(&self.to_string()));
        }
        self.exit_code
    }
}

/// The gateways that haven't told all of their sessions.
fn untold(body: &Value) -> String {
    let gateways = body.pointer("/details/not_listed").and_then(Value::as_array).into_iter().flatten();
    gateways.filter_map(|gateway| gateway.get("name")?.as_str()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.help) }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::coded(EXIT_CONFIG, error)
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        Self::coded(error.exit_code(), error)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::coded(error.exit_code(), error)
    }
}
