//! Metrics, the log and systemd's status line tell the same story as the API.

use serde_json::json;

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::notify_socket::NotifySocket;
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

/// The value of a sample whose line starts with this.
fn sample(text: &str, start: &str) -> Option<f64> {
    text.lines()
        .find(|line| line.starts_with(start))
        .and_then(|line| line.rsplit(' ').next())
        .and_then(|value| value.parse().ok())
}

#[test]
fn metrics_follow_a_gateway_and_drop_its_series_when_it_is_deleted() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("metered", gateway.port(), "right");
    daemon.until_status(id, "online");
    let state = |name: &str| format!("gatewarden_gateway_state{{gateway=\"{id}\",state=\"{name}\"}}");
    wait::until("the metrics say online", PATIENCE, || sample(&daemon.metrics(), &state("online")) == Some(1.0));
    for series in [
        "gatewarden_build_info",
        "gatewarden_gateways",
        "gatewarden_http_requests_total",
        "gatewarden_breaker_state",
        "gatewarden_gateway_latency_seconds_bucket",
        "gatewarden_rpcs_total",
        "gatewarden_store_queue",
    ] {
        // What counts answers begins with the first one.
        wait::until_ok("its series are there", PATIENCE, || {
            let text = daemon.metrics();
            let is_there = text.lines().any(|line| line.starts_with(series));
            if is_there { Ok(()) } else { Err(format!("no {series} in:\n{text}")) }
        });
    }
    gateway.kill();
    wait::until("the metrics say offline", PATIENCE, || sample(&daemon.metrics(), &state("offline")) == Some(1.0));
    assert_eq!(sample(&daemon.metrics(), &state("online")), Some(0.0));
    gateway.revive();
    daemon.until_status(id, "online");
    wait::until("a reconnect is counted", PATIENCE, || {
        sample(&daemon.metrics(), &format!("gatewarden_reconnects_total{{gateway=\"{id}\"}}"))
            .is_some_and(|count| count >= 1.0)
    });
    daemon.delete(id).expect(200);
    let label = format!("gateway=\"{id}\"");
    wait::until("its series are gone", PATIENCE, || !daemon.metrics().contains(&label));
    let forwarded =
        crate::support::http::request(daemon.address(), "GET", "/metrics", &[("X-Forwarded-For", "10.0.0.1")], None);
    assert!(
        [401, 403, 404].contains(&forwarded.expect("an answer").status),
        "metrics were given to a forwarded request"
    );
}

#[test]
fn a_change_of_status_is_one_log_line_with_gateway_from_to_and_reason() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Setup::new().env("GATEWARDEN_LOG__LEVEL", "info").start();
    let id = daemon.register("logged", gateway.port(), "right");
    daemon.until_status(id, "online");
    gateway.kill();
    daemon.until_status(id, "offline");
    wait::until_ok("the log tells both changes", PATIENCE, || {
        let lines: Vec<String> =
            daemon.log_lines().iter().map(ToString::to_string).filter(|line| line.contains("logged")).collect();
        let online = lines.iter().any(|line| line.contains("\"online\""));
        let offline = lines.iter().any(|line| line.contains("\"offline\"") && line.contains("connection_re"));
        if online && offline { Ok(()) } else { Err(lines.join("\n")) }
    });
    let log = daemon.log();
    let garbled: Vec<&str> =
        log.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).collect();
    assert!(garbled.is_empty(), "not JSON: {garbled:?}");
}

#[test]
fn systemd_hears_ready_a_status_line_the_watchdog_and_stopping() {
    let setup = Setup::new();
    let systemd = NotifySocket::at(&setup.state().with_extension("notify"));
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = setup.env("NOTIFY_SOCKET", &systemd.address()).env("WATCHDOG_USEC", "2000000").start();
    wait::until("READY=1", PATIENCE, || systemd.has_heard(|line| line == "READY=1"));
    let id = daemon.register("watched", gateway.port(), "right");
    let primary = daemon.update(&json!({"id": id, "is_primary": true})).expect(200);
    assert_eq!(primary.json()["gateway"]["is_primary"], true);
    daemon.until_status(id, "online");
    wait::until("a status line with counts and the primary", PATIENCE, || {
        systemd.has_heard(|line| line == "STATUS=1 of 2 gateways online, primary watched")
    });
    let beats = || systemd.heard().iter().filter(|line| *line == "WATCHDOG=1").count();
    let before = beats();
    wait::until("the watchdog is fed", PATIENCE, || beats() >= before + 2);
    daemon.stop();
    wait::until("STOPPING=1", PATIENCE, || systemd.has_heard(|line| line == "STOPPING=1"));
}
