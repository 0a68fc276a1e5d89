//! Many clients that ask for the same thing on connections that are kept, on one thread.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::round_trips::Times;
use crate::support::daemon::ADMIN_KEY;
use crate::support::wait::Stopwatch;

/// What each client sends again and again, and the status that every answer must have.
pub(crate) struct Asked {
    request: Vec<u8>,
    status: u16,
}

impl Asked {
    /// `headers` are whole lines.
    pub(crate) fn get(path: &str, headers: &str, status: u16) -> Self {
        Self { request: Self::head("GET", path, headers).into_bytes(), status }
    }

    pub(crate) fn post(path: &str, body: &str, status: u16) -> Self {
        let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        Self { request: (Self::head("POST", path, &headers) + body).into_bytes(), status }
    }

    fn head(method: &str, path: &str, headers: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {ADMIN_KEY}\r\n{headers}\r\n")
    }
}

/// What came of it.
pub(crate) struct Served {
    pub(crate) times: Times,
    /// Of all answers, heads included.
    pub(crate) bytes: usize,
    took: Duration,
}

impl Served {
    pub(crate) fn a_second(&self) -> f64 {
        self.times.count() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn bytes_each(&self) -> usize {
        self.bytes / self.times.count()
    }
}

/// So many clients ask for so long.
pub(crate) fn load(to: SocketAddr, clients: usize, span: Duration, asked: &Asked) -> Served {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let watch = Stopwatch::start();
        let each = (0..clients).map(|_| async move {
            let mut stream = TcpStream::connect(to).await.expect("connected");
            stream.set_nodelay(true).expect("a plain option");
            let (mut buffer, mut times, mut bytes) = (vec![0; 64 * 1024], Vec::new(), 0);
            while watch.elapsed() < span {
                let began = Stopwatch::start();
                stream.write_all(&asked.request).await.expect("sent");
                bytes += answer(&mut stream, &mut buffer, asked.status).await;
                times.push(began.elapsed());
            }
            (times, bytes)
        });
        let all = futures_util::future::join_all(each).await;
        let took = watch.elapsed();
        let mut served = Served { times: Times::new(), bytes: 0, took };
        for (times, bytes) in all {
            times.into_iter().for_each(|time| served.times.add(time));
            served.bytes += bytes;
        }
        served
    })
}

/// Reads one answer, which must have this status; how many bytes it has.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>, status: u16) -> usize {
    let (mut filled, mut whole) = (0, None);
    loop {
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
        let count = stream.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(count > 0, "the server closed the connection");
        filled += count;
        if whole.is_none() {
            let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{}", String::from_utf8_lossy(&buffer[..filled]));
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            // One without a body may leave it out.
            let length = if status == 304 { Some(0) } else { length.and_then(|value| value.trim().parse().ok()) };
            whole = Some(end + 4 + length.unwrap_or_else(|| panic!("no length: {head}")));
        }
        if whole.is_some_and(|whole| filled >= whole) {
            assert_eq!(whole, Some(filled), "more than was asked for");
            return filled;
        }
    }
}
