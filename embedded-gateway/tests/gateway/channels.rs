//! Telegram over the network: a server of the Bot API that misbehaves as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatewarden_embedded_gateway::channels::try_credentials;
use gatewarden_embedded_gateway::config::{ChannelAccess, ChannelAccount, ChannelKind, GatewayConfig};
use gatewarden_protocol::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::runs::with_agent;
use crate::support::{Client, Gateway, cost_at_rest, within};

const BOT_TOKEN: &str = "4711:a-token-that-nobody-may-see";

/// How a request is answered.
#[derive(Clone)]
enum Answer {
    Json(u16, Value),
    /// These bytes, and the end of the connection.
    Bytes(&'static str),
    Silence,
}

fn ok(result: Value) -> Answer {
    Answer::Json(200, json!({"ok": true, "result": result}))
}

#[derive(Default)]
struct Script {
    /// What comes first, by method.
    first: VecDeque<(&'static str, Answer)>,
    /// What was asked: method and body.
    asked: Vec<(String, Value)>,
}

struct Service {
    root: String,
    script: Arc<Mutex<Script>>,
}

impl Service {
    async fn start(first: Vec<(&'static str, Answer)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script { first: first.into(), asked: Vec::new() }));
        let shared = Arc::clone(&script);
        actix::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                actix::spawn(serve(socket, Arc::clone(&shared)));
            }
        });
        Self { root, script }
    }

    fn bodies(&self, method: &str) -> Vec<Value> {
        let script = self.script.lock().unwrap();
        script.asked.iter().filter(|(asked, _)| asked == method).map(|(_, body)| body.clone()).collect()
    }

    async fn until_sent(&self, wanted: &str) {
        within(async {
            while !self.bodies("sendMessage").iter().any(|body| body["text"] == wanted) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    fn account(&self) -> ChannelAccount {
        ChannelAccount {
            kind: ChannelKind::Telegram,
            id: "default".to_owned(),
            name: None,
            enabled: true,
            token: Some(Secret::new(BOT_TOKEN)),
            token_source: "config",
            api_root: self.root.clone(),
            message_content: true,
            cloud: Default::default(),
            text_limit: None,
            access: ChannelAccess { allow_from: vec!["5".to_owned()], ..ChannelAccess::default() },
        }
    }

    fn configure(&self, config: &mut GatewayConfig) {
        with_agent(config, "main", false, "echo said: $(cat)");
        config.default_agent = Some("main".to_owned());
        config.channels.push(self.account());
    }
}

async fn serve(mut socket: TcpStream, script: Arc<Mutex<Script>>) {
    let Some((method, body)) = read_request(&mut socket).await else { return };
    let answer = {
        let mut script = script.lock().unwrap();
        let at = script.first.iter().position(|(of, _)| *of == method);
        let first = at.and_then(|at| script.first.remove(at)).map(|(_, answer)| answer);
        script.asked.push((method.clone(), body));
        first
    };
    let answer = answer.unwrap_or_else(|| match method.as_str() {
        "getMe" => ok(json!({"id": 666, "username": "TestBot"})),
        "getUpdates" => Answer::Silence,
        _ => ok(json!({})),
    });
    let bytes = match answer {
        Answer::Json(status, body) => {
            let body = body.to_string();
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        Answer::Bytes(bytes) => bytes.to_owned(),
        Answer::Silence => return std::future::pending().await,
    };
    let _ = socket.write_all(bytes.as_bytes()).await;
    let _ = socket.shutdown().await;
}

/// The method, where the path has the right token; and the body.
async fn read_request(socket: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let path = head.split(' ').nth(1)?.strip_prefix(&format!("/bot{BOT_TOKEN}/"))?;
                return Some((path.to_owned(), serde_json::from_str(body).unwrap_or_default()));
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn updates(updates: &[(u64, &str)]) -> Answer {
    let update = |(id, text): &(u64, &str)| {
        json!({"update_id": id, "message": {"message_id": id, "text": text, "from": {"id": 5, "first_name": "F"},
            "chat": {"id": 5, "type": "private"}}})
    };
    ok(updates.iter().map(update).collect())
}

#[actix::test]
async fn a_message_gets_through_whatever_the_service_did_before_and_nobody_sees_the_token() {
    let service = Service::start(vec![
        ("getMe", Answer::Bytes("garbage\r\n\r\n")),
        ("getMe", Answer::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"ok\":tr")),
        (
            "getUpdates",
            Answer::Json(409, json!({"description": "can't use getUpdates method while webhook is active"})),
        ),
        ("getUpdates", updates(&[(8, "two"), (7, "one"), (7, "one")])),
        ("getUpdates", updates(&[(7, "one"), (8, "two")])),
        ("sendMessage", Answer::Json(429, json!({"parameters": {"retry_after": 1}}))),
        ("sendMessage", Answer::Json(502, json!({"ok": false, "error_code": 502, "description": "Bad Gateway"}))),
    ])
    .await;
    let gateway = Gateway::start(|config| service.configure(config)).await;
    let mut client = Client::connect(&gateway).await;
    service.until_sent("said: one").await;
    service.until_sent("said: two").await;
    assert_eq!(service.bodies("deleteWebhook"), [json!({"drop_pending_updates": false})]);
    let polls = service.bodies("getUpdates");
    assert_eq!(polls.last().unwrap()["offset"], 9, "{polls:?}");
    assert_eq!(service.bodies("sendMessage").len(), 4, "each once, and the two refused ones");
    let status = client.call("channels.status", json!({})).await;
    let row = &status["channelAccounts"]["telegram"][0];
    assert_eq!((&row["connected"], &row["bot"]["username"]), (&json!(true), &json!("TestBot")));
    let log = client.call("logs.tail", json!({})).await;
    let kept = std::fs::read_to_string(gateway.state_dir().join("channels/telegram-default.json")).unwrap();
    for shown in [status.to_string(), log.to_string(), kept] {
        assert!(!shown.contains("nobody-may-see"), "{shown}");
    }
    // A poll that hangs keeps no gateway from stopping.
    gateway.stop().await;
}

#[actix::test]
async fn an_answer_that_something_between_may_have_passed_on_is_not_sent_again_and_its_wait_is_kept() {
    let service = Service::start(vec![
        ("getMe", Answer::Bytes("HTTP/1.1 429 X\r\nRetry-After: 31\r\nContent-Length: 4\r\n\r\nbusy")),
        ("getUpdates", updates(&[(1, "one"), (2, "two"), (3, "three")])),
        ("sendMessage", Answer::Bytes("HTTP/1.1 502 X\r\nContent-Length: 11\r\n\r\nbad gateway")),
        ("sendMessage", Answer::Bytes("HTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\nlog in")),
    ])
    .await;
    let (error, _) = try_credentials(&service.account()).await.unwrap_err();
    assert!(error.contains("wants 31 s"), "{error}");
    let gateway = Gateway::start(|config| service.configure(config)).await;
    service.until_sent("said: three").await;
    let sent: Vec<Value> = service.bodies("sendMessage").iter().map(|body| body["text"].clone()).collect();
    assert_eq!(sent, ["said: one", "said: two", "said: three"]);
    gateway.stop().await;
}

#[actix::test]
async fn credentials_are_tried_and_faults_say_no_token_and_follow_no_redirection() {
    let service = Service::start(vec![
        ("getMe", Answer::Json(401, json!({"description": "Unauthorized"}))),
        ("getMe", Answer::Bytes("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")),
        ("getMe", Answer::Bytes("no HTTP at all\r\n\r\n")),
    ])
    .await;
    let account = service.account();
    for said in ["401 Unauthorized", "HTTP 302", "no HTTP"] {
        let (error, cure) = try_credentials(&account).await.unwrap_err();
        assert!(error.contains(said) && !error.contains("nobody-may-see"), "{error}");
        assert_eq!(cure.contains("token"), said.starts_with("401"), "{said}: {cure}");
    }
    assert_eq!(try_credentials(&account).await, Ok("TestBot".to_owned()));
    let gone = ChannelAccount { api_root: "http://127.0.0.1:1".to_owned(), ..account.clone() };
    let (error, cure) = try_credentials(&gone).await.unwrap_err();
    assert!(
        error.contains("isn't reached") && cure.contains("network") && !error.contains("nobody-may-see"),
        "{error}"
    );
    let encrypted = ChannelAccount { api_root: service.root.replace("http:", "https:"), ..account };
    let (error, _) = try_credentials(&encrypted).await.unwrap_err();
    assert!(error.contains("isn't reached") && !error.contains("nobody-may-see"), "{error}");
}

#[actix::test]
async fn a_service_that_says_the_token_does_not_make_it_known() {
    let path = format!("bad path /bot{BOT_TOKEN}/getMe");
    let cut = format!("{}{BOT_TOKEN}", "x".repeat(190));
    let secret = format!("bad path /bot4711%3A{}/getMe", BOT_TOKEN.split_once(':').unwrap().1);
    let said = [path, cut, secret].map(|said| ("getMe", Answer::Json(400, json!({"description": said}))));
    let failed = ("getMe", Answer::Json(500, json!({"description": BOT_TOKEN})));
    let service = Service::start(said.into_iter().chain([failed]).collect()).await;
    let account = service.account();
    for status in [400, 400, 400, 500] {
        let (error, _) = try_credentials(&account).await.unwrap_err();
        assert!(error.contains(&format!("HTTP {status}")) && !error.contains("a-token"), "{error}");
    }
}

#[actix::test]
async fn a_refused_token_is_said_in_the_status_and_not_tried_again() {
    let service = Service::start(vec![("getMe", Answer::Json(401, json!({"description": "Unauthorized"})))]).await;
    let gateway = Gateway::start(|config| service.configure(config)).await;
    let mut client = Client::connect(&gateway).await;
    within(async {
        loop {
            let status = client.call("channels.status", json!({})).await;
            let row = &status["channelAccounts"]["telegram"][0];
            if row["healthState"] == "blocked" {
                assert!(row["fix"].as_str().unwrap().contains("@BotFather"), "{row}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(service.bodies("getMe").len(), 1);
    gateway.stop().await;
}

#[actix::test]
#[ignore = "measures the whole process: run it alone, with --nocapture"]
async fn ten_accounts_at_rest_cost_little() {
    let service = Service::start(Vec::new()).await;
    cost_at_rest("telegram", |id| ChannelAccount { id, ..service.account() }).await;
}
