//! `channels.discord`.

use super::{json, refused_with, secrets_of};
use crate::config::{ChannelAccount, ChannelKind, DmPolicy, Draft, GroupPolicy};

fn discord(keys: &str) -> String {
    format!("{{agents: {{entries: {{a: {{default: true}}}}}}, channels: {{discord: {{{keys}}}}}}}")
}

fn accounts(draft: &Draft) -> Vec<&ChannelAccount> {
    draft.settings().channels.iter().filter(|account| account.kind == ChannelKind::Discord).collect()
}

const TOKEN: &str = "token: 'Bot MTIzNDU2Nzg5.abcdef.ghijklmnop'";
/// Of other bots.
const SECOND: &str = "token: 'MTIzNDU2Nzg5.abcdef.second'";
const THIRD: &str = "token: 'MTIzNDU2Nzg5.abcdef.third'";

#[test]
fn its_secrets_are_known() {
    assert_eq!(secrets_of("discord"), ["accounts.*.token", "token"]);
}

#[test]
fn a_server_is_read_with_its_channels() {
    let draft = json(&discord(&format!(
        "{TOKEN}, groupPolicy: 'open', intents: {{messageContent: false, presence: true}}, voice: {{enabled: true}}, guilds: {{
           '900': {{slug: 'home', requireMention: false, users: ['5', 'discord:6'], roles: ['50'],
                   channels: {{'710': {{enabled: true, users: ['*'], systemPrompt: 'x'}}, '*': {{allow: false}}}}}},
           '*': {{channels: {{}}}}}}"
    )));
    let [account] = accounts(&draft)[..] else { panic!() };
    assert_eq!(account.token.as_ref().unwrap().expose(), "MTIzNDU2Nzg5.abcdef.ghijklmnop");
    assert_eq!((account.api_root.as_str(), account.message_content), ("https://discord.com/api/v10", false));
    assert_eq!((account.access.dm_policy, account.access.group_policy), (DmPolicy::Pairing, GroupPolicy::Open));
    let guild = &account.access.guilds["900"];
    assert_eq!(guild.members.require_mention, Some(false));
    assert_eq!(guild.members.users.as_deref(), Some(&["5".to_owned(), "6".to_owned()][..]));
    let channels = guild.channels.as_ref().unwrap();
    assert_eq!((channels["710"].enabled, channels["*"].enabled), (Some(true), Some(false)));
    assert_eq!(account.access.guilds["*"].channels, None, "an empty list lists all");
    for said in ["guilds.900.slug", "channels.710.systemPrompt", "intents.presence", "discord.voice"] {
        assert!(draft.warnings.iter().any(|warning| warning.contains(said)), "{said}: {:?}", draft.warnings);
    }
}

#[test]
fn accounts_inherit_what_they_do_not_say_and_the_older_keys_count() {
    let draft = json(&discord(&format!(
        "{TOKEN}, dm: {{policy: 'allowlist', allowFrom: ['5']}}, guilds: {{'900': {{}}}}, accounts: {{
           work: {{{SECOND}, dmPolicy: 'disabled', guilds: {{}}}}, off: {{{THIRD}, dm: {{enabled: false}}}}}}"
    )));
    let [default, off, work] = accounts(&draft)[..] else { panic!() };
    assert_eq!(
        (default.access.dm_policy, default.access.allow_from.as_slice()),
        (DmPolicy::Allowlist, &["5".to_owned()][..])
    );
    assert_eq!((off.access.dm_policy, off.access.guilds.len()), (DmPolicy::Disabled, 1));
    assert_eq!((work.access.dm_policy, work.access.guilds.len()), (DmPolicy::Disabled, 0));
}

#[test]
fn direct_messages_that_are_switched_off_stay_off_whatever_the_policy() {
    let all = "dmPolicy: 'open', allowFrom: ['*']";
    for (keys, policies) in [
        (format!("dm: {{enabled: false}}, {all}"), [DmPolicy::Disabled; 2]),
        (
            format!("dm: {{enabled: false, policy: 'open', allowFrom: ['*']}}, accounts: {{a: {{{SECOND}, {all}}}}}"),
            [DmPolicy::Disabled; 2],
        ),
        (
            format!("{all}, accounts: {{a: {{{SECOND}, dm: {{enabled: false}}, {all}}}}}"),
            [DmPolicy::Open, DmPolicy::Disabled],
        ),
        (
            format!(
                "dm: {{enabled: true}}, dmPolicy: 'disabled', accounts: {{a: {{{SECOND}, dm: {{enabled: true}}}}}}"
            ),
            [DmPolicy::Disabled; 2],
        ),
        (
            format!("dm: {{enabled: false}}, {all}, accounts: {{a: {{{SECOND}, dm: {{enabled: true}}}}}}"),
            [DmPolicy::Disabled, DmPolicy::Open],
        ),
    ] {
        let draft = json(&discord(&format!("{TOKEN}, {keys}")));
        let found: Vec<DmPolicy> = accounts(&draft).iter().map(|account| account.access.dm_policy).collect();
        assert_eq!(found, policies[..found.len()], "{keys}");
    }
}

#[test]
fn names_that_change_hands_and_odd_tokens_are_refused() {
    for (keys, words) in [
        ("token: 'abc'", &["channels.discord.token", "Reset Token"][..]),
        ("token: 'MTIzNDU2Nzg5.abcdef.ghij\\nX-Evil: 1'", &["channels.discord.token"]),
        ("guilds: {home: {}}", &["guilds.home", "numeric id of a server"]),
        ("guilds: {'900': {channels: {general: {}}}}", &["channels.general", "numeric id of a channel"]),
        ("allowFrom: ['somebody']", &["allowFrom[0]", "numeric id"]),
        ("guilds: {'900': {users: ['tag#1']}}", &["users[0]"]),
        ("dmPolicy: 'open'", &["allowFrom: [\"*\"]"]),
        ("guild: {}", &["did you mean channels.discord.guilds?"]),
        ("apiRoot: 'http://discord.com'", &["apiRoot", "https://"]),
    ] {
        refused_with(&discord(keys), words);
    }
}

#[test]
fn a_binding_may_name_a_server_and_roles() {
    let draft = json(
        "{agents: {entries: {a: {default: true}}}, bindings: [
          {agentId: 'a', match: {channel: 'discord', guildId: '900', roles: ['50']}},
          {agentId: 'a', match: {channel: 'discord', roles: ['50']}}]}",
    );
    let [only] = draft.settings().bindings.as_slice() else { panic!("{:?}", draft.settings().bindings) };
    assert_eq!((only.guild.as_deref(), only.roles.as_slice()), (Some("900"), &["50".to_owned()][..]));
    assert!(draft.warnings.iter().any(|warning| warning.contains("roles without guildId")), "{:?}", draft.warnings);
}
