//! The `http` dialect as a transport: requests of the other dialects as its five operations, and its answers as theirs.

use std::time::Duration;

use gatewarden_protocol::decoding::{Allowance, DecodeError, Meter, decode};
use gatewarden_protocol::health_document::HealthDocument;
use gatewarden_protocol::limits::MAX_DECODED_ROW;
use gatewarden_protocol::{Method, WireError, words};
use serde_json::{Value, json};

use super::RpcOutcome;
use super::peer::Peer;
use super::turn::{NoAnswer, Outcome, PendingKind};
use crate::dialing::{DialFailure, DialStep, Health, HealthFailure, HttpReply};
use crate::error::{ErrorCode, Failure};
use crate::spawn::Certainty;

/// What the shell's own timeout of a request may be late by.
pub(super) const SLACK: Duration = Duration::from_secs(1);
/// Of a body that isn't JSON, more than this is never shown, bytes.
const MAX_SHOWN: usize = 16 * 1024;

/// What is asked over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpOperation {
    /// `GET /health` without the token, to find out whether this is a gateway; it opens the conversation.
    Detect,
    /// `GET /health` without the token.
    Health,
    /// `GET /sessions`.
    Sessions,
    /// `GET /config`.
    Config,
    /// `POST /spawn`.
    Spawn(Value),
    /// `POST /control`.
    Control(Value),
}

/// The answer to an HTTP request.
#[derive(Debug)]
pub enum HttpAnswer {
    /// To [`HttpOperation::Detect`] and [`HttpOperation::Health`].
    Health(Result<Health, HealthFailure>),
    /// To any other: any status is an answer.
    Reply(Result<HttpReply, DialFailure>),
}

/// A request in the words of HTTP; none where there is no such operation.
pub(super) fn operation(method: &str, params: &Value) -> Option<HttpOperation> {
    match Method::from_name(method)? {
        Method::Spawn => Some(HttpOperation::Spawn(params.clone())),
        Method::Control => Some(HttpOperation::Control(params.clone())),
        Method::SessionsList => Some(HttpOperation::Sessions),
        Method::ConfigGet => Some(HttpOperation::Config),
        Method::Health => Some(HttpOperation::Health),
        _ => None,
    }
}

pub(super) fn is_success(reply: &HttpReply) -> bool {
    (200..300).contains(&reply.status)
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

/// What came of a request, and the word that it is counted under. `answer` has the body of a good answer.
pub(super) fn outcome(
    peer: &Peer,
    method: &str,
    kind: PendingKind,
    answer: Result<(HttpReply, Value), DialFailure>,
) -> (RpcOutcome, Outcome) {
    let is_run = matches!(kind, PendingKind::Run(_));
    let reply = match answer {
        Ok((reply, body)) if is_success(&reply) => return (RpcOutcome::Ok, Ok(body)),
        Ok((reply, _)) => reply,
        // On the way there it is certain that nothing was asked.
        Err(DialFailure::Timeout { step }) if step == DialStep::Request || !is_run => {
            return (RpcOutcome::Timeout, Err(NoAnswer::Lost(peer.overdue(method), Certainty::Unknown)));
        }
        Err(failure) => {
            let never_left = matches!(failure.step(), DialStep::Resolve | DialStep::Connect | DialStep::Tls);
            let certainty = if never_left { Certainty::NotTaken } else { Certainty::Unknown };
            return (RpcOutcome::Lost, Err(NoAnswer::Lost(unasked(peer, &failure), certainty)));
        }
    };
    let body = decode(&reply.body, &mut Allowance(MAX_DECODED_ROW)).unwrap_or(Value::Null);
    let mut error = WireError::from_value(body.get("error").cloned().unwrap_or(body));
    if error.message.is_empty() {
        error.message = format!("HTTP {}", reply.status);
    }
    let no_answer = match reply.status {
        404 | 405 | 501 => NoAnswer::NotOffered(error),
        // A proxy that lost its gateway, or a fault half-way through, doesn't say that nothing was started.
        500 | 502 | 504..=599 if is_run => NoAnswer::Lost(peer.refused(method, &error), Certainty::Unknown),
        _ => NoAnswer::Refused(error),
    };
    (RpcOutcome::Refused, Err(no_answer))
}

/// The same for a caller's question for the health document.
pub(super) fn health_outcome(
    peer: &Peer,
    method: &str,
    answer: Result<Health, HealthFailure>,
) -> (RpcOutcome, Outcome) {
    match answer {
        Ok(health) => {
            let document = &health.document;
            let payload = json!({
                "healthy": health.is_healthy,
                "version": document.version,
                "uptimeMs": document.uptime_ms,
            });
            (RpcOutcome::Ok, Ok(payload))
        }
        Err(HealthFailure::Unreached(failure)) => outcome(peer, method, PendingKind::Heartbeat, Err(failure)),
        Err(failure @ HealthFailure::NotAHealthDocument { .. }) => (
            RpcOutcome::Refused,
            Err(NoAnswer::Refused(WireError { message: failure.to_string(), ..WireError::default() })),
        ),
    }
}

/// The question didn't get there, or the answer didn't come back.
fn unasked(peer: &Peer, failure: &DialFailure) -> Failure {
    let words = format!("Gateway \"{}\" could not be asked: {failure}", peer.record.name);
    Failure::new(ErrorCode::GatewayUnavailable, words).with_help(failure.help())
}

/// The document, with the status line taken into account.
pub(super) fn well_or_not(health: &Health) -> HealthDocument {
    HealthDocument { healthy: health.is_healthy, ..health.document.clone() }
}
