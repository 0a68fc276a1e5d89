//! Who has an address of the tailnet, as the command says (`tailscale whois`): a header alone proves nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Tailscale;
use super::answers;
use crate::tailnet::is_of_tailnet;

/// How long an answer counts; the times of real releases.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// How long it counts that there was none.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// Most addresses that are remembered.
const MOST_KNOWN: usize = 256;
/// Questions at a time.
const MOST_ASKED: usize = 4;

#[derive(Debug)]
pub(super) struct Logins {
    known: RefCell<HashMap<IpAddr, (Instant, Option<String>)>>,
    places: Semaphore,
}

impl Default for Logins {
    fn default() -> Self {
        Self { known: RefCell::default(), places: Semaphore::new(MOST_ASKED) }
    }
}

impl Logins {
    fn known(&self, address: IpAddr) -> Option<Option<String>> {
        let known = self.known.borrow();
        known.get(&address).filter(|(until, _)| *until > Instant::now()).map(|(_, login)| login.clone())
    }

    fn remember(&self, address: IpAddr, login: Option<String>) {
        let mut known = self.known.borrow_mut();
        let now = Instant::now();
        known.retain(|_, (until, _)| *until > now);
        if known.len() < MOST_KNOWN {
            let for_long = if login.is_some() { KNOWN_FOR } else { UNKNOWN_FOR };
            known.insert(address, (now + for_long, login));
        }
    }
}

impl Tailscale {
    /// Whether an address of the tailnet is this login's.
    pub(crate) async fn confirms(&self, address: IpAddr, login: &str) -> bool {
        if !is_of_tailnet(address) {
            return false;
        }
        let address = address.to_canonical();
        let known = match self.logins.known(address) {
            Some(known) => known,
            None => {
                let Ok(_place) = self.logins.places.acquire().await else { return false };
                let said = self.command.ask(&["whois", "--json", &address.to_string()]).await;
                let known = said.ok().as_deref().and_then(answers::login);
                self.logins.remember(address, known.clone());
                known
            }
        };
        known.is_some_and(|known| known.eq_ignore_ascii_case(login))
    }
}
