//! Following the log of a gateway: what comes, that gateways are asked only while somebody follows, and what happens when a
//! gateway dies meanwhile.

use std::time::Duration;

use serde_json::json;

use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE};
use crate::support::event_stream::{Block, EventStream};
use crate::support::scripted_gateway::{Behaviour, Form, ScriptedGateway, log_line};
use crate::support::wait;

fn write(gateway: &ScriptedGateway, text: &str) {
    gateway.change(|behaviour| behaviour.log.push(log_line(text)));
}

fn asked(gateway: &ScriptedGateway) -> usize {
    gateway.record().requests.iter().filter(|(method, _)| method == "logs.tail").count()
}

fn text(block: &Block) -> (&str, &str) {
    let message = block.data["data"]["message"].as_str().or_else(|| block.data["reason"].as_str());
    (block.event.as_str(), message.unwrap_or_default())
}

fn online(form: Form) -> (ScriptedGateway, Daemon, i64) {
    let gateway = ScriptedGateway::of(form, "right");
    let daemon = Daemon::start();
    let id = daemon.register("prod", gateway.port(), "right");
    daemon.until_status(id, "online");
    (gateway, daemon, id)
}

#[test]
fn a_follower_gets_the_tail_and_then_new_lines_and_comes_back_without_a_gap() {
    let (gateway, daemon, id) = online(Form::Protocol4);
    write(&gateway, "second");
    let path = format!("/api/gateways/{id}/logs?follow=true&limit=1");
    let mut stream = EventStream::of(&daemon, &path);
    let first = stream.event();
    assert_eq!(text(&first), ("log", "second"));
    assert_eq!(
        first.data["data"],
        json!({"gateway_id": id, "gateway": "prod", "timestamp": 1_795_262_400_000_i64,
        "level": "info", "source": "gateway", "message": "second"})
    );
    write(&gateway, "third");
    let third = stream.event();
    assert_eq!(text(&third), ("log", "third"));
    let place = third.place.expect("a place to come back to");
    drop(stream);
    write(&gateway, "fourth");
    let mut back = EventStream::open(daemon.address(), &path, &[("X-API-Key", ADMIN_KEY), ("Last-Event-ID", &place)]);
    assert_eq!(text(&back.event()), ("log", "fourth"));
    gateway.change(|behaviour| {
        behaviour.log_file = "openclaw-2026-11-22.log".to_owned();
        behaviour.log = vec![log_line("of the next day")];
    });
    assert_eq!(text(&back.event()), ("reset", "file_changed"));
    assert_eq!(text(&back.event()), ("log", "of the next day"));
}

#[test]
fn gateways_are_asked_only_while_somebody_follows() {
    let (gateway, daemon, id) = online(Form::Protocol3);
    let _everything = EventStream::of(&daemon, "/api/events");
    wait::holds_for("nobody follows, nobody asks", Duration::from_secs(3), || asked(&gateway) == 0);

    let streams: Vec<_> =
        (0..3).map(|_| EventStream::of(&daemon, &format!("/api/gateways/{id}/logs?follow=true"))).collect();
    let joined = asked(&gateway);
    wait::until("the gateway is asked again and again", PATIENCE, || asked(&gateway) >= joined + 3);
    assert!(daemon.metrics().contains("gatewarden_log_watchers 3"));
    drop(streams);
    wait::until("nobody follows any more", PATIENCE, || daemon.metrics().contains("gatewarden_log_watchers 0"));
    let left = asked(&gateway);
    wait::holds_for("nobody follows, nobody asks", Duration::from_secs(4), || asked(&gateway) <= left + 1);

    let mut events = EventStream::of(&daemon, &format!("/api/events?types=log&gateway_id={id}"));
    wait::until("a follower of events by name counts", PATIENCE, || asked(&gateway) > left + 1);
    write(&gateway, "as an event");
    assert_eq!(text(&events.event()), ("log", "as an event"));
    drop(events);
    wait::until("and only as long as it is there", PATIENCE, || daemon.metrics().contains("gatewarden_log_watchers 0"));
}

#[test]
fn a_gateway_that_dies_is_told_and_the_stream_goes_on_after_its_return() {
    let (gateway, daemon, id) = online(Form::Protocol4);
    let mut stream = EventStream::of(&daemon, &format!("/api/gateways/{id}/logs?follow=true"));
    assert_eq!(text(&stream.event()), ("log", "gateway is up"));
    gateway.kill();
    assert_eq!(text(&stream.event()), ("interrupted", "gateway_unavailable"));
    write(&gateway, "written while it was away");
    gateway.revive();
    assert_eq!(stream.event().event, "resumed");
    assert_eq!(text(&stream.event()), ("log", "written while it was away"));
    write(&gateway, "and after");
    assert_eq!(text(&stream.event()), ("log", "and after"));
}

#[test]
fn entries_that_a_gateway_pushes_come_too() {
    let (gateway, daemon, id) = online(Form::Document002);
    let push = |message: &str, level: &str| {
        gateway.send(&json!({"type": "event", "event": "log", "payload": {"id": "log-1",
            "timestamp": 1_709_582_400_000_i64, "level": level, "source": "agent1", "session": "agent1:chat",
            "message": message, "extra": {"task_id": 456}}}));
    };
    push("before", "error");
    // What comes after it and is seen to have come: frames are read in order.
    gateway.send(&json!({"type": "req", "id": "1", "method": "nobody.asks"}));
    wait::until("what was pushed before has been read", PATIENCE, || {
        let metrics = daemon.metrics();
        metrics.lines().any(|line| {
            line.starts_with("gatewarden_dropped_frames_total{")
                && line.contains("unknown_event")
                && line.ends_with(" 1")
        })
    });
    let mut stream = EventStream::of(&daemon, &format!("/api/gateways/{id}/logs?follow=true&level=warn"));
    push("quiet", "info");
    push("loud", "error");
    let entry = stream.event();
    assert_eq!(text(&entry), ("log", "loud"));
    assert_eq!(entry.data["data"]["session"], "agent1:chat");
    assert_eq!(entry.data["data"]["extra"], json!({"task_id": 456}));
    assert_eq!(asked(&gateway), 0, "it has no logs.tail");
}

#[test]
fn a_gateway_that_has_no_log_and_one_that_is_away_are_said_so() {
    let mut without = Behaviour::of(Form::Protocol4, "right");
    without
        .errors
        .insert("logs.tail".to_owned(), json!({"code": "INVALID_REQUEST", "message": "unknown method: logs.tail"}));
    let gateway = ScriptedGateway::start(without);
    let daemon = Daemon::start();
    let id = daemon.register("prod", gateway.port(), "right");
    daemon.until_status(id, "online");
    let path = format!("/api/gateways/{id}/logs?follow=true");
    for _ in 0..2 {
        let refused = daemon.get(&path).expect(501).json();
        assert_eq!(refused["code"], "not_supported_by_gateway");
        assert_eq!(refused["details"], json!({"gateway": "prod", "version": "2026.9.6", "method": "logs.tail"}));
    }
    assert_eq!(asked(&gateway), 1, "once taught, it isn't asked again");
    gateway.kill();
    daemon.until_status(id, "offline");
    assert_eq!(daemon.get(&path).expect(503).json()["code"], "gateway_unavailable");
    assert_eq!(daemon.get("/api/gateways/99/logs?follow=true").expect(404).json()["code"], "gateway_not_found");
}

#[test]
fn a_stream_ends_with_its_gateway_and_with_the_daemon() {
    let (_gateway, mut daemon, id) = online(Form::Protocol4);
    let other = ScriptedGateway::of(Form::Protocol4, "right");
    let second = daemon.register("second", other.port(), "right");
    daemon.until_status(second, "online");
    let mut deleted = EventStream::of(&daemon, &format!("/api/gateways/{second}/logs?follow=true"));
    let mut kept = EventStream::of(&daemon, &format!("/api/gateways/{id}/logs?follow=true"));
    daemon.delete(second).expect(200);
    let end = deleted.until(|block| block.event == "end");
    assert_eq!(end.data["reason"], "gateway_not_found");
    deleted.drain_to_end();
    daemon.signal("TERM");
    let end = kept.until(|block| block.event == "end");
    assert_eq!(end.data["reason"], "daemon_stops");
    kept.drain_to_end();
    daemon.ends_well();
}
