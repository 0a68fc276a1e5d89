//! What a channel has to do: the one interface that a further channel implements.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::config::{ChannelAccount, ChannelKind};
use crate::effect::{ChannelIdentity, ChannelRequest, Chat};

/// The way to one account's service. At most one request of each kind is under way; each ends within a minute.
///
/// Some services are asked for updates, others send them by themselves: there a poll waits for what came. Either way a poll
/// acknowledges what all polls before it gave, since it is asked only when that is on disk.
pub(crate) trait Service {
    /// Carries a request out. Dropping the future gives it up.
    fn perform(&self, request: ChannelRequest) -> LocalBoxFuture<'static, Result<Reply, Fault>>;

    /// Who may talk may have changed.
    fn configure(&self, _account: &ChannelAccount) {}

    /// What came by the gateway's own HTTP. `stored` is told when it is on disk, and dropped where it isn't taken.
    fn receive(&self, _updates: Vec<Update>, _stored: oneshot::Sender<()>) {}
}

/// Numbers of messages that were sent, the last one first. A service may tell of one when the way to the account was made anew.
pub(crate) type Sent = Rc<RefCell<VecDeque<String>>>;

/// What a service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Identity(ChannelIdentity),
    /// In order; the service repeats them until a later poll's cursor is beyond.
    Updates(Vec<Update>),
    /// The same of a service that sends by itself, and where it goes on after them, in its own words: later polls say it, also those
    /// of the next start.
    Received {
        updates: Vec<Update>,
        place: String,
    },
    Done,
}

/// Something that happened there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    pub id: u64,
    /// None: nothing that concerns an agent.
    pub message: Option<Inbound>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inbound {
    /// The sender's id, which can't be chosen by the sender.
    pub sender: String,
    /// What the sender is called there.
    pub sender_name: String,
    pub chat: Chat,
    /// Between the sender and the bot alone.
    pub is_direct: bool,
    /// None: it has none (a picture, a sticker).
    pub text: Option<String>,
    /// It names the bot, or answers it.
    pub is_for_me: bool,
    /// What the service calls the message, where answers refer to it.
    pub id: Option<String>,
    /// The server that the chat is part of, where the service has such.
    pub guild: Option<Membership>,
}

/// A sender's place in a server with many chats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub guild: String,
    pub roles: Vec<String>,
    /// The channel of which the chat is a thread.
    pub parent: Option<String>,
    /// Whether it is a thread couldn't be found out, so that it isn't known which rules count there.
    #[serde(skip)]
    pub is_unsure: bool,
}

/// Why something didn't work. The texts are for people and hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The token isn't accepted.
    Credentials(String),
    /// Another program uses the same token.
    Conflict(String),
    /// Too many requests: not before so many seconds.
    Slow(u64),
    /// This request isn't accepted; another one may be.
    Refused(String),
    /// The account's own rules forbid it. Nothing was done.
    Forbidden(String),
    /// The service has failed, or says what makes no sense. Nothing was done.
    Trouble(String),
    /// It wasn't reached: nothing was done.
    Unreached(String),
    /// It was asked and didn't answer: whether it was done isn't known.
    Unanswered(String),
    /// It goes on only when a person has changed something there: what is wrong, and what helps.
    Setup(String, &'static str),
}

impl Fault {
    /// The same with other words.
    pub(super) fn said_as(self, say: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Credentials(said) => Self::Credentials(say(said)),
            Self::Conflict(said) => Self::Conflict(say(said)),
            Self::Slow(seconds) => Self::Slow(seconds),
            Self::Refused(said) => Self::Refused(say(said)),
            Self::Forbidden(said) => Self::Forbidden(say(said)),
            Self::Trouble(said) => Self::Trouble(say(said)),
            Self::Unreached(said) => Self::Unreached(say(said)),
            Self::Unanswered(said) => Self::Unanswered(say(said)),
            Self::Setup(said, cure) => Self::Setup(say(said), cure),
        }
    }

    /// What helps; a sentence without its stop.
    pub(super) fn cure(&self, kind: ChannelKind) -> &'static str {
        match self {
            Self::Credentials(_) => kind.channel().cure_of_token,
            Self::Conflict(_) => kind.channel().cure_of_conflict,
            Self::Refused(_) => kind.channel().cure_of_refusal,
            Self::Forbidden(_) => "Change who may talk in the account's section, or write to another chat",
            Self::Slow(_) => "It goes on by itself",
            Self::Trouble(_) | Self::Unanswered(_) => {
                "It is tried again; if it stays so, check apiRoot and the service's own state"
            }
            Self::Unreached(_) => "Check the network, name resolution and the firewall of this machine, and apiRoot",
            Self::Setup(_, cure) => cure,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(said) => write!(f, "the token isn't accepted ({said})"),
            Self::Conflict(said) => write!(f, "another program uses the same bot ({said})"),
            Self::Slow(seconds) => write!(f, "the service wants {seconds} s without requests"),
            Self::Refused(said) => write!(f, "the service refuses: {said}"),
            Self::Trouble(said) => write!(f, "the service fails: {said}"),
            Self::Unreached(said) => write!(f, "the service isn't reached: {said}"),
            Self::Unanswered(said) => write!(f, "the service doesn't answer: {said}"),
            Self::Forbidden(said) | Self::Setup(said, _) => f.write_str(said),
        }
    }
}

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RequestKind {
    Identify,
    Poll,
    Send,
    Typing,
}

impl RequestKind {
    pub(crate) fn of(request: &ChannelRequest) -> Self {
        match request {
            ChannelRequest::Identify => Self::Identify,
            ChannelRequest::Poll { .. } => Self::Poll,
            ChannelRequest::Send { .. } => Self::Send,
            ChannelRequest::Typing { .. } => Self::Typing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_helps_is_who_the_channel_has() {
        let faults = [Fault::Credentials, Fault::Conflict, Fault::Refused];
        for fault in faults.map(|fault| fault("x".to_owned())) {
            let cures = ChannelKind::ALL.map(|kind| (kind, fault.cure(kind)));
            for (kind, cure) in cures {
                assert_eq!(cure.contains("@BotFather"), kind == ChannelKind::Telegram, "{kind:?} {fault}: {cure}");
            }
        }
    }
}
