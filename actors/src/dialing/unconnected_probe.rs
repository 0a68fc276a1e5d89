//! The probe of a gateway without a live connection: which layer answers, and which is the first that doesn't.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{OptionFuture, join};
use gatewarden_protocol::GatewayAddress;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::Health;
use super::HealthFailure;
use super::Incoming;
use super::failure::{DialFailure, SocketError};
use super::http_probe::health;
use super::{DialRequest, DialTimings, Dialer, MemoryAccount};
use crate::gateway_record::{TlsTrust, Transport};

/// Statuses of a refused upgrade that an `http` gateway answers with.
pub const HTTP_DIALECT_STATUSES: [u16; 5] = [200, 404, 405, 426, 501];

/// A WebSocket that was opened and greeted us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// From the start of the dial to the challenge.
    pub took: Duration,
    /// How long each step took.
    pub timings: DialTimings,
}

/// Why there was no greeting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoGreeting {
    /// No socket.
    #[error(transparent)]
    NotDialled(#[from] DialFailure),
    /// The socket is open and stays silent: a gateway of the `rpc` dialect, or none.
    #[error("the socket opened, but no connect challenge came in time")]
    Silent,
    /// The first word was something else.
    #[error("the socket opened, but its first message is no connect challenge")]
    OtherWord,
    /// The socket ended before the challenge; 1013 is a gateway that is still starting.
    #[error("the socket was closed before a connect challenge came ({})", closed(*code, reason))]
    Closed {
        /// The close code, where there was one.
        code: Option<u16>,
        /// The close reason, at most 123 bytes.
        reason: String,
    },
    /// The socket broke.
    #[error(transparent)]
    Broke(#[from] SocketError),
}

fn closed(code: Option<u16>, reason: &str) -> String {
    match code {
        Some(code) if reason.is_empty() => format!("code {code}"),
        Some(code) => format!("code {code}: {reason}"),
        None => "without a close frame".to_owned(),
    }
}

impl NoGreeting {
    /// The failing step: that of the dial, or `challenge`.
    pub fn step(&self) -> &'static str {
        match self {
            Self::NotDialled(failure) => failure.step().as_str(),
            _ => "challenge",
        }
    }
}

/// What a probe found on both ways.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// `GET /health`.
    pub health: Result<Health, HealthFailure>,
    /// The WebSocket; none where the transport is `http`.
    pub socket: Option<Result<Greeting, NoGreeting>>,
    /// The transport that was allowed.
    pub transport: Transport,
}

impl Findings {
    /// The first layer that failed, and its words; none where a gateway answered in one of the ways allowed.
    pub fn failed_step(&self) -> Option<(&'static str, String)> {
        let no_health = self.health.as_ref().err().map(|failure| (failure.step(), failure.to_string()));
        match &self.socket {
            None => no_health,
            Some(Ok(_)) => None,
            Some(Err(NoGreeting::NotDialled(DialFailure::UpgradeRefused { status, .. })))
                if self.transport == Transport::Auto && HTTP_DIALECT_STATUSES.contains(status) =>
            {
                no_health
            }
            Some(Err(failure)) => Some((failure.step(), failure.to_string())),
        }
    }

    /// The time of the answer that counts: the greeting's, else the health document's.
    pub fn took(&self) -> Option<Duration> {
        match (&self.socket, &self.health) {
            (Some(Ok(greeting)), _) => Some(greeting.took),
            (_, Ok(health)) => Some(health.took),
            _ => None,
        }
    }
}

/// Tries `GET /health` and a WebSocket at once, both without credentials and within one budget.
pub async fn probe_unconnected(
    dialer: &dyn Dialer,
    address: &GatewayAddress,
    tls: &TlsTrust,
    transport: Transport,
    budget: Duration,
) -> Findings {
    // An account of its own: the gateway's connection isn't to end for what its probe is sent.
    let memory = dialer.memory().account();
    let greeted: OptionFuture<_> =
        (transport != Transport::Http).then(|| greet(dialer, address.clone(), tls.clone(), budget, &memory)).into();
    let (health, socket) = join(health(dialer, address.clone(), tls.clone(), budget, &memory), greeted).await;
    Findings { health, socket, transport }
}

async fn greet(
    dialer: &dyn Dialer,
    address: GatewayAddress,
    tls: TlsTrust,
    budget: Duration,
    memory: &MemoryAccount,
) -> Result<Greeting, NoGreeting> {
    let started = Instant::now();
    let mut dialed = dialer.dial(DialRequest { address, tls, timeout: budget, origin: None }, memory).await?;
    let first_word = async {
        loop {
            match dialed.incoming.next().await {
                Some(Ok(Incoming::Text(text, _))) if is_challenge(text.as_bytes()) => return Ok(()),
                Some(Ok(Incoming::Binary(bytes, _))) if is_challenge(&bytes) => return Ok(()),
                Some(Ok(Incoming::Text(..) | Incoming::Binary(..))) => return Err(NoGreeting::OtherWord),
                Some(Ok(Incoming::Ping(payload))) => dialed.outgoing.pong(payload)?,
                Some(Ok(Incoming::Pong(_))) => {}
                Some(Ok(Incoming::Close { code, reason })) => return Err(NoGreeting::Closed { code, reason }),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(NoGreeting::Closed { code: None, reason: String::new() }),
            }
        }
    };
    let outcome = timeout_at(started + budget, first_word).await.unwrap_or(Err(NoGreeting::Silent));
    // The gateway is told that nobody will connect here; if it is gone already, so be it.
    let _ = dialed.outgoing.close(1000, "probe done");
    outcome.map(|()| Greeting { took: started.elapsed(), timings: dialed.timings })
}

fn is_challenge(message: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Event {
        event: String,
    }
    serde_json::from_slice::<Event>(message).is_ok_and(|message| message.event == "connect.challenge")
}

#[cfg(test)]
mod tests;
