//! What a gateway says over plain HTTP: its health document, and the requests of the `http` dialect (document 000).
//!
//! A credential leaves only through [`HttpGateway`], and one of those exists only after `GET /health` without credentials was
//! answered with a health document: a web server that happens to listen there never sees a token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewarden_protocol::{GatewayAddress, Secret};

use super::{Dialer, Health, HealthFailure, HttpMethod, HttpRequest, MemoryAccount, read_health};
use crate::gateway_record::TlsTrust;
use crate::machines::connection::{HttpAnswer, HttpOperation};

/// Longest health document, bytes.
pub const MAX_HEALTH_BODY: usize = 1024 * 1024;

/// Longest list or configuration, bytes.
pub const MAX_LIST_BODY: usize = 8 * 1024 * 1024;

/// `GET /health` without credentials.
///
/// # Errors
/// Not reached, or not a health document.
pub async fn health(
    dialer: &dyn Dialer,
    address: GatewayAddress,
    tls: TlsTrust,
    timeout: Duration,
    memory: &MemoryAccount,
) -> Result<Health, HealthFailure> {
    read_health(&dialer.http(HttpRequest::get(address, tls, "/health", timeout, MAX_HEALTH_BODY), memory).await?)
}

/// A gateway of the `http` dialect that has shown its health document, with the token for it.
#[derive(Clone)]
pub struct HttpGateway {
    dialer: Arc<dyn Dialer>,
    address: GatewayAddress,
    tls: TlsTrust,
    token: Option<Secret>,
    memory: MemoryAccount,
}

impl std::fmt::Debug for HttpGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpGateway").field("address", &self.address).finish_non_exhaustive()
    }
}

impl HttpGateway {
    /// Asks for the health document, without the token.
    ///
    /// # Errors
    /// Not reached, or not a health document: then the token has not been sent.
    pub async fn open(
        dialer: Arc<dyn Dialer>,
        address: GatewayAddress,
        tls: TlsTrust,
        token: Option<Secret>,
        timeout: Duration,
        memory: MemoryAccount,
    ) -> Result<(Self, Health), HealthFailure> {
        let health = health(&*dialer, address.clone(), tls.clone(), timeout, &memory).await?;
        let token = token.filter(|token| !token.is_empty());
        Ok((Self { dialer, address, tls, token, memory }, health))
    }

    /// Asks for one thing. Of `/health` the document is read, of anything else any status is an answer. A failure past the step
    /// `connect` or `tls` leaves open whether what was asked is done.
    pub async fn ask(&self, operation: HttpOperation, timeout: Duration) -> HttpAnswer {
        let (path, body, max_body) = match operation {
            HttpOperation::Detect | HttpOperation::Health => {
                let (address, tls) = (self.address.clone(), self.tls.clone());
                return HttpAnswer::Health(health(&*self.dialer, address, tls, timeout, &self.memory).await);
            }
            HttpOperation::Sessions => ("/sessions", None, MAX_LIST_BODY),
            HttpOperation::Config => ("/config", None, MAX_LIST_BODY),
            HttpOperation::Spawn(params) => ("/spawn", Some(params), MAX_HEALTH_BODY),
            HttpOperation::Control(params) => ("/control", Some(params), MAX_HEALTH_BODY),
        };
        let mut request = HttpRequest::get(self.address.clone(), self.tls.clone(), path, timeout, max_body);
        if let Some(body) = body {
            request.method = HttpMethod::Post;
            request.body = Some(Bytes::from(body.to_string()));
        }
        request.bearer = self.token.clone();
        HttpAnswer::Reply(self.dialer.http(request, &self.memory).await)
    }
}

#[cfg(test)]
mod tests;
