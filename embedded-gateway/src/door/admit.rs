//! The decision about an [`Attempt`]: who is it, what may it, and must somebody approve it first?

use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};
use serde_json::json;

use super::hello::{self, Granted};
use super::refusals::{self, Told, Unauthorized};
use super::report::{self, Failure};
use super::{Admission, Attempt, Claim, ConnectParams, NEWEST_PROTOCOL, ProvenDevice, Refusal, origin, scopes, shared};
use crate::caller::{Caller, Scope};
use crate::config::Auth;
use crate::devices::{Asking, Introduction, TokenState, pending_row};
use crate::machine::GatewayMachine;
use crate::turn::Turn;

/// A `connect` on its way through the checks.
struct Connect<'a> {
    attempt: &'a Attempt,
    params: &'a ConnectParams,
    protocol: u32,
    proven: Option<&'a ProvenDevice>,
}

/// What the checks found.
struct Entry {
    /// `auth.method` of the hello.
    method: &'static str,
    /// The shared credential was shown.
    by_shared: bool,
    /// The device that it is; not every client has one.
    device: Option<EnteringDevice>,
    /// The scopes that it gets.
    scopes: Vec<String>,
}

/// The device of an [`Entry`].
struct EnteringDevice {
    id: String,
    /// Approved, so that it gets a token for these scopes.
    token_scopes: Option<Vec<String>>,
}

/// How an attempt fails.
struct Rejected {
    refusal: Refusal,
    /// A wrong credential was shown.
    counts: bool,
}

type Decision<T> = Result<T, Box<Rejected>>;

impl GatewayMachine {
    /// Decides whether a connection is let in. Where it is, it listens from now on.
    pub fn admit(&mut self, attempt: &Attempt, turn: &mut Turn<'_>) -> Admission {
        let outcome = match &attempt.claim {
            Claim::Connect { params, protocol, proven } => {
                let connect = Connect { attempt, params, protocol: *protocol, proven: proven.as_ref() };
                self.connect(&connect, turn)
            }
            Claim::Auth { token, password } => self.auth(attempt, token.as_ref(), password.as_ref(), turn),
            Claim::Refused { refusal, counts, .. } => self.refused(attempt, refusal, *counts, turn),
        };
        match outcome {
            Ok(admission) => admission,
            Err(rejected) => {
                let Rejected { refusal, counts } = *rejected;
                let (client_id, device_id) = match &attempt.claim {
                    Claim::Connect { params, proven, .. } => {
                        (params.client.id.as_str(), proven.as_ref().map(|device| device.id.as_str()))
                    }
                    Claim::Refused { client_id, .. } => (client_id.as_str(), None),
                    Claim::Auth { .. } => ("rpc", None),
                };
                let failure = Failure { peer: &attempt.peer, client_id, device_id, error: &refusal.error, counts };
                self.report_failure(&failure, turn);
                Admission::Refused(refusal)
            }
        }
    }

    /// A client that was refused before; who is locked out learns nothing of that.
    fn refused(&self, attempt: &Attempt, refusal: &Refusal, counts: bool, turn: &Turn<'_>) -> Decision<Admission> {
        match self.door.lock_outs.locked_for(&attempt.peer, turn.now.at) {
            Some(left) => {
                let error = refusals::rate_limited(left, NEWEST_PROTOCOL);
                let refusal = refusals::plain(refusal.dialect, attempt.request.clone(), error);
                Err(Box::new(Rejected { refusal, counts: false }))
            }
            None => Err(Box::new(Rejected { refusal: refusal.clone(), counts })),
        }
    }

    /// `auth` of the `rpc` dialect: the shared credential, and nothing else that document 004 knows. It has all scopes.
    fn auth(
        &mut self,
        attempt: &Attempt,
        token: Option<&Secret>,
        password: Option<&Secret>,
        turn: &mut Turn<'_>,
    ) -> Decision<Admission> {
        let reject = |error, counts| {
            let refusal = refusals::plain(Dialect::Rpc, attempt.request.clone(), error);
            Err(Box::new(Rejected { refusal, counts }))
        };
        if let Some(left) = self.door.lock_outs.locked_for(&attempt.peer, turn.now.at) {
            return reject(refusals::rate_limited(left, NEWEST_PROTOCOL), false);
        }
        // Without any credential, a page in a browser would be let in for having been opened.
        if matches!(self.config.auth, Auth::None) && attempt.peer.origin.is_some() {
            return reject(refusals::device_required(), false);
        }
        let method = match shared::check(&self.config.auth, token, password, NEWEST_PROTOCOL) {
            Ok(method) => method,
            Err(why) => {
                let told = Told { client_id: "rpc", protocol: NEWEST_PROTOCOL, has_device: false };
                return reject(refusals::unauthorized(why, told), token.or(password).is_some());
            }
        };
        if self.config.device_auth.enabled && self.config.device_auth.require_signature {
            return reject(refusals::device_required(), false);
        }
        self.door.lock_outs.succeeded(&attempt.peer);
        let caller = Arc::new(Caller {
            connection: attempt.connection,
            dialect: Dialect::Rpc,
            protocol: 0,
            client_id: "rpc".to_owned(),
            display_name: None,
            device_id: None,
            scopes: scopes::operator(),
            remote: attempt.peer.remote.to_string(),
        });
        report::success(&caller, method, turn);
        let granted = Granted { caller: &caller, method, device_token: None, approved: None };
        let hello = hello::rpc(self, &granted, turn);
        self.audience.join(Arc::clone(&caller));
        Ok(Admission::In { caller, request: attempt.request.clone(), hello, documented: None })
    }

    fn connect(&mut self, connect: &Connect<'_>, turn: &mut Turn<'_>) -> Decision<Admission> {
        let Connect { attempt, params, protocol, .. } = *connect;
        if let Some(left) = self.door.lock_outs.locked_for(&attempt.peer, turn.now.at) {
            return connect.reject(refusals::rate_limited(left, protocol), false);
        }
        let entry = match connect.proven {
            Some(device) => self.with_device(connect, device, turn)?,
            None => self.without_device(connect, turn)?,
        };
        self.door.lock_outs.succeeded(&attempt.peer);
        let caller = Arc::new(Caller {
            connection: attempt.connection,
            dialect: Dialect::Openclaw,
            protocol,
            client_id: params.client.id.clone(),
            display_name: params.client.display_name.clone(),
            device_id: entry.device.as_ref().map(|device| device.id.clone()),
            scopes: entry.scopes,
            remote: attempt.peer.remote.to_string(),
        });
        report::success(&caller, entry.method, turn);
        let (device_token, approved) = self.token_of(connect, entry.device.as_ref(), turn);
        let granted = Granted { caller: &caller, method: entry.method, device_token, approved };
        let hello = hello::release(self, &granted, turn);
        let documented = connect.is_documented().then(|| hello::documented(self, &granted, turn));
        self.audience.join(Arc::clone(&caller));
        Ok(Admission::In { caller, request: attempt.request.clone(), hello, documented })
    }

    /// A client that shows no device (or devices aren't looked at).
    fn without_device(&mut self, connect: &Connect<'_>, turn: &Turn<'_>) -> Decision<Entry> {
        let Connect { attempt, params, .. } = *connect;
        let (shown, client, rules) = (&params.credentials, &params.client, &self.config.device_auth);
        let local = attempt.peer.is_local();
        let shared = connect.check_shared(&self.config.auth);
        let entry = |method, scopes| Ok(Entry { method, by_shared: true, device: None, scopes });
        if !rules.enabled {
            return match shared {
                Ok(method) => entry(method, params.scopes.clone()),
                Err(why) => connect.reject_credential(why),
            };
        }
        let method = match shared {
            Ok(method) => method,
            Err(why) if shown.token.is_some() || shown.password.is_some() => return connect.reject_credential(why),
            Err(_) => return self.by_token_alone(connect, turn),
        };
        let is_control_ui = origin::is_control_ui(client);
        if (is_control_ui && self.config.control_ui.require_device_auth) || client.id == "openclaw-tui" {
            return connect.reject(refusals::control_ui_device_required(), false);
        }
        let is_backend = client.id == "gateway-client" && client.mode == "backend";
        let is_cli = client.id == "cli" && client.mode == "cli";
        if rules.require_signature || (matches!(self.config.auth, Auth::None) && !(is_backend && local)) {
            return connect.reject(refusals::device_required(), false);
        }
        // What 2026.9.6 does, for protocol 3 too: releases of that time let such clients in and took all scopes away
        // without a word, which helps nobody.
        let trusted = (local && rules.approve_loopback && (is_backend || is_cli)) || is_control_ui;
        entry(method, if trusted { params.scopes.clone() } else { Vec::new() })
    }

    /// Document 002's reconnect: the token that was issued before, where it stands there, instead of a signature. (Real
    /// releases take no device token without the device's signature, in none of their places for it.)
    fn by_token_alone(&self, connect: &Connect<'_>, turn: &Turn<'_>) -> Decision<Entry> {
        let params = connect.params;
        let documented = params.credentials.documented_device_token.as_ref();
        let Some(token) = documented.filter(|_| !self.config.device_auth.require_signature) else {
            return connect.reject(refusals::device_required(), false);
        };
        let Some((device, held)) = self.devices.owner_of(token, turn.now.wall_ms) else {
            return connect.reject_credential(Unauthorized::DeviceTokenMismatch);
        };
        Ok(Entry {
            method: "device-token",
            by_shared: false,
            scopes: covered(&params.scopes, &held),
            device: Some(EnteringDevice { id: device.id.clone(), token_scopes: Some(held) }),
        })
    }

    /// A client that has proven to be a device.
    fn with_device(&mut self, connect: &Connect<'_>, device: &ProvenDevice, turn: &mut Turn<'_>) -> Decision<Entry> {
        let Connect { attempt, params, .. } = *connect;
        let client = &params.client;
        let entry = self.credential_of(connect, device, turn.now.wall_ms)?;
        let trusted = attempt.peer.is_local() && entry.by_shared && self.config.device_auth.approve_loopback;
        // As real releases: such a client is as good as the gateway's own host, and isn't paired.
        if trusted && client.id == "gateway-client" && client.mode == "backend" {
            return Ok(entry);
        }
        let introduction = Introduction {
            public_key: device.public_key.clone(),
            client_id: client.id.clone(),
            client_mode: client.mode.clone(),
            display_name: client.display_name.clone(),
            platform: client.platform.clone(),
            device_family: client.device_family.clone(),
        };
        use crate::devices::PairingReason::*;
        match self.devices.must_ask(&device.id, &introduction, &params.scopes) {
            None => {}
            Some(NotPaired) if trusted => self.approve_silently(connect, device, introduction, turn)?,
            Some(ScopeUpgrade) if trusted => {
                self.devices.widen(&device.id, &params.scopes);
                self.devices.save(turn);
                turn.audit(
                    "device.widened",
                    json!({"deviceId": device.id, "scopes": params.scopes, "approvedBy": "loopback"}),
                );
            }
            Some(reason) => {
                let asking = Asking {
                    device_id: &device.id,
                    introduction: &introduction,
                    scopes: &params.scopes,
                    reason,
                    remote: &attempt.peer.remote.to_string(),
                };
                return self.ask_for_approval(connect, asking, turn);
            }
        }
        let approved = self.devices.get(&device.id).map(|device| device.scopes.clone());
        let entering = entry.device.and_then(|device| device.token_scopes).or(approved);
        Ok(Entry { device: Some(EnteringDevice { id: device.id.clone(), token_scopes: entering }), ..entry })
    }

    /// The credential that comes with a proven device: the shared one, else one of its tokens, else (document 002) the
    /// signature itself.
    fn credential_of(&self, connect: &Connect<'_>, device: &ProvenDevice, wall_ms: i64) -> Decision<Entry> {
        let params = connect.params;
        let shown = &params.credentials;
        let entry = |method, by_shared, scopes: Vec<String>, token_scopes| {
            let device = Some(EnteringDevice { id: device.id.clone(), token_scopes });
            Ok(Entry { method, by_shared, device, scopes })
        };
        let why = match connect.check_shared(&self.config.auth) {
            Ok(method) => return entry(method, true, params.scopes.clone(), None),
            Err(why) => why,
        };
        let explicit = shown.device_token.as_ref().or(shown.documented_device_token.as_ref());
        let state = |token: &Secret| self.devices.check_token(&device.id, token, wall_ms);
        let mut is_expired = false;
        for token in explicit.into_iter().chain(&shown.token) {
            match state(token) {
                TokenState::Good(held) => {
                    let approved =
                        self.devices.get(&device.id).map(|device| device.scopes.as_slice()).unwrap_or_default();
                    // A token may be narrower than its device; what the device itself may not have must be asked for.
                    let asked = if scopes::covers_all(approved, &params.scopes) {
                        covered(&params.scopes, &held)
                    } else {
                        params.scopes.clone()
                    };
                    return entry("device-token", false, asked, Some(held));
                }
                TokenState::Expired => is_expired = true,
                TokenState::Unknown => {}
            }
        }
        // Document 002: the signature is the full login, and a token only the shorter way. That holds for its own form of
        // `connect`, for devices whose tokens were not withdrawn, and never for a wrong token.
        let knows = self.devices.get(&device.id).is_some_and(|device| device.has_tokens());
        let nothing_shown = explicit.is_none() && shown.token.is_none() && shown.password.is_none();
        let documented_expired = is_expired && shown.documented_device_token.is_some() && shown.device_token.is_none();
        if knows && (documented_expired || (nothing_shown && connect.is_documented())) {
            return entry("device-signature", false, params.scopes.clone(), None);
        }
        connect.reject_credential(if explicit.is_some() { Unauthorized::DeviceTokenMismatch } else { why })
    }

    fn approve_silently(
        &mut self,
        connect: &Connect<'_>,
        device: &ProvenDevice,
        introduction: Introduction,
        turn: &mut Turn<'_>,
    ) -> Decision<()> {
        let audience = &self.audience;
        let connected = |id: &str| audience.callers().any(|caller| caller.device_id.as_deref() == Some(id));
        let scopes = connect.params.scopes.clone();
        let now_ms = turn.now.wall_ms;
        match self.devices.approve_silently(&device.id, introduction, scopes, connected, now_ms) {
            Ok(gone) => {
                if let Some(gone) = gone {
                    report::revoked(
                        &gone.id,
                        "maxDevicesPerUser",
                        "device superseded by a new one of the same name",
                        turn,
                    );
                }
            }
            Err(no_room) => return connect.reject(refusals::too_many_devices(no_room.0), false),
        }
        if let Some(device) = self.devices.get(&device.id) {
            report::registered(device, "loopback", turn);
        }
        self.devices.save(turn);
        let request_id = turn.uuid();
        self.tell_resolved(&request_id, &device.id, "approved", turn);
        Ok(())
    }

    fn ask_for_approval<T>(&mut self, connect: &Connect<'_>, asking: Asking<'_>, turn: &mut Turn<'_>) -> Decision<T> {
        let fresh_id = turn.uuid();
        let asked = self.devices.ask(asking, turn.now.wall_ms, || fresh_id);
        if asked.is_new {
            turn.audit(
                "device.pairing_requested",
                json!({"deviceId": asking.device_id, "requestId": asked.request.id, "remote": asking.remote}),
            );
            turn.tell(self.audience.holding(Scope::Pairing), "device.pair.requested", pending_row(&asked.request));
        }
        let refusal = refusals::pairing_required(
            connect.attempt.request.clone(),
            connect.protocol,
            refusals::PairingRequired {
                reason: asking.reason,
                request_id: &asked.request.id,
                device_id: asking.device_id,
                scopes: asking.scopes,
                approved: self.devices.get(asking.device_id).map(|device| device.scopes.as_slice()),
            },
        );
        Err(Box::new(Rejected { refusal, counts: false }))
    }

    /// The event that ends a request.
    pub(crate) fn tell_resolved(&self, request_id: &str, device_id: &str, decision: &str, turn: &mut Turn<'_>) {
        let payload =
            json!({"requestId": request_id, "deviceId": device_id, "decision": decision, "ts": turn.now.wall_ms});
        turn.tell(self.audience.holding(Scope::Pairing), "device.pair.resolved", payload);
    }

    /// The token of an approved device, and what it was approved for.
    fn token_of(
        &mut self,
        connect: &Connect<'_>,
        device: Option<&EnteringDevice>,
        turn: &mut Turn<'_>,
    ) -> (Option<(Secret, i64)>, Option<Vec<String>>) {
        let Some(EnteringDevice { id, token_scopes: Some(scopes) }) = device else { return (None, None) };
        let shown = &connect.params.credentials;
        let shown = shown.device_token.as_ref().or(shown.documented_device_token.as_ref()).or(shown.token.as_ref());
        let now_ms = turn.now.wall_ms;
        self.devices.seen(id, now_ms);
        let issued = self.devices.token_for(id, scopes, shown, now_ms, || turn.secret());
        let approved = self.devices.get(id).map(|device| device.scopes.clone());
        if issued.as_ref().is_some_and(|issued| issued.is_fresh) {
            self.devices.save(turn);
        }
        (issued.map(|issued| (issued.token, issued.issued_at_ms)), approved)
    }
}

impl Connect<'_> {
    fn check_shared(&self, auth: &Auth) -> Result<&'static str, Unauthorized> {
        let shown = &self.params.credentials;
        shared::check(auth, shown.token.as_ref(), shown.password.as_ref(), self.protocol)
    }

    /// A client as document 002 has it: protocol 3, and either its place for the device token, which real releases refuse,
    /// or the sample's introduction, which no known client of real releases uses.
    fn is_documented(&self) -> bool {
        let (client, shown) = (&self.params.client, &self.params.credentials);
        let is_sample = client.id == "gateway-client" && client.mode == "ui";
        self.protocol == 3 && (shown.documented_device_token.is_some() || is_sample)
    }

    fn reject<T>(&self, error: crate::reply::CallError, counts: bool) -> Decision<T> {
        let refusal = refusals::plain(Dialect::Openclaw, self.attempt.request.clone(), error);
        Err(Box::new(Rejected { refusal, counts }))
    }

    /// Refuses a credential. It counts as a failed login unless there was none.
    fn reject_credential<T>(&self, why: Unauthorized) -> Decision<T> {
        let told =
            Told { client_id: &self.params.client.id, protocol: self.protocol, has_device: self.proven.is_some() };
        let missing = matches!(why, Unauthorized::TokenMissing | Unauthorized::PasswordMissing);
        self.reject(refusals::unauthorized(why, told), !missing)
    }
}

/// What of `wanted` is held.
fn covered(wanted: &[String], held: &[String]) -> Vec<String> {
    wanted.iter().filter(|scope| scopes::covers(held, scope)).cloned().collect()
}

#[cfg(test)]
mod tests;
