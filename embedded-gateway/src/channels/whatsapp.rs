//! WhatsApp's Cloud API: messages come by a webhook ([`webhook`]), answers go to the Graph API.
//!
//! Crates for the protocol of WhatsApp's web page exist (`whatsapp-rust` is MIT and alive), but they bring a store, a Signal
//! implementation and protocol buffers that follow what WhatsApp changes without notice, and its terms forbid such clients: numbers are
//! closed for it. The Cloud API is documented, and needs three requests on the HTTP client that there is.

mod errors;
mod inbox;
pub(crate) mod webhook;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_http::Method;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use gatewarden_protocol::Secret;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::http::{Answer, Http};
use super::service::{Fault, Reply, RequestKind, Service, Update};
use crate::clock::Now;
use crate::config::{ChannelAccount, is_scoped_id};
use crate::effect::{ChannelIdentity, ChannelRequest, Chat};
use inbox::Inbox;

const PATIENCE: Duration = Duration::from_secs(15);
/// How long a poll waits for the webhook.
const LONG_POLL: Duration = Duration::from_secs(30);
/// How often it is asked whether the access token still counts: those of the app's page end after a day.
const CHECK_EVERY: Duration = Duration::from_secs(600);
/// "Is typing" is shown for 25 s.
const TYPING_LASTS: Duration = Duration::from_secs(20);
/// Chats of which the last message is known.
const MOST_CHATS: usize = 500;
/// A limit of the service is waited for 4, 16, 64 and 256 s, as its documentation wants.
const MOST_STEPS: u32 = 4;

/// One phone number.
pub(super) struct GraphApi {
    shared: Rc<Shared>,
}

struct Shared {
    http: Http,
    root: String,
    token: Secret,
    phone_number_id: String,
    read_receipts: bool,
    inbox: RefCell<Inbox>,
    /// The last message of each chat, and when typing was shown for it.
    last: RefCell<BTreeMap<String, Last>>,
    checked_at: Cell<Option<Instant>>,
    /// How often in a row the service said that requests of a kind were too much: what it limits of one says nothing of another.
    limited: RefCell<BTreeMap<RequestKind, u32>>,
}

struct Last {
    message: String,
    came_at: Instant,
    shown_at: Option<Instant>,
}

impl GraphApi {
    pub(super) fn new(http: Http, account: &ChannelAccount, token: Secret) -> Self {
        let shared = Shared {
            http,
            root: account.api_root.clone(),
            token,
            phone_number_id: account.cloud.phone_number_id.clone().unwrap_or_default(),
            read_receipts: account.cloud.read_receipts != Some(false),
            inbox: RefCell::default(),
            last: RefCell::default(),
            checked_at: Cell::new(None),
            limited: RefCell::default(),
        };
        Self { shared: Rc::new(shared) }
    }
}

impl Service for GraphApi {
    fn perform(&self, request: ChannelRequest) -> LocalBoxFuture<'static, Result<Reply, Fault>> {
        let shared = Rc::clone(&self.shared);
        match request {
            ChannelRequest::Identify => async move { shared.identify().await.map(Reply::Identity) }.boxed_local(),
            ChannelRequest::Poll { most, .. } => async move { shared.poll(usize::from(most)).await }.boxed_local(),
            ChannelRequest::Send { to, text, .. } => async move { shared.send(&to, &text).await }.boxed_local(),
            ChannelRequest::Typing { to } => async move { shared.show_typing(&to).await }.boxed_local(),
        }
    }

    fn receive(&self, updates: Vec<Update>, stored: oneshot::Sender<()>) {
        let now = Now::read().at;
        let mut last = self.shared.last.borrow_mut();
        for message in updates.iter().filter_map(|update| update.message.as_ref()) {
            if let Some(id) = &message.id {
                let fresh = Last { message: id.clone(), came_at: now, shown_at: None };
                last.insert(message.chat.id.clone(), fresh);
            }
        }
        while last.len() > MOST_CHATS {
            let oldest = last.iter().min_by_key(|(_, last)| last.came_at).map(|(chat, _)| chat.clone());
            oldest.map(|chat| last.remove(&chat));
        }
        self.shared.inbox.borrow_mut().put(updates, stored);
    }
}

impl Shared {
    async fn identify(&self) -> Result<ChannelIdentity, Fault> {
        let address = format!("{}/{}?fields=id,display_phone_number,verified_name", self.root, self.phone_number_id);
        let answer = self.answer(RequestKind::Identify, &self.ask(Method::GET, address, None).await?)?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let (number, name) = (text("display_phone_number").unwrap_or_default(), text("verified_name"));
        if text("id") != Some(self.phone_number_id.as_str()) || number.is_empty() {
            return Err(Fault::Trouble("it doesn't say which phone number it is".to_owned()));
        }
        self.checked_at.set(Some(Now::read().at));
        let name = name.map_or_else(|| number.to_owned(), |name| format!("{number} ({name})"));
        Ok(ChannelIdentity { id: self.phone_number_id.clone(), name: name.chars().take(100).collect() })
    }

    /// What the webhook got. That it is asked again says that the former updates are on disk.
    async fn poll(&self, most: usize) -> Result<Reply, Fault> {
        self.inbox.borrow_mut().settle();
        let is_due = |at: Instant| Now::read().at.saturating_duration_since(at) >= CHECK_EVERY;
        if self.checked_at.get().is_none_or(is_due) {
            self.identify().await?;
        }
        let came = self.inbox.borrow().came();
        let waits = async {
            loop {
                let next = came.notified();
                let updates = self.inbox.borrow_mut().take(most);
                if !updates.is_empty() {
                    return updates;
                }
                next.await;
            }
        };
        Ok(Reply::Updates(tokio::time::timeout(LONG_POLL, waits).await.unwrap_or_default()))
    }

    async fn send(&self, to: &Chat, text: &str) -> Result<Reply, Fault> {
        // The person who hides the number has an id instead.
        let (field, person) = match is_scoped_id(&to.id) {
            true => ("recipient", to.id.as_str()),
            false => ("to", to.id.trim_start_matches('+')),
        };
        let body = json!({
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            field: person,
            "type": "text",
            "text": {"preview_url": false, "body": text},
        });
        let answer = self.tell(&body).await?;
        // What isn't in the API's own words is of something between, which may have passed the message on.
        let is_certain = errors::is_graph_error(&answer.body);
        match self.answer(RequestKind::Send, &answer) {
            Ok(answer) if answer.pointer("/messages/0/id").is_some() => Ok(Reply::Done),
            Ok(_) => Err(Fault::Unanswered("its answer is none of the Cloud API".to_owned())),
            Err(Fault::Trouble(said)) if !is_certain => Err(Fault::Unanswered(said)),
            Err(fault) => Err(fault),
        }
    }

    /// Shows the last message as read, and that an answer is being written: the service has one request for both.
    async fn show_typing(&self, to: &Chat) -> Result<Reply, Fault> {
        let Some(message) = self.to_show(to) else { return Ok(Reply::Done) };
        let body = json!({
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": message,
            "typing_indicator": {"type": "text"},
        });
        self.answer(RequestKind::Typing, &self.tell(&body).await?).map(|_| Reply::Done)
    }

    fn to_show(&self, to: &Chat) -> Option<String> {
        let now = Now::read().at;
        let mut last = self.last.borrow_mut();
        let last = last.get_mut(&to.id).filter(|_| self.read_receipts)?;
        let is_shown = |at: Instant| now.saturating_duration_since(at) < TYPING_LASTS;
        if last.shown_at.is_some_and(is_shown) {
            return None;
        }
        last.shown_at = Some(now);
        Some(last.message.clone())
    }

    async fn tell(&self, body: &Value) -> Result<Answer, Fault> {
        let address = format!("{}/{}/messages", self.root, self.phone_number_id);
        self.ask(Method::POST, address, Some(body)).await
    }

    async fn ask(&self, method: Method, address: String, body: Option<&Value>) -> Result<Answer, Fault> {
        let authorization = Secret::new(format!("Bearer {}", self.token.expose()));
        let caller = Some((&authorization, concat!("gatewarden/", env!("CARGO_PKG_VERSION"))));
        self.http.ask(method, &Secret::new(address), caller, body, PATIENCE).await
    }

    fn answer(&self, kind: RequestKind, answer: &Answer) -> Result<Value, Fault> {
        let mut limited = self.limited.borrow_mut();
        let said = errors::answer(answer.status, &answer.body, &self.token);
        match &said {
            Ok(_) => {
                limited.remove(&kind);
            }
            Err(Fault::Slow(_)) => {
                let steps = limited.entry(kind).or_default();
                *steps = steps.saturating_add(1).min(MOST_STEPS);
                return Err(answer.waited_for(Fault::Slow(4_u64.saturating_pow(*steps))));
            }
            Err(_) => {}
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_one_kind_of_request_lengthens_no_wait_of_another_and_ends_when_one_is_taken() {
        let shared = Shared {
            http: Http::new(None),
            root: String::new(),
            token: Secret::new("EAA"),
            phone_number_id: String::new(),
            read_receipts: true,
            inbox: RefCell::default(),
            last: RefCell::default(),
            checked_at: Cell::new(None),
            limited: RefCell::default(),
        };
        let answer = |status, body: &str, retry_after| Answer { status, body: body.as_bytes().to_vec(), retry_after };
        let limit = r#"{"error":{"code":80007}}"#;
        let wait = |kind| match shared.answer(kind, &answer(429, limit, 3)) {
            Err(Fault::Slow(seconds)) => seconds,
            other => panic!("{other:?}"),
        };
        let waits = [(); 6].map(|()| wait(RequestKind::Typing));
        assert_eq!(waits, [4, 16, 64, 256, 256, 256]);
        assert_eq!((wait(RequestKind::Identify), wait(RequestKind::Send), wait(RequestKind::Send)), (4, 4, 16));
        assert!(shared.answer(RequestKind::Typing, &answer(200, "{}", 0)).is_ok());
        assert_eq!((wait(RequestKind::Typing), wait(RequestKind::Send)), (4, 64));
        assert!(shared.answer(RequestKind::Send, &answer(200, "{}", 0)).is_ok());
        assert_eq!(wait(RequestKind::Send), 4);
        assert_eq!(shared.answer(RequestKind::Send, &answer(429, "busy", 90)), Err(Fault::Slow(90)));
    }
}
