//! What is Discord's own in `channels.discord`: rules for servers (`guilds`), the older forms of who may talk, and intents.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ChannelAccess, ChannelAccount, ChannelKind, MOST_ENTRIES, ids, parse_dm_policy};
use crate::config::section::{Others, Section, set};

/// Who is heard in one server, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuildRule {
    /// In all channels that don't say otherwise.
    pub members: MemberRule,
    /// Which channels, by id or `*`; none: all.
    pub channels: Option<BTreeMap<String, MemberRule>>,
}

/// Who is heard in the channels of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberRule {
    /// False: nobody.
    pub enabled: Option<bool>,
    /// Only messages that name the bot or answer it; default: yes.
    pub require_mention: Option<bool>,
    /// Ids of people, or `*`; none here and in `roles`: everybody.
    pub users: Option<Vec<String>>,
    /// Ids of roles, one of which is enough.
    pub roles: Option<Vec<String>>,
}

/// Keys of real releases that mean nothing here: of an account, of a server, of a channel.
pub(super) const UNUSED: &str = "capabilities markdown commands configWrites applicationId activities proxy gatewayInfoTimeoutMs gatewayReadyTimeoutMs \
     gatewayRuntimeReadyTimeoutMs allowBots botLoopProtection dangerouslyAllowNameMatching mentionAliases mentionPatterns \
     contextVisibility historyLimit dmHistoryLimit dms textChunkLimit suppressEmbeds streaming maxLinesPerMessage mediaMaxMb retry \
     actions replyToMode thread defaultTo heartbeat heartbeatVisibility healthMonitor execApprovals agentComponents ui slashCommand \
     threadBindings voice pluralkit responsePrefix ackReaction ackReactionScope activity status autoPresence activityType \
     activityUrl inboundWorker eventQueue joinIntro";
const UNUSED_OF_GUILDS: &str = "slug ignoreOtherMentions tools toolsBySender reactionNotifications presenceEvents";
const UNUSED_OF_CHANNELS: &str = "ignoreOtherMentions tools toolsBySender skills systemPrompt includeThreadStarter autoThread \
                                  autoThreadName autoArchiveDuration";

/// The rest of an account, over what it inherits.
pub(super) fn account(section: &Section<'_>, into: &mut ChannelAccount) {
    let intents = section.section("intents");
    set(&mut into.message_content, intents.switch("messageContent"));
    intents.close(Others::RefusedBut("presence guildMembers voiceStates"));
    if section.value("guilds").is_some() || section.findings.schema.is_some() {
        into.access.guilds = guilds(section);
    }
}

/// `dm`, the older form, which `dmPolicy` and `allowFrom` go before. That it is switched off no policy goes before.
pub(super) fn direct(section: &Section<'_>, access: &mut ChannelAccess) {
    let dm = section.section("dm");
    set(&mut access.dm_policy, dm.parsed("policy", parse_dm_policy));
    set(&mut access.allow_from, ids(&dm, "allowFrom", ChannelKind::Discord));
    set(&mut access.direct_off, dm.switch("enabled").map(|is_on| !is_on));
    dm.close(Others::RefusedBut("groupEnabled groupChannels"));
}

fn guilds(section: &Section<'_>) -> BTreeMap<String, GuildRule> {
    let mut rules = BTreeMap::new();
    for (id, value) in entries(section, "guilds", "a server") {
        let guild = Section::open(section.findings, Some(value), format!("{}.guilds.{id}", section.path));
        let members = members(&guild);
        let is_listed = guild.value("channels").is_some() || guild.findings.schema.is_some();
        let channels = entries(&guild, "channels", "a channel");
        let channels = channels.into_iter().map(|(id, value)| {
            let channel = Section::open(guild.findings, Some(value), format!("{}.channels.{id}", guild.path));
            let mut rule = self::members(&channel);
            rule.enabled = channel.switch("enabled").or(channel.switch("allow"));
            channel.close(Others::RefusedBut(UNUSED_OF_CHANNELS));
            (id.to_owned(), rule)
        });
        let channels: BTreeMap<String, MemberRule> = channels.collect();
        guild.close(Others::RefusedBut(UNUSED_OF_GUILDS));
        // As real releases have it, an empty list of channels lists all.
        let channels = Some(channels).filter(|channels| is_listed && !channels.is_empty());
        rules.insert(id.to_owned(), GuildRule { members, channels });
    }
    rules
}

/// What is written of servers or channels by their ids. A name would let in whoever takes it next.
fn entries<'a>(section: &Section<'a>, name: &'static str, what: &str) -> Vec<(&'a str, &'a Value)> {
    let entries = section.entries(name);
    if entries.len() > MOST_ENTRIES {
        section.wrong(name, None, format!("has more than {MOST_ENTRIES} entries"));
    }
    let is_schema = section.findings.schema.is_some();
    let is_id =
        |id: &str| id == "*" || (id.len() <= 20 && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
    let (fit, odd): (Vec<_>, Vec<_>) =
        entries.into_iter().take(MOST_ENTRIES).partition(|(id, _)| is_schema || is_id(id));
    for (id, _) in odd {
        let cure = format!(
            "must be the numeric id of {what}, or \"*\"; names change hands (Discord's Developer Mode shows ids)"
        );
        section.wrong(&format!("{name}.{id}"), None, cure);
    }
    fit
}

fn members(section: &Section<'_>) -> MemberRule {
    MemberRule {
        enabled: None,
        require_mention: section.switch("requireMention"),
        users: ids(section, "users", ChannelKind::Discord),
        roles: ids(section, "roles", ChannelKind::Discord),
    }
}
