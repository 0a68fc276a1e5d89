//! The decision about an [`Attempt`].

use std::sync::Arc;

use gatewarden_protocol::{Dialect, Secret};

use super::hello::{self, Granted};
use super::{Admission, Attempt, Claim, LockOuts, Peer, refusals, scopes, shared};
use crate::caller::{Caller, ConnectionId};
use crate::config::GatewayConfig;
use crate::machine::GatewayMachine;
use crate::reply::CallError;
use crate::turn::Turn;

/// What the gateway remembers of those who knocked.
#[derive(Debug)]
pub struct Door {
    /// Who failed too often.
    pub lock_outs: LockOuts,
}

impl Door {
    /// Nobody has knocked yet.
    pub fn new(config: &GatewayConfig) -> Self {
        Self { lock_outs: LockOuts::new(config.limits.auth_failures, config.limits.lockout) }
    }
}

impl GatewayMachine {
    /// Decides whether a connection is let in. Where it is, it listens from now on.
    pub fn admit(&mut self, attempt: &Attempt, turn: &mut Turn<'_>) -> Admission {
        let (caller, method) = match &attempt.claim {
            Claim::Connect { params, protocol, proven } => {
                let shown = &params.credentials;
                let told =
                    refusals::Told { client_id: &params.client.id, protocol: *protocol, has_device: proven.is_some() };
                match shared::check(&self.config.auth, shown.token.as_ref(), shown.password.as_ref(), *protocol) {
                    Ok(method) => (
                        Caller {
                            connection: attempt.connection,
                            dialect: Dialect::Openclaw,
                            protocol: *protocol,
                            client_id: params.client.id.clone(),
                            display_name: params.client.display_name.clone(),
                            device_id: proven.as_ref().map(|device| device.id.clone()),
                            scopes: params.scopes.clone(),
                            remote: attempt.peer.remote.to_string(),
                        },
                        method,
                    ),
                    Err(why) => {
                        let error = refusals::unauthorized(why, told);
                        return Admission::Refused(refusals::plain(Dialect::Openclaw, attempt.request.clone(), error));
                    }
                }
            }
            Claim::Auth { .. } => {
                return Admission::Refused(refusals::plain(
                    Dialect::Rpc,
                    attempt.request.clone(),
                    refusals::auth_first(),
                ));
            }
        };
        let caller = Arc::new(caller);
        let granted = Granted { caller: &caller, method, device_token: None, approved: None };
        let hello = hello::release(self, &granted, turn);
        self.audience.join(Arc::clone(&caller));
        Admission::In { caller, request: attempt.request.clone(), hello, documented: None }
    }

    /// Checks the bearer token of an HTTP request: the shared token or password. The caller has all scopes of an operator.
    /// `connection` is used for this request alone.
    pub fn bearer(
        &mut self,
        connection: ConnectionId,
        peer: &Peer,
        token: Option<&Secret>,
        _turn: &mut Turn<'_>,
    ) -> Result<Arc<Caller>, CallError> {
        let told = refusals::Told { client_id: "http", protocol: super::NEWEST_PROTOCOL, has_device: false };
        shared::check(&self.config.auth, token, None, super::NEWEST_PROTOCOL)
            .map_err(|why| refusals::unauthorized(why, told))?;
        Ok(Arc::new(Caller {
            connection,
            dialect: Dialect::Http,
            protocol: 0,
            client_id: "http".to_owned(),
            display_name: None,
            device_id: None,
            scopes: scopes::operator(),
            remote: peer.remote.to_string(),
        }))
    }
}
