//! Links that log a browser in once: made for who has a key, on the daemon's own machine, and worthless soon or once used. Only
//! their hashes are held, in memory.

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
}

impl LoginLinks {
    /// Draws the secret of a link that logs in as this key's holder within this time.
    pub(crate) fn make(&self, key: &Arc<KeyHolder>, now: Instant, valid: Duration) -> Result<Secret, Failure> {
        let secret = Secret::new(new_token()?);
        let link = Link { sha256: key_hash(secret.expose()), key: key.clone(), until: now + valid };
        self.with(|links| {
            links.retain(|link| now < link.until);
            links.truncate(MOST - 1);
            links.push_front(link);
        });
        Ok(secret)
    }

    /// Whose link this is the secret of. It is worthless from then on.
    pub(crate) fn take(&self, secret: &str, now: Instant) -> Option<Arc<KeyHolder>> {
        let sha256 = key_hash(secret);
        self.with(|links| {
            let at = links.iter().position(|link| link.sha256 == sha256)?;
            links.remove(at).filter(|link| now < link.until).map(|link| link.key)
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
    fn a_link_works_once_and_not_too_late() {
        let (links, key, now) = (LoginLinks::default(), holder(), Clock::simulated(0, 1).now());
        let secret = links.make(&key, now, MINUTE).unwrap();
        assert!(links.take("another", now).is_none());
        assert!(links.take(secret.expose(), now).is_some());
        assert!(links.take(secret.expose(), now).is_none(), "used");
        let secret = links.make(&key, now, MINUTE).unwrap();
        assert!(links.take(secret.expose(), now + MINUTE).is_none(), "too late");
        assert!(links.take(secret.expose(), now).is_none(), "also where the clock was put back");
    }

    #[test]
    fn of_too_many_links_the_oldest_goes() {
        let (links, key, now) = (LoginLinks::default(), holder(), Clock::simulated(0, 1).now());
        let first = links.make(&key, now, MINUTE).unwrap();
        let second = links.make(&key, now, MINUTE).unwrap();
        for _ in 1..MOST {
            links.make(&key, now, MINUTE).unwrap();
        }
        assert!(links.take(first.expose(), now).is_none());
        assert!(links.take(second.expose(), now).is_some());
    }
}
