//! What goes wrong in a command that talks to a daemon: a sentence, its cure, and a stable exit code.

use std::fmt;

use serde_json::{Value, json};

use super::output::Output;
use super::place::Place;
use crate::cli::http_client::Answer;
use crate::cli::{EXIT_DENIED, EXIT_FAILURE, EXIT_LATER, EXIT_UNREACHABLE, EXIT_USAGE, terminal};

/// A failure.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Trouble {
    exit_code: u8,
    sentence: String,
    /// Empty where there is none.
    help: String,
    /// The API's error object, where it was the API that said no.
    body: Option<Value>,
    /// When the daemon says that it may work, in seconds.
    retry_after_s: Option<u64>,
}

impl Trouble {
    /// A failure of no special kind.
    pub(in crate::cli) fn new(sentence: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit_code: EXIT_FAILURE, sentence: sentence.into(), help: help.into(), body: None, retry_after_s: None }
    }

    /// The command line is wrong.
    pub(in crate::cli) fn usage(sentence: impl Into<String>) -> Self {
        Self { exit_code: EXIT_USAGE, ..Self::new(sentence, "") }
    }

    /// The key is missing or doesn't do.
    pub(super) fn denied(sentence: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit_code: EXIT_DENIED, ..Self::new(sentence, help) }
    }

    /// No answer.
    pub(super) fn unreachable(place: &Place, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let (what, help) = match error.kind() {
            ErrorKind::ConnectionRefused => (
                format!("No daemon listens at {place}."),
                "Start it (`gatewarden serve`, or `systemctl start gatewarden`), or name another place with --url.",
            ),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => (
                format!("The daemon at {place} does not answer in time."),
                "Check that its machine is up, that no firewall lies between, and look at the daemon's log.",
            ),
            ErrorKind::InvalidData => (
                format!("What answers at {place} is no gatewarden daemon: {error}."),
                "Check host, port and scheme (http or https) of --url.",
            ),
            _ => (
                format!("The daemon at {place} cannot be reached: {error}."),
                "Check host, port and scheme (http or https) of --url.",
            ),
        };
        Self { exit_code: EXIT_UNREACHABLE, ..Self::new(what, help) }
    }

    /// The daemon says no.
    pub(super) fn refused(place: &Place, answer: &Answer) -> Self {
        let status = answer.status();
        let body = Some(answer.json()).filter(|body| body.get("error").is_some_and(Value::is_string));
        let Some(body) = body else {
            let sentence =
                format!("What answers at {place} is no gatewarden daemon: HTTP {status}, and no error of ours.");
            let help = "Check host, port and path of --url, and the proxy in front of the daemon.";
            return Self { exit_code: EXIT_UNREACHABLE, ..Self::new(sentence, help) };
        };
        let word = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
        let exit_code = match status {
            401 | 403 => EXIT_DENIED,
            // It goes on: to send it again would not be the same as to come later.
            503 if word("code") == "outcome_unknown" => EXIT_FAILURE,
            429 | 503 => EXIT_LATER,
            _ => EXIT_FAILURE,
        };
        let mut sentence = word("error").to_owned();
        for field in body.pointer("/details/fields").and_then(Value::as_array).into_iter().flatten() {
            let part = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
            let line = format!("{}: {}", part("field"), part("message"));
            if !sentence.contains(part("message")) && !part("message").is_empty() {
                sentence.push_str(&format!("\n  {line}"));
            }
        }
        // The API tells programs which header to send; people have a file.
        let mut help = match (status, word("code")) {
            (401, _) => "Give a key that this daemon knows, with --key-file or in $GATEWARDEN_API_KEY.",
            (403, "forbidden") => "Use a key of a larger role; `gatewarden keys create` makes one.",
            _ => word("help"),
        }
        .to_owned();
        let retry_after_s = answer.head.header("retry-after").and_then(|seconds| seconds.parse().ok());
        if let Some(seconds) = retry_after_s.filter(|_| exit_code == EXIT_LATER) {
            help = format!("{help} Try again in {seconds} s.").trim().to_owned();
        }
        Self { exit_code, sentence, help, body: Some(body), retry_after_s }
    }

    /// The same with a command's own exit code.
    pub(in crate::cli) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// How long the daemon asks to wait, in seconds.
    pub(in crate::cli) fn retry_after_s(&self) -> Option<u64> {
        self.retry_after_s
    }

    /// Whether the same may work in a moment: nobody answers, or not now.
    pub(in crate::cli) fn may_pass(&self) -> bool {
        matches!(self.exit_code, EXIT_UNREACHABLE | EXIT_LATER)
    }

    /// Whether the API gave this code.
    pub(in crate::cli) fn is_code(&self, code: &str) -> bool {
        self.body.as_ref().and_then(|body| body.get("code")).and_then(Value::as_str) == Some(code)
    }

    /// Says it on standard error; with `--json` as the API's error object. The exit code.
    pub(in crate::cli) fn say(&self, output: Output) -> u8 {
        if output.is_json() {
            let own = || json!({"error": self.sentence, "help": self.help});
            terminal::complain_as_is(&self.body.clone().unwrap_or_else(own).to_string());
        } else {
            terminal::complain(&terminal::plain_lines(&self.to_string()));
        }
        self.exit_code
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.help) }
    }
}
