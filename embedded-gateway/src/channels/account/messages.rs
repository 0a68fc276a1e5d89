//! Messages on their way in: who is heard, which run begins, and what it answered.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Account, BATCH, PAUSE, Phase};
use crate::channels::access::{Verdict, judge};
use crate::channels::flood::{PER_MINUTE, Pace};
use crate::channels::record::Work;
use crate::channels::service::{Fault, Inbound, Update};
use crate::config::DEFAULT_ACCOUNT;
use crate::effect::{ChannelKey, Chat, LogLevel, RunId};
use crate::turn::Turn;

/// Longest text of a message, in bytes. The service's own limit is lower.
const TEXT_BYTES: usize = 16 * 1024;

impl Account {
    pub(super) fn take(&mut self, updates: Vec<Update>, place: Option<String>, turn: &mut Turn<'_>) {
        if updates.len() > usize::from(BATCH) {
            let said = format!("it gave {} updates, more than it was asked for", updates.len());
            return self.not_reached(Fault::Trouble(said), turn);
        }
        self.is_well(turn);
        self.batch = BATCH;
        let repeats = place.is_none();
        if place.is_some() && place != self.record.place {
            self.record.place = place;
            if updates.is_empty() {
                self.save();
            }
        }
        if updates.is_empty() {
            self.ask_at = turn.now.at.max(self.asked_at + PAUSE);
            return;
        }
        let mut is_new = false;
        for update in updates {
            if self.record.seen.contains(&update.id) {
                continue;
            }
            let mut is_kept = false;
            if let Some(message) = update.message {
                self.last_inbound_ms = Some(turn.now.wall_ms);
                is_kept = self.receive(update.id, message, turn);
            }
            // A service that doesn't repeat itself needs no acknowledgement of what changed nothing: a lively place costs no writes.
            if repeats || is_kept {
                self.record.note(update.id, self.key.kind.channel().remembered, turn.now.wall_ms);
                is_new = true;
            }
        }
        if is_new {
            self.save();
        } else if repeats {
            // It repeats what was acknowledged: not in a loop.
            self.ask_at = turn.now.at + PAUSE;
        }
    }

    /// False: nothing of it is kept.
    fn receive(&mut self, update: u64, message: Inbound, turn: &mut Turn<'_>) -> bool {
        let sender = message.sender.clone();
        match judge(&self.settings.access, self.record.pairing.approved(), &message) {
            Verdict::Ignored(why) => {
                let said = format!("a message of {sender} in {} isn't heard: {why}", message.chat.id);
                self.log(LogLevel::Debug, &said, turn);
                return false;
            }
            Verdict::Stranger => return self.greet(&message, turn),
            Verdict::Heard => match (self.flood.count(&sender, turn.now.at), message.text) {
                (Pace::StillTooFast, _) => return false,
                (Pace::TooFast, _) => {
                    self.log(LogLevel::Warn, &format!("{sender} sends too much, and isn't heard for a minute"), turn);
                    let said = format!(
                        "That is more than {PER_MINUTE} messages a minute. The last ones weren't read; go on in a minute."
                    );
                    self.reply(message.chat, &said);
                }
                (Pace::Fine, None) => self.reply(message.chat, "Only text can be read here."),
                (Pace::Fine, Some(mut text)) => {
                    text.truncate(text.floor_char_boundary(TEXT_BYTES));
                    let is_direct = message.is_direct;
                    self.record.waiting.push_back(Work {
                        update,
                        sender,
                        chat: message.chat,
                        is_direct,
                        text,
                        begun: false,
                        guild: message.guild,
                    });
                }
            },
        }
        true
    }

    /// False: there is nothing new to tell.
    fn greet(&mut self, message: &Inbound, turn: &mut Turn<'_>) -> bool {
        let name = gatewarden_protocol::words::shown(&message.sender_name);
        let Some(code) = self.record.pairing.ask(&message.sender, &name, turn) else { return false };
        let (kind, sender) = (self.key.kind, &message.sender);
        let account =
            if self.key.id == DEFAULT_ACCOUNT { String::new() } else { format!(" --account {}", self.key.id) };
        let text = format!(
            "This bot doesn't know you yet.\n\nYour {} user id: {sender}\nPairing code: {code}\n\nAsk the bot's owner to approve it \
             within the hour:\ngatewarden gateway pairing approve {} {code}{account}",
            kind.label(),
            kind.id()
        );
        self.reply(message.chat.clone(), &text);
        self.log(LogLevel::Info, &format!("{sender} asks for a pairing"), turn);
        true
    }

    /// Of each chat one message at a time is at work: they are answered in their order. Only what finds room is marked: the rest
    /// waits without a write, and is run after a crash.
    pub(super) fn mark_next_work(&mut self, fits: &mut dyn FnMut(&ChannelKey, &Work) -> bool, turn: &Turn<'_>) {
        if self.begin_at.is_some_and(|at| turn.now.at < at) {
            return;
        }
        self.begin_at = None;
        let mut busy: BTreeSet<Chat> =
            self.record.waiting.iter().filter(|work| work.begun).map(|work| work.chat.clone()).collect();
        let mut is_changed = false;
        for work in self.record.waiting.iter_mut().filter(|work| !work.begun) {
            if busy.insert(work.chat.clone()) && fits(&self.key, work) {
                work.begun = true;
                is_changed = true;
            }
        }
        if is_changed {
            self.save();
        }
    }

    /// Messages whose runs may begin: it is on disk that they do. A run is named for its bot, whose numbers are its own.
    pub(in crate::channels) fn ready(&self) -> Vec<(Work, RunId)> {
        let Some(me) = self.me.as_ref().filter(|_| self.is_written() && self.phase == Phase::Online) else {
            return Vec::new();
        };
        let ready = self.record.waiting.iter().filter(|work| work.begun && !self.running.contains_key(&work.update));
        let named = |work: &Work| RunId(format!("{}:{}:{}", self.key.kind.id(), me.id, work.update));
        ready.map(|work| (work.clone(), named(work))).collect()
    }

    /// There is no room for runs any more: those that didn't begin wait.
    pub(in crate::channels) fn put_back(&mut self, wait: Duration, turn: &Turn<'_>) {
        let refused =
            self.record.waiting.iter_mut().filter(|work| work.begun && !self.running.contains_key(&work.update));
        if refused.map(|work| work.begun = false).count() > 0 {
            self.begin_at = Some(turn.now.at + wait);
            self.save();
        }
    }

    /// A message is done with, and this is the answer.
    pub(in crate::channels) fn answer(&mut self, update: u64, text: &str) {
        self.running.remove(&update);
        let Some(at) = self.record.waiting.iter().position(|work| work.update == update) else { return };
        if let Some(work) = self.record.waiting.remove(at) {
            self.reply(work.chat, text);
        }
        self.save();
    }
}
