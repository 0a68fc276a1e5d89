//! The API keys as requests are checked against them: an immutable snapshot of the stored ones, swapped at each change,
//! and the one from the configuration. Only hashes are held.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::store::handle::StoreHandle;
pub(crate) use gatewarden_actors::store::records::key_hash;
use gatewarden_actors::store::records::{ApiKey, NewApiKey, Role, WebSession};
use gatewarden_protocol::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

type Hash = [u8; 32];

/// So far time servers may put a clock back, in seconds, without that ending browser sessions.
const CLOCK_CORRECTION_S: i64 = 120;

/// A key that let somebody in.
#[derive(Debug)]
pub(crate) struct KeyHolder {
    /// The stored key; none for the key of the configuration.
    pub(crate) id: Option<i64>,
    pub(crate) name: String,
    pub(crate) role: Role,
    sha256: Hash,
    pub(crate) expires_at: Option<i64>,
    /// Unix seconds; 0 for never.
    last_used: AtomicI64,
    /// What of `last_used` the store has been told.
    told: AtomicI64,
    /// Revocations that have begun and not failed: it lets nobody in, whatever the store is about to say.
    revocations: AtomicUsize,
}

impl KeyHolder {
    /// What rate limits are counted by.
    pub(crate) fn limit_key(&self) -> i64 {
        self.id.unwrap_or(0)
    }

    /// The hash as stored, 64 hex digits: what a browser session is bound to.
    pub(crate) fn sha256_hex(&self) -> String {
        hex::encode(self.sha256)
    }

    fn is_good(&self, now_s: i64) -> bool {
        self.revocations.load(Ordering::Acquire) == 0 && self.expires_at.is_none_or(|expires_at| now_s < expires_at)
    }

    fn from_stored(key: &ApiKey) -> Option<Self> {
        let last_used = key.last_used_at.unwrap_or(0);
        Some(Self {
            id: Some(key.id),
            name: key.name.clone(),
            role: key.role,
            sha256: from_hex(&key.sha256)?,
            expires_at: key.expires_at,
            last_used: AtomicI64::new(last_used),
            told: AtomicI64::new(last_used),
            revocations: AtomicUsize::new(0),
        })
    }
}

#[derive(Debug, Default)]
struct Snapshot {
    by_prefix: HashMap<String, Vec<Arc<KeyHolder>>>,
    by_id: HashMap<i64, Arc<KeyHolder>>,
}

impl Snapshot {
    fn of(holders: impl IntoIterator<Item = (String, Arc<KeyHolder>)>) -> Self {
        let mut snapshot = Self::default();
        for (prefix, holder) in holders {
            if let Some(id) = holder.id {
                snapshot.by_id.insert(id, holder.clone());
            }
            snapshot.by_prefix.entry(prefix).or_default().push(holder);
        }
        snapshot
    }
}

#[derive(Debug)]
pub(crate) struct Keyring {
    stored: ArcSwap<Snapshot>,
    configured: Option<Arc<KeyHolder>>,
    /// Unix seconds before which nothing expires any more, because it has: see [`Self::reach`].
    reached_s: AtomicI64,
    /// One change after the other: a key that is revoked between its commit and its first use must not be let in after all.
    changes: tokio::sync::Mutex<()>,
}

impl Keyring {
    /// `origin`: where the key comes from that isn't stored, by which it is called.
    pub(crate) async fn open(store: &StoreHandle, unstored: Option<&Secret>, origin: &str) -> Result<Self, Failure> {
        let keys = store.list_keys().await?;
        Ok(Self::new(&keys, unstored, origin))
    }

    pub(crate) fn new(keys: &[ApiKey], unstored: Option<&Secret>, origin: &str) -> Self {
        let holders = keys
            .iter()
            .filter_map(|key| KeyHolder::from_stored(key).map(|holder| (key.prefix.clone(), Arc::new(holder))));
        let configured = unstored.filter(|key| !key.is_empty()).map(|key| {
            Arc::new(KeyHolder {
                id: None,
                name: origin.to_owned(),
                role: Role::Admin,
                sha256: hash(key.expose()),
                expires_at: None,
                last_used: AtomicI64::new(0),
                told: AtomicI64::new(0),
                revocations: AtomicUsize::new(0),
            })
        });
        Self {
            stored: ArcSwap::from_pointee(Snapshot::of(holders)),
            configured,
            reached_s: AtomicI64::new(i64::MIN),
            changes: tokio::sync::Mutex::default(),
        }
    }

    /// Where the key comes from that lets its holder in without being stored, if there is one.
    pub(crate) fn unstored(&self) -> Option<String> {
        self.configured.as_ref().map(|holder| holder.name.clone())
    }

    /// Whether a key of the configuration lets anybody in.
    pub(crate) fn has_configured(&self) -> bool {
        self.configured.is_some()
    }

    /// This time was reached: keys that expired by then stay wrong, though the clock be put back.
    pub(crate) fn reach(&self, now_s: i64) {
        self.reached_s.fetch_max(now_s, Ordering::Relaxed);
    }

    fn is_good(&self, holder: &KeyHolder, now_s: i64) -> bool {
        holder.is_good(now_s.max(self.reached_s.load(Ordering::Relaxed)))
    }

    /// The holder of this key, if it is right and not expired. Compares hashes in constant time.
    pub(crate) fn verify(&self, presented: &str, now_s: i64) -> Option<Arc<KeyHolder>> {
        let presented_hash = hash(presented);
        let snapshot = self.stored.load();
        let candidates = snapshot.by_prefix.get(prefix_of(presented)).into_iter().flatten();
        let holder = candidates
            .chain(self.configured.iter())
            .find(|holder| bool::from(holder.sha256.ct_eq(&presented_hash)))
            .filter(|holder| self.is_good(holder, now_s))?;
        holder.last_used.fetch_max(now_s, Ordering::Relaxed);
        Some(holder.clone())
    }

    /// The holder whose key opened a browser session, if both are still good.
    pub(crate) fn holder_of_session(&self, session: &WebSession, now_s: i64) -> Option<Arc<KeyHolder>> {
        let holder = match session.key_id {
            Some(id) => self.stored.load().by_id.get(&id).cloned(),
            None => self.configured.clone(),
        }?;
        let same = from_hex(&session.key_sha256).is_some_and(|hash| bool::from(holder.sha256.ct_eq(&hash)));
        (same && is_in_its_time(session, now_s) && self.is_good(&holder, now_s)).then(|| {
            holder.last_used.fetch_max(now_s, Ordering::Relaxed);
            holder
        })
    }

    /// Whether a key that let somebody in before still would: neither revoked nor expired.
    pub(crate) fn still_lets_in(&self, holder: &KeyHolder, now_s: i64) -> bool {
        // The key of the configuration can't be revoked while the daemon runs.
        let is_known = match holder.id {
            Some(id) => self.stored.load().by_id.get(&id).is_some_and(|known| known.sha256 == holder.sha256),
            None => self.has_configured(),
        };
        is_known && self.is_good(holder, now_s)
    }

    /// Stores a new key and lets it in from now on. The key's text is in the answer and nowhere else.
    pub(crate) async fn create(
        &self,
        store: &StoreHandle,
        name: &str,
        role: Role,
        expires_at: Option<i64>,
    ) -> Result<(ApiKey, Secret), Failure> {
        let (text, new) = new_key(name, role, expires_at)?;
        let _change = self.changes.lock().await;
        let key = store.insert_key(new).await?;
        self.add(&key);
        Ok((key, text))
    }

    /// Deletes a key with its browser sessions; false where there was none. It lets nobody in from the first moment on, and again
    /// only if it is certain that it could not be deleted.
    ///
    /// # Errors
    /// `store_unavailable`: it is good as before. `outcome_unknown`: it lets nobody in until the next start.
    pub(crate) async fn revoke(&self, store: &StoreHandle, id: i64) -> Result<bool, Failure> {
        let holder = self.stored.load().by_id.get(&id).cloned();
        if let Some(holder) = &holder {
            holder.revocations.fetch_add(1, Ordering::AcqRel);
        }
        let _change = self.changes.lock().await;
        let deleted = store.delete_key(id).await;
        match &deleted {
            Ok(_) => self.remove(id),
            Err(failure) if failure.code == ErrorCode::OutcomeUnknown => {}
            Err(_) => {
                if let Some(holder) = &holder {
                    holder.revocations.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
        deleted
    }

    /// When keys were used since the last call: what to tell the store.
    pub(crate) fn take_used(&self) -> Vec<(i64, i64)> {
        let snapshot = self.stored.load();
        let mut used = Vec::new();
        for (id, holder) in &snapshot.by_id {
            let last_used = holder.last_used.load(Ordering::Relaxed);
            if holder.told.swap(last_used, Ordering::Relaxed) < last_used {
                used.push((*id, last_used));
            }
        }
        used
    }

    /// Unix seconds of a key's last use, which the store may not know yet.
    pub(crate) fn last_used(&self, id: i64) -> Option<i64> {
        let last_used = self.stored.load().by_id.get(&id)?.last_used.load(Ordering::Relaxed);
        (last_used > 0).then_some(last_used)
    }

    fn add(&self, key: &ApiKey) {
        let Some(holder) = KeyHolder::from_stored(key).map(Arc::new) else {
            return;
        };
        self.stored.rcu(|snapshot| {
            let others = entries(snapshot).filter(|(_, other)| other.id != holder.id);
            Snapshot::of(others.chain([(key.prefix.clone(), holder.clone())]).collect::<Vec<_>>())
        });
    }

    fn remove(&self, id: i64) {
        self.stored.rcu(|snapshot| Snapshot::of(entries(snapshot).filter(|(_, other)| other.id != Some(id))));
    }
}

/// Whether a browser session runs now. One that began in the future is older than the clock says, which was put back.
pub(crate) fn is_in_its_time(session: &WebSession, now_s: i64) -> bool {
    (session.created_at.saturating_sub(CLOCK_CORRECTION_S)..session.expires_at).contains(&now_s)
}

fn entries(snapshot: &Snapshot) -> impl Iterator<Item = (String, Arc<KeyHolder>)> {
    snapshot
        .by_prefix
        .iter()
        .flat_map(|(prefix, holders)| holders.iter().map(move |holder| (prefix.clone(), holder.clone())))
}

/// Draws a new key, `gw_<8 hex digits>_<256 random bits>`: its text for its owner, and what is stored of it.
pub(crate) fn new_key(name: &str, role: Role, expires_at: Option<i64>) -> Result<(Secret, NewApiKey), Failure> {
    let mut prefix = [0_u8; 4];
    let mut secret = [0_u8; 32];
    if getrandom::fill(&mut prefix).is_err() || getrandom::fill(&mut secret).is_err() {
        return Err(Failure::new(ErrorCode::Internal, "The operating system gave no randomness for a new key"));
    }
    let prefix = format!("gw_{}", hex::encode(prefix));
    let text = format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(secret));
    let new = NewApiKey { name: name.to_owned(), role, sha256: key_hash(&text), prefix, expires_at };
    Ok((Secret::new(text), new))
}

/// Draws the token of a session or of a login link: 256 random bits.
pub(crate) fn new_token() -> Result<String, Failure> {
    let mut token = [0_u8; 32];
    getrandom::fill(&mut token)
        .map_err(|_| Failure::new(ErrorCode::Internal, "The operating system gave no randomness for a session"))?;
    Ok(URL_SAFE_NO_PAD.encode(token))
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// `gw_<prefix>` of a key of ours, else nothing: then only the configured key can match.
fn prefix_of(key: &str) -> &str {
    key.get(..11).filter(|prefix| prefix.starts_with("gw_")).unwrap_or_default()
}

fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(id: i64, role: Role, expires_at: Option<i64>) -> (ApiKey, Secret) {
        let (text, new) = new_key("a key", role, expires_at).unwrap();
        let key = ApiKey {
            id,
            name: new.name,
            role: new.role,
            sha256: new.sha256,
            prefix: new.prefix,
            created_at: 1,
            expires_at: new.expires_at,
            last_used_at: None,
        };
        (key, text)
    }

    #[test]
    fn a_key_lets_in_until_it_expires() {
        let (key, text) = stored(1, Role::Operator, Some(100));
        let ring = Keyring::new(&[key], None, "configuration");
        assert_eq!(ring.verify(text.expose(), 99).unwrap().role, Role::Operator);
        assert!(ring.verify(text.expose(), 100).is_none());
        let holder = ring.verify(text.expose(), 99).unwrap();
        assert!(ring.still_lets_in(&holder, 99));
        assert!(!ring.still_lets_in(&holder, 100));
    }

    #[test]
    fn a_key_that_expired_stays_expired_when_the_clock_is_put_back() {
        let (key, text) = stored(1, Role::Operator, Some(100));
        let (other, other_text) = stored(2, Role::Operator, Some(200));
        let ring = Keyring::new(&[key, other], None, "configuration");
        let holder = ring.verify(text.expose(), 99).unwrap();
        ring.reach(150);
        assert!(ring.verify(text.expose(), 50).is_none());
        assert!(!ring.still_lets_in(&holder, 50));
        assert!(ring.verify(other_text.expose(), 50).is_some());
    }

    #[test]
    fn a_wrong_key_with_a_right_prefix_is_wrong() {
        let (key, text) = stored(1, Role::Admin, None);
        let ring = Keyring::new(&[key], Some(&Secret::new("configured-key")), "configuration");
        let mut wrong = text.expose().to_owned();
        wrong.pop();
        assert!(ring.verify(&wrong, 0).is_none());
        assert!(ring.verify("", 0).is_none());
        assert!(ring.verify("gw_", 0).is_none());
        assert!(ring.verify("gw_äöüß_x", 0).is_none());
        assert_eq!(ring.verify("configured-key", 0).unwrap().id, None);
    }

    #[test]
    fn an_empty_configured_key_lets_nobody_in() {
        let ring = Keyring::new(&[], Some(&Secret::new("")), "configuration");
        assert!(ring.verify("", 0).is_none());
    }

    #[test]
    fn a_removed_key_is_wrong_at_once_and_the_others_stay() {
        let (first, first_text) = stored(1, Role::Viewer, None);
        let (second, second_text) = stored(2, Role::Viewer, None);
        let ring = Keyring::new(&[first], None, "configuration");
        ring.add(&second);
        let holder = ring.verify(first_text.expose(), 5).unwrap();
        assert!(ring.still_lets_in(&holder, 5));
        ring.remove(1);
        assert!(!ring.still_lets_in(&holder, 5));
        assert!(ring.verify(first_text.expose(), 5).is_none());
        assert_eq!(ring.verify(second_text.expose(), 5).unwrap().id, Some(2));
    }

    #[test]
    fn a_use_is_told_once() {
        let (key, text) = stored(7, Role::Viewer, None);
        let ring = Keyring::new(&[key], None, "configuration");
        ring.verify(text.expose(), 5);
        ring.verify(text.expose(), 6);
        assert_eq!(ring.take_used(), vec![(7, 6)]);
        assert_eq!(ring.take_used(), vec![]);
        assert_eq!(ring.last_used(7), Some(6));
    }

    #[test]
    fn a_session_ends_with_its_key() {
        let (key, text) = stored(7, Role::Viewer, Some(50));
        let sha256 = key.sha256.clone();
        let ring = Keyring::new(&[key], Some(&Secret::new("old")), "configuration");
        let lets_in = |key_id: Option<i64>, key_sha256: &str, now_s: i64| {
            let (token_sha256, key_sha256) = (String::new(), key_sha256.to_owned());
            let session = WebSession { token_sha256, key_id, key_sha256, created_at: 5, expires_at: 40 };
            ring.holder_of_session(&session, now_s).is_some()
        };
        assert!(lets_in(Some(7), &sha256, 10));
        assert!(!lets_in(Some(8), &sha256, 10));
        assert!(lets_in(None, &key_hash("old"), 39));
        assert!(!lets_in(None, &key_hash("old"), 40));
        assert!(!lets_in(None, &key_hash("older"), 10));
        ring.reach(50);
        assert!(!lets_in(Some(7), &sha256, 10));
        assert!(lets_in(None, &key_hash("old"), 10));
        ring.remove(7);
        assert!(!lets_in(Some(7), &sha256, 10));
        assert!(ring.verify(text.expose(), 10).is_none());
    }
}
