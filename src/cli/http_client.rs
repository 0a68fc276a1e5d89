//! HTTP for commands: one request on a connection of its own, everything bounded; and streams of server-sent events.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use serde_json::Value;
use ureq::http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};

use crate::event_stream::EventStream;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest answer that is read as a whole, in bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// An answer that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// `Retry-After`, where it has one.
    pub(super) retry_after_s: Option<u64>,
    pub(super) text: String,
}

impl Reply {
    fn read(mut response: Response<Body>) -> Result<Self, Error> {
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let bytes = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { status: response.status().as_u16(), retry_after_s: retry_after, text })
    }
}

/// What to ask of a service beside the path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask<'a> {
    /// Headers beside those of every request: the credential comes this way.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a Value>,
}

/// A service at addresses that were looked up once: whom a key may be shown to is decided by them.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    agent: Agent,
    /// `http://127.0.0.1:3000`, with what stands before each path.
    base: String,
}

impl HttpClient {
    /// `patience` is the longest wait for each piece of an answer.
    pub(super) fn new(base: String, addresses: &[SocketAddr], patience: Duration) -> Result<Self, Error> {
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        if base.starts_with("https:") {
            tls = tls.root_certs(authorities()?);
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .user_agent(concat!("gatewarden/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT.min(patience)))
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::new(), Known(addresses.to_vec()));
        Ok(Self { agent, base })
    }

    /// This machine's own service, without a credential.
    pub(super) fn local(address: SocketAddr, patience: Duration) -> Result<Self, Error> {
        Self::new(format!("http://{address}"), &[address], patience)
    }

    /// Sends a request and reads the whole answer.
    pub(super) fn send(&self, method: &str, path: &str, ask: Ask<'_>) -> Result<Reply, Error> {
        Reply::read(self.open(method, path, "application/json", ask, None)?)
    }

    pub(super) fn get(&self, path: &str) -> Result<Reply, Error> {
        self.send("GET", path, Ask::default())
    }

    /// Opens a stream of events, which may be read for so long at most. An answer that is no stream is given as it is.
    pub(super) fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        longest: Option<Duration>,
    ) -> Result<Result<EventStream, Reply>, Error> {
        let response = self.open("GET", path, "text/event-stream", Ask { headers, body: None }, longest)?;
        if response.status() == 200 {
            let body: Box<dyn Read + Send> = Box::new(response.into_body().into_reader());
            Ok(Ok(EventStream::new(body)))
        } else {
            Reply::read(response).map(Err)
        }
    }

    fn open(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        ask: Ask<'_>,
        longest: Option<Duration>,
    ) -> Result<Response<Body>, Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header(ACCEPT, accept).header(CONNECTION, "close");
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        match ask.body {
            None => {
                let request = self.agent.configure_request(request.body(())?).timeout_recv_body(longest).build();
                self.agent.run(request)
            }
            Some(body) => self.agent.run(request.header(CONTENT_TYPE, "application/json").body(body.to_string())?),
        }
    }
}

/// What is wrong, as the system or the library underneath says it.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// This machine's authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
fn authorities() -> Result<RootCerts, Error> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(Error::Tls("this machine has no certificate authorities installed; SSL_CERT_FILE can name some"));
    }
    Ok(found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect::<Vec<_>>().into())
}

#[derive(Debug)]
struct Known(Vec<SocketAddr>);

impl Resolver for Known {
    fn resolve(&self, _: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        // It has room for as many.
        for address in self.0.iter().take(16) {
            addresses.push(*address);
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}
