//! Who may log in: some at a time, and none where too many logins have failed.

use super::{Effect, Fleet, Time};
use crate::ids::GatewayId;
use crate::machines::connection::{AuthPermit, AuthResult};

/// What a gateway's actor asked for when it wanted to log in.
#[derive(Debug)]
pub(super) struct WantedLogin {
    incarnation: u64,
    address: String,
}

impl Fleet {
    /// It is asked again of a gateway that still waits: where its record has changed, for another address.
    pub(super) fn on_login_wanted(&mut self, id: GatewayId, incarnation: u64, address: String) {
        // Work waits for the primary, and somebody for a trial.
        let is_awaited = self.acting() == Some(id)
            || self.is_on_trial(id)
            || self.get(id).is_some_and(|member| member.record.is_primary);
        self.logins.push(id, WantedLogin { incarnation, address }, is_awaited);
    }

    /// After each input: those whose turn has come may log in. Of an actor that is gone nothing is wanted any more.
    pub(super) fn begin_logins(&mut self, time: Time) {
        while let Some((id, WantedLogin { incarnation, address })) = self.logins.begin(time.now) {
            let is_gone = self.dialled(id).is_none_or(|member| member.incarnation != incarnation || !member.is_running);
            let reserved = if is_gone { None } else { Some(self.addresses.reserve(&address, time.now)) };
            if !matches!(reserved, Some(Ok(_))) {
                self.logins.end(id);
            }
            let permit = match reserved {
                None => continue,
                Some(Err(retry_at)) => AuthPermit::Denied { address, retry_at },
                Some(Ok(device_token)) => {
                    if let Some(member) = self.dialled_mut(id) {
                        member.permits.push(address.clone());
                    }
                    AuthPermit::Granted { address, device_token }
                }
            };
            self.effects.push(Effect::Permit(id, permit));
        }
    }

    /// A permitted attempt to log in has ended. What an actor died over was settled at its death.
    pub(super) fn on_auth_settled(
        &mut self,
        time: Time,
        id: GatewayId,
        incarnation: u64,
        address: &str,
        result: AuthResult,
    ) {
        if let Some(member) = self.dialled_mut(id) {
            if member.incarnation != incarnation {
                return;
            }
            let place = member.permits.iter().position(|permitted| permitted == address);
            place.into_iter().for_each(|place| drop(member.permits.remove(place)));
        }
        self.logins.end(id);
        self.addresses.settle(address, time.now, result);
    }

    /// Its actor is gone with attempts to log in: how they ended is not known.
    pub(super) fn settle_permits(&mut self, time: Time, id: GatewayId) {
        for address in self.dialled_mut(id).map(|member| std::mem::take(&mut member.permits)).unwrap_or_default() {
            self.logins.end(id);
            self.addresses.settle(&address, time.now, AuthResult::Unknown);
        }
    }
}
