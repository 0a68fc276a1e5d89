//! WhatsApp as a channel of the embedded gateway, as its operators have it: the real binary, a scripted Graph API, and kills.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::support::daemon::PATIENCE;
use super::support::http;
use super::support::own_gateway::{GatewayHome, GatewayProcess};
use super::support::wait;
use super::support::webhook_receiver::WebhookReceiver;

const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
const NUMBER: &str = "106540352242922";
const PERSON: &str = "16505551234";
const PATH: &str = "/channels/whatsapp";

/// It says the same to whatever it is asked.
fn graph_api() -> WebhookReceiver {
    let said = json!({"id": NUMBER, "display_phone_number": "+1 555-078-3881", "verified_name": "Shop",
        "messages": [{"id": "wamid.OUT"}]});
    WebhookReceiver::saying(&said.to_string())
}

fn home(service: &WebhookReceiver, access: &Value) -> GatewayHome {
    let sample =
        json!({"program": env!("CARGO_BIN_EXE_gatewarden"), "args": ["gateway", "sample-agent"], "jsonLines": true});
    let cloud = json!({"phoneNumberId": NUMBER, "accessToken": "EAAtoken", "appSecret": APP_SECRET,
        "verifyToken": "a-word", "apiRoot": format!("http://127.0.0.1:{}/v25.0", service.port())});
    let mut whatsapp = json!({"cloudApi": cloud});
    whatsapp.as_object_mut().expect("an object").extend(access.as_object().expect("an object").clone());
    let config = json!({
        "agents": {"entries": {"sample": {"command": "sample", "default": true}}},
        "channels": {"whatsapp": whatsapp},
        "gatewarden": {"metrics": {"enabled": false}, "commands": {"sample": sample}},
    });
    GatewayHome::with("openclaw.json", &config.to_string())
}

/// A person writes; the service calls until it is told that the message is kept.
fn says(gateway: &GatewayProcess, id: &str, text: &str) {
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": NUMBER},
        "contacts": [{"profile": {"name": "Sheena"}, "wa_id": PERSON}],
        "messages": [{"from": PERSON, "id": id, "timestamp": "1749416383", "type": "text", "text": {"body": text}}],
    }}]}]})
    .to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("sha256={hex}");
    let headers = [("Content-Type", "application/json"), ("X-Hub-Signature-256", signature.as_str())];
    wait::until_ok("the message is kept", PATIENCE, || {
        let answer =
            http::request(gateway.address, "POST", PATH, &headers, Some(body.as_bytes())).map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// The texts that the service took, in order.
fn heard(service: &WebhookReceiver) -> Vec<String> {
    let taken = service.taken().into_iter().filter(|request| request.body["type"] == "text");
    taken.map(|request| request.body["text"]["body"].as_str().unwrap_or_default().to_owned()).collect()
}

fn until_heard(service: &WebhookReceiver, wanted: &str) {
    wait::until_ok("the answer is sent", PATIENCE, || {
        let heard = heard(service);
        if heard.iter().any(|text| text.contains(wanted)) { Ok(()) } else { Err(format!("{heard:?}")) }
    });
}

#[test]
fn a_stranger_is_paired_and_then_answered_by_the_agent() {
    let service = graph_api();
    let home = home(&service, &json!({}));
    let gateway = home.start(&[]);
    let query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token";
    let asked = |token: &str| http::request(gateway.address, "GET", &format!("{PATH}?{query}={token}"), &[], None);
    assert_eq!(asked("a-word").expect("an answer").expect(200).text, "1158201444");
    asked("another").expect("an answer").expect(401);
    let unsigned = http::request(gateway.address, "POST", PATH, &[("Content-Type", "application/json")], Some(b"{}"));
    unsigned.expect("an answer").expect(401);

    says(&gateway, "wamid.A", "hello");
    until_heard(&service, "Pairing code: ");
    let said = heard(&service).remove(0);
    assert!(said.contains(&format!("Your WhatsApp user id: +{PERSON}")), "{said}");
    assert!(!home.log().contains("hello"), "{}", home.log());
    let code = said.split("Pairing code: ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a code");
    home.run(&["pairing", "approve", "whatsapp", code, "--notify"]).expect(0);
    until_heard(&service, "You were approved");
    says(&gateway, "wamid.B", "hello there");
    until_heard(&service, "You said: hello there");
    service.until("it is shown as read", |one| one.body["status"] == "read" && one.body["message_id"] == "wamid.B");

    let page = home.run(&["status"]).expect(0).stdout;
    assert!(page.contains("Channels: 1 connected"), "{page}");
    let report = home.run(&["doctor"]).stdout;
    assert!(report.contains("its token is accepted, the bot is +1 555-078-3881 (Shop)"), "{report}");
    for shown in [report, home.log()] {
        assert!(!shown.contains(APP_SECRET) && !shown.contains("EAAtoken"), "{shown}");
    }
}

#[test]
fn a_kill_loses_no_message_and_no_answer_and_does_nothing_twice() {
    let service = graph_api();
    let home = home(&service, &json!({"dmPolicy": "allowlist", "allowFrom": ["+1 (650) 555-1234"]}));
    let mut gateway = home.start(&[]);
    let file = home.state().join("channels/whatsapp-default.json");
    let kept = || std::fs::read_to_string(&file).unwrap_or_default();

    // Between a message and its run, and while another one's run goes on.
    says(&gateway, "wamid.A", "count to 600");
    wait::until("it counts", PATIENCE, || kept().contains("\"begun\":true"));
    says(&gateway, "wamid.B", "and then");
    gateway.signal("KILL");
    gateway.wait();
    let mut gateway = home.start(&[]);
    // The service hadn't heard that they were kept.
    says(&gateway, "wamid.A", "count to 600");
    says(&gateway, "wamid.B", "and then");
    until_heard(&service, "restarted while it worked on your message \"count to 600\"");
    until_heard(&service, "You said: and then");

    // Between an answer and its delivery.
    service.answer_with(429);
    says(&gateway, "wamid.C", "late");
    service.until("the answer is refused", |one| one.status == 429 && one.body["text"]["body"] == "You said: late");
    gateway.signal("KILL");
    gateway.wait();
    service.answer_with(200);
    let gateway = home.start(&[]);
    until_heard(&service, "You said: late");
    says(&gateway, "wamid.D", "last");
    until_heard(&service, "You said: last");
    let heard = heard(&service);
    for once in ["You said: and then", "You said: late", "You said: last"] {
        assert_eq!(heard.iter().filter(|text| *text == once).count(), 1, "{heard:?}");
    }
    assert_eq!(heard.iter().filter(|text| text.contains("restarted while")).count(), 1, "{heard:?}");
}
