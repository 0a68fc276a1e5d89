//! JSON over HTTP, one connection a request: where a connection was kept, whether a request on it arrived would be in doubt more
//! often; and WebSockets. A token is in the address or in a header: no error shows it, and no redirection takes it elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Method;
use awc::error::{ConnectError, SendRequestError, WsClientError};
use awc::http::header::{AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use awc::{BoxedSocket, Client, Connector};
use bytes::BytesMut;
use gatewarden_protocol::Secret;
use serde_json::Value;

use super::service::Fault;

/// Longest answer of a service, in bytes.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(10);
/// What the program calls itself where nothing else is asked for.
const PROGRAM: &str = concat!("gatewarden/", env!("CARGO_PKG_VERSION"));

/// What a service answers.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// The header `Retry-After`: no request for so many seconds.
    pub(super) retry_after: u64,
}

impl Answer {
    /// The longer one of two waits counts: what stands before a service says its own in the header alone.
    pub(super) fn waited_for(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Slow(seconds) => Fault::Slow(seconds.max(self.retry_after)),
            other => other,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
}

impl Http {
    pub(super) fn new(tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self::within(CONNECT, tls)
    }

    /// `connect`: for a connection, and then for its encryption.
    pub(crate) fn within(connect: Duration, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let connector = Connector::new().timeout(connect).handshake_timeout(connect);
        let builder = Client::builder().disable_redirects().timeout(CONNECT * 2);
        let client = match tls {
            Some(tls) => builder.connector(connector.rustls_0_23(tls)).finish(),
            None => builder.connector(connector).finish(),
        };
        Self { client }
    }

    pub(super) async fn post(&self, address: &Secret, body: &Value, patience: Duration) -> Result<Answer, Fault> {
        self.ask(Method::POST, address, None, Some(body), patience).await
    }

    /// The same with any method. `caller`: the value of the header `Authorization`, and what the program calls itself.
    pub(super) async fn ask(
        &self,
        method: Method,
        address: &Secret,
        caller: Option<(&Secret, &str)>,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Answer, Fault> {
        let asked = async {
            let mut request = self.client.request(method, address.expose()).timeout(patience).force_close();
            if let Some((authorization, program)) = caller {
                request =
                    request.insert_header((AUTHORIZATION, authorization.expose())).insert_header((USER_AGENT, program));
            }
            let sent = match body {
                Some(body) => request.send_json(body),
                None => request.send(),
            };
            let mut response = sent.await.map_err(|error| fault_of(&error))?;
            let status = response.status().as_u16();
            let wait =
                response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok());
            let body = response.body().limit(LONGEST_ANSWER).await;
            let body = body.map_err(|_| Fault::Unanswered("its answer breaks off, or is too long".to_owned()))?;
            Ok(Answer { status, body: body.to_vec(), retry_after: wait.unwrap_or(0) })
        };
        let late = |_| Fault::Unanswered(format!("nothing came in {} s", patience.as_secs()));
        tokio::time::timeout(patience, asked).await.map_err(late)?
    }

    /// Has JSON taken at an address that is connected to whatever its name is: the answer's status. Nothing else of the answer is read.
    pub(crate) async fn post_at(
        &self,
        at: SocketAddr,
        address: &Secret,
        authorization: Option<&Secret>,
        body: String,
        patience: Duration,
    ) -> Result<u16, Fault> {
        let request = self.client.post(address.expose()).address(at).timeout(patience).force_close();
        let mut request = request.content_type("application/json").insert_header((USER_AGENT, PROGRAM));
        if let Some(authorization) = authorization {
            request = request.insert_header((AUTHORIZATION, authorization.expose()));
        }
        let answer = request.send_body(body).await.map_err(|error| fault_of(&error))?;
        Ok(answer.status().as_u16())
    }

    /// A WebSocket: the connection, and what has already been read of it.
    pub(super) async fn socket(&self, address: &str) -> Result<(BoxedSocket, BytesMut), Fault> {
        let asked = self.client.ws(address).connect();
        let late = |_| Fault::Unanswered("no WebSocket was opened in time".to_owned());
        let opened = tokio::time::timeout(CONNECT * 2, asked).await.map_err(late)?;
        let (_, framed) = opened.map_err(|error| match error {
            WsClientError::SendRequest(error) => fault_of(&error),
            WsClientError::InvalidResponseStatus(status) => {
                Fault::Trouble(format!("it opens no WebSocket: HTTP {}", status.as_u16()))
            }
            _ => Fault::Trouble("it opens no WebSocket".to_owned()),
        })?;
        let parts = framed.into_parts();
        Ok((parts.io, parts.read_buf))
    }
}

fn fault_of(error: &SendRequestError) -> Fault {
    match error {
        // This is what is said of an end without an answer: the request may have been read.
        SendRequestError::Connect(ConnectError::Disconnected) => {
            Fault::Unanswered("it ended the connection without an answer".to_owned())
        }
        SendRequestError::Connect(error) => Fault::Unreached(error.to_string()),
        SendRequestError::Timeout => Fault::Unanswered("it took too long".to_owned()),
        SendRequestError::Response(_) => Fault::Unanswered("what it says is no HTTP".to_owned()),
        SendRequestError::Send(error) => Fault::Unanswered(error.to_string()),
        // What others say could hold the address.
        _ => Fault::Unreached("the request can't be made".to_owned()),
    }
}
