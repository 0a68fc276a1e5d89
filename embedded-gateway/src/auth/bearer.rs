//! HTTP requests: `Authorization: Bearer` with the shared token or password.

use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};

use super::report::Failure;
use super::{NEWEST_PROTOCOL, Peer, refusals, scopes, shared};
use crate::caller::{Caller, ConnectionId};
use crate::config::{Auth, is_unguessable};
use crate::http::Shown;
use crate::machine::GatewayMachine;
use crate::reply::CallError;
use crate::turn::Turn;

/// `client.id` of callers without a connection.
const HTTP: &str = "http";

impl GatewayMachine {
    /// Checks the bearer token of an HTTP request. The caller has all scopes of an operator, as the documented HTTP
    /// operations know no others. `connection` is used for this request alone.
    pub(crate) fn bearer(
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
        let token = token.filter(|token| !token.is_empty());
        let checked = shared::check(&self.config.auth, token, None, NEWEST_PROTOCOL);
        let is_certain = checked.is_ok() && self.config.auth.is_unguessable();
        if let Some(left) = self.auth.lock_outs.locked_for(peer, turn.now.at)
            && !is_certain
        {
            return refuse(self, refusals::rate_limited(left, NEWEST_PROTOCOL), false, turn);
        }
        // Without any credential, a page in a browser would be let in for having been opened.
        if matches!(self.config.auth, Auth::None) && peer.origin.is_some() {
            let error = CallError::forbidden(
                "unauthorized: pages in browsers are not let in without a credential; set gateway.auth.mode to token",
            );
            return refuse(self, error, false, turn);
        }
        if let Err(why) = checked {
            let told = refusals::Told { client_id: HTTP, protocol: NEWEST_PROTOCOL, has_device: false };
            return refuse(self, refusals::unauthorized(why, told), token.is_some(), turn);
        }
        self.auth.lock_outs.succeeded(peer);
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

    pub(crate) fn webhook(
        &mut self,
        peer: &Peer,
        webhook: &str,
        shown: Shown,
        turn: &mut Turn<'_>,
    ) -> Result<(), CallError> {
        let mut configured = self.config.webhooks.iter();
        let is_certain =
            shown == Shown::Right && configured.any(|known| known.id == webhook && is_unguessable(&known.secret));
        if let Some(left) = self.auth.lock_outs.locked_for(peer, turn.now.at)
            && !is_certain
        {
            return Err(refusals::rate_limited(left, NEWEST_PROTOCOL));
        }
        let error = match shown {
            Shown::Right => return Ok(()),
            Shown::Wrong => CallError::forbidden("unauthorized: the webhook's secret or signature is wrong"),
            Shown::Nothing => CallError::forbidden("unauthorized: the webhook needs its secret or a signature"),
        };
        let client_id = &format!("webhook:{webhook}");
        self.report_failure(&Failure { peer, client_id, device_id: None, error: &error, counts: true }, turn);
        Err(error)
    }
}
