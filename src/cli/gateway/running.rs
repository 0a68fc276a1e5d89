//! A gateway that runs on this machine: how it is reached, and what it is asked over its own protocol and with its own credential.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use gatewarden_actors::dialing::HealthFailure;
use gatewarden_actors::dialing::http_probe::HttpGateway;
use gatewarden_actors::dialing::{DialRequest, Dialed, Dialer as _, Incoming, MemoryAccount, NetworkDialer};
use gatewarden_actors::gateway_record::TlsTrust;
use gatewarden_actors::machines::connection::{HttpAnswer, HttpOperation};
use gatewarden_embedded_gateway::config::{Draft, load};
use gatewarden_embedded_gateway::lock_file::Holder;
use gatewarden_protocol::frame::Frame;
use gatewarden_protocol::{Dialect, GatewayAddress, Secret, WireError, encode_request};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::daemon::endpoint::reachable;
use super::super::error::CliError;
use super::PlaceArgs;

/// How long everything may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 25 * 1024 * 1024;

/// Asks the gateway of a place; says what is wrong where that can't be done.
pub(super) fn call(place: &PlaceArgs, method: &str, params: &Value) -> Result<Value, CliError> {
    let (state_dir, holder, inputs) = place.with_holder()?;
    let holder = holder.ok_or_else(|| {
        CliError::new(format!(
            "No gateway runs on {}: start it (gatewarden gateway start), or name its --state-dir.",
            state_dir.display()
        ))
    })?;
    let listens = address_of(&holder).ok_or_else(|| CliError::new("The gateway is still starting: try again."))?;
    let draft = load(&inputs).map_err(CliError::new)?;
    draft.credential().map_err(CliError::new)?;
    let running = Running::new(&holder, listens, Some(&draft)).map_err(CliError::new)?;
    let asked = async {
        tokio::time::timeout(LIMIT, running.ask(method, params))
            .await
            .unwrap_or_else(|_| Err(format!("The gateway at {listens} did not answer within {} s.", LIMIT.as_secs())))
    };
    actix_rt::System::new().block_on(asked).map_err(CliError::new)
}

/// Where this machine reaches it; none while it starts.
pub(super) fn address_of(holder: &Holder) -> Option<SocketAddr> {
    holder.address.as_deref()?.parse().ok().map(reachable)
}

/// What it says of itself over HTTP.
#[derive(Debug, Default)]
pub(super) struct Overview {
    pub(super) version: Option<String>,
    /// How many sessions it has, and in how many of them an agent is at work, where it lets this command see them.
    pub(super) sessions: Option<u64>,
    pub(super) active_sessions: Option<u64>,
    /// What its configuration's file says and doesn't count; sentences.
    pub(super) configuration: Vec<String>,
}

/// How it is reached.
pub(super) struct Running {
    address: GatewayAddress,
    shown: SocketAddr,
    tls: TlsTrust,
    credential: Option<Secret>,
}

impl Running {
    /// Err: a sentence about what is missing in the configuration.
    pub(super) fn new(holder: &Holder, listens: SocketAddr, draft: Option<&Draft>) -> Result<Self, String> {
        let tls = match draft.and_then(|draft| draft.settings().tls.as_ref()) {
            _ if holder.scheme != "wss" => TlsTrust::System,
            None => return Err("it speaks TLS, and the configuration names no certificate to know it by".to_owned()),
            // Its own certificate, whatever names it has, and no other.
            Some(tls) => {
                let unreadable =
                    |error| format!("The gateway's certificate {} cannot be read: {error}.", tls.cert.display());
                let certificate = CertificateDer::from_pem_file(&tls.cert).map_err(unreadable)?;
                let pin: String = Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02x}")).collect();
                TlsTrust::Pins { pins: vec![pin] }
            }
        };
        let parsed = GatewayAddress::parse(&format!("{}://{listens}", holder.scheme), None);
        let address = parsed.map_err(|error| error.to_string())?.address;
        let credential = draft.and_then(|draft| draft.credential().ok().flatten());
        Ok(Self { address, shown: listens, tls, credential })
    }

    /// Err: why there is none.
    pub(super) async fn overview(&self) -> Result<Overview, String> {
        let (dialer, memory) = (Arc::new(NetworkDialer::new()), MemoryAccount::default());
        let (address, tls) = (self.address.clone(), self.tls.clone());
        let opened = HttpGateway::open(dialer, address, tls, self.credential.clone(), LIMIT, memory).await;
        let (gateway, health) = opened.map_err(|failure| match failure {
            HealthFailure::NotAHealthDocument { status, .. } => format!("it answers with {status}"),
            HealthFailure::Unreached(failure) => format!("it does not answer at {}: {failure}", self.shown),
        })?;
        let sessions = match gateway.ask(HttpOperation::Sessions, LIMIT).await {
            HttpAnswer::Reply(Ok(reply)) if reply.status == 200 => Some(reply),
            _ => None,
        };
        let sessions = sessions.and_then(|reply| serde_json::from_slice::<Value>(&reply.body).ok());
        let count = |name: &str| sessions.as_ref()?.get(name)?.as_u64();
        let (sessions, active_sessions) = (count("total"), count("active"));
        let configuration = match gateway.ask(HttpOperation::Config, LIMIT).await {
            HttpAnswer::Reply(Ok(reply)) => {
                serde_json::from_slice(&reply.body).map_or_else(|_| Vec::new(), |shown| unapplied(&shown))
            }
            _ => Vec::new(),
        };
        Ok(Overview { version: health.document.version, sessions, active_sessions, configuration })
    }

    async fn ask(&self, method: &str, params: &Value) -> Result<Value, String> {
        let request =
            DialRequest { address: self.address.clone(), tls: self.tls.clone(), timeout: LIMIT, origin: None };
        let dialed = NetworkDialer::new().dial(request, &MemoryAccount::default()).await;
        let mut socket =
            dialed.map_err(|failure| format!("The gateway at {} cannot be reached: {failure}.", self.shown))?;
        socket.frame_cap.set(MAX_ANSWER);
        let token = self.credential.as_ref().map(Secret::expose);
        if let Err(error) = self.exchange(&mut socket, "auth", &json!({ "token": token })).await? {
            let cure = match error.details_code() {
                Some("DEVICE_IDENTITY_REQUIRED") => {
                    "This gateway lets devices in alone (requireSignature): ask it from one that is approved and may pair others."
                }
                _ => "Its configuration may have changed since its start: restart it.",
            };
            return Err(format!(
                "The gateway at {} does not let this command in: {}. {cure}",
                self.shown, error.message
            ));
        }
        let answer = self.exchange(&mut socket, method, params).await?;
        let _ = socket.outgoing.close(1000, "");
        answer.map_err(|error| format!("The gateway refused: {}.", gatewarden_protocol::words::shown(&error.message)))
    }

    async fn exchange(
        &self,
        socket: &mut Dialed,
        method: &str,
        params: &Value,
    ) -> Result<Result<Value, WireError>, String> {
        let frame = encode_request(Dialect::Rpc, method, method, params);
        let lost = |error: &dyn std::fmt::Display| format!("The connection to {} broke off: {error}.", self.shown);
        socket.outgoing.try_send_text(frame).map_err(|error| lost(&error))?;
        loop {
            let bytes = match socket.incoming.next().await {
                None => return Err(lost(&"the gateway hung up")),
                Some(Err(error)) => return Err(lost(&error)),
                Some(Ok(Incoming::Close { reason, .. })) => return Err(lost(&reason)),
                Some(Ok(Incoming::Ping(payload))) => {
                    socket.outgoing.pong(payload).map_err(|error| lost(&error))?;
                    continue;
                }
                Some(Ok(Incoming::Pong(_))) => continue,
                Some(Ok(Incoming::Text(text, _))) => text.into_bytes(),
                Some(Ok(Incoming::Binary(bytes, _))) => bytes,
            };
            // Everything else is told to everybody.
            if let Ok(Frame::Response(response)) = Frame::parse(&bytes)
                && response.id == method
            {
                return Ok(response.outcome);
            }
        }
    }
}

/// What an answer of `config.get` says of settings that don't count.
fn unapplied(shown: &Value) -> Vec<String> {
    let list = |pointer: &str| -> Vec<&str> {
        shown.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let mut said = Vec::new();
    if shown.get("valid") == Some(&Value::Bool(false)) {
        said.push("the file can't be used, and the gateway goes on with what it has: gatewarden gateway config validate says why".to_owned());
    }
    for (keys, cure) in [(list("/unapplied/restart"), "a restart"), (list("/unapplied/reload"), "SIGHUP, or a restart")]
    {
        if !keys.is_empty() {
            said.push(format!("changed, and waits for {cure}: {}", keys.join(", ")));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_is_said_with_what_helps() {
        let shown =
            json!({"valid": true, "unapplied": {"restart": ["gateway.port", "gateway.tls"], "reload": ["agents"]}});
        assert_eq!(
            unapplied(&shown),
            [
                "changed, and waits for a restart: gateway.port, gateway.tls",
                "changed, and waits for SIGHUP, or a restart: agents"
            ]
        );
        assert_eq!(
            unapplied(&json!({"valid": true, "unapplied": {"restart": [], "reload": []}})),
            Vec::<String>::new()
        );
        assert!(unapplied(&json!({"valid": false}))[0].contains("config validate"));
    }
}
