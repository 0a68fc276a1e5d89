//! The decision about an [`Attempt`]: who is it, what may it, and must somebody approve it first?

use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};

use super::entry::{Connect, Decision, EnteringDevice, Rejected};
use super::hello::{self, Granted};
use super::refusals::{self, Told};
use super::report::{self, Failure};
use super::{Admission, Attempt, Claim, NEWEST_PROTOCOL, Refusal, scopes, shared};
use crate::caller::Caller;
use crate::config::Auth;
use crate::machine::GatewayMachine;
use crate::turn::Turn;

impl GatewayMachine {
    pub(crate) fn admit(&mut self, attempt: &Attempt, turn: &mut Turn<'_>) -> Admission {
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
        match self.auth.lock_outs.locked_for(&attempt.peer, turn.now.at) {
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
        let checked = shared::check(&self.config.auth, token, password, NEWEST_PROTOCOL);
        let is_certain = checked.is_ok() && self.config.auth.is_unguessable();
        if let Some(left) = self.auth.lock_outs.locked_for(&attempt.peer, turn.now.at)
            && !is_certain
        {
            return reject(refusals::rate_limited(left, NEWEST_PROTOCOL), false);
        }
        // Without any credential, a page in a browser would be let in for having been opened.
        if matches!(self.config.auth, Auth::None) && attempt.peer.origin.is_some() {
            return reject(refusals::device_required(), false);
        }
        let method = match checked {
            Ok(method) => method,
            Err(why) => {
                let told = Told { client_id: "rpc", protocol: NEWEST_PROTOCOL, has_device: false };
                return reject(refusals::unauthorized(why, told), token.or(password).is_some());
            }
        };
        if self.config.device_auth.enabled && self.config.device_auth.require_signature {
            return reject(refusals::device_required(), false);
        }
        self.auth.lock_outs.succeeded(&attempt.peer);
        let caller = Arc::new(Caller {
            connection: attempt.connection,
            dialect: Dialect::Rpc,
            protocol: 0,
            client_id: "rpc".to_owned(),
            mode: "rpc".to_owned(),
            display_name: None,
            device_id: None,
            scopes: scopes::operator(),
            remote: attempt.peer.remote.to_string(),
        });
        report::success(&caller, method, turn);
        let granted = Granted { caller: &caller, method, device_token: None, approved: None };
        let hello = hello::rpc(self, &granted, turn);
        self.subscribers.join(Arc::clone(&caller));
        self.has_come(&caller, turn.now);
        Ok(Admission::In { caller, request: attempt.request.clone(), hello, documented: None })
    }

    fn connect(&mut self, connect: &Connect<'_>, turn: &mut Turn<'_>) -> Decision<Admission> {
        let Connect { attempt, params, protocol, .. } = *connect;
        if let Some(left) = self.auth.lock_outs.locked_for(&attempt.peer, turn.now.at)
            && !self.is_certain(connect, turn.now.wall_ms)
        {
            return connect.reject(refusals::rate_limited(left, protocol), false);
        }
        let entry = match connect.proven {
            Some(device) => self.with_device(connect, device, turn)?,
            None => self.without_device(connect, turn)?,
        };
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
            scopes: entry.scopes,
            remote: attempt.peer.remote.to_string(),
        });
        report::success(&caller, entry.method, turn);
        let (device_token, approved) = self.token_of(connect, entry.device.as_ref(), turn);
        let granted = Granted { caller: &caller, method: entry.method, device_token, approved };
        let hello = hello::release(self, &granted, turn);
        let documented = connect.is_documented().then(|| hello::documented(self, &granted, turn));
        self.subscribers.join(Arc::clone(&caller));
        self.has_come(&caller, turn.now);
        Ok(Admission::In { caller, request: attempt.request.clone(), hello, documented })
    }

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

#[cfg(test)]
mod tests;
