//! SIGTERM under load: accepted requests finish, sockets close with a reason, the exit is 0 within ten seconds.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::http;
use crate::support::scripted_gateway::{Behaviour, Fault, Form, ScriptedGateway, Step};
use crate::support::wait::{self, Stopwatch};

#[test]
fn sigterm_under_load_ends_cleanly_and_keeps_what_was_acknowledged() {
    let gateways: Vec<_> = (0..5).map(|_| ScriptedGateway::of(Form::Protocol4, "right")).collect();
    let hole = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").fails(Step::Accept, Fault::Silence));
    let setup = Setup::new().env("GATEWARDEN_GATEWAY__BACKOFF", "60s").env("GATEWARDEN_LOG__LEVEL", "info");
    let mut daemon = setup.start();
    let ids: Vec<i64> = gateways
        .iter()
        .enumerate()
        .map(|(index, one)| daemon.register(&format!("live-{index}"), one.port(), "right"))
        .collect();
    daemon.register("hole", hole.port(), "right");
    for id in &ids {
        daemon.until_status(*id, "online");
    }
    let address = daemon.address();
    let (stop, served, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (stop, served, acknowledged) = (&stop, &served, &acknowledged);
            scope.spawn(move || {
                let key = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
                for step in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let name = format!("load-{worker}-{step}");
                    let body = json!({"name": name, "host": "127.0.0.1", "port": 1}).to_string();
                    let answer = if worker < 2 {
                        http::request(address, "POST", "/api/gateways", &key, Some(body.as_bytes()))
                    } else {
                        http::request(address, "GET", "/api/gateways", &key, None)
                    };
                    let Ok(answer) = answer else { return };
                    assert!([200, 201, 503].contains(&answer.status), "{}", answer.text);
                    served.fetch_add(1, Ordering::SeqCst);
                    if answer.status == 201 {
                        acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                    }
                }
            });
        }
        wait::until("there is load", PATIENCE, || served.load(Ordering::SeqCst) > 100);
        let watch = Stopwatch::start();
        daemon.signal("TERM");
        // A disk that stands still takes all of the 10 s that the store has.
        let is_unhindered = daemon.ends_well();
        stop.store(true, Ordering::SeqCst);
        assert!(!is_unhindered || watch.elapsed() < Duration::from_secs(11), "took {:?}", watch.elapsed());
    });
    for gateway in &gateways {
        wait::until("the socket is closed", PATIENCE, || gateway.record().open == 0);
        let closes = gateway.record().closes;
        assert!(matches!(closes.last(), Some((Some(1000 | 1001), reason)) if !reason.is_empty()), "{closes:?}");
    }
    let daemon = setup.start();
    let listed: Vec<String> =
        daemon.gateways().iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect();
    for name in acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner) {
        assert!(listed.contains(&name), "{name} was acknowledged and is gone");
    }
}

#[test]
fn sigint_stops_as_cleanly() {
    let mut daemon = Daemon::start();
    daemon.signal("INT");
    daemon.ends_well();
}
