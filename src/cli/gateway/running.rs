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
use gatewarden_embedded_gateway::config::{Draft, TailscaleMode, load};
use gatewarden_embedded_gateway::lock_file::Holder;
use gatewarden_protocol::frame::Frame;
use gatewarden_protocol::{Dialect, GatewayAddress, Secret, WireError, encode_request};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
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

/// A field of an answer, fit to be shown.
pub(super) fn text(row: &Value, field: &str) -> String {
    row.get(field).and_then(Value::as_str).map(gatewarden_protocol::words::shown).unwrap_or_default()
}

/// The words of a list of an answer, fit to be shown; `none` where there are none.
pub(super) fn words_of(row: &Value, field: &str, none: &str) -> String {
    let words = row.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<String> = words.map(gatewarden_protocol::words::shown).collect();
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

/// Where this machine reaches it; none while it starts.
pub(super) fn address_of(holder: &Holder) -> Option<SocketAddr> {
    holder.address.as_deref()?.parse().ok().map(reachable)
}

/// What it says of itself over HTTP.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    pub(super) version: Option<String>,
    /// Accounts of channels that are connected, where that could be asked, and what is wrong with the others.
    pub(super) channels: Option<u32>,
    pub(super) channel_troubles: Vec<String>,
    /// How it is with Tailscale's route, where there is to be one.
    pub(super) tailscale: Option<String>,
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
    /// None: the configuration can't be read, so neither credential nor channels are known.
    has_channels: Option<bool>,
    uses_tailscale: bool,
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
                TlsTrust::Pins { pins: vec![hex::encode(Sha256::digest(&certificate))] }
            }
        };
        let parsed = GatewayAddress::parse(&format!("{}://{listens}", holder.scheme), None);
        let address = parsed.map_err(|error| error.to_string())?.address;
        let credential = draft.and_then(|draft| draft.credential().ok().flatten());
        let has_channels = draft.map(|draft| !draft.settings().channels.is_empty());
        let uses_tailscale = draft.is_some_and(|draft| draft.settings().tailscale.mode != TailscaleMode::Off);
        Ok(Self { address, shown: listens, tls, credential, has_channels, uses_tailscale })
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
        let version = health.document.version;
        let Some(has_channels) = self.has_channels else { return Ok(Overview { version, ..Overview::default() }) };
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
        let all = json!({});
        let asked = has_channels.then(|| self.ask("channels.status", &all));
        let (channels, channel_troubles) = match asked.map(|asked| tokio::time::timeout(LIMIT, asked)) {
            None => (0, Vec::new()),
            Some(asked) => match asked.await {
                Ok(Ok(status)) => channels_of(&status),
                Ok(Err(why)) => (0, vec![why]),
                Err(_) => (0, vec!["the gateway doesn't say how they are".to_owned()]),
            },
        };
        let asked = self.uses_tailscale.then(|| tokio::time::timeout(LIMIT, self.ask("gateway.info", &all)));
        let tailscale = match asked {
            None => None,
            Some(asked) => Some(match asked.await {
                Ok(Ok(info)) => route_of(&info),
                Ok(Err(why)) => why,
                Err(_) => "the gateway doesn't say how it is".to_owned(),
            }),
        };
        let channels = Some(channels);
        Ok(Overview { version, sessions, active_sessions, configuration, channels, channel_troubles, tailscale })
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
        let refused = |error: WireError| {
            let said = gatewarden_protocol::words::shown(&error.message);
            format!("The gateway refused: {}.", said.trim_end_matches('.'))
        };
        answer.map_err(refused)
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

/// How many accounts an answer of `channels.status` shows as connected, and a line for each of the others that should be.
fn channels_of(status: &Value) -> (u32, Vec<String>) {
    let channels = status.get("channelAccounts").and_then(Value::as_object);
    let (mut connected, mut troubles) = (0, Vec::new());
    for (channel, rows) in channels.into_iter().flatten() {
        for row in rows.as_array().into_iter().flatten() {
            let text = |name: &str| row.get(name).and_then(Value::as_str).map(gatewarden_protocol::words::shown);
            if row.get("connected") == Some(&Value::Bool(true)) {
                connected += 1;
            } else if row.get("enabled") != Some(&Value::Bool(false)) {
                let said = text("lastError").unwrap_or_else(|| "it is connecting".to_owned());
                let cure = text("fix").map_or_else(String::new, |fix| format!(". {fix}"));
                troubles.push(format!("{channel} {}: {said}{cure}", text("accountId").unwrap_or_default()));
            }
        }
    }
    (connected, troubles)
}

/// What an answer of `gateway.info` says of Tailscale's route.
fn route_of(info: &Value) -> String {
    let text = |name: &str| {
        let said = info.pointer(&format!("/tailscale/{name}")).and_then(Value::as_str);
        said.map(gatewarden_protocol::words::shown)
    };
    match (text("mode"), text("url"), text("error")) {
        (Some(mode), Some(url), _) => format!("{mode}, {url}"),
        (Some(mode), None, Some(error)) => {
            let help = text("help").map_or_else(String::new, |help| format!(": {help}"));
            format!("{mode}, not reached: {error}{help}")
        }
        (Some(mode), None, None) => format!("{mode}, it is being set up"),
        (None, ..) => "off until a restart".to_owned(),
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
    fn channels_are_counted_and_those_that_should_be_connected_are_said() {
        let row = |connected: bool, more: Value| {
            let mut row = json!({"accountId": "a", "connected": connected});
            row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            row
        };
        let rows = [
            row(true, json!({})),
            row(false, json!({"lastError": "HTTP 401", "fix": "Take another token"})),
            row(false, json!({"enabled": false})),
        ];
        let status = json!({"channelAccounts": {"telegram": rows}});
        assert_eq!(channels_of(&status), (1, vec!["telegram a: HTTP 401. Take another token".to_owned()]));
    }

    #[test]
    fn a_route_is_said_with_its_address_or_with_what_helps() {
        let said = |tailscale: Value| route_of(&json!({ "tailscale": tailscale }));
        assert_eq!(
            said(json!({"mode": "serve", "active": true, "url": "https://b.ts.net/"})),
            "serve, https://b.ts.net/"
        );
        let missing = json!({"mode": "funnel", "active": false, "error": "no", "help": "do"});
        assert_eq!(said(missing), "funnel, not reached: no: do");
        assert_eq!(said(json!({"mode": "serve", "active": false})), "serve, it is being set up");
        assert_eq!(said(Value::Null), "off until a restart");
    }

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
