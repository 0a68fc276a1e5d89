//! Frames recorded from the real releases 2026.3.24 (protocol 3) and 2026.9.6 (protocol 4), and what is read from them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use gatewarden_protocol::capabilities::Event as KnownEvent;
use gatewarden_protocol::handshake::Challenge;
use gatewarden_protocol::{
    Capabilities, Event, Frame, Hello, Method, RefusalClass, RefusalCode, Response, RowRules, SessionRow,
    SessionStatus, SessionTable, SessionsEvent, Support, WireError, classify_close, classify_error, read_agents,
    read_config_agents, read_sessions, read_sessions_event,
};
use serde_json::Value;

/// One recorded line.
struct Line {
    number: usize,
    incoming: bool,
    frame: Value,
}

fn lines(file: &str) -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            let record: Value = serde_json::from_str(line).unwrap();
            Line { number: index + 1, incoming: record["dir"] == "in", frame: record["frame"].clone() }
        })
        .collect()
}

fn protocol_3() -> Vec<Line> {
    lines("frames-p3.jsonl")
}

fn protocol_4() -> Vec<Line> {
    lines("frames-p4.jsonl")
}

/// The frames, without the closes.
fn frames(lines: &[Line]) -> Vec<(usize, bool, Frame)> {
    lines
        .iter()
        .filter(|line| line.frame.get("ws_close").is_none())
        .map(|line| {
            let text = line.frame.to_string();
            let frame = Frame::parse(text.as_bytes()).unwrap_or_else(|error| panic!("line {}: {error}", line.number));
            (line.number, line.incoming, frame)
        })
        .collect()
}

fn replies(lines: &[Line]) -> Vec<(usize, Response)> {
    frames(lines)
        .into_iter()
        .filter_map(|(number, _, frame)| match frame {
            Frame::Response(response) => Some((number, response)),
            _ => None,
        })
        .collect()
}

fn events(lines: &[Line], name: &str) -> Vec<Event> {
    frames(lines)
        .into_iter()
        .filter_map(|(_, _, frame)| match frame {
            Frame::Event(event) if event.name == name => Some(event),
            _ => None,
        })
        .collect()
}

/// The payloads of the successful replies to a method.
fn results(lines: &[Line], wanted: &str) -> Vec<Value> {
    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    let mut results = Vec::new();
    for (_, _, frame) in frames(lines) {
        match frame {
            Frame::Request { id: Some(id), method, .. } => {
                asked.insert(id, method);
            }
            Frame::Response(Response { id, outcome: Ok(payload) }) if asked.get(&id).is_some_and(|m| m == wanted) => {
                results.push(payload);
            }
            _ => {}
        }
    }
    results
}

fn hellos(lines: &[Line]) -> Vec<Hello> {
    replies(lines)
        .into_iter()
        .filter_map(|(_, response)| response.outcome.ok())
        .filter(|payload| payload["type"] == "hello-ok")
        .map(|payload| Hello::read_connect(&payload))
        .collect()
}

/// The refusal codes of all failed connects, in the order recorded, each with the class.
fn refusals(lines: &[Line]) -> Vec<(RefusalCode, RefusalClass)> {
    replies(lines)
        .into_iter()
        .filter(|(_, response)| response.id == "connect-1")
        .filter_map(|(_, response)| response.outcome.err())
        .map(|error| classify_error(&error))
        .map(|refusal| (refusal.code, refusal.class))
        .collect()
}

#[test]
fn every_recorded_frame_parses_as_what_its_sender_meant() {
    for lines in [protocol_3(), protocol_4()] {
        assert!(lines.len() > 140);
        for (number, incoming, frame) in frames(&lines) {
            match frame {
                Frame::Request { id, .. } => assert!(!incoming && id.is_some(), "line {number}"),
                Frame::Response(response) => assert!(incoming && !response.id.is_empty(), "line {number}"),
                Frame::Event(event) => assert!(incoming && !event.name.is_empty(), "line {number}"),
            }
        }
    }
}

#[test]
fn challenges_of_both_protocols_ask_for_a_device_and_tell_the_time() {
    for lines in [protocol_3(), protocol_4()] {
        let challenges = events(&lines, "connect.challenge");
        assert!(challenges.len() >= 3);
        for event in challenges {
            let challenge = Challenge::read(&event.payload).unwrap();
            assert!(challenge.ts_ms.is_some() && challenge.device_required && !challenge.is_documented);
        }
    }
}

#[test]
fn the_hellos_of_protocol_3_are_read() {
    let hellos = hellos(&protocol_3());
    assert_eq!(hellos.len(), 5);
    for hello in &hellos {
        assert_eq!((hello.protocol, hello.version.as_deref()), (Some(3), Some("2026.3.24")));
        assert!(hello.lists_methods && hello.methods.contains(Method::LogsTail));
        assert!(hello.events.contains(KnownEvent::Agent) && !hello.scopes_are_effective);
    }
    let paired = &hellos[0];
    let token = paired.device_token.as_ref().unwrap();
    assert_eq!((token.token.expose(), token.issued_at_ms), ("DEVICE_TOKEN", Some(1_795_253_714_457)));
    assert_eq!(paired.uptime_ms, Some(524_825));
    let health = paired.health.as_ref().unwrap();
    assert_eq!((health.ok, health.degraded, health.sessions_count), (Some(true), false, Some(12)));
    assert_eq!(health.agents.as_ref().unwrap()[0].id, "main");
    let deviceless = &hellos[2];
    assert!(
        deviceless.device_token.is_none() && deviceless.scopes.is_none(),
        "it has lost its scopes and says nothing"
    );
}

#[test]
fn the_hellos_of_protocol_4_are_read() {
    let hellos = hellos(&protocol_4());
    assert_eq!(hellos.len(), 5);
    for hello in &hellos {
        assert_eq!((hello.protocol, hello.version.as_deref()), (Some(4), Some("2026.9.6")));
        assert!(hello.methods.contains(Method::Health) && hello.scopes_are_effective);
        assert!(hello.uptime_ms.unwrap() > 1_000_000);
    }
    assert!(hellos[0].device_token.is_some());
    let deviceless = &hellos[2];
    assert!(deviceless.device_token.is_none());
    assert!(deviceless.scopes.as_ref().unwrap().contains(&"operator.admin".to_owned()));
    assert_eq!(hellos[3].scopes, Some(vec!["operator.read".to_owned()]));
}

#[test]
fn every_refusal_of_protocol_3_has_its_reason() {
    use RefusalClass::{Blocked, PairingRequired};
    assert_eq!(
        refusals(&protocol_3()),
        [
            (RefusalCode::TokenMismatch, Blocked),
            (RefusalCode::TokenMissing, Blocked),
            (RefusalCode::DeviceIdentityRequired, Blocked),
            (RefusalCode::DeviceSignatureInvalid, Blocked),
            (RefusalCode::DeviceIdMismatch, Blocked),
            (RefusalCode::DeviceSignatureExpired, Blocked),
            (RefusalCode::DeviceNonceMismatch, Blocked),
            (RefusalCode::ProtocolMismatch, Blocked),
            (RefusalCode::OriginNotAllowed, Blocked),
            (RefusalCode::PairingRequired, PairingRequired),
            (RefusalCode::InvalidHandshake, Blocked),
            (RefusalCode::DeviceTokenMismatch, Blocked),
        ]
    );
}

#[test]
fn every_refusal_of_protocol_4_has_the_same_reason_as_on_protocol_3() {
    assert_eq!(refusals(&protocol_4()), refusals(&protocol_3()));
}

#[test]
fn the_reasons_survive_in_the_words_alone_as_the_oldest_release_sends_them() {
    for lines in [protocol_3(), protocol_4()] {
        for (number, response) in replies(&lines).into_iter().filter(|(_, response)| response.id == "connect-1") {
            let Err(error) = response.outcome else { continue };
            let wordy = WireError { code: error.code.clone(), message: error.message.clone(), ..WireError::default() };
            assert_eq!(classify_error(&wordy).code, classify_error(&error).code, "line {number}");
        }
    }
}

#[test]
fn a_refusal_and_the_close_after_it_give_the_same_reason() {
    for lines in [protocol_3(), protocol_4()] {
        let mut last: Option<RefusalCode> = None;
        let mut compared = 0;
        for line in &lines {
            if let Some(close) = line.frame.get("ws_close") {
                let code = close["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                if let Some(said) = last.take() {
                    let refusal = classify_close(code, close["reason"].as_str().unwrap(), false);
                    assert_eq!(refusal.code, said, "line {}", line.number);
                    compared += 1;
                }
            } else if let Ok(Frame::Response(response)) = Frame::parse(line.frame.to_string().as_bytes()) {
                let failed = response.outcome.err().filter(|_| response.id == "connect-1");
                last = failed.map(|error| classify_error(&error).code);
            }
        }
        assert_eq!(compared, 12);
    }
}

#[test]
fn a_pairing_refusal_names_the_request_and_on_protocol_4_the_device() {
    let pairing = |lines: Vec<Line>| {
        replies(&lines)
            .into_iter()
            .filter_map(|(_, response)| response.outcome.err())
            .find_map(|error| classify_error(&error).pairing)
            .unwrap()
    };
    let (older, newer) = (pairing(protocol_3()), pairing(protocol_4()));
    assert_eq!((older.request_id.as_deref(), older.device_id.as_deref()), (Some("UUID_38"), None));
    assert_eq!((newer.request_id.as_deref(), newer.device_id.as_deref()), (Some("UUID_49"), Some("HEX64_39")));
}

#[test]
fn the_errors_of_requests_are_read() {
    for lines in [protocol_3(), protocol_4()] {
        let errors: Vec<WireError> = replies(&lines)
            .into_iter()
            .filter(|(_, response)| response.id != "connect-1")
            .filter_map(|(_, response)| response.outcome.err())
            .collect();
        let unknown: Vec<&str> =
            errors.iter().filter(|error| error.is_unknown_method()).map(|error| error.message.as_str()).collect();
        assert_eq!(unknown, ["unknown method: ping"]);
        let scopes: Vec<String> = errors.iter().filter_map(WireError::missing_scope).collect();
        assert!(scopes.contains(&"operator.admin".to_owned()));
    }
}

#[test]
fn what_the_gateways_can_do_follows_from_hello_and_replies() {
    for (lines, protocol) in [(protocol_3(), 3), (protocol_4(), 4)] {
        let hello = hellos(&lines).remove(0);
        let mut capabilities = Capabilities::from_hello(&hello);
        assert_eq!(capabilities.protocol(), Some(protocol));
        assert_eq!(capabilities.support(Method::Health), Support::Yes);
        let ping = replies(&lines).into_iter().filter_map(|(_, r)| r.outcome.err()).find(WireError::is_unknown_method);
        assert!(capabilities.learn("ping", &ping.unwrap()));
        assert_eq!(capabilities.heartbeat(), gatewarden_protocol::capabilities::Heartbeat::WebSocketPing);
    }
}

#[test]
fn session_lists_of_both_protocols_are_read() {
    let rules = |running_may_stick| RowRules { running_may_stick, now_ms: 1_795_253_723_506 };
    let older = results(&protocol_3(), "sessions.list");
    let first = read_sessions(&older[0], rules(true)).unwrap();
    assert_eq!((first.rows.len(), first.total, first.next_offset), (2, None, None));
    assert_eq!(first.rows[0].key, "agent:main:dashboard:UUID_3");
    assert_eq!((first.rows[0].agent.as_deref(), first.rows[0].model.as_deref()), (Some("main"), Some("m1")));
    assert_eq!((first.rows[0].status, first.rows[0].total_tokens), (None, None), "it never ran");
    assert_eq!(first.rows[0].context_tokens, Some(32_000));
    let aborted = &read_sessions(&older[1], rules(true)).unwrap().rows[0];
    assert_eq!(aborted.status, Some(SessionStatus::Active), "just aborted, and nothing in the row says so");
    let later = RowRules { running_may_stick: true, now_ms: 1_795_253_723_506 + 3_600_000 };
    assert_eq!(read_sessions(&older[1], later).unwrap().rows[0].status, Some(SessionStatus::Completed));

    let newer = results(&protocol_4(), "sessions.list");
    let first = read_sessions(&newer[0], rules(false)).unwrap();
    assert_eq!((first.rows.len(), first.total, first.next_offset), (1, Some(16), Some(2)), "the other row was cut");
    let killed = &first.rows[0];
    assert_eq!((killed.key.as_str(), killed.status), ("agent:main:zlow3", Some(SessionStatus::Completed)));
    assert_eq!((killed.kind.as_deref(), killed.updated_at_ms), (Some("direct"), Some(1_795_253_254_408)));
}

#[test]
fn session_events_lead_from_created_to_done_to_deleted() {
    let rules = |running_may_stick| RowRules { running_may_stick, now_ms: 1_795_253_718_000 };
    for (lines, may_stick) in [(protocol_3(), true), (protocol_4(), false)] {
        let mut table = SessionTable::default();
        let mut seen: Vec<Option<SessionStatus>> = Vec::new();
        let mut most_active = 0;
        let mut unspecified = 0;
        for (_, _, frame) in frames(&lines) {
            let Frame::Event(event) = frame else { continue };
            let Some(read) = read_sessions_event(&event, rules(may_stick)) else { continue };
            unspecified += usize::from(read == SessionsEvent::Unspecified);
            table.apply(read);
            let status = table.get("agent:main:frames1").map(|row| row.status);
            if let Some(status) = status.filter(|status| seen.last() != Some(status)) {
                seen.push(status);
            }
            most_active = most_active.max(table.active_count());
        }
        let done: Vec<SessionStatus> = seen.into_iter().flatten().collect();
        assert_eq!(done, [SessionStatus::Active, SessionStatus::Completed]);
        assert_eq!((most_active, table.active_count()), (1, 0), "the aborted run has ended too");
        assert!(table.get("agent:main:frames2").is_none(), "deleted");
        let row: &SessionRow = table.get("agent:main:frames1").unwrap();
        assert_eq!((row.total_tokens, row.model.as_deref()), (Some(1_100), Some("m1")));
        assert!(row.label.as_ref().unwrap().starts_with("Frames 17952537"));
        assert!((row.cost.unwrap() - 0.001_114).abs() < 1e-9);
        assert_eq!(unspecified, usize::from(!may_stick), "protocol 4 also tells of a deletion without its key");
    }
}

#[test]
fn agents_and_configurations_are_read() {
    let older = read_agents(&results(&protocol_3(), "agents.list")[0]).unwrap();
    assert_eq!(older.iter().map(|agent| agent.id.as_str()).collect::<Vec<_>>(), ["main"]);
    assert!(older[0].is_default);
    let newer = read_agents(&results(&protocol_4(), "agents.list")[0]).unwrap();
    assert_eq!(
        newer.iter().map(|agent| (agent.id.as_str(), agent.is_default)).collect::<Vec<_>>(),
        [("main", true), ("y", false)]
    );
    assert_eq!((newer[1].name.as_deref(), newer[1].model.as_deref()), (Some("y"), Some("mock/m1")));
    let config = read_config_agents(&results(&protocol_3(), "config.get")[0]).unwrap();
    assert!(config.iter().any(|agent| agent.id == "main"));
}

#[test]
fn a_stop_is_announced_by_an_event_and_a_close_for_restart() {
    for lines in [protocol_3(), protocol_4()] {
        assert_eq!(events(&lines, "shutdown").len(), 1);
        let close = &lines.last().unwrap().frame["ws_close"];
        let refusal = classify_close(Some(1012), close["reason"].as_str().unwrap(), true);
        assert_eq!((close["code"].as_u64(), refusal.class), (Some(1012), RefusalClass::Restarting));
    }
}

#[test]
fn broadcasts_are_counted_and_events_to_one_client_on_protocol_3_are_not() {
    assert!(events(&protocol_3(), "sessions.changed").iter().all(|event| event.seq.is_none()));
    assert!(events(&protocol_4(), "sessions.changed").iter().any(|event| event.seq.is_some()));
    for lines in [protocol_3(), protocol_4()] {
        assert!(events(&lines, "agent").iter().all(|event| event.seq.is_some()));
    }
}
