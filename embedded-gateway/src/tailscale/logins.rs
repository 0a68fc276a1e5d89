//! Who has an address of the tailnet, as the command says (`tailscale whois`): a header alone proves nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
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
    places: Arc<Semaphore>,
}

impl Default for Logins {
    fn default() -> Self {
        Self { known: RefCell::default(), places: Arc::new(Semaphore::new(MOST_ASKED)) }
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
    pub(crate) async fn confirms(self: &Rc<Self>, address: IpAddr, login: &str) -> bool {
        if !is_of_tailnet(address) {
            return false;
        }
        let address = address.to_canonical();
        let known = match self.logins.known(address) {
            Some(known) => known,
            None => self.login_of(address).await,
        };
        known.is_some_and(|known| known.eq_ignore_ascii_case(login))
    }

    async fn login_of(self: &Rc<Self>, address: IpAddr) -> Option<String> {
        let place = Arc::clone(&self.logins.places).acquire_owned().await.ok()?;
        // Somebody else may have been told meanwhile.
        if let Some(known) = self.logins.known(address) {
            return known;
        }
        let tailscale = Rc::clone(self);
        // Where nobody waits for the answer any more, the question goes on, and takes its place until it ends.
        let answered = actix_rt::spawn(async move {
            let _place = place;
            let said = tailscale.command.ask(&["whois", "--json", &address.to_string()]).await;
            let known = said.ok().as_deref().and_then(answers::login);
            tailscale.logins.remember(address, known.clone());
            known
        });
        answered.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::{Tailscale as Settings, TailscaleMode};

    /// A command that answers no question while there is the file `held`.
    struct Held {
        folder: TempDir,
        tailscale: Rc<Tailscale>,
    }

    impl Held {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/tailscale_stand_in");
            symlink(program, folder.path().join("tailscale")).unwrap();
            fs::write(folder.path().join("held"), "").unwrap();
            for host in 1..=MOST_ASKED {
                let said = r#"{"UserProfile": {"LoginName": "a@example.com"}}"#;
                fs::write(folder.path().join(format!("whois-100.64.0.{host}")), said).unwrap();
            }
            let folders = vec![folder.path().to_owned()];
            let settings = Settings { mode: TailscaleMode::Serve, allow_logins: true, folders };
            let tailscale = Rc::new(Tailscale::of(&settings, folder.path()).unwrap());
            Self { folder, tailscale }
        }

        fn confirms(&self, host: usize) -> JoinHandle<bool> {
            let (tailscale, address) = (Rc::clone(&self.tailscale), format!("100.64.0.{host}").parse().unwrap());
            actix_rt::spawn(async move { tailscale.confirms(address, "a@example.com").await })
        }

        fn asked(&self) -> usize {
            fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default().lines().count()
        }

        fn free_places(&self) -> usize {
            self.tailscale.logins.places.available_permits()
        }

        fn answers(&self) {
            fs::remove_file(self.folder.path().join("held")).unwrap();
        }
    }

    async fn until(is_so: impl Fn() -> bool) {
        let polled = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(45), polled).await.unwrap();
    }

    #[actix::test]
    async fn who_waited_for_a_place_takes_the_answer_that_came_meanwhile() {
        let held = Held::new();
        let all: Vec<_> = (0..3 * MOST_ASKED).map(|_| held.confirms(1)).collect();
        until(|| held.asked() == MOST_ASKED).await;
        held.answers();
        for one in all {
            assert!(one.await.unwrap());
        }
        assert_eq!(held.asked(), MOST_ASKED);
    }

    #[actix::test]
    async fn a_question_that_nobody_waits_for_keeps_its_place_and_its_answer_counts() {
        let held = Held::new();
        let all: Vec<_> = (1..=MOST_ASKED).map(|host| held.confirms(host)).collect();
        until(|| held.asked() == MOST_ASKED).await;
        for one in all {
            one.abort();
            assert!(one.await.unwrap_err().is_cancelled());
        }
        assert_eq!(held.free_places(), 0);
        held.answers();
        until(|| held.free_places() == MOST_ASKED).await;
        for host in 1..=MOST_ASKED {
            assert!(held.confirms(host).await.unwrap());
        }
        assert_eq!(held.asked(), MOST_ASKED);
    }
}
