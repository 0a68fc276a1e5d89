//! Places where jobs tell something, as clients write them: a chat, the chat that was used last, a webhook.

use serde::{Deserialize, Serialize};

use super::webhook::WebhookUrl;
use crate::config::ChannelKind;
use crate::effect::Chat;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Chat(Target),
    /// Where somebody wrote last to the session of the job, or to its agent.
    Last,
    Webhook(WebhookUrl),
}

/// A chat that something is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// None: the only channel that there is.
    pub(crate) kind: Option<ChannelKind>,
    /// None: the channel's default account.
    pub(crate) account: Option<String>,
    pub(crate) chat: WantedChat,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WantedChat {
    /// Somebody wrote there.
    Known(Chat),
    /// As it was written: which chat it is depends on the channel. `at`: where it stands, for sentences.
    Written { at: String, place: String, topic: Option<Topic> },
}

impl Target {
    /// The chat at this channel. Err: what is wrong with it.
    pub(crate) fn chat(&self, kind: ChannelKind) -> Result<Chat, String> {
        match &self.chat {
            WantedChat::Known(chat) => Ok(chat.clone()),
            WantedChat::Written { at, place, topic } => {
                let topic = topic.as_ref().map(|topic| match topic {
                    Topic::Number(number) => number.to_string(),
                    Topic::Text(text) => text.clone(),
                });
                let (id, thread) = (kind.channel().chat)(at, place, topic.as_deref())?;
                Ok(Chat { id, thread })
            }
        }
    }

    /// The chat, for people.
    pub(crate) fn shown(&self) -> String {
        match (&self.chat, self.kind.and_then(|kind| self.chat(kind).ok())) {
            (_, Some(chat)) => chat.id,
            (WantedChat::Known(chat), None) => chat.id.clone(),
            (WantedChat::Written { place, .. }, None) => place.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Topic {
    Number(i64),
    Text(String),
}

/// A place as it stands in a definition or in the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    /// Where it stands, for sentences: `/delivery`.
    pub(crate) at: &'a str,
    /// `announce` or `webhook`.
    pub(crate) mode: &'a str,
    pub(crate) channel: Option<&'a str>,
    /// The id of a person or group, `ID:topic:TOPIC`, with or without the channel's name before it; the address of a webhook.
    pub(crate) to: Option<&'a str>,
    pub(crate) account: Option<&'a str>,
    pub(crate) thread: Option<&'a Topic>,
}

impl Written<'_> {
    /// Err: what is wrong with it, and what would be right.
    pub(crate) fn place(&self) -> Result<Place, String> {
        let at = self.at;
        match self.mode {
            "announce" => Ok(self.target()?.map_or(Place::Last, Place::Chat)),
            "webhook" => {
                let url = WebhookUrl::parse(self.to.unwrap_or_default());
                url.map(Place::Webhook).map_err(|cure| format!("at {at}/to: {cure}"))
            }
            _ => Err(format!("at {at}/mode: must be announce or webhook")),
        }
    }

    fn target(&self) -> Result<Option<Target>, String> {
        let at = self.at;
        let channel = self.channel.filter(|channel| *channel != "last");
        let named = channel.map(|channel| self.kind_named(channel)).transpose()?;
        let Some(to) = self.to.map(str::trim) else {
            if channel.is_some() || self.account.is_some() || self.thread.is_some() {
                return Err(format!("at {at}/to: is missing; write the id of the person or group that is to be told"));
            }
            return Ok(None);
        };
        let prefix = to.split_once(':').and_then(|(name, rest)| Some((ChannelKind::named(name)?, rest)));
        let is_marked = |kind: &ChannelKind| kind.channel().marks.iter().any(|mark| to.starts_with(mark));
        let (kind, place) = match (named, prefix) {
            (Some(named), Some((kind, _))) if named != kind => {
                return Err(format!("at {at}/to: names the channel {}, and {at}/channel {}", kind.id(), named.id()));
            }
            (named, Some((kind, place))) => (named.or(Some(kind)), place),
            (named, None) => (named.or_else(|| ChannelKind::ALL.into_iter().find(is_marked)), to),
        };
        let chat = WantedChat::Written { at: at.to_owned(), place: place.to_owned(), topic: self.thread.cloned() };
        let target = Target { kind, account: self.account.map(str::to_owned), chat };
        // Until it is known which channel is meant, any that can read it will do.
        let can_read = |kind: &ChannelKind| target.chat(*kind).is_ok();
        let [first, ..] = ChannelKind::ALL;
        target.chat(kind.or_else(|| ChannelKind::ALL.into_iter().find(can_read)).unwrap_or(first))?;
        Ok(Some(target))
    }

    fn kind_named(&self, channel: &str) -> Result<ChannelKind, String> {
        ChannelKind::named(channel).ok_or_else(|| {
            let known = ChannelKind::ALL.map(ChannelKind::id).join(", ");
            let channel: String = channel.chars().take(40).collect();
            format!(
                "at {}/channel: this gateway has no channel {channel}, but {known}; last, or none, is the chat that was used last",
                self.at
            )
        })
    }
}

/// Where failures are told, as a client or the configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Route {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account_id: Option<String>,
}

impl Route {
    /// None: nothing is written of it. Err: what is wrong with it; `at` is where it stands.
    pub(crate) fn place(&self, at: &str) -> Result<Option<Place>, String> {
        if *self == Self::default() {
            return Ok(None);
        }
        let written = Written {
            at,
            mode: self.mode.as_deref().unwrap_or("announce"),
            channel: self.channel.as_deref(),
            to: self.to.as_deref(),
            account: self.account_id.as_deref(),
            thread: None,
        };
        written.place().map(Some)
    }
}
