use serde_json::json;

use super::super::*;
use super::sim::{START_MS, Sim, hello_4, record};
use crate::gateway_report::{BreakerState, Status};
use crate::machines::connection::GatewayNotice;
use crate::settings::GatewaySettings;
use std::time::Duration;

#[test]
fn a_connection_that_breaks_over_our_own_silence_is_dialled_anew_and_is_what_it_was_until_that_fails() {
    let mut sim = Sim::online();
    for _ in 0..3 {
        // Nothing is handled for 40 s: the heartbeat comes too late, and the gateway has hung up.
        sim.now += Duration::from_secs(40);
        sim.woke = Some(sim.now);
        let dials = sim.dials();
        sim.closes(None, "");
        assert_eq!((sim.status(), sim.dials(), sim.connection.phase()), (Status::Online, dials + 1, Phase::Dialing));
        sim.let_in();
        sim.news();
        assert_eq!((sim.status(), sim.current().reconnect_attempts), (Status::Online, 0));
        assert!(sim.health_points().iter().all(|point| point.status == Status::Online), "nothing happened to it");
    }
    sim.now += Duration::from_secs(40);
    sim.woke = Some(sim.now);
    sim.closes(None, "");
    sim.dial_failed(crate::dialing::DialFailure::Refused);
    assert_eq!((sim.status(), sim.connection.phase()), (Status::Offline, Phase::Backoff), "it is gone after all");
}

#[test]
fn a_new_attempt_after_our_own_silence_that_tells_nothing_keeps_the_status_for_ten_seconds() {
    let mut sim = Sim::online();
    sim.now += Duration::from_secs(40);
    sim.woke = Some(sim.now);
    sim.closes(None, "");
    sim.pass(Duration::from_millis(9_900));
    assert_eq!(sim.status(), Status::Online);
    sim.pass_s(1);
    assert_ne!(sim.status(), Status::Online);
}

#[test]
fn a_connection_that_breaks_without_our_own_silence_or_long_after_it_has_failed() {
    for woke_before in [None, Some(Duration::from_secs(11))] {
        let mut sim = Sim::online();
        sim.now += Duration::from_secs(40);
        sim.woke = Some(sim.now);
        sim.feed(Connection::on_deadline);
        sim.pass_alive(woke_before.map_or(0, |before| before.as_secs()));
        sim.woke = woke_before.map(|before| sim.now - before);
        sim.closes(None, "");
        assert_eq!(sim.status(), Status::Offline);
    }
}

#[test]
fn an_unknown_ping_teaches_the_heartbeat_to_use_socket_pings() {
    let mut sim = Sim::online();
    assert!(sim.current().latency_ms.is_some(), "the refusal of a ping proved life");
    sim.news();
    sim.pass_s(30);
    let news = sim.news();
    assert!(news.iter().any(|effect| matches!(effect, Effect::Ping(..))));
    assert!(!news.iter().any(|effect| matches!(effect, Effect::Send { .. })));
}

#[test]
fn a_gateway_that_answers_ping_requests_keeps_getting_them() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.says(json!({"type":"res","id":"connect","ok":true,"result":{"protocol":3,"sessionId":"s","deviceToken":"t","features":["spawn","logs"]}}));
    let (id, method) = sim.unanswered().remove(0);
    assert_eq!(method, "ping");
    sim.says(json!({"type":"res","id":id,"ok":true}));
    sim.news();
    sim.pass_s(29);
    sim.pass_s(1);
    assert!(sim.unanswered().iter().any(|(_, method)| method == "ping"));
}

#[test]
fn a_frozen_gateway_shows_within_40_s_and_is_dropped_within_a_minute() {
    let mut sim = Sim::online();
    let begun = sim.seconds();
    sim.pass_s(39);
    assert_eq!(sim.status(), Status::Online);
    sim.pass(Duration::from_millis(1_100));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Timeout, Some("heartbeat_missed")));
    assert_eq!(sim.connection.phase(), Phase::Ready);
    sim.pass(Duration::from_secs_f64(begun + 60.1 - sim.seconds()));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("heartbeat_lost")));
    assert_eq!(sim.current().breaker.state, BreakerState::Open);
    assert_eq!(sim.current().breaker.failures, 3);
}

#[test]
fn a_frozen_gateway_that_is_given_work_shows_within_5_s_and_is_dropped_within_13() {
    let mut sim = Sim::online();
    sim.call(1, "agent");
    sim.pass_s(4);
    assert_eq!(sim.status(), Status::Online);
    sim.pass_s(1);
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Timeout, Some("heartbeat_missed")));
    sim.pass_s(8);
    assert_eq!((sim.connection.phase(), sim.status()), (Phase::Backoff, Status::Offline));
    assert_eq!(sim.code().as_deref(), Some("heartbeat_lost"));
    assert_eq!(sim.answers().len(), 1, "who waited is told");
}

#[test]
fn a_gateway_that_thinks_long_about_a_request_is_asked_once_and_stays_online() {
    let mut sim = Sim::online();
    sim.call(1, "agent");
    sim.pass_s(2);
    assert!(sim.pong() > 0, "it is asked");
    sim.pass_s(25);
    assert!(sim.news().iter().all(|effect| !matches!(effect, Effect::Ping(..))));
    assert_eq!(sim.status(), Status::Online);
}

#[test]
fn a_busy_gateway_whose_events_still_come_is_not_dropped() {
    let mut sim = Sim::online();
    for tick in 0..60 {
        sim.pass_s(5);
        sim.says(json!({"type":"event","event":"tick","payload":{"ts":1},"seq":tick}));
    }
    assert_eq!(sim.connection.phase(), Phase::Ready);
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Degraded, Some("heartbeat_missed")));
    sim.pong();
    assert_eq!(sim.dials(), 1);
}

#[test]
fn a_connection_that_is_cut_is_offline_at_once_and_returns_without_help() {
    let mut sim = Sim::online();
    sim.call(1, "chat.send");
    sim.closes(None, "");
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Offline, Some("connection_reset")));
    let (_, answer) = sim.answers().remove(0);
    assert_eq!(answer.unwrap_err().code.as_str(), "gateway_unavailable");
    assert_eq!(sim.current().sessions_count, None, "what was known of sessions went with the connection");
    sim.news();
    sim.until_next_dial();
    sim.let_in();
    sim.answer_all();
    assert_eq!(sim.status(), Status::Online);
}

#[test]
fn the_gateways_pings_are_answered_at_once() {
    let mut sim = Sim::online();
    sim.news();
    let epoch = sim.epoch();
    sim.feed(|connection, moment| connection.on_ping(moment, epoch, bytes::Bytes::from_static(b"x")));
    assert!(matches!(&sim.news()[0], Effect::Pong(_, payload) if &payload[..] == b"x"));
}

#[test]
fn a_slow_gateway_is_degraded_and_says_why() {
    let mut sim = Sim::new();
    sim.start();
    sim.let_in();
    sim.pass(Duration::from_millis(501));
    sim.answer_all();
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Degraded, Some("high_latency")));
    sim.pass_s(31);
    sim.pong();
    assert_eq!(sim.current().status, Status::Degraded, "that pong was a second late");
    sim.pass_s(29);
    sim.pass(Duration::from_millis(1));
    sim.pong();
}

#[test]
fn a_gateway_that_calls_itself_degraded_is_believed() {
    let mut sim = Sim::online();
    sim.says(json!({"type":"event","event":"health","payload":{"ok":true,"eventLoop":{"degraded":true,"reasons":["delay"]}}}));
    assert_eq!((sim.status(), sim.code().as_deref()), (Status::Degraded, Some("gateway_degraded")));
    sim.says(json!({"type":"event","event":"health","payload":{"ok":true,"eventLoop":{"degraded":false}}}));
    assert_eq!(sim.status(), Status::Online);
}

#[test]
fn a_gateway_that_calls_itself_degraded_is_asked_every_ten_seconds_until_it_does_no_more() {
    let mut sim = Sim::online();
    sim.says(json!({"type":"event","event":"health","payload":{"ok":true,"eventLoop":{"degraded":true,"reasons":["delay"]}}}));
    sim.news();
    for degraded in [true, false] {
        sim.pass_s(9);
        assert!(!sim.unanswered().iter().any(|(_, method)| method == "health"));
        sim.pass_s(1);
        let asked = sim.unanswered();
        let (id, _) = asked.iter().find(|(_, method)| method == "health").unwrap();
        let health = json!({"ok":true,"eventLoop":{"degraded":degraded,"reasons":["delay"]}});
        sim.says(json!({"type":"res","id":id,"ok":true,"payload":health}));
        assert_eq!(sim.status(), if degraded { Status::Degraded } else { Status::Online });
    }
    sim.pass_s(11);
    assert!(!sim.unanswered().iter().any(|(_, method)| method == "health"), "a well one is not asked");
}

#[test]
fn sessions_are_kept_by_events_and_a_gap_reads_them_again_once() {
    let mut sim = Sim::online();
    sim.says(json!({"type":"event","event":"sessions.changed","seq":10,
        "payload":{"sessionKey":"agent:main:c","session":{"key":"agent:main:c","hasActiveRun":true}}}));
    sim.pass(Duration::from_millis(300));
    assert_eq!(sim.current().sessions_count, Some(2));
    sim.news();
    sim.says(json!({"type":"event","event":"tick","payload":{"ts":1},"seq":15}));
    let asked = sim.unanswered();
    assert_eq!(asked.iter().map(|(_, method)| method.as_str()).collect::<Vec<_>>(), ["sessions.list"]);
    sim.says(json!({"type":"event","event":"tick","payload":{"ts":1},"seq":19}));
    assert!(sim.unanswered().is_empty(), "one list at a time, and not at the pace of gaps");
}

#[test]
fn a_list_in_pages_is_read_to_its_end() {
    let mut sim = Sim::new();
    sim.start();
    sim.let_in();
    let mut offsets = Vec::new();
    for _ in 0..12 {
        for effect in sim.news() {
            let Effect::Send { text, .. } = effect else { continue };
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
            let id = frame["id"].clone();
            match frame["method"].as_str().unwrap() {
                "sessions.list" => {
                    let offset = frame["params"]["offset"].as_u64().unwrap_or(0);
                    offsets.push(offset);
                    let rows: Vec<_> =
                        (offset..offset + 100).map(|n| json!({"key":format!("k{n}"),"hasActiveRun":true})).collect();
                    sim.says(json!({"type":"res","id":id,"ok":true,"payload":{"totalCount":300,"hasMore":offset < 200,
                        "nextOffset":offset + 100,"sessions":rows}}));
                }
                "connect" => {}
                _ => sim.says(json!({"type":"res","id":id,"ok":true,"payload":{}})),
            }
        }
    }
    assert_eq!(offsets, [0, 100, 200]);
    assert_eq!(sim.current().sessions_count, Some(300));
}

#[test]
fn heavy_lists_are_read_again_only_slowly() {
    let mut sim = Sim::online();
    sim.news();
    let mut lists = 0;
    for _ in 0..20 {
        sim.pass_s(30);
        let epoch = sim.epoch();
        for effect in sim.news() {
            match effect {
                Effect::Ping(_, payload) => sim.feed(|connection, moment| connection.on_pong(moment, epoch, &payload)),
                Effect::Send { text, .. } => {
                    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                    lists += u32::from(frame["method"] == "sessions.list");
                    let id = frame["id"].clone();
                    sim.says(json!({"type":"res","id":id,"ok":true,"payload":{"agents":[],"sessions":[]}}));
                }
                _ => {}
            }
        }
    }
    assert_eq!(sim.connection.phase(), Phase::Ready);
    assert!((1..=2).contains(&lists), "{lists} lists in ten minutes");
}

#[test]
fn a_reply_reaches_its_caller_once_and_second_or_foreign_ones_are_ignored() {
    let mut sim = Sim::online();
    sim.call(5, "agent");
    let id = sim.last_sent()["id"].clone();
    sim.says(json!({"type":"res","id":id,"ok":true,"payload":{"runId":"K","status":"accepted"}}));
    sim.says(json!({"type":"res","id":id,"ok":true,"payload":{"runId":"K","status":"ok"}}));
    assert_eq!(sim.answers(), [(CallToken(5), Ok(json!({"runId":"K","status":"accepted"})))]);
    let dropped = |sim: &Sim| {
        sim.log
            .iter()
            .filter(|effect| matches!(effect, Effect::Count(Count::DroppedFrame(DropReason::UnmatchedReply))))
            .count()
    };
    assert_eq!(dropped(&sim), 0, "the outcome of an accepted request is expected");
    sim.says(json!({"type":"res","id":id,"ok":true,"payload":{}}));
    sim.says(json!({"type":"res","id":"someone-elses","ok":true,"payload":{}}));
    assert_eq!(dropped(&sim), 2);
    assert_eq!(sim.answers().len(), 1);
}

#[test]
fn an_event_of_document_002_answers_a_spawn() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    sim.says(json!({"type":"res","id":"connect","ok":true,"result":{"protocol":3,"features":["spawn"]}}));
    sim.call(1, "spawn");
    let id = sim.last_sent()["id"].clone();
    sim.says(json!({"type":"event","event":"spawn_result","payload":{"id":id,"status":"running","pid":1}}));
    assert_eq!(sim.answers().len(), 1);
    assert_eq!(sim.answers()[0].1.as_ref().unwrap()["status"], "running");
}

#[test]
fn calls_fail_with_words_that_name_the_gateway() {
    let mut sim = Sim::online();
    sim.call(1, "spawn");
    sim.call(2, "chat.send");
    let id = sim.last_sent()["id"].clone();
    sim.says(
        json!({"type":"res","id":id,"ok":false,"error":{"code":"INVALID_REQUEST","message":"session not found: x"}}),
    );
    sim.call(3, "chat.send");
    sim.pass_alive(31);
    let failures: Vec<_> = sim.answers().into_iter().map(|(_, result)| result.unwrap_err()).collect();
    let codes: Vec<_> = failures.iter().map(|failure| failure.code.as_str()).collect();
    assert_eq!(codes, ["not_supported_by_gateway", "gateway_refused", "gateway_timeout"]);
    assert!(failures.iter().all(|failure| failure.message.contains("\"prod\"")));
    assert!(failures[0].message.contains("2026.9.6") && failures[0].message.contains("spawn"));
    assert!(failures[1].message.contains("session not found: x"));
}

#[test]
fn more_callers_than_the_table_holds_are_told_to_wait() {
    let settings = GatewaySettings { max_pending: 3, ..GatewaySettings::default() };
    let mut sim = Sim::with(record(), settings);
    sim.start();
    sim.let_in();
    sim.answer_all();
    for token in 1..=4 {
        sim.call(token, "chat.send");
    }
    let (token, result) = sim.answers().remove(0);
    assert_eq!((token, result.unwrap_err().code.as_str()), (CallToken(4), "gateway_busy"));
}

#[test]
fn garbage_on_a_live_connection_is_counted_and_a_flood_of_it_ends_the_connection() {
    let mut sim = Sim::online();
    for _ in 0..50 {
        sim.says_text("not json");
    }
    assert_eq!(sim.connection.phase(), Phase::Ready);
    for _ in 0..50 {
        sim.says_text("not json");
    }
    assert_eq!((sim.connection.phase(), sim.code().as_deref()), (Phase::Backoff, Some("garbage")));
}

#[test]
fn a_stable_minute_resets_the_backoff() {
    let mut sim = Sim::new();
    sim.start();
    for _ in 0..3 {
        sim.dial_failed(crate::dialing::DialFailure::Refused);
        sim.until_next_dial();
    }
    sim.let_in();
    sim.answer_all();
    assert_eq!(sim.current().reconnect_attempts, 3);
    for _ in 0..7 {
        sim.pass_s(10);
        sim.pong();
    }
    assert_eq!(sim.current().reconnect_attempts, 0);
}

#[test]
fn reports_are_told_at_once_for_states_and_rarely_for_numbers() {
    let mut sim = Sim::online();
    sim.pass_s(1);
    sim.news();
    for number in 0..100 {
        let key = format!("agent:main:{number}");
        sim.says(json!({"type":"event","event":"sessions.changed","payload":{"sessionKey":key,"session":{"key":key,"hasActiveRun":true}}}));
        sim.pass(Duration::from_millis(10));
    }
    let reports = sim.news().iter().filter(|effect| matches!(effect, Effect::Notify(GatewayNotice::Report(_)))).count();
    assert!((2..=7).contains(&reports), "{reports} reports in a second");
    sim.closes(None, "");
    assert!(
        matches!(sim.news().iter().rev().find(|effect| matches!(effect, Effect::Notify(GatewayNotice::Report(_)))),
        Some(Effect::Notify(GatewayNotice::Report(report))) if report.status == Status::Offline)
    );
}

#[test]
fn frames_alone_are_no_news() {
    let mut sim = Sim::online();
    sim.pass_s(1);
    sim.news();
    for tick in 0..20 {
        sim.says(json!({"type":"event","event":"tick","payload":{"ts":1},"seq":tick}));
    }
    assert!(sim.news().is_empty());
    assert_eq!(sim.current().last_seen_ms, Some(START_MS + 1000));
}

#[test]
fn health_points_come_at_changes_and_every_probe_interval() {
    let mut sim = Sim::online();
    for _ in 0..62 {
        sim.pass_s(10);
        sim.pong();
        sim.answer_all();
    }
    let points = sim.health_points();
    assert_eq!(points[0].status, Status::Online);
    assert_eq!(points.len(), 4, "one when it came online, one soon after that, two for ten minutes: {points:?}");
    assert!(points[1].latency_avg_ms.is_some() && points[1].at_ms - points[0].at_ms <= 12_000, "{points:?}");
}

#[test]
fn a_version_that_the_hello_keeps_is_read_from_the_configuration() {
    let mut sim = Sim::new();
    sim.start();
    sim.reach_login();
    let mut hello = hello_4();
    hello["payload"]["server"]["version"] = json!("dev");
    hello["payload"]["protocol"] = json!(3);
    sim.says(hello);
    for _ in 0..6 {
        for (id, method) in sim.unanswered() {
            let payload = match method.as_str() {
                "config.get" => json!({"config":{"meta":{"lastTouchedVersion":"2026.2.19"}}}),
                _ => json!({"agents":[{"id":"main"}],"sessions":[]}),
            };
            sim.says(json!({"type":"res","id":id,"ok":true,"payload":payload}));
        }
    }
    assert_eq!(sim.current().version.as_deref(), Some("2026.2.19"));
}
