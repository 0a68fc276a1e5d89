//! Which agent gets a message, and in which of its sessions: `bindings`, then the default agent; `session.dmScope`.

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
    match &binding.peer {
        Some((is_direct, _)) if *is_direct != origin.is_direct => None,
        Some((_, id)) if id == "*" => Some(1),
        Some((_, id)) => (id == peer(origin)).then_some(0),
        None if account == "*" => Some(3),
        None => Some(2),
    }
}

fn peer<'a>(origin: Origin<'a>) -> &'a str {
    if origin.is_direct { origin.sender } else { &origin.chat.id }
}

/// The rest of the session's key. Without a `dmScope`, document 004's form: one session a person and account, since those who
/// may talk need not know of each other. With one, the forms of real releases.
fn place(origin: Origin<'_>, scope: Option<DmScope>) -> String {
    let (channel, account, peer) = (origin.kind.id(), origin.account, peer(origin));
    if !origin.is_direct {
        let topic = origin.chat.thread.map_or_else(String::new, |thread| format!(":topic:{thread}"));
        return format!("{channel}:group:{peer}{topic}");
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
        let origin = Origin { kind: ChannelKind::Telegram, account, is_direct: sender == chat.id, sender, chat };
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
}
