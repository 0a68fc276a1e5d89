//! Where the answer of a job goes besides its session, and what became of it. The words are those of real gateways.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{ChannelKind, person};
use crate::effect::Chat;
use crate::payload::{joined, joined_if};

/// Why an answer that somebody expects in a chat isn't there: `openclaw cron add` asks for an announcement by itself.
pub(super) const NO_CHAT: &str =
    "no chat is named (delivery.channel and delivery.to): the answer is in the job's session";
/// Before the ids of Discord's channels, and of people there.
const CHANNEL: &str = "channel:";
const USER: &str = "user:";
/// What an agent answers that has nothing to tell, whatever the case of its letters.
const SILENT: &str = "NO_REPLY";

/// What a client writes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Delivery {
    /// `none`, or `announce`: to a chat, where one is named.
    mode: String,
    /// `last` is none: which chat was used last, nobody keeps here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// The id of a person or group, `ID:topic:TOPIC`, with or without the channel's name before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thread_id: Option<Topic>,
    /// The run counts as completed also where its answer wasn't delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best_effort: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Topic {
    Number(i64),
    Text(String),
}

/// The chat that a job's answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// None: the only channel that there is.
    pub(crate) kind: Option<ChannelKind>,
    /// None: the channel's default account.
    pub(crate) account: Option<String>,
    /// As it was written: which chat it is depends on the channel.
    place: String,
    topic: Option<Topic>,
}

impl Target {
    /// The chat at this channel: `ID`, `ID:topic:TOPIC` or `ID:TOPIC`; at Discord `user:ID`, `ID` or `channel:ID`; at WhatsApp a number such
    /// as `+15551234567`. Err: what is wrong with it.
    pub(crate) fn chat(&self, kind: ChannelKind) -> Result<Chat, String> {
        let place = self.place.as_str();
        match kind {
            ChannelKind::Telegram => self.numbered(place),
            ChannelKind::Discord => {
                let id = [CHANNEL, USER].into_iter().find_map(|mark| place.strip_prefix(mark)).unwrap_or(place);
                if id.is_empty() || id.len() > 20 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err("at /delivery/to: must be the number of a person or channel, such as user:123456789012345678 or \
                         channel:123456789012345678; names change hands"
                        .to_owned());
                }
                if self.topic.is_some() {
                    return Err("at /delivery/threadId: a thread is a channel of its own: write channel: and its number as delivery.to"
                        .to_owned());
                }
                let id = if place.starts_with(CHANNEL) { place } else { id };
                Ok(Chat { id: id.to_owned(), thread: None })
            }
            ChannelKind::WhatsApp => person(place).map(|id| Chat { id, thread: None }).ok_or_else(|| {
                "at /delivery/to: must be a phone number with its country, such as +15551234567".to_owned()
            }),
        }
    }

    /// A person's or group's number, and the topic.
    fn numbered(&self, place: &str) -> Result<Chat, String> {
        let (id, topic) = match place.split_once(':') {
            Some((id, topic)) => (id, Some(topic.strip_prefix("topic:").unwrap_or(topic))),
            None => (place, None),
        };
        if id.parse::<i64>().is_err() || id.starts_with('+') {
            return Err("at /delivery/to: must be the number of a person or group, such as 123456789 or -1001234567890; names change \
                 hands"
                .to_owned());
        }
        let topic = match (&self.topic, topic) {
            (Some(Topic::Number(number)), _) => Some(Ok(*number)),
            (Some(Topic::Text(text)), _) => Some(text.parse()),
            (None, topic) => topic.map(str::parse),
        };
        let thread =
            topic.transpose().map_err(|_| "at /delivery/threadId: must be the number of a topic".to_owned())?;
        Ok(Chat { id: id.to_owned(), thread })
    }
}

impl Delivery {
    /// Whether somebody expects the answer in a chat.
    pub(super) fn is_wanted(&self) -> bool {
        self.mode != "none"
    }

    pub(super) fn is_best_effort(&self) -> bool {
        self.best_effort == Some(true)
    }

    /// The chat; none where none is named. Err: what is wrong with it.
    pub(super) fn target(&self) -> Result<Option<Target>, String> {
        if self.mode != "none" && self.mode != "announce" {
            return Err("at /delivery/mode: must be none or announce".to_owned());
        }
        let channel = self.channel.as_deref().filter(|channel| *channel != "last");
        let named = channel.map(kind_named).transpose()?;
        let Some(to) = self.to.as_deref().map(str::trim).filter(|_| self.is_wanted()) else {
            let is_partial = channel.is_some() || self.account_id.is_some() || self.thread_id.is_some();
            if is_partial && self.is_wanted() {
                return Err(
                    "at /delivery/to: is missing; write the id of the person or group that gets the answer".to_owned()
                );
            }
            return Ok(None);
        };
        let prefix = to.split_once(':').and_then(|(name, rest)| Some((ChannelKind::named(name)?, rest)));
        let (kind, place) = match (named, prefix) {
            (Some(named), Some((kind, _))) if named != kind => {
                return Err(format!(
                    "at /delivery/to: names the channel {}, and delivery.channel {}",
                    kind.id(),
                    named.id()
                ));
            }
            (named, Some((kind, place))) => (named.or(Some(kind)), place),
            // Only phone numbers begin so.
            (None, None) if to.starts_with('+') => (Some(ChannelKind::WhatsApp), to),
            (None, None) if to.starts_with(CHANNEL) || to.starts_with(USER) => (Some(ChannelKind::Discord), to),
            (named, None) => (named, to),
        };
        let (account, topic) = (self.account_id.clone(), self.thread_id.clone());
        let target = Target { kind, account, place: place.to_owned(), topic };
        // Until it is known which channel is meant, any that can read it will do.
        let can_read = |kind: &ChannelKind| target.chat(*kind).is_ok();
        let reader = kind.or_else(|| ChannelKind::ALL.into_iter().find(can_read)).unwrap_or(ChannelKind::Telegram);
        target.chat(reader)?;
        Ok(Some(target))
    }

    /// What is said of it before a run. `refusal`: why nothing could be sent there now.
    pub(super) fn preview(&self, refusal: impl FnOnce(&Target) -> Option<String>) -> Value {
        match self.target() {
            _ if !self.is_wanted() => json!({"label": "not requested", "detail": "not requested"}),
            Ok(None) => json!({"label": "announce -> last", "detail": NO_CHAT}),
            Ok(Some(target)) => {
                let channel = target.kind.map_or("last", ChannelKind::id);
                let detail = refusal(&target).unwrap_or_else(|| "explicit".to_owned());
                let chat = target.kind.and_then(|kind| target.chat(kind).ok()).map(|chat| chat.id);
                json!({"label": format!("announce -> {channel}:{}", chat.unwrap_or(target.place)), "detail": detail})
            }
            Err(error) => json!({"label": "announce", "detail": error}),
        }
    }
}

fn kind_named(channel: &str) -> Result<ChannelKind, String> {
    ChannelKind::named(channel).ok_or_else(|| {
        let known = ChannelKind::ALL.map(ChannelKind::id).join(", ");
        let channel: String = channel.chars().take(40).collect();
        format!(
            "at /delivery/channel: this gateway has no channel {channel}, but {known}; without delivery.channel and delivery.to the \
             answer stays in the job's session"
        )
    })
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Fate {
    /// It is in the account's file, and is sent as soon as that goes.
    Waiting,
    Delivered,
    /// Nothing was to be told: why.
    Suppressed(String),
    /// It isn't sent any more: why.
    Failed(String),
    /// It may have arrived, and isn't sent again: why.
    Unknown(String),
}

impl Fate {
    /// What is to be sent of an answer; else what becomes of it.
    pub(super) fn of_answer(answer: Option<&str>, failed: bool) -> Result<&str, Self> {
        if failed {
            return Err(Self::Failed("the run failed, and failures are told in cron.runs alone".to_owned()));
        }
        match answer.map(str::trim).unwrap_or_default() {
            "" => Err(Self::Suppressed("empty".to_owned())),
            silent if silent.eq_ignore_ascii_case(SILENT) => Err(Self::Suppressed("silent".to_owned())),
            answer => Ok(answer),
        }
    }

    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Suppressed(_) | Self::Failed(_) => "not-delivered",
            Self::Waiting | Self::Unknown(_) => "unknown",
        }
    }

    /// Whether the whole of it worked; none where that isn't known.
    fn has_worked(&self) -> Option<bool> {
        match self {
            Self::Delivered | Self::Suppressed(_) => Some(true),
            Self::Failed(_) => Some(false),
            Self::Waiting | Self::Unknown(_) => None,
        }
    }

    pub(super) fn words(&self) -> &str {
        match self {
            Self::Delivered => "",
            Self::Waiting => "the answer waits to be sent: channels.status tells how the account is",
            Self::Suppressed(why) | Self::Failed(why) | Self::Unknown(why) => why,
        }
    }

    /// `completionStatus`: of a run that didn't fail.
    pub(super) fn completion(&self, best_effort: bool) -> &'static str {
        match self.has_worked() {
            Some(true) => "succeeded",
            _ if best_effort && *self != Self::Waiting => "succeeded",
            Some(false) => "failed",
            None => "unknown",
        }
    }

    /// Fields of a run's row.
    pub(super) fn to_value(&self) -> Value {
        let shown = json!({"deliveryStatus": self.status()});
        match self {
            Self::Delivered => joined(shown, json!({"delivered": true})),
            Self::Suppressed(why) => joined(shown, json!({"deliverySuppressionReason": why})),
            Self::Failed(_) | Self::Unknown(_) | Self::Waiting => {
                let shown = joined(shown, json!({"deliveryError": self.words()}));
                joined_if(shown, matches!(self, Self::Failed(_)), || json!({"delivered": false}))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(delivery: Value) -> Result<Option<(String, Option<i64>)>, String> {
        let delivery: Delivery = serde_json::from_value(delivery).unwrap();
        let chat = |target: Target| target.chat(target.kind.unwrap_or(ChannelKind::Telegram)).unwrap();
        delivery.target().map(|target| target.map(chat).map(|chat| (chat.id, chat.thread)))
    }

    #[test]
    fn a_chat_is_written_as_the_command_writes_it() {
        for (delivery, chat) in [
            (json!({"channel": "telegram", "to": "123"}), ("123", None)),
            (json!({"to": "telegram:123"}), ("123", None)),
            (json!({"channel": "last", "to": "telegram:-100:topic:7"}), ("-100", Some(7))),
            (json!({"channel": "telegram", "to": "-100:7"}), ("-100", Some(7))),
            (json!({"channel": "discord", "to": "channel:77"}), ("channel:77", None)),
            (json!({"to": "discord:channel:77"}), ("channel:77", None)),
            (json!({"to": "discord:user:5"}), ("5", None)),
            (json!({"channel": "whatsapp", "to": "+1 555 123-4567"}), ("+15551234567", None)),
            (json!({"to": "whatsapp:15551234567"}), ("+15551234567", None)),
            (json!({"to": "+15551234567"}), ("+15551234567", None)),
            (json!({"channel": "telegram", "to": "-100", "threadId": 7}), ("-100", Some(7))),
            (json!({"channel": "telegram", "to": "-100", "threadId": "7"}), ("-100", Some(7))),
        ] {
            let delivery = joined(json!({"mode": "announce"}), delivery);
            assert_eq!(target(delivery.clone()), Ok(Some((chat.0.to_owned(), chat.1))), "{delivery}");
        }
        for none in [
            json!({"mode": "announce"}),
            json!({"mode": "announce", "channel": "last"}),
            json!({"mode": "none", "to": "x"}),
        ] {
            assert_eq!(target(none.clone()), Ok(None), "{none}");
        }
    }

    #[test]
    fn a_chat_that_makes_no_sense_is_refused_with_its_place() {
        for (delivery, said) in [
            (json!({"channel": "telegram"}), "/delivery/to: is missing"),
            (json!({"channel": "slack", "to": "1"}), "no channel slack, but telegram"),
            (json!({"channel": "telegram", "to": "@somebody"}), "/delivery/to: must be the number"),
            (json!({"channel": "telegram", "to": "+5"}), "/delivery/to: must be the number"),
            (json!({"channel": "discord", "to": "channel:general"}), "/delivery/to: must be the number"),
            (json!({"channel": "discord", "to": "channel:-5"}), "/delivery/to: must be the number"),
            (json!({"channel": "whatsapp", "to": "eve"}), "/delivery/to: must be a phone number"),
            (
                json!({"channel": "telegram", "to": "channel:77"}),
                "/delivery/to: must be the number of a person or group",
            ),
            (json!({"channel": "telegram", "to": "user:5"}), "/delivery/to: must be the number of a person or group"),
            (json!({"channel": "discord", "to": "-100"}), "/delivery/to: must be the number of a person or channel"),
            (
                json!({"channel": "discord", "to": "5:topic:7"}),
                "/delivery/to: must be the number of a person or channel",
            ),
            (json!({"channel": "discord", "to": "channel:77", "threadId": "8"}), "a thread is a channel of its own"),
            (json!({"to": "-5-5"}), "/delivery/to: must be the number"),
            (json!({"channel": "telegram", "to": "-100:topic:general"}), "/delivery/threadId"),
            (json!({"channel": "telegram", "to": "-100", "threadId": "x"}), "/delivery/threadId"),
        ] {
            let error = target(joined(json!({"mode": "announce"}), delivery)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_chat_without_its_channel_is_what_it_is_at_the_channel_that_there_is() {
        let target = |to: &str| {
            let delivery: Delivery = serde_json::from_value(json!({"mode": "announce", "to": to})).unwrap();
            delivery.target().unwrap().unwrap()
        };
        let (number, group) = (target("15551234567"), target("-100:7"));
        let ids = |target: &Target| ChannelKind::ALL.map(|kind| target.chat(kind).ok().map(|chat| chat.id));
        let known = |id: &str| Some(id.to_owned());
        assert_eq!(ids(&number), [known("15551234567"), known("15551234567"), known("+15551234567")]);
        assert_eq!((number.kind, &ids(&group)[..2]), (None, &[known("-100"), None][..]));
        assert_eq!(
            (target("channel:77").kind, target("user:5").kind),
            (Some(ChannelKind::Discord), Some(ChannelKind::Discord))
        );
    }

    #[test]
    fn an_answer_that_says_nothing_is_not_sent_and_counts_as_done() {
        assert_eq!(Fate::of_answer(Some(" hi\n"), false), Ok("hi"));
        for (answer, reason) in [(None, "empty"), (Some(" \n"), "empty"), (Some("no_reply\n"), "silent")] {
            let fate = Fate::of_answer(answer, false).unwrap_err();
            assert_eq!((fate.words(), fate.completion(false)), (reason, "succeeded"));
        }
        assert_eq!(Fate::of_answer(Some("half of it"), true).unwrap_err().completion(false), "failed");
        assert_eq!(Fate::Failed(String::new()).completion(true), "succeeded");
        assert_eq!(Fate::Waiting.completion(true), "unknown");
    }
}
