//! A `connect` on its way through the checks, and what becomes of it.

use gatewarden_protocol::Dialect;

use super::refusals::{self, Told, Unauthorized};
use super::{Attempt, ConnectParams, ProvenDevice, Refusal, shared};
use crate::config::Auth;
use crate::reply::CallError;

pub(super) struct Connect<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) params: &'a ConnectParams,
    pub(super) protocol: u32,
    pub(super) proven: Option<&'a ProvenDevice>,
}

pub(super) struct Entry {
    pub(super) method: &'static str,
    pub(super) by_shared: bool,
    /// The device that it is; not every client has one.
    pub(super) device: Option<EnteringDevice>,
    pub(super) scopes: Vec<String>,
}

pub(super) struct EnteringDevice {
    pub(super) id: String,
    pub(super) token_scopes: Option<Vec<String>>,
}

pub(super) struct Rejected {
    pub(super) refusal: Refusal,
    pub(super) counts: bool,
}

pub(super) type Decision<T> = Result<T, Box<Rejected>>;

impl Connect<'_> {
    pub(super) fn check_shared(&self, auth: &Auth) -> Result<&'static str, Unauthorized> {
        let shown = &self.params.credentials;
        shared::check(auth, shown.token.as_ref(), shown.password.as_ref(), self.protocol)
    }

    /// A client as document 002 has it: protocol 3, and either its place for the device token, which real releases refuse,
    /// or the sample's introduction, which no known client of real releases uses.
    pub(super) fn is_documented(&self) -> bool {
        let (client, shown) = (&self.params.client, &self.params.credentials);
        let is_sample = client.id == "gateway-client" && client.mode == "ui";
        self.protocol == 3 && (shown.documented_device_token.is_some() || is_sample)
    }

    pub(super) fn reject<T>(&self, error: CallError, counts: bool) -> Decision<T> {
        let refusal = refusals::plain(Dialect::Openclaw, self.attempt.request.clone(), error);
        Err(Box::new(Rejected { refusal, counts }))
    }

    /// Refuses a credential. It counts as a failed login unless there was none.
    pub(super) fn reject_credential<T>(&self, why: Unauthorized) -> Decision<T> {
        let told =
            Told { client_id: &self.params.client.id, protocol: self.protocol, has_device: self.proven.is_some() };
        let missing = matches!(why, Unauthorized::TokenMissing | Unauthorized::PasswordMissing);
        self.reject(refusals::unauthorized(why, told), !missing)
    }
}
