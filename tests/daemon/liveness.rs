//! What is seen when a gateway dies, freezes, starts slowly or was never one, and that it comes back without anyone's help.

use std::time::Duration;

use serde_json::json;

use crate::support::chaos_proxy::{ChaosProxy, Link};
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::event_stream::EventStream;
use crate::support::scripted_gateway::{Behaviour, Case, Fault, Form, ScriptedGateway, Step};
use crate::support::wait::{self, Stopwatch};

/// Each change of a status, however short it lasts.
fn statuses(daemon: &Daemon) -> EventStream {
    EventStream::of(daemon, "/api/events?types=gateway.status")
}

#[test]
fn a_killed_gateway_is_seen_at_once_and_its_return_by_itself() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "60s").start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    gateway.kill();
    // no heartbeat is due for a minute: only the broken socket can have told
    daemon.until(id, "the death is seen", Duration::from_secs(30), |shown| shown["status"] != "online");
    let shown = daemon.until_status(id, "offline");
    assert!(shown["last_error"]["help"].as_str().is_some_and(|help| !help.is_empty()), "{shown}");
    gateway.revive();
    let back = daemon.until_status(id, "online");
    assert_eq!(back["last_error"], json!(null));
    assert_eq!(back["breaker"]["state"], "closed");
}

#[test]
fn a_frozen_gateway_times_out_within_three_heartbeats_and_recovers_when_it_thaws() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "3s").start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    let mut events = statuses(&daemon);
    let watch = Stopwatch::start();
    gateway.freeze();
    events.until(|event| event.data["data"]["to"] == "timeout");
    // Three heartbeats are 9 s; the rest is room for a busy machine.
    assert!(watch.elapsed() < Duration::from_secs(20), "{:?}", watch.elapsed());
    daemon.until(id, "it is given up", PATIENCE, |shown| shown["status"] == "offline");
    gateway.thaw();
    daemon.until_status(id, "online");
}

#[test]
fn a_black_hole_is_a_timeout_first_and_offline_after_three_failures() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").fails(Step::Accept, Fault::Silence));
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__DIAL_TIMEOUT", "1s").start();
    let mut events = statuses(&daemon);
    let id = daemon.register("hole", gateway.port(), "right");
    let first = events.until(|event| event.data["data"]["to"] == "timeout").data;
    assert_eq!(first["data"]["error"]["code"], "challenge_timeout", "something took the connection: {first}");
    let then = daemon.until_status(id, "offline");
    assert_eq!(then["breaker"]["state"].as_str().map(|state| state != "closed"), Some(true), "{then}");
    assert!(then["breaker"]["failures"].as_i64().is_some_and(|count| count >= 3), "{then}");
    gateway.behave(Behaviour::of(Form::Protocol4, "right"));
    daemon.until_status(id, "online");
}

#[test]
fn a_black_hole_is_a_timeout_within_three_heartbeats_and_stays_one_until_it_is_offline() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").fails(Step::Accept, Fault::Silence));
    let daemon = Setup::new()
        .env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "4s")
        .env("GATEWARDEN_GATEWAY__DIAL_TIMEOUT", "20s")
        .env("GATEWARDEN_GATEWAY__BREAKER_FAILURES", "1")
        .start();
    let id = daemon.register("hole", gateway.port(), "right");
    let since = daemon.gateway(id)["created_at"].as_i64().unwrap();
    let shown = daemon.until_status(id, "timeout");
    // Three heartbeats are 12 s, and a failed dial is told after 20; the rest is room for a busy machine.
    assert!(shown["since"].as_i64().unwrap() - since <= 17, "{shown}");
    assert!(shown["last_error"]["message"].is_string(), "{shown}");
    let help = std::cell::RefCell::new(String::new());
    daemon.until(id, "it is given up", PATIENCE, |shown| {
        assert_ne!(shown["status"], "unknown", "{shown}");
        *help.borrow_mut() = shown["last_error"]["help"].as_str().unwrap().to_owned();
        shown["status"] == "offline"
    });
    let help = help.into_inner();
    assert!(!help.contains("host is down"), "its host took the connection: {help}");
}

#[test]
fn a_web_server_is_offline_as_not_a_gateway_and_a_redirect_is_not_followed() {
    let web = ScriptedGateway::of(Form::WebServer, "");
    let elsewhere = ScriptedGateway::of(Form::Protocol4, "right");
    let place = format!("http://127.0.0.1:{}/", elsewhere.port());
    let redirect = ScriptedGateway::of(Form::Redirect(place), "");
    let daemon = Daemon::start();
    let id = daemon.register("web", web.port(), "web-secret");
    let shown = daemon.until_code(id, "not_a_gateway");
    assert_eq!(shown["status"], "offline");
    assert!(shown["last_error"]["help"].as_str().is_some_and(|help| help.len() > 20));
    let moved = daemon.register("moved", redirect.port(), "right");
    assert_eq!(daemon.until_code(moved, "redirected")["status"], "offline");
    let check = daemon.post("/api/gateways/health", &json!({"gateway_id": id})).expect(200).json();
    assert_eq!(check["healthy"], false, "{check}");
    assert!(elsewhere.record().accepts.is_empty(), "a redirect was followed");
    // the token goes to nobody who did not show a health document first
    let leaked = web.record().heads.iter().any(|head| head.header("authorization").is_some());
    assert!(!leaked, "the token was sent to a web server");
}

#[test]
fn nobody_listening_is_offline_with_a_reason() {
    let daemon = Daemon::start();
    let id = daemon.register("nobody", 1, "right");
    let shown = daemon.until_status(id, "offline");
    assert_eq!(shown["last_error"]["code"], "connection_refused");
}

#[test]
fn a_starting_gateway_is_degraded_without_counting_as_failed_and_comes_online_when_it_is_up() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").refuses(Case::Starting));
    let daemon = Daemon::start();
    let id = daemon.register("starting", gateway.port(), "right");
    let shown = daemon.until_code(id, "gateway_starting");
    assert_eq!((&shown["status"], &shown["phase"]), (&json!("degraded"), &json!("starting")));
    wait::until("it was asked several times", PATIENCE, || gateway.record().attempts.len() >= 5);
    let shown = daemon.gateway(id);
    assert_eq!(shown["breaker"]["state"], "closed", "a start was counted as a failure: {shown}");
    gateway.behave(Behaviour::of(Form::Protocol4, "right"));
    daemon.until_status(id, "online");
}

#[test]
fn an_announced_restart_is_degraded_until_it_is_over() {
    let gateway = ScriptedGateway::of(Form::Protocol3, "right");
    let daemon = Daemon::start();
    let id = daemon.register("restarting", gateway.port(), "right");
    daemon.until_status(id, "online");
    wait::until("the gateway knows it, too", PATIENCE, || gateway.record().ready == 1);
    // Nobody is let in any more: a new connection would end the restart.
    gateway.change(|behaviour| behaviour.fault = Some((Step::Accept, Fault::Reset)));
    gateway.send(&json!({"type": "event", "event": "shutdown",
                         "payload": {"reason": "gateway restarting", "restartExpectedMs": 30_000}}));
    gateway.close(1012, "service restart");
    wait::until("the connections are gone", PATIENCE, || gateway.record().ready == 0);
    gateway.kill();
    let shown = daemon.until(id, "the restart shows", PATIENCE, |shown| shown["phase"] == "restarting");
    assert_eq!(shown["status"], "degraded", "{shown}");
    assert_eq!(shown["breaker"]["state"], "closed", "{shown}");
    gateway.change(|behaviour| behaviour.fault = None);
    gateway.revive();
    daemon.until_status(id, "online");
}

#[test]
fn a_cut_or_swallowing_network_is_survived() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let proxy = ChaosProxy::before(gateway.port());
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "1500ms").start();
    let id = daemon.register("far", proxy.port(), "right");
    daemon.until_status(id, "online");
    for link in [Link::Cut, Link::BlackHole, Link::Trickle(Duration::from_secs(1))] {
        proxy.set(link);
        daemon.until(id, &format!("{link:?} shows"), PATIENCE, |shown| shown["status"] != "online");
        proxy.set(Link::Clear);
        daemon.until_status(id, "online");
    }
}
