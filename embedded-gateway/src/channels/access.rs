//! Who may talk to an agent by a channel, and when a message in a group is meant for it.

use std::collections::{BTreeMap, BTreeSet};

use super::service::{Inbound, Membership};
use crate::config::{ChannelAccess, DmPolicy, GroupPolicy, GroupRule, GuildRule, MemberRule};

/// Before the id of a channel of a server.
pub(super) const CHANNEL: &str = "channel:";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Heard,
    /// A stranger who may ask to be let in.
    Stranger,
    /// Nothing happens; why, for the log.
    Ignored(&'static str),
}

pub(super) fn judge(access: &ChannelAccess, approved: &BTreeSet<String>, message: &Inbound) -> Verdict {
    match &message.guild {
        _ if message.is_direct => direct(access, approved, &message.sender),
        Some(membership) => in_guild(access, message, membership),
        None => group(access, message),
    }
}

/// Whether a person is heard in direct messages.
pub(super) fn is_heard(access: &ChannelAccess, approved: &BTreeSet<String>, person: &str) -> bool {
    direct(access, approved, person) == Verdict::Heard
}

fn direct(access: &ChannelAccess, approved: &BTreeSet<String>, sender: &str) -> Verdict {
    match access.dm_policy {
        DmPolicy::Disabled => Verdict::Ignored("dmPolicy is disabled"),
        _ if lists(&access.allow_from, sender) => Verdict::Heard,
        DmPolicy::Pairing if approved.contains(sender) => Verdict::Heard,
        DmPolicy::Pairing => Verdict::Stranger,
        DmPolicy::Allowlist | DmPolicy::Open => Verdict::Ignored("allowFrom doesn't list the sender"),
    }
}

/// Approvals are for direct messages alone: whoever is in a group with somebody who was approved is not.
fn group(access: &ChannelAccess, message: &Inbound) -> Verdict {
    let (own, all) = match rules_of(access, &message.chat.id) {
        Ok(rules) => rules,
        Err(why) => return Verdict::Ignored(why),
    };
    let senders = own.allow_from.as_ref().or(all.allow_from.as_ref()).or(access.group_allow_from.as_ref());
    let policy = own.group_policy.or(all.group_policy).unwrap_or(access.group_policy);
    if policy == GroupPolicy::Allowlist && !lists(senders.unwrap_or(&access.allow_from), &message.sender) {
        return Verdict::Ignored("groupAllowFrom doesn't list the sender");
    }
    if own.require_mention.or(all.require_mention).unwrap_or(true) && !message.is_for_me {
        return Verdict::Ignored("the bot isn't mentioned");
    }
    Verdict::Heard
}

static NO_RULE: GroupRule = GroupRule { enabled: None, require_mention: None, group_policy: None, allow_from: None };

/// The rules for a group: its own, and those of all. Err: why it has no place here.
fn rules_of<'a>(access: &'a ChannelAccess, group: &str) -> Result<(&'a GroupRule, &'a GroupRule), &'static str> {
    let (own, all) = match &access.groups {
        Some(groups) => (groups.get(group), groups.get("*")),
        None if access.group_policy == GroupPolicy::Open => (Some(&NO_RULE), None),
        None => (None, None),
    };
    if own.is_none() && all.is_none() {
        return Err("groups doesn't list the group");
    }
    let (own, all) = (own.unwrap_or(&NO_RULE), all.unwrap_or(&NO_RULE));
    if own.enabled.or(all.enabled) == Some(false) {
        return Err("the group's enabled is false");
    }
    match own.group_policy.or(all.group_policy).unwrap_or(access.group_policy) {
        GroupPolicy::Disabled => Err("groupPolicy is disabled"),
        GroupPolicy::Allowlist | GroupPolicy::Open => Ok((own, all)),
    }
}

fn in_guild(access: &ChannelAccess, message: &Inbound, membership: &Membership) -> Verdict {
    if membership.is_unsure && may_be_heard(access, message) {
        return Verdict::Ignored("it isn't known whether the channel is a thread: Discord didn't say, or wasn't asked");
    }
    in_channel(access, message, membership, membership.parent.as_deref())
}

/// Whether a message in a server is heard if its channel is a thread of some other one, or of none.
pub(super) fn may_be_heard(access: &ChannelAccess, message: &Inbound) -> bool {
    let Some(membership) = &message.guild else { return false };
    let channels = guild_of(access, &membership.guild).and_then(|guild| guild.channels.as_ref());
    let parents = channels.into_iter().flat_map(BTreeMap::keys).map(|channel| Some(channel.as_str()));
    parents.chain([None]).any(|parent| in_channel(access, message, membership, parent) == Verdict::Heard)
}

/// In a channel of a server. Its members are heard where neither people nor roles are listed.
fn in_channel(access: &ChannelAccess, message: &Inbound, membership: &Membership, parent: Option<&str>) -> Verdict {
    let channel = message.chat.id.strip_prefix(CHANNEL).unwrap_or(&message.chat.id);
    let (own, all) = match rules_in(access, &membership.guild, channel, parent) {
        Ok(rules) => rules,
        Err(why) => return Verdict::Ignored(why),
    };
    let (users, roles) = (own.users.as_ref().or(all.users.as_ref()), own.roles.as_ref().or(all.roles.as_ref()));
    let is_listed = users.is_some_and(|users| lists(users, &message.sender))
        || roles.is_some_and(|roles| membership.roles.iter().any(|role| lists(roles, role)));
    if (users.is_some() || roles.is_some()) && !is_listed {
        return Verdict::Ignored("users and roles list neither the sender nor a role of the sender");
    }
    if own.require_mention.or(all.require_mention).unwrap_or(true) && !message.is_for_me {
        return Verdict::Ignored("the bot isn't mentioned");
    }
    Verdict::Heard
}

static NO_MEMBERS: MemberRule = MemberRule { enabled: None, require_mention: None, users: None, roles: None };

/// The rules for a channel of a server, by its own names, the closest first: its own, and those of all. Err: why it has no place here.
fn guild_rules<'a>(
    policy: GroupPolicy,
    guild: Option<&'a GuildRule>,
    names: &[Option<&str>],
) -> Result<(&'a MemberRule, &'a MemberRule), &'static str> {
    let Some(guild) = guild.filter(|_| policy != GroupPolicy::Disabled) else {
        return match policy {
            GroupPolicy::Disabled => Err("groupPolicy is disabled"),
            GroupPolicy::Allowlist => Err("guilds doesn't list the server"),
            GroupPolicy::Open => Ok((&NO_MEMBERS, &NO_MEMBERS)),
        };
    };
    let Some(channels) = &guild.channels else { return Ok((&NO_MEMBERS, &guild.members)) };
    let own = names.iter().flatten().find_map(|name| channels.get(*name)).or_else(|| channels.get("*"));
    match own {
        Some(own) if own.enabled == Some(false) => Err("the channel's enabled is false"),
        Some(own) => Ok((own, &guild.members)),
        None if policy == GroupPolicy::Open => Ok((&NO_MEMBERS, &guild.members)),
        None => Err("channels of the server doesn't list the channel"),
    }
}

/// The same where the server is known.
fn rules_in<'a>(
    access: &'a ChannelAccess,
    guild: &str,
    channel: &str,
    parent: Option<&str>,
) -> Result<(&'a MemberRule, &'a MemberRule), &'static str> {
    guild_rules(access.group_policy, guild_of(access, guild), &[Some(channel), parent])
}

fn guild_of<'a>(access: &'a ChannelAccess, guild: &str) -> Option<&'a GuildRule> {
    access.guilds.get(guild).or_else(|| access.guilds.get("*"))
}

/// Whether something may be sent unasked to a channel of a server. Err: which rule forbids it, and what helps.
pub(super) fn may_write_in(
    access: &ChannelAccess,
    guild: &str,
    channel: &str,
    parent: Option<&str>,
) -> Result<(), String> {
    rules_in(access, guild, channel, parent).map(drop).map_err(|why| {
        format!(
            "nothing may be written to channel {channel} of server {guild}: {why}; add both to guilds of the account"
        )
    })
}

/// Of which server a channel is isn't known here: one that has a place for it is enough, until [`may_write_in`] is asked.
fn channel_may_be_written_to(access: &ChannelAccess, channel: &str) -> Result<(), &'static str> {
    let names = [Some(channel)];
    let is_named = |guild: &&GuildRule| guild.channels.as_ref().is_some_and(|channels| channels.contains_key(channel));
    if let Some(guild) = access.guilds.values().find(is_named) {
        return guild_rules(access.group_policy, Some(guild), &names).map(drop);
    }
    let first = guild_rules(access.group_policy, None, &names);
    let mut rules = access.guilds.values().map(|guild| guild_rules(access.group_policy, Some(guild), &names));
    rules.find(Result::is_ok).unwrap_or(first).map(drop)
}

/// Whether something may be sent to a chat without having been asked for there: where people of it are heard. Groups have negative
/// numbers, channels of servers a word before theirs. Err: which rule forbids it, and what helps.
pub(super) fn may_write(access: &ChannelAccess, approved: &BTreeSet<String>, chat: &str) -> Result<(), String> {
    if let Some(channel) = chat.strip_prefix(CHANNEL) {
        return channel_may_be_written_to(access, channel).map_err(|why| {
            format!("nothing may be written to channel {channel}: {why}; add it to guilds of the account")
        });
    }
    if chat.starts_with('-') {
        return rules_of(access, chat)
            .map(drop)
            .map_err(|why| format!("nothing may be written to group {chat}: {why}; add it to groups of the account"));
    }
    let (why, cure) = match direct(access, approved, chat) {
        Verdict::Heard => return Ok(()),
        Verdict::Stranger => {
            ("this person isn't approved", "approve the pairing, or add the id to allowFrom of the account")
        }
        Verdict::Ignored(why) => (why, "add the id to allowFrom of the account, or change its dmPolicy"),
    };
    Err(format!("nothing may be written to {chat}: {why}; {cure}"))
}

fn lists(ids: &[String], sender: &str) -> bool {
    ids.iter().any(|id| id == "*" || id == sender)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Chat;

    fn from(sender: &str, chat: &str, is_for_me: bool) -> Inbound {
        Inbound {
            sender: sender.to_owned(),
            sender_name: String::new(),
            chat: Chat { id: chat.to_owned(), thread: None },
            is_direct: sender == chat,
            text: Some("hi".to_owned()),
            is_for_me,
            id: None,
            guild: None,
        }
    }

    fn texts(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn direct_messages_are_heard_as_the_policy_says() {
        let approved: BTreeSet<String> = ["7".to_owned()].into();
        let judged = |dm_policy, allow: &[&str], sender: &str| {
            let access = ChannelAccess { dm_policy, allow_from: texts(allow), ..ChannelAccess::default() };
            judge(&access, &approved, &from(sender, sender, true))
        };
        assert_eq!(judged(DmPolicy::Pairing, &[], "7"), Verdict::Heard);
        assert_eq!(judged(DmPolicy::Pairing, &["8"], "8"), Verdict::Heard);
        assert_eq!(judged(DmPolicy::Pairing, &[], "8"), Verdict::Stranger);
        assert_eq!(judged(DmPolicy::Allowlist, &["8"], "8"), Verdict::Heard);
        assert!(matches!(judged(DmPolicy::Allowlist, &["8"], "7"), Verdict::Ignored(_)), "approvals are for pairing");
        assert_eq!(judged(DmPolicy::Open, &["*"], "9"), Verdict::Heard);
        assert!(matches!(judged(DmPolicy::Open, &["8"], "9"), Verdict::Ignored(_)));
        assert!(matches!(judged(DmPolicy::Disabled, &["*"], "9"), Verdict::Ignored(_)));
    }

    #[test]
    fn nothing_is_written_to_who_is_not_heard() {
        let approved: BTreeSet<String> = ["7".to_owned()].into();
        let groups = [("-100".to_owned(), GroupRule::default())].into();
        let mut access = ChannelAccess { allow_from: texts(&["8"]), groups: Some(groups), ..ChannelAccess::default() };
        for (chat, may) in [("7", true), ("8", true), ("9", false), ("-100", true), ("-5", false)] {
            assert_eq!(may_write(&access, &approved, chat).is_ok(), may, "{chat}");
        }
        assert!(may_write(&access, &approved, "9").unwrap_err().contains("approve the pairing"));
        access.dm_policy = DmPolicy::Disabled;
        access.group_policy = GroupPolicy::Disabled;
        for chat in ["7", "8", "-100"] {
            let said = may_write(&access, &approved, chat).unwrap_err();
            assert!(said.contains("is disabled"), "{said}");
        }
    }

    fn in_channel(sender: &str, place: (&str, &str), roles: &[&str], mentioned: bool) -> Inbound {
        let (guild, parent) = (place.0.to_owned(), Some("70".to_owned()));
        let guild = Some(Membership { guild, roles: texts(roles), parent, is_unsure: false });
        Inbound { guild, ..from(sender, &format!("channel:{}", place.1), mentioned) }
    }

    fn users(ids: &[&str]) -> MemberRule {
        MemberRule { users: Some(texts(ids)), ..MemberRule::default() }
    }

    #[test]
    fn members_of_a_server_are_heard_where_it_is_listed_and_they_mention_the_bot() {
        let approved: BTreeSet<String> = ["7".to_owned()].into();
        let mut access = ChannelAccess { allow_from: texts(&["8"]), ..ChannelAccess::default() };
        let heard = |access: &ChannelAccess, message: &Inbound| judge(access, &approved, message) == Verdict::Heard;
        let (plain, named) = (in_channel("1", ("9", "77"), &["5"], false), in_channel("1", ("9", "77"), &["5"], true));
        assert!(!heard(&access, &named), "no server is listed");
        access.guilds.insert("9".to_owned(), GuildRule::default());
        assert!(heard(&access, &named) && !heard(&access, &plain));
        assert!(!heard(&access, &in_channel("1", ("10", "77"), &[], true)), "another server is listed");
        access.guilds.insert("9".to_owned(), GuildRule { members: users(&["2"]), channels: None });
        assert!(!heard(&access, &named), "others are listed, whoever may send direct messages");
        let roles = MemberRule { roles: Some(texts(&["5"])), ..users(&["2"]) };
        access.guilds.insert("9".to_owned(), GuildRule { members: roles, channels: None });
        assert!(heard(&access, &named) && !heard(&access, &in_channel("1", ("9", "77"), &["6"], true)));
        access.group_policy = GroupPolicy::Disabled;
        assert!(!heard(&access, &named));
        access.group_policy = GroupPolicy::Open;
        assert!(heard(&access, &in_channel("1", ("10", "77"), &[], true)), "open: also servers that aren't listed");
        assert!(!heard(&access, &in_channel("1", ("9", "77"), &[], true)), "a list of people counts with any policy");
    }

    #[test]
    fn a_list_of_channels_lists_all_that_are_heard_and_threads_are_of_their_channel() {
        let approved = BTreeSet::new();
        let silent = MemberRule { require_mention: Some(false), ..MemberRule::default() };
        let off = MemberRule { enabled: Some(false), ..MemberRule::default() };
        let channels = [("70".to_owned(), silent), ("71".to_owned(), off.clone()), ("72".to_owned(), users(&["2"]))];
        let rule = GuildRule { members: users(&["1"]), channels: Some(channels.into()) };
        let mut access = ChannelAccess { guilds: [("*".to_owned(), rule)].into(), ..ChannelAccess::default() };
        let heard = |access: &ChannelAccess, sender: &str, channel: &str, parent: Option<&str>| {
            let mut message = in_channel(sender, ("9", channel), &[], false);
            message.guild.as_mut().unwrap().parent = parent.map(str::to_owned);
            judge(access, &approved, &message) == Verdict::Heard
        };
        assert!(heard(&access, "1", "70", None) && !heard(&access, "2", "70", None));
        assert!(heard(&access, "1", "5", Some("70")), "a thread of it");
        assert!(!heard(&access, "1", "71", None) && !heard(&access, "1", "71", Some("70")), "its own rule goes before");
        assert!(!heard(&access, "1", "5", None));
        for (chat, may) in [("channel:70", true), ("channel:71", false), ("channel:5", false), ("70", false)] {
            assert_eq!(may_write(&access, &approved, chat).is_ok(), may, "{chat}");
        }
        let may_in = |access: &ChannelAccess, guild: &str, channel: &str, parent| {
            may_write_in(access, guild, channel, parent).is_ok()
        };
        assert!(may_in(&access, "9", "70", None) && may_in(&access, "9", "5", Some("70")));
        assert!(!may_in(&access, "9", "5", None) && !may_in(&access, "9", "5", Some("71")));
        access.group_policy = GroupPolicy::Open;
        assert!(may_write(&access, &approved, "channel:5").is_ok());
        assert!(may_in(&access, "9", "5", None) && !may_in(&access, "9", "5", Some("71")));
        assert!(!heard(&access, "1", "71", None), "switched off");
        access.group_policy = GroupPolicy::Disabled;
        assert!(may_write(&access, &approved, "channel:70").unwrap_err().contains("is disabled"));
    }

    #[test]
    fn nobody_is_heard_where_it_is_not_known_which_rules_count() {
        let off = MemberRule { enabled: Some(false), ..MemberRule::default() };
        let channels = [("70".to_owned(), off), ("*".to_owned(), MemberRule::default())];
        let rule = GuildRule { members: MemberRule::default(), channels: Some(channels.into()) };
        for (guilds, group_policy) in
            [(BTreeMap::from([("9".to_owned(), rule)]), GroupPolicy::Allowlist), (BTreeMap::new(), GroupPolicy::Open)]
        {
            let access = ChannelAccess { guilds, group_policy, ..ChannelAccess::default() };
            let mut message = in_channel("1", ("9", "5"), &[], true);
            let membership = message.guild.as_mut().unwrap();
            (membership.parent, membership.is_unsure) = (None, true);
            assert!(matches!(judge(&access, &BTreeSet::new(), &message), Verdict::Ignored(_)));
            message.guild.as_mut().unwrap().is_unsure = false;
            assert_eq!(judge(&access, &BTreeSet::new(), &message), Verdict::Heard);
        }
    }

    #[test]
    fn what_is_not_heard_whatever_its_channel_is_a_thread_of_is_known_before() {
        let channels = [("70".to_owned(), users(&["2"]))];
        let rule = GuildRule { members: MemberRule::default(), channels: Some(channels.into()) };
        let listed: BTreeMap<String, GuildRule> = [("9".to_owned(), rule)].into();
        let mut access = ChannelAccess { guilds: listed, ..ChannelAccess::default() };
        let unsure = |sender: &str, guild: &str, mentioned: bool| {
            let mut message = in_channel(sender, (guild, "5"), &[], mentioned);
            let membership = message.guild.as_mut().unwrap();
            (membership.parent, membership.is_unsure) = (None, true);
            message
        };
        let why = |access: &ChannelAccess, message: &Inbound| match judge(access, &BTreeSet::new(), message) {
            Verdict::Ignored(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(may_be_heard(&access, &unsure("2", "9", true)), "it may be a thread of 70");
        // Other rules may have counted when it came, by which it wasn't asked.
        assert!(why(&access, &unsure("2", "9", true)).ends_with("Discord didn't say, or wasn't asked"));
        for refused in [unsure("1", "9", true), unsure("2", "9", false), unsure("2", "10", true)] {
            assert!(!may_be_heard(&access, &refused) && !why(&access, &refused).contains("thread"), "{refused:?}");
        }
        access.group_policy = GroupPolicy::Open;
        assert!(may_be_heard(&access, &unsure("1", "10", true)), "servers that aren't listed are heard, too");
        access.group_policy = GroupPolicy::Disabled;
        assert!(!may_be_heard(&access, &unsure("2", "9", true)));
    }

    #[test]
    fn a_channel_of_a_server_that_is_not_listed_is_not_written_to() {
        let access =
            ChannelAccess { guilds: [("9".to_owned(), GuildRule::default())].into(), ..ChannelAccess::default() };
        assert_eq!(may_write_in(&access, "9", "5", None), Ok(()));
        let said = may_write_in(&access, "10", "5", None).unwrap_err();
        assert!(said.contains("guilds doesn't list the server") && said.contains("of server 10"), "{said}");
    }

    #[test]
    fn a_group_is_heard_only_where_it_is_listed_by_listed_people_who_mention_the_bot() {
        let approved: BTreeSet<String> = ["7".to_owned()].into();
        let rules = |rules: &[(&str, GroupRule)]| {
            Some(rules.iter().map(|(id, rule)| ((*id).to_owned(), rule.clone())).collect())
        };
        let mut access = ChannelAccess { allow_from: texts(&["8"]), ..ChannelAccess::default() };
        let heard = |access: &ChannelAccess, sender: &str, mentioned| {
            judge(access, &approved, &from(sender, "-100", mentioned)) == Verdict::Heard
        };
        assert!(!heard(&access, "8", true), "no group is listed");
        access.groups = rules(&[("-100", GroupRule::default())]);
        assert!(heard(&access, "8", true));
        assert!(!heard(&access, "8", false), "a mention is needed");
        assert!(!heard(&access, "7", true), "an approval is for direct messages");
        access.groups = rules(&[("*", GroupRule { require_mention: Some(false), ..GroupRule::default() })]);
        assert!(heard(&access, "8", false));
        access.group_allow_from = Some(texts(&["9"]));
        assert!(heard(&access, "9", false) && !heard(&access, "8", false));
        access.groups = rules(&[("-1", GroupRule::default())]);
        assert!(!heard(&access, "9", true), "another group is listed");
        access.group_policy = GroupPolicy::Open;
        assert!(!heard(&access, "9", true), "a list of groups counts with any policy");
        access.groups = None;
        assert!(heard(&access, "1", true));
        access.group_policy = GroupPolicy::Disabled;
        assert!(!heard(&access, "9", true));
        access.groups = rules(&[(
            "-100",
            GroupRule { group_policy: Some(GroupPolicy::Open), enabled: Some(false), ..GroupRule::default() },
        )]);
        assert!(!heard(&access, "9", true), "switched off");
    }
}
