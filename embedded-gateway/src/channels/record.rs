//! What is kept of an account in the state directory, in one file that is replaced as a whole: how far its messages were taken,
//! those that wait for their run, answers that wait to be delivered, and who was let in.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::pairing::Pairing;
use super::service::Membership;
use crate::effect::{ChannelKey, Chat};

/// Folder of these files in the state directory.
pub(crate) const FOLDER: &str = "channels";

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Record {
    /// The bot that all this is of: another one has other numbers.
    pub bot: Option<String>,
    /// Where its service was reached last.
    pub root: Option<String>,
    /// The first update that isn't acknowledged.
    pub cursor: Option<u64>,
    /// Updates that are known when they come again.
    pub seen: VecDeque<u64>,
    /// Where its service goes on, in the service's own words.
    pub place: Option<String>,
    /// When the last update came, wall ms.
    pub last_update_ms: i64,
    /// The fingerprint of a token that was logged out.
    pub logged_out: Option<String>,
    pub waiting: VecDeque<Work>,
    pub replies: VecDeque<Outgoing>,
    pub pairing: Pairing,
    /// From where sessions were written to last, by their keys.
    pub last: BTreeMap<String, LastChat>,
}

/// Sessions of which that is kept.
const MOST_LAST: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastChat {
    pub chat: Chat,
    /// Wall ms.
    pub at_ms: i64,
}

/// A message that is to become a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Work {
    pub update: u64,
    pub sender: String,
    pub chat: Chat,
    pub is_direct: bool,
    pub text: String,
    /// Its run may have begun: it isn't begun again after a crash.
    pub begun: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guild: Option<Membership>,
}

/// A text for a chat, in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outgoing {
    pub chat: Chat,
    pub parts: VecDeque<String>,
    /// The first part may have been sent: it isn't sent again after a crash.
    pub attempted: bool,
    /// The job's run whose answer it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Of some part it isn't known whether it arrived.
    #[serde(default)]
    pub doubtful: bool,
}

impl Record {
    pub(crate) fn file(key: &ChannelKey) -> PathBuf {
        PathBuf::from(FOLDER).join(format!("{}-{}.json", key.kind.id(), key.id))
    }

    /// An update was taken. `remembered`: so many of the last ones are.
    pub(super) fn note(&mut self, update: u64, remembered: usize, now_ms: i64) {
        self.seen.push_back(update);
        if self.seen.len() > remembered {
            self.seen.pop_front();
        }
        self.cursor = Some(update.saturating_add(1));
        self.last_update_ms = now_ms;
    }

    /// Somebody wrote to a session from a chat. It is written with what follows: nothing waits for it.
    pub(super) fn used(&mut self, session: &str, chat: Chat, now_ms: i64) {
        self.last.insert(session.to_owned(), LastChat { chat, at_ms: now_ms });
        if self.last.len() > MOST_LAST
            && let Some(oldest) = self.last.iter().min_by_key(|(_, last)| last.at_ms).map(|(key, _)| key.clone())
        {
            self.last.remove(&oldest);
        }
    }

    /// Another service may count from elsewhere: the first poll asks for everything.
    pub(super) fn is_at(&mut self, root: &str) {
        if self.root.as_deref().is_some_and(|before| before != root) {
            (self.cursor, self.place) = (None, None);
        }
        self.root = Some(root.to_owned());
    }

    /// The numbers, messages and approvals of one bot mean nothing to another. What was forgotten of an earlier one.
    pub(super) fn is_of(&mut self, bot: &str) -> Option<Record> {
        if self.bot.as_deref() == Some(bot) {
            return None;
        }
        if self.bot.is_none() {
            // Nothing is of another one: answers of jobs may wait already.
            self.bot = Some(bot.to_owned());
            return None;
        }
        let own = Self { bot: Some(bot.to_owned()), logged_out: self.logged_out.clone(), ..Self::default() };
        Some(std::mem::replace(self, own))
    }
}
