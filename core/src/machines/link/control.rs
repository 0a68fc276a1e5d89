//! Pause, resume and kill, by what the gateway can do.

use std::time::Instant;

use gatewarden_protocol::capabilities::{Kill, PauseResume, RunKind};
use gatewarden_protocol::hello::HelloForm;
use gatewarden_protocol::pending::ReplyMode;
use gatewarden_protocol::{Dialect, WireError, encode_request};
use serde_json::{Value, json};

use super::calls::Waiter;
use super::{CallToken, Effect, Link, Moment};
use crate::error::Failure;
use crate::gateway_report::Phase;
use crate::run::ControlSession;
use crate::run::SessionAction;

/// How it is asked for.
struct Order {
    method: &'static str,
    params: Value,
}

impl Link {
    /// Somebody wants a session paused, resumed or killed. Answered once, with [`Effect::Answer`].
    pub fn on_control(&mut self, moment: Moment, call: CallToken, control: ControlSession) {
        let ControlSession { session_key, action, timeout } = control;
        let deadline = moment.now + timeout.min(super::calls::MAX_CALL);
        let outcome = self.order(&session_key, action).and_then(|order| {
            if action == SessionAction::Kill {
                // An end that comes before the answer is the kill's all the same.
                self.runs.watch.kill_asked(&session_key, moment.now);
            }
            self.send_order(moment, call, &session_key, order, deadline)
        });
        if let Err(failure) = outcome {
            self.push(Effect::Answer { call, result: Err(failure) });
        }
        self.settle(moment);
    }

    fn order(&self, session_key: &str, action: SessionAction) -> Result<Order, Failure> {
        let live = self.live.as_deref().filter(|_| self.phase == Phase::Ready);
        let capabilities = &live.ok_or_else(|| self.unavailable())?.capabilities;
        let control =
            || Order { method: "control", params: json!({ "sessionKey": session_key, "action": action.as_str() }) };
        match action {
            SessionAction::Pause | SessionAction::Resume => match capabilities.pause_resume() {
                PauseResume::Control | PauseResume::Http => Ok(control()),
                PauseResume::Impossible => Err(self.not_supported("control")),
            },
            // Runs of ours are started so that they can be killed; what others started is worth the try.
            SessionAction::Kill => match capabilities.kill(RunKind::Unknown) {
                Kill::SessionsAbort => Ok(Order { method: "sessions.abort", params: json!({ "key": session_key }) }),
                Kill::ChatAbort => Ok(Order { method: "chat.abort", params: json!({ "sessionKey": session_key }) }),
                Kill::Control | Kill::Http => Ok(control()),
                Kill::Impossible if capabilities.form() == HelloForm::Release => {
                    Err(self.not_supported("sessions.abort"))
                }
                Kill::Impossible => Err(self.not_supported("control")),
            },
        }
    }

    fn send_order(
        &mut self,
        moment: Moment,
        call: CallToken,
        session_key: &str,
        order: Order,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let (epoch, busy) = (self.epoch, self.busy());
        let missing = self.not_supported(order.method);
        let unavailable = self.unavailable();
        let live = self.live.as_deref_mut().ok_or(unavailable)?;
        if live.dialect == Dialect::Http {
            let timeout = deadline.saturating_duration_since(moment.now);
            return self
                .call_over_http(moment, call, order.method, &order.params, timeout)
                .map_err(|full| if full { busy } else { missing });
        }
        let aborts = matches!(order.method, "sessions.abort" | "chat.abort");
        let waiter = if aborts { Waiter::Kill(call) } else { Waiter::Caller(call) };
        let id = live.pending.insert(order.method, deadline, waiter, ReplyMode::Single).map_err(|_| busy)?;
        let text = encode_request(live.dialect, &id, order.method, &order.params);
        if aborts {
            self.runs.kills.insert(call, session_key.to_owned());
        }
        self.push(Effect::Send { epoch, text });
        Ok(())
    }

    /// What the gateway said to an abort: passed on as it is, with a note where there was nothing to end.
    pub(super) fn kill_answered(
        &mut self,
        moment: Moment,
        call: CallToken,
        method: &str,
        outcome: Result<Value, WireError>,
        unknown: bool,
    ) {
        let session_key = self.runs.kills.remove(&call).unwrap_or_default();
        let mut payload = match outcome {
            Ok(payload) => payload,
            Err(error) => return self.answer_caller(call, method, Err(error), unknown),
        };
        if is_nothing(&payload) {
            self.runs.watch.kill_found_nothing(&session_key);
            if let Some(fields) = payload.as_object_mut() {
                fields.insert("note".to_owned(), "nothing was running".into());
            }
        } else {
            self.runs.watch.kill_confirmed(&session_key, &aborted_runs(&payload), moment.now);
        }
        self.push(Effect::Answer { call, result: Ok(payload) });
    }
}

/// `aborted: false`, or `status: "no-active-run"`.
fn is_nothing(payload: &Value) -> bool {
    payload.get("aborted").and_then(Value::as_bool) == Some(false)
        || payload.get("status").and_then(Value::as_str) == Some("no-active-run")
}

/// The runs that an abort names. None where it ended something that had no id yet.
fn aborted_runs(payload: &Value) -> Vec<String> {
    let one = payload.get("abortedRunId").and_then(Value::as_str).map(str::to_owned);
    let several = payload.get("runIds").and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(several.filter_map(Value::as_str).map(str::to_owned)).collect()
}
