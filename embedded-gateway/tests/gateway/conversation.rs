//! Connections that keep to the rules.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Connect, Gateway, Incoming, within};

#[actix::test]
async fn a_client_is_challenged_let_in_and_answered() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.challenge["nonce"].as_str().unwrap().len(), 36);
    assert_eq!(client.hello["type"], "hello-ok");
    assert_eq!(client.hello["protocol"], 4);
    assert!(client.call("ping", json!({})).await["ts"].is_i64());
    gateway.stop().await;
}

#[actix::test]
async fn readers_hear_who_comes_and_who_goes() {
    let gateway = Gateway::start(|_| {}).await;
    let mut reader = Client::connect(&gateway).await;
    let page = Connect { client_id: "openclaw-tui", mode: "ui", device: Some([8; 32]), ..Connect::default() };
    let visitor = Client::connect_as(&gateway, page).await.unwrap();
    let has_it = |reason: &'static str| {
        move |frame: &serde_json::Value| {
            let rows = frame["payload"]["presence"].as_array();
            let row = rows.into_iter().flatten().find(|row| row["clientId"] == "openclaw-tui");
            frame["event"] == "presence" && row.is_some_and(|row| row["reason"] == reason)
        }
    };
    let come = reader.frame_where(has_it("connect")).await;
    drop(visitor);
    let gone = reader.frame_where(has_it("disconnect")).await;
    let version = |frame: &serde_json::Value| frame["stateVersion"]["presence"].as_u64().unwrap();
    assert!(version(&gone) > version(&come));
    assert_eq!(gone["payload"]["presence"][0]["mode"], "gateway", "the gateway itself comes first");
}

#[actix::test]
async fn an_unknown_method_is_said_to_be_unknown_and_the_connection_goes_on() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let error = client.try_call("nothing.of.the.kind", json!({})).await.unwrap_err();
    assert_eq!(error["message"], "unknown method: nothing.of.the.kind");
    client.call("ping", json!({})).await;
}

#[actix::test]
async fn a_session_is_described_by_the_row_that_it_has_in_the_list_and_a_missing_one_by_none() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    client.call("sessions.create", json!({"key": "agent:main:chat", "label": "Chat"})).await;
    let listed = client.call("sessions.list", json!({})).await;
    let described = client.call("sessions.describe", json!({"key": "agent:main:chat"})).await;
    assert_eq!(described["session"]["label"], "Chat");
    assert_eq!(described["session"]["sessionId"], listed["sessions"][0]["sessionId"]);
    assert_eq!(client.call("sessions.describe", json!({"key": "agent:main:other"})).await, json!({"session": null}));
}

/// What `openclaw tui` asks for when it connects.
#[actix::test]
async fn no_question_and_no_plugin_waits_for_an_answer() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.call("question.list", json!({})).await, json!({"questions": []}));
    assert_eq!(client.call("plugin.approval.list", json!({})).await, json!([]));
}

#[actix::test]
async fn malformed_requests_are_answered_and_the_connection_goes_on() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    client.send(json!({"type": "req", "method": "ping"})).await;
    let error = client.reply("invalid").await.unwrap_err();
    assert_eq!(error["message"], "invalid request frame: must have required property 'id'");
    client.send(json!([1, 2])).await;
    client.reply("invalid").await.unwrap_err();
    client.send_message(Message::text("no JSON at all")).await;
    client.call("ping", json!({})).await;
}

#[actix::test]
async fn binary_frames_are_read_as_text_is() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let frame = json!({"type": "req", "id": "b", "method": "ping"}).to_string();
    client.send_message(Message::binary(frame.into_bytes())).await;
    client.reply("b").await.unwrap();
}

#[actix::test]
async fn events_are_numbered_from_one_and_ticks_come() {
    let gateway = Gateway::start(|config| config.limits.tick = Duration::from_millis(20)).await;
    let mut client = Client::connect(&gateway).await;
    client.event_where("tick", |tick| tick["ts"].is_i64()).await;
    let first = client.frame_where(|frame| frame["event"] == "tick").await;
    let second = client.frame_where(|frame| frame["event"] == "tick").await;
    assert!(first["payload"]["ts"].is_i64());
    assert_eq!(second["seq"].as_u64().unwrap(), first["seq"].as_u64().unwrap() + 1);
}

#[actix::test]
async fn a_wrong_token_is_refused_in_words_and_then_closed() {
    let gateway = Gateway::start(|_| {}).await;
    let wrong = Connect { auth: json!({"token": "wrong"}), signed_token: "wrong".to_owned(), ..Connect::default() };
    let Err(refused) = Client::connect_as(&gateway, wrong).await else { panic!("it was let in") };
    assert_eq!(refused.error["details"]["code"], "AUTH_TOKEN_MISMATCH", "{refused:?}");
    assert_eq!(refused.close.0, 1008);
    assert!(!format!("{refused:?}").contains(crate::support::TOKEN));
}

#[actix::test]
async fn the_dialect_of_document_004_has_its_own_words() {
    let gateway = Gateway::start(|config| config.limits.tick = Duration::from_millis(20)).await;
    let mut client = Client::attempt(&gateway, &[]).await.unwrap();
    client.send(json!({"method": "auth", "params": {"token": crate::support::TOKEN}})).await;
    let hello = client.frame_where(|frame| frame.get("ok").is_some()).await;
    assert!(hello.get("type").is_none() && hello["ok"] == true && hello.get("result").is_some(), "{hello}");
    client.send(json!({"id": 7, "method": "ping"})).await;
    let pong = client.frame_where(|frame| frame["id"] == "7").await;
    assert!(pong["result"]["ts"].is_i64(), "{pong}");
    let tick = client.frame_where(|frame| frame["event"] == "tick").await;
    assert!(tick["data"]["ts"].is_i64() && tick.get("type").is_none(), "{tick}");
    client.send(json!({"method": "nothing"})).await;
    let error = client.frame_where(|frame| frame["ok"] == false).await;
    assert_eq!(error["error"]["message"], "unknown method: nothing");
}

#[actix::test]
async fn a_ping_is_answered_before_and_after_the_hello() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::attempt(&gateway, &[]).await.unwrap();
    client.send_message(Message::Ping("early".into())).await;
    assert!(matches!(client.incoming().await, Incoming::Pong));
    let params = client.params(&Connect::default());
    client.call("connect", params).await;
    client.send_message(Message::Ping("late".into())).await;
    while !matches!(client.incoming().await, Incoming::Pong) {}
}

#[actix::test]
async fn the_gateway_pings_and_keeps_who_answers() {
    let gateway = Gateway::start(|config| config.limits.ping = Duration::from_secs(3)).await;
    let mut client = Client::connect(&gateway).await;
    for _ in 0..2 {
        while !matches!(client.incoming().await, Incoming::Ping) {}
    }
    client.call("ping", json!({})).await;
}

#[actix::test]
async fn a_close_is_answered_with_its_own_code() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "bye".into() };
    client.send_message(Message::Close(Some(frame))).await;
    assert_eq!(client.closed().await.0, 1000);
}

#[actix::test]
async fn stopping_says_so_and_closes_with_1012() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let mut stranger = Client::attempt(&gateway, &[]).await.unwrap();
    let listening = async {
        let shutdown = client.event("shutdown").await;
        (shutdown, client.closed().await, stranger.closed().await)
    };
    let address = gateway.running().address;
    let ((shutdown, close, stranger), _) = tokio::join!(listening, gateway.stop());
    assert_eq!(shutdown["reason"], "gateway stopping");
    assert_eq!(close, (1012, "service restart".to_owned()));
    assert_eq!(stranger.0, 1012);
    assert!(within(tokio::net::TcpStream::connect(address)).await.is_err(), "nobody listens there any more");
}

#[actix::test]
async fn a_second_gateway_at_the_same_address_says_whose_fault_it_is() {
    let gateway = Gateway::start(|_| {}).await;
    let state = tempfile::TempDir::new().unwrap();
    let auth = gatewarden_embedded_gateway::config::Auth::None;
    let mut config = gatewarden_embedded_gateway::config::GatewayConfig::defaults(state.path().to_owned(), auth);
    config.port = gateway.running().address.port();
    let error = gatewarden_embedded_gateway::server::start(config).await.unwrap_err().to_string();
    assert!(error.contains("gateway.port"), "{error}");
}
