//! Anything may come in, in any order, at any time: what must hold all the same.

use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::sim::{Sim, address, granted, hello_4, record};
use crate::dialing::HealthFailure;
use crate::dialing::{DialFailure, DialStep, SocketError};
use crate::machines::auth_budget::{AuthBudget, MAX_FAILURES, WINDOW};
use crate::machines::connection::{AuthPermit, AuthResult, GatewayNotice};
use gatewarden_protocol::Secret;
use gatewarden_protocol::refusal::{Refusal, RefusalCode};
use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
enum Act {
    Pass(u64),
    NextDeadline,
    Dialed,
    DialFailed(u8),
    Challenge,
    HelloOk,
    RpcOk,
    Refuse(u8),
    Garbage,
    Answer(bool),
    Close(u8),
    SocketError(u8),
    Ping,
    Pong,
    Http(u8),
    Shutdown,
    Sequence(u64),
    Call,
    Probe,
    ProbeFound(bool),
    Reconnect,
    Record(u8),
    StrayPermit(bool),
    OldEpoch,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u64..40_000).prop_map(Act::Pass),
        8 => Just(Act::NextDeadline),
        8 => Just(Act::Dialed),
        4 => (0_u8..9).prop_map(Act::DialFailed),
        8 => Just(Act::Challenge),
        8 => Just(Act::HelloOk),
        1 => Just(Act::RpcOk),
        6 => (0_u8..9).prop_map(Act::Refuse),
        2 => Just(Act::Garbage),
        6 => any::<bool>().prop_map(Act::Answer),
        3 => (0_u8..8).prop_map(Act::Close),
        1 => (0_u8..4).prop_map(Act::SocketError),
        1 => Just(Act::Ping),
        3 => Just(Act::Pong),
        3 => (0_u8..4).prop_map(Act::Http),
        1 => Just(Act::Shutdown),
        1 => (0_u64..50).prop_map(Act::Sequence),
        2 => Just(Act::Call),
        2 => Just(Act::Probe),
        2 => any::<bool>().prop_map(Act::ProbeFound),
        1 => Just(Act::Reconnect),
        1 => (0_u8..4).prop_map(Act::Record),
        1 => any::<bool>().prop_map(Act::StrayPermit),
        1 => Just(Act::OldEpoch),
    ]
}

/// Watches everything that the connection asks for, and keeps the registry's budget.
struct Watch {
    sim: Sim,
    looked: usize,
    budget: AuthBudget,
    failures: Vec<(Instant, AuthResult)>,
    attempts: Vec<Instant>,
    open: Option<Epoch>,
    permits: i32,
    callers: u64,
    probers: u64,
    answered: Vec<CallToken>,
    probed: Vec<ProbeToken>,
    accepted: Option<Epoch>,
    unanswered_ids: Vec<String>,
    pings: Vec<bytes::Bytes>,
    asks: Vec<super::detection::Ask>,
    rounds: Vec<u64>,
    operator: u32,
}

impl Watch {
    fn new() -> Self {
        let mut sim = Sim::new();
        sim.grants = false;
        Self {
            sim,
            looked: 0,
            budget: AuthBudget::new(),
            failures: Vec::new(),
            attempts: Vec::new(),
            open: None,
            permits: 0,
            callers: 0,
            probers: 0,
            answered: Vec::new(),
            probed: Vec::new(),
            accepted: None,
            unanswered_ids: Vec::new(),
            pings: Vec::new(),
            asks: Vec::new(),
            rounds: Vec::new(),
            operator: 0,
        }
    }

    fn apply(&mut self, input: &Act) {
        let sim = &mut self.sim;
        let epoch = sim.epoch();
        let accepts = matches!(input, Act::HelloOk | Act::RpcOk | Act::Answer(_) | Act::Http(_));
        if accepts && sim.connection.phase() == Phase::Authenticating {
            self.accepted = Some(epoch);
        }
        match input {
            Act::Pass(ms) => {
                let until = sim.now + Duration::from_millis(*ms);
                for _ in 0..2_000 {
                    match self.sim.connection.next_deadline(self.sim.moment()).filter(|due| *due <= until) {
                        Some(due) => {
                            self.sim.now = self.sim.now.max(due);
                            self.sim.feed(Connection::on_deadline);
                            self.look();
                        }
                        None => break,
                    }
                }
                self.sim.now = until;
            }
            Act::NextDeadline => {
                if let Some(due) = sim.connection.next_deadline(sim.moment()) {
                    sim.now = sim.now.max(due);
                    sim.feed(Connection::on_deadline);
                }
            }
            Act::Dialed => sim.feed(|connection, moment| connection.on_dialed(moment, epoch)),
            Act::DialFailed(which) => {
                let failure = match which {
                    0 => DialFailure::Refused,
                    1 => DialFailure::Timeout { step: DialStep::Connect },
                    2 => DialFailure::NameNotResolved { reason: "x".into() },
                    3 => DialFailure::TlsNotTrusted { reason: "x".into(), presented_sha256: None },
                    n => DialFailure::UpgradeRefused {
                        status: [200, 404, 403, 503, 429][usize::from(*n) - 4],
                        content_type: None,
                        body: bytes::Bytes::new(),
                        retry_after: None,
                    },
                };
                sim.dial_failed(failure);
            }
            Act::Challenge => sim.challenges(),
            Act::HelloOk => {
                let mut hello = hello_4();
                hello["payload"]["auth"]["deviceToken"] = json!("issued");
                sim.says(hello);
            }
            Act::RpcOk => {
                sim.says(json!({"result":{"ok":true}}));
            }
            Act::Refuse(which) => sim.refuses(match which {
                0 => json!({"code":"INVALID_REQUEST","message":"x","details":{"code":"AUTH_TOKEN_MISMATCH"}}),
                1 => json!({"code":"INVALID_REQUEST","message":"x","details":{"code":"AUTH_DEVICE_TOKEN_MISMATCH"}}),
                2 => json!({"code":"NOT_PAIRED","message":"pairing required"}),
                3 => json!({"code":"UNAVAILABLE","message":"gateway starting","retryAfterMs":1}),
                4 => json!({"code":"X","message":"auth rate limit","retryAfterMs":1}),
                5 => json!({"code":"UNAVAILABLE","message":"x","details":{"code":"PROTOCOL_MISMATCH","gatewayBuildId":"b"}}),
                6 => json!({"code":"INVALID_REQUEST","message":"protocol mismatch"}),
                7 => json!({"code":"INTERNAL","message":"oops","retryable":true,"retryAfterMs":0}),
                _ => json!("no"),
            }),
            Act::Garbage => sim.says_text("\u{0}{[garbage"),
            Act::Answer(ok) => {
                if let Some(id) = self.unanswered_ids.pop() {
                    let reply = if *ok {
                        json!({"type":"res","id":id,"ok":true,"payload":{"agents":[],"sessions":[],"status":"accepted"}})
                    } else {
                        json!({"type":"res","id":id,"ok":false,"error":{"code":"INVALID_REQUEST","message":"unknown method: x"}})
                    };
                    sim.says(reply);
                }
            }
            Act::Close(which) => {
                let codes = [None, Some(1000), Some(1002), Some(1008), Some(1012), Some(1013), Some(4001), Some(1006)];
                sim.closes(codes[usize::from(*which)], "x");
            }
            Act::SocketError(which) => {
                let error = match which {
                    0 => SocketError::FrameTooLarge { announced: 1, cap: 0 },
                    1 => SocketError::OutOfMemory(gatewarden_protocol::decoding::Excess::Own),
                    2 => SocketError::SlowPeer,
                    _ => SocketError::Closed,
                };
                sim.feed(|connection, moment| connection.on_socket_failed(moment, epoch, &error));
            }
            Act::Ping => sim.feed(|connection, moment| connection.on_ping(moment, epoch, bytes::Bytes::new())),
            Act::Pong => {
                let payload = self.pings.pop().unwrap_or_default();
                sim.feed(|connection, moment| connection.on_pong(moment, epoch, &payload));
            }
            Act::Http(which) => {
                if let Some(ask) = self.asks.pop() {
                    let reply = |status| {
                        HttpAnswer::Reply(Ok(crate::dialing::HttpReply {
                            status,
                            content_type: None,
                            retry_after: None,
                            date_ms: None,
                            body: bytes::Bytes::from_static(b"[]").into(),
                            took: Duration::ZERO,
                        }))
                    };
                    let is_health = matches!(ask.operation, HttpOperation::Detect | HttpOperation::Health);
                    let answer = match (is_health, which) {
                        (true, 0) => HttpAnswer::Health(Err(HealthFailure::NotAHealthDocument { status: 200, content_type: None })),
                        (true, 1) => HttpAnswer::Health(Err(DialFailure::Refused.into())),
                        (true, _) => HttpAnswer::Health(Ok(crate::dialing::Health {
                            document: gatewarden_protocol::HealthDocument { healthy: true, version: None, uptime_ms: None },
                            is_healthy: true,
                            took: Duration::ZERO,
                        })),
                        (false, 0) => reply(401),
                        (false, 1) => HttpAnswer::Reply(Err(DialFailure::Timeout { step: DialStep::Request })),
                        (false, _) => reply(200),
                    };
                    sim.feed(|connection, moment| connection.on_http(moment, epoch, &ask.id, answer, &mut super::sim::ample()));
                }
            }
            Act::Shutdown => sim.says(json!({"type":"event","event":"shutdown","payload":{"restartExpectedMs":1500}})),
            Act::Sequence(seq) => sim.says(json!({"type":"event","event":"sessions.changed","payload":{},"seq":seq})),
            Act::Call => {
                self.callers += 1;
                sim.call(self.callers, "chat.send");
            }
            Act::Probe => {
                self.probers += 1;
                sim.probe(self.probers);
            }
            Act::ProbeFound(found) => {
                if let Some(round) = self.rounds.pop() {
                    let failure = (!found).then(|| ("connect", Refusal::new(RefusalCode::ConnectionRefused, "")));
                    sim.feed(|connection, moment| connection.on_probe_finding(moment, round, ProbeFinding { latency: None, failure }));
                }
            }
            Act::Reconnect => {
                self.operator += 1;
                sim.feed(Connection::reconnect);
            }
            Act::Record(which) => {
                self.operator += 1;
                let changed = match which {
                    0 => record(),
                    1 => record().with(|spec| spec.token = Some(Secret::new("t2"))),
                    2 => record().with(|spec| spec.name = "renamed".into()),
                    _ => record().with(|spec| spec.token = None),
                };
                sim.feed(|connection, moment| connection.update_record(moment, Arc::new(changed)));
            }
            Act::StrayPermit(grant) => {
                let retry_at = sim.now + Duration::from_secs(1);
                let permit =
                    if *grant { granted(&address()) } else { AuthPermit::Denied { address: address(), retry_at } };
                self.permits += i32::from(*grant);
                // A grant that no budget stands behind is settled like any other.
                if *grant && self.budget.reserve(sim.now).is_err() {
                    self.permits -= 1;
                } else {
                    sim.feed(|connection, moment| connection.on_permit(moment, permit));
                }
            }
            Act::OldEpoch => {
                let old = Epoch(epoch.0.saturating_sub(1));
                sim.feed(|connection, moment| connection.on_closed(moment, old, None, ""));
                assert!(!sim.connection.is_dialing(old));
            }
        }
        self.look();
    }

    /// Plays registry and shell for whatever is new, and checks it.
    fn look(&mut self) {
        while self.looked < self.sim.log.len() {
            let effect = self.sim.log[self.looked].clone();
            self.looked += 1;
            let now = self.sim.now;
            match effect {
                Effect::Notify(GatewayNotice::PermitWanted { address }) => {
                    let permit = match self.budget.reserve(now) {
                        Ok(()) => {
                            self.permits += 1;
                            granted(&address)
                        }
                        Err(retry_at) => AuthPermit::Denied { address, retry_at },
                    };
                    self.sim.feed(|connection, moment| connection.on_permit(moment, permit));
                }
                Effect::Notify(GatewayNotice::AuthSettled { result, .. }) => {
                    self.permits -= 1;
                    assert!(self.permits >= 0, "a permit is settled once");
                    self.budget.settle(now, result);
                    match result {
                        AuthResult::NotFailed => {}
                        AuthResult::Failed | AuthResult::Unknown => self.failures.push((now, result)),
                        AuthResult::Accepted => self.failures.retain(|(_, result)| *result == AuthResult::Failed),
                    }
                }
                Effect::Dial(epoch, _) => {
                    assert_eq!(self.open, None, "never two sockets");
                    assert!(self.permits > 0, "no dial without a permit");
                    self.open = Some(epoch);
                    self.attempts.push(now);
                }
                Effect::Http { epoch, id, operation, .. } => {
                    assert!(self.open.is_none_or(|open| open == epoch), "never two conversations");
                    self.open = Some(epoch);
                    self.asks.push(super::detection::Ask { id, operation });
                }
                Effect::Close { epoch, .. } => {
                    assert_eq!(self.open, Some(epoch), "what is closed was open");
                    self.open = None;
                    self.unanswered_ids.clear();
                    self.asks.clear();
                }
                Effect::Send { epoch, text, .. } => {
                    assert_eq!(self.open, Some(epoch), "nothing is sent over an older socket");
                    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                    if let Some(id) = frame["id"].as_str() {
                        self.unanswered_ids.push(id.to_owned());
                    }
                }
                Effect::Ping(_, payload) => self.pings.push(payload),
                Effect::Answer(call, _) => {
                    assert!(!self.answered.contains(&call), "a caller is answered once");
                    self.answered.push(call);
                }
                Effect::AnswerProbe(probe, _) => {
                    assert!(!self.probed.contains(&probe), "a probe is answered once");
                    self.probed.push(probe);
                }
                Effect::ProbeUnconnected { round, .. } => self.rounds.push(round),
                Effect::PhaseChanged { to: Phase::Ready, .. } => {
                    assert_eq!(self.accepted, Some(self.sim.epoch()), "ready only after an accepted login");
                }
                _ => {}
            }
        }
        let moment = self.sim.moment();
        let phase = self.sim.connection.phase();
        assert!(self.sim.connection.next_deadline(moment).is_some(), "nothing is due in {}", phase.as_str());
        if matches!(phase, Phase::Backoff | Phase::Blocked | Phase::Starting) {
            assert_eq!(self.open, None, "{} holds no socket", phase.as_str());
        }
        let report = self.sim.current();
        assert_eq!(report.phase, phase);
        assert!(report.status != crate::gateway_report::Status::Online || phase == Phase::Ready);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn whatever_comes_in_the_rules_of_the_connection_hold(inputs in prop::collection::vec(act(), 1..150)) {
        let mut watch = Watch::new();
        watch.sim.start();
        watch.look();
        for input in &inputs {
            watch.apply(input);
        }
        // No retry storm: beyond what operators and probes asked for, attempts keep their distance.
        let asked_for = usize::try_from(watch.operator).unwrap() + usize::try_from(watch.probers).unwrap();
        for window in watch.attempts.windows(20 + asked_for) {
            prop_assert!(*window.last().unwrap() - window[0] > Duration::from_secs(1));
        }
        for window in watch.failures.windows(MAX_FAILURES + 1) {
            prop_assert!(window[MAX_FAILURES].0 - window[0].0 > WINDOW);
        }
        // Time alone answers whoever still waits.
        watch.apply(&Act::Pass(40_000));
        prop_assert_eq!(watch.answered.len(), usize::try_from(watch.callers).unwrap());
        prop_assert_eq!(watch.probed.len(), usize::try_from(watch.probers).unwrap());
        watch.sim.feed(Connection::shut_down);
        prop_assert_eq!(watch.sim.connection.next_deadline(watch.sim.moment()), None);
    }
}
