//! Discord's API over HTTP: what is asked of it, and what its answers mean.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix_http::Method;
use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use super::wire::{self, Channel};
use crate::channels::http::Http;
use crate::channels::service::{Fault, Sent};
use crate::clock::{Chance as _, Now, SystemChance};
use crate::effect::ChannelIdentity;

const PATIENCE: Duration = Duration::from_secs(15);
/// Between two tries of a message of which it isn't known whether it arrived, and the number of tries.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;
/// A try begins within this time of the first one, also where Discord wants a wait.
const TRIES_WITHIN: Duration = Duration::from_secs(30);
/// After a channel couldn't be looked up none is for a while: meanwhile nothing else is heard.
const LOOK_UP_PAUSE: Duration = Duration::from_secs(10);
/// Longest text of a service that is shown, in characters.
const SAID: usize = 200;
/// As Discord wants programs to call themselves.
const PROGRAM: &str = concat!("DiscordBot (gatewarden, ", env!("CARGO_PKG_VERSION"), ")");
/// Channels of which it is remembered where they are.
const MOST_CHANNELS: usize = 500;
/// Messages that are known as sent from here when Discord tells of them, of all accounts.
const MOST_SENT: usize = 1_000;
/// Messages of a direct chat that are fetched after they were missed.
pub(super) const MOST_MISSED: usize = 50;

pub(super) struct Rest {
    http: Http,
    root: String,
    token: Secret,
    /// `Bot TOKEN`
    authorization: Secret,
    /// All requests are refused until then.
    quiet_until: Cell<Option<Instant>>,
    /// Where channels are.
    channels: RefCell<BTreeMap<String, Channel>>,
    /// Until then only those are known.
    unknown_until: Cell<Option<Instant>>,
    sent: Sent,
}

/// Where the gateway is, and how many sessions may be begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub url: String,
    /// No session may be begun for so many seconds.
    pub closed_for: Option<u64>,
}

impl Rest {
    pub(super) fn new(http: Http, root: &str, token: &Secret, sent: Sent) -> Self {
        Self {
            http,
            root: root.to_owned(),
            token: token.clone(),
            authorization: Secret::new(format!("Bot {}", token.expose())),
            quiet_until: Cell::new(None),
            channels: RefCell::default(),
            unknown_until: Cell::new(None),
            sent,
        }
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    /// On this machine, and not encrypted.
    pub(super) fn is_plain(&self) -> bool {
        self.root.starts_with("http:")
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Fault> {
        if let Some(rest) = self.quiet_until.get().and_then(|until| until.checked_duration_since(Now::read().at)) {
            return Err(Fault::Slow(rest.as_secs() + 1));
        }
        let address = Secret::new(format!("{}{path}", self.root));
        let caller = Some((&self.authorization, PROGRAM));
        let asked = self.http.ask(method, &address, caller, body, PATIENCE).await;
        let answer = asked.and_then(|answer| {
            let said = result(answer.status, &answer.body).map_err(|fault| answer.waited_for(fault));
            if let (Err(Fault::Slow(seconds)), true) = (&said, is_global(&answer.body)) {
                self.quiet_until.set(Now::read().at.checked_add(Duration::from_secs((*seconds).min(3_600))));
            }
            said
        });
        answer.map_err(|fault| fault.said_as(|said| self.shown(&said)))
    }

    /// The service's words without the token: it goes before they are cut, so that no half of it stays.
    fn shown(&self, said: &str) -> String {
        let said = said.replace(self.token.expose(), "[token]");
        gatewarden_protocol::words::shown(&said.chars().take(SAID).collect::<String>()).trim_end().to_owned()
    }

    pub(super) async fn identity(&self) -> Result<ChannelIdentity, Fault> {
        let me = self.call(Method::GET, "/users/@me", None).await?;
        let name = me.get("username").and_then(Value::as_str).unwrap_or_default().to_owned();
        wire::id(me.get("id"))
            .map(|id| ChannelIdentity { id: id.to_owned(), name })
            .ok_or_else(|| Fault::Trouble("it doesn't say who the bot is".to_owned()))
    }

    pub(super) async fn way(&self) -> Result<Way, Fault> {
        way(&self.call(Method::GET, "/gateway/bot", None).await?)
    }

    /// The channel of direct messages with somebody.
    pub(super) async fn direct_channel(&self, user: &str) -> Result<String, Fault> {
        let channel = self.call(Method::POST, "/users/@me/channels", Some(&json!({"recipient_id": user}))).await?;
        wire::id(channel.get("id"))
            .map(str::to_owned)
            .ok_or_else(|| Fault::Trouble("it gives no channel for direct messages".to_owned()))
    }

    /// Sends a text once: a try of which it isn't known whether it arrived is made again with the number that it had, by which
    /// Discord knows it.
    pub(super) async fn send(&self, channel: &str, text: &str) -> Result<(), Fault> {
        let nonce: String = SystemChance.uuid().chars().filter(|letter| *letter != '-').take(25).collect();
        // Before it is sent: Discord may tell of it before it answers.
        self.sent.borrow_mut().push_front(nonce.clone());
        self.sent.borrow_mut().truncate(MOST_SENT);
        // What an agent writes calls nobody.
        let body = json!({"content": text, "nonce": nonce, "enforce_nonce": true, "allowed_mentions": {"parse": []}});
        let path = format!("/channels/{channel}/messages");
        let until = Now::read().at + TRIES_WITHIN;
        let mut doubt: Option<String> = None;
        for left in (0..TRIES).rev() {
            let Err(fault) = self.call(Method::POST, &path, Some(&body)).await else { return Ok(()) };
            let pause = pause_after(&fault, until.saturating_duration_since(Now::read().at));
            match fault {
                Fault::Unanswered(said) | Fault::Trouble(said) => doubt = Some(said),
                fault if doubt.is_none() => return Err(fault),
                _ => {}
            }
            let Some(pause) = pause.filter(|_| left > 0) else { break };
            tokio::time::sleep(pause).await;
        }
        Err(Fault::Unanswered(doubt.unwrap_or_default()))
    }

    /// Whether a message with this number was sent from here.
    pub(super) fn has_sent(&self, nonce: &str) -> bool {
        self.sent.borrow().iter().any(|sent| sent == nonce)
    }

    pub(super) async fn show_typing(&self, channel: &str) -> Result<(), Fault> {
        self.call(Method::POST, &format!("/channels/{channel}/typing"), None).await.map(drop)
    }

    /// Messages of a channel after one, the oldest first.
    pub(super) async fn messages_after(&self, channel: &str, last: u64) -> Result<Vec<Value>, Fault> {
        let path = format!("/channels/{channel}/messages?after={last}&limit={MOST_MISSED}");
        let Value::Array(mut messages) = self.call(Method::GET, &path, None).await? else {
            return Err(Fault::Trouble("its messages are no list".to_owned()));
        };
        messages.truncate(MOST_MISSED);
        messages.sort_by_key(|message| wire::id(message.get("id")).and_then(|id| id.parse::<u64>().ok()));
        Ok(messages)
    }

    /// Where a channel is.
    pub(super) async fn channel(&self, id: &str) -> Result<Channel, Fault> {
        if let Some(known) = self.channels.borrow().get(id) {
            return Ok(known.clone());
        }
        let said = self.call(Method::GET, &format!("/channels/{id}"), None).await?;
        let found =
            wire::channel(&said).ok_or_else(|| Fault::Trouble("it doesn't say where a channel is".to_owned()))?;
        let mut channels = self.channels.borrow_mut();
        if channels.len() >= MOST_CHANNELS {
            channels.pop_first();
        }
        channels.insert(id.to_owned(), found.clone());
        Ok(found)
    }

    /// The same, asked for until it is known. None: it couldn't be found out in the time.
    pub(super) async fn channel_within(&self, id: &str, patience: Duration) -> Option<Channel> {
        let is_unknown = self.unknown_until.get().is_some_and(|until| Now::read().at < until);
        if is_unknown && !self.channels.borrow().contains_key(id) {
            return None;
        }
        let until = Now::read().at + patience;
        loop {
            let fault = match tokio::time::timeout_at(until.into(), self.channel(id)).await {
                Ok(Ok(found)) => return Some(found),
                Ok(Err(fault)) => Some(fault),
                Err(_) => None,
            };
            // That is said of this channel: of others it tells nothing.
            if matches!(fault, Some(Fault::Refused(_) | Fault::Forbidden(_))) {
                return None;
            }
            let left = until.saturating_duration_since(Now::read().at);
            let Some(pause) = fault.and_then(|fault| pause_after(&fault, left)) else { break };
            tokio::time::sleep(pause).await;
        }
        self.unknown_until.set(Some(Now::read().at + LOOK_UP_PAUSE));
        None
    }
}

/// How long to wait before the same is asked again. None: it isn't, for want of time or of sense.
fn pause_after(fault: &Fault, left: Duration) -> Option<Duration> {
    let pause = match fault {
        Fault::Slow(seconds) => Duration::from_secs(*seconds),
        Fault::Trouble(_) | Fault::Unreached(_) | Fault::Unanswered(_) => RETRY_PAUSE,
        Fault::Credentials(_) | Fault::Conflict(_) | Fault::Refused(_) | Fault::Forbidden(_) | Fault::Setup(..) => {
            return None;
        }
    };
    (pause <= left).then_some(pause)
}

fn way(said: &Value) -> Result<Way, Fault> {
    let url = said.get("url").and_then(Value::as_str);
    let url = url.ok_or_else(|| Fault::Trouble("it doesn't say where its gateway is".to_owned()))?;
    let limit = |name: &str| said.pointer(&format!("/session_start_limit/{name}")).and_then(Value::as_u64);
    let closed_for =
        limit("remaining").filter(|left| *left == 0).map(|_| limit("reset_after").unwrap_or(60_000).div_ceil(1_000));
    Ok(Way { url: url.to_owned(), closed_for })
}

/// Whether a limit is one of all requests. So is one that isn't in the API's words: the network before it doesn't know its routes.
fn is_global(body: &[u8]) -> bool {
    let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
    !answer.is_object() || answer.get("global") == Some(&Value::Bool(true))
}

fn result(status: u16, body: &[u8]) -> Result<Value, Fault> {
    let answer = serde_json::from_slice::<Value>(body);
    match (status, answer) {
        (204, _) => Ok(Value::Null),
        (200..=299, Ok(answer)) => Ok(answer),
        (200..=299, Err(_)) => Err(Fault::Trouble("its answer is none of Discord's API".to_owned())),
        (status, answer) => {
            let answer = answer.unwrap_or_default();
            let said = format!("HTTP {status} {}", answer.get("message").and_then(Value::as_str).unwrap_or_default());
            let code = answer.get("code").and_then(Value::as_u64).filter(|code| *code > 0);
            let said = code.map_or(said.clone(), |code| format!("{said} ({code})"));
            Err(match status {
                401 => Fault::Credentials(said),
                429 => Fault::Slow(wish(answer.get("retry_after"))),
                400..=499 => Fault::Refused(said),
                _ => Fault::Trouble(said),
            })
        }
    }
}

/// Seconds, with a fraction there.
fn wish(retry_after: Option<&Value>) -> u64 {
    let seconds = retry_after.and_then(Value::as_f64).filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    wait.map_or(30, |wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_can_be_done_about_them() {
        let said = |status: u16, body: &str| result(status, body.as_bytes()).unwrap_err();
        let refused = said(403, r#"{"message":"Missing Access","code":50001}"#);
        assert_eq!(refused, Fault::Refused("HTTP 403 Missing Access (50001)".to_owned()));
        assert!(matches!(said(401, r#"{"message":"401: Unauthorized","code":0}"#), Fault::Credentials(_)));
        assert!(matches!(said(404, "<html>"), Fault::Refused(_)));
        for (body, seconds) in [
            (r#"{"retry_after":0.3,"global":false}"#, 1),
            (r#"{"retry_after":64.57}"#, 65),
            (r#"{"retry_after":2}"#, 2),
            (r#"{"retry_after":-1}"#, 30),
            (r#"{"retry_after":1e300}"#, 30),
            ("x", 30),
        ] {
            assert_eq!(said(429, body), Fault::Slow(seconds), "{body}");
        }
        for (status, body) in [(502, "bad gateway"), (200, "garbage"), (302, ""), (500, "")] {
            assert!(matches!(said(status, body), Fault::Trouble(_)), "{status} {body}");
        }
        assert_eq!(result(204, b""), Ok(Value::Null));
        assert!(is_global(br#"{"global":true}"#) && is_global(b"<html>") && !is_global(br#"{"retry_after":2}"#));
    }

    #[test]
    fn a_wait_is_as_long_as_discord_wants_and_none_is_begun_that_does_not_fit() {
        let after = |fault: Fault| pause_after(&fault, Duration::from_secs(20)).map(|pause| pause.as_secs());
        assert_eq!(after(Fault::Slow(20)), Some(20));
        assert_eq!(after(Fault::Slow(21)), None);
        assert_eq!(after(Fault::Trouble(String::new())), Some(1));
        assert_eq!(after(Fault::Refused(String::new())), None);
        assert_eq!(pause_after(&Fault::Unreached(String::new()), Duration::ZERO), None);
    }

    #[test]
    fn sessions_that_may_not_be_begun_are_waited_for() {
        let way = |more: Value| way(&json!({"url": "wss://g", "shards": 1, "session_start_limit": more})).unwrap();
        assert_eq!(way(json!({"total": 1000, "remaining": 1, "reset_after": 9})).closed_for, None);
        assert_eq!(way(json!({"total": 1000, "remaining": 0, "reset_after": 14_400_001})).closed_for, Some(14_401));
        assert_eq!(way(json!(null)).closed_for, None);
        assert!(super::way(&json!({})).is_err());
    }
}
