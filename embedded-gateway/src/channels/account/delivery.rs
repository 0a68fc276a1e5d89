//! Answers on their way out: in order, in parts, each part sent once.

use std::sync::Arc;
use std::time::Duration;

use super::{Account, LONGEST_WISH, MOST_WAITING, pause};
use crate::channels::record::Outgoing;
use crate::channels::service::{Fault, RequestKind};
use crate::channels::splitting::split;
use crate::cron::delivery::Fate;
use crate::effect::{ChannelRequest, Chat, LogLevel, RunId};
use crate::turn::Turn;

/// Parts of one answer; the rest stays in the session.
const MOST_PARTS: usize = 20;
/// Tries of a part that the service failed to take.
const MOST_TRIES: u32 = 10;

impl Account {
    /// Puts a text to a chat behind all others. Lost where too much waits.
    pub(in crate::channels) fn reply(&mut self, chat: Chat, text: &str) {
        self.put(chat, text, None);
    }

    /// The same with the answer of a job's run, of which it is told what became of it. False where too much waits.
    pub(in crate::channels) fn announce(&mut self, chat: Chat, text: &str, run: &RunId) -> bool {
        self.put(chat, text, Some(run.0.clone()))
    }

    fn put(&mut self, chat: Chat, text: &str, run: Option<String>) -> bool {
        let longest = self.key.kind.channel().longest_part;
        let mut parts = split(text, self.settings.text_limit.unwrap_or(usize::MAX).min(longest));
        if parts.len() > MOST_PARTS {
            parts.truncate(MOST_PARTS - 1);
            parts.push("(The answer is longer than this. The rest is in the session, at the gateway.)".to_owned());
        }
        let has_room = self.record.replies.len() < MOST_WAITING * 2;
        if !parts.is_empty() && has_room {
            let reply = Outgoing { chat, parts: parts.into(), attempted: false, run, doubtful: false };
            self.record.replies.push_back(reply);
        }
        has_room
    }

    /// A reply isn't sent any more: whoever has a job's answer in it is told.
    pub(super) fn done_with(&mut self, reply: Outgoing, given_up: Option<String>) {
        let Some(run) = reply.run else { return };
        let fate = match given_up {
            _ if reply.doubtful => {
                Fate::Unknown("the service didn't say whether it took all of it, and it isn't sent again".to_owned())
            }
            Some(why) => Fate::Failed(why),
            None => Fate::Delivered,
        };
        self.told.push((RunId(run), fate));
    }

    pub(super) fn send(&mut self, turn: &mut Turn<'_>) {
        if self.under_way.contains(&RequestKind::Send) || turn.now.at < self.send_at {
            return;
        }
        let Some(first) = self.record.replies.front_mut() else { return };
        if !first.attempted {
            first.attempted = true;
            return self.save();
        }
        if let Some(text) = first.parts.front().filter(|_| self.written == self.wanted) {
            let unasked = first.run.as_ref().map(|_| Arc::clone(&self.settings));
            let request = ChannelRequest::Send { to: first.chat.clone(), text: text.clone(), unasked };
            self.ask(request, turn);
        }
    }

    pub(super) fn sent(&mut self, turn: &mut Turn<'_>) {
        self.last_outbound_ms = Some(turn.now.wall_ms);
        (self.send_at, self.tries) = (turn.now.at, 0);
        self.done_with_part(None);
    }

    /// The first part is done with; the whole text is where it is given up.
    fn done_with_part(&mut self, given_up: Option<String>) {
        let Some(first) = self.record.replies.front_mut() else { return };
        first.attempted = false;
        first.parts.pop_front();
        if (given_up.is_some() || first.parts.is_empty())
            && let Some(reply) = self.record.replies.pop_front()
        {
            self.done_with(reply, given_up);
        }
        self.save();
    }

    /// A part that is under way, and whose end nobody will hear, counts as sent. False where there is none.
    pub(super) fn unsettle_reply(&mut self) -> bool {
        let Some(first) = self.record.replies.front_mut().filter(|first| first.attempted) else { return false };
        first.doubtful = true;
        self.done_with_part(None);
        true
    }

    pub(super) fn not_sent(&mut self, fault: Fault, turn: &mut Turn<'_>) {
        let chat = self.record.replies.front().map(|reply| reply.chat.id.clone()).unwrap_or_default();
        let said = fault.to_string();
        match fault {
            Fault::Slow(seconds) => {
                self.send_at = turn.now.at + Duration::from_secs(seconds.clamp(1, LONGEST_WISH));
                self.log(LogLevel::Warn, &format!("the answer to {chat} waits: {said}"), turn);
                self.not_attempted();
            }
            Fault::Credentials(_) | Fault::Setup(..) => {
                // It is sent when a person has helped.
                self.not_attempted();
                self.not_reached(fault, turn);
            }
            Fault::Refused(_) | Fault::Forbidden(_) => {
                self.log(LogLevel::Warn, &format!("the answer to {chat} is refused, and given up: {said}"), turn);
                self.done_with_part(Some(said));
            }
            Fault::Unanswered(_) => {
                let said = format!(
                    "whether a part of the answer to {chat} arrived isn't known, and it isn't sent again: {said}"
                );
                self.log(LogLevel::Warn, &said, turn);
                if let Some(first) = self.record.replies.front_mut() {
                    first.doubtful = true;
                }
                self.done_with_part(None);
            }
            Fault::Trouble(_) if self.tries >= MOST_TRIES => {
                self.log(
                    LogLevel::Warn,
                    &format!("the answer to {chat} is given up after {MOST_TRIES} tries: {said}"),
                    turn,
                );
                self.tries = 0;
                self.done_with_part(Some(format!("given up after {MOST_TRIES} tries: {said}")));
            }
            Fault::Trouble(_) | Fault::Unreached(_) | Fault::Conflict(_) => {
                if self.tries == 0 {
                    self.log(LogLevel::Warn, &format!("the answer to {chat} is sent again: {said}"), turn);
                }
                self.tries = self.tries.saturating_add(1);
                self.send_at = turn.now.at + pause(self.tries);
                self.not_attempted();
            }
        }
    }

    /// It is certain that the first part wasn't sent.
    fn not_attempted(&mut self) {
        if let Some(first) = self.record.replies.front_mut() {
            first.attempted = false;
        }
        self.save();
    }
}
