//! The decisions about who may come in: connections, HTTP requests and webhooks.

use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};
use serde_json::json;

use super::credential::{Connect, EnteringDevice, check_shared};
use super::hello::{self, Granted};
use super::refusals::{self, Told};
use super::report::{self, Failure};
use super::webhook_secret::Shown;
use super::{Admission, Attempt, Claim, Decision, NEWEST_PROTOCOL, Peer, ProvenDevice, Refusal, Rejection, reject};
use crate::call::CallError;
use crate::caller::{Caller, ConnectionId, Role, Scope};
use crate::clock::Now;
use crate::config::{Auth, is_unguessable};
use crate::devices::{Asking, Device, Introduction, pending_row};
use crate::machine::GatewayMachine;
use crate::nodes::{MOST_NODES, NodeSession};
use crate::turn::Turn;

/// `client.id` of callers without a connection.
const HTTP: &str = "http";
/// `client.id` in the `rpc` dialect, which knows none.
const RPC: &str = "rpc";

impl GatewayMachine {
    /// Decides whether a connection is let in. Where it is, it listens from now on.
    pub(crate) fn admit(&mut self, attempt: &Attempt, turn: &mut Turn<'_>) -> Admission {
        let outcome = match &attempt.claim {
            Claim::Connect { params, protocol, role, proven } => {
                let connect = Connect { attempt, params, protocol: *protocol, role: *role, proven: proven.as_ref() };
                self.connect(&connect, turn)
            }
            Claim::Auth { token, password } => self.rpc_login(attempt, token.as_ref(), password.as_ref(), turn),
            // Who is locked out learns nothing of what else was wrong.
            Claim::Refused { rejection, .. } => match self.auth.lock_outs.locked_for(&attempt.peer, turn.now.at) {
                Some(left) => reject(refusals::rate_limited(left, NEWEST_PROTOCOL), false),
                None => Err(rejection.clone()),
            },
        };
        let Rejection { error, close_reason, counts } = match outcome {
            Ok(admission) => return admission,
            Err(rejection) => *rejection,
        };
        let (client_id, device_id) = match &attempt.claim {
            Claim::Connect { params, proven, .. } => {
                (params.client.id.as_str(), proven.as_ref().map(|device| device.id.as_str()))
            }
            Claim::Refused { client_id, .. } => (client_id.as_str(), None),
            Claim::Auth { .. } => (RPC, None),
        };
        self.report_failure(&Failure { peer: &attempt.peer, client_id, device_id, error: &error, counts }, turn);
        let refusal = Refusal::new(attempt.dialect(), attempt.request.clone(), error);
        Admission::Refused(match close_reason {
            Some(close_reason) => Refusal { close_reason, ..refusal },
            None => refusal,
        })
    }

    /// Checks the bearer token of an HTTP request. The caller has all scopes of an operator, as the documented HTTP
    /// operations know no others. `connection` is used for this request alone.
    pub(crate) fn bearer(
        &mut self,
        connection: ConnectionId,
        peer: &Peer,
        token: Option<&Secret>,
        turn: &mut Turn<'_>,
    ) -> Result<Arc<Caller>, CallError> {
        let token = token.filter(|token| !token.is_empty());
        let of_page = || {
            CallError::forbidden(
                "unauthorized: pages in browsers are not let in without a credential; set gateway.auth.mode to token",
            )
        };
        match self.check_login(peer, HTTP, (token, None), of_page, turn.now) {
            Ok(_) => {
                self.auth.lock_outs.succeeded(peer);
                Ok(Arc::new(Caller::plain(connection, Dialect::Http, HTTP, peer.remote.to_string())))
            }
            Err(rejection) => {
                let Rejection { error, counts, .. } = *rejection;
                let failure = Failure { peer, client_id: HTTP, device_id: None, error: &error, counts };
                self.report_failure(&failure, turn);
                Err(error)
            }
        }
    }

    /// Judges what the sender of a webhook showed. Wrong secrets count towards the same lock-out as failed logins.
    pub(crate) fn webhook(
        &mut self,
        peer: &Peer,
        webhook: &str,
        shown: Shown,
        turn: &mut Turn<'_>,
    ) -> Result<(), CallError> {
        let mut configured = self.config.webhooks.iter();
        let is_certain = shown == Shown::Right
            && configured.any(|known| known.id == webhook && known.secret.as_ref().is_some_and(is_unguessable));
        self.judge_webhook(peer, &format!("webhook:{webhook}"), shown, is_certain, turn)
    }

    /// The same of any sender without a credential of the gateway. `is_certain`: what was shown can't have been guessed.
    pub(crate) fn judge_webhook(
        &mut self,
        peer: &Peer,
        client_id: &str,
        shown: Shown,
        is_certain: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), CallError> {
        self.check_lock_out(peer, || is_certain, NEWEST_PROTOCOL, turn.now).map_err(|rejection| rejection.error)?;
        let error = match shown {
            Shown::Right => return Ok(()),
            // The loopback address alone isn't enough: a page in a browser, or a proxy's client, comes from there, too.
            Shown::NotNeeded if peer.is_local() => return Ok(()),
            Shown::NotNeeded => CallError::forbidden(
                "unauthorized: this webhook has no secret, so only programs on the gateway's machine may call it; set its secret",
            ),
            Shown::Wrong => CallError::forbidden("unauthorized: the webhook's secret or signature is wrong"),
            Shown::Nothing => CallError::forbidden("unauthorized: the webhook needs its secret or a signature"),
        };
        self.report_failure(&Failure { peer, client_id, device_id: None, error: &error, counts: true }, turn);
        Err(error)
    }

    /// Who is locked out is refused, unless he shows what nobody can have guessed.
    fn check_lock_out(&self, peer: &Peer, is_certain: impl FnOnce() -> bool, protocol: u32, now: Now) -> Decision<()> {
        match self.auth.lock_outs.locked_for(peer, now.at).filter(|_| !is_certain()) {
            Some(left) => reject(refusals::rate_limited(left, protocol), false),
            None => Ok(()),
        }
    }

    /// The shared credential, in a dialect that knows no other. The success is `auth.method` of the hello.
    fn check_login(
        &self,
        peer: &Peer,
        client_id: &str,
        (token, password): (Option<&Secret>, Option<&Secret>),
        of_page: impl FnOnce() -> CallError,
        now: Now,
    ) -> Decision<&'static str> {
        let checked = check_shared(&self.config.auth, token, password, NEWEST_PROTOCOL);
        let is_certain = || checked.is_ok() && self.config.auth.is_unguessable();
        self.check_lock_out(peer, is_certain, NEWEST_PROTOCOL, now)?;
        // Without any credential, a page in a browser would be let in for having been opened.
        if matches!(self.config.auth, Auth::None) && peer.origin.is_some() {
            return reject(of_page(), false);
        }
        checked.or_else(|why| {
            let told = Told { client_id, protocol: NEWEST_PROTOCOL, has_device: false };
            reject(refusals::unauthorized(why, told), token.or(password).is_some())
        })
    }

    /// `auth` of the `rpc` dialect: the shared credential, and nothing else that document 004 knows. It has all scopes.
    fn rpc_login(
        &mut self,
        attempt: &Attempt,
        token: Option<&Secret>,
        password: Option<&Secret>,
        turn: &mut Turn<'_>,
    ) -> Decision<Admission> {
        let peer = &attempt.peer;
        let method = self.check_login(peer, RPC, (token, password), refusals::device_required, turn.now)?;
        if self.config.device_auth.enabled && self.config.device_auth.require_signature {
            return reject(refusals::device_required(), false);
        }
        self.auth.lock_outs.succeeded(peer);
        let caller = Arc::new(Caller::plain(attempt.connection, Dialect::Rpc, RPC, peer.remote.to_string()));
        report::success(&caller, method, None, turn);
        let granted = Granted { caller: &caller, method, device_token: None, approved: None };
        let hello = hello::rpc(self, &granted, turn);
        self.let_in(&caller, turn);
        Ok(Admission::In { caller, request: attempt.request.clone(), hello, documented: None })
    }

    fn connect(&mut self, connect: &Connect<'_>, turn: &mut Turn<'_>) -> Decision<Admission> {
        let Connect { attempt, params, protocol, .. } = *connect;
        let is_certain = || self.is_certain(connect, turn.now.wall_ms);
        self.check_lock_out(&attempt.peer, is_certain, protocol, turn.now)?;
        let entry = match connect.proven {
            Some(device) => self.with_device(connect, device, turn)?,
            None => self.without_device(connect, turn)?,
        };
        if connect.role == Role::Node {
            self.check_room_for_node(connect.proven.map(|device| device.id.as_str()))?;
        }
        // A device with a token of its own must not be able to clear its guesses at the shared credential.
        if entry.by_shared {
            self.auth.lock_outs.succeeded(&attempt.peer);
        }
        let caller = Arc::new(Caller {
            connection: attempt.connection,
            dialect: Dialect::Openclaw,
            protocol,
            client_id: params.client.id.clone(),
            mode: params.client.mode.clone(),
            display_name: params.client.display_name.clone(),
            device_id: entry.device.as_ref().map(|device| device.id.clone()),
            role: connect.role,
            scopes: entry.scopes,
            remote: attempt.peer.remote.to_string(),
        });
        if let Some(device) = connect.proven {
            report::verified(device, &caller.client_id, turn);
        }
        report::success(&caller, entry.method, connect.tailnet_login(), turn);
        let (device_token, approved) = self.token_of(connect, entry.device.as_ref(), turn);
        let granted = Granted { caller: &caller, method: entry.method, device_token, approved };
        let hello = hello::release(self, &granted, turn);
        let documented = connect.is_documented().then(|| hello::documented(self, &granted, turn));
        self.let_in(&caller, turn);
        if connect.role == Role::Node {
            self.node_has_come(&caller, session_of(connect, turn.now), turn);
        }
        Ok(Admission::In { caller, request: attempt.request.clone(), hello, documented })
    }

    /// A node that comes again takes its own place.
    fn check_room_for_node(&self, device: Option<&str>) -> Decision<()> {
        let is_full = self.nodes.len() >= MOST_NODES && device.is_none_or(|device| self.nodes.get(device).is_none());
        if is_full { reject(refusals::too_many_nodes(), false) } else { Ok(()) }
    }

    fn let_in(&mut self, caller: &Arc<Caller>, turn: &Turn<'_>) {
        self.subscribers.join(Arc::clone(caller));
        self.has_come(caller, turn.now);
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
        let issued = self.devices.token_for(id, connect.role, scopes, shown, now_ms, || turn.secret());
        // A node has none, whatever the device may do as an operator.
        let scopes = |device: &Device| if connect.role == Role::Node { Vec::new() } else { device.scopes.clone() };
        let approved = self.devices.get(id).map(scopes);
        if issued.as_ref().is_some_and(|issued| issued.is_fresh) {
            self.devices.save(turn);
        }
        (issued.map(|issued| (issued.token, issued.issued_at_ms)), approved)
    }

    /// Approves a new device at once, where that is safe.
    pub(super) fn approve_silently(
        &mut self,
        connect: &Connect<'_>,
        device: &ProvenDevice,
        introduction: Introduction,
        approved_by: &'static str,
        turn: &mut Turn<'_>,
    ) -> Decision<()> {
        let subscribers = &self.subscribers;
        let connected = |id: &str| subscribers.callers().any(|caller| caller.device_id.as_deref() == Some(id));
        let scopes = connect.params.scopes.clone();
        let now_ms = turn.now.wall_ms;
        match self.devices.approve_silently(&device.id, introduction, scopes, connected, now_ms) {
            Ok(None) => {}
            Ok(Some(gone)) => {
                let why = "device superseded by a new one of the same name";
                report::revoked(&gone.id, "maxDevicesPerUser", why, turn);
            }
            Err(no_room) => return reject(refusals::too_many_devices(no_room), false),
        }
        if let Some(device) = self.devices.get(&device.id) {
            report::registered(device, approved_by, turn);
        }
        self.devices.save(turn);
        let request_id = turn.uuid();
        self.tell_resolved(&request_id, &device.id, "approved", turn);
        Ok(())
    }

    /// A device that is new, or wants more, is told to wait.
    pub(super) fn ask_for_approval<T>(
        &mut self,
        protocol: u32,
        asking: Asking<'_>,
        turn: &mut Turn<'_>,
    ) -> Decision<T> {
        let fresh_id = turn.uuid();
        let asked = self.devices.ask(asking, turn.now.wall_ms, || fresh_id);
        if asked.is_new {
            turn.audit(
                "device.pairing_requested",
                json!({"deviceId": asking.device_id, "requestId": asked.request.id, "remote": asking.remote}),
            );
            turn.tell(self.subscribers.holding(Scope::Pairing), "device.pair.requested", pending_row(&asked.request));
        }
        let approved = self.devices.get(asking.device_id);
        Err(Box::new(refusals::pairing_required(protocol, &asked.request, approved)))
    }

    pub(crate) fn tell_resolved(&self, request_id: &str, device_id: &str, decision: &str, turn: &mut Turn<'_>) {
        let payload =
            json!({"requestId": request_id, "deviceId": device_id, "decision": decision, "ts": turn.now.wall_ms});
        turn.tell(self.subscribers.holding(Scope::Pairing), "device.pair.resolved", payload);
    }
}

fn session_of(connect: &Connect<'_>, now: Now) -> NodeSession {
    let (params, client) = (connect.params, &connect.params.client);
    NodeSession {
        connection: connect.attempt.connection,
        client_id: client.id.clone(),
        client_mode: client.mode.clone(),
        display_name: client.display_name.clone(),
        platform: client.platform.clone(),
        device_family: client.device_family.clone(),
        version: client.version.clone(),
        model: client.model.clone(),
        path_env: params.path_env.clone(),
        remote: connect.attempt.peer.remote.to_string(),
        offered: params.surface.clone(),
        connected_at_ms: now.wall_ms,
        host_stats: None,
        stats_told_at: None,
    }
}

#[cfg(test)]
mod tests;
