//! Pairing, device tokens and who is let in, over real sockets.

use serde_json::json;

use crate::support::{Client, Connect, Gateway};

/// A browser on this machine: it needs an approval.
fn from_a_page() -> Connect {
    Connect {
        client_id: "openclaw-control-ui",
        mode: "ui",
        device: Some([8; 32]),
        headers: vec![("origin", "http://localhost:5173".to_owned())],
        ..Connect::default()
    }
}

/// A device with its token instead of the shared one.
fn by_token(token: &str) -> Connect {
    Connect {
        client_id: "cli",
        mode: "cli",
        auth: json!({"deviceToken": token}),
        signed_token: token.to_owned(),
        ..Connect::default()
    }
}

fn cli() -> Connect {
    Connect { client_id: "cli", mode: "cli", ..Connect::default() }
}

#[actix::test]
async fn an_administrator_hears_of_a_device_and_approves_it() {
    let gateway = Gateway::start(|_| {}).await;
    let mut admin = Client::connect(&gateway).await;
    let refused = Client::connect_as(&gateway, from_a_page()).await.err().unwrap();
    assert_eq!(refused.error["code"], "NOT_PAIRED");
    let request = refused.error["details"]["requestId"].as_str().unwrap();
    let reason = format!("pairing required: device is not approved yet (requestId: {request})");
    assert_eq!(refused.close, (1008, reason));
    let told = admin.event("device.pair.requested").await;
    assert_eq!(told["requestId"], request);
    admin.call("device.pair.approve", json!({"requestId": request})).await;
    assert_eq!(admin.event("device.pair.resolved").await["decision"], "approved");
    let page = Client::connect_as(&gateway, from_a_page()).await.unwrap();
    assert_eq!(page.hello["auth"]["deviceToken"].as_str().unwrap().len(), 43);
}

#[actix::test]
async fn devices_and_their_tokens_outlive_the_gateway_and_are_kept_as_hashes() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::connect_as(&gateway, cli()).await.unwrap();
    let token = client.hello["auth"]["deviceToken"].as_str().unwrap().to_owned();
    let state = gateway.stop().await;
    let kept = std::fs::read_to_string(state.path().join("devices.json")).unwrap();
    assert!(!kept.contains(&token));
    let gateway = Gateway::start_in(state, |_| {}).await;
    let client = Client::connect_as(&gateway, by_token(&token)).await.unwrap();
    assert_eq!(client.hello["auth"]["method"], "device-token");
    assert_eq!(client.hello["auth"]["deviceToken"], token.as_str());
    gateway.stop().await;
}

#[actix::test]
async fn a_removed_device_is_closed_and_stays_out() {
    let gateway = Gateway::start(|_| {}).await;
    let mut admin = Client::connect_as(&gateway, Connect { device: None, ..Connect::default() }).await.unwrap();
    let mut client = Client::connect_as(&gateway, cli()).await.unwrap();
    let token = client.hello["auth"]["deviceToken"].as_str().unwrap().to_owned();
    let list = admin.call("device.pair.list", json!({})).await;
    let id = list["paired"][0]["deviceId"].clone();
    admin.call("device.pair.remove", json!({"deviceId": id})).await;
    assert_eq!(client.closed().await, (4001, "device removed".to_owned()));
    let refused = Client::connect_as(&gateway, by_token(&token)).await.err().unwrap();
    assert_eq!(refused.error["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    admin.call("ping", json!({})).await;
}

#[actix::test]
async fn a_page_that_guesses_is_locked_out_alone() {
    let gateway = Gateway::start(|config| config.limits.auth_failures = 3).await;
    let guess = || Connect { auth: json!({"token": "wrong"}), signed_token: "wrong".into(), ..from_a_page() };
    for _ in 0..3 {
        let refused = Client::connect_as(&gateway, guess()).await.err().unwrap();
        assert_eq!(refused.error["details"]["code"], "AUTH_TOKEN_MISMATCH");
    }
    let refused = Client::connect_as(&gateway, guess()).await.err().unwrap();
    assert_eq!(refused.error["details"]["code"], "AUTH_RATE_LIMITED");
    assert!(refused.error["retryAfterMs"].as_u64().unwrap() > 290_000);
    let right = Client::connect_as(&gateway, from_a_page()).await.err().unwrap();
    assert_eq!(right.error["details"]["code"], "PAIRING_REQUIRED", "as without the guesses");
    Client::connect(&gateway).await.call("ping", json!({})).await;
}

#[actix::test]
async fn a_client_of_document_002_finds_results_where_it_looks() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::attempt(&gateway, &[]).await.unwrap();
    assert_eq!(client.challenge["protocols"], json!([3, 4]));
    assert_eq!(client.challenge["deviceAuthRequired"], true);
    let sample = Connect { mode: "ui", protocols: (3, 3), scopes: vec!["operator.admin"], ..Connect::default() };
    let params = client.params(&sample);
    client.send(json!({"type": "req", "id": "mc-1", "method": "connect", "params": params})).await;
    let reply = client.frame_where(|frame| frame["id"] == "mc-1").await;
    assert_eq!(reply["result"]["protocol"], 3);
    let token = reply["result"]["deviceToken"].as_str().unwrap().to_owned();
    client.send(json!({"type": "req", "id": "p", "method": "ping"})).await;
    let reply = client.frame_where(|frame| frame["id"] == "p").await;
    assert!(reply["result"]["ts"].is_i64());
    // Its reconnect: the cached token, no signature.
    let again = Connect { device: None, auth: json!({}), more: json!({"deviceToken": token}), ..sample };
    let mut again = Client::connect_as(&gateway, again).await.unwrap();
    again.call("sessions.list", json!({})).await;
}
