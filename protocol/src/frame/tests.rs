use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Frame, FrameError> {
    Frame::parse(text.as_bytes())
}

fn reply(text: &str) -> Response {
    match parse(text) {
        Ok(Frame::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_carries_its_outcome_under_payload_or_under_result() {
    let real = reply(r#"{"type":"res","id":"r1","ok":true,"payload":{"a":1}}"#);
    let documented = reply(r#"{"type":"res","id":"r1","ok":true,"result":{"a":1}}"#);
    let rpc = reply(r#"{"id":"r1","result":{"a":1}}"#);
    assert_eq!(real, documented);
    assert_eq!(real, rpc);
    assert_eq!(real.outcome, Ok(json_of(r#"{"a":1}"#)));
}

#[test]
fn a_reply_without_a_payload_is_a_success_with_nothing() {
    assert_eq!(reply(r#"{"type":"res","id":"ping-1","ok":true}"#).outcome, Ok(Value::Null));
}

#[test]
fn an_id_that_is_a_number_is_read_as_its_digits_and_a_missing_one_as_empty() {
    assert_eq!(reply(r#"{"id":7,"result":null}"#).id, "7");
    assert_eq!(reply(r#"{"id":null,"error":{"code":-32600,"message":"x"}}"#).id, "");
    assert_eq!(reply(r#"{"ok":true}"#).id, "");
}

#[test]
fn an_error_is_read_from_an_object_a_sentence_or_nothing() {
    let full = reply(
        r#"{"type":"res","id":"1","ok":false,"error":{"code":"UNAVAILABLE","message":"gateway starting; retry shortly",
            "details":{"reason":"startup-sidecars"},"retryable":true,"retryAfterMs":500}}"#,
    )
    .outcome
    .unwrap_err();
    assert_eq!((full.code.as_str(), full.retryable, full.retry_after_ms), ("UNAVAILABLE", Some(true), Some(500)));
    assert_eq!(full.details["reason"], "startup-sidecars");
    let bare = reply(r#"{"id":"1","error":"origin not allowed"}"#).outcome.unwrap_err();
    assert_eq!((bare.code.as_str(), bare.message.as_str()), ("", "origin not allowed"));
    let numbered = reply(r#"{"id":"1","error":{"code":-32601,"message":"Method not found"}}"#).outcome.unwrap_err();
    assert!(numbered.code == "-32601" && numbered.is_unknown_method());
    assert_eq!(reply(r#"{"type":"res","id":"1","ok":false}"#).outcome, Err(WireError::default()));
}

#[test]
fn an_event_carries_payload_or_data_and_perhaps_a_count() {
    let tick = parse(r#"{"type":"event","event":"tick","payload":{"ts":5},"seq":3}"#).unwrap();
    assert_eq!(tick, Frame::Event(Event { name: "tick".into(), payload: json_of(r#"{"ts":5}"#), seq: Some(3) }));
    let text = parse(r#"{"event":"agent.text","data":{"delta":"x"}}"#).unwrap();
    assert_eq!(
        text,
        Frame::Event(Event { name: "agent.text".into(), payload: json_of(r#"{"delta":"x"}"#), seq: None })
    );
}

#[test]
fn words_that_this_version_does_not_know_change_nothing() {
    let known = parse(r#"{"type":"event","event":"tick","payload":{"ts":5}}"#).unwrap();
    let newer = parse(r#"{"type":"event.v9","event":"tick","payload":{"ts":5},"traceparent":"00","x":[{}]}"#).unwrap();
    assert_eq!(known, newer);
    assert_eq!(reply(r#"{"type":"reply","id":"1","ok":true,"payload":1}"#).outcome, Ok(json_of("1")));
}

#[test]
fn what_is_no_frame_is_an_error_that_says_so() {
    for text in ["[]", "1", "\"req\"", "null", "{}", r#"{"type":"req"}"#, r#"{"type":"event"}"#, r#"{"event":5}"#] {
        assert_eq!(parse(text), Err(FrameError::NotAFrame), "{text}");
    }
    for bytes in [&b""[..], b"hello", b"{\"type\":", b"\xff\xfe", b"{}{}"] {
        assert!(matches!(Frame::parse(bytes), Err(FrameError::NotJson(_))), "{bytes:?}");
    }
}

#[test]
fn deep_nesting_is_refused_instead_of_exhausting_the_stack() {
    let deep = format!(r#"{{"event":"x","data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(parse(&deep), Err(FrameError::NotJson(_))));
}

#[test]
fn a_frame_whose_values_take_too_much_memory_is_refused() {
    let many = format!(r#"{{"event":"x","data":[{}0]}}"#, "0,".repeat(2_000_000));
    assert_eq!(parse(&many), Err(FrameError::TooMuch(Excess::Own)));
    let text = format!(r#"{{"event":"log","data":"{}"}}"#, ",:[{\\\"".repeat(600_000));
    assert!(parse(&text).is_ok(), "separators within a string are no values");
    let longest = format!(r#"{{"event":"log","data":"{}"}}"#, "x".repeat(26 * 1024 * 1024));
    assert!(parse(&longest).is_ok(), "a text as long as the longest frame");
}

#[test]
fn the_payload_of_a_success_is_at_hand_as_text() {
    let success =
        |text: &str| FrameText::read(text.as_bytes()).unwrap().success().map(|(id, raw)| (id, raw.get().to_owned()));
    let list = r#"{"type":"res","id":"gw1-3","ok":true,"payload":{"sessions":[]}}"#;
    assert_eq!(success(list), Some(("gw1-3".to_owned(), r#"{"sessions":[]}"#.to_owned())));
    assert_eq!(success(r#"{"id":7,"result":[1]}"#), Some(("7".to_owned(), "[1]".to_owned())));
    for other in [
        r#"{"type":"res","id":"1","ok":false,"payload":[]}"#,
        r#"{"id":"1","result":[],"error":{}}"#,
        r#"{"type":"event","event":"tick","id":"1","payload":[]}"#,
        r#"{"type":"res","ok":true,"payload":[]}"#,
    ] {
        assert_eq!(success(other), None, "{other}");
    }
}

#[test]
fn of_a_field_that_comes_twice_the_last_one_counts() {
    let Ok(Frame::Event(event)) = parse(r#"{"event":"a","event":"b","data":1,"data":2}"#) else { panic!("an event") };
    assert_eq!((event.name.as_str(), event.payload), ("b", json_of("2")));
}

#[test]
fn a_request_is_written_in_the_form_of_its_dialect() {
    let params = json_of(r#"{"key":"a\"b"}"#);
    assert_eq!(
        encode_request(Dialect::Openclaw, "r\"1", "sessions.abort", &params),
        r#"{"type":"req","id":"r\"1","method":"sessions.abort","params":{"key":"a\"b"}}"#
    );
    assert_eq!(
        encode_request(Dialect::Rpc, "1", "gateway.info", &Value::Null),
        r#"{"id":"1","method":"gateway.info","params":{}}"#
    );
}

#[test]
fn a_missing_scope_is_read_from_details_or_from_the_message() {
    let error = |text: &str| WireError::from_value(json_of(text));
    let newer = error(r#"{"code":"FORBIDDEN","message":"m","details":{"missingScope":"operator.read"}}"#);
    assert_eq!(newer.missing_scope().as_deref(), Some("operator.read"));
    let older = error(r#"{"code":"INVALID_REQUEST","message":"missing scope: operator.admin"}"#);
    assert_eq!(older.missing_scope().as_deref(), Some("operator.admin"));
    assert_eq!(error(r#"{"message":"unknown method: ping"}"#).missing_scope(), None);
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// JSON of any shape, with the field names that frames use more often than chance would.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        prop_oneof![Just("req"), Just("res"), Just("event"), Just("tick"), Just("running")].prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let name = prop_oneof![
            Just("type"),
            Just("id"),
            Just("ok"),
            Just("payload"),
            Just("result"),
            Just("error"),
            Just("event"),
            Just("data"),
            Just("method"),
            Just("code"),
            Just("details"),
            Just("sessions"),
            Just("session"),
            Just("key"),
            Just("agents"),
            Just("entries"),
            Just("features"),
            Just("auth"),
            Just("snapshot"),
            Just("nonce"),
        ]
        .prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(prop_oneof![name, ".{0,6}"], inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Frame::parse(&bytes);
    }

    #[test]
    fn arbitrary_json_is_read_by_every_reader_without_a_panic(value in any_json()) {
        let rules = crate::RowRules { running_may_stick: true, now_ms: 1_795_253_714_441 };
        if let Ok(Frame::Event(event)) = Frame::parse(value.to_string().as_bytes()) {
            let mut table = crate::SessionTable::default();
            if let Some(event) = crate::read_sessions_event(&event, rules) {
                table.apply(event);
            }
        }
        let error = WireError::from_value(value.clone());
        let refusal = crate::classify_error(&error);
        prop_assert!(refusal.words.chars().count() <= crate::limits::MAX_WORDS);
        let hello = crate::Hello::read_connect(&value);
        let _ = crate::Capabilities::from_hello(&hello);
        let _ = crate::Hello::read_rpc(&value);
        let _ = crate::read_sessions(&value, rules);
        let _ = crate::read_agents(&value);
        let _ = crate::read_config_agents(&value);
        let _ = crate::HealthDocument::read(None, value.to_string().as_bytes());
    }

    #[test]
    fn a_request_that_is_written_is_read_back(id in ".{0,20}", method in ".{0,20}", params in any_json()) {
        for dialect in [Dialect::Openclaw, Dialect::Rpc] {
            let text = encode_request(dialect, &id, &method, &params);
            let written = if params.is_null() { json_of("{}") } else { params.clone() };
            let read = Frame::parse(text.as_bytes());
            prop_assert_eq!(read, Ok(Frame::Request { id: Some(id.clone()), method: method.clone(), params: written }));
        }
    }
}
