//! What belongs to a gateway's address rather than to a record: the failed-authentication budget and the device token.
//! Two records of one address share them, so that neither can lock the other out.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::gateway_record::DeviceToken;
use crate::ids::GatewayId;
use crate::machines::auth_budget::AuthBudget;
use crate::machines::connection::AuthResult;

#[derive(Default)]
struct AtAddress {
    budget: AuthBudget,
    device_token: Option<DeviceToken>,
    records: BTreeSet<GatewayId>,
}

/// Budgets and tokens by canonical address. Bounded by the records: an address that nobody uses is dropped once its
/// budget has recovered, so that deleting and creating a record again doesn't refill it.
pub(super) struct Addresses {
    by_address: HashMap<String, AtAddress>,
}

impl Addresses {
    /// Starts with the stored device tokens.
    pub(super) fn new(device_tokens: Vec<(String, DeviceToken)>) -> Self {
        let by_address = device_tokens
            .into_iter()
            .map(|(address, token)| (address, AtAddress { device_token: Some(token), ..AtAddress::default() }))
            .collect();
        Self { by_address }
    }

    /// A record uses this address now.
    pub(super) fn join(&mut self, address: &str, id: GatewayId) {
        self.at(address).records.insert(id);
    }

    /// A record doesn't use this address any more. True where nobody does: its stored token is of no use then.
    pub(super) fn leave(&mut self, address: &str, id: GatewayId) -> bool {
        let Some(at) = self.by_address.get_mut(address) else { return false };
        at.records.remove(&id);
        if at.records.is_empty() {
            at.device_token = None;
        }
        at.records.is_empty()
    }

    /// The other records of this address.
    pub(super) fn others(&self, address: &str, id: GatewayId) -> Vec<GatewayId> {
        self.by_address
            .get(address)
            .map(|at| at.records.iter().copied().filter(|other| *other != id).collect())
            .unwrap_or_default()
    }

    /// Asks for one authentication attempt; the kept token comes with the permit.
    pub(super) fn reserve(&mut self, address: &str, now: Instant) -> Result<Option<DeviceToken>, Instant> {
        let at = self.at(address);
        at.budget.reserve(now)?;
        Ok(at.device_token.clone())
    }

    /// A permitted attempt has ended.
    pub(super) fn settle(&mut self, address: &str, now: Instant, result: AuthResult) {
        self.at(address).budget.settle(now, result);
    }

    /// Permitted attempts that haven't ended.
    pub(super) fn permits(&self) -> usize {
        self.by_address.values().map(|at| at.budget.outstanding()).sum()
    }

    /// Keeps or forgets a token. False where that is no news.
    pub(super) fn set_token(&mut self, address: &str, token: Option<DeviceToken>) -> bool {
        let at = self.at(address);
        let news = at.device_token != token;
        at.device_token = token;
        news
    }

    /// Drops what nobody uses and whose budget has recovered.
    pub(super) fn prune(&mut self, now: Instant) {
        self.by_address.retain(|_, at| !at.records.is_empty() || !at.budget.is_idle(now));
    }

    fn at(&mut self, address: &str) -> &mut AtAddress {
        self.by_address.entry(address.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use gatewarden_protocol::Secret;

    fn token() -> DeviceToken {
        DeviceToken { token: Secret::new("device"), role: "operator".into(), scopes: vec![], issued_at_ms: 1 }
    }

    #[test]
    fn two_records_of_one_address_share_budget_and_token() {
        let now = crate::any_instant();
        let mut addresses = Addresses::new(vec![("h:1".into(), token())]);
        addresses.join("h:1", GatewayId(1));
        addresses.join("h:1", GatewayId(2));
        assert_eq!(addresses.others("h:1", GatewayId(1)), [GatewayId(2)]);
        for _ in 0..5 {
            assert_eq!(addresses.reserve("h:1", now), Ok(Some(token())));
            addresses.settle("h:1", now, AuthResult::Failed);
        }
        assert!(addresses.reserve("h:1", now).is_err());
        assert!(addresses.reserve("other:1", now).is_ok());
    }

    #[test]
    fn deleting_and_creating_a_record_doesnt_refill_the_budget() {
        let now = crate::any_instant();
        let mut addresses = Addresses::new(Vec::new());
        addresses.join("h:1", GatewayId(1));
        for _ in 0..5 {
            addresses.reserve("h:1", now).unwrap();
            addresses.settle("h:1", now, AuthResult::Failed);
        }
        assert!(addresses.leave("h:1", GatewayId(1)));
        addresses.prune(now + Duration::from_secs(1));
        addresses.join("h:1", GatewayId(2));
        assert!(addresses.reserve("h:1", now + Duration::from_secs(2)).is_err());
    }

    #[test]
    fn the_last_record_takes_the_token_with_it() {
        let now = crate::any_instant();
        let mut addresses = Addresses::new(vec![("h:1".into(), token())]);
        addresses.join("h:1", GatewayId(1));
        addresses.join("h:1", GatewayId(2));
        assert!(!addresses.leave("h:1", GatewayId(1)));
        assert_eq!(addresses.reserve("h:1", now), Ok(Some(token())));
        assert!(addresses.leave("h:1", GatewayId(2)));
        assert_eq!(addresses.reserve("h:1", now), Ok(None));
    }
}
