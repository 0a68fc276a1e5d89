//! The scripted gateway against a client that is not ours: it must be right before it may judge the daemon.

mod runs;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::background::runtime;
use crate::support::chaos_proxy::{ChaosProxy, Link};
use crate::support::http;
use crate::support::scripted_gateway::{Behaviour, Case, Fault, Form, Replies, ScriptedGateway, Step};

type Socket = WebSocketStream<TcpStream>;
/// Makes a connect request wrong.
type Spoil = fn(&mut Value);

const SECOND: Duration = Duration::from_secs(10);

fn block<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (give, take) = std::sync::mpsc::channel();
    runtime().spawn(async move {
        let _ = give.send(future.await);
    });
    take.recv_timeout(Duration::from_secs(30)).expect("the client ends in time")
}

async fn dial(port: u16) -> Result<Socket, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
    let dialled = client_async(format!("ws://127.0.0.1:{port}/"), stream);
    match tokio::time::timeout(SECOND, dialled).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("timeout".to_owned()),
    }
}

async fn next(socket: &mut Socket) -> Result<Value, String> {
    loop {
        match tokio::time::timeout(SECOND, socket.next()).await {
            Err(_) => return Err("timeout".to_owned()),
            Ok(None) => return Err("end".to_owned()),
            Ok(Some(Err(error))) => return Err(error.to_string()),
            Ok(Some(Ok(Message::Text(text)))) => return serde_json::from_str(&text).map_err(|error| error.to_string()),
            Ok(Some(Ok(Message::Close(Some(frame))))) => {
                return Err(format!("close {} {}", u16::from(frame.code), frame.reason));
            }
            Ok(Some(Ok(_))) => {}
        }
    }
}

async fn send(socket: &mut Socket, value: Value) {
    // a failure to send shows itself at the next read
    let _ = socket.send(Message::text(value.to_string())).await;
}

fn params(challenge: &Value, token: &str, seed: u8) -> Value {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let public = key.verifying_key().to_bytes();
    let id: String = Sha256::digest(public).iter().map(|byte| format!("{byte:02x}")).collect();
    let (nonce, at) = (challenge["nonce"].as_str().unwrap_or_default(), challenge["ts"].as_i64().unwrap_or_default());
    let text = format!("v2|{id}|gateway-client|backend|operator|operator.admin|{at}|{token}|{nonce}");
    json!({
        "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.admin"], "caps": [],
        "client": {"id": "gateway-client", "mode": "backend", "version": "0.1.0", "platform": "linux"},
        "auth": {"token": token},
        "device": {"id": id, "publicKey": URL_SAFE_NO_PAD.encode(public), "signedAt": at, "nonce": nonce,
                   "signature": URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).to_bytes())},
    })
}

async fn connect(port: u16, token: &str) -> Result<(Socket, Value), String> {
    let mut socket = dial(port).await?;
    let challenge = next(&mut socket).await?;
    let params = params(&challenge["payload"], token, 7);
    send(&mut socket, json!({"type": "req", "id": "c1", "method": "connect", "params": params})).await;
    let hello = next(&mut socket).await?;
    if hello["ok"] == true {
        return Ok((socket, hello));
    }
    let end = next(&mut socket).await.expect_err("a refusal is followed by a close");
    Err(format!("{} then {end}", hello["error"]["details"]["code"].as_str().unwrap_or("no code")))
}

fn connect_to(gateway: &ScriptedGateway, token: &'static str) -> Result<Value, String> {
    let port = gateway.port();
    block(async move { connect(port, token).await.map(|(_, hello)| hello) })
}

#[test]
fn a_signed_client_with_the_right_token_is_let_in_by_both_protocols() {
    for (form, protocol, version) in [(Form::Protocol4, 4, "2026.9.6"), (Form::Protocol3, 3, "2026.3.24")] {
        let gateway = ScriptedGateway::of(form, "right");
        let hello = connect_to(&gateway, "right").expect("let in");
        assert_eq!(hello["payload"]["protocol"], protocol);
        assert_eq!(hello["payload"]["server"]["version"], version);
        assert_eq!(gateway.record().accepted(), 1);
    }
}

#[test]
fn a_wrong_token_a_bad_signature_and_a_missing_device_are_told_apart() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let refused = connect_to(&gateway, "wrong").expect_err("refused");
    assert!(refused.starts_with("AUTH_TOKEN_MISMATCH then close 1008"), "{refused}");
    let port = gateway.port();
    let code_of = move |spoil: Spoil| {
        block(async move {
            let mut socket = dial(port).await.expect("dialled");
            let challenge = next(&mut socket).await.expect("a challenge");
            let mut params = params(&challenge["payload"], "right", 7);
            spoil(&mut params);
            send(&mut socket, json!({"type": "req", "id": "c1", "method": "connect", "params": params})).await;
            next(&mut socket).await.expect("an answer")["error"]["details"]["code"].as_str().map(str::to_owned)
        })
    };
    let cases: [(Spoil, &str); 4] = [
        (|params| params["scopes"] = json!(["operator.read"]), "DEVICE_AUTH_SIGNATURE_INVALID"),
        (|params| params["device"]["nonce"] = json!("other"), "DEVICE_AUTH_NONCE_MISMATCH"),
        (|params| params["device"]["id"] = json!("0".repeat(64)), "DEVICE_AUTH_DEVICE_ID_MISMATCH"),
        (|params| params["maxProtocol"] = json!(3), "PROTOCOL_MISMATCH"),
    ];
    for (spoil, code) in cases {
        assert_eq!(code_of(spoil).as_deref(), Some(code));
    }
}

#[test]
fn every_refusal_of_every_form_is_an_error_followed_by_its_close() {
    for form in [Form::Protocol4, Form::Protocol3, Form::Release219, Form::Document002] {
        for case in Case::ALL {
            let gateway = ScriptedGateway::start(Behaviour::of(form.clone(), "right").refuses(case));
            let refused = connect_to(&gateway, "right").expect_err("refused");
            let code = match case {
                Case::ProtocolMismatch => "close 1002",
                Case::Starting => "close 1013",
                _ => "close 1008",
            };
            assert!(refused.contains(code), "{form:?} {case:?}: {refused}");
            assert_eq!(gateway.record().attempts.len(), 1);
        }
    }
}

#[test]
fn every_fault_at_every_step_ends_or_stalls_the_client_and_a_good_behaviour_lets_it_in_again() {
    let faults = [
        Fault::End,
        Fault::Reset,
        Fault::Close(1012, "service restart".into()),
        Fault::Garbage,
        Fault::NotJson,
        Fault::Truncated,
        Fault::ResetMidFrame,
    ];
    let good = Behaviour::of(Form::Protocol4, "right");
    let gateway = ScriptedGateway::start(good.clone());
    for step in [Step::Accept, Step::Upgrade, Step::Challenge, Step::Connect, Step::Hello] {
        for fault in faults.clone() {
            let harmless = fault == Fault::NotJson;
            gateway.behave(good.clone().fails(step, fault.clone()));
            let result = connect_to(&gateway, "right");
            assert!(harmless || result.is_err(), "{step:?} {fault:?}: {result:?}");
        }
    }
    gateway.behave(good);
    assert!(connect_to(&gateway, "right").is_ok());
}

#[test]
fn replies_can_be_doubled_reversed_misaddressed_or_left_out() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let port = gateway.port();
    let ids = |replies: Replies, wanted: usize| {
        gateway.change(|behaviour| behaviour.replies = replies);
        block(async move {
            let (mut socket, _) = connect(port, "right").await.expect("let in");
            for id in ["r1", "r2"] {
                send(&mut socket, json!({"type": "req", "id": id, "method": "health", "params": {}})).await;
            }
            let mut ids = Vec::new();
            while ids.len() < wanted {
                let frame = next(&mut socket).await.expect("a reply");
                ids.push(frame["id"].as_str().unwrap_or_default().to_owned());
            }
            ids
        })
    };
    assert_eq!(ids(Replies::Normal, 2), ["r1", "r2"]);
    assert_eq!(ids(Replies::Twice, 4), ["r1", "r1", "r2", "r2"]);
    assert_eq!(ids(Replies::Reversed, 2), ["r2", "r1"]);
    assert_eq!(ids(Replies::WrongId, 2), ["nobody-asked-this", "nobody-asked-this"]);
    assert_eq!(gateway.record().asked("health"), 8);
}

#[test]
fn a_fragmented_padded_hello_arrives_whole() {
    let gateway = ScriptedGateway::start(Behaviour {
        hello_padding: 200_000,
        hello_pieces: Some(1_000),
        ..Behaviour::of(Form::Protocol3, "right")
    });
    let hello = connect_to(&gateway, "right").expect("let in");
    assert_eq!(hello["payload"]["padding"].as_str().map(str::len), Some(200_000));
}

#[test]
fn a_killed_gateway_refuses_and_comes_back_on_its_port() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    assert!(connect_to(&gateway, "right").is_ok());
    gateway.kill();
    assert!(connect_to(&gateway, "right").is_err());
    gateway.revive();
    assert!(connect_to(&gateway, "right").is_ok());
}

#[test]
fn device_tokens_are_given_out_kept_and_revoked() {
    let behaviour = Behaviour { issues_device_tokens: true, ..Behaviour::of(Form::Protocol4, "right") };
    let gateway = ScriptedGateway::start(behaviour);
    let hello = connect_to(&gateway, "right").expect("let in");
    let token = hello["payload"]["auth"]["deviceToken"].as_str().expect("a device token").to_owned();
    let (port, good) = (gateway.port(), token.clone());
    assert!(block(async move { connect(port, &good).await.map(drop) }).is_ok());
    gateway.revoke_device_tokens();
    assert!(block(async move { connect(port, &token).await.map(drop) }).is_err());
}

#[test]
fn the_rpc_form_wants_auth_first_and_says_nothing_before() {
    let gateway = ScriptedGateway::of(Form::Rpc, "right");
    let port = gateway.port();
    let info = block(async move {
        let mut socket = dial(port).await.expect("dialled");
        send(&mut socket, json!({"method": "auth", "params": {"token": "right"}})).await;
        next(&mut socket).await.expect("an answer");
        send(&mut socket, json!({"id": 2, "method": "gateway.info", "params": {}})).await;
        next(&mut socket).await.expect("an answer")
    });
    assert_eq!(info["result"]["version"], "2026.2.19");
    assert_eq!(info["id"], 2);
}

#[test]
fn the_http_form_refuses_upgrades_and_wants_its_bearer_token() {
    let gateway = ScriptedGateway::of(Form::Http, "right");
    let to = ([127, 0, 0, 1], gateway.port()).into();
    assert!(connect_to(&gateway, "right").is_err());
    assert_eq!(http::request(to, "GET", "/health", &[], None).expect("an answer").json()["status"], "ok");
    assert_eq!(http::request(to, "GET", "/sessions", &[], None).expect("an answer").status, 401);
    let with = [("Authorization", "Bearer right")];
    assert_eq!(http::request(to, "GET", "/sessions", &with, None).expect("an answer").status, 200);
    let web = ScriptedGateway::of(Form::WebServer, "");
    let to = ([127, 0, 0, 1], web.port()).into();
    let page = http::request(to, "GET", "/health", &[], None).expect("an answer");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
}

#[test]
fn the_proxy_passes_delays_and_cuts() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let proxy = ChaosProxy::before(gateway.port());
    let port = proxy.port();
    assert!(block(async move { connect(port, "right").await.map(drop) }).is_ok());
    assert!(proxy.passed() > 0);
    proxy.set(Link::Delayed(Duration::from_millis(20)));
    assert!(block(async move { connect(port, "right").await.map(drop) }).is_ok());
    proxy.set(Link::Cut);
    assert!(block(async move { connect(port, "right").await.map(drop) }).is_err());
    proxy.set(Link::Clear);
    assert!(block(async move { connect(port, "right").await.map(drop) }).is_ok());
}
