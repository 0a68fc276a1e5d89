//! When the sessions are told.

use std::time::Duration;

use gatewarden_protocol::sessions::SessionStatus;
use serde_json::json;

use super::super::*;
use super::run_sim::{SPAWN, hello_of, task};
use super::sim::{START_MS, Sim, record};

fn created(sim: &mut Sim, key: &str) {
    sim.event("sessions.changed", json!({"sessionKey":key,"reason":"create","ts":START_MS}));
}

#[test]
fn the_list_read_after_connecting_is_told_whole_and_newest_first() {
    let sim = Sim::release(4);
    let told = sim.snapshots();
    assert_eq!(told.len(), 1);
    assert!(told[0].complete);
    let keys: Vec<&str> = told[0].rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys, ["agent:main:a", "agent:main:b"]);
}

fn status_of(sim: &Sim, key: &str) -> Option<Option<SessionStatus>> {
    sim.snapshots().last()?.rows.iter().find(|row| row.key == key).map(|row| row.status)
}

#[test]
fn the_session_of_an_accepted_run_is_known_at_once_and_ends_with_it() {
    let key = format!("agent:main:gatewarden-{SPAWN}");
    for protocol in [3, 4] {
        let mut sim = Sim::release(protocol);
        sim.pass_s(1);
        sim.starts(1, task());
        assert_eq!(status_of(&sim, &key), None);
        sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
        assert_eq!(status_of(&sim, &key), Some(Some(SessionStatus::Active)));
        sim.event("chat", json!({"runId":SPAWN,"sessionKey":key,"state":"error","errorMessage":"no model"}));
        sim.pass_s(20);
        assert_eq!(status_of(&sim, &key), Some(Some(SessionStatus::Completed)));
    }
}

#[test]
fn an_acceptance_that_comes_after_the_end_does_not_make_the_session_active_again() {
    let key = format!("agent:main:gatewarden-{SPAWN}");
    let mut sim = Sim::release(4);
    sim.pass_s(1);
    sim.starts(1, task());
    sim.event("agent", json!({"runId":SPAWN,"sessionKey":key,"stream":"lifecycle","data":{"phase":"start"},"seq":1}));
    sim.event("agent", json!({"runId":SPAWN,"sessionKey":key,"stream":"lifecycle","data":{"phase":"end"},"seq":2}));
    sim.replies(json!({"runId":SPAWN,"status":"accepted"}));
    sim.pass_s(1);
    assert_eq!(status_of(&sim, &key), Some(Some(SessionStatus::Completed)));
}

#[test]
fn a_session_created_on_the_gateway_is_told_at_once() {
    let mut sim = Sim::release(4);
    sim.pass_s(1);
    created(&mut sim, "agent:main:new");
    let told = sim.snapshots();
    assert_eq!(told.len(), 2, "not even a timer's tick later");
    assert!(told[1].rows.iter().any(|row| row.key == "agent:main:new"));
    assert_eq!(told[1].as_of_ms, sim.moment().wall_ms);
}

#[test]
fn a_burst_of_changes_is_told_at_most_every_quarter_of_a_second_and_to_its_end() {
    let mut sim = Sim::release(4);
    sim.pass_s(1);
    for number in 0..100 {
        created(&mut sim, &format!("agent:main:burst-{number}"));
        sim.pass(Duration::from_millis(10));
    }
    sim.pass_s(1);
    let told = sim.snapshots();
    assert!((4..=6).contains(&told.len()), "{} for one second", told.len());
    assert_eq!(told.last().unwrap().rows.len(), 102);
}

#[test]
fn nothing_is_told_while_nothing_changes() {
    let mut sim = Sim::release(4);
    for _ in 0..40 {
        sim.pass_s(15);
        sim.pong();
        sim.event(
            "sessions.changed",
            json!({"sessionKey":"agent:main:b","session":
            {"key":"agent:main:b","hasActiveRun":false,"status":"done"}}),
        );
        sim.answer_all();
    }
    assert_eq!(sim.snapshots().len(), 1, "neither resyncs nor events without news");
}

#[test]
fn a_lost_connection_leaves_what_was_told_and_half_a_list_is_never_told() {
    let mut sim = Sim::release(4);
    sim.pass_s(1);
    created(&mut sim, "agent:main:new");
    sim.closes(None, "");
    assert_eq!(sim.snapshots().len(), 2, "no empty list, and no other word");
    sim.until_next_dial();
    sim.reach_login();
    sim.says(hello_of(4));
    created(&mut sim, "agent:main:later");
    sim.pass_s(1);
    assert_eq!(sim.snapshots().len(), 2, "one session would look as if the others had gone");
    sim.answer_all();
    sim.pass_s(1);
    assert_eq!(sim.snapshots().len(), 3);
}

#[test]
fn sessions_of_document_002_come_with_its_ticks() {
    let mut sim = Sim::documented();
    assert!(sim.snapshots().is_empty());
    let tick = json!({"snapshot":{"sessions":[{"key":"a:chat","active":true}]}});
    sim.event("tick", tick.clone());
    sim.pass_s(1);
    sim.event("tick", tick);
    sim.pass_s(1);
    let told = sim.snapshots();
    assert_eq!((told.len(), told[0].rows.len(), told[0].complete), (1, 1, true));
}

#[test]
fn another_address_is_another_gateway_whose_sessions_are_told_even_if_they_look_the_same() {
    let mut sim = Sim::release(4);
    let moved = record().with(|spec| spec.port = 18_790);
    sim.feed(|connection, moment| connection.update_record(moment, Arc::new(moved)));
    sim.reach_login();
    sim.says(hello_of(4));
    sim.answer_all();
    sim.pass_s(1);
    assert_eq!(sim.snapshots().len(), 2);
}

fn listings(sim: &Sim) -> usize {
    sim.frames().iter().filter(|frame| frame["method"] == "sessions.list").count()
}

#[test]
fn a_session_that_stays_active_after_its_run_was_told_to_have_ended_is_read_again_within_seconds() {
    let mut sim = Sim::release(4);
    let row = |active: bool| json!({"key":"agent:main:a","hasActiveRun":active,"status":if active { "running" } else { "failed" }});
    let ended = |sim: &mut Sim| {
        let data = json!({"phase":"error","error":"No."});
        sim.event("agent", json!({"runId":"r","sessionKey":"agent:main:a","stream":"lifecycle","data":data}));
    };
    let before = listings(&sim);
    ended(&mut sim);
    sim.event("sessions.changed", json!({"sessionKey":"agent:main:a","session":row(true)}));
    sim.pass_s(3);
    assert_eq!(listings(&sim), before + 1);
    sim.replies(json!({"sessions":[row(true)]}));
    sim.pass_s(5);
    assert_eq!(listings(&sim), before + 2, "the list says so too: once more, after twice as long");
    sim.replies(json!({"sessions":[row(false)]}));
    sim.pass_s(12);
    assert_eq!(listings(&sim), before + 2, "it has ended");
    ended(&mut sim);
    sim.pass_s(5);
    assert_eq!(listings(&sim), before + 2, "an end that is not contradicted asks for nothing");
}

#[test]
fn what_agents_are_said_to_do_is_told_at_most_every_quarter_of_a_second_and_each_agent_once() {
    let mut sim = Sim::documented();
    for (name, status) in [("a", "busy"), ("b", "busy"), ("a", "idle"), ("a", "busy"), ("", "busy"), ("c", "")] {
        sim.event("agent.status", json!({"id":1,"name":name,"status":status,"last_seen":5,"last_activity":"Task 1"}));
    }
    sim.pass_s(1);
    let told = sim.agent_news();
    assert_eq!(told.len(), 2, "the first at once, the rest together: {told:?}");
    let said: Vec<(&str, &str)> = told[1].iter().map(|news| (news.name.as_str(), news.status.as_str())).collect();
    assert_eq!(said, [("a", "busy"), ("b", "busy")]);
}
