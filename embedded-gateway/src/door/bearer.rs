//! HTTP requests: `Authorization: Bearer` with the shared token or password.

use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};

use super::report::Failure;
use super::{NEWEST_PROTOCOL, Peer, refusals, scopes, shared};
use crate::caller::{Caller, ConnectionId};
use crate::config::Auth;
use crate::machine::GatewayMachine;
use crate::reply::CallError;
use crate::turn::Turn;

/// `client.id` of callers without a connection.
const HTTP: &str = "http";

impl GatewayMachine {
    /// Checks the bearer token of an HTTP request. The caller has all scopes of an operator, as the documented HTTP
    /// operations know no others. `connection` is used for this request alone.
    pub fn bearer(
        &mut self,
        connection: ConnectionId,
        peer: &Peer,
        token: Option<&Secret>,
        turn: &mut Turn<'_>,
    ) -> Result<Arc<Caller>, CallError> {
        let refuse = |machine: &mut Self, error: CallError, counts: bool, turn: &mut Turn<'_>| {
            let failure = Failure { peer, client_id: HTTP, device_id: None, error: &error, counts };
            machine.report_failure(&failure, turn);
            Err(error)
        };
        if let Some(left) = self.door.lock_outs.locked_for(peer, turn.now.at) {
            return refuse(self, refusals::rate_limited(left, NEWEST_PROTOCOL), false, turn);
        }
        // Without any credential, a page in a browser would be let in for having been opened.
        if matches!(self.config.auth, Auth::None) && peer.origin.is_some() {
            let error = CallError::forbidden(
                "unauthorized: pages in browsers are not let in without a credential; set gateway.auth.mode to token",
            );
            return refuse(self, error, false, turn);
        }
        let token = token.filter(|token| !token.is_empty());
        if let Err(why) = shared::check(&self.config.auth, token, None, NEWEST_PROTOCOL) {
            let told = refusals::Told { client_id: HTTP, protocol: NEWEST_PROTOCOL, has_device: false };
            return refuse(self, refusals::unauthorized(why, told), token.is_some(), turn);
        }
        self.door.lock_outs.succeeded(peer);
        Ok(Arc::new(Caller {
            connection,
            dialect: Dialect::Http,
            protocol: 0,
            client_id: HTTP.to_owned(),
            mode: HTTP.to_owned(),
            display_name: None,
            device_id: None,
            scopes: scopes::operator(),
            remote: peer.remote.to_string(),
        }))
    }

    /// Whether a peer is locked out, for credentials that are checked elsewhere (the secrets of webhooks).
    pub fn locked_out(&self, peer: &Peer, turn: &Turn<'_>) -> Result<(), CallError> {
        match self.door.lock_outs.locked_for(peer, turn.now.at) {
            Some(left) => Err(refusals::rate_limited(left, NEWEST_PROTOCOL)),
            None => Ok(()),
        }
    }

    /// A peer showed a wrong credential that is checked elsewhere.
    pub fn wrong_secret(&mut self, peer: &Peer, client_id: &str, error: &CallError, turn: &mut Turn<'_>) {
        self.report_failure(&Failure { peer, client_id, device_id: None, error, counts: true }, turn);
    }
}
