//! Discord, as far as it is a channel of its own: what its accounts, people and chats look like, rules for servers (`guilds`), the
//! older forms of who may talk, and intents.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Channel, ChannelAccount, IdAndThread, MOST_ENTRIES, direct, ids, lacks_token, number, parse_dm_policy,
    parse_group_policy, token_and_root,
};
use crate::config::section::{Others, Section, set};

pub(super) static CHANNEL: Channel = Channel {
    id: "discord",
    label: "Discord",
    short: "user",
    default_root: "https://discord.com/api/v10",
    token_variable: "DISCORD_BOT_TOKEN",
    token_key: "token",
    token,
    has_numbers: false,
    person: number,
    account,
    from_environment: |_, _| {},
    lacks: lacks_token,
    unused: "capabilities markdown commands configWrites applicationId activities proxy gatewayInfoTimeoutMs \
             gatewayReadyTimeoutMs gatewayRuntimeReadyTimeoutMs allowBots botLoopProtection dangerouslyAllowNameMatching \
             mentionAliases mentionPatterns contextVisibility historyLimit dmHistoryLimit dms textChunkLimit suppressEmbeds \
             streaming maxLinesPerMessage mediaMaxMb retry actions replyToMode thread defaultTo heartbeat heartbeatVisibility \
             healthMonitor execApprovals agentComponents ui slashCommand threadBindings voice pluralkit responsePrefix \
             ackReaction ackReactionScope activity status autoPresence activityType activityUrl inboundWorker eventQueue \
             joinIntro",
    without_token: "it has no token: write token or tokenFile",
    mode: "gateway",
    has_connection: true,
    remembered: 200,
    longest_part: 2_000,
    marks: &[CHANNEL_MARK, USER_MARK],
    chat,
    cure_of_token: "Take the token from https://discord.com/developers/applications (the application, Bot, Reset Token), write it to \
                    token or tokenFile and reload the configuration; where there is an apiRoot, check it",
    cure_of_conflict: "Stop the other program that uses this token (another gateway, perhaps), or make a new one at \
                       https://discord.com/developers/applications (the application, Bot, Reset Token)",
    cure_of_refusal: "Check apiRoot, and what the bot may do there: to view the channel, to send messages, to read the history",
};

/// Before the ids of channels, and of people.
const CHANNEL_MARK: &str = "channel:";
const USER_MARK: &str = "user:";

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

/// Keys of real releases that mean nothing here, of servers and of channels.
const UNUSED_OF_GUILDS: &str = "slug ignoreOtherMentions tools toolsBySender reactionNotifications presenceEvents";
const UNUSED_OF_CHANNELS: &str = "ignoreOtherMentions tools toolsBySender skills systemPrompt includeThreadStarter autoThread \
                                  autoThreadName autoArchiveDuration";

/// It goes into a header.
fn token(text: &str) -> Result<&str, &'static str> {
    let text = text.strip_prefix("Bot ").unwrap_or(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    ((20..=200).contains(&text.len()) && text.contains('.') && text.bytes().all(plain)).then_some(text).ok_or(
        "is no token of a bot, which looks like MTk4NjIy.Cl2FMQ.ZnCjm1; https://discord.com/developers/applications shows it \
         (the application, Bot, Reset Token)",
    )
}

fn account(section: &Section<'_>, into: &mut ChannelAccount) {
    token_and_root(section, into);
    // The older form, which `dmPolicy` and `allowFrom` go before. That it is switched off no policy goes before.
    let (dm, access) = (section.section("dm"), &mut into.access);
    set(&mut access.dm_policy, dm.parsed("policy", parse_dm_policy));
    set(&mut access.allow_from, ids(&dm, "allowFrom", &CHANNEL));
    set(&mut access.direct_off, dm.switch("enabled").map(|is_on| !is_on));
    dm.close(Others::RefusedBut("groupEnabled groupChannels"));
    direct(section, into);
    set(&mut into.access.group_policy, section.parsed("groupPolicy", parse_group_policy));
    let intents = section.section("intents");
    set(&mut into.message_content, intents.switch("messageContent"));
    intents.close(Others::RefusedBut("presence guildMembers voiceStates"));
    if section.value("guilds").is_some() || section.findings.schema.is_some() {
        into.access.guilds = guilds(section);
    }
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
        users: ids(section, "users", &CHANNEL),
        roles: ids(section, "roles", &CHANNEL),
    }
}

/// A person (`user:ID` or `ID`) or a channel (`channel:ID`).
fn chat(at: &str, place: &str, topic: Option<&str>) -> Result<IdAndThread, String> {
    let id = [CHANNEL_MARK, USER_MARK].into_iter().find_map(|mark| place.strip_prefix(mark)).unwrap_or(place);
    if id.is_empty() || id.len() > 20 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "at {at}/to: must be the number of a person or channel, such as user:123456789012345678 or channel:123456789012345678; \
             names change hands"
        ));
    }
    if topic.is_some() {
        return Err(format!(
            "at {at}/threadId: a thread is a channel of its own: write channel: and its number as {at}/to"
        ));
    }
    let id = if place.starts_with(CHANNEL_MARK) { place } else { id };
    Ok((id.to_owned(), None))
}
