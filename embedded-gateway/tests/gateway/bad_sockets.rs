//! Connections that break the rules, or do nothing.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Client, Connect, Gateway, Incoming, within};

#[actix::test]
async fn garbage_as_the_first_frame_is_closed_without_a_word() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::attempt(&gateway, &[]).await.unwrap();
    client.send_message(Message::text("GET / HTTP/1.1")).await;
    assert_eq!(client.closed().await, (1000, String::new()));
}

#[actix::test]
async fn who_never_connects_is_closed_at_the_deadline() {
    let gateway = Gateway::start(|config| config.limits.handshake = Duration::from_secs(4)).await;
    let mut client = Client::attempt(&gateway, &[]).await.unwrap();
    assert_eq!(client.closed().await, (1000, String::new()));
}

#[actix::test]
async fn one_byte_at_a_time_does_not_stretch_the_deadline() {
    let gateway = Gateway::start(|config| config.limits.handshake = Duration::from_secs(4)).await;
    let mut client = Client::attempt(&gateway, &[]).await.unwrap();
    let drip = [0x81_u8, 0xfe, 0x10, 0x00, 1, 2, 3, 4];
    let mut dripping = drip.iter().cycle();
    let ended = within(async {
        loop {
            let byte = *dripping.next().unwrap();
            let written = client.stream().write_all(&[byte]).await;
            let mut first = [0_u8; 2];
            let read = tokio::time::timeout(Duration::from_millis(5), client.stream().read_exact(&mut first)).await;
            match (written, read) {
                (_, Ok(Ok(_))) => return Some(first),
                (Err(_), _) | (_, Ok(Err(_))) => return None,
                (Ok(()), Err(_)) => {}
            }
        }
    });
    assert_eq!(ended.await.map(|first| first[0]), Some(0x88), "a close frame");
}

#[actix::test]
async fn before_the_hello_a_message_above_64_kib_is_refused_by_its_header() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::attempt(&gateway, &[]).await.unwrap();
    client.stream().write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4]).await.unwrap();
    assert_eq!(client.closed().await, (1009, String::new()));
}

#[actix::test]
async fn after_the_hello_the_limit_is_the_one_that_the_hello_named() {
    let gateway = Gateway::start(|config| config.limits.max_payload = 1024 * 1024).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.hello["policy"]["maxPayload"], 1024 * 1024);
    client.ask("ping", json!({"pad": "x".repeat(1024 * 1024 - 200)})).await;
    // 16 EiB, which nobody has.
    let mut header = vec![0x82, 0xff];
    header.extend(u64::MAX.to_be_bytes());
    header.extend([1, 2, 3, 4]);
    client.stream().write_all(&header).await.unwrap();
    assert_eq!(client.closed().await, (1009, String::new()));
}

#[actix::test]
async fn an_unmasked_frame_breaks_the_protocol() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    client.stream().write_all(&[0x81, 2, b'{', b'}']).await.unwrap();
    assert_eq!(client.closed().await.0, 1002);
}

#[actix::test]
async fn half_a_frame_and_a_hang_up_disturb_nobody() {
    let gateway = Gateway::start(|_| {}).await;
    let mut half = Client::connect(&gateway).await;
    half.stream().write_all(&[0x81, 0xfe, 0x10]).await.unwrap();
    drop(half);
    Client::connect(&gateway).await.call("ping", json!({})).await;
}

#[actix::test]
async fn who_answers_no_ping_is_dropped() {
    let gateway = Gateway::start(|config| config.limits.ping = Duration::from_secs(3)).await;
    let mut client = Client::connect(&gateway).await;
    // Read past the WebSocket layer, which would answer.
    let mut bytes = Vec::new();
    let _ = within(client.stream().read_to_end(&mut bytes)).await;
    assert!(bytes.windows(2).any(|window| window == [0x89, 0x00]), "there was a ping");
}

#[actix::test]
async fn a_client_that_reads_nothing_is_closed_as_a_slow_consumer() {
    let gateway = Gateway::start(|config| config.limits.max_buffered = 64 * 1024).await;
    let mut client = Client::connect(&gateway).await;
    // Answers pile up: each names the method that it doesn't know.
    let frame = json!({"type": "req", "id": "x".repeat(1_000), "method": "m"}).to_string();
    let asking = async {
        let message = masked(frame.as_bytes());
        for round in 0..200_000 {
            if client.stream().write_all(&message).await.is_err() {
                return;
            }
            if round % 50 == 0 && gateway_metrics(&gateway).await.contains("slow_consumers_total 1") {
                return;
            }
        }
    };
    within(asking).await;
    assert!(gateway_metrics(&gateway).await.contains("openclaw_gateway_slow_consumers_total 1"));
    let close = within(async {
        loop {
            match client.incoming().await {
                Incoming::Closed(code, reason) => return (code, reason),
                Incoming::Lost => panic!("closed without a reason"),
                _ => {}
            }
        }
    });
    assert_eq!(close.await, (1008, "slow consumer".to_owned()));
}

#[actix::test]
async fn an_answer_larger_than_may_wait_unread_reaches_who_asked_for_it() {
    let gateway = Gateway::start(|config| config.limits.max_buffered = 64 * 1024).await;
    let mut client = Client::connect(&gateway).await;
    let content = "a line of an agent's file\n".repeat(10_000);
    client.call("agents.files.set", json!({"agentId": "main", "name": "AGENTS.md", "content": content})).await;
    let got = client.call("agents.files.get", json!({"agentId": "main", "name": "AGENTS.md"})).await;
    assert_eq!(got["file"]["content"], content.as_str());
    client.call("ping", json!({})).await;
    assert!(gateway_metrics(&gateway).await.contains("openclaw_gateway_slow_consumers_total 0"));
}

#[actix::test]
async fn an_answer_larger_than_a_client_takes_is_an_error_and_the_connection_goes_on() {
    let gateway = Gateway::start(|config| config.limits.max_payload = 64 * 1024).await;
    let mut client = Client::connect(&gateway).await;
    for number in 0..200 {
        client.call("sessions.create", json!({"key": format!("agent:main:session-{number}")})).await;
    }
    let error = client.try_call("sessions.list", json!({"limit": 200})).await.unwrap_err();
    assert_eq!(error["details"]["code"], "ANSWER_TOO_LARGE", "{error}");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("at most 65536")), "{error}");
    assert_eq!(client.call("sessions.list", json!({"limit": 10})).await["count"], 10);
}

#[actix::test]
async fn a_slow_consumer_that_never_reads_again_is_let_go() {
    let gateway = Gateway::start(|config| config.limits.max_buffered = 64 * 1024).await;
    let mut client = Client::connect(&gateway).await;
    let message = masked(json!({"type": "req", "id": "x".repeat(1_000), "method": "m"}).to_string().as_bytes());
    let gone = async { while client.stream().write_all(&message).await.is_ok() {} };
    within(gone).await;
    let mut other = Client::connect(&gateway).await;
    other.call("ping", json!({})).await;
}

#[actix::test]
async fn what_many_clients_leave_unread_has_one_bound() {
    let gateway = Gateway::start(|config| config.limits.max_buffered_total = 1024 * 1024).await;
    let mut reader = Client::connect(&gateway).await;
    let content = "a line of an agent's file\n".repeat(10_000);
    reader.call("agents.files.set", json!({"agentId": "main", "name": "AGENTS.md", "content": content})).await;
    let ask = json!({"type": "req", "id": "x", "method": "agents.files.get", "params": {"agentId": "main", "name": "AGENTS.md"}});
    let mut greedy = Vec::new();
    let spent = async {
        // None of them comes near its own bound of 4 MiB.
        while gateway_metrics(&gateway).await.contains("slow_consumers_total 0") {
            if greedy.len() < 8 {
                greedy.push(Client::connect(&gateway).await);
            }
            for client in &mut greedy {
                let _ = client.stream().write_all(&masked(ask.to_string().as_bytes())).await;
            }
            reader.call("ping", json!({})).await;
        }
    };
    within(spent).await;
    reader.call("sessions.list", json!({})).await;
    drop(greedy);
    let got = async {
        loop {
            let mut client = Client::connect(&gateway).await;
            client.send(ask.clone()).await;
            // Events may come first. It is closed while the others' memory isn't given back yet.
            while let Incoming::Frame(frame) = client.incoming().await {
                if frame["type"] == "res" {
                    return frame;
                }
            }
        }
    };
    assert_eq!(within(got).await["payload"]["file"]["content"], content.as_str());
}

#[actix::test]
async fn too_many_connections_are_turned_away_at_the_upgrade() {
    let gateway = Gateway::start(|config| config.limits.connections = 2).await;
    let one = Client::connect(&gateway).await;
    let two = Client::connect(&gateway).await;
    let Err(Error::Http(answer)) = Client::attempt(&gateway, &[]).await else { panic!("it was let in") };
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    drop((one, two));
    within(async { while Client::attempt(&gateway, &[]).await.is_err() {} }).await;
}

#[actix::test]
async fn strangers_cannot_take_all_places() {
    let gateway = Gateway::start(|config| config.limits.unauthenticated = 1).await;
    let mut stranger = Client::attempt(&gateway, &[]).await.unwrap();
    let mut newcomer = Client::connect(&gateway).await;
    assert!(matches!(stranger.incoming().await, Incoming::Lost), "it went for the newcomer");
    let mut another = Client::attempt(&gateway, &[]).await.unwrap();
    newcomer.call("ping", json!({})).await;
    let params = another.params(&Connect::default());
    another.call("connect", params).await;
}

#[actix::test]
async fn a_foreign_host_is_refused_at_the_upgrade() {
    let gateway = Gateway::start(|config| config.allowed_hosts = vec!["gateway.example".to_owned()]).await;
    for (host, welcome) in [
        ("evil.example", false),
        ("localhost.evil.example:18789", false),
        ("gateway.example", true),
        ("localhost:1", true),
        ("[::1]", true),
    ] {
        let knocked = Client::attempt(&gateway, &[("host", host.to_owned())]).await;
        match knocked {
            Ok(_) => assert!(welcome, "{host}"),
            Err(Error::Http(answer)) => assert!(!welcome && answer.status() == 403, "{host}: {answer:?}"),
            Err(error) => panic!("{host}: {error}"),
        }
    }
}

/// A masked text frame.
fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, 0xff];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

async fn gateway_metrics(gateway: &Gateway) -> String {
    let address = gateway.running().metrics_address.unwrap();
    crate::support::request_to(address, "GET", "/metrics", &[], "").await.body
}
