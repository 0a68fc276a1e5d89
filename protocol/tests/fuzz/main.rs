//! What gateways and operators write, changed by chance: nothing of it may end the program, take unbounded memory, or come out
//! unfit to be shown. See `fuzzing.rs` for how to run more of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and says what it saw"
)]

mod fuzzing;

use std::sync::Arc;

use gatewarden_protocol::decoding::{Allowance, decode, held_bytes};
use gatewarden_protocol::frame::FrameText;
use gatewarden_protocol::limits::{
    MAX_AGENTS_BYTES, MAX_LOG_EXTRA_BYTES, MAX_LOG_LINES_BYTES, MAX_LOG_MESSAGE, MAX_SESSIONS_BYTES, MAX_WORDS,
};
use gatewarden_protocol::{
    AddressError, DeviceIdentity, Dialect, Event, Frame, GatewayAddress, Handshake, HandshakeConfig, HealthDocument,
    HealthSnapshot, Hello, LogEntry, Refusal, Response, RowRules, Secret, SessionTable, Step, classify_close,
    classify_error, classify_http_reply, classify_upgrade, encode_request, read_agents, read_config_agents,
    read_log_event, read_log_line, read_log_tail, read_sessions, read_sessions_event,
};
use serde_json::{Value, json};

use crate::fuzzing::fuzz;

/// Frames of real releases, both ways.
fn frames() -> Vec<Vec<u8>> {
    [include_str!("../golden/frames-p3.jsonl"), include_str!("../golden/frames-p4.jsonl")]
        .iter()
        .flat_map(|file| file.lines())
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["frame"].to_string().into_bytes())
        .collect()
}

fn lines(file: &str) -> Vec<Vec<u8>> {
    file.lines().filter(|line| !line.is_empty()).map(|line| line.as_bytes().to_vec()).collect()
}

fn is_fit(text: &str) -> bool {
    !text.chars().any(|letter| (letter.is_control() && !matches!(letter, '\n' | '\t')) || letter == '\u{202e}')
}

fn check_refusal(refusal: &Refusal) {
    assert!(refusal.words.chars().count() <= MAX_WORDS && is_fit(&refusal.words), "{refusal:?}");
    let command = refusal.pairing.as_ref().and_then(gatewarden_protocol::Pairing::command);
    assert!(command.is_none_or(|command| !command.contains(['$', '`', ';', '|', '&', '\n', '\'', '"'])));
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(map) => map.values().any(has_fraction),
        _ => false,
    }
}

#[test]
fn any_frame_is_read_within_its_memory_and_written_reads_the_same() {
    let small = 64 * 1024;
    fuzz("frames", &frames(), |text, _| {
        if let Ok(Frame::Event(Event { payload, .. })) =
            FrameText::read(text).and_then(|text| text.decode(&mut Allowance(small)))
        {
            assert!(held_bytes(&payload) <= small);
        }
        let Ok(frame) = Frame::parse(text) else { return };
        if serde_json::from_slice(text).is_ok_and(|value| has_fraction(&value)) {
            // The last digit of a fraction may be another when it is read again: nothing here counts that exactly.
            return;
        }
        let written = match &frame {
            Frame::Request { id: Some(id), method, params } => {
                let read = Frame::parse(encode_request(Dialect::Openclaw, id, method, params).as_bytes());
                let params = if params.is_null() { json!({}) } else { params.clone() };
                let asked = Frame::Request { id: Some(id.clone()), method: method.clone(), params };
                return assert_eq!(read, Ok(asked));
            }
            Frame::Request { .. } => return,
            Frame::Response(Response { id, outcome: Ok(payload) }) => {
                json!({"type": "res", "id": id, "ok": true, "payload": payload})
            }
            Frame::Response(Response { outcome: Err(error), .. }) => return check_refusal(&classify_error(error)),
            Frame::Event(Event { name, payload, seq }) => {
                json!({"type": "event", "event": name, "payload": payload, "seq": seq})
            }
        };
        assert_eq!(Frame::parse(written.to_string().as_bytes()), Ok(frame));
    });
}

#[test]
fn any_words_in_a_handshake_end_in_a_hello_or_a_refusal_that_can_be_shown() {
    let identity = Arc::new(DeviceIdentity::from_seed(&[7; 32]));
    let logins: Vec<Vec<u8>> = frames().into_iter().filter(|frame| frame.len() < 20_000).collect();
    fuzz("handshake", &logins, |text, dice| {
        let mut config = HandshakeConfig::with_device(Arc::clone(&identity), "0.1.0", "run");
        if dice.below(50) > 0 {
            // Signing takes longer than all the rest.
            config = HandshakeConfig::control_ui("short", "0.1.0", "run", None);
        }
        config.shared_token = Some(Secret::new("sh4red-s3cret"));
        let mut handshake = Handshake::new(config);
        let challenge = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
        let mut steps = Vec::new();
        match dice.below(3) {
            0 => steps.push(handshake.on_frame(&Frame::parse(challenge.as_bytes()).unwrap(), 1)),
            1 => steps.push(handshake.on_challenge_timeout()),
            _ => {}
        }
        let frames = text.split(|byte| *byte == b'\n').filter_map(|line| Frame::parse(line).ok());
        for mut frame in frames {
            if let Frame::Response(response) = &mut frame {
                response.id = "connect".to_owned();
            }
            steps.push(handshake.on_frame(&frame, 1));
        }
        let reason = String::from_utf8_lossy(text);
        steps.push(handshake.on_close(Some(1000 + dice.below(20) as u16), &reason));
        steps.push(handshake.on_deadline());
        let mut is_over = false;
        for step in steps {
            match step {
                Step::Wait => {}
                Step::Send(text) => assert!(!is_over && Frame::parse(text.as_bytes()).is_ok(), "{text}"),
                Step::Ready(hello) => {
                    assert!(!is_over);
                    is_over = true;
                    let _ = (hello.calendar_version(), hello.missing_scope());
                }
                Step::Refused(refusal) => {
                    assert!(!is_over);
                    is_over = true;
                    check_refusal(&refusal);
                }
            }
        }
        assert!(is_over, "a handshake without an end");
    });
}

#[test]
fn whatever_a_gateway_reports_is_bounded() {
    fuzz("reports", &frames(), |text, _| {
        let Ok(frame) = Frame::parse(text) else { return };
        let rules = RowRules { running_may_stick: true, now_ms: 1_795_253_714_000 };
        let payload = match &frame {
            Frame::Event(event) => {
                if let Some(told) = read_sessions_event(event, rules) {
                    let mut table = SessionTable::default();
                    table.apply(told);
                    assert!(table.held_bytes() <= MAX_SESSIONS_BYTES, "{}", table.held_bytes());
                }
                event.payload.clone()
            }
            Frame::Response(Response { outcome: Ok(payload), .. }) => payload.clone(),
            _ => return,
        };
        if let Some(page) = read_sessions(&payload, rules) {
            assert!(
                page.rows.iter().map(gatewarden_protocol::SessionRow::held_bytes).sum::<usize>() <= MAX_SESSIONS_BYTES
            );
            let again = read_sessions(&mut serde_json::Deserializer::from_str(&payload.to_string()), rules);
            assert_eq!(again, Some(page), "text and value read alike");
        }
        for agents in [read_agents(&payload), read_config_agents(&payload)].into_iter().flatten() {
            assert!(agents.iter().map(gatewarden_protocol::AgentRow::held_bytes).sum::<usize>() <= MAX_AGENTS_BYTES);
        }
        let _ = (HealthSnapshot::read(&payload), Hello::read_connect(&payload), Hello::read_rpc(&payload));
        if let Some(tail) = read_log_tail(payload.clone()) {
            let bytes: usize = tail.lines.iter().map(|line| gatewarden_protocol::logs::line_bytes(line)).sum();
            assert!(bytes <= MAX_LOG_LINES_BYTES);
            tail.lines.iter().for_each(|line| check_entry(&read_log_line(line)));
        }
        if let Some(entry) = read_log_event(&payload) {
            check_entry(&entry);
        }
    });
}

fn check_entry(entry: &LogEntry) {
    assert!(entry.message.chars().count() <= MAX_LOG_MESSAGE + 1 && is_fit(&entry.message), "{entry:?}");
    let source = entry.source.as_deref().unwrap_or_default();
    assert!(source.chars().count() <= MAX_WORDS && is_fit(source), "{entry:?}");
    assert!(entry.extra.as_ref().is_none_or(|extra| held_bytes(extra) <= MAX_LOG_EXTRA_BYTES));
}

#[test]
fn any_log_line_is_an_entry_that_can_be_shown() {
    fuzz("log lines", &lines(include_str!("corpus/log-lines.txt")), |text, _| {
        let text = String::from_utf8_lossy(text);
        check_entry(&read_log_line(&text));
        if let Ok(payload) = decode(text.as_bytes(), &mut Allowance(1 << 20)) {
            read_log_event(&payload).iter().for_each(check_entry);
        }
    });
}

#[test]
fn any_http_answer_is_a_health_document_or_a_refusal_that_can_be_shown() {
    fuzz("HTTP answers", &lines(include_str!("corpus/http-answers.txt")), |text, dice| {
        let types = [None, Some("application/json"), Some("text/html"), Some("application/x+json; charset=utf-8")];
        if let Some(document) = HealthDocument::read(types[dice.below(types.len())], text) {
            let version = document.version.unwrap_or_default();
            assert!(version.chars().count() <= MAX_WORDS && is_fit(&version));
        }
        let status = [101, 200, 301, 400, 401, 403, 404, 426, 429, 500, 502, 503][dice.below(12)];
        let seconds = [None, Some(0), Some(u64::MAX)][dice.below(3)];
        let location = std::str::from_utf8(text).ok();
        match classify_upgrade(status, location, seconds, text) {
            gatewarden_protocol::UpgradeAnswer::TryHttp(refusal)
            | gatewarden_protocol::UpgradeAnswer::Refused(refusal) => {
                check_refusal(&refusal);
            }
        }
        check_refusal(&classify_http_reply(status, seconds, text, dice.below(2) == 0));
        check_refusal(&classify_close(Some(1000 + status), &String::from_utf8_lossy(text), false));
    });
}

#[test]
fn any_address_is_refused_or_means_the_same_when_read_again() {
    fuzz("addresses", &lines(include_str!("corpus/addresses.txt")), |text, dice| {
        let port = [None, Some(0), Some(1), Some(18_789), Some(65_535)][dice.below(5)];
        let text = String::from_utf8_lossy(text);
        match GatewayAddress::parse(&text, port) {
            Ok(read) => {
                assert_eq!(
                    GatewayAddress::parse(&read.host_text, Some(read.port())).map(|again| again.address),
                    Ok(read.address.clone())
                );
                let key = read.address.key();
                // What is only just short enough is too long once it is written out.
                let again = GatewayAddress::parse(&key, None).map(|again| again.address.key());
                assert!(again == Ok(key) || again == Err(AddressError::TooLong), "{again:?}");
                assert!(!read.host_text.contains('?'), "a query, and the token in it, is stored");
            }
            Err(error) => assert!(text.len() < 12 || !error.to_string().contains(&*text), "an error repeats its input"),
        }
    });
}
