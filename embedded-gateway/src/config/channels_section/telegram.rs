//! Telegram, as far as it is a channel of its own: what its accounts, people and chats look like, and rules for groups.

use std::collections::BTreeMap;

use super::{
    Channel, ChannelAccount, GroupRule, IdAndThread, MOST_ENTRIES, direct, ids, lacks_token, number,
    parse_group_policy, token_and_root,
};
use crate::config::section::{Others, Section, set};

pub(super) static CHANNEL: Channel = Channel {
    id: "telegram",
    label: "Telegram",
    short: "tg",
    default_root: "https://api.telegram.org",
    token_variable: "TELEGRAM_BOT_TOKEN",
    token_key: "botToken",
    token,
    has_numbers: false,
    person: number,
    account,
    from_environment: |_, _| {},
    lacks: lacks_token,
    unused: "capabilities markdown configWrites defaultTo mentionPatterns contextVisibility historyLimit dmHistoryLimit dms \
             textChunkLimit streaming heartbeatVisibility healthMonitor responsePrefix mediaMaxMb replyToMode joinIntro \
             execApprovals commands customCommands direct richMessages network proxy webhookUrl webhookSecret webhookPath \
             webhookHost webhookPort webhookCertPath actions threadBindings reactionNotifications reactionLevel ackReaction \
             linkPreview silentErrorReplies errorPolicy trustedLocalFileRoots autoTopicLabel",
    without_token: "it has no token: write botToken or tokenFile",
    mode: "polling",
    has_connection: false,
    remembered: 200,
    longest_part: 4_096,
    marks: &[],
    chat,
    cure_of_token: "Take the token from @BotFather (/mybots; /revoke makes a new one), write it to botToken or tokenFile and reload the \
                    configuration; where there is an apiRoot, check it",
    cure_of_conflict: "Stop the other program that polls with this token (another gateway, perhaps), or make a new token at @BotFather",
    cure_of_refusal: "Check apiRoot, and whether the bot still exists at @BotFather",
};

fn token(text: &str) -> Result<&str, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_token = text.split_once(':').is_some_and(|(id, rest)| {
        let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        is_number && !rest.is_empty() && rest.bytes().all(plain)
    });
    is_token.then_some(text).ok_or("is no token of a bot, which looks like 123456:ABC-DEF; @BotFather shows it")
}

fn account(section: &Section<'_>, into: &mut ChannelAccount) {
    token_and_root(section, into);
    direct(section, into);
    let access = &mut into.access;
    set(&mut access.group_policy, section.parsed("groupPolicy", parse_group_policy));
    access.group_allow_from = ids(section, "groupAllowFrom", &CHANNEL).or(access.group_allow_from.take());
    if section.value("groups").is_some() || section.findings.schema.is_some() {
        access.groups = Some(groups(section));
    }
}

fn groups(section: &Section<'_>) -> BTreeMap<String, GroupRule> {
    let mut rules = BTreeMap::new();
    let entries = section.entries("groups");
    if entries.len() > MOST_ENTRIES {
        section.findings.warn(format!(
            "{} has {} entries; the first {MOST_ENTRIES} count, and the other groups are as if they weren't written",
            section.key("groups"),
            entries.len()
        ));
    }
    for (id, value) in entries.into_iter().take(MOST_ENTRIES) {
        let group = Section::open(section.findings, Some(value), format!("{}.groups.{id}", section.path));
        let rule = GroupRule {
            enabled: group.switch("enabled"),
            require_mention: group.switch("requireMention"),
            group_policy: group.parsed("groupPolicy", parse_group_policy),
            allow_from: ids(&group, "allowFrom", &CHANNEL),
        };
        group.close(Others::RefusedBut(
            "ingest disableAudioPreflight topics errorPolicy tools toolsBySender skills systemPrompt",
        ));
        rules.insert(id.to_owned(), rule);
    }
    rules
}

/// A person's or group's number, and the topic: `ID`, `ID:topic:TOPIC` or `ID:TOPIC`.
fn chat(at: &str, place: &str, topic: Option<&str>) -> Result<IdAndThread, String> {
    let (id, named) = match place.split_once(':') {
        Some((id, topic)) => (id, Some(topic.strip_prefix("topic:").unwrap_or(topic))),
        None => (place, None),
    };
    if id.parse::<i64>().is_err() || id.starts_with('+') {
        return Err(format!(
            "at {at}/to: must be the number of a person or group, such as 123456789 or -1001234567890; names change hands"
        ));
    }
    let thread = topic.or(named).map(str::parse).transpose();
    Ok((id.to_owned(), thread.map_err(|_| format!("at {at}/threadId: must be the number of a topic"))?))
}
