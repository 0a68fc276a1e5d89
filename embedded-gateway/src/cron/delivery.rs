//! Where the answer of a job goes besides its session, and what became of it. The words are those of real gateways.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::place::{Place, Route, Topic, Written};
use crate::config::ChannelKind;
use crate::payload::{joined, joined_if};

/// Why nothing goes to a chat of a run that failed.
pub(super) const RUN_FAILED: &str = "the run failed: its answer isn't told; failureAlert says who is told of failures";
/// Why an answer that somebody expects in a chat isn't there: `openclaw cron add` asks for an announcement by itself.
pub(super) const NO_CHAT: &str = "no chat is named (delivery.channel and delivery.to), and nobody has written to the agent by a \
                                  channel yet: the answer is in the job's session";
/// The same of an alert.
pub(super) const NO_ALERT_CHAT: &str = "no chat is named for alerts of failures (failureAlert.channel and failureAlert.to, of \
                                        the job or below cron of the configuration), and nobody has written to the \
                                        agent by a channel yet";
/// What an agent answers that has nothing to tell, whatever the case of its letters.
const SILENT: &str = "NO_REPLY";

/// What a client writes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Delivery {
    /// `none`; `announce`: to a chat, where one is named; `webhook`: to an address.
    mode: String,
    /// `last`, or none without `to`: the one that was used last.
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
    /// Where it is told that the job failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure_destination: Option<Route>,
}

impl Delivery {
    /// Whether somebody expects the answer in a chat.
    pub(super) fn is_wanted(&self) -> bool {
        self.mode != "none"
    }

    pub(super) fn is_best_effort(&self) -> bool {
        self.best_effort == Some(true)
    }

    /// Err: what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        self.place()?;
        self.failure_destination
            .as_ref()
            .map_or(Ok(None), |route| route.place("/delivery/failureDestination"))
            .map(drop)
    }

    /// Where failures are told, where that is said here.
    pub(super) fn failure_place(&self) -> Option<Place> {
        self.failure_destination.as_ref()?.place("").ok().flatten()
    }

    /// Where to; none where nothing is to be told. Err: what is wrong with it.
    pub(super) fn place(&self) -> Result<Option<Place>, String> {
        if !matches!(self.mode.as_str(), "none" | "announce" | "webhook") {
            return Err("at /delivery/mode: must be none, announce or webhook".to_owned());
        }
        if !self.is_wanted() {
            return Ok(None);
        }
        let written = Written {
            at: "/delivery",
            mode: &self.mode,
            channel: self.channel.as_deref(),
            to: self.to.as_deref(),
            account: self.account_id.as_deref(),
            thread: self.thread_id.as_ref(),
        };
        written.place().map(Some)
    }

    /// What is said of it before a run. `reachable`: the place where it would be sent now. Err: why nothing could be.
    pub(super) fn preview(&self, reachable: impl FnOnce(&Place) -> Result<Place, String>) -> Value {
        let place = match self.place() {
            Ok(None) => return json!({"label": "not requested", "detail": "not requested"}),
            Ok(Some(place)) => place,
            Err(error) => return json!({"label": self.mode, "detail": error}),
        };
        let found = reachable(&place);
        let label = match found.as_ref().unwrap_or(&place) {
            Place::Chat(target) => {
                format!("announce -> {}:{}", target.kind.map_or("last", ChannelKind::id), target.shown())
            }
            Place::Last => "announce -> last".to_owned(),
            Place::Webhook(url) => format!("webhook:{}", url.expose()),
        };
        let detail = found.map(|_| match place {
            Place::Chat(_) => "explicit".to_owned(),
            Place::Last => "resolved from last".to_owned(),
            Place::Webhook(_) => "webhook".to_owned(),
        });
        json!({"label": label, "detail": detail.unwrap_or_else(|why| why)})
    }

    /// The same, or rules of alerts, as changed by a client. What was written for a chat means nothing to a webhook, and the other way round.
    pub(super) fn merged(old: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
        let mut merged = old.clone();
        // Without a mode it is an announcement.
        let is_webhook = |fields: &Map<String, Value>| fields.get("mode").is_some_and(|mode| mode == "webhook");
        if patch.contains_key("mode") && is_webhook(patch) != is_webhook(old) {
            merged.retain(|name, _| !matches!(name.as_str(), "to" | "channel" | "accountId" | "threadId"));
        }
        for (name, value) in patch {
            let inner = match (merged.get(name), value) {
                (Some(Value::Object(old)), Value::Object(new)) => Value::Object(Self::merged(old, new)),
                _ => value.clone(),
            };
            merged.insert(name.clone(), inner);
        }
        merged.retain(|_, value| !value.is_null());
        merged
    }
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

    /// Fields of a job's state: those of a run's row with a word before them.
    pub(super) fn named(&self, word: &str) -> Map<String, Value> {
        let named = |(name, value): (&String, &Value)| {
            let mut letters = name.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            (format!("{word}{}{}", first.unwrap_or_default(), letters.as_str()), value.clone())
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
    use super::super::place::Target;
    use super::*;

    fn target(delivery: Value) -> Result<Option<(String, Option<i64>)>, String> {
        let delivery: Delivery = serde_json::from_value(delivery).unwrap();
        delivery.place().map(|place| match place {
            Some(Place::Chat(target)) => {
                let chat = target.chat(target.kind.unwrap_or(ChannelKind::Telegram)).unwrap();
                Some((chat.id, chat.thread))
            }
            _ => None,
        })
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
            match delivery.place().unwrap() {
                Some(Place::Chat(target)) => target,
                other => panic!("{other:?}"),
            }
        };
        let (number, group) = (target("15551234567"), target("-100:7"));
        let kinds = [ChannelKind::Telegram, ChannelKind::Discord, ChannelKind::WhatsApp];
        let ids = |target: &Target| kinds.map(|kind| target.chat(kind).ok().map(|chat| chat.id));
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
        assert_eq!(Fate::of_answer(Some(" hi\n")), Ok("hi"));
        for (answer, reason) in [(None, "empty"), (Some(" \n"), "empty"), (Some("no_reply\n"), "silent")] {
            let fate = Fate::of_answer(answer).unwrap_err();
            assert_eq!((fate.words(), fate.completion(false)), (reason, "succeeded"));
        }
        assert_eq!(Fate::Failed(String::new()).completion(false), "failed");
        assert_eq!(Fate::Failed(String::new()).completion(true), "succeeded");
        assert_eq!(Fate::Waiting.completion(true), "unknown");
    }

    #[test]
    fn only_a_change_between_chats_and_webhooks_drops_the_place() {
        let chat = json!({"channel": "telegram", "to": "123"});
        let webhook = json!({"mode": "webhook", "to": "https://a.example.com/"});
        for (old, patch, wanted) in [
            (chat.clone(), json!({"mode": "announce"}), joined(chat.clone(), json!({"mode": "announce"}))),
            (joined(chat.clone(), json!({"mode": "announce"})), json!({"mode": null}), chat.clone()),
            (chat.clone(), webhook.clone(), webhook.clone()),
            (webhook.clone(), json!({"mode": null}), json!({})),
            (webhook.clone(), json!({"accountId": "a"}), joined(webhook.clone(), json!({"accountId": "a"}))),
        ] {
            let [old, patch] = [old, patch].map(|fields| fields.as_object().cloned().unwrap());
            assert_eq!(Value::Object(Delivery::merged(&old, &patch)), wanted, "{old:?} with {patch:?}");
        }
    }
}
