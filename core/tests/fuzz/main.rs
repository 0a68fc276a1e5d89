//! A connection that is told whatever a gateway may say, over a WebSocket and over HTTP: it never ends the program, holds bounded
//! memory, always has something due, answers each caller once, and says nothing unfit to be shown.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it saw"
)]

#[path = "../../../protocol/tests/fuzz/fuzzing.rs"]
mod fuzzing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_core::dialing::{DialFailure, DialStep, HttpReply, read_health};
use gatewarden_core::error::Failure;
use gatewarden_core::gateway_record::{GatewaySpec, Transport};
use gatewarden_core::gateway_report::{GatewayReport, Phase};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::connection::{
    AuthPermit, CallToken, Connection, ConnectionParts, Effect, GatewayNotice, HttpAnswer, HttpOperation, Moment,
};
use gatewarden_core::machines::log_tail::{Begin, WatchToken};
use gatewarden_core::machines::routing::RouteRequest;
use gatewarden_core::settings::GatewaySettings;
use gatewarden_core::spawn::{ControlSession, LookUpRun, SessionAction, SpawnRecord, SpawnRequest, Work};
use gatewarden_protocol::decoding::Allowance;
use gatewarden_protocol::limits::{MAX_AGENTS_BYTES, MAX_SESSIONS_BYTES};
use gatewarden_protocol::{DeviceIdentity, Secret};
use serde_json::{Value, json};

use crate::fuzzing::{Dice, fuzz};

const SECRET: &str = "sh4red-s3cret";
/// The sessions and agents that are known, a list that is being read, and a log.
const MAX_HELD: usize = 2 * MAX_SESSIONS_BYTES + MAX_AGENTS_BYTES + 4 * 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "an instant can't be made otherwise")]
fn any_instant() -> Instant {
    Instant::now()
}

/// A connection, and what its shell holds.
struct Shell {
    connection: Connection,
    now: Instant,
    /// Ids of requests that wait for an answer, newest last.
    asked: Vec<String>,
    http: Vec<(String, HttpOperation)>,
    callers: u64,
    answered: u64,
}

impl Shell {
    fn new(transport: Transport) -> Self {
        let spec = GatewaySpec {
            token: Some(Secret::new(SECRET)),
            disable_device_pairing: true,
            transport,
            ..GatewaySpec::at("prod", "127.0.0.1", 18_789)
        };
        let parts = ConnectionParts {
            record: Arc::new(spec.into_record(GatewayId(1), "uuid", 0)),
            settings: Arc::new(GatewaySettings::default()),
            identity: Arc::new(DeviceIdentity::from_seed(&[7; 32])),
            version: "0.1.0".into(),
            instance_id: "run".into(),
        };
        let now = any_instant();
        let connection = Connection::new(parts, Moment { now, wall_ms: 1_795_253_714_000, jitter: 0.0, woke: None });
        let mut shell = Self { connection, now, asked: Vec::new(), http: Vec::new(), callers: 0, answered: 0 };
        shell.feed(Connection::start);
        let address = "ws://127.0.0.1:18789".to_owned();
        shell.feed(|connection, moment| {
            connection.on_permit(moment, AuthPermit::Granted { address, device_token: None })
        });
        shell
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, wall_ms: 1_795_253_714_000, jitter: 0.0, woke: None }
    }

    fn feed(&mut self, input: impl FnOnce(&mut Connection, Moment)) {
        let moment = self.moment();
        input(&mut self.connection, moment);
        for _ in 0..100 {
            let effects = self.connection.take_effects(self.moment());
            if effects.is_empty() {
                assert!(self.connection.held_bytes() <= MAX_HELD, "{} bytes", self.connection.held_bytes());
                assert!(self.connection.next_deadline(self.moment()).is_some(), "nothing is due");
                return;
            }
            for effect in effects {
                self.take(effect);
            }
        }
        panic!("effects without an end");
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Send { text, .. } => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                self.asked.extend(frame["id"].as_str().map(str::to_owned));
            }
            Effect::Http { id, operation, .. } => self.http.push((id, operation)),
            Effect::Answer(_, result) => self.told(result.err()),
            Effect::AnswerRun(_, result) => self.told((*result).err().map(|not_accepted| not_accepted.failure)),
            Effect::AnswerFinding(_, result) => self.told(result.err()),
            Effect::Notify(GatewayNotice::Report(report)) => check_report(&report),
            _ => {}
        }
    }

    fn told(&mut self, failure: Option<Failure>) {
        self.answered += 1;
        assert!(self.answered <= self.callers, "an answer to nobody");
        let failure = failure.iter().map(|failure| format!("{failure:?}"));
        failure.for_each(|words| assert!(!words.contains(SECRET), "{words}"));
    }

    fn hears(&mut self, text: &[u8]) {
        let epoch = self.connection.epoch();
        // What a gateway may make us hold.
        let mut meter = Allowance(32 * 1024 * 1024);
        self.feed(|connection, moment| connection.on_message(moment, epoch, text, &mut meter));
    }

    fn call(&mut self, dice: &mut Dice) {
        self.callers += 1;
        let (call, timeout) = (CallToken(self.callers), Duration::from_secs(5));
        let key = "agent:main:gatewarden-r1".to_owned();
        match dice.below(5) {
            0 => self.feed(|connection, moment| connection.call(moment, call, "config.get", &json!({}), timeout)),
            1 => {
                let work = Work::Task {
                    task: "say hello".into(),
                    agent: None,
                    session_key: None,
                    model: None,
                    label: None,
                    timeout_seconds: None,
                };
                let record = SpawnRecord { spawn_id: "r1".into(), ..SpawnRecord::default() };
                let request = SpawnRequest { record, route: RouteRequest::default(), work, timeout };
                self.feed(|connection, moment| connection.start_run(moment, call, &request.into()));
            }
            2 => self.feed(|connection, moment| {
                connection.look_up_run(moment, call, LookUpRun { run_id: "r1".into(), session_key: Some(key), timeout })
            }),
            3 => {
                let control = ControlSession { session_key: key, action: SessionAction::Kill, timeout };
                self.feed(|connection, moment| connection.control(moment, call, control));
            }
            _ => {
                self.callers -= 1;
                self.feed(|connection, moment| connection.watch_logs(moment, WatchToken(1), Begin::Newest(20)));
            }
        }
    }

    /// Time answers whoever still waits, and all goes on.
    fn end(mut self) {
        for _ in 0..200 {
            let due = self.connection.next_deadline(self.moment()).unwrap();
            self.now = self.now.max(due);
            self.feed(Connection::on_deadline);
            if self.answered == self.callers {
                break;
            }
        }
        assert_eq!(self.answered, self.callers, "a caller without an answer");
        self.connection.shut_down(self.moment());
        assert_eq!(self.connection.next_deadline(self.moment()), None);
    }
}

fn check_report(report: &GatewayReport) {
    for words in report.last_error.iter().flat_map(|problem| [&problem.message, &problem.help]) {
        assert!(!words.contains(SECRET) && words.len() < 8_000, "{words}");
        assert!(!words.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{words:?}");
    }
    let versions = report.version.iter().chain(report.agent_names.iter());
    versions.for_each(|name| assert!(!name.chars().any(char::is_control), "{name:?}"));
}

/// What real gateways said.
fn frames() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../../../protocol/tests/golden/frames-p3.jsonl"),
        include_str!("../../../protocol/tests/golden/frames-p4.jsonl"),
    ];
    let lines = files.iter().flat_map(|file| file.lines()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["dir"] == "in").map(|line| line["frame"].to_string().into_bytes()).collect()
}

#[test]
fn whatever_a_gateway_says_over_a_websocket_its_connection_stays_bounded_and_answers_its_callers() {
    let (frames, hellos) = (frames(), frames());
    let hellos: Vec<&Vec<u8>> =
        hellos.iter().filter(|frame| String::from_utf8_lossy(frame).contains("hello-ok")).collect();
    fuzz("a connection over a WebSocket", &frames, |text, dice| {
        let mut shell = Shell::new(Transport::Ws);
        let epoch = shell.connection.epoch();
        shell.feed(|connection, moment| connection.on_dialed(moment, epoch));
        if dice.below(10) > 0 {
            shell.hears(br#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1795253714000}}"#);
        }
        if dice.below(10) > 0 {
            let mut hello: Value = serde_json::from_slice(hellos[dice.below(hellos.len())]).unwrap();
            hello["id"] = json!("connect");
            shell.hears(hello.to_string().as_bytes());
        }
        for _ in 0..4 {
            shell.call(dice);
            // The case, as it is and as the answer to what was asked.
            shell.hears(text);
            if let (Ok(mut frame), Some(id)) = (serde_json::from_slice::<Value>(text), shell.asked.pop())
                && frame.is_object()
            {
                frame["id"] = json!(id);
                shell.hears(frame.to_string().as_bytes());
            }
        }
        shell.end();
    });
}

#[test]
fn whatever_a_gateway_answers_over_http_its_connection_stays_bounded_and_answers_its_callers() {
    let corpus: Vec<Vec<u8>> = include_str!("../../../protocol/tests/fuzz/corpus/http-answers.txt")
        .lines()
        .map(|line| line.as_bytes().to_vec())
        .collect();
    fuzz("a connection over HTTP", &corpus, |text, dice| {
        let mut shell = Shell::new(Transport::Http);
        let good = br#"{"ok":true,"status":"live"}"#;
        for round in 0..12 {
            if shell.connection.phase() == Phase::Ready {
                shell.call(dice);
            }
            let Some((id, operation)) = shell.http.pop() else { break };
            let reply = HttpReply {
                status: [200, 200, 200, 201, 400, 401, 404, 429, 500, 503][dice.below(if round < 2 { 3 } else { 10 })],
                content_type: [None, Some("application/json".to_owned())][dice.below(2)].clone(),
                retry_after: [None, Some(Duration::from_secs(86_400))][dice.below(2)],
                date_ms: None,
                body: bytes::Bytes::copy_from_slice(if round == 0 && dice.below(4) > 0 { good } else { text }).into(),
                took: Duration::from_millis(3),
            };
            let answer = match operation {
                HttpOperation::Detect | HttpOperation::Health => HttpAnswer::Health(read_health(&reply)),
                _ if dice.below(20) == 0 => HttpAnswer::Reply(Err(DialFailure::Timeout { step: DialStep::Request })),
                _ => HttpAnswer::Reply(Ok(reply)),
            };
            let epoch = shell.connection.epoch();
            let mut meter = Allowance(32 * 1024 * 1024);
            shell.feed(|connection, moment| connection.on_http(moment, epoch, &id, answer, &mut meter));
        }
        shell.end();
    });
}
