//! Who may talk to an agent by a channel, and when a message in a group is meant for it.

use std::collections::BTreeSet;

use super::service::Inbound;
use crate::config::{ChannelAccess, DmPolicy, GroupPolicy, GroupRule};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Heard,
    /// A stranger who may ask to be let in.
    Stranger,
    /// Nothing happens; why, for the log.
    Ignored(&'static str),
}

pub(super) fn judge(access: &ChannelAccess, approved: &BTreeSet<String>, message: &Inbound) -> Verdict {
    if message.is_direct { direct(access, approved, &message.sender) } else { group(access, message) }
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

/// Whether something may be sent to a chat without having been asked for there: where people of it are heard. Groups have negative
/// numbers. Err: which rule forbids it, and what helps.
pub(super) fn may_write(access: &ChannelAccess, approved: &BTreeSet<String>, chat: &str) -> Result<(), String> {
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
