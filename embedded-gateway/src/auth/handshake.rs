//! The first frames of a connection: the challenge goes out, one frame comes in.

use gatewarden_protocol::signing::{ProofError, SignedFields, verify};
use gatewarden_protocol::{Dialect, Secret};
use serde_json::{Value, json};

use super::connect_params::{self, ConnectParams, DeviceClaim};
use super::{
    Attempt, Claim, NEWEST_PROTOCOL, OLDEST_PROTOCOL, Peer, ProvenDevice, Refusal, Rejection, origin, refusals,
};
use crate::call::CallError;
use crate::caller::{ConnectionId, Role};
use crate::clock::Now;
use crate::config::GatewayConfig;

/// Most that a `signedAt` may differ from the gateway's clock, in ms (2026.3.24 and 2026.9.6: 110 s pass, 130 s don't).
const SIGNATURE_SKEW_MS: u64 = 120_000;

#[derive(Debug)]
pub(crate) struct Handshake {
    connection: ConnectionId,
    peer: Peer,
    nonce: String,
}

/// What the first frame leads to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FirstStep {
    /// Close without a word: what came is no frame of ours.
    Close { code: u16, reason: String },
    /// Answer with an error, then close. No credential was looked at.
    Refuse(Refusal),
    /// Ask the core actor ([`crate::core_actor::Admit`]).
    Ask(Box<Attempt>),
}

impl Handshake {
    /// A connection that was just opened. `nonce` is fresh and nobody can guess it.
    pub(crate) fn new(connection: ConnectionId, peer: Peer, nonce: String) -> Self {
        Self { connection, peer, nonce }
    }

    /// The payload of the `connect.challenge` event, the first thing that is sent. It has what document 002 shows beside
    /// what real releases send; both ignore what they don't know.
    pub(crate) fn challenge(&self, config: &GatewayConfig, now: Now) -> Value {
        json!({
            "nonce": self.nonce,
            "ts": now.wall_ms,
            "protocols": [OLDEST_PROTOCOL, NEWEST_PROTOCOL],
            "deviceAuthRequired": config.device_auth.enabled,
        })
    }

    /// Reads the first frame, of at most 64 KiB. Text and binary frames are the same.
    pub(crate) fn first_frame(&self, bytes: &[u8], config: &GatewayConfig, now: Now) -> FirstStep {
        let Ok(Value::Object(frame)) = serde_json::from_slice::<Value>(bytes) else {
            // Real gateways hang up on what is no JSON, without a reason.
            return FirstStep::Close { code: 1000, reason: String::new() };
        };
        let method = frame.get("method").and_then(Value::as_str);
        let null = Value::Null;
        let params = frame.get("params").unwrap_or(&null);
        match (frame.get("type").and_then(Value::as_str), method) {
            (Some("req"), Some(method)) => {
                let Some(id) = frame.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) else {
                    return not_a_request("at root: must have required property 'id'");
                };
                let known = ["type", "id", "method", "params", "traceparent", "expectedProfileId"];
                if let Some(name) = frame.keys().find(|name| !known.contains(&name.as_str())) {
                    return not_a_request(&format!(
                        "at root: unexpected property '{}'",
                        name.chars().take(64).collect::<String>()
                    ));
                }
                if method == "connect" {
                    self.connect(id, params, config, now)
                } else {
                    let error = CallError::invalid("invalid handshake: first request must be connect");
                    FirstStep::Refuse(Refusal::new(Dialect::Openclaw, Some(id.to_owned()), error))
                }
            }
            (None, Some(method)) => self.auth(request_id(frame.get("id")), method, params, config),
            _ => not_a_request(""),
        }
    }

    fn connect(&self, id: &str, params: &Value, config: &GatewayConfig, now: Now) -> FirstStep {
        let refuse = |error: CallError| FirstStep::Refuse(Refusal::new(Dialect::Openclaw, Some(id.to_owned()), error));
        // A range that can't be read is refused in the newest protocol's words.
        let words = connect_params::range(params).map_or(NEWEST_PROTOCOL, |(_, max)| max);
        let params = match connect_params::read(params, words) {
            Ok(params) => params,
            Err(error) => return refuse(error),
        };
        let Some(protocol) = chosen(params.min_protocol, params.max_protocol) else {
            return FirstStep::Refuse(refusals::protocol_mismatch(id, params.min_protocol, params.max_protocol));
        };
        if serves_no(&params) {
            return FirstStep::Close { code: 1008, reason: "invalid-handshake".to_owned() };
        }
        let Some(role) = params.role else { return refuse(CallError::invalid("invalid role")) };
        if let Err(reason) = origin::check(&self.peer, &params.client, config) {
            return self.refused(
                Dialect::Openclaw,
                Some(id.to_owned()),
                &params.client.id,
                refusals::origin(reason),
                false,
            );
        }
        let mut params = params;
        let proven = match params.device.as_ref().filter(|_| config.device_auth.enabled) {
            Some(claim) => match prove(claim, &params, &self.nonce, now.wall_ms) {
                Ok(proven) => Some(proven),
                Err(error) => {
                    return self.refused(Dialect::Openclaw, Some(id.to_owned()), &params.client.id, error, true);
                }
            },
            None => None,
        };
        if role == Role::Node {
            // Its signature covers them, and that is all that they are good for.
            params.scopes.clear();
        }
        self.ask(Some(id.to_owned()), Claim::Connect { params: Box::new(params), protocol, role, proven })
    }

    fn auth(&self, id: Option<String>, method: &str, params: &Value, config: &GatewayConfig) -> FirstStep {
        let refuse = |error: CallError| FirstStep::Refuse(Refusal::new(Dialect::Rpc, id.clone(), error));
        if method != "auth" {
            return refuse(refusals::auth_first());
        }
        if let Err(reason) = origin::of_page(&self.peer, config) {
            return self.refused(Dialect::Rpc, id, "rpc", refusals::origin(reason), false);
        }
        let secret = |name: &str| match params.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= 4_096 => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(CallError::invalid(format!("invalid auth params: at /{name}: must be string"))),
        };
        match (secret("token"), secret("password")) {
            (Ok(token), Ok(password)) => {
                let claim = Claim::Auth { token: token.map(Secret::new), password: password.map(Secret::new) };
                self.ask(id, claim)
            }
            (Err(error), _) | (_, Err(error)) => refuse(error),
        }
    }

    fn refused(
        &self,
        dialect: Dialect,
        request: Option<String>,
        client_id: &str,
        error: CallError,
        counts: bool,
    ) -> FirstStep {
        let rejection = Box::new(Rejection { error, close_reason: None, counts });
        self.ask(request, Claim::Refused { client_id: client_id.to_owned(), dialect, rejection })
    }

    fn ask(&self, request: Option<String>, claim: Claim) -> FirstStep {
        FirstStep::Ask(Box::new(Attempt { connection: self.connection, peer: self.peer.clone(), request, claim }))
    }
}

/// The newest protocol in a range that we speak.
fn chosen(min: u32, max: u32) -> Option<u32> {
    (OLDEST_PROTOCOL..=NEWEST_PROTOCOL).rev().find(|version| (min..=max).contains(version))
}

/// Kinds of clients that need parts of real gateways which are not here: the browser copilot and worker processes.
fn serves_no(params: &ConnectParams) -> bool {
    matches!(params.client.id.as_str(), "openclaw-worker" | "openclaw-browser-copilot")
        || params.client.mode == "worker"
}

/// An id as text: the `rpc` dialect's may be a number.
fn request_id(id: Option<&Value>) -> Option<String> {
    match id? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn not_a_request(why: &str) -> FirstStep {
    let reason =
        if why.is_empty() { "invalid request frame".to_owned() } else { format!("invalid request frame: {why}") };
    FirstStep::Close { code: 1008, reason }
}

/// Checks id, time, nonce and signature, in the order of real releases. `nonce` is this connection's.
fn prove(claim: &DeviceClaim, params: &ConnectParams, nonce: &str, wall_ms: i64) -> Result<ProvenDevice, CallError> {
    // Document 002 shows plain base64; the same bytes in the other alphabet are the same key.
    let (public_key, signature) = (url_safe(&claim.public_key), url_safe(&claim.signature));
    let verdict = signed_tokens(params)
        .into_iter()
        .map(|token| verify(&fields(claim, params, token), &public_key, &signature))
        .reduce(|first, next| if first.is_ok() { first } else { next });
    if matches!(verdict, Some(Err(ProofError::DeviceId | ProofError::PublicKey))) {
        return Err(refusals::device(
            "device identity mismatch",
            "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            "device-id-mismatch",
        ));
    }
    if claim.signed_at_ms.abs_diff(wall_ms) > SIGNATURE_SKEW_MS {
        return Err(refusals::device(
            "device signature expired",
            "DEVICE_AUTH_SIGNATURE_EXPIRED",
            "device-signature-stale",
        ));
    }
    if claim.nonce != nonce {
        return Err(refusals::device("device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH", "device-nonce-mismatch"));
    }
    if !matches!(verdict, Some(Ok(_))) {
        return Err(refusals::device("device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID", "device-signature"));
    }
    Ok(ProvenDevice { id: claim.id.clone(), public_key })
}

fn fields<'a>(claim: &'a DeviceClaim, params: &'a ConnectParams, token: &'a str) -> SignedFields<'a> {
    SignedFields {
        device_id: &claim.id,
        client_id: &params.client.id,
        client_mode: &params.client.mode,
        role: params.role.unwrap_or_default().as_str(),
        scopes: &params.scopes,
        signed_at_ms: claim.signed_at_ms,
        token,
        nonce: &claim.nonce,
        platform: &params.client.platform,
        device_family: params.client.device_family.as_deref().unwrap_or_default(),
    }
}

/// The tokens that may stand in the signed text: the first of `auth`, and document 002's device token where it is sent.
fn signed_tokens(params: &ConnectParams) -> Vec<&str> {
    let shown = &params.credentials;
    let of_auth = shown.token.as_ref().or(shown.device_token.as_ref()).or(shown.bootstrap_token.as_ref());
    let documented = shown.documented_device_token.as_ref();
    match (of_auth, documented) {
        (Some(first), Some(second)) => vec![first.expose(), second.expose()],
        (first, second) => vec![first.or(second).map(Secret::expose).unwrap_or_default()],
    }
}

fn url_safe(text: &str) -> String {
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests;
