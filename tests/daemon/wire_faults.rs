//! Faults on the wire: at every step of the handshake and after it. The gateway is never shown online while one holds, memory
//! stays bounded, and it recovers by itself when the fault ends.

use std::time::Duration;

use crate::support::daemon::{BUDGET, Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::websocket::Pace;
use crate::support::scripted_gateway::{Behaviour, Fault, Form, Replies, ScriptedGateway, Step};
use crate::support::wait;

/// A daemon that tries seldom enough to keep its budget of failed logins: a connection that ends while a login is under way
/// counts as one.
fn patient() -> Daemon {
    Setup::new().without_challenge().env("GATEWARDEN_GATEWAY__BACKOFF", "3s").start()
}

fn good() -> Behaviour {
    Behaviour::of(Form::Protocol4, "right")
}

/// Registers a gateway for each behaviour, waits until each shows its fault, then cures them all.
fn each_shows_its_fault_and_recovers(daemon: &Daemon, behaviours: Vec<(String, Behaviour)>) {
    let gateways: Vec<_> = behaviours
        .into_iter()
        .map(|(name, behaviour)| {
            let gateway = ScriptedGateway::start(behaviour);
            let id = daemon.register(&name, gateway.port(), "right");
            (gateway, id, name)
        })
        .collect();
    for (_, id, name) in &gateways {
        let shown = daemon.until(*id, &format!("{name} shows its fault"), PATIENCE, |shown| {
            shown["last_error"]["code"].is_string() && shown["status"] != "unknown"
        });
        assert_ne!(shown["status"], "online", "{name}: {shown}");
        assert!(shown["last_error"]["help"].as_str().is_some_and(|help| !help.is_empty()), "{name}: {shown}");
    }
    for (gateway, _, _) in &gateways {
        gateway.behave(good());
    }
    for (_, id, name) in &gateways {
        daemon.until(*id, &format!("{name} has recovered"), BUDGET, |shown| shown["status"] == "online");
    }
}

#[test]
fn every_early_end_at_every_step_of_the_handshake_is_survived() {
    let steps = [Step::Accept, Step::Upgrade, Step::Challenge, Step::Connect, Step::Hello];
    let mut behaviours = Vec::new();
    for step in steps {
        for (name, fault) in [
            ("end", Fault::End),
            ("reset", Fault::Reset),
            ("garbage", Fault::Garbage),
            ("truncated", Fault::Truncated),
            ("reset-mid-frame", Fault::ResetMidFrame),
            ("silence", Fault::Silence),
        ] {
            behaviours.push((format!("{step:?}-{name}"), good().fails(step, fault)));
        }
    }
    each_shows_its_fault_and_recovers(&patient(), behaviours);
}

#[test]
fn every_close_code_at_every_step_after_the_upgrade_is_survived() {
    let mut behaviours = Vec::new();
    for step in [Step::Challenge, Step::Connect, Step::Hello] {
        for code in [1000, 1002, 1008, 1012, 1013, 4001] {
            let fault = Fault::Close(code, "because".to_owned());
            behaviours.push((format!("{step:?}-close-{code}"), good().fails(step, fault)));
        }
    }
    each_shows_its_fault_and_recovers(&patient(), behaviours);
}

#[test]
fn a_gateway_at_one_byte_a_second_or_two_seconds_late_is_a_timeout_and_recovers() {
    let trickle = Behaviour { pace: Pace::Trickle(Duration::from_secs(1)), ..good() };
    let late = Behaviour { pace: Pace::Delayed(Duration::from_secs(2)), ..good() };
    let daemon = Setup::new()
        .env("GATEWARDEN_GATEWAY__DIAL_TIMEOUT", "1500ms")
        .env("GATEWARDEN_GATEWAY__KNOWN_CHALLENGE_TIMEOUT", "1500ms")
        .env("GATEWARDEN_GATEWAY__CONNECT_TIMEOUT", "1500ms")
        .start();
    each_shows_its_fault_and_recovers(&daemon, vec![("trickle".to_owned(), trickle), ("late".to_owned(), late)]);
}

#[test]
fn giant_frames_cost_the_connection_and_not_the_daemon_s_memory() {
    let daemon = Daemon::start();
    let quiet = ScriptedGateway::of(Form::Protocol4, "right");
    let watched = daemon.register("quiet", quiet.port(), "right");
    daemon.until_status(watched, "online");
    let before = daemon.peak_memory();
    let megabyte = 1024 * 1024;
    let mut behaviours = Vec::new();
    for step in [Step::Challenge, Step::Hello, Step::Ready] {
        behaviours.push((format!("{step:?}-announced"), good().fails(step, Fault::Announced(400 * megabyte))));
        behaviours.push((format!("{step:?}-giant"), good().fails(step, Fault::Giant(30 * 1024 * 1024))));
        let endless = Fault::Announced(u64::MAX >> 1);
        behaviours.push((format!("{step:?}-endless"), good().fails(step, endless)));
    }
    each_shows_its_fault_and_recovers(&daemon, behaviours);
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < 64 * megabyte, "memory grew by {} MiB", grown / megabyte);
    assert_eq!(daemon.gateway(watched)["status"], "online");
    assert_eq!(quiet.record().attempts.len(), 1, "another gateway's frames cost this one its connection");
}

#[test]
fn wrong_ids_doubled_and_reversed_replies_and_garbage_do_not_confuse_a_connection() {
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "3s").start();
    let mut gateways = Vec::new();
    for (name, replies) in [("twice", Replies::Twice), ("reversed", Replies::Reversed), ("wrong", Replies::WrongId)] {
        let gateway = ScriptedGateway::start(Behaviour { replies, ..good() });
        let id = daemon.register(name, gateway.port(), "right");
        gateways.push((gateway, id, name));
    }
    for (gateway, id, name) in &gateways {
        wait::until(&format!("{name} was connected"), PATIENCE, || gateway.record().accepted() >= 1);
        gateway.send_raw(b"\x81\x07not so!");
        gateway.send(&serde_json::json!([1, 2, 3]));
        gateway.send(&serde_json::json!({"type": "res", "id": "never-asked", "ok": true, "payload": {}}));
        gateway.change(|behaviour| behaviour.replies = Replies::Normal);
        daemon.until(*id, &format!("{name} is online"), PATIENCE, |shown| shown["status"] == "online");
    }
    let attempts = gateways[0].0.record().attempts.len();
    assert_eq!(attempts, 1, "doubled replies cost the connection");
}

#[test]
fn a_gateway_that_never_pongs_or_stops_reading_is_dropped_and_dialled_again() {
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "1500ms").start();
    let deaf = Behaviour { pongs: false, replies: Replies::Never, ..good() };
    let unread = Behaviour { reads: false, ..good() };
    let mut gateways = Vec::new();
    for (name, behaviour) in [("deaf", deaf), ("unread", unread)] {
        let gateway = ScriptedGateway::start(behaviour);
        let id = daemon.register(name, gateway.port(), "right");
        gateways.push((gateway, id, name));
    }
    for (gateway, id, name) in &gateways {
        daemon.until(*id, &format!("{name} is found out"), PATIENCE, |shown| {
            shown["status"] == "timeout" || shown["status"] == "offline"
        });
        wait::until(&format!("{name} is dialled again"), PATIENCE, || gateway.record().accepted() >= 2);
        gateway.behave(good());
        daemon.until(*id, &format!("{name} has recovered"), PATIENCE, |shown| shown["status"] == "online");
    }
}

#[test]
fn a_flood_of_events_from_one_gateway_does_not_stop_the_others() {
    let daemon = Daemon::start();
    let (loud, quiet) = (ScriptedGateway::of(Form::Protocol4, "right"), ScriptedGateway::of(Form::Protocol4, "right"));
    let first = daemon.register("loud", loud.port(), "right");
    let second = daemon.register("quiet", quiet.port(), "right");
    daemon.until_status(first, "online");
    daemon.until_status(second, "online");
    let before = daemon.peak_memory();
    for _ in 0..200 {
        for _ in 0..50 {
            loud.send(&serde_json::json!({"type": "event", "event": "tick", "payload": {"ts": 1}}));
        }
        assert_eq!(daemon.get("/health").status, 200);
    }
    daemon.until_status(first, "online");
    assert_eq!(daemon.gateway(second)["status"], "online");
    assert_eq!(quiet.record().attempts.len(), 1);
    assert!(daemon.memory().saturating_sub(before) < 64 * 1024 * 1024, "a flood was kept in memory");
}
