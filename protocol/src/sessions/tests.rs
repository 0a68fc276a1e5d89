use serde_json::json;

use super::*;
use crate::frame::Event;

const NOW: i64 = 1_795_253_714_000;

fn rules(running_may_stick: bool) -> RowRules {
    RowRules { running_may_stick, now_ms: NOW }
}

fn row(value: Value) -> SessionRow {
    SessionRow::read(&value, rules(false)).unwrap()
}

fn status_of(value: Value) -> Option<SessionStatus> {
    row(value).status
}

fn event(name: &str, payload: Value) -> Option<SessionsEvent> {
    read_sessions_event(&Event { name: name.to_owned(), payload, seq: None }, rules(true))
}

#[test]
fn a_row_of_document_002_is_read_whole() {
    let row = row(json!({"key": "agent1:chat", "kind": "chat", "model": "claude-sonnet-4", "totalTokens": 5432,
        "contextTokens": 35000, "messageCount": 12, "cost": 0.42, "updatedAt": 1_709_582_400_000_i64, "active": true}));
    assert_eq!(
        row,
        SessionRow {
            key: "agent1:chat".into(),
            agent: Some("agent1".into()),
            model: Some("claude-sonnet-4".into()),
            status: Some(SessionStatus::Active),
            total_tokens: Some(5432),
            context_tokens: Some(35_000),
            updated_at_ms: Some(1_709_582_400_000),
            kind: Some("chat".into()),
            message_count: Some(12),
            cost: Some(0.42),
            ..SessionRow::default()
        }
    );
}

#[test]
fn a_row_without_a_status_has_none_whatever_else_it_tells() {
    let oldest = json!({"key": "agent:main:x", "inputTokens": 1100, "totalTokens": 1100, "modelProvider": "mock", "model": "m1"});
    assert_eq!(status_of(oldest), None);
}

#[test]
fn an_active_run_counts_more_than_the_text_of_the_status() {
    let of = |status: &str, run: bool| status_of(json!({"key": "k", "status": status, "hasActiveRun": run}));
    assert_eq!(of("done", true), Some(SessionStatus::Active));
    assert_eq!(of("running", false), Some(SessionStatus::Completed));
    assert_eq!(of("killed", false), Some(SessionStatus::Completed));
    assert_eq!(status_of(json!({"key": "k", "hasActiveRun": false})), None, "it has never run");
}

#[test]
fn paused_and_ended_are_told_in_several_words() {
    assert_eq!(status_of(json!({"key": "k", "status": "paused", "active": true})), Some(SessionStatus::Paused));
    assert_eq!(status_of(json!({"key": "k", "paused": true})), Some(SessionStatus::Paused));
    for ended in ["done", "failed", "killed", "Completed"] {
        assert_eq!(status_of(json!({"key": "k", "status": ended})), Some(SessionStatus::Completed), "{ended}");
    }
    assert_eq!(status_of(json!({"key": "k", "active": false})), Some(SessionStatus::Completed));
    assert_eq!(status_of(json!({"key": "k", "status": "levitating"})), None);
}

#[test]
fn a_running_row_is_believed_for_a_while_where_rows_may_stick() {
    let of = |updated_at: i64, may_stick: bool| {
        SessionRow::read(
            &json!({"key": "k", "status": "running", "startedAt": 1_795_253_000_000_i64, "updatedAt": updated_at}),
            rules(may_stick),
        )
        .unwrap()
        .status
    };
    assert_eq!(of(NOW - RUNNING_BELIEVED_MS, true), Some(SessionStatus::Active));
    assert_eq!(of(NOW - RUNNING_BELIEVED_MS - 1, true), Some(SessionStatus::Completed));
    assert_eq!(of(NOW - 10 * RUNNING_BELIEVED_MS, false), Some(SessionStatus::Active));
    let ended = json!({"key": "k", "status": "running", "startedAt": NOW - 5, "endedAt": NOW - 4, "updatedAt": NOW});
    assert_eq!(SessionRow::read(&ended, rules(true)).unwrap().status, Some(SessionStatus::Completed));
    let restarted =
        json!({"key": "k", "status": "running", "startedAt": NOW - 4, "endedAt": NOW - 5, "updatedAt": NOW});
    assert_eq!(SessionRow::read(&restarted, rules(true)).unwrap().status, Some(SessionStatus::Active));
}

#[test]
fn the_agent_is_told_or_stands_in_the_key() {
    assert_eq!(row(json!({"key": "agent:main:telegram:default:u1"})).agent.as_deref(), Some("main"));
    assert_eq!(row(json!({"key": "researcher:main"})).agent.as_deref(), Some("researcher"));
    assert_eq!(row(json!({"key": "agent:main:x", "agentId": "other"})).agent.as_deref(), Some("other"));
    assert_eq!(row(json!({"key": "main"})).agent, None);
}

#[test]
fn absurd_values_are_left_out_and_bad_rows_are_dropped() {
    let odd =
        row(json!({"key": "k", "totalTokens": -5, "cost": -1, "updatedAt": "yesterday", "label": 7, "model": {}}));
    assert_eq!(odd, SessionRow { key: "k".into(), ..SessionRow::default() });
    for bad in [json!({}), json!({"key": ""}), json!({"key": 5}), json!({"key": "a\u{0}b"}), json!("k"), json!(null)] {
        assert_eq!(SessionRow::read(&bad, rules(false)), None, "{bad}");
    }
    assert_eq!(row(json!({"key": "k", "updatedAt": 1_709_582_400})).updated_at_ms, Some(1_709_582_400_000), "seconds");
}

#[test]
fn a_page_tells_where_the_next_one_begins() {
    let first = read_sessions(
        json!({"count": 1, "totalCount": 16, "nextOffset": 1, "hasMore": true, "sessions": [{"key": "a"}, {}]}),
        rules(false),
    )
    .unwrap();
    assert_eq!((first.rows.len(), first.total, first.next_offset), (1, Some(16), Some(1)));
    let last = read_sessions(json!({"nextOffset": 16, "hasMore": false, "sessions": []}), rules(false)).unwrap();
    assert_eq!(last.next_offset, None);
    let older = read_sessions(json!({"count": 1, "sessions": [{"key": "a"}]}), rules(false)).unwrap();
    assert_eq!((older.total, older.next_offset), (None, None), "count is that of the rows, not the total");
    assert_eq!(read_sessions(json!([{"key": "a"}]), rules(false)).unwrap().rows.len(), 1);
    assert_eq!(read_sessions(json!({"ts": 5}), rules(false)), None);
}

#[test]
fn a_list_is_read_from_text_as_from_a_value() {
    let document = json!({"x": {"y": [1]}, "sessions": [{"key": "a", "label": "\"é"}, {}, 5], "total": 2, "hasMore": true, "nextOffset": 2});
    let text = document.to_string();
    let from_text = read_sessions(&mut serde_json::Deserializer::from_str(&text), rules(false)).unwrap();
    assert_eq!(Some(from_text), read_sessions(&document, rules(false)));
}

#[test]
fn a_list_with_rows_of_long_names_is_read_as_far_as_its_bytes_reach() {
    let name = |n: usize| format!("{n:0>128}").replace('0', "\u{10400}");
    let row = |n: usize| json!({"key": format!("k{n}"), "agentId": name(n), "model": name(n), "kind": name(n), "runId": name(n)});
    let text = json!({"sessions": (0..10_000).map(row).collect::<Vec<_>>(), "total": 10_000}).to_string();
    let page = read_sessions(&mut serde_json::Deserializer::from_str(&text), rules(false)).unwrap();
    let held: usize = page.rows.iter().map(SessionRow::held_bytes).sum();
    assert!(held <= crate::limits::MAX_SESSIONS_BYTES, "{held}");
    assert!((1_000..10_000).contains(&page.rows.len()), "{}", page.rows.len());
    assert_eq!(page.total, Some(10_000), "what comes after the rows is read all the same");
}

#[test]
fn a_list_with_a_row_larger_than_any_real_one_is_none() {
    let text = format!(r#"{{"sessions":[{{"key":"a","x":[{}{{}}]}}]}}"#, r#"{"":0},"#.repeat(1_000));
    assert_eq!(read_sessions(&mut serde_json::Deserializer::from_str(&text), rules(false)), None);
}

#[test]
fn a_flat_change_is_partial_and_a_nested_one_is_whole() {
    match event("sessions.changed", json!({"sessionKey": "agent:main:a", "reason": "send", "ts": NOW, "model": "m1"})) {
        Some(SessionsEvent::Changed { row, whole: false }) => {
            assert_eq!((row.key.as_str(), row.model.as_deref(), row.status), ("agent:main:a", Some("m1"), None));
        }
        other => panic!("{other:?}"),
    }
    let nested = json!({"sessionKey": "agent:main:a", "phase": "start", "runId": "r",
        "session": {"key": "agent:main:a", "status": "running", "updatedAt": NOW}, "status": "running"});
    match event("sessions.changed", nested) {
        Some(SessionsEvent::Changed { row, whole: true }) => assert!(row.is_active()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deleted_session_is_removed_and_a_change_of_nothing_asks_for_the_list() {
    let delete = json!({"sessionKey": "agent:main:a", "reason": "delete", "ts": NOW});
    assert_eq!(event("sessions.changed", delete), Some(SessionsEvent::Removed { key: "agent:main:a".into() }));
    assert_eq!(event("sessions.changed", json!({"reason": "delete"})), Some(SessionsEvent::Unspecified));
    assert_eq!(event("sessions.changed", Value::Null), Some(SessionsEvent::Unspecified));
}

#[test]
fn an_abort_ends_a_session_even_where_its_row_still_says_running() {
    for field in ["reason", "phase"] {
        let mut payload = json!({"sessionKey": "k:1", "status": "running", "updatedAt": NOW});
        payload[field] = json!("abort");
        match event("sessions.changed", payload) {
            Some(SessionsEvent::Changed { row, .. }) => {
                assert_eq!(row.status, Some(SessionStatus::Completed), "{field}")
            }
            other => panic!("{other:?}"),
        }
    }
    let another_runs = json!({"sessionKey": "k:1", "phase": "end", "session": {"key": "k:1", "hasActiveRun": true}});
    match event("sessions.changed", another_runs) {
        Some(SessionsEvent::Changed { row, .. }) => assert!(row.is_active()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn runs_are_followed_by_agent_and_chat_events() {
    let run = |running: bool, at_ms: i64| {
        Some(SessionsEvent::Run { key: "agent:main:a".into(), run_id: Some("r".into()), running, at_ms: Some(at_ms) })
    };
    let lifecycle = |phase: &str, field: &str| json!({"runId": "r", "stream": "lifecycle", "data": {"phase": phase, field: NOW}, "sessionKey": "agent:main:a", "ts": 1});
    assert_eq!(event("agent", lifecycle("start", "startedAt")), run(true, NOW));
    assert_eq!(event("agent", lifecycle("end", "endedAt")), run(false, NOW));
    assert_eq!(event("agent", lifecycle("error", "endedAt")), run(false, NOW));
    assert_eq!(event("agent", lifecycle("finishing", "endedAt")), None);
    assert_eq!(
        event("agent", json!({"runId": "r", "stream": "assistant", "data": {"text": "x"}, "sessionKey": "k"})),
        None
    );
    let chat = |state: &str| json!({"runId": "r", "sessionKey": "agent:main:a", "state": state, "message": {"timestamp": NOW}});
    assert_eq!(event("chat", chat("final")), run(false, NOW));
    assert_eq!(event("chat", chat("aborted")), run(false, NOW));
    assert_eq!(event("chat", chat("delta")), None);
    let steered = json!({"runId": "r2", "sessionKey": "agent:main:a", "state": "final"});
    assert_eq!(event("chat", steered), None, "the run that it was steered into goes on");
}

#[test]
fn a_tick_of_a_real_release_says_nothing_about_sessions_and_a_documented_one_everything() {
    assert_eq!(event("tick", json!({"ts": NOW})), None);
    match event("tick", json!({"snapshot": {"sessions": [{"key": "a:chat", "active": true}]}})) {
        Some(SessionsEvent::Snapshot(rows)) => assert!(rows.len() == 1 && rows[0].is_active()),
        other => panic!("{other:?}"),
    }
    let part = json!({"snapshot": {"count": 1, "totalCount": 300, "sessions": [{"key": "a:chat", "active": true}]}});
    assert!(matches!(event("tick", part), Some(SessionsEvent::Part(rows)) if rows.len() == 1));
    assert_eq!(event("presence", json!({})), None);
}

#[test]
fn a_row_tells_how_its_last_run_ended_until_another_one_begins() {
    let read = |value: serde_json::Value| SessionRow::read(&value, rules(false)).unwrap();
    let failed = json!({"key": "k", "status": "failed", "hasActiveRun": false, "lastRunError": "No key."});
    let mut row = read(failed);
    assert_eq!((row.run_end, row.run_error.as_deref()), (Some(RunEnd::Failed), Some("No key.")));
    assert_eq!(read(json!({"key": "k", "status": "killed"})).run_end, Some(RunEnd::Killed));
    assert_eq!(read(json!({"key": "k", "status": "done", "hasActiveRun": true})).run_end, None);
    row.merge(read(json!({"key": "k", "label": "x"})));
    assert_eq!(row.run_end, Some(RunEnd::Failed), "a row without a status says nothing about it");
    row.merge(read(json!({"key": "k", "status": "running"})));
    assert_eq!((row.run_end, row.run_error), (None, None));
}
