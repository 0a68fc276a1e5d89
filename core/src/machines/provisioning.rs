//! Creation of a gateway step by step (document 003): dialled and authenticated, its release judged, its main agent
//! provisioned, recorded. Every failure undoes all of it. Takes what happened, says what to do next.

use gatewarden_protocol::{CalendarVersion, RefusalCode};
use serde_json::{Map, Value, json};

use crate::error::{ErrorCode, Failure};
use crate::gateway_report::{GatewayReport, Phase, Problem};

/// The oldest release that a gateway may be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinimumVersion(CalendarVersion);

impl MinimumVersion {
    /// `2026.02.9`, or with a revision `2026.2.9-1`. None where the text is no version.
    pub fn new(text: &str) -> Option<Self> {
        CalendarVersion::known(text).map(Self)
    }

    /// Judges a release by its text. None where the text tells no version (`dev`).
    fn admits(&self, text: &str) -> Option<bool> {
        CalendarVersion::known(text).map(|version| version >= self.0)
    }
}

/// The gateway that is being created or checked, as sentences name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its host, for the command that tests the way there.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is to be used in control-UI mode.
    pub is_control_ui: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Wait for the next report, or until patience ends.
    Wait,
    /// Read the gateway's configuration: it alone can tell the release.
    ReadConfiguration,
    /// Find or make the main agent there.
    ProvisionMainAgent,
    /// Write it down; that makes it a gateway.
    Record,
    /// All is well; nothing is left to do.
    Done,
    /// End the trial, remove what was reserved, answer this.
    Undo(Failure),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dialling,
    Reading,
    MainAgent,
    Recording,
    Ended,
}

/// One creation, or one check of a changed gateway.
#[derive(Debug)]
pub struct Provisioning {
    named: Named,
    minimum: Option<MinimumVersion>,
    with_main_agent: bool,
    stage: Stage,
}

impl Provisioning {
    /// Begins. Without a minimum every release will do; `with_main_agent` is false for a mere check.
    pub fn new(named: Named, minimum: Option<MinimumVersion>, with_main_agent: bool) -> Self {
        Self { named, minimum, with_main_agent, stage: Stage::Dialling }
    }

    /// The gateway's actor said something.
    pub fn on_report(&mut self, report: &GatewayReport) -> Step {
        if self.stage != Stage::Dialling {
            return Step::Wait;
        }
        match report.phase {
            Phase::Ready if report.is_usable() => self.judge_version(report.version.as_deref(), true),
            Phase::Blocked | Phase::Backoff | Phase::Parked | Phase::Stopping => {
                let failure = self.refusal(report);
                self.undo(failure)
            }
            // Not even tried, and not for up to a minute: nobody waits that long for an answer.
            Phase::Idle if report.last_error.as_ref().is_some_and(|problem| topic(problem) == Topic::Lock) => {
                let failure = self.refusal(report);
                self.undo(failure)
            }
            _ => Step::Wait,
        }
    }

    /// Patience with the dial has ended.
    pub fn on_silence(&mut self, report: &GatewayReport) -> Step {
        match self.stage {
            Stage::Dialling => {
                let failure = self.refusal(report);
                self.undo(failure)
            }
            _ => Step::Wait,
        }
    }

    /// The configuration was read, or not.
    pub fn on_configuration(&mut self, read: Result<Value, Failure>) -> Step {
        if self.stage != Stage::Reading {
            return Step::Wait;
        }
        let version = read.ok().as_ref().and_then(last_touched_version).map(str::to_owned);
        self.judge_version(version.as_deref(), false)
    }

    /// The main agent is there, or not.
    pub fn on_main_agent(&mut self, outcome: Result<(), Failure>) -> Step {
        if self.stage != Stage::MainAgent {
            return Step::Wait;
        }
        match outcome {
            Ok(()) => {
                self.stage = Stage::Recording;
                Step::Record
            }
            Err(failure) => {
                let failure = self.in_the_middle(failure);
                self.undo(failure)
            }
        }
    }

    /// It is written down, or not.
    pub fn on_recorded(&mut self, outcome: Result<(), Failure>) -> Step {
        if self.stage != Stage::Recording {
            return Step::Wait;
        }
        match outcome {
            Ok(()) => {
                self.stage = Stage::Ended;
                Step::Done
            }
            Err(failure) => self.undo(failure),
        }
    }

    fn undo(&mut self, failure: Failure) -> Step {
        self.stage = Stage::Ended;
        Step::Undo(failure)
    }

    fn judge_version(&mut self, version: Option<&str>, may_ask: bool) -> Step {
        let Some(minimum) = self.minimum.clone() else { return self.admitted() };
        match version.and_then(|version| minimum.admits(version)) {
            Some(true) => self.admitted(),
            Some(false) => {
                let failure = self.too_old(&minimum, version.unwrap_or_default());
                self.undo(failure)
            }
            None if may_ask => {
                self.stage = Stage::Reading;
                Step::ReadConfiguration
            }
            None => {
                let failure = self.untold(&minimum);
                self.undo(failure)
            }
        }
    }

    fn admitted(&mut self) -> Step {
        if self.with_main_agent {
            self.stage = Stage::MainAgent;
            return Step::ProvisionMainAgent;
        }
        self.stage = Stage::Ended;
        Step::Done
    }

    fn too_old(&self, minimum: &MinimumVersion, version: &str) -> Failure {
        let (name, least) = (&self.named.name, minimum.0);
        Failure::new(
            ErrorCode::GatewayTooOld,
            format!("Gateway \"{name}\" runs release {version}, which is older than the minimum {least}"),
        )
        .with_help(version_help(least))
        .with_details(json!({"version": version, "minimum": least.to_string()}))
        .with_retry_after(std::time::Duration::from_secs(3600))
    }

    fn untold(&self, minimum: &MinimumVersion) -> Failure {
        let (name, least) = (&self.named.name, minimum.0);
        Failure::new(
            ErrorCode::GatewayTooOld,
            format!(
                "Gateway \"{name}\" does not tell its release, and neither does its configuration, so that it cannot be held \
                 against the minimum {least}"
            ),
        )
        .with_help(version_help(least))
        .with_details(json!({"version": null, "minimum": least.to_string()}))
        .with_retry_after(std::time::Duration::from_secs(3600))
    }

    /// Why the dial came to nothing.
    fn refusal(&self, report: &GatewayReport) -> Failure {
        let Some(problem) = &report.last_error else {
            let sentence = format!("Gateway \"{}\" is unreachable: it did not let us in in time", self.named.name);
            return Failure::new(ErrorCode::GatewayUnreachable, sentence)
                .with_help(unreachable_help(&self.named))
                .with_details(json!({"phase": report.phase.as_str()}));
        };
        let code = match topic(problem) {
            Topic::Lock => ErrorCode::GatewayRefused,
            Topic::Way | Topic::Certificate => ErrorCode::GatewayUnreachable,
            _ if report.phase == Phase::Blocked => ErrorCode::GatewayRefused,
            _ => ErrorCode::GatewayUnreachable,
        };
        let mut details = Map::new();
        details.insert("reason".to_owned(), json!(problem.code));
        details.insert("phase".to_owned(), json!(report.phase.as_str()));
        if let Some(pairing) = &report.pairing {
            let pairing = json!({"request_id": pairing.request_id, "device_id": pairing.device_id});
            details.insert("pairing".to_owned(), pairing);
        }
        Failure::new(code, problem.message.clone())
            .with_help(self.help_of(problem))
            .with_details(Value::Object(details))
    }

    /// What to do. The words for a stored gateway speak of fields and attempts that there are not here.
    fn help_of(&self, problem: &Problem) -> String {
        let help = match topic(problem) {
            Topic::Token => TOKEN_HELP.to_owned(),
            Topic::Lock => {
                format!("{TOKEN_HELP} Wait until the lock has passed: five minutes on the gateway's side, one on ours.")
            }
            Topic::Certificate => TLS_HELP.to_owned(),
            Topic::Scopes => scope_help(self.named.is_control_ui),
            Topic::Us => problem.help.clone(),
            // What is not stored is not tried again.
            Topic::Way | Topic::Other if problem.help.contains("by itself") => unreachable_help(&self.named),
            Topic::Way | Topic::Other => format!("{} {}", problem.help, unreachable_help(&self.named)),
        };
        format!("{help} Then send this request again: nothing was stored.")
    }

    /// What fails once the gateway had let us in. One that went away is unreachable, whatever the failed request says.
    fn in_the_middle(&self, failure: Failure) -> Failure {
        match failure.code {
            ErrorCode::GatewayUnavailable
            | ErrorCode::GatewayTimeout
            | ErrorCode::GatewayBusy
            | ErrorCode::NoUsableGateway
            | ErrorCode::GatewayNotFound => {
                let help = failure.help.clone().map_or_else(String::new, |help| format!("{help} "));
                let details = match failure.details {
                    Some(Value::Object(mut details)) => {
                        details.insert("reason".to_owned(), failure.code.as_str().into());
                        Value::Object(details)
                    }
                    _ => json!({"reason": failure.code.as_str()}),
                };
                Failure::new(
                    ErrorCode::GatewayUnreachable,
                    format!(
                        "Gateway \"{}\" went away while its main agent was provisioned: {}",
                        self.named.name, failure.message
                    ),
                )
                .with_help(format!(
                    "{help}{} Then send this request again: nothing was stored.",
                    unreachable_help(&self.named)
                ))
                .with_details(details)
            }
            ErrorCode::GatewayRefused if failure.message.contains("missing scope") => {
                let help = scope_help(self.named.is_control_ui);
                Failure { help: Some(help), ..failure }
            }
            _ => failure,
        }
    }
}

/// What a refusal speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    /// Nothing is tried after too many failed logins: by the gateway's will, or by the budget that keeps it from that.
    Lock,
    Token,
    Scopes,
    /// Who we are: whoever says so is running and can be reached.
    Us,
    Certificate,
    /// The way to the gateway.
    Way,
    Other,
}

fn topic(problem: &Problem) -> Topic {
    use RefusalCode as Code;
    match Code::from_name(&problem.code) {
        Some(Code::RateLimited | Code::LoginBudgetSpent) => Topic::Lock,
        Some(Code::TokenMismatch | Code::TokenMissing) => Topic::Token,
        Some(Code::PairingRequired | Code::MissingScope | Code::DeviceIdentityRequired) => Topic::Scopes,
        Some(
            Code::Unauthorized
            | Code::PasswordRequired
            | Code::PasswordMismatch
            | Code::DeviceTokenMismatch
            | Code::DeviceSignatureInvalid
            | Code::DeviceSignatureExpired
            | Code::DeviceIdMismatch
            | Code::DeviceNonceMismatch
            | Code::DeviceRemoved
            | Code::OriginNotAllowed
            | Code::RoleNotAllowed
            | Code::ControlUiBuildMismatch
            | Code::ProtocolMismatch
            | Code::VersionTooOld
            | Code::InvalidHandshake
            | Code::RefusedByGateway,
        ) => Topic::Us,
        Some(Code::TlsNotTrusted) => Topic::Certificate,
        Some(
            Code::NotAGateway
            | Code::Redirected
            | Code::UpgradeForbidden
            | Code::TlsTrustUnusable
            | Code::TlsFailed
            | Code::AddressForbidden,
        ) => Topic::Way,
        _ => Topic::Other,
    }
}

const TOKEN_HELP: &str = "Give the gateway's token with the request, in the field token (in the header X-Gateway-Token for a dial \
    alone): it is gateway.auth.token of the gateway's openclaw.json.";
const TLS_HELP: &str = "For development, set allow_insecure_tls to true: any certificate is taken then. To trust this certificate \
    alone, register the gateway through POST /api/gateways, with the SHA-256 of its certificate or with its CA in tls. A certificate \
    for another name or past its date must be renewed on the gateway.";

fn unreachable_help(named: &Named) -> String {
    format!(
        "Check that the gateway's URL is correct. Verify that the gateway is running: ps aux | grep openclaw. Test the network: \
         nc -zv {} {}.",
        named.host, named.port
    )
}

fn scope_help(is_control_ui: bool) -> String {
    if is_control_ui {
        "disable_device_pairing needs gateway.controlUi.dangerouslyDisableDeviceAuth: true (and allowInsecureAuth: true) in the \
         gateway's openclaw.json; restart the gateway after the change. Newer releases do not allow it at all: set \
         disable_device_pairing to false and approve this device there (openclaw devices list, then openclaw devices approve \
         <requestId>)."
            .to_owned()
    } else {
        "Approve this device on the gateway's host (openclaw devices list, then openclaw devices approve <requestId>) with the \
         operator scopes. Or set disable_device_pairing to true here, with gateway.controlUi.dangerouslyDisableDeviceAuth: true \
         in the gateway's openclaw.json, and restart the gateway."
            .to_owned()
    }
}

fn version_help(least: CalendarVersion) -> String {
    format!(
        "Upgrade the gateway to version {least} or newer (openclaw update on its host), check it there with openclaw --version, \
         or lower GATEWAY_MIN_VERSION here."
    )
}

/// The release that last wrote the configuration (`meta.lastTouchedVersion`), as `config.get` tells it.
fn last_touched_version(reply: &Value) -> Option<&str> {
    ["config", "parsed", "resolved"]
        .iter()
        .filter_map(|name| reply.get(*name))
        .chain([reply])
        .find_map(|document| document.get("meta")?.get("lastTouchedVersion")?.as_str())
}

#[cfg(test)]
mod tests;
