//! What a gateway says over plain HTTP: its health document, and the requests of the `http` dialect (document 000).
//!
//! A credential leaves only through [`HttpGateway`], and one of those exists only after `GET /health` without credentials was
//! answered with a health document: a web server that happens to listen there never sees a token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewarden_protocol::{GatewayAddress, Secret};
use serde_json::Value;

use super::failure::DialFailure;
use super::{Dialer, Health, HealthFailure, HttpMethod, HttpReply, HttpRequest, MemoryAccount, read_health};
use crate::gateway_record::TlsTrust;

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

    /// `GET /health`, without the token: the heartbeat of this dialect.
    ///
    /// # Errors
    /// Not reached, or not a health document.
    pub async fn health(&self, timeout: Duration) -> Result<Health, HealthFailure> {
        health(&*self.dialer, self.address.clone(), self.tls.clone(), timeout, &self.memory).await
    }

    /// `GET /sessions`. Any status is an answer.
    ///
    /// # Errors
    /// No answer in time, or too long a one.
    pub async fn sessions(&self, timeout: Duration) -> Result<HttpReply, DialFailure> {
        self.send(HttpMethod::Get, "/sessions", None, timeout, MAX_LIST_BODY).await
    }

    /// `GET /config`. Any status is an answer.
    ///
    /// # Errors
    /// No answer in time, or too long a one.
    pub async fn config(&self, timeout: Duration) -> Result<HttpReply, DialFailure> {
        self.send(HttpMethod::Get, "/config", None, timeout, MAX_LIST_BODY).await
    }

    /// `POST /spawn`. Any status is an answer. A failure past the step `connect` or `tls` leaves open whether it ran.
    ///
    /// # Errors
    /// No answer in time, or too long a one.
    pub async fn spawn(&self, params: &Value, timeout: Duration) -> Result<HttpReply, DialFailure> {
        self.send(HttpMethod::Post, "/spawn", Some(params), timeout, MAX_HEALTH_BODY).await
    }

    /// `POST /control`. Any status is an answer.
    ///
    /// # Errors
    /// No answer in time, or too long a one.
    pub async fn control(&self, params: &Value, timeout: Duration) -> Result<HttpReply, DialFailure> {
        self.send(HttpMethod::Post, "/control", Some(params), timeout, MAX_HEALTH_BODY).await
    }

    async fn send(
        &self,
        method: HttpMethod,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
        max_body: usize,
    ) -> Result<HttpReply, DialFailure> {
        let mut request = HttpRequest::get(self.address.clone(), self.tls.clone(), path, timeout, max_body);
        request.method = method;
        request.body = body.map(|body| Bytes::from(body.to_string()));
        request.bearer = self.token.clone();
        self.dialer.http(request, &self.memory).await
    }
}

#[cfg(test)]
mod tests;
