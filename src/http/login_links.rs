//! Links that log a browser in once: made for who has a key, on the daemon's own machine, and worthless soon or once used. Only
//! their hashes are held, in memory, of a used one until it would have ended: who uses it again guesses nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatewarden_actors::error::Failure;
use gatewarden_protocol::Secret;

use super::keyring::{KeyHolder, key_hash, new_token};

/// Links at one time; the oldest goes first.
const MOST: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct LoginLinks(Mutex<VecDeque<Link>>);

#[derive(Debug)]
struct Link {
    sha256: String,
    key: Arc<KeyHolder>,
    until: Instant,
    is_used: bool,
}

/// What the secret of a link is good for.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It logs in as this key's holder, and is worthless from now on.
    LogsIn(Arc<KeyHolder>),
    /// It was a link's, which has been used or has ended.
    Spent,
    /// It is none that is remembered.
    Unknown,
}

impl LoginLinks {
    /// Draws the secret of a link that logs in as this key's holder within this time.
    pub(crate) fn make(&self, key: &Arc<KeyHolder>, now: Instant, valid: Duration) -> Result<Secret, Failure> {
        let secret = Secret::new(new_token()?);
        let link = Link { sha256: key_hash(secret.expose()), key: key.clone(), until: now + valid, is_used: false };
        self.with(|links| {
            links.retain(|link| now < link.until);
            links.truncate(MOST - 1);
            links.push_front(link);
        });
        Ok(secret)
    }

    /// Whose link this is the secret of. It is worthless from then on.
    pub(crate) fn take(&self, secret: &str, now: Instant) -> Taken {
        let sha256 = key_hash(secret);
        self.with(|links| {
            let Some(link) = links.iter_mut().find(|link| link.sha256 == sha256) else { return Taken::Unknown };
            let is_good = !link.is_used && now < link.until;
            link.is_used = true;
            if is_good { Taken::LogsIn(link.key.clone()) } else { Taken::Spent }
        })
    }

    fn with<T>(&self, action: impl FnOnce(&mut VecDeque<Link>) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use gatewarden_actors::clock::Clock;

    use super::*;
    use crate::http::keyring::Keyring;

    fn holder() -> Arc<KeyHolder> {
        Keyring::new(&[], Some(&Secret::new("key")), "configuration").verify("key", 0).unwrap()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_link_works_once_and_not_too_late_and_is_known_afterwards() {
        let (links, key, now) = (LoginLinks::default(), holder(), Clock::simulated(0, 1).now());
        let secret = links.make(&key, now, MINUTE).unwrap();
        assert!(matches!(links.take("another", now), Taken::Unknown));
        assert!(matches!(links.take(secret.expose(), now), Taken::LogsIn(_)));
        assert!(matches!(links.take(secret.expose(), now), Taken::Spent), "used");
        let secret = links.make(&key, now, MINUTE).unwrap();
        assert!(matches!(links.take(secret.expose(), now + MINUTE), Taken::Spent), "too late");
        assert!(matches!(links.take(secret.expose(), now), Taken::Spent), "also where the clock was put back");
    }

    #[test]
    fn of_too_many_links_the_oldest_goes() {
        let (links, key, now) = (LoginLinks::default(), holder(), Clock::simulated(0, 1).now());
        let first = links.make(&key, now, MINUTE).unwrap();
        let second = links.make(&key, now, MINUTE).unwrap();
        for _ in 1..MOST {
            links.make(&key, now, MINUTE).unwrap();
        }
        assert!(matches!(links.take(first.expose(), now), Taken::Unknown));
        assert!(matches!(links.take(second.expose(), now), Taken::LogsIn(_)));
    }
}
