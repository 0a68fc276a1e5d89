//! Where the answer of a job goes besides its session, and what became of it. The words are those of real gateways.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::webhook::WebhookUrl;
use crate::config::{ChannelKind, person};
use crate::effect::Chat;
use crate::payload::{joined, joined_if};

/// Why nothing goes to a chat of a run that failed.
pub(super) const RUN_FAILED: &str = "the run failed, and failures are told in cron.runs alone";
/// Why an answer that somebody expects in a chat isn't there: `openclaw cron add` asks for an announcement by itself.
pub(super) const NO_CHAT: &str =
    "no chat is named (delivery.channel and delivery.to): the answer is in the job's session";
/// What an agent answers that has nothing to tell, whatever the case of its letters.
const SILENT: &str = "NO_REPLY";

/// What a client writes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Delivery {
    /// `none`; `announce`: to a chat, where one is named; `webhook`: to an address.
    mode: String,
    /// `last` is none: which chat was used last, nobody keeps here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// The id of a person or group, `ID:topic:TOPIC`, with or without the channel's name before it; the address of a webhook.
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

/// Where the end of a run is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Chat(Target),
    Webhook(WebhookUrl),
}

/// The chat that a job's answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// None: the only channel that there is.
    pub(crate) kind: Option<ChannelKind>,
    /// None: the channel's default account.
    pub(crate) account: Option<String>,
    pub(crate) chat: Chat,
}

impl Delivery {
    /// Whether somebody expects the answer in a chat.
    pub(super) fn is_wanted(&self) -> bool {
        self.mode != "none"
    }

    pub(super) fn is_best_effort(&self) -> bool {
        self.best_effort == Some(true)
    }

    /// Where to; none where no chat is named. Err: what is wrong with it.
    pub(super) fn place(&self) -> Result<Option<Place>, String> {
        match self.mode.as_str() {
            "none" | "announce" => Ok(self.target()?.map(Place::Chat)),
            "webhook" => {
                let url = WebhookUrl::parse(self.to.as_deref().unwrap_or_default());
                url.map(|url| Some(Place::Webhook(url))).map_err(|cure| format!("at /delivery/to: {cure}"))
            }
            _ => Err("at /delivery/mode: must be none, announce or webhook".to_owned()),
        }
    }

    fn target(&self) -> Result<Option<Target>, String> {
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
            (named, None) => (named, to),
        };
        Ok(Some(Target { kind, account: self.account_id.clone(), chat: self.chat(kind, place)? }))
    }

    /// `ID`, `ID:topic:TOPIC` or `ID:TOPIC`; `channel:ID`, `user:ID`; `+15551234567`.
    fn chat(&self, kind: Option<ChannelKind>, place: &str) -> Result<Chat, String> {
        if kind == Some(ChannelKind::WhatsApp) {
            return person(place).map(|id| Chat { id, thread: None }).ok_or_else(|| {
                "at /delivery/to: must be a phone number with its country, such as +15551234567".to_owned()
            });
        }
        // As Discord's are written.
        let is_number = |id: &str| !id.starts_with(['+', '-']) && id.parse::<i64>().is_ok();
        if place.strip_prefix("channel:").is_some_and(is_number) {
            return Ok(Chat { id: place.to_owned(), thread: None });
        }
        let place = place.strip_prefix("user:").unwrap_or(place);
        let (id, topic) = match place.split_once(':') {
            Some((id, topic)) => (id, Some(topic.strip_prefix("topic:").unwrap_or(topic))),
            None => (place, None),
        };
        if id.parse::<i64>().is_err() || id.starts_with('+') {
            return Err("at /delivery/to: must be the number of a person or group, such as 123456789 or -1001234567890; names change \
                 hands"
                .to_owned());
        }
        let topic = match (&self.thread_id, topic) {
            (Some(Topic::Number(number)), _) => Some(Ok(*number)),
            (Some(Topic::Text(text)), _) => Some(text.parse()),
            (None, topic) => topic.map(str::parse),
        };
        let thread =
            topic.transpose().map_err(|_| "at /delivery/threadId: must be the number of a topic".to_owned())?;
        Ok(Chat { id: id.to_owned(), thread })
    }

    /// What is said of it before a run. `refusal`: why nothing could be sent there now.
    pub(super) fn preview(&self, refusal: impl FnOnce(&Place) -> Option<String>) -> Value {
        match self.place() {
            _ if !self.is_wanted() => json!({"label": "not requested", "detail": "not requested"}),
            Ok(None) => json!({"label": "announce -> last", "detail": NO_CHAT}),
            Ok(Some(place)) => {
                let (label, detail) = match &place {
                    Place::Chat(target) => {
                        let channel = target.kind.map_or("last", ChannelKind::id);
                        (format!("announce -> {channel}:{}", target.chat.id), "explicit")
                    }
                    Place::Webhook(url) => (format!("webhook:{}", url.expose()), "webhook"),
                };
                json!({"label": label, "detail": refusal(&place).unwrap_or_else(|| detail.to_owned())})
            }
            Err(error) => json!({"label": self.mode, "detail": error}),
        }
    }

    /// The same as changed by a client. What was written for a chat means nothing to a webhook, and the other way round.
    pub(super) fn merged(old: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
        let mut merged = old.clone();
        let mode =
            |fields: &Map<String, Value>| fields.get("mode").and_then(Value::as_str).map(|mode| mode == "webhook");
        if mode(patch).is_some_and(|is_webhook| mode(old) != Some(is_webhook)) {
            merged.retain(|name, _| !matches!(name.as_str(), "to" | "channel" | "accountId" | "threadId"));
        }
        merged.extend(patch.clone());
        merged.retain(|_, value| !value.is_null());
        merged
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
    /// It is kept in a file, and is sent as soon as that goes.
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
    pub(super) fn of_answer(answer: Option<&str>) -> Result<&str, Self> {
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
            Self::Waiting => "it waits to be sent; where it is for a chat, channels.status tells how the account is",
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

    /// Fields of a job's state.
    pub(super) fn as_last(&self) -> Map<String, Value> {
        let named = |(name, value): (&String, &Value)| {
            let mut letters = name.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            (format!("last{}{}", first.unwrap_or_default(), letters.as_str()), value.clone())
        };
        self.to_value().as_object().into_iter().flatten().map(named).collect()
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
        delivery.target().map(|target| target.map(|target| (target.chat.id, target.chat.thread)))
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
            (json!({"channel": "telegram", "to": "-100:topic:general"}), "/delivery/threadId"),
            (json!({"channel": "telegram", "to": "-100", "threadId": "x"}), "/delivery/threadId"),
        ] {
            let error = target(joined(json!({"mode": "announce"}), delivery)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn an_answer_that_says_nothing_is_not_sent_and_counts_as_done() {
        assert_eq!(Fate::of_answer(Some(" hi\n")), Ok("hi"));
        for (answer, reason) in [(None, "empty"), (Some(" \n"), "empty"), (Some("no_reply\n"), "silent")] {
            let fate = Fate::of_answer(answer).unwrap_err();
            assert_eq!((fate.words(), fate.completion(false)), (reason, "succeeded"));
        }
        assert_eq!(Fate::Failed(String::new()).completion(false), "failed");
        assert_eq!(Fate::Failed(String::new()).completion(true), "succeeded");
        assert_eq!(Fate::Waiting.completion(true), "unknown");
    }
}
