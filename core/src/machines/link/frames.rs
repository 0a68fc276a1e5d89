//! What comes in over the present socket.

use std::time::Duration;

use bytes::Bytes;
use gatewarden_protocol::decoding::Meter;
use gatewarden_protocol::frame::{Event, Frame, FrameError, FrameText, Response};
use gatewarden_protocol::handshake::is_challenge;
use gatewarden_protocol::hello::HealthSnapshot;
use gatewarden_protocol::pending::{Matched, ReplyStep, Settled};
use gatewarden_protocol::refusal::{Refusal, RefusalCode, classify_close};
use gatewarden_protocol::{Dialect, RowRules, SessionsEvent, Unmatched, read_sessions_event};
use serde_json::Value;
use serde_json::value::RawValue;

use super::calls::Waiter;
use super::{Count, Effect, Epoch, Link, Moment, Stage};
use crate::dialing::SocketError;
use crate::dialing::failure::memory_code;
use crate::gateway_report::{Phase, StatusSource};

impl Link {
    /// A text or binary message. What becomes of it is decoded at the expense of `meter`.
    pub fn on_message(&mut self, moment: Moment, epoch: Epoch, bytes: &[u8], meter: &mut dyn Meter) {
        if !self.is_current(epoch) {
            return;
        }
        if self.live.is_some() {
            self.sign_of_life(moment);
            self.live_bytes(moment, bytes, meter);
        } else {
            self.handshake_bytes(moment, bytes, meter);
        }
        self.settle(moment);
    }

    /// The gateway's ping: answered at once, since it drops a client that doesn't.
    pub fn on_ping(&mut self, moment: Moment, epoch: Epoch, payload: Bytes) {
        if !self.is_current(epoch) {
            return;
        }
        self.push(Effect::Pong { epoch, payload });
        self.sign_of_life(moment);
        self.settle(moment);
    }

    /// An answer to our ping, or a word of its own.
    pub fn on_pong(&mut self, moment: Moment, epoch: Epoch, payload: &[u8]) {
        if !self.is_current(epoch) {
            return;
        }
        self.sign_of_life(moment);
        self.live_pong(moment, payload);
        self.settle(moment);
    }

    /// The gateway said goodbye, or just went (`code` none).
    pub fn on_closed(&mut self, moment: Moment, epoch: Epoch, code: Option<u16>, reason: &str) {
        if !self.is_current(epoch) {
            return;
        }
        if self.live.is_some() {
            self.end(moment, classify_close(code, reason, true));
        } else if self.handshaking.is_some() {
            self.handshake_closed(moment, code, reason);
        }
        self.settle(moment);
    }

    /// The socket is of no use any more.
    pub fn on_socket_error(&mut self, moment: Moment, epoch: Epoch, error: &SocketError) {
        if !self.is_current(epoch) || matches!(self.stage, Stage::Dialing { .. } | Stage::TryingHttp { .. }) {
            return;
        }
        let words = error.to_string();
        let code = error.before_login(self.live.is_some() || self.dialect.is_some());
        self.end(moment, Refusal::new(code, &words));
        self.settle(moment);
    }

    fn sign_of_life(&mut self, moment: Moment) {
        if self.live.is_none() {
            return;
        }
        self.heartbeat.on_frame();
        self.knowledge.seen(moment);
    }

    fn live_bytes(&mut self, moment: Moment, bytes: &[u8], meter: &mut dyn Meter) {
        let text = FrameText::read(bytes);
        if let Ok(text) = &text
            && let Some((id, list)) = text.success()
            && self.live.as_ref().is_some_and(|live| live.pending.waiter(&id) == Some(&Waiter::Sessions))
        {
            // Row by row: the whole list as values would be ten times its text.
            return self.live_list(moment, &id, list);
        }
        match text.and_then(|text| text.decode(meter)) {
            Ok(Frame::Response(response)) => self.live_reply(moment, response),
            Ok(Frame::Event(event)) => self.live_event(moment, &event),
            // Gateways ask operators nothing; what they may invent is not ours to answer.
            Ok(Frame::Request { .. }) => self.push(Effect::Count(Count::DroppedFrame("unknown_event"))),
            Err(FrameError::TooMuch(excess)) => self.end(moment, Refusal::new(memory_code(excess), "")),
            Err(error) => {
                self.push(Effect::Count(Count::DroppedFrame("garbage")));
                if self.live.as_mut().is_some_and(|live| live.garbage.on_frame(moment.now)) {
                    self.end(moment, Refusal::new(RefusalCode::Garbage, &error.to_string()));
                }
            }
        }
    }

    /// The list of sessions, as text.
    fn live_list(&mut self, moment: Moment, id: &str, list: &RawValue) {
        let Some(live) = &mut self.live else { return };
        if let Matched::Settled(settled) = live.pending.on_reply(id, ReplyStep::Final, moment.now) {
            self.push(Effect::Count(Count::Rpc(settled.method, "ok")));
            self.read_list(moment, list.get());
        }
    }

    fn live_reply(&mut self, moment: Moment, response: Response) {
        let Response { id, outcome } = response;
        let Some(live) = &mut self.live else { return };
        if let Some(run_id) = live.outcomes.take(&id) {
            if let Some(run_id) = run_id {
                self.second_reply(moment, run_id, outcome);
            }
            return;
        }
        let table_id = self.runs.table_id(&id);
        match live.pending.on_reply(table_id.as_deref().unwrap_or(&id), ReplyStep::Final, moment.now) {
            Matched::Settled(settled) => {
                if matches!(settled.waiter, Waiter::Caller(_)) && outcome.as_ref().is_ok_and(is_acceptance) {
                    live.outcomes.expect(id.clone(), None);
                }
                self.settled(moment, &id, settled, outcome);
            }
            Matched::FirstOfTwo { .. } => {}
            Matched::Unmatched(unmatched) => {
                let kind = match unmatched {
                    Unmatched::Duplicate => "a second or late one",
                    Unmatched::Foreign => "one that answers nothing of ours",
                };
                self.push(Effect::Count(Count::DroppedFrame("unmatched_reply")));
                self.push(Effect::Remark(format!("ignored a reply: {kind}")));
            }
        }
    }

    fn live_event(&mut self, moment: Moment, event: &Event) {
        if is_challenge(event) {
            // It speaks `openclaw` after all: come again, and wait longer for the challenge.
            if self.live.as_ref().is_some_and(|live| live.dialect == Dialect::Rpc) {
                self.dialect = Some(Dialect::Openclaw);
                self.end(moment, Refusal::new(RefusalCode::Closed, "a challenge came after the auth was taken"));
            }
            return;
        }
        let Some(live) = &mut self.live else { return };
        if live.sequence.on_event(moment.now, event.seq) {
            live.reading.want(moment.now);
        }
        let rules = RowRules::of(&live.capabilities, moment.wall_ms);
        let changed = match read_sessions_event(event, rules) {
            Some(SessionsEvent::Unspecified) => {
                live.reading.want_sessions(moment.now);
                false
            }
            Some(told) => !live.sessions.apply(told).is_empty(),
            None => false,
        };
        if changed {
            live.count_sessions();
            self.telling.note(moment.wall_ms);
        }
        self.run_event(moment, event);
        let Some(live) = &mut self.live else { return };
        match event.name.as_str() {
            "health" => {
                if let Some(health) = HealthSnapshot::read(&event.payload) {
                    live.take_health(&health);
                }
            }
            "shutdown" => self.gateway_shuts_down(moment, &event.payload),
            "spawn_result" => self.spawn_result(moment, &event.payload),
            "log" => self.log_event(&event.payload),
            "config.changed" | "agents.changed" => live.reading.want_agents(),
            _ => {}
        }
        self.read_if_wanted(moment);
    }

    /// It goes down, on purpose. What is still under way may be answered before the socket ends; nothing new is sent.
    fn gateway_shuts_down(&mut self, moment: Moment, payload: &Value) {
        let expected = payload.get("restartExpectedMs").and_then(Value::as_u64).map(Duration::from_millis);
        self.announce_restart(moment, expected);
        let words = payload.get("reason").and_then(Value::as_str).unwrap_or_default();
        let problem = self.problem(&Refusal::new(RefusalCode::GatewayRestarting, words));
        self.knowledge.excuse(moment, problem, StatusSource::Event);
        if self.phase == Phase::Ready {
            self.enter(moment, Phase::Restarting, Stage::Ready, "shutdown_announced");
        }
    }

    /// Document 002 answers a `spawn` with an event that carries the request's id; the first one is the acceptance.
    fn spawn_result(&mut self, moment: Moment, payload: &Value) {
        let Some(id) = payload.get("id").and_then(Value::as_str) else { return };
        let table_id = self.runs.table_id(id);
        let Some(live) = &mut self.live else { return };
        match live.pending.cancel(table_id.as_deref().unwrap_or(id)) {
            Some(settled) => self.settled(moment, id, settled, Ok(payload.clone())),
            None => self.spawn_moved_on(moment, id, payload),
        }
    }

    /// A request of this connection has its answer.
    fn settled(
        &mut self,
        moment: Moment,
        wire_id: &str,
        settled: Settled<Waiter>,
        outcome: Result<Value, gatewarden_protocol::WireError>,
    ) {
        let Settled { method, waiter, .. } = settled;
        let said = if outcome.is_ok() { "ok" } else { "refused" };
        self.push(Effect::Count(Count::Rpc(method.clone(), said)));
        let unknown = match (&outcome, &mut self.live) {
            (Err(error), Some(live)) => live.capabilities.learn(&method, error),
            _ => false,
        };
        match waiter {
            Waiter::Heartbeat => {
                if let (Ok(payload), Some(live)) = (&outcome, &mut self.live)
                    && live.dialect == Dialect::Rpc
                {
                    let hello = gatewarden_protocol::Hello::read_rpc(payload);
                    live.take_uptime(hello.uptime_ms, moment.wall_ms);
                    self.knowledge.identify(hello.version, None);
                }
                self.heartbeat_answered(moment);
            }
            Waiter::Caller(call) => self.answer_caller(call, &method, outcome, unknown),
            Waiter::Run(call) => self.run_answered(moment, call, wire_id, outcome, unknown),
            Waiter::Preparation(call, needed) => self.prepared(moment, call, needed, outcome, unknown),
            Waiter::LookUp(call) => self.look_up_answered(moment, call, outcome),
            Waiter::Kill(call) => self.kill_answered(moment, call, &method, outcome, unknown),
            Waiter::Logs => self.logs_answered(moment, &method, outcome, unknown),
            Waiter::Agents | Waiter::AgentsFromConfig | Waiter::Subscribe | Waiter::Sessions => {
                self.read(moment, waiter, outcome, unknown);
            }
        }
    }
}

/// A reply that says that another one will follow under the same id.
fn is_acceptance(payload: &Value) -> bool {
    payload.get("status").and_then(Value::as_str) == Some("accepted")
}
