//! Which agent gets a message, and in which of its sessions: `bindings`, then the default agent; `session.dmScope`.

use super::access::CHANNEL;
use super::service::Membership;
use crate::config::{Binding, ChannelKind, DEFAULT_ACCOUNT, DmScope};
use crate::effect::Chat;

/// Where a message is from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub kind: ChannelKind,
    pub account: &'a str,
    pub is_direct: bool,
    pub sender: &'a str,
    pub chat: &'a Chat,
    pub guild: Option<&'a Membership>,
}

/// The agent, and the session's key.
pub(crate) fn route(
    origin: Origin<'_>,
    bindings: &[Binding],
    dm_scope: Option<DmScope>,
    default_agent: &str,
) -> (String, String) {
    let best =
        bindings.iter().filter_map(|binding| Some((rank(binding, origin)?, binding))).min_by_key(|(rank, _)| *rank);
    let binding = best.map(|(_, binding)| binding);
    let agent = binding.map_or(default_agent, |binding| binding.agent_id.as_str());
    let scope = binding.and_then(|binding| binding.dm_scope).or(dm_scope);
    (agent.to_owned(), format!("agent:{agent}:{}", place(origin, scope)))
}

/// How well a binding fits, 0 the best; none where it doesn't. The first of equal ones counts.
fn rank(binding: &Binding, origin: Origin<'_>) -> Option<u8> {
    let account = binding.account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
    if binding.channel != origin.kind.id() || (account != "*" && account != origin.account) {
        return None;
    }
    let in_guild = match (&binding.guild, origin.guild) {
        (None, _) => None,
        (Some(_), None) => return None,
        (Some(wanted), Some(member)) => {
            let has_role = binding.roles.is_empty() || binding.roles.iter().any(|role| member.roles.contains(role));
            if *wanted != member.guild || !has_role {
                return None;
            }
            Some(if binding.roles.is_empty() { 4 } else { 3 })
        }
    };
    let parent = origin.guild.and_then(|member| member.parent.as_deref());
    match &binding.peer {
        Some((is_direct, _)) if *is_direct != origin.is_direct => None,
        Some((_, id)) if id == "*" => Some(2),
        Some((_, id)) if id == peer(origin) => Some(0),
        Some((_, id)) => (parent == Some(id)).then_some(1),
        None => Some(in_guild.unwrap_or(if account == "*" { 6 } else { 5 })),
    }
}

fn peer<'a>(origin: Origin<'a>) -> &'a str {
    let chat = &origin.chat.id;
    if origin.is_direct { origin.sender } else { chat.strip_prefix(CHANNEL).unwrap_or(chat) }
}

/// The rest of the session's key. Without a `dmScope`, document 004's form: one session a person and account, since those who
/// may talk need not know of each other. With one, the forms of real releases.
fn place(origin: Origin<'_>, scope: Option<DmScope>) -> String {
    let (channel, account, peer) = (origin.kind.id(), origin.account, peer(origin));
    if !origin.is_direct {
        let topic = origin.chat.thread.map_or_else(String::new, |thread| format!(":topic:{thread}"));
        let kind = if origin.guild.is_some() { "channel" } else { "group" };
        return format!("{channel}:{kind}:{peer}{topic}");
    }
    match scope {
        None => format!("{channel}:{account}:user{peer}"),
        Some(DmScope::Main) => "main".to_owned(),
        Some(DmScope::PerPeer) => format!("direct:{peer}"),
        Some(DmScope::PerChannelPeer) => format!("{channel}:direct:{peer}"),
        Some(DmScope::PerAccountChannelPeer) => format!("{channel}:{account}:direct:{peer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(agent: &str, account: Option<&str>, peer: Option<(bool, &str)>) -> Binding {
        Binding {
            agent_id: agent.to_owned(),
            channel: "telegram".to_owned(),
            account: account.map(str::to_owned),
            peer: peer.map(|(direct, id)| (direct, id.to_owned())),
            guild: None,
            roles: Vec::new(),
            dm_scope: None,
        }
    }

    fn routed(
        bindings: &[Binding],
        scope: Option<DmScope>,
        account: &str,
        sender: &str,
        chat: &Chat,
    ) -> (String, String) {
        let origin =
            Origin { kind: ChannelKind::Telegram, account, is_direct: sender == chat.id, sender, chat, guild: None };
        route(origin, bindings, scope, "main")
    }

    #[test]
    fn a_session_is_of_one_person_unless_the_scope_says_otherwise() {
        let chat = Chat { id: "123".to_owned(), thread: None };
        for (scope, key) in [
            (None, "agent:main:telegram:default:user123"),
            (Some(DmScope::Main), "agent:main:main"),
            (Some(DmScope::PerPeer), "agent:main:direct:123"),
            (Some(DmScope::PerChannelPeer), "agent:main:telegram:direct:123"),
            (Some(DmScope::PerAccountChannelPeer), "agent:main:telegram:default:direct:123"),
        ] {
            assert_eq!(routed(&[], scope, "default", "123", &chat).1, key);
        }
        let topic = Chat { id: "-100".to_owned(), thread: Some(42) };
        assert_eq!(routed(&[], None, "default", "123", &topic).1, "agent:main:telegram:group:-100:topic:42");
    }

    #[test]
    fn the_closest_binding_counts() {
        let bindings = [
            binding("all", Some("*"), None),
            binding("work", Some("work"), None),
            binding("people", Some("*"), Some((true, "*"))),
            binding("boss", Some("*"), Some((true, "7"))),
            binding("room", None, Some((false, "-100"))),
        ];
        let (direct, boss) = (Chat { id: "1".to_owned(), thread: None }, Chat { id: "7".to_owned(), thread: None });
        let room = Chat { id: "-100".to_owned(), thread: None };
        let agent = |account: &str, sender: &str, chat: &Chat| routed(&bindings, None, account, sender, chat).0;
        assert_eq!(agent("default", "7", &boss), "boss");
        assert_eq!(agent("default", "1", &direct), "people");
        assert_eq!(agent("default", "1", &room), "room");
        assert_eq!(agent("work", "1", &room), "work", "a binding without an account is of the default one");
        let other = Chat { id: "-5".to_owned(), thread: None };
        assert_eq!(agent("default", "1", &other), "all");
        assert_eq!(routed(&[], None, "default", "1", &other).0, "main");
    }

    #[test]
    fn in_a_server_a_channel_goes_before_its_parent_then_roles_then_the_server() {
        let of = |agent: &str, guild: Option<&str>, roles: &[&str], peer: Option<&str>| Binding {
            channel: "discord".to_owned(),
            guild: guild.map(str::to_owned),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..binding(agent, None, peer.map(|id| (false, id)))
        };
        let bindings = [
            of("any", None, &[], None),
            of("server", Some("9"), &[], None),
            of("staff", Some("9"), &["5"], None),
            of("parent", None, &[], Some("70")),
            of("room", Some("9"), &[], Some("77")),
        ];
        let to = |guild: &str, role: &str, channel: &str, parent: Option<&str>| {
            let chat = Chat { id: format!("channel:{channel}"), thread: None };
            let parent = parent.map(str::to_owned);
            let roles = vec![role.to_owned()];
            let member = Membership { guild: guild.to_owned(), roles, parent, is_unsure: false };
            let (account, sender, guild) = (DEFAULT_ACCOUNT, "1", Some(&member));
            let origin = Origin { kind: ChannelKind::Discord, account, is_direct: false, sender, chat: &chat, guild };
            route(origin, &bindings, None, "main")
        };
        assert_eq!(to("9", "5", "77", Some("70")), ("room".to_owned(), "agent:room:discord:channel:77".to_owned()));
        assert_eq!(to("9", "5", "78", Some("70")).0, "parent");
        assert_eq!(to("9", "5", "78", None).0, "staff");
        assert_eq!(to("9", "6", "78", None).0, "server");
        assert_eq!(to("10", "5", "77", None).0, "any", "the room is of another server");
    }
}
