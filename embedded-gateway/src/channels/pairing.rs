//! Strangers who ask to be let in: a code each, which the bot's owner approves. Numbers and times are those of real releases.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::turn::Turn;

/// How long a code counts, in ms.
pub(crate) const CODE_LASTS_MS: i64 = 3_600_000;
/// Requests of one account that wait at a time; further strangers hear nothing.
pub(crate) const MOST_WAITING: usize = 3;
/// Those who were dismissed and are remembered for as long as a code counts.
const MOST_DISMISSED: usize = 100;
/// Most people that are approved at one account.
const MOST_APPROVED: usize = 1_000;
/// Without those that look alike.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const CODE_LENGTH: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PairingRequest {
    /// The sender.
    pub id: String,
    pub code: String,
    /// What the sender is called there; chosen by a stranger.
    pub name: String,
    /// Wall ms.
    pub created_at: i64,
    pub last_seen_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pairing {
    requests: Vec<PairingRequest>,
    /// Who isn't heard, and until when, wall ms: a place that was freed is for somebody else.
    dismissed: VecDeque<(String, i64)>,
    approved: BTreeSet<String>,
}

impl Pairing {
    /// Who may talk.
    pub(crate) fn approved(&self) -> &BTreeSet<String> {
        &self.approved
    }

    /// Those whose code still counts.
    pub(crate) fn waiting(&self, now_ms: i64) -> impl Iterator<Item = &PairingRequest> {
        self.requests.iter().filter(move |request| !is_old(request, now_ms))
    }

    /// A stranger has written. The code, where it is a new one that the stranger has to be told.
    pub(super) fn ask(&mut self, sender: &str, name: &str, turn: &mut Turn<'_>) -> Option<String> {
        let now = turn.now.wall_ms;
        self.requests.retain(|request| !is_old(request, now));
        self.dismissed.retain(|(_, until)| now < *until);
        if self.dismissed.iter().any(|(dismissed, _)| dismissed == sender) {
            return None;
        }
        if let Some(known) = self.requests.iter_mut().find(|request| request.id == sender) {
            known.last_seen_at = now;
            return None;
        }
        if self.requests.len() >= MOST_WAITING {
            return None;
        }
        let code = fresh_code(turn);
        self.requests.push(PairingRequest {
            id: sender.to_owned(),
            code: code.clone(),
            name: name.to_owned(),
            created_at: now,
            last_seen_at: now,
        });
        Some(code)
    }

    /// From now on the sender is a stranger who isn't heard.
    pub(super) fn dismiss(&mut self, sender: &str, now_ms: i64) {
        self.dismissed.push_back((sender.to_owned(), now_ms.saturating_add(CODE_LASTS_MS)));
        if self.dismissed.len() > MOST_DISMISSED {
            self.dismissed.pop_front();
        }
    }

    /// Takes out the request that fits.
    pub(crate) fn take(&mut self, fits: impl Fn(&PairingRequest) -> bool, now_ms: i64) -> Option<PairingRequest> {
        let at = self.requests.iter().position(|request| !is_old(request, now_ms) && fits(request))?;
        Some(self.requests.remove(at))
    }

    /// False where the sender isn't approved.
    pub(super) fn revoke(&mut self, sender: &str) -> bool {
        self.approved.remove(sender)
    }

    /// Whether one more can be approved.
    pub(super) fn has_room(&self) -> bool {
        self.approved.len() < MOST_APPROVED
    }

    /// False where there is no room for one more.
    pub(crate) fn approve(&mut self, sender: &str) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.approved.insert(sender.to_owned());
        }
        has_room
    }
}

fn is_old(request: &PairingRequest, now_ms: i64) -> bool {
    now_ms.saturating_sub(request.created_at) > CODE_LASTS_MS
}

fn fresh_code(turn: &mut Turn<'_>) -> String {
    let digest = Sha256::digest(turn.secret().expose().as_bytes());
    let letter = |byte: &u8| LETTERS.get(usize::from(byte % 32)).copied().map_or('A', char::from);
    digest.iter().take(CODE_LENGTH).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{CountingChance, Now};

    #[test]
    fn a_stranger_is_told_one_code_an_hour_and_a_fourth_one_nothing() {
        let mut chance = CountingChance::default();
        let mut now = Now::read();
        let mut pairing = Pairing::default();
        let mut ask =
            |pairing: &mut Pairing, now: Now, sender: &str| pairing.ask(sender, "N", &mut Turn::new(now, &mut chance));
        let code = ask(&mut pairing, now, "1").unwrap();
        assert!(code.len() == 8 && code.bytes().all(|byte| LETTERS.contains(&byte)), "{code}");
        assert_eq!(ask(&mut pairing, now, "1"), None, "told already");
        assert!(ask(&mut pairing, now, "2").is_some_and(|other| other != code));
        assert!(ask(&mut pairing, now, "3").is_some());
        assert_eq!(ask(&mut pairing, now, "4"), None, "three wait");
        now.wall_ms += CODE_LASTS_MS + 1;
        assert_eq!(pairing.take(|request| request.code == code, now.wall_ms), None, "it has expired");
        assert!(ask(&mut pairing, now, "4").is_some());
        assert!(ask(&mut pairing, now, "1").is_some_and(|fresh| fresh != code));
    }

    #[test]
    fn a_code_is_worth_one_approval() {
        let mut chance = CountingChance::default();
        let mut turn = Turn::new(Now::read(), &mut chance);
        let mut pairing = Pairing::default();
        let code = pairing.ask("1", "N", &mut turn).unwrap();
        let found = pairing.take(|request| request.code == code, turn.now.wall_ms).unwrap();
        assert!(pairing.approve(&found.id) && pairing.approved().contains("1"));
        assert_eq!(pairing.take(|request| request.code == code, turn.now.wall_ms), None);
    }
}
