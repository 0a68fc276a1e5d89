use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::connections::{Connections, Limits};

const SOON: Duration = Duration::from_secs(20);
/// Long enough for bytes to cross loopback, where nothing is expected to come.
const A_WHILE: Duration = Duration::from_millis(50);

struct House {
    _all: Connections,
    client: TcpStream,
    stream: GuardedStream<TcpStream>,
}

async fn house() -> House {
    let limits = Limits { connections: 4, per_address: 4, per_shared_address: 4, bytes: 1 << 30 };
    let all = Connections::new(limits, |_| false);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    crate::prepare(&listener);
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    let stream = GuardedStream::new(accepted, all.enter(peer.ip()).unwrap());
    House { _all: all, client, stream }
}

impl House {
    async fn read(&mut self) -> String {
        let mut bytes = [0; 4_096];
        let count = timeout(SOON, self.stream.read(&mut bytes)).await.expect("something comes").unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    async fn reads_nothing(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        timeout(A_WHILE, self.stream.read(&mut bytes)).await.is_err()
    }

    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_head_comes_alone_and_the_next_one_when_its_answer_is_given() {
    let mut house = house().await;
    house.send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3").await;
    assert_eq!(house.read().await, "GET /1 HTTP/1.1\r\n\r\n");
    let first = house.stream.connection().begin();
    assert!(house.reads_nothing().await);
    drop(first);
    assert_eq!(house.read().await, "GET /2 HTTP/1.1\r\n\r\n");
    let second = house.stream.connection().begin();
    assert!(house.reads_nothing().await);
    drop(second);
    assert_eq!(house.read().await, "GET /3");
    house.send(" HTTP/1.1\r\n\r\n").await;
    assert_eq!(house.read().await, " HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn of_a_body_only_what_is_wanted_comes() {
    let mut house = house().await;
    house.send("POST / HTTP/1.1\r\n\r\n0123456789").await;
    assert_eq!(house.read().await, "POST / HTTP/1.1\r\n\r\n");
    let serving = house.stream.connection().begin();
    house.stream.connection().await_body(None);
    house.stream.connection().want(4);
    assert_eq!(house.read().await, "0123");
    assert!(house.reads_nothing().await);
    house.stream.connection().want(100);
    assert_eq!(house.read().await, "456789");
    house.stream.connection().body_is_over();
    house.send("GET").await;
    assert!(house.reads_nothing().await);
    drop(serving);
    assert_eq!(house.read().await, "GET");
}

#[tokio::test]
async fn however_much_a_client_sends_little_is_read_while_its_request_is_served() {
    let mut house = house().await;
    house.send("GET / HTTP/1.1\r\n\r\n").await;
    house.read().await;
    let _serving = house.stream.connection().begin();
    house.send(&"x".repeat(20_000)).await;
    assert!(house.reads_nothing().await);
    assert!(house.stream.held.len() <= AHEAD + AT_ONCE, "{}", house.stream.held.len());
}

#[tokio::test]
async fn the_end_of_a_client_is_seen_while_its_request_is_served() {
    let mut house = house().await;
    house.send("GET / HTTP/1.1\r\n\r\n").await;
    house.read().await;
    let _serving = house.stream.connection().begin();
    house.client.shutdown().await.unwrap();
    assert_eq!(house.read().await, "");
}

#[tokio::test]
async fn while_a_write_waits_nothing_is_read_and_afterwards_it_is() {
    let mut house = house().await;
    let block = vec![b'x'; 16 * 1024];
    let mut written = 0;
    while let Ok(count) = timeout(A_WHILE, house.stream.write(&block)).await {
        written += count.unwrap();
    }
    assert!(house.stream.is_write_blocked);
    house.send("GET / HTTP/1.1\r\n\r\n").await;
    assert!(house.reads_nothing().await);
    let mut left = vec![0; written];
    timeout(SOON, house.client.read_exact(&mut left)).await.unwrap().unwrap();
    timeout(SOON, house.stream.write_all(&block)).await.unwrap().unwrap();
    assert_eq!(house.read().await, "GET / HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn who_was_ended_fails_at_once() {
    let mut house = house().await;
    let connection = house.stream.connection().clone();
    let reading = poll_fn(|cx| {
        let mut bytes = [0; 16];
        let mut buf = ReadBuf::new(&mut bytes);
        Pin::new(&mut house.stream).poll_read(cx, &mut buf)
    });
    let (read, ()) = tokio::join!(timeout(SOON, reading), async {
        tokio::task::yield_now().await;
        connection.end(crate::WhyEnded::Replaced);
    });
    assert_eq!(read.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_head_that_grows_too_long_ends_its_connection_with_a_word() {
    let mut house = house().await;
    house.send(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD))).await;
    let mut bytes = [0; 4_096];
    let mut read = 0;
    let failure = loop {
        match timeout(SOON, house.stream.read(&mut bytes)).await.expect("it comes to an end") {
            Ok(count) => read += count,
            Err(failure) => break failure,
        }
    };
    assert!(read <= MAX_HEAD, "{read}");
    assert_eq!(failure.to_string(), "head_too_long");
    let mut said = [0; 12];
    timeout(SOON, house.client.read_exact(&mut said)).await.expect("an answer").unwrap();
    assert_eq!(&said, b"HTTP/1.1 431");
}

#[tokio::test]
async fn the_rest_of_a_body_that_nobody_reads_is_no_head() {
    let mut house = house().await;
    let length = MAX_HEAD + 1_000;
    house.send(&format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n")).await;
    house.read().await;
    let request = house.stream.connection().begin();
    let connection = house.stream.connection().clone();
    let body = futures_util::stream::pending::<Result<bytes::Bytes, actix_http::error::PayloadError>>();
    drop(crate::bodies::RequestBody::new(body, connection, Some(length as u64)));
    drop(request);
    house.send(&"x".repeat(length)).await;
    let mut rest = 0;
    while rest < length {
        rest += house.read().await.len();
    }
    house.send("GET /next HTTP/1.1\r\n\r\n").await;
    assert_eq!(house.read().await, "GET /next HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn what_looks_like_a_head_in_a_measured_body_is_none() {
    let mut house = house().await;
    let text = "GET /in-the-body HTTP/1.1\r\n\r\nand on";
    house
        .send(&format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{text}GET /next HTTP/1.1\r\n\r\n", text.len()))
        .await;
    assert!(house.read().await.starts_with("POST"));
    let request = house.stream.connection().begin();
    house.stream.connection().await_body(Some(text.len() as u64));
    house.stream.connection().want(10);
    assert_eq!(house.read().await, text[..10]);
    house.stream.connection().want(1 << 20);
    assert_eq!(house.read().await, text[10..], "in one piece, and nothing of what comes behind it");
    assert!(house.reads_nothing().await);
    house.stream.connection().abandon_body();
    drop(request);
    assert_eq!(house.read().await, "GET /next HTTP/1.1\r\n\r\n");
}

fn ends(text: &str) -> Vec<usize> {
    let (mut head, mut rest, mut at, mut found) = (HeadEnd::default(), text.as_bytes(), 0, Vec::new());
    while let Some(end) = head.find(rest) {
        at += end;
        found.push(at);
        rest = &rest[end..];
    }
    found
}

#[test]
fn a_head_ends_at_the_first_empty_line() {
    assert_eq!(ends("GET / HTTP/1.1\r\nA: b\r\n\r\nrest"), [24]);
    assert_eq!(ends("GET / HTTP/1.1\n\nGET"), [16]);
    assert_eq!(ends("GET / HTTP/1.1\n\r\n"), [17]);
    assert_eq!(ends("GET / HTTP/1.1\r\nA: b\r\n"), Vec::<usize>::new());
    assert_eq!(ends("a\r\n\r\nb\r\n\r\n"), [5, 10]);
}

#[test]
fn empty_lines_before_a_head_are_no_end() {
    assert_eq!(ends("\r\n\r\n\n\r\na\r\n\r\n"), [12]);
    assert_eq!(ends("\r\n\r\n"), Vec::<usize>::new());
}

#[test]
fn the_end_is_found_wherever_the_bytes_are_cut() {
    let text = b"\r\nGET / HTTP/1.1\r\nA: \r b\n\rx\r\n\r\nrest";
    let whole = HeadEnd::default().find(text);
    assert_eq!(whole, Some(31));
    for cut in 0..=text.len() {
        let mut head = HeadEnd::default();
        let found = head.find(&text[..cut]).or_else(|| head.find(&text[cut..]).map(|end| end + cut));
        assert_eq!(found, whole, "cut at {cut}");
    }
}
