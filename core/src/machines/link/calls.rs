//! Requests of others to the gateway.

use std::time::Duration;

use gatewarden_protocol::pending::ReplyMode;
use gatewarden_protocol::{Dialect, Method, Support, WireError, encode_request, words};
use serde_json::{Value, json};

use super::live::Live;
use super::{CallToken, Count, Effect, Link, Moment};
use crate::error::{ErrorCode, Failure};
use crate::gateway_report::Phase;

/// No caller waits longer than this.
pub(super) const MAX_CALL: Duration = Duration::from_secs(600);

/// Who waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A caller in the shell.
    Caller(CallToken),
    /// The heartbeat.
    Heartbeat,
    /// The list of agents.
    Agents,
    /// The list of agents, out of the configuration.
    AgentsFromConfig,
    /// The wish to be told of sessions.
    Subscribe,
    /// A page of the list of sessions.
    Sessions,
    /// A run that is to be started.
    Run(CallToken),
    /// What must be set before a run is started, and whether it makes no sense without.
    Preparation(CallToken, bool),
    /// A step of a look-up.
    LookUp(CallToken),
    /// An abort.
    Kill(CallToken),
    /// Followers of the log.
    Logs,
}

impl Link {
    /// Somebody asks the gateway for something. Answered once, with [`Effect::Answer`].
    pub fn on_call(&mut self, moment: Moment, call: CallToken, method: &str, params: &Value, timeout: Duration) {
        if let Err(failure) = self.send_call(moment, call, method, params, timeout.min(MAX_CALL)) {
            self.push(Effect::Answer { call, result: Err(failure) });
        }
        self.settle(moment);
    }

    fn send_call(
        &mut self,
        moment: Moment,
        call: CallToken,
        method: &str,
        params: &Value,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let epoch = self.epoch;
        let unavailable = self.unavailable();
        let missing = self.not_supported(method);
        let busy = self.busy();
        let ready = self.phase == Phase::Ready;
        let Some(live) = self.live.as_deref_mut().filter(|_| ready) else { return Err(unavailable) };
        if live.dialect == Dialect::Http {
            return self
                .call_over_http(moment, call, method, params, timeout)
                .map_err(|full| if full { busy } else { missing });
        }
        if Method::from_name(method).is_some_and(|known| live.capabilities.support(known) == Support::No) {
            return Err(missing);
        }
        let deadline = moment.now + timeout;
        match live.pending.insert(method, deadline, Waiter::Caller(call), ReplyMode::Single) {
            Ok(id) => {
                let text = encode_request(live.dialect, &id, method, params);
                self.push(Effect::Send { epoch, text });
                Ok(())
            }
            Err(_) => Err(busy),
        }
    }

    /// The gateway answered a caller's request.
    pub(super) fn answer_caller(
        &mut self,
        call: CallToken,
        method: &str,
        outcome: Result<Value, WireError>,
        unknown: bool,
    ) {
        let result = match outcome {
            Ok(payload) => Ok(payload),
            Err(_) if unknown => Err(self.not_supported(method)),
            Err(error) => Err(self.refused(method, &error)),
        };
        self.push(Effect::Answer { call, result });
    }

    /// The gateway said no, in its own words.
    pub(super) fn refused(&self, method: &str, error: &WireError) -> Failure {
        let said = words::shown(if error.message.is_empty() { &error.code } else { &error.message });
        let mut failure = Failure::new(
            ErrorCode::GatewayRefused,
            format!("Gateway \"{}\" refused {}: {said}", self.record.name, words::shown(method)),
        )
        .with_help("These are the gateway's own words; its log has more.")
        .with_details(json!({
            "code": words::shown(&error.code),
            "reason": error.details_code().map(words::shown),
            "retryable": error.retryable,
        }));
        if let Some(after) = error.retry_after_ms {
            failure = failure.with_retry_after(Duration::from_millis(after.min(3_600_000)));
        }
        failure
    }

    /// The gateway can't do this at all.
    pub(super) fn not_supported(&self, method: &str) -> Failure {
        let version = self.knowledge.version().unwrap_or("of unknown version");
        let method = words::shown(method);
        Failure::new(
            ErrorCode::NotSupportedByGateway,
            format!("Gateway \"{}\" ({version}) does not offer {method}", self.record.name),
        )
        .with_help("Releases differ in what they offer; update the gateway, or use another one for this.")
        .with_details(json!({ "gateway": self.record.name, "version": self.knowledge.version(), "method": method }))
    }

    /// Requests whose answers are overdue.
    pub(super) fn expire_calls(&mut self, moment: Moment) {
        let Some(live) = &mut self.live else { return };
        for settled in live.pending.expire(moment.now) {
            self.push(Effect::Count(Count::Rpc(settled.method.clone(), "timeout")));
            let failure = self.overdue(&settled.method);
            match settled.waiter {
                Waiter::Caller(_) | Waiter::Run(_) | Waiter::Preparation(..) | Waiter::LookUp(_) | Waiter::Kill(_) => {
                    self.unanswered(settled.waiter, failure)
                }
                // Its own machine watches the heartbeat.
                Waiter::Heartbeat => {}
                Waiter::Logs => self.logs_unread(moment, failure),
                waiter => self.unread(moment, waiter),
            }
        }
    }

    pub(super) fn overdue(&self, method: &str) -> Failure {
        Failure::new(
            ErrorCode::GatewayTimeout,
            format!("Gateway \"{}\" did not answer {} in time", self.record.name, words::shown(method)),
        )
        .with_help("It may still carry the request out. Look at its load and its log before trying again.")
    }

    /// The connection is gone: whoever waits for a reply is told so.
    pub(super) fn abandon(&mut self, mut live: Live) {
        for settled in live.pending.drain_all() {
            self.push(Effect::Count(Count::Rpc(settled.method, "lost")));
            let failure = self.connection_ended();
            self.unanswered(settled.waiter, failure);
        }
        self.abandon_look_ups();
        self.runs.watch.connection_lost();
        self.telling.connection_lost();
        self.logs_lost();
    }

    /// No answer came to somebody's request, or will come.
    pub(super) fn unanswered(&mut self, waiter: Waiter, failure: Failure) {
        match waiter {
            Waiter::Caller(call) => self.push(Effect::Answer { call, result: Err(failure) }),
            Waiter::Run(call) | Waiter::Preparation(call, _) => self.run_unanswered(call, failure),
            Waiter::LookUp(call) => self.found(call, Err(failure)),
            Waiter::Kill(call) => {
                self.runs.kills.remove(&call);
                self.push(Effect::Answer { call, result: Err(failure) });
            }
            // Their own machines see the end of the connection.
            Waiter::Heartbeat
            | Waiter::Logs
            | Waiter::Agents
            | Waiter::AgentsFromConfig
            | Waiter::Subscribe
            | Waiter::Sessions => {}
        }
    }

    /// The connection ended under a request.
    pub(super) fn connection_ended(&self) -> Failure {
        Failure::new(
            ErrorCode::GatewayUnavailable,
            format!("The connection to gateway \"{}\" ended before it answered", self.record.name),
        )
        .with_help("Whether it carries the request out is not known; it is reconnected by itself.")
        .with_retry_after(Duration::from_secs(2))
    }
}
