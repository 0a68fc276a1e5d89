//! What records of one address share: the budget of failed logins and the device token.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::{Effect, Fleet, Time};
use crate::gateway_record::DeviceToken;
use crate::ids::GatewayId;
use crate::machines::auth_budget::{AuthBudget, FailedLogin, WINDOW};
use crate::machines::connection::AuthResult;

/// Addresses whose failed logins are stored in one write.
const MAX_STORED: usize = 500;
/// When to try again after such a write has failed.
const RETRY: Duration = Duration::from_secs(5);

impl Fleet {
    /// After each input: failed logins that are not stored yet are, one write at a time.
    pub(super) fn store_failed_logins(&mut self, time: Time) {
        if let Some(logins) = self.addresses.take_unstored(time.now) {
            self.effects.push(Effect::StoreFailedLogins(logins));
        }
    }

    /// What came of [`Effect::StoreFailedLogins`].
    pub fn on_failed_logins_stored(&mut self, time: Time, done: bool) {
        self.addresses.on_stored(time.now, done);
    }
}

#[derive(Default)]
struct AtAddress {
    budget: AuthBudget,
    device_token: Option<DeviceToken>,
    records: BTreeSet<GatewayId>,
}

/// What belongs to a gateway's address rather than to a record: the failed-authentication budget and the device token. Two records of
/// one address share them, so that neither can lock the other out. By canonical address. Bounded by the records: an address that nobody uses is dropped once its
/// budget has recovered, so that deleting and creating a record again doesn't refill it.
///
/// The budgets are kept over restarts. Each change of one is stored at once, as what counts then; what comes while a write is under way
/// shares the next one.
pub(super) struct Addresses {
    by_address: HashMap<String, AtAddress>,
    /// Whose failed logins are to be stored, and until when what is stored of them may count instead.
    unstored: BTreeMap<String, Instant>,
    /// Those in the write under way.
    storing: BTreeMap<String, Instant>,
    /// The store can't write: when to try again.
    rests_until: Option<Instant>,
}

impl Addresses {
    /// Starts with what is stored.
    pub(super) fn new(
        device_tokens: Vec<(String, DeviceToken)>,
        failed_logins: &[(String, Vec<FailedLogin>)],
        now: Instant,
    ) -> Self {
        let by_address = device_tokens
            .into_iter()
            .map(|(address, token)| (address, AtAddress { device_token: Some(token), ..AtAddress::default() }))
            .collect();
        let mut addresses = Self { by_address, unstored: BTreeMap::new(), storing: BTreeMap::new(), rests_until: None };
        for (address, failures) in failed_logins {
            addresses.at(address).budget = AuthBudget::resume(now, failures);
        }
        addresses
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

    /// Asks for one authentication attempt; the kept token comes with the permit.
    pub(super) fn reserve(&mut self, address: &str, now: Instant) -> Result<Option<DeviceToken>, Instant> {
        let at = self.at(address);
        at.budget.reserve(now)?;
        Ok(at.device_token.clone())
    }

    /// A permitted attempt has ended.
    pub(super) fn settle(&mut self, address: &str, now: Instant, result: AuthResult) {
        if self.at(address).budget.settle(now, result) {
            self.unstored.insert(address.to_owned(), now + WINDOW);
        }
    }

    /// Permitted attempts that haven't ended.
    pub(super) fn permits(&self) -> usize {
        self.by_address.values().map(|at| at.budget.outstanding()).sum()
    }

    /// What counts at addresses where that changed since it was stored; answered with [`Self::on_stored`].
    fn take_unstored(&mut self, now: Instant) -> Option<Vec<(String, Vec<FailedLogin>)>> {
        let rests = self.rests_until.is_some_and(|until| now < until);
        if rests || !self.storing.is_empty() || self.unstored.is_empty() {
            return None;
        }
        let later = self.unstored.keys().nth(MAX_STORED).cloned().map(|first| self.unstored.split_off(&first));
        self.storing = std::mem::replace(&mut self.unstored, later.unwrap_or_default());
        let logins = self.storing.keys().map(|address| {
            let budget = self.by_address.get(address).map(|at| &at.budget);
            (address.clone(), budget.map(|budget| budget.failures(now)).unwrap_or_default())
        });
        Some(logins.collect())
    }

    /// The write has ended. What could not be stored is tried again for as long as what is stored may count, also where nothing counts
    /// any more: what was forgiven would count again after a restart.
    fn on_stored(&mut self, now: Instant, done: bool) {
        let mut stored = std::mem::take(&mut self.storing);
        self.rests_until = (!done).then(|| now + RETRY);
        if !done {
            stored.retain(|_, until| now <= *until);
            stored.append(&mut self.unstored);
            self.unstored = stored;
        }
    }

    /// Addresses whose failed logins are to be stored or in the write under way.
    pub(super) fn unstored(&self) -> usize {
        self.unstored.len() + self.storing.len()
    }

    /// Whether all failed logins are stored, or can't be now.
    pub(super) fn are_stored(&self) -> bool {
        self.storing.is_empty() && (self.unstored.is_empty() || self.rests_until.is_some())
    }

    /// When [`Self::take_unstored`] is due by itself.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.rests_until.filter(|_| self.storing.is_empty() && !self.unstored.is_empty())
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
mod tests;
