//! The gateway at the other end: where it is, what is stored of it and what follows from a change of that, what it said of itself, and
//! the words for its failures.

use std::sync::Arc;
use std::time::Duration;

use gatewarden_protocol::address::GatewayAddress;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};
use gatewarden_protocol::{Dialect, Method, WireError, words};
use serde_json::json;

use super::{Breaker, Connection, Machines, Moment};
use crate::dialing::failure::strange;
use crate::error::{ErrorCode, Failure};
use crate::gateway_record::SharedRecord;
use crate::gateway_report::Problem;
use crate::machines::log_tail::MAX_WATCHERS;
use crate::settings::GatewaySettings;

/// Before whoever finds a gateway away tries again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) record: SharedRecord,
    pub(super) settings: Arc<GatewaySettings>,
    /// None where the stored host is no address that may be dialled.
    pub(super) address: Option<GatewayAddress>,
    /// The address in its canonical form: what permits and device tokens belong to.
    pub(super) key: String,
    /// The dialect of the last success.
    pub(super) dialect: Option<Dialect>,
    pub(super) version: Option<String>,
    pub(super) protocol: Option<u32>,
}

impl Peer {
    pub(super) fn new(record: SharedRecord, settings: Arc<GatewaySettings>) -> Self {
        let (address, key) = (record.address(), record.address_key());
        Self { dialect: record.dialect, record, settings, address, key, version: None, protocol: None }
    }

    /// Another address or other credentials are stored: what the gateway said of itself may not hold any more.
    pub(super) fn forget(&mut self, elsewhere: bool) {
        (self.address, self.key) = (self.record.address(), self.record.address_key());
        self.version = None;
        self.protocol = None;
        if elsewhere {
            self.dialect = None;
        }
    }

    /// Which release it is, as far as it says.
    pub(super) fn identify(&mut self, version: Option<String>, protocol: Option<u32>) {
        self.version = version.or(self.version.take());
        self.protocol = protocol.or(self.protocol);
    }

    /// The code of something that isn't a gateway's answer.
    pub(super) fn strange_code(&self) -> RefusalCode {
        strange(self.dialect.is_some())
    }

    /// The sentence and the help of a refusal, for this gateway.
    pub(super) fn problem(&self, refusal: &Refusal) -> Problem {
        let unparsed = || format!("{}:{}", self.record.host, self.record.port);
        let place = self.address.as_ref().map_or_else(unparsed, ToString::to_string);
        Problem {
            code: refusal.code.as_str().to_owned(),
            message: refusal.for_gateway(&self.record.name, &place),
            help: refusal.help(),
        }
    }

    /// The gateway said no, in its own words.
    pub(super) fn refused(&self, method: &str, error: &WireError) -> Failure {
        let said = words::shown(if error.message.is_empty() { &error.code } else { &error.message });
        let sentence = format!("Gateway \"{}\" refused {}: {said}", self.record.name, words::shown(method));
        let (code, help) = match error.details_code() {
            Some("NO_ACTIVE_RUN" | "RUN_ENDING") => (
                ErrorCode::NoActiveRun,
                "Only what runs can be paused or resumed: GET /api/sessions shows it as active or paused.",
            ),
            _ => (ErrorCode::GatewayRefused, "These are the gateway's own words; its log has more."),
        };
        let failure = Failure::new(code, sentence).with_help(help).with_details(json!({
            "code": words::shown(&error.code),
            "reason": error.details_code().map(words::shown),
            "retryable": error.retryable,
        }));
        match error.retry_after_ms {
            Some(after) => failure.with_retry_after(Duration::from_millis(after.min(3_600_000))),
            None => failure,
        }
    }

    /// The gateway can't do this at all.
    pub(super) fn not_supported(&self, method: &str) -> Failure {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        let method = words::shown(method);
        Failure::new(
            ErrorCode::NotSupportedByGateway,
            format!("Gateway \"{}\" ({version}) does not offer {method}", self.record.name),
        )
        .with_help("Releases differ in what they offer; update the gateway, or use another one for this.")
        .with_details(json!({ "gateway": self.record.name, "version": self.version, "method": method }))
    }

    /// It lacks `control`, which no release of OpenClaw has.
    pub(super) fn cannot_pause(&self, method: &str) -> Failure {
        self.cannot(method, "pause or resume sessions", "No OpenClaw release can; kill, which ends the run, may work.")
    }

    /// It lacks `spawn`, which no release of OpenClaw has.
    pub(super) fn cannot_run_programs(&self, method: &str) -> Failure {
        self.cannot(
            method,
            "run programs",
            "No OpenClaw release can; give it a task, or give the program to another gateway.",
        )
    }

    /// It lacks a method that an update doesn't bring.
    fn cannot(&self, method: &str, what: &str, help: &str) -> Failure {
        let failure = self.not_supported(method);
        let version = self.version.as_deref().unwrap_or("of unknown version");
        Failure { message: format!("Gateway \"{}\" ({version}) cannot {what}", self.record.name), ..failure }
            .with_help(help)
    }

    pub(super) fn no_logs(&self) -> Failure {
        self.not_supported(Method::LogsTail.as_str())
    }

    pub(super) fn overdue(&self, method: &str) -> Failure {
        Failure::new(
            ErrorCode::GatewayTimeout,
            format!("Gateway \"{}\" did not answer {} in time", self.record.name, words::shown(method)),
        )
        .with_help("It may still carry the request out. Look at its load and its log before trying again.")
    }

    /// Its answer names a run that another request started.
    pub(super) fn spoke_of_another(&self, method: &str) -> Failure {
        let Failure { code, help, .. } = self.overdue(method);
        let sentence = format!("Gateway \"{}\" answered {method} with a run of another request", self.record.name);
        Failure { help, ..Failure::new(code, sentence) }
    }

    /// The connection ended under a request.
    pub(super) fn connection_ended(&self) -> Failure {
        Failure::new(
            ErrorCode::GatewayUnavailable,
            format!("The connection to gateway \"{}\" ended before it answered", self.record.name),
        )
        .with_help("Whether it carries the request out is not known; it is reconnected by itself.")
        .with_retry_after(TRY_AGAIN)
    }

    /// Too many requests wait already.
    pub(super) fn busy(&self) -> Failure {
        Failure::new(
            ErrorCode::GatewayBusy,
            format!("{} requests already wait for gateway \"{}\"", self.settings.max_pending, self.record.name),
        )
        .with_help("Try again in a moment; if it stays so, the gateway doesn't answer what it is asked.")
        .with_retry_after(Duration::from_secs(1))
    }

    pub(super) fn not_a_log(&self, method: &str) -> Failure {
        Failure::new(
            ErrorCode::GatewayRefused,
            format!("Gateway \"{}\" answered {method} with something that is no part of a log", self.record.name),
        )
        .with_help("Update the gateway, or read its log where it runs.")
    }

    pub(super) fn too_many_followers(&self) -> Failure {
        Failure::new(
            ErrorCode::GatewayBusy,
            format!("{MAX_WATCHERS} clients already follow the log of gateway \"{}\"", self.record.name),
        )
        .with_help("Close streams that nobody reads, and try again in a few seconds.")
        .with_retry_after(Duration::from_secs(10))
    }
}

impl Connection {
    /// The stored record changed. A change of address, credentials, transport, trust or pairing mode reconnects at once; any other
    /// is only taken over.
    pub fn update_record(&mut self, moment: Moment, record: SharedRecord) {
        self.orders += 1;
        self.tracker.mark();
        let old = std::mem::replace(&mut self.peer.record, record);
        let new = &self.peer.record;
        let elsewhere = !new.has_address_of(&old);
        if self.is_stopped() {
            return;
        }
        if new.dials_like(&old) {
            let problems = [self.verdict.problem_mut(), self.tracker.problem.as_mut()];
            problems.into_iter().flatten().for_each(|problem| problem.rename_gateway(&old.name, &new.name));
            return;
        }
        // The permit belongs to the old address: it is settled before the address is another.
        self.hang_up(moment, 1000, "the gateway's record changed", Some(&Refusal::new(RefusalCode::Closed, "")));
        self.fail_probes(RefusalCode::Closed, "the gateway's record changed");
        self.peer.forget(elsewhere);
        self.login.device_token = None;
        self.tracker.forget(moment);
        if elsewhere {
            self.publisher.forget();
            let Machines { mut turn, logs, .. } = self.machines(moment);
            logs.forget(&mut turn);
        }
        self.breaker = Breaker::new(self.peer.settings.breaker_failures);
        self.clear_errors(moment);
        self.start_over(moment, "record_changed");
    }
}
