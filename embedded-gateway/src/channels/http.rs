//! JSON over HTTP, one connection a request: where a connection was kept, whether a request on it arrived would be in doubt more
//! often. An address has a token in it: no error shows it, and no redirection takes it elsewhere.

use std::sync::Arc;
use std::time::Duration;

use awc::error::SendRequestError;
use awc::{Client, Connector};
use gatewarden_protocol::Secret;
use serde_json::Value;

use super::service::Fault;

/// Longest answer of a service, in bytes.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Http {
    client: Client,
}

impl Http {
    pub(super) fn new(tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let connector = Connector::new().timeout(CONNECT).handshake_timeout(CONNECT);
        let builder = Client::builder().disable_redirects();
        let client = match tls {
            Some(tls) => builder.connector(connector.rustls_0_23(tls)).finish(),
            None => builder.connector(connector).finish(),
        };
        Self { client }
    }

    /// The answer's status and body.
    pub(super) async fn post(
        &self,
        address: &Secret,
        body: &Value,
        patience: Duration,
    ) -> Result<(u16, Vec<u8>), Fault> {
        let asked = async {
            let request = self.client.post(address.expose()).timeout(patience).force_close().send_json(body);
            let mut response = request.await.map_err(|error| fault_of(&error))?;
            let status = response.status().as_u16();
            let body = response.body().limit(LONGEST_ANSWER).await;
            let body = body.map_err(|_| Fault::Unanswered("its answer breaks off, or is too long".to_owned()))?;
            Ok((status, body.to_vec()))
        };
        let late = |_| Fault::Unanswered(format!("nothing came in {} s", patience.as_secs()));
        tokio::time::timeout(patience, asked).await.map_err(late)?
    }
}

fn fault_of(error: &SendRequestError) -> Fault {
    match error {
        SendRequestError::Connect(error) => Fault::Unreached(error.to_string()),
        SendRequestError::Timeout => Fault::Unanswered("it took too long".to_owned()),
        SendRequestError::Response(_) => Fault::Unanswered("what it says is no HTTP".to_owned()),
        SendRequestError::Send(error) => Fault::Unanswered(error.to_string()),
        // What others say could hold the address.
        _ => Fault::Unreached("the request can't be made".to_owned()),
    }
}
