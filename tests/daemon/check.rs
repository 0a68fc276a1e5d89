//! `gatewarden check` names the right cause, with its cure, and the step that it met it at.

use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};

use super::support::background::runtime;
use super::support::daemon::{ADMIN_KEY, Daemon, Ended, PATIENCE, Setup};
use super::support::ports::free_port;
use super::support::scripted_gateway::{Behaviour, Case, Form, ScriptedGateway};
use super::support::tls_front::TlsFront;
use super::support::wait;

/// A check of an address with the token `right`, and a state directory of its own.
fn check(address: &str, more: &[&str]) -> Ended {
    let setup = Setup::new();
    let state = setup.state().display().to_string();
    // A busy test machine is not a slow gateway.
    let patience: &[&str] = if more.contains(&"--timeout") { &[] } else { &["--timeout", "30"] };
    let args = [&["check", address, "--state-dir", &state], patience, more].concat();
    setup.env("OPENCLAW_GATEWAY_TOKEN", "right").only_args(&args).run()
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// What must hold of every cause: exit code 1, the step and the code in JSON, a sentence and a cure for people.
#[track_caller]
fn causes(address: &str, more: &[&str], step: &str, code: &str, cure: &str) -> Value {
    let json = check(address, &[more, &["--json"]].concat());
    assert_eq!(json.code, Some(1), "{} {}", json.stdout, json.stderr);
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(report["cause"]["code"], code, "{report}");
    let failed = report["steps"].as_array().expect("steps").iter().find(|one| one["result"] == "failed");
    assert_eq!(failed.expect("a failed step")["step"], step, "{report}");
    let people = check(address, more);
    assert_eq!(people.code, Some(1));
    let last: Vec<&str> = people.stdout.lines().rev().take(2).collect();
    assert!(last[1].starts_with("Cause: ") && last[1].contains(code), "{}", people.stdout);
    assert!(last[0].starts_with("Cure:  ") && last[0].contains(cure), "{cure} is not in {}", people.stdout);
    for said in [&json, &people] {
        let all = format!("{} {}", said.stdout, said.stderr);
        assert!(!all.contains("right\"") && !all.contains(ADMIN_KEY), "a secret is in {all}");
    }
    report
}

#[test]
fn a_sound_gateway_of_every_kind_is_fine() {
    for form in [Form::Protocol4, Form::Protocol3, Form::Document002, Form::Rpc, Form::Http] {
        let gateway = ScriptedGateway::of(form.clone(), "right");
        // A gateway without a challenge is waited for.
        let ended = check(&local(gateway.port()), &["--timeout", "2"]);
        assert_eq!(ended.code, Some(0), "{form:?}: {} {}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("Everything is fine."), "{form:?}: {}", ended.stdout);
    }
}

#[test]
fn a_wrong_port_is_a_connection_refused() {
    let report = causes(&local(free_port()), &[], "tcp", "connection_refused", "check host and port");
    let steps = report["steps"].as_array().expect("steps");
    assert!(steps.iter().skip(2).all(|step| step["result"] == "skipped"), "{report}");
}

#[test]
fn a_black_hole_is_a_timeout_of_the_connection() {
    // A full queue of connections that nobody accepts: the system answers no further attempt.
    let (address, _kept) = runtime().block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("an address");
        let mut fillers = Vec::new();
        while let Ok(filler) =
            tokio::time::timeout(std::time::Duration::from_millis(200), TcpStream::connect(address)).await
        {
            fillers.push(filler.expect("a connection"));
        }
        (address, (listener, fillers))
    });
    causes(&address.to_string(), &["--timeout", "1"], "tcp", "dial_timeout", "firewall");
}

#[test]
fn a_wrong_token_is_named_and_not_shown() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "another");
    causes(&local(gateway.port()), &[], "handshake", "token_mismatch", "gateway.auth.token");
    let http = ScriptedGateway::of(Form::Http, "another");
    causes(&local(http.port()), &[], "handshake", "token_mismatch", "gateway.auth.token");
}

#[test]
fn an_unpaired_device_is_told_how_to_be_approved() {
    for form in [Form::Protocol4, Form::Protocol3] {
        let gateway = ScriptedGateway::start(Behaviour::of(form, "right").refuses(Case::PairingRequired));
        causes(&local(gateway.port()), &[], "handshake", "pairing_required", "openclaw devices approve 0b6f0f6a");
    }
}

#[test]
fn an_unknown_certificate_is_shown_with_the_pin_that_would_trust_it() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let front = TlsFront::before(gateway.port(), &["127.0.0.1"]);
    let address = format!("wss://127.0.0.1:{}", front.port());
    let cure = format!("--pin {}", front.pin());
    causes(&address, &[], "tls", "tls_not_trusted", &cure);
    let other = TlsFront::before(gateway.port(), &["127.0.0.1"]);
    causes(&address, &["--pin", other.pin()], "tls", "tls_not_trusted", &cure);
    assert!(gateway.record().attempts.is_empty(), "nobody logs in over a connection that is not trusted");

    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, front.pem()).expect("written");
    let ca = ca.display().to_string();
    for trust in [vec!["--pin", front.pin()], vec!["--ca", ca.as_str()], vec!["--insecure"]] {
        let ended = check(&address, &trust);
        assert_eq!(ended.code, Some(0), "{trust:?}: {}", ended.stdout);
        assert!(ended.stdout.contains(front.pin()), "{}", ended.stdout);
    }
    causes(&local(front.port()), &[], "upgrade", "tls_expected", &address);
    causes(&format!("wss://127.0.0.1:{}", gateway.port()), &[], "tls", "tls_failed", "ws://");
}

#[test]
fn a_web_server_is_told_from_a_gateway_and_gets_no_token() {
    let server = ScriptedGateway::of(Form::WebServer, "right");
    let report = causes(&local(server.port()), &[], "upgrade", "not_a_gateway", "18789");
    let message = report["cause"]["message"].as_str().expect("a sentence");
    assert!(message.contains("web server and no gateway") && message.contains("text/html"), "{message}");
    assert!(server.record().attempts.is_empty());
    let elsewhere = ScriptedGateway::of(Form::Redirect("https://gateway.example/".to_owned()), "right");
    causes(&local(elsewhere.port()), &[], "upgrade", "redirected", "wss://");
}

#[test]
fn a_protocol_that_is_too_old_is_named() {
    for form in [Form::Protocol3, Form::Release219] {
        let gateway = ScriptedGateway::start(Behaviour::of(form, "right").refuses(Case::ProtocolMismatch));
        causes(&local(gateway.port()), &[], "handshake", "protocol_mismatch", "3 and 4");
    }
}

#[test]
fn a_clock_ten_minutes_off_is_named_whether_or_not_the_gateway_tells_its_time() {
    for (ahead_ms, side) in [(600_000, "10 min ahead of"), (-600_000, "10 min behind")] {
        let told = Behaviour { clock_ahead_ms: ahead_ms, ..Behaviour::of(Form::Protocol4, "right") };
        let gateway = ScriptedGateway::start(told);
        let report = causes(&local(gateway.port()), &[], "clock", "clock_skew", "NTP");
        assert!(report["cause"]["message"].as_str().is_some_and(|words| words.contains(side)), "{report}");
    }
    let silent = Behaviour { clock_ahead_ms: -600_000, ..Behaviour::of(Form::Document002, "right") };
    let gateway = ScriptedGateway::start(silent);
    causes(&local(gateway.port()), &[], "handshake", "device_signature_expired", "NTP");
}

#[test]
fn a_check_beside_the_daemon_uses_its_device_and_what_it_stores_and_disturbs_nothing() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "stored");
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "stored");
    daemon.until_status(id, "online");
    let device = daemon.get("/api/identity").expect(200).json()["device_id"].clone();
    let state = daemon.setup().state().display().to_string();
    let address = local(gateway.port());
    let ended = Setup::new().only_args(&["check", &address, "--state-dir", &state, "--json"]).run();
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&report["device"]["id"], &report["registered_as"]), (&device, &Value::from("lab")));
    assert!(!ended.stdout.contains("stored"), "{}", ended.stdout);
    let own = Setup::new().only_args(&["check", &address, "--state-dir", &state, "--own-device", "--quiet"]).run();
    assert_eq!((own.code, own.stdout.as_str()), (Some(1), "token_missing\n"), "nothing stored is used");
    assert_eq!(daemon.gateway(id)["status"], "online");
    wait::until("the check has said goodbye", PATIENCE, || gateway.record().open == 1);
}

#[test]
fn what_cannot_be_an_address_is_wrong_usage() {
    for address in ["127.0.0.1:0", "ftp://127.0.0.1", "169.254.169.254", "ws://user:right@127.0.0.1"] {
        let ended = check(address, &[]);
        assert_eq!(ended.code, Some(64), "{address}: {} {}", ended.stdout, ended.stderr);
        assert!(!ended.stderr.contains("right"), "{}", ended.stderr);
    }
    let name = check("gateway.invalid", &["--timeout", "3", "--quiet"]);
    assert_eq!(name.code, Some(1), "{}", name.stderr);
}
