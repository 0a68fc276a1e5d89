use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Lines that real releases wrote: 2026.9.6 (the first two), 2026.3.24 (the others). Only paths and names were changed.
const REAL: [(&str, &str); 6] = [
    (
        r#"{"0":"{\"subsystem\":\"gateway\"}","1":"http server listening (14 plugins: anthropic, browser; 4.3s)","_meta":{"runtime":"node","runtimeVersion":"24.21.0","hostname":"host","date":"2026-11-21T14:54:33.929Z","logLevelId":3,"logLevelName":"INFO","name":"{\"subsystem\":\"gateway\"}","parentNames":["openclaw"]},"time":"2026-11-21T14:54:33.929+00:00","hostname":"host","message":"http server listening (14 plugins: anthropic, browser; 4.3s)"}"#,
        r#"{"timestamp":1795272873929,"level":"info","source":"gateway","message":"http server listening (14 plugins: anthropic, browser; 4.3s)"}"#,
    ),
    (
        r#"{"0":"{\"module\":\"cron\",\"storeKey\":\"jobs.json\"}","1":{"jobId":"437ddb1c","timerArmed":true,"cronEnabled":true},"2":"cron: job added","_meta":{"runtime":"node","hostname":"host","date":"2026-11-21T14:54:35.854Z","logLevelId":3,"logLevelName":"INFO","name":"{\"module\":\"cron\",\"storeKey\":\"jobs.json\"}","parentNames":["openclaw"],"path":{"fileName":"logger.mjs","fileLine":"892","method":"Object.info"}},"time":"2026-11-21T14:54:35.854+00:00","hostname":"host","message":"cron: job added"}"#,
        r#"{"timestamp":1795272875854,"level":"info","source":"cron","message":"cron: job added","extra":{"cronEnabled":true,"jobId":"437ddb1c","timerArmed":true}}"#,
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":{"handshake":"pending","durationMs":1},"2":"closed before connect conn=ebcbc53c code=1006 reason=n/a","_meta":{"runtime":"node","hostname":"unknown","name":"{\"subsystem\":\"gateway/ws\"}","parentNames":["openclaw"],"date":"2026-11-21T09:35:14.516Z","logLevelId":4,"logLevelName":"WARN","path":{"fileLine":"19772","method":"logToFile"}},"time":"2026-11-21T09:35:14.516+00:00"}"#,
        r#"{"timestamp":1795253714516,"level":"warn","source":"gateway/ws","message":"closed before connect conn=ebcbc53c code=1006 reason=n/a","extra":{"durationMs":1,"handshake":"pending"}}"#,
    ),
    (
        r#"{"0":"Embedded agent failed before reply: No API key found for provider \"anthropic\".","_meta":{"runtime":"node","hostname":"unknown","name":"openclaw","date":"2026-11-21T09:40:00.000Z","logLevelId":5,"logLevelName":"ERROR"},"time":"2026-11-21T09:40:00.000+00:00"}"#,
        r#"{"timestamp":1795254000000,"level":"error","source":null,"message":"Embedded agent failed before reply: No API key found for provider \"anthropic\"."}"#,
    ),
    (
        r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":"⇄ res ✗ ping 0ms errorCode=INVALID_REQUEST errorMessage=unknown method: ping conn=b4e49841…72fc id=r12","_meta":{"runtime":"node","hostname":"unknown","name":"{\"subsystem\":\"gateway/ws\"}","date":"2026-11-21T09:35:14.516Z","logLevelName":"INFO"},"time":"2026-11-21T09:35:14.516+00:00"}"#,
        r#"{"timestamp":1795253714516,"level":"info","source":"gateway/ws","message":"⇄ res ✗ ping 0ms errorCode=INVALID_REQUEST errorMessage=unknown method: ping conn=b4e49841…72fc id=r12"}"#,
    ),
    (
        r#"{"0":"{\"subsystem\":\"session-sqlite\"}","1":"slow SQLite session write","2":{"sessionKey":"agent:main:main","elapsedMs":1990},"3":{"pid":26098},"_meta":{"logLevelName":"WARN"},"time":"2026-11-21T10:35:14.5+01:00"}"#,
        r#"{"timestamp":1795253714500,"level":"warn","source":"session-sqlite","session":"agent:main:main","message":"slow SQLite session write","extra":[{"elapsedMs":1990,"sessionKey":"agent:main:main"},{"pid":26098}]}"#,
    ),
];

#[test]
fn lines_of_real_releases_are_taken_apart() {
    for (line, wanted) in REAL {
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(serde_json::to_value(read_log_line(line)).unwrap(), wanted, "{line}");
    }
}

#[test]
fn the_documented_event_is_taken_as_it_is() {
    let entry =
        read_log_event(&json!({"id": "log-123", "timestamp": 1709582400000_i64, "level": "info", "source": "agent1",
        "session": "agent1:chat", "message": "Task completed successfully", "extra": {"task_id": 456}}));
    assert_eq!(
        serde_json::to_value(entry).unwrap(),
        json!({"timestamp": 1709582400000_i64, "level": "info", "source": "agent1", "session": "agent1:chat",
               "message": "Task completed successfully", "extra": {"task_id": 456}})
    );
}

#[test]
fn an_event_may_say_less_and_one_without_words_is_none() {
    let entry =
        read_log_event(&json!({"message": "up", "timestamp": "2026-11-21T14:54:33.929Z", "extra": null})).unwrap();
    assert_eq!((entry.timestamp, entry.level, entry.extra), (Some(1_795_272_873_929), None, None));
    assert_eq!(read_log_event(&json!("just text")).unwrap().message, "just text");
    assert_eq!(read_log_event(&json!({"message": {"a": 1}})).unwrap().message, r#"{"a":1}"#);
    for payload in [json!({"level": "info"}), json!(null), json!(7), json!([])] {
        assert_eq!(read_log_event(&payload), None, "{payload}");
    }
}

#[test]
fn a_line_that_is_no_record_is_shown_as_it_is() {
    for line in ["starting up", "[1]", "{\"a\":", "{\"other\":1}", "7"] {
        assert_eq!(read_log_line(line), LogEntry::plain(line));
        assert_eq!(read_log_line(line).message, line);
    }
}

#[test]
fn levels_of_all_loggers_are_known_and_others_are_none() {
    for (name, level) in [
        ("FATAL", LogLevel::Fatal),
        ("Error", LogLevel::Error),
        ("warning", LogLevel::Warn),
        ("INFO", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("SILLY", LogLevel::Trace),
    ] {
        assert_eq!(LogLevel::from_name(name), Some(level));
    }
    assert_eq!(LogLevel::from_name("loud"), None);
    assert_eq!(LogLevel::ALL.map(|level| LogLevel::from_name(level.as_str())), LogLevel::ALL.map(Some));
}

#[test]
fn graver_levels_pass_and_quieter_ones_do_not() {
    let with = |level| LogEntry { level, ..LogEntry::plain("x") };
    assert!(with(Some(LogLevel::Error)).is_at_least(LogLevel::Warn));
    assert!(with(Some(LogLevel::Warn)).is_at_least(LogLevel::Warn));
    assert!(!with(Some(LogLevel::Info)).is_at_least(LogLevel::Warn));
    assert!(with(None).is_at_least(LogLevel::Fatal), "one that doesn't say its level is worth seeing");
}

#[test]
fn messages_keep_their_lines_and_lose_what_a_terminal_would_obey() {
    let entry = read_log_line("{\"0\":\"\\u001b[31mred\\u001b[0m\\n\\tat line 2\\u0007\\u202e \\n\"}");
    assert_eq!(entry.message, "red\n\tat line 2");
}

#[test]
fn long_messages_are_cut_and_large_values_left_out() {
    let entry = read_log_line(&json!({"0": "ä".repeat(9_000), "1": {"blob": "x".repeat(9_000)}}).to_string());
    assert_eq!(entry.message.chars().count(), MAX_LOG_MESSAGE + 1);
    assert!(entry.message.ends_with('…'));
    assert_eq!(entry.extra, Some(json!({"left_out_bytes": 9_011})));
}

#[test]
fn a_tail_is_read_with_its_cursor_and_without_empty_lines() {
    let tail = read_log_tail(
        json!({"file": "openclaw-2026-11-21.log", "cursor": 77, "size": 77, "lines": ["a", "", 7, " ", "b"],
        "truncated": true, "reset": false}),
    );
    let wanted = LogTail {
        file: Some("openclaw-2026-11-21.log".to_owned()),
        cursor: 77,
        lines: vec!["a".to_owned(), "b".to_owned()],
        truncated: true,
        reset: false,
    };
    assert_eq!(tail, Some(wanted));
}

#[test]
fn a_reply_without_cursor_or_lines_is_no_tail() {
    for payload in
        [json!({}), json!({"cursor": 1}), json!({"lines": []}), json!({"cursor": -1, "lines": []}), json!(null)]
    {
        assert_eq!(read_log_tail(payload.clone()), None, "{payload}");
    }
}

#[test]
fn of_too_many_lines_the_newest_are_kept() {
    let lines: Vec<String> = (0..MAX_LOG_LINES + 3).map(|n| n.to_string()).collect();
    let tail = read_log_tail(json!({"cursor": 1, "lines": lines})).unwrap();
    assert_eq!((tail.lines.len(), tail.lines[0].as_str(), tail.truncated), (MAX_LOG_LINES, "3", true));
}

#[test]
fn of_lines_too_long_together_the_newest_are_kept() {
    let lines: Vec<String> = (0..100).map(|n| format!("{n:0>50000}")).collect();
    let tail = read_log_tail(json!({"cursor": 1, "lines": lines})).unwrap();
    assert!(tail.truncated && tail.lines.iter().map(|line| line_bytes(line)).sum::<usize>() <= MAX_LOG_LINES_BYTES);
    assert_eq!(tail.lines.last(), lines.last());
    assert!(tail.lines.len() > 20, "{}", tail.lines.len());
}

#[test]
fn a_short_line_of_large_values_is_kept_as_a_text() {
    let nested = format!("{}0{}", r#"{"":"#.repeat(60), "}".repeat(60));
    let entry = read_log_line(&format!(r#"{{"0":"text","1":{nested}}}"#));
    assert_eq!((entry.message.as_str(), entry.extra), ("text", Some(json!({"left_out_bytes": 301}))));
    let line = format!(r#"{{"0":"text","1":[{nested},{nested}]}}"#);
    assert_eq!(read_log_line(&line).message, line, "too large to be read");
}

proptest! {
    #[test]
    fn any_line_gives_a_bounded_entry_fit_to_be_shown(line in "\\PC{0,200}|\\{\"0\":\".{0,80}\",\"_meta\":\\{\"date\":\".{0,30}\"\\}\\}|.{0,200}") {
        let entry = read_log_line(&line);
        prop_assert!(entry.message.chars().count() <= MAX_LOG_MESSAGE + 1);
        prop_assert!(!entry.message.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        prop_assert!(entry.extra.as_ref().map_or(0, held_bytes) <= MAX_LOG_EXTRA_BYTES);
    }
}
