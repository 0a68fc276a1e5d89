//! `gatewarden check` names the right cause, with its cure, and the step that it met it at.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

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
        let limit: &[&str] = if form == Form::Rpc { &["--timeout", "5"] } else { &[] };
        let ended = check(&local(gateway.port()), limit);
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

/// A full queue of connections that nobody accepts: the system answers no further attempt. It stays so while the rest is kept.
fn black_hole() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    runtime().block_on(async {
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
    })
}

#[test]
fn a_black_hole_is_a_timeout_of_the_connection() {
    let (address, _kept) = black_hole();
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
fn what_has_a_health_document_and_no_sessions_is_doubted_as_the_daemon_takes_it() {
    let daemon = Daemon::start();
    let ended = check(&local(daemon.address().port()), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(ended.stdout.contains("404 to GET /sessions: it has a health document and no more"), "{}", ended.stdout);
    let other = Daemon::start();
    other.until_status(other.register("web", daemon.address().port(), "right"), "online");
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
    let ended = Setup::new().only_args(&["check", &address, "--state-dir", &state, "--timeout", "30", "--json"]).run();
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
fn a_gateway_is_checked_over_the_api_before_it_is_registered_or_changed_and_nothing_is_stored() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let lines = |body: &Value| -> Vec<Value> {
        let answer = daemon.post("/api/gateways/check", body).expect(200);
        let data = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
    };
    let new = |token: &str| json!({"name": "lab", "host": "127.0.0.1", "port": gateway.port(), "token": token});
    let found = lines(&new("right"));
    let (report, steps) = found.split_last().expect("lines");
    assert_eq!((&report["ok"], &report["registered_as"]), (&json!(true), &Value::Null), "{report}");
    let told: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert!(["tcp", "http", "upgrade", "handshake"].iter().all(|step| told.contains(step)), "{told:?}");
    let report = lines(&new("wrong")).pop().expect("a report");
    assert_eq!(report["cause"]["code"], "token_mismatch", "{report}");
    assert!(report["cause"]["help"].as_str().is_some_and(|help| !help.contains("--token-file")), "{report}");
    let stored = daemon.get("/api/gateways").expect(200).text;
    assert!(!stored.contains("\"lab\""), "{stored}");

    // A change is checked with the secrets that are stored.
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    let report = lines(&json!({"id": id, "priority": 5})).pop().expect("a report");
    assert_eq!((&report["ok"], &report["registered_as"]), (&json!(true), &json!("lab")), "{report}");
    let report = lines(&json!({"id": id, "port": free_port()})).pop().expect("a report");
    assert_eq!(report["cause"]["code"], "connection_refused", "{report}");
    assert_eq!(daemon.gateway(id)["port"], gateway.port());
    assert_eq!(daemon.gateway(id)["status"], "online");

    // By the rules for what is registered.
    let forbidden = json!({"name": "x", "host": "169.254.169.254", "port": 80});
    assert_eq!(daemon.post("/api/gateways/check", &forbidden).expect(400).json()["code"], "address_forbidden");
    daemon.post("/api/gateways/check", &json!({"name": "x"})).expect(400);
    daemon.post("/api/gateways/check", &json!({"id": 999})).expect(404);
    let audit = daemon.get("/api/audit?limit=50").expect(200).text;
    assert!(
        audit.contains(&format!("address 127.0.0.1:{}", gateway.port())) && !audit.contains("\"right\""),
        "{audit}"
    );
}

#[test]
fn a_check_whose_client_leaves_ends_and_no_more_than_four_go_on_at_one_time() {
    let (address, _kept) = black_hole();
    let daemon = Daemon::start();
    let body = json!({"name": "hole", "host": "127.0.0.1", "port": address.port()}).to_string();
    let request = format!(
        "POST /api/gateways/check HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {ADMIN_KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(daemon.address()).expect("a connection");
            client.write_all(request.as_bytes()).expect("sent");
            let mut head = [0; 15];
            client.read_exact(&mut head).expect("an answer that begins");
            assert_eq!(&head, b"HTTP/1.1 200 OK");
            client
        })
        .collect();
    let another =
        || daemon.post("/api/gateways/check", &json!({"name": "x", "host": "127.0.0.1", "port": free_port()}));
    let refused = another().expect(503);
    assert_eq!(refused.json()["code"], "unavailable");
    drop(clients);
    wait::until("the places are free again", PATIENCE, || another().status == 200);
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
