use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use gatewarden_protocol::forbidden_address::ForbiddenReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::peer::*;
use crate::dialing::resolver::Resolver;
use crate::dialing::tls::TlsConfigs;
use crate::dialing::{DialFailure, DialStep, Dialer, Incoming, NetworkDialer};
use crate::dialing::{MemoryAccount, MemoryBudget};

fn resolving(lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> NetworkDialer {
    NetworkDialer::with_parts(Resolver::with_lookup(lookup), TlsConfigs::new(), MemoryBudget::default())
}

#[actix::test]
async fn an_upgrade_asks_for_a_websocket_and_sends_neither_origin_nor_credentials() {
    let (heads, mut heard) = mpsc::unbounded_channel();
    let (port, _) = serve(move |mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(accept(&mut stream).await).unwrap();
            stream.write_all(&frame(0x81, b"hello")).await.unwrap();
            let _ = stream.read_u8().await;
        }
    })
    .await;
    let dialer = NetworkDialer::new();
    let mut dialed =
        dialer.dial(request(address("ws://127.0.0.1/gw/", port)), &MemoryAccount::default()).await.unwrap();
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::text("hello"))));
    assert_eq!(dialed.peer.port(), port);
    assert!(dialed.timings.connect.is_some() && dialed.timings.upgrade.is_some());
    assert_eq!((dialed.timings.resolve, dialed.timings.tls), (None, None));

    let head = heard.recv().await.unwrap();
    assert!(head.starts_with("GET /gw HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some(format!("127.0.0.1:{port}").as_str()));
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "sec-websocket-version"), Some("13"));
    for absent in
        ["origin", "authorization", "cookie", "sec-websocket-extensions", "sec-websocket-protocol", "user-agent"]
    {
        assert_eq!(header(&head, absent), None, "{head}");
    }

    let mut with_origin = request(address("127.0.0.1", port));
    with_origin.origin = Some(with_origin.address.origin());
    dialer.dial(with_origin, &MemoryAccount::default()).await.unwrap();
    let head = heard.recv().await.unwrap();
    assert_eq!(header(&head, "origin"), Some(format!("http://127.0.0.1:{port}").as_str()));
    assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
}

#[actix::test]
async fn frames_that_come_with_the_answer_are_not_lost() {
    let (port, _) = serve(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let mut bytes = accept_answer(&head).into_bytes();
        bytes.extend(frame(0x81, b"one"));
        bytes.extend(frame(0x81, b"two"));
        stream.write_all(&bytes).await.unwrap();
    })
    .await;
    let messages: Vec<_> = soon(dial(port).await.unwrap().incoming.collect()).await;
    assert_eq!(messages, [Ok(Incoming::text("one")), Ok(Incoming::text("two"))]);
}

#[actix::test]
async fn a_web_page_instead_of_an_upgrade_is_told_with_its_status_type_and_body() {
    let port =
        answering("HTTP/1.1 200 OK\r\nContent-Type: Text/HTML\r\nContent-Length: 15\r\n\r\n<!doctype html>").await;
    let refused = DialFailure::UpgradeRefused {
        status: 200,
        content_type: Some("text/html".into()),
        body: "<!doctype html>".into(),
        retry_after: None,
    };
    assert_eq!(dial(port).await.err(), Some(refused));
}

#[actix::test]
async fn refusals_keep_retry_after_and_at_most_4_kib_of_the_body_however_it_is_framed() {
    let long = "x".repeat(10_000);
    for (name, answer, length) in [
        ("sized", format!("HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 10000\r\n\r\n{long}"), 4096),
        (
            "chunked",
            format!(
                "HTTP/1.1 503 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n{long}\r\n0\r\n\r\n"
            ),
            4096,
        ),
        ("to the end", format!("HTTP/1.1 503 No\r\nRetry-After: 7\r\n\r\n{long}"), 4096),
        ("cut short", "HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\nabc".into(), 3),
        ("HTTP/1.0", "HTTP/1.0 503 No\r\nRetry-After: 7\r\n\r\nabc".into(), 3),
        ("empty", "HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n".into(), 0),
    ] {
        match dial(answering(answer).await).await {
            Err(DialFailure::UpgradeRefused { status: 503, body, retry_after, .. }) => {
                assert_eq!(body.len(), length, "{name}");
                assert_eq!(retry_after.map(|after| after.as_secs()), Some(7), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[actix::test]
async fn a_refusal_whose_body_never_comes_is_told_all_the_same() {
    let (port, _) = serve(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\n").await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    assert!(matches!(soon(dial(port)).await, Err(DialFailure::UpgradeRefused { status: 403, .. })));
}

#[actix::test]
async fn a_redirect_is_not_followed() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = target.local_addr().unwrap();
    let port =
        answering(format!("HTTP/1.1 302 Found\r\nLocation: http://{location}/\r\nContent-Length: 0\r\n\r\n")).await;
    assert!(matches!(dial(port).await, Err(DialFailure::UpgradeRefused { status: 302, .. })));
    assert!(tokio::time::timeout(SHORT, target.accept()).await.is_err(), "the target was dialled");
}

#[actix::test]
async fn what_is_no_websocket_is_told_apart() {
    let no_proof = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    let other = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
    for answer in [no_proof, other, "SSH-2.0-OpenSSH_9.9\r\n\r\n", "220 mail ESMTP\r\n"] {
        let failure = dial(answering(answer).await).await.err();
        assert!(matches!(failure, Some(DialFailure::NotWebSocket { .. })), "{answer}: {failure:?}");
    }
    let gone = dial(answering("").await).await.err();
    assert!(matches!(gone, Some(DialFailure::Reset { step: DialStep::Upgrade })), "{gone:?}");
}

#[actix::test]
async fn an_extension_or_subprotocol_that_was_not_asked_for_is_refused() {
    for unasked in ["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat"] {
        let (port, _) = serve(move |mut stream| async move {
            let head = read_head(&mut stream).await;
            let answer = accept_answer(&head).replacen("\r\n", &format!("\r\n{unasked}\r\n"), 1);
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let failure = dial(port).await.err();
        assert!(matches!(failure, Some(DialFailure::NotWebSocket { .. })), "{unasked}: {failure:?}");
    }
}

#[actix::test]
async fn interim_answers_before_the_one_that_counts_are_skipped() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let (port, _) = serve(|mut stream| async move {
        let head = read_head(&mut stream).await;
        stream.write_all(format!("{HINT}{HINT}{}", accept_answer(&head)).as_bytes()).await.unwrap();
        stream.write_all(&frame(0x81, b"hello")).await.unwrap();
    })
    .await;
    let mut dialed = dial(port).await.unwrap();
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::text("hello"))));

    let refused = format!("{HINT}HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnope");
    match dial(answering(refused).await).await {
        Err(DialFailure::UpgradeRefused { status: 404, body, .. }) => assert_eq!(body, "nope"),
        other => panic!("{other:?}"),
    }
    let failure = dial(answering(HINT.repeat(100)).await).await.err();
    assert!(matches!(failure, Some(DialFailure::NotWebSocket { .. })), "hints without end: {failure:?}");
}

#[actix::test]
async fn a_black_hole_ends_in_a_timeout_within_the_deadline() {
    let (port, _) = serve(|mut stream| async move {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    })
    .await;
    let mut request = request(address("127.0.0.1", port));
    request.timeout = SHORT;
    let started = Instant::now();
    let failure = NetworkDialer::new().dial(request, &MemoryAccount::default()).await.err();
    assert_eq!(failure, Some(DialFailure::Timeout { step: DialStep::Upgrade }));
    assert!(started.elapsed() >= SHORT && started.elapsed() < PATIENCE);
}

#[actix::test]
async fn an_answer_that_drips_ends_in_a_timeout_too() {
    let (port, _) = serve(|mut stream| async move {
        read_head(&mut stream).await;
        for byte in "HTTP/1.1 101 Switching Protocols\r\n".bytes().cycle() {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    })
    .await;
    let mut request = request(address("127.0.0.1", port));
    request.timeout = SHORT;
    let failure = soon(NetworkDialer::new().dial(request, &MemoryAccount::default())).await.err();
    assert_eq!(failure, Some(DialFailure::Timeout { step: DialStep::Upgrade }));
}

#[actix::test]
async fn a_port_where_nothing_listens_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(dial(port).await.err(), Some(DialFailure::Refused));
}

#[actix::test]
async fn a_name_without_an_address_is_not_resolved() {
    let dialer = NetworkDialer::new();
    let failure = soon(dialer.dial(request(address("gateway.invalid", 1)), &MemoryAccount::default())).await.err();
    assert!(matches!(failure, Some(DialFailure::NameNotResolved { .. })), "{failure:?}");
}

#[actix::test]
async fn a_name_server_that_is_silent_ends_in_a_timeout() {
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let dialer = resolving(move |_, _| {
        let _ = held.lock().unwrap().recv();
        Ok(vec![])
    });
    let mut request = request(address("gateway.test", 1));
    request.timeout = SHORT;
    assert_eq!(
        dialer.dial(request, &MemoryAccount::default()).await.err(),
        Some(DialFailure::Timeout { step: DialStep::Resolve })
    );
    drop(let_go);
}

#[actix::test]
async fn a_name_that_turns_into_a_metadata_address_is_refused_before_anything_is_dialled() {
    let dialer = resolving(|_, port| Ok(vec![SocketAddr::from(([169, 254, 169, 254], port))]));
    let failure = dialer.dial(request(address("gateway.test", 80)), &MemoryAccount::default()).await.err();
    assert_eq!(failure, Some(DialFailure::ForbiddenAddress { reason: ForbiddenReason::CloudMetadata }));
}

#[actix::test]
async fn the_address_that_was_checked_is_the_one_that_is_dialled() {
    let (port, _) = serve(|mut stream| async move {
        accept(&mut stream).await;
        let _ = stream.read_u8().await;
    })
    .await;
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lookups);
    // A rebinding name server: good at first, bad from then on.
    let dialer = resolving(move |_, port| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
        _ => Ok(vec![SocketAddr::from(([169, 254, 169, 254], port))]),
    });
    let dialed = dialer.dial(request(address("gateway.test", port)), &MemoryAccount::default()).await.unwrap();
    assert!(dialed.peer.ip().is_loopback());
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
    let failure = dialer.dial(request(address("gateway.test", port)), &MemoryAccount::default()).await.err();
    assert!(matches!(failure, Some(DialFailure::ForbiddenAddress { .. })), "each dial checks again");
}
