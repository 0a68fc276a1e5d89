//! Scripted peers.

use std::future::Future;
use std::time::Duration;

use actix_http::ws::hash_key;
use gatewarden_protocol::GatewayAddress;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::dialing::MemoryAccount;
use crate::dialing::{DialFailure, DialRequest, Dialed, Dialer, NetworkDialer};
use crate::gateway_record::TlsTrust;

/// Long enough for a busy machine; no test waits for it unless something is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Where no answer is the point.
pub(super) const SHORT: Duration = Duration::from_millis(300);

pub(super) fn address(host: &str, port: u16) -> GatewayAddress {
    GatewayAddress::parse(host, Some(port)).unwrap().address
}

pub(super) fn request(address: GatewayAddress) -> DialRequest {
    DialRequest { address, tls: TlsTrust::System, timeout: PATIENCE, origin: None }
}

/// Serves one connection after the other with `script`; gives the port and the task, which ends with its listener's drop.
pub(super) async fn serve<F, Fut>(script: F) -> (u16, JoinHandle<()>)
where
    F: Fn(TcpStream) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = actix_rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            actix_rt::spawn(script(stream));
        }
    });
    (port, task)
}

/// Reads up to the end of a request's head.
pub(super) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.trim()))
}

pub(super) fn accept_answer(head: &str) -> String {
    let key = header(head, "sec-websocket-key").unwrap();
    let accept = String::from_utf8(hash_key(key.as_bytes()).to_vec()).unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Answers the upgrade; gives the request's head.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let head = read_head(stream).await;
    stream.write_all(accept_answer(&head).as_bytes()).await.unwrap();
    head
}

/// A server's frame with this first byte.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        0..=125 => bytes.push(payload.len() as u8),
        126..=0xffff => {
            bytes.push(126);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// Answers every request's head with these bytes and ends the connection.
pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> u16 {
    let answer = answer.into();
    let (port, _) = serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(&answer).await.unwrap();
        }
    })
    .await;
    port
}

pub(super) async fn dial(port: u16) -> Result<Dialed, DialFailure> {
    NetworkDialer::new().dial(request(address("127.0.0.1", port)), &MemoryAccount::default()).await
}

/// Waits no longer than the test's patience.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}
