//! Which credential a `connect` comes with, and what that is worth: for clients with and without a device.

use gatewarden_protocol::Secret;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::refusals::{self, Told, Unauthorized};
use super::{Attempt, ConnectParams, Decision, ProvenDevice, TailnetLogin, origin, reject};
use crate::caller::{Role, covers, covers_all};
use crate::config::Auth;
use crate::devices::PairingReason::{NotPaired, RoleUpgrade, ScopeUpgrade};
use crate::devices::{Asking, Introduction, TokenState};
use crate::machine::GatewayMachine;
use crate::turn::Turn;

pub(super) struct Connect<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) params: &'a ConnectParams,
    pub(super) protocol: u32,
    pub(super) role: Role,
    pub(super) proven: Option<&'a ProvenDevice>,
}

pub(super) struct Entry {
    /// `auth.method` of the hello.
    pub(super) method: &'static str,
    pub(super) by_shared: bool,
    pub(super) device: Option<EnteringDevice>,
    pub(super) scopes: Vec<String>,
}

pub(super) struct EnteringDevice {
    pub(super) id: String,
    /// Approved, so that it gets a token for these scopes.
    pub(super) token_scopes: Option<Vec<String>>,
}

/// Whether two secrets are the same, in a time that tells nothing of them (their lengths neither: hashes are compared).
pub(crate) fn same_secret(one: &Secret, other: &Secret) -> bool {
    let (one, other) = (Sha256::digest(one.expose()), Sha256::digest(other.expose()));
    bool::from(one.as_slice().ct_eq(other.as_slice()))
}

/// Checks what was shown as the shared credential. From protocol 4 on it may stand in either field. The success is
/// `auth.method` of the hello.
pub(super) fn check_shared(
    auth: &Auth,
    token: Option<&Secret>,
    password: Option<&Secret>,
    protocol: u32,
) -> Result<&'static str, Unauthorized> {
    let (expected, first, second, missing, mismatch) = match auth {
        Auth::None => return Ok(auth.as_str()),
        Auth::Token(expected) => (expected, token, password, Unauthorized::TokenMissing, Unauthorized::TokenMismatch),
        Auth::Password(expected) => {
            (expected, password, token, Unauthorized::PasswordMissing, Unauthorized::PasswordMismatch)
        }
    };
    match (first, second.filter(|_| protocol >= 4)) {
        (None, None) => Err(missing),
        (first, second) => {
            let holds = |shown: Option<&Secret>| shown.is_some_and(|shown| same_secret(shown, expected));
            // Both are looked at in any case: the time taken must not tell which one was right.
            if holds(first) | holds(second) { Ok(auth.as_str()) } else { Err(mismatch) }
        }
    }
}

impl Connect<'_> {
    fn check_shared(&self, auth: &Auth) -> Result<&'static str, Unauthorized> {
        let shown = &self.params.credentials;
        check_shared(auth, shown.token.as_ref(), shown.password.as_ref(), self.protocol)
    }

    /// A client as document 002 has it: protocol 3, and either its place for the device token, which real releases refuse,
    /// or the sample's introduction, which no known client of real releases uses.
    pub(super) fn is_documented(&self) -> bool {
        let (client, shown) = (&self.params.client, &self.params.credentials);
        let is_sample = client.id == "gateway-client" && client.mode == "ui";
        self.protocol == 3 && self.role == Role::Operator && (shown.documented_device_token.is_some() || is_sample)
    }

    /// The Tailscale login that was confirmed. It is the only thing that was shown.
    pub(super) fn tailnet_login(&self) -> Option<&str> {
        match &self.attempt.peer.tailnet {
            Some(TailnetLogin::Confirmed(login)) => Some(login),
            _ => None,
        }
    }

    /// Refuses a credential. It counts as a failed login unless there was none.
    fn reject_credential<T>(&self, why: Unauthorized) -> Decision<T> {
        let told =
            Told { client_id: &self.params.client.id, protocol: self.protocol, has_device: self.proven.is_some() };
        let missing = matches!(why, Unauthorized::TokenMissing | Unauthorized::PasswordMissing);
        reject(refusals::unauthorized(why, told), !missing)
    }
}

impl GatewayMachine {
    /// Whether a client shows a right credential that nobody can have guessed: the shared one where it is long enough, else a
    /// token of its device.
    pub(super) fn is_certain(&self, connect: &Connect<'_>, wall_ms: i64) -> bool {
        let is_shared = self.config.auth.is_unguessable() && connect.check_shared(&self.config.auth).is_ok();
        if is_shared || connect.tailnet_login().is_some() {
            return true;
        }
        match (connect.proven, &connect.params.credentials.documented_device_token) {
            (Some(device), _) => self.credential_of(connect, device, wall_ms).is_ok_and(|entry| !entry.by_shared),
            (None, Some(token)) => self.devices.owner_of(token, wall_ms).is_some(),
            (None, None) => false,
        }
    }

    /// A client that shows no device (or devices aren't looked at).
    pub(super) fn without_device(&mut self, connect: &Connect<'_>, turn: &Turn<'_>) -> Decision<Entry> {
        let Connect { attempt, params, .. } = *connect;
        let (shown, client, rules) = (&params.credentials, &params.client, &self.config.device_auth);
        if connect.role == Role::Node {
            // Whom a command goes to, and what was approved, hangs on its device.
            return reject(if rules.enabled { refusals::device_required() } else { refusals::no_nodes() }, false);
        }
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
            return reject(refusals::control_ui_device_required(), false);
        }
        let is_backend = client.id == "gateway-client" && client.mode == "backend";
        let is_cli = client.id == "cli" && client.mode == "cli";
        if rules.require_signature || (matches!(self.config.auth, Auth::None) && !(is_backend && local)) {
            return reject(refusals::device_required(), false);
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
            return reject(refusals::device_required(), false);
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

    pub(super) fn with_device(
        &mut self,
        connect: &Connect<'_>,
        device: &ProvenDevice,
        turn: &mut Turn<'_>,
    ) -> Decision<Entry> {
        let Connect { attempt, params, .. } = *connect;
        let client = &params.client;
        let entry = self.credential_of(connect, device, turn.now.wall_ms)?;
        // As real releases: the gateway's own page on this machine is approved by whoever types the shared credential into it.
        let by_own_page =
            origin::is_control_ui(client) && attempt.peer.is_own_page() && !matches!(self.config.auth, Auth::None);
        let is_near = attempt.peer.is_local() || by_own_page;
        let is_approved = is_near && entry.by_shared && self.config.device_auth.approve_loopback;
        // As real releases: who it is, is known.
        let trusted = is_approved || connect.tailnet_login().is_some();
        let approved_by = if is_approved { "loopback" } else { "tailscale" };
        // As real releases: such a client is as good as the gateway's own host, and isn't paired.
        if trusted && connect.role == Role::Operator && client.id == "gateway-client" && client.mode == "backend" {
            return Ok(entry);
        }
        let introduction = Introduction {
            public_key: device.public_key.clone(),
            client_id: client.id.clone(),
            client_mode: client.mode.clone(),
            role: connect.role,
            display_name: client.display_name.clone(),
            platform: client.platform.clone(),
            device_family: client.device_family.clone(),
        };
        match self.devices.must_ask(&device.id, &introduction, &params.scopes) {
            None => {}
            Some(NotPaired) if trusted => {
                self.approve_silently(connect, device, introduction, approved_by, turn)?;
            }
            Some(reason @ (ScopeUpgrade | RoleUpgrade)) if trusted => {
                match reason {
                    RoleUpgrade => self.devices.add_role(&device.id, introduction, &params.scopes),
                    _ => self.devices.widen(&device.id, &params.scopes),
                }
                self.devices.save(turn);
                turn.audit(
                    "device.widened",
                    json!({
                        "deviceId": device.id,
                        "role": connect.role,
                        "scopes": params.scopes,
                        "approvedBy": approved_by,
                    }),
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
                return self.ask_for_approval(connect.protocol, asking, turn);
            }
        }
        let approved = self.devices.get(&device.id).map(|device| match connect.role {
            Role::Operator => device.scopes.clone(),
            Role::Node => Vec::new(),
        });
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
        if connect.tailnet_login().is_some() {
            return entry("tailscale", true, params.scopes.clone(), None);
        }
        let explicit = shown.device_token.as_ref().or(shown.documented_device_token.as_ref());
        let state = |token: &Secret| self.devices.check_token(&device.id, connect.role, token, wall_ms);
        let mut is_expired = false;
        for token in explicit.into_iter().chain(&shown.token) {
            match state(token) {
                TokenState::Good(held) => {
                    let approved =
                        self.devices.get(&device.id).map(|device| device.scopes.as_slice()).unwrap_or_default();
                    // A token may be narrower than its device; what the device itself may not have must be asked for.
                    let asked = if covers_all(approved, &params.scopes) {
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
        // `connect`, for devices that were paired as its client and whose tokens were not withdrawn, and never for a wrong
        // token. A page's key stays in the browser when its user has left, so that it is no login.
        let knows = connect.role == Role::Operator
            && connect.attempt.peer.origin.is_none()
            && self.devices.get(&device.id).is_some_and(|device| {
                let Introduction { client_id, client_mode, .. } = &device.introduction;
                let is_program = client_id == "gateway-client" && matches!(client_mode.as_str(), "ui" | "backend");
                is_program && device.has_tokens()
            });
        let nothing_shown = explicit.is_none() && shown.token.is_none() && shown.password.is_none();
        let documented_expired = is_expired && shown.documented_device_token.is_some() && shown.device_token.is_none();
        if knows && (documented_expired || (nothing_shown && connect.is_documented())) {
            return entry("device-signature", false, params.scopes.clone(), None);
        }
        connect.reject_credential(if explicit.is_some() { Unauthorized::DeviceTokenMismatch } else { why })
    }
}

fn covered(wanted: &[String], held: &[String]) -> Vec<String> {
    wanted.iter().filter(|scope| covers(held, scope)).cloned().collect()
}
