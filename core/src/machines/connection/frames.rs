//! What comes in over the present socket or HTTP conversation, to whom it goes, and the heartbeat that runs beside it.

use std::time::Duration;

use bytes::Bytes;
use gatewarden_protocol::capabilities::Heartbeat as HeartbeatWay;
use gatewarden_protocol::decoding::Meter;
use gatewarden_protocol::frame::{Event, Frame, FrameError, FrameText, Response};
use gatewarden_protocol::handshake::is_challenge;
use gatewarden_protocol::hello::{HealthSnapshot, Hello};
use gatewarden_protocol::pending::Settled;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, classify_close};
use gatewarden_protocol::{Dialect, SessionsEvent, Unmatched, WireError, read_sessions_event};
use serde_json::{Value, json};

use super::turn::{NoAnswer, Outcome, PendingKind};
use super::{
    AgentNews, Connection, Count, DropReason, Effect, Epoch, HttpAnswer, Machines, Moment, RpcOutcome, State,
    http_dialect, run_words,
};
use crate::dialing::failure::memory_code;
use crate::dialing::{DialFailure, Health, HealthFailure, SocketError};
use crate::gateway_report::StatusSource;
use crate::machines::heartbeat::{Heartbeat, HeartbeatEffect};
use crate::spawn::Certainty;

impl Connection {
    /// A text or binary message. What becomes of it is decoded at the expense of the meter.
    pub fn on_message(&mut self, moment: Moment, epoch: Epoch, bytes: &[u8], meter: &mut dyn Meter) {
        match &self.state {
            State::Handshaking(_) if self.epoch == epoch => self.handshake_bytes(moment, bytes, meter),
            State::Live(_) if self.epoch == epoch => {
                self.sign_of_life(moment);
                self.live_bytes(moment, bytes, meter);
            }
            _ => {}
        }
    }

    /// A ping, to be answered at once: a gateway drops a client that doesn't.
    pub fn on_ping(&mut self, moment: Moment, epoch: Epoch, payload: Bytes) {
        if self.has_socket() && self.epoch == epoch {
            self.push(Effect::Pong(epoch, payload));
            self.sign_of_life(moment);
        }
    }

    /// An answer to our ping, or a word of its own.
    pub fn on_pong(&mut self, moment: Moment, epoch: Epoch, payload: &[u8]) {
        if self.epoch == epoch {
            self.sign_of_life(moment);
            self.heartbeat_answered(moment, |heartbeat| heartbeat.on_pong(moment.now, payload));
        }
    }

    /// The gateway said goodbye with a code, or just went.
    pub fn on_closed(&mut self, moment: Moment, epoch: Epoch, code: Option<u16>, reason: &str) {
        match &self.state {
            State::Handshaking(_) if self.epoch == epoch => self.handshake_closed(moment, code, reason),
            State::Live(_) if self.epoch == epoch => self.end(moment, classify_close(code, reason, true)),
            _ => {}
        }
    }

    /// The socket is of no use any more.
    pub fn on_socket_failed(&mut self, moment: Moment, epoch: Epoch, error: &SocketError) {
        let is_open = matches!(self.state, State::Handshaking(_) | State::HttpLogin { .. } | State::Live(_));
        if is_open && self.epoch == epoch {
            let known = self.active().is_some() || self.peer.dialect.is_some();
            self.end(moment, Refusal::new(error.before_login(known), &error.to_string()));
        }
    }

    /// The answer to the HTTP request of this id, decoded at the expense of the meter.
    pub fn on_http(&mut self, moment: Moment, epoch: Epoch, id: &str, answer: HttpAnswer, meter: &mut dyn Meter) {
        match &self.state {
            State::Live(_) if self.epoch == epoch => self.live_http(moment, id, answer, meter),
            _ if self.has_socket() && self.epoch == epoch => self.http_login(moment, id, answer),
            _ => {}
        }
    }

    fn sign_of_life(&mut self, moment: Moment) {
        if let State::Live(active) = &mut self.state {
            if active.heartbeat.on_frame(moment.now) {
                self.tracker.mark();
            }
            self.tracker.seen(moment);
        }
    }

    fn live_bytes(&mut self, moment: Moment, bytes: &[u8], meter: &mut dyn Meter) {
        let State::Live(active) = &mut self.state else { return };
        let text = FrameText::read(bytes);
        if let Ok(text) = &text
            && let Some((id, list)) = text.success()
            && active.pending.waiter(&id) == Some(&PendingKind::Sessions)
            && let Ok(settled) = active.pending.on_reply(&id)
        {
            // Row by row: the whole list as values would be ten times its text.
            return self.on_list(moment, settled.method, list.get());
        }
        match text.and_then(|text| text.decode(meter)) {
            Ok(Frame::Response(response)) => self.on_response(moment, response),
            Ok(Frame::Event(event)) => self.on_event(moment, &event),
            // Gateways ask operators nothing; what they may invent is not ours to answer.
            Ok(Frame::Request { .. }) => self.push(Effect::Count(Count::DroppedFrame(DropReason::UnknownEvent))),
            Err(FrameError::TooMuch(excess)) => self.end(moment, Refusal::new(memory_code(excess), "")),
            Err(error) => {
                let too_many = active.on_garbage(moment.now);
                self.push(Effect::Count(Count::DroppedFrame(DropReason::Garbage)));
                if too_many {
                    self.end(moment, Refusal::new(RefusalCode::Garbage, &error.to_string()));
                }
            }
        }
    }

    fn on_response(&mut self, moment: Moment, response: Response) {
        let Response { id, outcome } = response;
        let Machines { mut turn, active: Some(active), runs, .. } = self.machines(moment) else { return };
        // An acceptance that is said twice is no end.
        let is_end = outcome.as_ref().map_or(true, |payload| !run_words::is_under_way(payload));
        if is_end && let Some(run_id) = active.take_second_reply(&id) {
            if let Some(run_id) = run_id {
                if let Some(session_key) = runs.tracker.session_of(&run_id) {
                    active.run_ends.note(&session_key, false, moment.now);
                }
                runs.second_reply(&mut turn, run_id, outcome);
            }
            return;
        }
        match active.pending.on_reply(&id) {
            Ok(settled) => {
                let accepted = outcome
                    .as_ref()
                    .is_ok_and(|payload| payload.get("status").and_then(Value::as_str) == Some("accepted"));
                if matches!(settled.waiter, PendingKind::Caller(_)) && accepted {
                    active.expect_second_reply(id, None);
                }
                self.answered(moment, settled, outcome);
            }
            Err(unmatched) => {
                let kind = match unmatched {
                    Unmatched::Duplicate => "a second or late one",
                    Unmatched::Foreign => "one that answers nothing of ours",
                };
                turn.push(Effect::Count(Count::DroppedFrame(DropReason::UnmatchedReply)));
                turn.push(Effect::Remark(format!("ignored a reply: {kind}")));
            }
        }
    }

    /// A frame answers a request of this connection.
    fn answered(&mut self, moment: Moment, settled: Settled<PendingKind>, outcome: Result<Value, WireError>) {
        let State::Live(active) = &mut self.state else { return };
        if active.pending.is_empty() {
            active.heartbeat.all_answered();
        }
        let said = if outcome.is_ok() { RpcOutcome::Ok } else { RpcOutcome::Refused };
        let outcome = outcome.map_err(|error| match active.capabilities.learn(&settled.method, &error) {
            true => NoAnswer::NotOffered(error),
            false => NoAnswer::Refused(error),
        });
        self.deliver(moment, settled, said, outcome);
    }

    /// Requests whose answers are overdue.
    pub(super) fn expire_requests(&mut self, moment: Moment) {
        let State::Live(active) = &mut self.state else { return };
        for settled in active.pending.expire(moment.now) {
            let failure = self.peer.overdue(&settled.method);
            let outcome = Err(NoAnswer::Lost(failure, Certainty::Unknown));
            self.deliver(moment, settled, RpcOutcome::Timeout, outcome);
        }
    }

    /// Hands what came of a request to whoever waits for it.
    fn deliver(&mut self, moment: Moment, settled: Settled<PendingKind>, said: RpcOutcome, outcome: Outcome) {
        self.tracker.mark();
        self.push(Effect::Count(Count::Rpc(settled.method.clone(), said)));
        let Machines { mut turn, active: Some(active), runs, logs, .. } = self.machines(moment) else { return };
        match settled.waiter {
            PendingKind::Heartbeat => match outcome {
                // Its own machine watches for silence.
                Err(NoAnswer::Lost(..)) => {}
                answer => {
                    if let Ok(payload) = answer
                        && active.dialect == Dialect::Rpc
                    {
                        let hello = Hello::read_rpc(&payload);
                        active.take_uptime(hello.uptime_ms, moment.wall_ms);
                        self.peer.identify(hello.version, None);
                    }
                    self.heartbeat_answered(moment, |heartbeat| heartbeat.on_reply(moment.now));
                }
            },
            PendingKind::Caller(call) => {
                let result = outcome.map_err(|no_answer| no_answer.failure(turn.peer, &settled.method));
                turn.push(Effect::Answer(call, result));
            }
            PendingKind::Health => {
                if let Some(health) = outcome.ok().as_ref().and_then(HealthSnapshot::read) {
                    active.take_health(moment.now, &health);
                }
            }
            PendingKind::Logs => logs.answered(&mut turn, active, &settled.method, outcome),
            PendingKind::Run(_) | PendingKind::Preparation(..) | PendingKind::LookUp(_) | PendingKind::Kill(_) => {
                runs.answered(&mut turn, active, settled, outcome);
            }
            PendingKind::Agents | PendingKind::AgentsFromConfig | PendingKind::Subscribe | PendingKind::Sessions => {
                match active.on_read(&mut turn, settled.waiter, outcome) {
                    Ok(version) if self.peer.version.is_none() => self.peer.identify(version, None),
                    Ok(_) => {}
                    Err(refusal) => self.end(moment, *refusal),
                }
            }
        }
    }

    /// A page of the list of sessions came, as text.
    fn on_list(&mut self, moment: Moment, method: String, list: &str) {
        self.tracker.mark();
        let Machines { mut turn, active: Some(active), runs, publisher, .. } = self.machines(moment) else { return };
        turn.push(Effect::Count(Count::Rpc(method, RpcOutcome::Ok)));
        if active.on_list(&mut turn, list) {
            publisher.note(moment.wall_ms);
            runs.after_list(&mut turn, active);
        }
        active.read_next(&mut turn);
    }

    fn on_event(&mut self, moment: Moment, event: &Event) {
        let Machines { mut turn, active: Some(active), runs, publisher, logs } = self.machines(moment) else { return };
        if is_challenge(event) {
            // It speaks `openclaw` after all: come again, and wait longer for the challenge.
            if active.dialect == Dialect::Rpc {
                self.peer.dialect = Some(Dialect::Openclaw);
                self.end(moment, Refusal::new(RefusalCode::Closed, "a challenge came after the auth was taken"));
            }
            return;
        }
        if active.sequence.on_event(moment.now, event.seq) {
            active.want_sessions(moment.now);
        }
        let changed = match read_sessions_event(event, active.row_rules(moment)) {
            Some(SessionsEvent::Unspecified) => {
                active.want_sessions_after_burst(moment.now);
                false
            }
            Some(told) => {
                if let SessionsEvent::Run { key, running, .. } = &told {
                    active.run_ends.note(key, *running, moment.now);
                }
                !active.sessions.apply(told).is_empty()
            }
            None => false,
        };
        if changed {
            active.count_sessions();
            publisher.note(moment.wall_ms);
        }
        runs.event(&mut turn, active, event);
        let mut news = changed;
        match event.name.as_str() {
            "health" => {
                if let Some(health) = HealthSnapshot::read(&event.payload) {
                    active.take_health(moment.now, &health);
                    news = true;
                }
            }
            "agent.status" => {
                if let Some(told) = AgentNews::read(&event.payload) {
                    publisher.note_agent(told);
                }
            }
            "log" => logs.event(&mut turn, &event.payload),
            "config.changed" | "agents.changed" => active.want_agents(),
            "shutdown" => self.gateway_shuts_down(moment, &event.payload),
            "spawn_result" => self.spawn_result(moment, &event.payload),
            _ => {}
        }
        if news {
            self.tracker.mark();
        }
        let Machines { mut turn, active, .. } = self.machines(moment);
        if let Some(active) = active {
            active.read_next(&mut turn);
        }
    }

    /// It goes down, on purpose. What is still under way may be answered before the socket ends; nothing new is sent.
    fn gateway_shuts_down(&mut self, moment: Moment, payload: &Value) {
        let expected = payload.get("restartExpectedMs").and_then(Value::as_u64).map(Duration::from_millis);
        self.announce_restart(moment, expected);
        let words = payload.get("reason").and_then(Value::as_str).unwrap_or_default();
        let problem = self.peer.problem(&Refusal::new(RefusalCode::GatewayRestarting, words));
        self.tracker.excuse(moment, problem, StatusSource::Event);
        self.note_phase("shutdown_announced");
    }

    /// Document 002 answers a `spawn` with an event that carries the request's id; the first one is the acceptance.
    fn spawn_result(&mut self, moment: Moment, payload: &Value) {
        let Some(id) = payload.get("id").and_then(Value::as_str) else { return };
        let Machines { mut turn, active: Some(active), runs, .. } = self.machines(moment) else { return };
        match active.pending.on_reply(id) {
            Ok(settled) => self.answered(moment, settled, Ok(payload.clone())),
            Err(_) => runs.spawn_moved_on(&mut turn, id, payload),
        }
    }

    fn live_http(&mut self, moment: Moment, id: &str, answer: HttpAnswer, meter: &mut dyn Meter) {
        let State::Live(active) = &mut self.state else { return };
        let Ok(settled) = active.pending.on_reply(id) else { return };
        let kind = settled.waiter;
        let reply = match answer {
            HttpAnswer::Health(answer) if kind == PendingKind::Heartbeat => return self.http_heartbeat(moment, answer),
            HttpAnswer::Health(answer) => {
                let (said, outcome) = http_dialect::health_outcome(&self.peer, &settled.method, answer);
                return self.deliver(moment, settled, said, outcome);
            }
            HttpAnswer::Reply(reply) => reply,
        };
        let decoded = reply.and_then(|reply| {
            let is_wanted = http_dialect::is_success(&reply) && kind != PendingKind::Sessions;
            let body = if is_wanted { http_dialect::read_body(&reply, meter)? } else { Value::Null };
            Ok((reply, body))
        });
        if kind.is_read() {
            match &decoded {
                Ok((reply, _)) if matches!(reply.status, 401 | 403) => {
                    let words = format!("HTTP {}", reply.status);
                    return self.end(moment, Refusal::new(RefusalCode::TokenMismatch, &words));
                }
                Err(DialFailure::OutOfMemory(excess)) => {
                    return self.end(moment, Refusal::new(memory_code(*excess), ""));
                }
                Ok((reply, _)) if http_dialect::is_success(reply) && kind == PendingKind::Sessions => {
                    let list = std::str::from_utf8(&reply.body).unwrap_or_default();
                    return self.on_list(moment, settled.method, list);
                }
                _ => {}
            }
        }
        let (said, outcome) = http_dialect::outcome(&self.peer, &settled.method, kind, decoded);
        let outcome = match outcome {
            // A list that isn't there now is asked for again later, whatever the reason.
            Err(_) if kind.is_read() => Err(NoAnswer::Refused(WireError::default())),
            outcome => outcome,
        };
        self.deliver(moment, settled, said, outcome);
    }

    fn http_heartbeat(&mut self, moment: Moment, answer: Result<Health, HealthFailure>) {
        match answer {
            Ok(health) => {
                let document = http_dialect::well_or_not(&health);
                if let State::Live(active) = &mut self.state {
                    active.take_document(moment, &document);
                }
                self.peer.identify(document.version, None);
                self.heartbeat_answered(moment, |heartbeat| heartbeat.on_reply(moment.now));
            }
            // Silence is for the heartbeat to judge.
            Err(HealthFailure::Unreached(DialFailure::Timeout { .. })) => {}
            Err(HealthFailure::Unreached(failure)) => self.end_by_dial_failure(moment, &failure),
            Err(failure @ HealthFailure::NotAHealthDocument { .. }) => {
                self.end(moment, Refusal::new(RefusalCode::GatewayError, &failure.to_string()));
            }
        }
    }

    /// Carries out what the heartbeat asks for by now.
    pub(super) fn run_heartbeat(&mut self, moment: Moment) {
        while let State::Live(active) = &mut self.state
            && let Some(effect) = active.heartbeat.on_deadline(moment.now)
        {
            match effect {
                HeartbeatEffect::Send | HeartbeatEffect::Overslept => {}
                _ => self.tracker.missed(moment, StatusSource::Heartbeat),
            }
            match effect {
                HeartbeatEffect::Send => self.send_heartbeat(moment),
                HeartbeatEffect::Overslept => self.tracker.overslept(moment),
                HeartbeatEffect::Late => {}
                HeartbeatEffect::Missed(_) => self.breaker.on_failure(moment.wall_ms),
                HeartbeatEffect::Lost => {
                    self.breaker.on_failure(moment.wall_ms);
                    self.end(moment, Refusal::new(RefusalCode::HeartbeatLost, ""));
                }
            }
        }
    }

    fn send_heartbeat(&mut self, moment: Moment) {
        self.breaker.on_attempt(moment.wall_ms);
        let Machines { mut turn, active: Some(active), .. } = self.machines(moment) else { return };
        let method = match active.capabilities.heartbeat() {
            HeartbeatWay::WebSocketPing => {
                let payload = Bytes::copy_from_slice(&active.heartbeat.ping());
                return turn.push(Effect::Ping(turn.epoch, payload));
            }
            HeartbeatWay::PingRequest => "ping",
            HeartbeatWay::GatewayInfo => "gateway.info",
            HeartbeatWay::HttpHealth => "health",
        };
        active.ask(&mut turn, method, &json!({}), PendingKind::Heartbeat);
    }

    /// A reply to a heartbeat, of whatever content.
    fn heartbeat_answered(&mut self, moment: Moment, reply: impl FnOnce(&mut Heartbeat) -> Option<Duration>) {
        let State::Live(active) = &mut self.state else { return };
        let Some(round_trip) = reply(&mut active.heartbeat) else { return };
        self.push(Effect::Count(Count::Latency(round_trip)));
        self.tracker.measured(moment, round_trip, StatusSource::Heartbeat);
        self.breaker.on_success(moment.wall_ms);
        self.probes.answered(round_trip);
    }
}
