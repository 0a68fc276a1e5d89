//! Telegram's Bot API by long polling (`getUpdates`).
//!
//! Written on the HTTP client that the workspace has: five methods and one kind of update are used, for which `teloxide-core`
//! would bring 46 crates (`reqwest`, `hyper` and theirs) beside it.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use super::http::Http;
use super::service::{Fault, Inbound, Reply, Service, Update};
use crate::effect::{ChannelIdentity, ChannelRequest, Chat};
use crate::payload::{joined, without_nulls};

/// How long a poll waits for an update, in seconds.
const LONG_POLL: u64 = 30;
const POLL_PATIENCE: Duration = Duration::from_secs(LONG_POLL + 10);
const PATIENCE: Duration = Duration::from_secs(15);
const SEND: &str = "sendMessage";
/// Longest text of a service that is shown, in characters.
const SAID: usize = 200;
/// Numbers of updates are below: a poll asks for what is beyond the last one.
const NUMBERS_END: u64 = 1 << 53;
/// The topic of a forum that messages are sent to without naming it.
const GENERAL_TOPIC: i64 = 1;

pub(super) struct BotApi {
    http: Http,
    /// With the token in it.
    base: Secret,
    token: Secret,
}

impl BotApi {
    pub(super) fn new(http: Http, root: &str, token: &Secret) -> Self {
        Self { http, base: Secret::new(format!("{root}/bot{}", token.expose())), token: token.clone() }
    }

    fn call(
        &self,
        method: &'static str,
        body: Value,
        patience: Duration,
    ) -> impl Future<Output = Result<Value, Fault>> + use<> {
        let (http, address) = (self.http.clone(), Secret::new(format!("{}/{method}", self.base.expose())));
        let token = self.token.clone();
        async move {
            let said = http.post(&address, &body, patience).await.and_then(|answer| {
                result(answer.status, &answer.body).map_err(|fault| match fault {
                    Fault::Trouble(said) if method == SEND && !is_refusal(&answer.body) => Fault::Unanswered(said),
                    fault => answer.waited_for(fault),
                })
            });
            said.map_err(|fault| fault.said_as(|said| shown(&said, &token)))
        }
    }
}

impl Service for BotApi {
    fn perform(&self, request: ChannelRequest) -> LocalBoxFuture<'static, Result<Reply, Fault>> {
        match request {
            ChannelRequest::Identify => {
                let asked = self.call("getMe", json!({}), PATIENCE);
                async { identity(&asked.await?).map(Reply::Identity) }.boxed_local()
            }
            ChannelRequest::Poll { cursor, most, me, .. } => {
                let wanted =
                    json!({"limit": most, "timeout": LONG_POLL, "allowed_updates": ["message"], "offset": cursor});
                let body = without_nulls(wanted);
                let asked = self.call("getUpdates", body, POLL_PATIENCE);
                let cleared = self.call("deleteWebhook", json!({"drop_pending_updates": false}), PATIENCE);
                async move {
                    match asked.await {
                        Ok(found) => updates(&found, &me).map(Reply::Updates),
                        // Who polls wants no webhook that an earlier program has set.
                        Err(Fault::Conflict(said)) if said.contains("webhook") => {
                            cleared.await?;
                            Err(Fault::Trouble("a webhook was set for this bot, and was removed".to_owned()))
                        }
                        Err(fault) => Err(fault),
                    }
                }
                .boxed_local()
            }
            ChannelRequest::Send { to, text, .. } => {
                let asked = self.call(SEND, addressed(&to, true, json!({"text": text})), PATIENCE);
                async { asked.await.map(|_| Reply::Done) }.boxed_local()
            }
            ChannelRequest::Typing { to } => {
                let asked = self.call("sendChatAction", addressed(&to, false, json!({"action": "typing"})), PATIENCE);
                async { asked.await.map(|_| Reply::Done) }.boxed_local()
            }
        }
    }
}

fn addressed(to: &Chat, is_message: bool, body: Value) -> Value {
    let thread = to.thread.filter(|thread| !is_message || *thread != GENERAL_TOPIC);
    without_nulls(joined(body, json!({"chat_id": to.id, "message_thread_id": thread})))
}

/// A service's words, which may repeat the address, without the token: it goes before they are cut, so that no half of it stays.
fn shown(said: &str, token: &Secret) -> String {
    let secret = token.expose().split_once(':').map_or("", |(_, secret)| secret);
    let hide = |said: String, part: &str| if part.is_empty() { said } else { said.replace(part, "[token]") };
    let said = hide(hide(said.to_owned(), token.expose()), secret);
    gatewarden_protocol::words::shown(&said.chars().take(SAID).collect::<String>()).trim_end().to_owned()
}

/// What an answer says: `{"ok":true,"result":…}`, or an error.
fn result(status: u16, body: &[u8]) -> Result<Value, Fault> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if status < 300 {
        return match (answer.get("ok").and_then(Value::as_bool), answer.get("result")) {
            (Some(true), Some(result)) => Ok(result.clone()),
            _ => Err(Fault::Trouble("its answer is none of the Bot API".to_owned())),
        };
    }
    let said = format!("HTTP {status} {}", answer.get("description").and_then(Value::as_str).unwrap_or_default());
    Err(match status {
        401 | 404 => Fault::Credentials(said),
        409 => Fault::Conflict(said),
        429 => Fault::Slow(answer.pointer("/parameters/retry_after").and_then(Value::as_u64).unwrap_or(30)),
        400..=499 => Fault::Refused(said),
        _ => Fault::Trouble(said),
    })
}

/// Whether the API itself says that nothing was done. What isn't in its words is of something between, which may have passed it on.
fn is_refusal(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|answer| answer.get("ok") == Some(&Value::Bool(false)))
}

fn identity(me: &Value) -> Result<ChannelIdentity, Fault> {
    let id = me.get("id").and_then(Value::as_i64);
    let name = me.get("username").and_then(Value::as_str).unwrap_or_default().to_owned();
    id.map(|id| ChannelIdentity { id: id.to_string(), name })
        .ok_or_else(|| Fault::Trouble("it doesn't say who the bot is".to_owned()))
}

/// Updates in the order of their numbers. One that can't be read still has its number, so that it doesn't come again.
fn updates(found: &Value, me: &ChannelIdentity) -> Result<Vec<Update>, Fault> {
    let list = found.as_array().ok_or_else(|| Fault::Trouble("its updates are no list".to_owned()))?;
    let numbered = |update: &Value| {
        let id = update.get("update_id")?.as_u64().filter(|id| *id < NUMBERS_END)?;
        Some(Update { id, message: message(update.get("message"), me) })
    };
    let mut updates: Vec<Update> = list.iter().filter_map(numbered).collect();
    if updates.len() < list.len() {
        return Err(Fault::Trouble("an update has no number that can be".to_owned()));
    }
    updates.sort_by_key(|update| update.id);
    Ok(updates)
}

fn message(message: Option<&Value>, me: &ChannelIdentity) -> Option<Inbound> {
    let message = message?;
    let (from, chat) = (message.get("from")?, message.get("chat")?);
    if from.get("is_bot").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let is_direct = match chat.get("type")?.as_str()? {
        "private" => true,
        "group" | "supergroup" => false,
        _ => return None,
    };
    let names = ["first_name", "last_name"].into_iter().filter_map(|name| from.get(name)?.as_str());
    let text = ["text", "caption"].into_iter().find_map(|name| message.get(name)?.as_str());
    let is_topic = message.get("is_topic_message").and_then(Value::as_bool) == Some(true);
    let text = text.filter(|text| !text.trim().is_empty());
    // What is no message of a person (somebody joined, a pin) isn't answered.
    let is_other =
        ["photo", "voice", "audio", "video", "document", "sticker", "animation", "video_note", "location", "contact"]
            .into_iter()
            .any(|kind| message.get(kind).is_some());
    if text.is_none() && !is_other {
        return None;
    }
    Some(Inbound {
        sender: from.get("id")?.as_i64()?.to_string(),
        sender_name: names.collect::<Vec<_>>().join(" ").chars().take(64).collect(),
        chat: Chat {
            id: chat.get("id")?.as_i64()?.to_string(),
            thread: message.get("message_thread_id").and_then(Value::as_i64).filter(|_| is_topic),
        },
        is_direct,
        text: text.map(str::to_owned),
        is_for_me: is_direct || is_for(message, text.unwrap_or_default(), me),
        id: None,
        guild: None,
    })
}

/// Whether a message in a group names the bot, or answers it.
fn is_for(message: &Value, text: &str, me: &ChannelIdentity) -> bool {
    let is_me =
        |user: Option<&Value>| user.and_then(|user| user.get("id")?.as_i64()).is_some_and(|id| id.to_string() == me.id);
    if is_me(message.pointer("/reply_to_message/from")) {
        return true;
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    let called = format!("@{}", me.name).to_lowercase();
    let entities =
        ["entities", "caption_entities"].into_iter().filter_map(|name| message.get(name)?.as_array()).flatten();
    entities.into_iter().any(|entity| {
        let number = |name: &str| entity.get(name)?.as_u64().and_then(|number| usize::try_from(number).ok());
        let part = || {
            let start = number("offset")?;
            let part = units.get(start..start.checked_add(number("length")?)?)?;
            Some(String::from_utf16_lossy(part).to_lowercase())
        };
        match entity.get("type").and_then(Value::as_str) {
            Some("mention") => part().is_some_and(|part| part == called),
            Some("bot_command") => part().is_some_and(|part| part.ends_with(&called)),
            Some("text_mention") => is_me(entity.get("user")),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> ChannelIdentity {
        ChannelIdentity { id: "666".to_owned(), name: "TestBot".to_owned() }
    }

    fn one(message: Value) -> Option<Inbound> {
        updates(&json!([{"update_id": 1, "message": message}]), &me()).unwrap().remove(0).message
    }

    #[test]
    fn a_direct_message_is_read_whatever_else_it_has() {
        let read = one(json!({"message_id": 1, "text": "hi", "date": "odd", "new": {"field": []},
            "from": {"id": 123, "first_name": "A", "last_name": "B", "is_bot": false}, "chat": {"id": 123, "type": "private"}}))
        .unwrap();
        assert_eq!((read.sender.as_str(), read.sender_name.as_str(), read.chat.id.as_str()), ("123", "A B", "123"));
        assert_eq!((read.text.as_deref(), read.is_direct, read.is_for_me), (Some("hi"), true, true));
    }

    #[test]
    fn bots_channels_and_notices_are_no_messages_and_pictures_have_no_text() {
        let from = json!({"id": 1});
        let private = json!({"id": 1, "type": "private"});
        for odd in [
            json!({"from": {"id": 1, "is_bot": true}, "chat": private, "text": "x"}),
            json!({"from": from, "chat": {"id": -1, "type": "channel"}, "text": "x"}),
            json!({"from": from, "chat": private, "new_chat_members": []}),
            json!({"chat": private, "text": "x"}),
            json!({"from": {"id": "1"}, "chat": private, "text": "x"}),
            json!("garbage"),
        ] {
            assert_eq!(one(odd.clone()), None, "{odd}");
        }
        let picture = one(json!({"from": from, "chat": private, "photo": []})).unwrap();
        assert_eq!(picture.text, None);
        let said = one(json!({"from": from, "chat": private, "photo": [], "caption": "look"})).unwrap();
        assert_eq!(said.text.as_deref(), Some("look"));
    }

    #[test]
    fn a_mention_in_a_group_is_counted_as_telegram_counts_it() {
        let said = |text: &str, entities: Value| {
            let message = json!({"from": {"id": 1}, "chat": {"id": -100, "type": "supergroup"}, "text": text, "entities": entities});
            one(message).unwrap().is_for_me
        };
        assert!(!said("hello @testbot", json!([])), "only what Telegram marks counts");
        assert!(said("😀 @testbot hi", json!([{"type": "mention", "offset": 3, "length": 8}])));
        assert!(!said("@other", json!([{"type": "mention", "offset": 0, "length": 6}])));
        assert!(!said("@x", json!([{"type": "mention", "offset": 5, "length": u64::MAX}])));
        assert!(said("/do@TestBot", json!([{"type": "bot_command", "offset": 0, "length": 11}])));
        assert!(said("you", json!([{"type": "text_mention", "offset": 0, "length": 3, "user": {"id": 666}}])));
        let answer = json!({"from": {"id": 1}, "chat": {"id": -100, "type": "group"}, "text": "x", "is_topic_message": true,
            "message_thread_id": 7, "reply_to_message": {"from": {"id": 666}}});
        let answer = one(answer).unwrap();
        assert_eq!((answer.is_for_me, answer.is_direct, answer.chat.thread), (true, false, Some(7)));
    }

    #[test]
    fn answers_are_told_apart_by_what_can_be_done_about_them() {
        let said = |status: u16, body: &str| result(status, body.as_bytes()).unwrap_err();
        assert!(
            matches!(said(401, r#"{"ok":false,"description":"Unauthorized"}"#), Fault::Credentials(said) if said.contains("Unauthorized"))
        );
        assert!(matches!(said(404, "<html>"), Fault::Credentials(_)));
        assert!(matches!(said(409, r#"{"description":"terminated by other getUpdates request"}"#), Fault::Conflict(_)));
        assert_eq!(said(429, r#"{"parameters":{"retry_after":7}}"#), Fault::Slow(7));
        assert_eq!(said(429, "x"), Fault::Slow(30));
        assert!(matches!(said(400, r#"{"description":"chat not found"}"#), Fault::Refused(_)));
        for (status, body) in
            [(502, "bad gateway"), (200, "garbage"), (200, r#"{"ok":true}"#), (200, r#"{"ok":false}"#), (302, "")]
        {
            assert!(matches!(said(status, body), Fault::Trouble(_)), "{status} {body}");
        }
    }

    #[test]
    fn updates_come_in_order_and_an_unreadable_list_is_none() {
        let ids: Vec<u64> = updates(&json!([{"update_id": 9}, {"update_id": 7, "message": 1}]), &me())
            .unwrap()
            .iter()
            .map(|update| update.id)
            .collect();
        assert_eq!(ids, [7, 9]);
        assert!(updates(&json!({}), &me()).is_err());
        assert!(updates(&json!([{"message": {}}]), &me()).is_err());
        assert!(updates(&json!([{"update_id": u64::MAX}]), &me()).is_err(), "no cursor would be beyond it");
    }
}
