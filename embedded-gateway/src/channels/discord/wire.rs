//! What Discord says, read: messages of people, the codes by which it ends a connection, and where its gateway is.

use serde_json::{Value, json};
use url::Url;

use crate::channels::access::CHANNEL;
use crate::channels::service::{Fault, Inbound, Membership, Update};
use crate::config::is_local;
use crate::effect::Chat;

/// Version of the API, for both of its halves.
pub(super) const API_VERSION: u8 = 10;
/// Most roles of one person; servers have no more.
const MOST_ROLES: usize = 250;
/// What is asked of the gateway: messages of servers and direct ones.
const INTENTS: u32 = (1 << 9) | (1 << 12);
/// The privileged one: the words of messages that neither mention the bot nor are direct.
const MESSAGE_CONTENT: u32 = 1 << 15;
const GROUP_DM: u64 = 3;
const THREADS: std::ops::RangeInclusive<u64> = 10..=12;
/// Types of messages that people write: an ordinary one, and an answer to another one.
const WRITTEN: [u64; 2] = [0, 19];

/// A message of a person, and the channel that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub channel: String,
    pub update: Update,
    /// Whether the channel is a thread of another one; none where that isn't said.
    pub is_thread: Option<bool>,
}

/// The digits of an id. None where it is something else.
pub(super) fn id(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|id| is_id(id))
}

pub(super) fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok()
}

/// None: nobody's message, or nothing that an agent can have.
pub(super) fn received(message: &Value, me: &str) -> Option<Received> {
    let author = message.get("author")?;
    let sender = id(author.get("id"))?;
    let is_bot = author.get("bot").and_then(Value::as_bool) == Some(true) || message.get("webhook_id").is_some();
    let kind = message.get("type").and_then(Value::as_u64).unwrap_or(0);
    let channel_kind = message.get("channel_type").and_then(Value::as_u64);
    if is_bot || sender == me || !WRITTEN.contains(&kind) || channel_kind == Some(GROUP_DM) {
        return None;
    }
    let channel = id(message.get("channel_id"))?;
    let guild = match message.get("guild_id").filter(|guild| !guild.is_null()) {
        Some(guild) => {
            let guild = id(Some(guild))?.to_owned();
            Some(Membership { guild, roles: roles(message), parent: None, is_unsure: false })
        }
        None => None,
    };
    let is_direct = guild.is_none();
    let written = message.get("content").and_then(Value::as_str).unwrap_or_default();
    let text = without_mention(written, me);
    let has_more = ["attachments", "sticker_items", "poll"].into_iter().any(|name| is_filled(message.get(name)));
    // Without the intent the words of others' conversations are left out.
    if text.is_empty() && !has_more {
        return None;
    }
    let name = ["global_name", "username"].into_iter().find_map(|name| author.get(name)?.as_str()).unwrap_or_default();
    let chat = if is_direct { sender.to_owned() } else { format!("{CHANNEL}{channel}") };
    let inbound = Inbound {
        sender: sender.to_owned(),
        sender_name: name.chars().take(64).collect(),
        chat: Chat { id: chat, thread: None },
        is_direct,
        text: Some(text).filter(|text| !text.is_empty()).map(str::to_owned),
        is_for_me: is_direct || is_for(message, me),
        id: None,
        guild,
    };
    let number = id(message.get("id"))?.parse().ok()?;
    Some(Received {
        channel: channel.to_owned(),
        update: Update { id: number, message: Some(inbound) },
        is_thread: channel_kind.map(|kind| THREADS.contains(&kind)),
    })
}

/// Whether another program wrote a message as the bot: an ordinary one or an answer, so none of Discord's own notices, that wasn't sent
/// from here.
pub(super) fn is_of_another(message: &Value, me: &str, has_sent: impl Fn(&str) -> bool) -> bool {
    let is_mine = id(message.pointer("/author/id")) == Some(me) && message.get("webhook_id").is_none();
    let is_written = WRITTEN.contains(&message.get("type").and_then(Value::as_u64).unwrap_or(0));
    is_mine && is_written && !message.get("nonce").and_then(Value::as_str).is_some_and(has_sent)
}

fn roles(message: &Value) -> Vec<String> {
    let roles = message.pointer("/member/roles").and_then(Value::as_array).into_iter().flatten();
    roles.filter_map(|role| id(Some(role))).take(MOST_ROLES).map(str::to_owned).collect()
}

fn is_filled(list: Option<&Value>) -> bool {
    list.is_some_and(|list| list.as_array().map_or(list.is_object(), |items| !items.is_empty()))
}

/// Whether a message names the bot, or answers it.
fn is_for(message: &Value, me: &str) -> bool {
    let is_me = |user: Option<&Value>| user.and_then(|user| user.get("id")?.as_str()) == Some(me);
    let mentions = message.get("mentions").and_then(Value::as_array).into_iter().flatten();
    mentions.into_iter().any(|user| is_me(Some(user))) || is_me(message.pointer("/referenced_message/author"))
}

/// The bot's own name at the beginning is how it is called, and no part of what it is told. Where there is nothing else, it stays.
fn without_mention<'a>(text: &'a str, me: &str) -> &'a str {
    let text = text.trim();
    let called = ["<@", "<@!"].into_iter().find_map(|mark| {
        let rest = text.strip_prefix(mark)?.strip_prefix(me)?.strip_prefix('>')?.trim_start();
        Some(rest.trim_start_matches([',', ':']).trim_start())
    });
    called.filter(|rest| !rest.is_empty()).unwrap_or(text)
}

/// Where a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Channel {
    /// None: of no server.
    pub guild: Option<String>,
    /// The channel of which it is a thread.
    pub parent: Option<String>,
}

/// None: it doesn't say what it is.
pub(super) fn channel(said: &Value) -> Option<Channel> {
    let is_thread = THREADS.contains(&said.get("type")?.as_u64()?);
    let parent = id(said.get("parent_id")).map(str::to_owned);
    if is_thread && parent.is_none() {
        return None;
    }
    Some(Channel { guild: id(said.get("guild_id")).map(str::to_owned), parent: parent.filter(|_| is_thread) })
}

/// What is to be done after a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The session goes on: what was missed is sent.
    Resume,
    /// A new session: what was missed isn't sent.
    Anew,
    /// Nothing, until a person has changed something.
    Never,
}

impl Next {
    /// The same where it can be done: without a session there is none to go on with.
    pub(super) fn with(self, has_session: bool) -> Self {
        if self == Self::Resume && !has_session { Self::Anew } else { self }
    }
}

/// What a close code means.
pub(super) fn after_close(code: Option<u16>, reason: &str) -> (Next, Fault) {
    let shown = gatewarden_protocol::words::shown(&reason.chars().take(100).collect::<String>());
    let said = match code {
        Some(code) => format!("it ended the connection with code {code} {shown}").trim_end().to_owned(),
        None => "it ended the connection without a code".to_owned(),
    };
    match code {
        Some(4004) => (Next::Never, Fault::Credentials(said)),
        Some(4010 | 4011) => (
            Next::Never,
            Fault::Setup(
                said,
                "The bot is in more servers than one connection may serve (sharding); let it leave some",
            ),
        ),
        Some(4012) => (
            Next::Never,
            Fault::Setup(said, "This release speaks a version of Discord's API that is no longer served; upgrade it"),
        ),
        Some(4013 | 4014) => (
            Next::Never,
            Fault::Setup(
                format!("{said}: the bot isn't allowed to read the words of messages"),
                "Switch the Message Content Intent on at https://discord.com/developers/applications (the application, Bot, \
                 Privileged Gateway Intents), and restart the gateway; or write intents: {messageContent: false} where direct messages \
                 and mentions are enough",
            ),
        ),
        Some(4003 | 4007 | 4009) => (Next::Anew, Fault::Trouble(said)),
        _ => (Next::Resume, Fault::Trouble(said)),
    }
}

/// The address of the gateway's WebSocket. Err: nobody may be sent a token there. `may_be_plain`: on this machine.
pub(super) fn gateway_address(said: &str, may_be_plain: bool) -> Result<String, Fault> {
    let wrong = || Fault::Trouble("the address of its gateway makes no sense".to_owned());
    let mut url = Url::parse(said).map_err(|_| wrong())?;
    let is_fit = url.scheme() == "wss" || (url.scheme() == "ws" && may_be_plain && is_local(&url));
    if !is_fit || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong());
    }
    url.set_fragment(None);
    url.set_query(Some(&format!("v={API_VERSION}&encoding=json")));
    Ok(url.into())
}

pub(super) fn heartbeat(seq: Option<u64>) -> Value {
    json!({"op": 1, "d": seq})
}

pub(super) fn identify(token: &str, with_content: bool) -> Value {
    let intents = if with_content { INTENTS | MESSAGE_CONTENT } else { INTENTS };
    let properties = json!({"os": std::env::consts::OS, "browser": "gatewarden", "device": "gatewarden"});
    json!({"op": 2, "d": {"token": token, "intents": intents, "properties": properties, "compress": false}})
}

pub(super) fn resume(token: &str, session: &str, seq: u64) -> Value {
    json!({"op": 6, "d": {"token": token, "session_id": session, "seq": seq}})
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "666";

    fn direct(more: Value) -> Value {
        let message = json!({"id": "1300000000000000001", "type": 0, "channel_id": "77", "content": "hi",
            "author": {"id": "123", "username": "u", "global_name": "U"}, "mentions": [], "attachments": []});
        crate::payload::joined(message, more)
    }

    fn read(more: Value) -> Option<Inbound> {
        received(&direct(more), ME)?.update.message
    }

    #[test]
    fn a_direct_message_is_of_its_sender() {
        let found = received(&direct(json!({"new": {"field": []}})), ME).unwrap();
        let message = found.update.message.unwrap();
        assert_eq!((found.update.id, found.channel.as_str()), (1_300_000_000_000_000_001, "77"));
        assert_eq!(
            (message.sender.as_str(), message.sender_name.as_str(), message.chat.id.as_str()),
            ("123", "U", "123")
        );
        assert_eq!((message.text.as_deref(), message.is_direct, message.is_for_me), (Some("hi"), true, true));
        assert_eq!(message.guild, None);
    }

    #[test]
    fn a_message_in_a_server_is_of_its_channel_and_for_the_bot_that_it_names_or_answers() {
        let guild = |more: Value| {
            read(crate::payload::joined(json!({"guild_id": "9", "member": {"roles": ["5", 6, "x"]}}), more))
        };
        let plain = guild(json!({})).unwrap();
        assert_eq!((plain.chat.id.as_str(), plain.is_direct, plain.is_for_me), ("channel:77", false, false));
        let membership = plain.guild.unwrap();
        assert_eq!((membership.guild.as_str(), membership.roles, membership.parent), ("9", vec!["5".to_owned()], None));
        let named = guild(json!({"content": "<@!666>, what now?", "mentions": [{"id": "666"}]})).unwrap();
        assert_eq!((named.text.as_deref(), named.is_for_me), (Some("what now?"), true));
        assert!(guild(json!({"referenced_message": {"author": {"id": "666"}}, "type": 19})).unwrap().is_for_me);
        assert!(!guild(json!({"content": "<@666> hi"})).unwrap().is_for_me, "only what Discord marks counts");
        assert!(!guild(json!({"mention_everyone": true, "mentions": [{"id": "667"}]})).unwrap().is_for_me);
        assert_eq!(guild(json!({"content": "<@666>"})).unwrap().text.as_deref(), Some("<@666>"));
    }

    #[test]
    fn bots_webhooks_notices_and_the_unreadable_are_no_messages_and_pictures_have_no_text() {
        for odd in [
            json!({"author": {"id": "1", "bot": true}}),
            json!({"author": {"id": "666"}}),
            json!({"author": {"id": "me"}}),
            json!({"author": {"id": 1}}),
            json!({"webhook_id": "4"}),
            json!({"type": 7}),
            json!({"channel_type": 3}),
            json!({"content": " \n"}),
            json!({"guild_id": "x"}),
            json!({"id": "-1"}),
            json!({"id": "99999999999999999999"}),
            json!({"channel_id": "../1"}),
        ] {
            assert_eq!(read(odd.clone()), None, "{odd}");
        }
        for odd in [json!(null), json!([]), json!({}), json!("x")] {
            assert_eq!(received(&odd, ME), None);
        }
        assert_eq!(read(json!({"content": "", "attachments": [{}]})).unwrap().text, None);
    }

    #[test]
    fn what_is_written_as_the_bot_with_no_number_of_ours_is_of_another_program() {
        let is_of_another = |more: Value| {
            let message = json!({"id": "1", "channel_id": "77", "content": "x", "author": {"id": ME, "bot": true}});
            super::is_of_another(&crate::payload::joined(message, more), ME, |nonce| nonce == "ours")
        };
        for of_another in [json!({}), json!({"nonce": "theirs"}), json!({"nonce": 5}), json!({"type": 19})] {
            assert!(is_of_another(of_another.clone()), "{of_another}");
        }
        // Discord's own notices, an application's webhook, and everybody else.
        for odd in [
            json!({"nonce": "ours"}),
            json!({"type": 7}),
            json!({"webhook_id": "4"}),
            json!({"author": {"id": "5"}}),
            json!({"author": null}),
        ] {
            assert!(!is_of_another(odd.clone()), "{odd}");
        }
    }

    #[test]
    fn every_close_code_says_whether_to_go_on() {
        let after = |code| after_close(code, "why").0;
        for code in [4004, 4010, 4011, 4012, 4013, 4014] {
            assert_eq!(after(Some(code)), Next::Never, "{code}");
        }
        for code in [4003, 4007, 4009] {
            assert_eq!(after(Some(code)), Next::Anew, "{code}");
        }
        for code in [1000, 1001, 1006, 4000, 4001, 4002, 4005, 4008, 4999] {
            assert_eq!(after(Some(code)), Next::Resume, "{code}");
        }
        assert_eq!(after(None), Next::Resume);
        assert_eq!((Next::Resume.with(true), Next::Resume.with(false)), (Next::Resume, Next::Anew));
        assert_eq!((Next::Anew.with(true), Next::Never.with(false)), (Next::Anew, Next::Never));
        assert!(matches!(after_close(Some(4004), "").1, Fault::Credentials(_)));
        let (_, Fault::Setup(said, cure)) = after_close(Some(4014), "Disallowed intent(s).") else { panic!() };
        assert!(said.contains("4014 Disallowed") && cure.contains("Message Content Intent"), "{said}: {cure}");
    }

    #[test]
    fn a_token_goes_encrypted_or_not_beyond_this_machine() {
        assert_eq!(
            gateway_address("wss://gateway.discord.gg", false).unwrap(),
            "wss://gateway.discord.gg/?v=10&encoding=json"
        );
        assert_eq!(gateway_address("wss://a.gg/x?v=6#y", false).unwrap(), "wss://a.gg/x?v=10&encoding=json");
        assert!(gateway_address("ws://127.0.0.1:5/", true).is_ok());
        for (odd, may_be_plain) in [
            ("ws://127.0.0.1:5/", false),
            ("ws://discord.gg", true),
            ("https://a.gg", true),
            ("wss://u:p@a.gg", true),
            ("", true),
        ] {
            assert!(gateway_address(odd, may_be_plain).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_privileged_intent_is_asked_for_where_it_is_wanted() {
        assert_eq!(identify("t", true)["d"]["intents"], 37_376);
        assert_eq!(identify("t", false)["d"]["intents"], 4_608);
    }

    #[test]
    fn a_thread_has_a_parent() {
        let of = |said: Value| channel(&said).map(|found| (found.guild, found.parent));
        let (guild, parent) = (Some("9".to_owned()), Some("5".to_owned()));
        assert_eq!(of(json!({"type": 11, "parent_id": "5", "guild_id": "9"})), Some((guild.clone(), parent)));
        assert_eq!(
            of(json!({"type": 0, "parent_id": "5", "guild_id": "9"})),
            Some((guild, None)),
            "a category is no parent"
        );
        assert_eq!(of(json!({"type": 1})), Some((None, None)));
        for odd in [json!({}), json!({"parent_id": "5"}), json!({"type": 11}), json!({"type": 12, "parent_id": null})] {
            assert_eq!(of(odd.clone()), None, "{odd}");
        }
    }
}
