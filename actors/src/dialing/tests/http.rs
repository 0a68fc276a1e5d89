use std::sync::Arc;

use gatewarden_protocol::Secret;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::peer::*;
use crate::dialing::HealthFailure;
use crate::dialing::MemoryAccount;
use crate::dialing::http_probe::HttpGateway;
use crate::dialing::unconnected_probe::{NoGreeting, probe_unconnected};
use crate::dialing::{DialFailure, DialStep, Dialer, HttpReply, HttpRequest, NetworkDialer};
use crate::gateway_record::{TlsTrust, Transport};
use crate::machines::connection::{HttpAnswer, HttpOperation};

const LIVE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 27\r\n\r\n{\"ok\":true,\"status\":\"live\"}";
const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<!doctype html>";

async fn get(port: u16, max_body: usize) -> Result<HttpReply, DialFailure> {
    let request = HttpRequest::get(address("127.0.0.1", port), TlsTrust::System, "/list", PATIENCE, max_body);
    soon(NetworkDialer::new().http(request, &MemoryAccount::default())).await
}

async fn open(port: u16) -> Result<HttpGateway, HealthFailure> {
    let token = Some(Secret::new("tok-secret"));
    let dialer = Arc::new(NetworkDialer::new());
    HttpGateway::open(
        dialer,
        address("http://127.0.0.1/base", port),
        TlsTrust::System,
        token,
        PATIENCE,
        MemoryAccount::default(),
    )
    .await
    .map(|(gateway, health)| {
        assert!(health.is_healthy);
        gateway
    })
}

/// Tells each request with its body, and answers `/health` with one thing and the rest with another.
async fn recording(health: &'static str, rest: &'static str) -> (u16, mpsc::UnboundedReceiver<(String, String)>) {
    let (seen, heard) = mpsc::unbounded_channel();
    let (port, _) = serve(move |mut stream| {
        let seen = seen.clone();
        async move {
            let head = read_head(&mut stream).await;
            let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            let is_health = head.starts_with("GET /base/health ") || head.starts_with("GET /health ");
            seen.send((head, String::from_utf8(body).unwrap())).unwrap();
            stream.write_all(if is_health { health } else { rest }.as_bytes()).await.unwrap();
        }
    })
    .await;
    (port, heard)
}

#[actix::test]
async fn the_token_is_sent_only_after_a_health_document_and_never_to_health_itself() {
    let (port, mut heard) = recording(LIVE, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").await;
    let gateway = open(port).await.unwrap();
    let (head, _) = heard.recv().await.unwrap();
    assert!(head.starts_with("GET /base/health HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "authorization"), None);

    let calls = [
        ("GET /base/sessions ", "", HttpOperation::Sessions),
        ("GET /base/config ", "", HttpOperation::Config),
        ("POST /base/spawn ", r#"{"command":"ls"}"#, HttpOperation::Spawn(json!({"command": "ls"}))),
        ("POST /base/control ", r#"{"action":"kill"}"#, HttpOperation::Control(json!({"action": "kill"}))),
    ];
    for (start, sent, operation) in calls {
        let HttpAnswer::Reply(Ok(reply)) = gateway.ask(operation, PATIENCE).await else { panic!() };
        assert_eq!(*reply.body, "[]");
        let (head, body) = heard.recv().await.unwrap();
        assert!(head.starts_with(start), "{head}");
        assert_eq!(header(&head, "authorization"), Some("Bearer tok-secret"));
        assert_eq!(header(&head, "connection"), Some("close"));
        assert_eq!(body, sent);
    }
    assert!(matches!(gateway.ask(HttpOperation::Health, PATIENCE).await, HttpAnswer::Health(Ok(_))));
    let (head, _) = heard.recv().await.unwrap();
    assert_eq!(header(&head, "authorization"), None);
    assert!(!format!("{gateway:?}").contains("tok-secret"));
}

#[actix::test]
async fn a_web_server_that_is_no_gateway_never_sees_the_token() {
    for answer in [PAGE, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"] {
        let (port, mut heard) = recording(answer, PAGE).await;
        assert!(matches!(open(port).await, Err(HealthFailure::NotAHealthDocument { .. })));
        let (head, _) = heard.recv().await.unwrap();
        assert!(!head.contains("tok-secret"));
        assert!(heard.try_recv().is_err(), "one request only");
    }
}

#[actix::test]
async fn an_unsendable_token_is_refused_without_being_told() {
    let (port, _heard) = recording(LIVE, PAGE).await;
    let dialer = Arc::new(NetworkDialer::new());
    let token = Some(Secret::new("tok\r\nX-Evil: 1"));
    let opened = HttpGateway::open(
        dialer,
        address("127.0.0.1", port),
        TlsTrust::System,
        token,
        PATIENCE,
        MemoryAccount::default(),
    )
    .await;
    let HttpAnswer::Reply(Err(failure)) = opened.unwrap().0.ask(HttpOperation::Sessions, PATIENCE).await else {
        panic!()
    };
    assert!(!failure.to_string().contains("tok"), "{failure}");
}

#[actix::test]
async fn bodies_are_read_whole_however_they_are_framed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let reply = get(answering(answer).await, 5).await.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, &b"hello"[..]), "{answer}");
    }
    for answer in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] {
        assert_eq!(*get(answering(answer).await, 5).await.unwrap().body, "", "{answer}");
    }
}

#[actix::test]
async fn a_body_over_the_limit_or_cut_short_is_a_failure() {
    let long = "x".repeat(100_000);
    for answer in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{long}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n{long}\r\n0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n\r\n{long}"),
    ] {
        assert_eq!(get(answering(answer).await, 99_999).await, Err(DialFailure::ReplyTooLarge { limit: 99_999 }));
    }
    let cut = answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await;
    assert_eq!(get(cut, 1000).await, Err(DialFailure::Reset { step: DialStep::Request }));
}

#[actix::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = target.local_addr().unwrap();
    let port = answering(format!("HTTP/1.1 307 Go\r\nLocation: http://{location}/\r\nContent-Length: 0\r\n\r\n")).await;
    assert_eq!(get(port, 10).await.unwrap().status, 307);
    assert!(tokio::time::timeout(SHORT, target.accept()).await.is_err(), "the target was dialled");
}

#[actix::test]
async fn a_probe_finds_a_gateway_by_its_health_document_and_its_challenge() {
    let (port, _) = serve(|mut stream| async move {
        let head = read_head(&mut stream).await;
        assert_eq!(header(&head, "authorization"), None);
        if head.starts_with("GET /health ") {
            stream.write_all(LIVE.as_bytes()).await.unwrap();
            return;
        }
        stream.write_all(accept_answer(&head).as_bytes()).await.unwrap();
        let challenge = br#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n"}}"#;
        stream.write_all(&frame(0x89, b"")).await.unwrap();
        stream.write_all(&frame(0x81, challenge)).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let dialer = NetworkDialer::new();
    let address = address("127.0.0.1", port);
    let findings = probe_unconnected(&dialer, &address, &TlsTrust::System, Transport::Auto, PATIENCE).await;
    assert_eq!(findings.failed_step(), None);
    assert!(findings.health.is_ok() && findings.took().is_some());
    let findings = probe_unconnected(&dialer, &address, &TlsTrust::System, Transport::Http, PATIENCE).await;
    assert_eq!((findings.failed_step(), findings.socket), (None, None));
}

#[actix::test]
async fn a_probe_names_the_layer_that_failed() {
    let dialer = NetworkDialer::new();
    let probe = async |host: &str, port, budget| {
        probe_unconnected(&dialer, &address(host, port), &TlsTrust::System, Transport::Auto, budget).await
    };
    let step = |findings: &crate::dialing::unconnected_probe::Findings| findings.failed_step().map(|(step, _)| step);

    let web_server = probe("127.0.0.1", answering(PAGE).await, PATIENCE).await;
    assert_eq!(step(&web_server), Some("health_document"));

    let nothing = probe("127.0.0.1", answering("").await, PATIENCE).await;
    assert_eq!(step(&nothing), Some("upgrade"));

    let unresolved = probe("gateway.invalid", 1, PATIENCE).await;
    assert_eq!(step(&unresolved), Some("resolve"));

    let (silent, _) = serve(|mut stream| async move {
        accept(&mut stream).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let silent = probe("127.0.0.1", silent, SHORT * 10).await;
    assert_eq!(silent.socket, Some(Err(NoGreeting::Silent)));
    assert_eq!(step(&silent), Some("challenge"));

    let (starting, _) = serve(|mut stream| async move {
        accept(&mut stream).await;
        stream.write_all(&frame(0x88, b"\x03\xf5gateway starting")).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let starting = probe("127.0.0.1", starting, PATIENCE).await;
    assert_eq!(starting.socket, Some(Err(NoGreeting::Closed { code: Some(1013), reason: "gateway starting".into() })));
}
