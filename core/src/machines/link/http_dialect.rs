//! The `http` dialect: no socket, five operations. The token is sent only to what has shown a health document without it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gatewarden_protocol::decoding::{Allowance, DecodeError, Meter, decode};
use gatewarden_protocol::health_document::HealthDocument;
use gatewarden_protocol::limits::MAX_DECODED_ROW;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, UpgradeAnswer, classify_upgrade};
use gatewarden_protocol::{CalendarVersion, Capabilities, Dialect, Method, WireError, words};
use serde_json::{Value, json};

use super::calls::Waiter;
use super::{CallToken, Count, Effect, Epoch, HttpAnswer, HttpAsk, HttpOperation, Link, Moment, Permit, Stage};
use crate::dialing::failure::memory_code;
use crate::dialing::{DialFailure, DialStep, HttpReply};
use crate::dialing::{Health, HealthFailure};
use crate::error::{ErrorCode, Failure};
use crate::gateway_report::Phase;

/// What an answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose {
    /// Is it a gateway at all?
    Detect,
    /// Does it take the token?
    Login,
    /// Is it still there?
    Heartbeat,
    /// A read of our own.
    Read(Waiter),
    /// A step in starting or looking up a run.
    Run(Waiter),
    /// A caller's request.
    Call { call: CallToken, method: String },
}

/// An HTTP conversation: what was asked and not answered.
#[derive(Debug)]
pub(super) struct HttpTalk {
    /// The reason to give if this turns out to be no gateway.
    fallback: Refusal,
    asked: HashMap<u64, (Purpose, Instant)>,
    last_number: u64,
    document: Option<HealthDocument>,
}

impl HttpTalk {
    /// When the first question is overdue. The shell's own timeout ends it earlier; this is for a shell that forgets.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.asked.values().map(|(_, due)| *due).min()
    }
}

/// What the shell's timeout may be late by.
const SLACK: Duration = Duration::from_secs(1);

impl Link {
    /// There is no WebSocket here: maybe it is a gateway of the other kind.
    pub(super) fn try_http(&mut self, moment: Moment, fallback: Refusal) {
        self.http = Some(HttpTalk { fallback, asked: HashMap::new(), last_number: 0, document: None });
        let due = moment.now + self.settings.dial_timeout + SLACK * 2;
        self.enter(moment, Phase::Dialing, Stage::TryingHttp { due }, "try_http");
        let timeout = self.settings.dial_timeout;
        self.send_http(moment, Purpose::Detect, HttpOperation::Detect, timeout);
    }

    fn send_http(&mut self, moment: Moment, purpose: Purpose, operation: HttpOperation, timeout: Duration) {
        let epoch = self.epoch;
        let Some(talk) = &mut self.http else { return };
        talk.last_number += 1;
        let number = talk.last_number;
        talk.asked.insert(number, (purpose, moment.now + timeout + SLACK));
        self.push(Effect::Http { epoch, ask: HttpAsk { number, operation, timeout } });
    }

    /// The answer to an HTTP request. What becomes of it is decoded at the expense of `meter`.
    pub fn on_http(&mut self, moment: Moment, epoch: Epoch, number: u64, answer: HttpAnswer, meter: &mut dyn Meter) {
        if !self.is_current(epoch) {
            return;
        }
        let Some((purpose, _)) = self.http.as_mut().and_then(|talk| talk.asked.remove(&number)) else { return };
        self.http_answered(moment, purpose, answer, meter);
        self.settle(moment);
    }

    fn http_answered(&mut self, moment: Moment, purpose: Purpose, answer: HttpAnswer, meter: &mut dyn Meter) {
        match (purpose, answer) {
            (Purpose::Detect, HttpAnswer::Health(answer)) => self.detected(moment, answer),
            (Purpose::Login, HttpAnswer::Reply(answer)) => self.login_answered(moment, answer),
            (Purpose::Heartbeat, HttpAnswer::Health(answer)) => self.http_heartbeat_answered(moment, answer),
            (Purpose::Read(waiter), HttpAnswer::Reply(answer)) => self.http_read(moment, waiter, answer, meter),
            (Purpose::Run(Waiter::Run(call)), HttpAnswer::Reply(answer)) => {
                self.http_run_answered(moment, call, answer, meter);
            }
            (Purpose::Run(waiter), HttpAnswer::Reply(answer)) => self.http_looked_up(moment, waiter, answer, meter),
            (Purpose::Call { call, method }, HttpAnswer::Reply(answer)) => {
                self.http_called(call, &method, answer, meter)
            }
            (Purpose::Call { call, method }, HttpAnswer::Health(answer)) => {
                self.http_health_called(call, &method, answer)
            }
            // An answer of another kind than the question; the shell never mixes them up.
            (Purpose::Detect | Purpose::Heartbeat, HttpAnswer::Reply(_))
            | (Purpose::Login | Purpose::Read(_) | Purpose::Run(_), HttpAnswer::Health(_)) => {}
        }
    }

    fn detected(&mut self, moment: Moment, answer: Result<Health, HealthFailure>) {
        let document = match answer {
            Ok(health) => well_or_not(&health),
            Err(HealthFailure::Unreached(failure)) => return self.end_by_dial_failure(moment, &failure),
            Err(HealthFailure::NotAHealthDocument { status, .. }) => {
                return match classify_upgrade(status, None, None, &[]) {
                    UpgradeAnswer::Refused(refusal) => self.end(moment, refusal),
                    UpgradeAnswer::TryHttp(refusal) => self.not_a_gateway(moment, refusal),
                };
            }
        };
        if let Some(talk) = &mut self.http {
            talk.document = Some(document);
        }
        if self.permit == (Permit::Held { spent: false }) && self.shared_token().is_some() {
            self.permit = Permit::Held { spent: true };
        }
        let due = moment.now + self.settings.connect_timeout + SLACK * 2;
        self.enter(moment, Phase::Authenticating, Stage::Authenticating { due }, "health_document");
        let timeout = self.settings.connect_timeout;
        self.send_http(moment, Purpose::Login, HttpOperation::Sessions, timeout);
    }

    /// The reason that led here says more than that there is no health document either.
    fn not_a_gateway(&mut self, moment: Moment, plain: Refusal) {
        let refusal = self.http.as_ref().map_or(plain, |talk| talk.fallback.clone());
        self.end(moment, refusal);
    }

    fn end_by_dial_failure(&mut self, moment: Moment, failure: &DialFailure) {
        let (UpgradeAnswer::TryHttp(refusal) | UpgradeAnswer::Refused(refusal)) = self.read_dial_failure(failure);
        self.end(moment, refusal);
    }

    fn login_answered(&mut self, moment: Moment, answer: Result<HttpReply, DialFailure>) {
        let reply = match answer {
            Ok(reply) => reply,
            Err(failure) => return self.end_by_dial_failure(moment, &failure),
        };
        let code = match reply.status {
            // No list of sessions is offered; the token wasn't refused either.
            200..=299 | 404 | 405 | 501 => None,
            401 | 403 if self.shared_token().is_none() => Some(RefusalCode::TokenMissing),
            401 | 403 => Some(RefusalCode::TokenMismatch),
            429 => Some(RefusalCode::RateLimited),
            503 => Some(RefusalCode::GatewayUnavailable),
            _ => Some(RefusalCode::GatewayError),
        };
        if let Some(code) = code {
            let wait = reply.retry_after.and_then(|after| u64::try_from(after.as_millis()).ok());
            let words = format!("HTTP {} to GET /sessions", reply.status);
            return self.end(moment, Refusal::new(code, &words).with_retry_after_ms(wait));
        }
        self.settle_permit(None);
        let document = self.http.as_ref().and_then(|talk| talk.document.clone()).unwrap_or_default();
        let version = document.version.clone();
        let capabilities = Capabilities::http(version.as_deref().and_then(CalendarVersion::known));
        self.be_ready(moment, Dialect::Http, capabilities, Vec::new());
        self.knowledge.identify(version, None);
        self.take_document(moment, &document);
        self.run_heartbeat(moment);
        self.read_everything(moment);
    }

    fn take_document(&mut self, moment: Moment, document: &HealthDocument) {
        if let Some(live) = &mut self.live {
            live.take_uptime(document.uptime_ms, moment.wall_ms);
            live.degraded = (!document.healthy).then(|| "its health document says so".to_owned());
        }
    }

    pub(super) fn ask_http_heartbeat(&mut self, moment: Moment) {
        let timeout = self.settings.heartbeat_timeout;
        self.send_http(moment, Purpose::Heartbeat, HttpOperation::Health, timeout);
    }

    fn http_heartbeat_answered(&mut self, moment: Moment, answer: Result<Health, HealthFailure>) {
        match answer {
            Ok(health) => {
                let document = well_or_not(&health);
                self.take_document(moment, &document);
                self.knowledge.identify(document.version, None);
                self.heartbeat_answered(moment);
            }
            // Silence is for the heartbeat to judge.
            Err(HealthFailure::Unreached(DialFailure::Timeout { .. })) => {}
            Err(HealthFailure::Unreached(failure)) => self.end_by_dial_failure(moment, &failure),
            Err(failure @ HealthFailure::NotAHealthDocument { .. }) => {
                self.end(moment, Refusal::new(RefusalCode::GatewayError, &failure.to_string()));
            }
        }
    }

    pub(super) fn ask_http_read(&mut self, moment: Moment, operation: HttpOperation, waiter: Waiter) {
        let timeout = self.settings.request_timeout;
        self.send_http(moment, Purpose::Read(waiter), operation, timeout);
    }

    fn http_read(
        &mut self,
        moment: Moment,
        waiter: Waiter,
        answer: Result<HttpReply, DialFailure>,
        meter: &mut dyn Meter,
    ) {
        let document = match answer {
            Ok(reply) if (200..300).contains(&reply.status) && waiter == Waiter::Sessions => {
                match std::str::from_utf8(&reply.body) {
                    Ok(list) => return self.read_list(moment, list),
                    Err(_) => None,
                }
            }
            Ok(reply) if (200..300).contains(&reply.status) => match decode(&reply.body, meter) {
                Ok(document) => Some(document),
                Err(DecodeError::TooMuch(excess)) => return self.end(moment, Refusal::new(memory_code(excess), "")),
                Err(DecodeError::NotJson(_)) => None,
            },
            Err(DialFailure::OutOfMemory(excess)) => return self.end(moment, Refusal::new(memory_code(excess), "")),
            Ok(reply) if matches!(reply.status, 401 | 403) => {
                let words = format!("HTTP {}", reply.status);
                return self.end(moment, Refusal::new(RefusalCode::TokenMismatch, &words));
            }
            Ok(_) | Err(_) => None,
        };
        match document {
            Some(document) => self.read(moment, waiter, Ok(document), false),
            None => self.read(moment, waiter, Err(WireError::default()), false),
        }
    }

    /// A caller's request in the words of HTTP. `Err(true)` where too many wait, `Err(false)` where there is no such
    /// operation.
    pub(super) fn call_over_http(
        &mut self,
        moment: Moment,
        call: CallToken,
        method: &str,
        params: &Value,
        timeout: Duration,
    ) -> Result<(), bool> {
        let operation = match Method::from_name(method) {
            Some(Method::Spawn) => HttpOperation::Spawn(params.clone()),
            Some(Method::Control) => HttpOperation::Control(params.clone()),
            Some(Method::SessionsList) => HttpOperation::Sessions,
            Some(Method::ConfigGet) => HttpOperation::Config,
            Some(Method::Health) => HttpOperation::Health,
            _ => return Err(false),
        };
        if self.http.as_ref().is_none_or(|talk| talk.asked.len() >= self.settings.max_pending) {
            return Err(true);
        }
        self.send_http(moment, Purpose::Call { call, method: method.to_owned() }, operation, timeout);
        Ok(())
    }

    fn http_health_called(&mut self, call: CallToken, method: &str, answer: Result<Health, HealthFailure>) {
        match answer {
            Ok(health) => {
                self.push(Effect::Count(Count::Rpc(method.to_owned(), "ok")));
                let document = Ok(json!({
                    "healthy": health.is_healthy,
                    "version": health.document.version,
                    "uptimeMs": health.document.uptime_ms,
                }));
                self.push(Effect::Answer { call, result: document });
            }
            Err(HealthFailure::Unreached(failure)) => self.http_called(call, method, Err(failure), &mut Allowance(0)),
            Err(failure @ HealthFailure::NotAHealthDocument { .. }) => {
                let error = WireError { message: failure.to_string(), ..WireError::default() };
                self.push(Effect::Count(Count::Rpc(method.to_owned(), "refused")));
                let result = Err(self.refused(method, &error));
                self.push(Effect::Answer { call, result });
            }
        }
    }

    fn http_called(
        &mut self,
        call: CallToken,
        method: &str,
        answer: Result<HttpReply, DialFailure>,
        meter: &mut dyn Meter,
    ) {
        let answer = answer.and_then(|reply| {
            let body = if (200..300).contains(&reply.status) { read_body(&reply, meter)? } else { Value::Null };
            Ok((reply, body))
        });
        let (outcome, result) = match answer {
            Ok((reply, body)) if (200..300).contains(&reply.status) => ("ok", Ok(body)),
            Ok((reply, _)) => ("refused", Err(self.http_refusal(method, &reply))),
            Err(DialFailure::Timeout { .. }) => ("timeout", Err(self.overdue(method))),
            Err(failure) => ("lost", Err(self.http_unasked(&failure))),
        };
        self.push(Effect::Count(Count::Rpc(method.to_owned(), outcome)));
        self.push(Effect::Answer { call, result });
    }

    /// An answer that is no success.
    pub(super) fn http_refusal(&self, method: &str, reply: &HttpReply) -> Failure {
        if matches!(reply.status, 404 | 405 | 501) {
            return self.not_supported(method);
        }
        let body = decode(&reply.body, &mut Allowance(MAX_DECODED_ROW)).unwrap_or(Value::Null);
        let mut error = WireError::from_value(body.get("error").cloned().unwrap_or(body));
        if error.message.is_empty() {
            error.message = format!("HTTP {}", reply.status);
        }
        self.refused(method, &error)
    }

    /// The question didn't get there, or the answer didn't come back.
    pub(super) fn http_unasked(&self, failure: &DialFailure) -> Failure {
        let words = format!("Gateway \"{}\" could not be asked: {failure}", self.record.name);
        Failure::new(ErrorCode::GatewayUnavailable, words).with_help(failure.help())
    }

    /// A step in starting or looking up a run. False where too many questions wait already.
    pub(super) fn ask_http_for(
        &mut self,
        moment: Moment,
        waiter: Waiter,
        operation: HttpOperation,
        timeout: Duration,
    ) -> bool {
        if self.http.as_ref().is_none_or(|talk| talk.asked.len() >= self.settings.max_pending) {
            return false;
        }
        self.send_http(moment, Purpose::Run(waiter), operation, timeout);
        true
    }

    /// Questions whose answers the shell never brought.
    pub(super) fn expire_http(&mut self, moment: Moment) {
        let Some(talk) = &mut self.http else { return };
        let overdue: Vec<u64> =
            talk.asked.iter().filter(|(_, (_, due))| moment.now >= *due).map(|(number, _)| *number).collect();
        for number in overdue {
            let Some((purpose, _)) = self.http.as_mut().and_then(|talk| talk.asked.remove(&number)) else { continue };
            let silence = DialFailure::Timeout { step: DialStep::Request };
            let answer = match purpose {
                Purpose::Detect | Purpose::Heartbeat => HttpAnswer::Health(Err(silence.into())),
                Purpose::Login | Purpose::Read(_) | Purpose::Run(_) | Purpose::Call { .. } => {
                    HttpAnswer::Reply(Err(silence))
                }
            };
            self.http_answered(moment, purpose, answer, &mut Allowance(0));
        }
    }

    /// The connection is gone: callers over HTTP are told so.
    pub(super) fn abandon_http(&mut self) {
        let Some(talk) = self.http.take() else { return };
        for (purpose, _) in talk.asked.into_values() {
            let failure = self.connection_ended();
            match purpose {
                Purpose::Call { call, method } => {
                    self.push(Effect::Count(Count::Rpc(method, "lost")));
                    self.push(Effect::Answer { call, result: Err(failure) });
                }
                Purpose::Run(waiter) => self.unanswered(waiter, failure),
                Purpose::Detect | Purpose::Login | Purpose::Heartbeat | Purpose::Read(_) => {}
            }
        }
    }
}

/// The body of a good answer: JSON, else its text.
pub(super) fn read_body(reply: &HttpReply, meter: &mut dyn Meter) -> Result<Value, DialFailure> {
    match decode(&reply.body, meter) {
        Ok(body) => Ok(body),
        Err(DecodeError::TooMuch(excess)) => Err(DialFailure::OutOfMemory(excess)),
        Err(DecodeError::NotJson(_)) => {
            let shown = reply.body.get(..reply.body.len().min(MAX_SHOWN)).unwrap_or_default();
            Ok(Value::String(words::shown(&String::from_utf8_lossy(shown))))
        }
    }
}

/// Of a body that isn't JSON, more than this is never shown, bytes.
const MAX_SHOWN: usize = 16 * 1024;

/// The document, with the status line taken into account.
fn well_or_not(health: &Health) -> HealthDocument {
    HealthDocument { healthy: health.is_healthy, ..health.document.clone() }
}
