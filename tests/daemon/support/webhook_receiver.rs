//! A receiver of webhooks on loopback: it keeps what it was sent, and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::daemon::PATIENCE;
use super::wait;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Path and query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    /// The bytes of the body.
    pub(crate) raw: Vec<u8>,
    /// The body.
    pub(crate) body: Value,
    /// What was answered.
    pub(crate) status: u16,
}

impl Received {
    /// A header's value; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The notification's id.
    pub(crate) fn id(&self) -> &str {
        self.header("x-gatewarden-id")
    }

    /// What it tells of.
    pub(crate) fn kind(&self) -> &str {
        self.body["kind"].as_str().unwrap_or_default()
    }

    fn was_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    status: AtomicU16,
    /// What every answer says.
    answer: String,
    stop: AtomicBool,
}

/// A running receiver. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct WebhookReceiver {
    port: u16,
    shared: Arc<Shared>,
}

impl WebhookReceiver {
    /// One that takes everything.
    pub(crate) fn start() -> Self {
        Self::saying("")
    }

    /// The same with something to say: a service that is asked, too.
    pub(crate) fn saying(answer: &str) -> Self {
        Self::at(0, answer)
    }

    /// The same at a port that was known before.
    pub(crate) fn at(port: u16, answer: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a loopback port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared { answer: answer.to_owned(), ..Shared::default() });
        shared.status.store(200, Ordering::SeqCst);
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = take(stream, &serving);
            }
        });
        Self { port, shared }
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, with something secret behind the question mark.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks/gatewarden?key=geheim-in-the-url", self.port)
    }

    /// From now on it answers so.
    pub(crate) fn answer_with(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Everything that came so far.
    pub(crate) fn all(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came and was taken.
    pub(crate) fn taken(&self) -> Vec<Received> {
        self.all().into_iter().filter(Received::was_taken).collect()
    }

    /// Waits for the first request that is as wanted.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Received) -> bool) -> Received {
        wait::until_ok(what, PATIENCE, || {
            let all = self.all();
            all.iter().find(|one| wanted(one)).cloned().ok_or_else(|| format!("{all:#?}"))
        })
    }

    /// Waits for a notification of this kind that was taken.
    #[track_caller]
    pub(crate) fn until_taken(&self, kind: &str) -> Received {
        self.until(&format!("a notification {kind} is taken"), |one| one.was_taken() && one.kind() == kind)
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn take(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut raw = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut raw)?;
    let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    let status = shared.status.load(Ordering::SeqCst);
    let received = Received { path, headers, raw, body, status };
    shared.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    let mut stream = stream;
    let (length, said) = (shared.answer.len(), &shared.answer);
    write!(stream, "HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{said}")
}
