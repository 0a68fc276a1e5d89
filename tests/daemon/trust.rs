//! TLS towards gateways: whom each trust mode lets in, and that nothing secret is said to anybody else.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::tls_front::TlsFront;

fn register(daemon: &Daemon, name: &str, front: &TlsFront, tls: Option<Value>) -> i64 {
    let mut body = json!({"name": name, "host": format!("wss://127.0.0.1:{}", front.port()), "token": "right"});
    if let Some(tls) = tls {
        body["tls"] = tls;
    }
    daemon.register_with(&body)
}

#[test]
fn a_self_signed_certificate_is_trusted_by_its_own_ca_its_pin_or_not_at_all() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let front = TlsFront::before(gateway.port(), &["127.0.0.1"]);
    let other = TlsFront::before(gateway.port(), &["127.0.0.1"]);
    let daemon = Daemon::start();
    let refused = [
        register(&daemon, "system", &front, None),
        register(&daemon, "other-ca", &front, Some(json!({"trust": "ca", "ca_pem": other.pem()}))),
        register(&daemon, "other-pin", &front, Some(json!({"trust": "pins", "pins": [other.pin()]}))),
    ];
    for id in refused {
        let shown = daemon.until_code(id, "tls_not_trusted");
        assert_eq!(shown["status"], "offline", "{shown}");
        assert!(shown["last_error"]["help"].as_str().is_some_and(|help| help.contains("pins")), "{shown}");
    }
    assert!(gateway.record().attempts.is_empty(), "a login was sent over a connection that is not trusted");
    let trusted = [
        register(&daemon, "ca", &front, Some(json!({"trust": "ca", "ca_pem": front.pem()}))),
        register(&daemon, "pin", &front, Some(json!({"trust": "pins", "pins": [other.pin(), front.pin()]}))),
        register(&daemon, "none", &front, Some(json!({"trust": "none"}))),
    ];
    for id in trusted {
        daemon.until_status(id, "online");
    }
}

#[test]
fn a_certificate_for_another_name_is_not_trusted_although_its_ca_is() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let front = TlsFront::before(gateway.port(), &["gateway.example"]);
    let daemon = Daemon::start();
    let id = register(&daemon, "named", &front, Some(json!({"trust": "ca", "ca_pem": front.pem()})));
    daemon.until_code(id, "tls_not_trusted");
    daemon.update(&json!({"id": id, "tls": {"trust": "pins", "pins": [front.pin()]}})).expect(200);
    daemon.until_status(id, "online");
}

#[test]
fn tls_where_there_is_none_is_said_and_a_plain_dial_of_a_tls_port_is_no_gateway_that_works() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let front = TlsFront::before(gateway.port(), &["127.0.0.1"]);
    let daemon = Daemon::start();
    let body = json!({"name": "plain", "host": format!("wss://127.0.0.1:{}", gateway.port()), "token": "right"});
    let id = daemon.register_with(&body);
    let shown =
        daemon.until(id, "TLS fails", crate::support::daemon::PATIENCE, |shown| shown["last_error"].is_object());
    assert!(
        ["tls_failed", "connection_reset"].contains(&shown["last_error"]["code"].as_str().unwrap_or_default()),
        "{shown}"
    );
    let id = daemon.register("secret-port", front.port(), "right");
    let shown = daemon.until(id, "it fails", crate::support::daemon::PATIENCE, |shown| shown["last_error"].is_object());
    assert_ne!(shown["status"], "online", "{shown}");
}
