//! Discord: messages come by its gateway (a WebSocket), answers go by its API.
//!
//! Written on the HTTP client that the workspace has, and the reader of WebSocket messages that the gateway has for its clients:
//! six requests and three kinds of events are used, for which `twilight-gateway` and `twilight-http` would bring `hyper`,
//! `tokio-websockets` and theirs beside it.
//!
//! | file | |
//! | --- | --- |
//! | `conversation` | one connection to the gateway: what is said when, and what its end means |
//! | `socket` | carries conversations out, one after the other |
//! | `inbox` | what came and isn't taken yet, and where it is gone on after it |
//! | `rest` | the API |
//! | `wire` | messages and close codes |

mod conversation;
mod inbox;
mod rest;
mod socket;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use gatewarden_protocol::Secret;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::access::{CHANNEL, may_write_in};
use super::http::Http;
use super::service::{Fault, Reply, Sent, Service};
use crate::config::{ChannelAccess, ChannelAccount};
use crate::effect::{ChannelIdentity, ChannelRequest, Chat};
use inbox::{Inbox, Place};
use rest::Rest;

/// How long a poll waits for a message where the connection is well, and where it isn't there.
const POLL: Duration = Duration::from_secs(30);
/// A request ends within a minute, whatever it has to try.
const PATIENCE: Duration = Duration::from_secs(50);

pub(super) struct Discord {
    link: Rc<Link>,
    listener: RefCell<Option<JoinHandle<()>>>,
}

/// What requests and the listener share.
struct Link {
    rest: Rest,
    inbox: Inbox,
    /// The words of all messages are asked for.
    with_content: bool,
    /// Another program wrote as the bot, which nobody was told yet.
    other: Notify,
}

impl Discord {
    pub(super) fn new(http: Http, account: &ChannelAccount, token: &Secret, sent: Sent) -> Self {
        let (rest, with_content) = (Rest::new(http, &account.api_root, token, sent), account.message_content);
        let link = Link { rest, inbox: Inbox::default(), with_content, other: Notify::default() };
        link.inbox.configure(&account.access);
        Self { link: Rc::new(link), listener: RefCell::default() }
    }

    /// The first poll says where it is gone on.
    fn listen(&self, place: Option<&str>, me: &Arc<ChannelIdentity>) {
        let mut listener = self.listener.borrow_mut();
        if listener.is_none() {
            let place = place.and_then(Place::read).unwrap_or_default();
            self.link.inbox.begin(place.with_content(self.link.with_content));
            let (link, me) = (Rc::clone(&self.link), Arc::clone(me));
            *listener = Some(actix_rt::spawn(async move { socket::listen(&link, &me.id).await }));
        }
    }
}

impl Drop for Discord {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
    }
}

impl Service for Discord {
    fn configure(&self, account: &ChannelAccount) {
        self.link.inbox.configure(&account.access);
    }

    fn perform(&self, request: ChannelRequest) -> LocalBoxFuture<'static, Result<Reply, Fault>> {
        let link = Rc::clone(&self.link);
        match request {
            ChannelRequest::Identify => async move { link.rest.identity().await.map(Reply::Identity) }.boxed_local(),
            ChannelRequest::Poll { place, most, me, approved, .. } => {
                link.inbox.are_approved(approved);
                self.listen(place.as_deref(), &me);
                async move {
                    // Messages first. Waiting for them is given up without having taken any.
                    tokio::select! {
                        biased;
                        said = link.inbox.next(most, POLL) => said,
                        () = link.other.notified() => {
                            Err(Fault::Conflict("a message was written in its name that this gateway hasn't sent".to_owned()))
                        }
                    }
                }
                .boxed_local()
            }
            ChannelRequest::Send { to, text, unasked } => within(async move {
                let channel = link.channel(&to).await?;
                if let Some(account) = unasked.filter(|_| to.id.starts_with(CHANNEL)) {
                    link.check(&channel, &account.access).await?;
                }
                link.rest.send(&channel, &text).await
            }),
            ChannelRequest::Typing { to } => within(async move {
                let channel = link.channel(&to).await?;
                link.rest.show_typing(&channel).await
            }),
        }
    }
}

fn within(asked: impl Future<Output = Result<(), Fault>> + 'static) -> LocalBoxFuture<'static, Result<Reply, Fault>> {
    let late = |_| Fault::Unanswered(format!("it wasn't done in {} s", PATIENCE.as_secs()));
    async move { tokio::time::timeout(PATIENCE, asked).await.map_err(late)?.map(|()| Reply::Done) }.boxed_local()
}

impl Link {
    /// The channel of a chat: a person's is asked for once.
    async fn channel(&self, chat: &Chat) -> Result<String, Fault> {
        if let Some(channel) = chat.id.strip_prefix(CHANNEL) {
            return Ok(channel.to_owned());
        }
        if let Some(known) = self.inbox.direct_channel(&chat.id) {
            return Ok(known);
        }
        let found = self.rest.direct_channel(&chat.id).await.map_err(before_it_is_sent)?;
        self.inbox.met(&chat.id, &found);
        Ok(found)
    }

    /// Whether a channel may be written to unasked: which rules count depends on its server and, of a thread, on its channel.
    async fn check(&self, channel: &str, access: &ChannelAccess) -> Result<(), Fault> {
        let found = self.rest.channel(channel).await.map_err(before_it_is_sent)?;
        let Some(guild) = found.guild else {
            let said = format!("nothing may be written to channel {channel}: it is of no server; a person is user:ID");
            return Err(Fault::Forbidden(said));
        };
        may_write_in(access, &guild, channel, found.parent.as_deref()).map_err(Fault::Forbidden)
    }
}

/// Nothing was sent yet, whatever became of what was asked before.
fn before_it_is_sent(fault: Fault) -> Fault {
    match fault {
        Fault::Unanswered(said) => Fault::Trouble(said),
        other => other,
    }
}
