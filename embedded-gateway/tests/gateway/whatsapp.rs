//! WhatsApp over the network: a server of the Graph API that misbehaves as it is told, and calls of the webhook.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatewarden_embedded_gateway::channels::try_credentials;
use gatewarden_embedded_gateway::config::{ChannelAccess, ChannelAccount, ChannelKind, CloudApi, GatewayConfig};
use gatewarden_protocol::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::runs::with_agent;
use crate::support::{Client, Gateway, cost_at_rest, request, within};

const ACCESS_TOKEN: &str = "EAAtokenThatNobodyMaySee";
const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
const NUMBER: &str = "106540352242922";
const PERSON: &str = "16505551234";
const PATH: &str = "/channels/whatsapp";

/// How a request is answered.
#[derive(Clone)]
enum Answer {
    Json(u16, Value),
    /// These bytes, and the end of the connection.
    Bytes(&'static str),
}

fn error(status: u16, code: i64) -> Answer {
    Answer::Json(status, json!({"error": {"message": "m", "type": "OAuthException", "code": code, "fbtrace_id": "x"}}))
}

#[derive(Default)]
struct Script {
    /// How the next messages are answered.
    first: VecDeque<Answer>,
    /// How the number is answered for; none: as it is.
    number: Option<Answer>,
    /// The bodies that were sent to `messages`.
    sent: Vec<Value>,
}

struct GraphApi {
    root: String,
    script: Arc<Mutex<Script>>,
}

impl GraphApi {
    async fn start(first: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}/v25.0", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script { first: first.into(), ..Script::default() }));
        let shared = Arc::clone(&script);
        actix::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                actix::spawn(serve(socket, Arc::clone(&shared)));
            }
        });
        Self { root, script }
    }

    /// The texts that were sent to people, and to whom.
    fn texts(&self) -> Vec<(String, String)> {
        let script = self.script.lock().unwrap();
        let texts = script.sent.iter().filter(|body| body["type"] == "text");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        texts.map(|body| (text(&body["to"]), text(&body["text"]["body"]))).collect()
    }

    async fn until_sent(&self, wanted: &str) {
        until(|| self.texts().iter().any(|(_, text)| text.contains(wanted))).await;
    }

    /// The messages that were shown as read.
    fn read(&self) -> Vec<String> {
        let script = self.script.lock().unwrap();
        let read = script.sent.iter().filter(|body| body["status"] == "read");
        read.map(|body| {
            assert_eq!(body["typing_indicator"]["type"], "text");
            body["message_id"].as_str().unwrap().to_owned()
        })
        .collect()
    }

    fn account(&self) -> ChannelAccount {
        ChannelAccount {
            kind: ChannelKind::WhatsApp,
            id: "default".to_owned(),
            name: None,
            enabled: true,
            token: Some(Secret::new(ACCESS_TOKEN)),
            token_source: "config",
            api_root: self.root.clone(),
            message_content: true,
            cloud: CloudApi {
                phone_number_id: Some(NUMBER.to_owned()),
                app_secret: Some(Secret::new(APP_SECRET)),
                verify_token: Some(Secret::new("a-word-of-ours")),
                read_receipts: None,
            },
            text_limit: None,
            access: ChannelAccess { allow_from: vec![format!("+{PERSON}")], ..ChannelAccess::default() },
        }
    }

    fn configure(&self, config: &mut GatewayConfig) {
        with_agent(config, "main", false, "echo said: $(cat)");
        config.default_agent = Some("main".to_owned());
        config.channels.push(self.account());
    }
}

async fn until(is_so: impl Fn() -> bool) {
    within(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn serve(mut socket: TcpStream, script: Arc<Mutex<Script>>) {
    let Some((line, body)) = read_request(&mut socket).await else { return };
    let answer = {
        let mut script = script.lock().unwrap();
        if line.starts_with("POST") {
            let is_text = body["type"] == "text";
            script.sent.push(body);
            let first = if is_text { script.first.pop_front() } else { None };
            first.unwrap_or_else(|| Answer::Json(200, json!({"messages": [{"id": "wamid.OUT"}], "success": true})))
        } else {
            let number = json!({"id": NUMBER, "display_phone_number": "+1 555-078-3881", "verified_name": "Shop"});
            script.number.clone().unwrap_or(Answer::Json(200, number))
        }
    };
    let bytes = match answer {
        Answer::Json(status, body) => {
            let body = body.to_string();
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        Answer::Bytes(bytes) => bytes.to_owned(),
    };
    let _ = socket.write_all(bytes.as_bytes()).await;
    let _ = socket.shutdown().await;
}

/// Method and path, where the token stands in its header and the path is one of the number; and the body.
async fn read_request(socket: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                assert!(head.contains(&format!("Bearer {ACCESS_TOKEN}")), "{head}");
                let line = head.lines().next()?.to_owned();
                assert!(line.contains(&format!("/v25.0/{NUMBER}")) && !line.contains(ACCESS_TOKEN), "{line}");
                return Some((line, serde_json::from_str(body).unwrap_or_default()));
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn call_of(messages: &[(&str, &str)]) -> Value {
    let message = |(id, text): &(&str, &str)| json!({"from": PERSON, "id": id, "timestamp": "1749416383", "type": "text", "text": {"body": text}});
    let messages: Vec<Value> = messages.iter().map(message).collect();
    let contacts = json!([{"profile": {"name": "Sheena"}, "wa_id": PERSON}]);
    of_number(NUMBER, json!({"contacts": contacts, "messages": messages}))
}

fn of_number(number: &str, value: Value) -> Value {
    let mut value = value;
    value["messaging_product"] = json!("whatsapp");
    value["metadata"] = json!({"display_phone_number": "15550783881", "phone_number_id": number});
    json!({"object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"value": value, "field": "messages"}]}]})
}

fn signature(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// What the service's call is answered.
async fn call(gateway: &Gateway, body: &Value) -> u16 {
    let body = body.to_string();
    post(gateway, &body, &[("x-hub-signature-256", &signature(&body, APP_SECRET))]).await
}

async fn post(gateway: &Gateway, body: &str, headers: &[(&str, &str)]) -> u16 {
    let headers = [&[("content-type", "application/json")], headers].concat();
    request(gateway, "POST", PATH, &headers, body).await.status
}

async fn row(client: &mut Client) -> Value {
    client.call("channels.status", json!({})).await["channelAccounts"]["whatsapp"][0].clone()
}

#[actix::test]
async fn a_message_is_on_disk_when_it_is_acknowledged_and_answered_once_however_often_it_comes() {
    let service = GraphApi::start(Vec::new()).await;
    let gateway = Gateway::start(|config| service.configure(config)).await;
    assert_eq!(call(&gateway, &call_of(&[("wamid.A", "one"), ("wamid.B", "two")])).await, 200);
    let kept = std::fs::read_to_string(gateway.state_dir().join("channels/whatsapp-default.json")).unwrap();
    assert!(kept.contains("\"seen\":["), "{kept}");
    service.until_sent("said: one").await;
    service.until_sent("said: two").await;
    assert_eq!(call(&gateway, &call_of(&[("wamid.A", "one")])).await, 200);
    assert_eq!(call(&gateway, &call_of(&[("wamid.C", "three"), ("wamid.B", "two")])).await, 200);
    service.until_sent("said: three").await;
    let texts = service.texts();
    assert!(texts.iter().all(|(to, _)| to == PERSON) && texts.len() == 3, "{texts:?}");
    let mut client = Client::connect(&gateway).await;
    let row = row(&mut client).await;
    assert_eq!((&row["connected"], &row["mode"]), (&json!(true), &json!("webhook")), "{row}");
    assert_eq!(row["bot"], json!({"id": NUMBER, "username": "+1 555-078-3881 (Shop)"}), "{row}");
    let kept = std::fs::read_to_string(gateway.state_dir().join("channels/whatsapp-default.json")).unwrap();
    for shown in [row.to_string(), kept] {
        assert!(!shown.contains(ACCESS_TOKEN) && !shown.contains(APP_SECRET), "{shown}");
    }
    // A poll that waits keeps no gateway from stopping.
    let state = gateway.stop().await;
    let gateway = Gateway::start_in(state, |config| service.configure(config)).await;
    assert_eq!(call(&gateway, &call_of(&[("wamid.A", "one"), ("wamid.D", "four")])).await, 200);
    service.until_sent("said: four").await;
    assert_eq!(service.texts().len(), 4, "what was answered before the restart isn't answered again");
    gateway.stop().await;
}

#[actix::test]
async fn a_message_is_shown_as_read_while_an_agent_works_on_it_unless_that_is_switched_off() {
    for (read_receipts, read) in [(None, vec!["wamid.A".to_owned()]), (Some(false), Vec::new())] {
        let service = GraphApi::start(Vec::new()).await;
        let folder = tempfile::TempDir::new().unwrap();
        let go_on = folder.path().join("go-on");
        let gateway = Gateway::start(|config| {
            service.configure(config);
            config.channels[0].cloud.read_receipts = read_receipts;
            let script = format!("while [ ! -e {} ]; do sleep 0.05; done; echo said: $(cat)", go_on.display());
            with_agent(config, "main", false, &script);
        })
        .await;
        assert_eq!(call(&gateway, &call_of(&[("wamid.A", "one")])).await, 200);
        let mut client = Client::connect(&gateway).await;
        within(async { while row(&mut client).await["activeRuns"] != 1 {} }).await;
        if read_receipts.is_none() {
            until(|| !service.read().is_empty()).await;
        }
        std::fs::write(&go_on, "").unwrap();
        service.until_sent("said: one").await;
        assert_eq!(service.read(), read, "{read_receipts:?}");
        gateway.stop().await;
    }
}

#[actix::test]
async fn who_sends_bodies_and_ends_none_does_not_keep_the_service_out() {
    const LONGEST: usize = 3 * 1024 * 1024;
    let service = GraphApi::start(Vec::new()).await;
    let gateway = Gateway::start(|config| service.configure(config)).await;
    let address = gateway.running().address;
    let forged = signature("", "no secret of ours");
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nx-hub-signature-256: {forged}\r\n\
         content-length: {LONGEST}\r\n\r\n"
    );
    let unfinished = [head.into_bytes(), vec![b' '; LONGEST - 1]].concat();
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let bytes = unfinished.clone();
        answers.spawn_local(async move {
            let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
            // It isn't read to its end where it is refused.
            let sent = async { drop(to.write_all(&bytes).await) };
            let mut answer = [0; 12];
            let (_, heard) = tokio::join!(sent, from.read_exact(&mut answer));
            heard.map(|_| String::from_utf8_lossy(&answer).into_owned())
        });
    }
    // One of them finds no room, of which it may hear no more than the end of its connection; the others hold theirs.
    let refused = within(answers.join_next()).await.unwrap().unwrap();
    assert_eq!(refused.unwrap_or("HTTP/1.1 503".to_owned()), "HTTP/1.1 503");
    let mut body = call_of(&[("wamid.A", "real")]);
    body["padding"] = "x".repeat(LONGEST - 10_000).into();
    assert_eq!(call(&gateway, &body).await, 200);
    service.until_sent("said: real").await;
    gateway.stop().await;
}

#[actix::test]
async fn nobody_but_the_service_gets_further_than_the_webhook() {
    let service = GraphApi::start(Vec::new()).await;
    let gateway = Gateway::start(|config| service.configure(config)).await;
    let body = call_of(&[("wamid.A", "forged")]).to_string();
    let right = signature(&body, APP_SECRET);
    assert_eq!(post(&gateway, &body, &[]).await, 401);
    for wrong in
        [signature(&body, "another secret of the same length"), "sha256=".to_owned(), right.replace("sha256=", "sha1=")]
    {
        assert_eq!(post(&gateway, &body, &[("x-hub-signature-256", &wrong)]).await, 401, "{wrong}");
    }
    let changed = body.replace("forged", "Forged");
    assert_eq!(post(&gateway, &changed, &[("x-hub-signature-256", &right)]).await, 401);
    let garbage = "garbage";
    assert_eq!(post(&gateway, garbage, &[("x-hub-signature-256", &signature(garbage, APP_SECRET))]).await, 400);
    let large = [("x-hub-signature-256", right.as_str()), ("content-length", "3145729")];
    assert_eq!(post(&gateway, "", &large).await, 413);
    assert_eq!(request(&gateway, "PUT", PATH, &[], "").await.status, 405);
    // Another number of the same app is somebody else's.
    let other = of_number(
        "999",
        json!({"messages": [{"from": PERSON, "id": "wamid.X", "type": "text", "text": {"body": "x"}}]}),
    );
    assert_eq!(call(&gateway, &other).await, 200);
    assert_eq!(call(&gateway, &json!({"object": "page", "entry": []})).await, 200);
    assert_eq!(call(&gateway, &call_of(&[("wamid.B", "real")])).await, 200);
    service.until_sent("said: real").await;
    assert_eq!(service.texts().len(), 1);
    gateway.stop().await;
    let gateway = Gateway::start(|_| {}).await;
    assert_eq!(call(&gateway, &call_of(&[("wamid.A", "x")])).await, 404, "no account, no webhook");
    gateway.stop().await;
}

#[actix::test]
async fn the_webhook_is_registered_by_its_word_alone() {
    let service = GraphApi::start(Vec::new()).await;
    let gateway = Gateway::start(|config| service.configure(config)).await;
    let asked = async |query: &str| request(&gateway, "GET", &format!("{PATH}?{query}"), &[], "").await;
    let right = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=a-word-of-ours";
    let answer = asked(right).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "1158201444"));
    assert_eq!(asked(&right.replace("a-word", "another-word")).await.status, 401);
    assert_eq!(asked("hub.mode=subscribe&hub.challenge=1").await.status, 401);
    assert_eq!(asked(&right.replace("subscribe", "other")).await.status, 400);
    let script = asked(&right.replace("1158201444", "%3Cscript%3E")).await;
    assert!(script.status == 400 && !script.body.contains("<script>"), "{}", script.body);
    gateway.stop().await;
}

#[actix::test]
async fn answers_get_through_where_the_service_limits_or_fails_and_none_is_sent_twice() {
    let service = GraphApi::start(vec![
        error(400, 131_056),
        error(500, 131_000),
        Answer::Json(200, json!({"messages": [{"id": "wamid.OUT"}]})),
        error(400, 131_047),
        Answer::Json(502, json!("between")),
        Answer::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"mess"),
        Answer::Bytes("garbage\r\n\r\n"),
    ])
    .await;
    let gateway = Gateway::start(|config| service.configure(config)).await;
    for (id, text) in [("a", "one"), ("b", "two"), ("c", "three"), ("d", "four"), ("e", "five"), ("f", "six")] {
        assert_eq!(call(&gateway, &call_of(&[(id, text)])).await, 200);
        service.until_sent(&format!("said: {text}")).await;
    }
    let count = |wanted: &str| service.texts().iter().filter(|(_, text)| text == wanted).count();
    until(|| count("said: one") == 3).await;
    service.until_sent("said: six").await;
    for once in ["two", "three", "four", "five", "six"] {
        assert_eq!(count(&format!("said: {once}")), 1, "{once}: {:?}", service.texts());
    }
    let failed = json!({"id": "wamid.OUT", "status": "failed", "recipient_id": PERSON, "errors": [{"code": 131_026, "title": "Undeliverable"}]});
    assert_eq!(call(&gateway, &of_number(NUMBER, json!({"statuses": [failed]}))).await, 200);
    gateway.stop().await;
}

#[actix::test]
async fn a_token_that_has_ended_is_said_and_messages_wait_at_the_service() {
    let service = GraphApi::start(vec![error(401, 190)]).await;
    let gateway = Gateway::start(|config| service.configure(config)).await;
    assert_eq!(call(&gateway, &call_of(&[("a", "one")])).await, 200);
    let mut client = Client::connect(&gateway).await;
    let blocked = within(async {
        loop {
            let row = row(&mut client).await;
            if row["healthState"] == "blocked" {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(blocked["lastError"].as_str().unwrap().contains("190"), "{blocked}");
    assert!(blocked["fix"].as_str().unwrap().contains("system user"), "{blocked}");
    assert_eq!(call(&gateway, &call_of(&[("b", "two")])).await, 503);
    client.call("channels.start", json!({"channel": "whatsapp"})).await;
    assert_eq!(call(&gateway, &call_of(&[("b", "two")])).await, 200);
    service.until_sent("said: two").await;
    let texts: Vec<String> = service.texts().into_iter().map(|(_, text)| text.trim().to_owned()).collect();
    assert_eq!(
        texts,
        ["said: one", "said: one", "said: two"],
        "what was refused for the token is sent with another one"
    );
    gateway.stop().await;
}

#[actix::test]
async fn credentials_are_tried_and_faults_say_no_token() {
    let service = GraphApi::start(Vec::new()).await;
    let account = service.account();
    assert_eq!(try_credentials(&account).await, Ok("+1 555-078-3881 (Shop)".to_owned()));
    let missing =
        json!({"error": {"code": 100, "message": format!("Object with ID '1' does not exist {ACCESS_TOKEN}")}});
    for (answer, said, cure) in [
        (error(401, 190), "190", "system user"),
        (Answer::Json(400, missing), "no such phone number", "phoneNumberId"),
        (
            Answer::Bytes("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
            "HTTP 302",
            "tried again",
        ),
        (Answer::Json(200, json!({"id": "7", "display_phone_number": "1"})), "which phone number", "tried again"),
    ] {
        service.script.lock().unwrap().number = Some(answer);
        let (error, helps) = try_credentials(&account).await.unwrap_err();
        assert!(error.contains(said) && helps.contains(cure) && !error.contains(ACCESS_TOKEN), "{error}: {helps}");
    }
}

#[actix::test]
#[ignore = "measures the whole process: run it alone, with --nocapture"]
async fn ten_accounts_at_rest_cost_little() {
    let api = GraphApi::start(Vec::new()).await;
    cost_at_rest("whatsapp", |id| ChannelAccount { id, ..api.account() }).await;
}
