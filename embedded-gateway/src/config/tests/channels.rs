//! Sections `channels`, `bindings` and `session`.

use std::os::unix::fs::PermissionsExt as _;

use super::{Home, json, refused_with, secrets_of};
use crate::config::channels_section::{none_used, not_built};
use crate::config::{ChannelAccount, DmPolicy, DmScope, Draft, GroupPolicy, load};

fn telegram(keys: &str) -> String {
    format!("{{channels: {{telegram: {{{keys}}}}}, agents: {{entries: {{main: {{}}}}}}}}")
}

fn accounts(draft: &Draft) -> &[ChannelAccount] {
    &draft.settings().channels
}

#[test]
fn its_secrets_are_known() {
    assert_eq!(secrets_of("telegram"), ["accounts.*.botToken", "botToken"]);
}

#[test]
fn real_openclaws_keys_are_read_and_those_without_effect_are_named() {
    let draft = json(&telegram(
        "enabled: true, botToken: '1:abc', dmPolicy: 'allowlist', allowFrom: [123, 'tg:456', 'telegram:7'], groupPolicy: 'open',
         groups: {'-100': {requireMention: false, topics: {}}}, streaming: {mode: 'off'}, webhookUrl: 'https://x'",
    ));
    let [account] = accounts(&draft) else { panic!("{:?}", accounts(&draft)) };
    assert_eq!((account.id.as_str(), account.token_source, account.enabled), ("default", "config", true));
    assert_eq!(account.token.as_ref().map(|token| token.expose()), Some("1:abc"));
    assert_eq!(account.api_root, "https://api.telegram.org");
    let access = &account.access;
    assert_eq!((access.dm_policy, access.group_policy), (DmPolicy::Allowlist, GroupPolicy::Open));
    assert_eq!(access.allow_from, ["123", "456", "7"]);
    assert_eq!(access.groups.as_ref().unwrap()["-100"].require_mention, Some(false));
    assert_eq!(draft.warnings.len(), 1);
    for key in ["channels.telegram.streaming", "channels.telegram.webhookUrl", "channels.telegram.groups.-100.topics"] {
        assert!(draft.warnings[0].contains(key), "{key}: {:?}", draft.warnings);
    }
    assert!(!format!("{draft:?}").contains("1:abc"));
}

#[test]
fn groups_beyond_the_limit_are_said_to_be_left_out() {
    let groups = |count: u32| {
        let groups: String = (0..count).map(|id| format!("'-{id}': {{}}, ")).collect();
        json(&telegram(&format!("botToken: '1:abc', groups: {{{groups}}}")))
    };
    assert!(groups(1_000).warnings.is_empty());
    let draft = groups(1_001);
    assert_eq!(accounts(&draft)[0].access.groups.as_ref().unwrap().len(), 1_000);
    assert!(draft.warnings[0].contains("channels.telegram.groups has 1001 entries"), "{:?}", draft.warnings);
}

#[test]
fn without_the_section_there_is_no_channel_and_without_a_token_it_is_said() {
    assert!(accounts(&json("{}")).is_empty());
    let draft = json(&telegram(""));
    assert!(accounts(&draft)[0].token.is_none());
    assert!(
        draft.warnings[0].contains("no token") && draft.warnings[0].contains("TELEGRAM_BOT_TOKEN"),
        "{:?}",
        draft.warnings
    );
    assert!(json(&telegram("enabled: false")).warnings.is_empty());
    let home = Home::with("openclaw.json", &telegram("")).env("TELEGRAM_BOT_TOKEN", "2:env");
    assert_eq!(accounts(&load(&home.inputs).unwrap())[0].token_source, "env");
    let home = Home::with("openclaw.json", "{}").env("TELEGRAM_BOT_TOKEN", "2:env");
    assert!(accounts(&load(&home.inputs).unwrap()).is_empty(), "a variable alone starts nothing");
}

#[test]
fn a_build_without_channels_uses_no_account_and_says_what_helps() {
    let why = not_built(false);
    assert!(why.is_some_and(|why| why.contains("cargo feature channels") && why.contains("enabled: false")));
    let draft = json(&telegram("accounts: {on: {botToken: '1:a'}, bare: {}, off: {botToken: '2:b', enabled: false}}"));
    let account = |id: &str| accounts(&draft).iter().find(|account| account.id == id).unwrap();
    let (on, bare, off) = (account("on"), account("bare"), account("off"));
    assert_eq!((on.off(why), bare.off(why)), (why, why));
    assert_eq!(off.off(why), Some("it is disabled (enabled: false)"));
    let said = none_used(accounts(&draft), why).unwrap();
    assert!(said.starts_with("channels: no account is used, since this build of gatewarden has no channels"), "{said}");
    assert_eq!(none_used(std::slice::from_ref(off), why), None, "nothing is missed");
    // With channels nothing of it is said.
    let why = not_built(true);
    assert_eq!((why, on.off(why), none_used(accounts(&draft), why)), (None, None, None));
    assert!(bare.off(why).unwrap().contains("botToken"));
    assert_eq!(off.off(why), Some("it is disabled (enabled: false)"));
}

#[test]
fn two_accounts_that_are_used_have_no_token_in_common() {
    let two = |more: &str| telegram(&format!("accounts: {{a: {{botToken: '1:abc'}}, b: {{botToken: '1:abc'{more}}}}}"));
    refused_with(&two(""), &["channels.telegram.accounts.b", "token of the account a", "enabled: false"]);
    assert_eq!(accounts(&json(&two(", enabled: false"))).len(), 2);
    // Who names the token of the variable wants one account, not two.
    let one = telegram("accounts: {a: {botToken: '1:abc'}}");
    let home = Home::with("openclaw.json", &one).env("TELEGRAM_BOT_TOKEN", "1:abc");
    let draft = load(&home.inputs).unwrap();
    assert_eq!(accounts(&draft).iter().map(|account| account.id.as_str()).collect::<Vec<_>>(), ["a"]);
    let home = Home::with("openclaw.json", &one).env("TELEGRAM_BOT_TOKEN", "2:env");
    assert_eq!(accounts(&load(&home.inputs).unwrap()).len(), 2);
}

#[test]
fn a_token_file_goes_first_and_must_be_private() {
    let home = Home::with("openclaw.json", &telegram("botToken: '1:abc', tokenFile: '~/token'"));
    let file = home.path().join("token");
    std::fs::write(&file, "3:file\n").unwrap();
    let read = |mode: u32| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        load(&home.inputs)
    };
    let draft = read(0o600).unwrap();
    let account = &accounts(&draft)[0];
    assert_eq!((account.token.as_ref().unwrap().expose(), account.token_source), ("3:file", "tokenFile"));
    let said = read(0o644).unwrap_err().to_string();
    assert!(said.contains("tokenFile") && said.contains("chmod 600"), "{said}");
}

#[test]
fn a_file_with_a_bots_token_must_be_private() {
    for keys in ["botToken: '1:abc'", "accounts: {a: {botToken: '1:abc'}}"] {
        let home = Home::with("openclaw.json", &telegram(keys));
        let file = home.inputs.config_file.clone().unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = load(&home.inputs).unwrap_err().to_string();
        assert!(said.contains("chmod 600") && !said.contains("1:abc"), "{said}");
    }
}

#[test]
fn accounts_inherit_all_but_the_token() {
    let draft = json(&telegram(
        "botToken: '1:abc', allowFrom: [5], apiRoot: 'http://127.0.0.1:9000/',
         accounts: {work: {botToken: '2:def', name: 'Work', dmPolicy: 'disabled'}, bare: {enabled: false}}",
    ));
    let [default, bare, work] = accounts(&draft) else { panic!("{:?}", accounts(&draft)) };
    assert_eq!((default.id.as_str(), bare.id.as_str(), work.id.as_str()), ("default", "bare", "work"));
    assert_eq!((bare.token.is_none(), bare.enabled), (true, false));
    assert_eq!((work.name.as_deref(), work.access.dm_policy), (Some("Work"), DmPolicy::Disabled));
    assert_eq!(
        (work.api_root.as_str(), work.access.allow_from.as_slice()),
        ("http://127.0.0.1:9000", &["5".to_owned()][..])
    );
    let only = json(&telegram("accounts: {work: {botToken: '2:def'}}"));
    assert_eq!(accounts(&only).len(), 1, "the root alone is no account");
}

#[test]
fn what_would_let_in_others_than_meant_or_show_the_token_is_refused() {
    for (keys, words) in [
        ("botToken: 'abc'", &["botToken", "no token of a bot"][..]),
        ("botToken: '1:a/../b'", &["botToken"]),
        ("botToken: '1:a', dmPolicy: 'open'", &["allowFrom: [\"*\"]"]),
        ("botToken: '1:a', dmPolicy: 'allowlist'", &["lists nobody"]),
        ("botToken: '1:a', dmPolicy: 'all'", &["pairing, allowlist, open or disabled"]),
        ("allowFrom: ['@name']", &["allowFrom[0]", "numeric id"]),
        ("groupAllowFrom: [-100]", &["groupAllowFrom[0]", "groups"]),
        ("apiRoot: 'http://api.example.com'", &["apiRoot", "https://"]),
        ("apiRoot: 'https://user:x@api.example.com'", &["apiRoot", "neither user"]),
        ("apiRoot: 'https://api.telegram.org/bot1:abc'", &["apiRoot", "without /bot"]),
        ("accounts: {'../x': {}}", &["no name of an account"]),
        ("bottoken: '1:a'", &["did you mean channels.telegram.botToken?"]),
    ] {
        refused_with(&telegram(keys), words);
    }
}

#[test]
fn bindings_and_the_scope_of_sessions_are_read() {
    let draft = json(
        "{agents: {entries: {a: {default: true}}}, session: {dmScope: 'per-peer', mainKey: 'x'}, bindings: [
          {agentId: 'a', match: {channel: 'telegram', peer: {kind: 'direct', id: '5'}}, session: {dmScope: 'main'}},
          {agentId: 'b', match: {channel: 'telegram', accountId: '*'}},
          {agentId: 'a', match: {channel: 'slack', teamId: '1'}},
          {type: 'acp', agentId: 'a', match: {channel: 'telegram', peer: {kind: 'group', id: '-1'}}}]}",
    );
    let [first, second] = draft.settings().bindings.as_slice() else { panic!("{:?}", draft.settings().bindings) };
    assert_eq!((first.peer.clone(), first.dm_scope), (Some((true, "5".to_owned())), Some(DmScope::Main)));
    assert_eq!((second.account.as_deref(), second.agent_id.as_str()), (Some("*"), "b"));
    assert_eq!(draft.settings().dm_scope, Some(DmScope::PerPeer));
    for said in ["bindings[2] is passed over", "bindings[3] is passed over", "no agent \"b\"", "session.mainKey"] {
        assert!(draft.warnings.iter().any(|warning| warning.contains(said)), "{said}: {:?}", draft.warnings);
    }
    refused_with("{bindings: [{match: {channel: 'telegram'}}]}", &["bindings[0]", "agentId"]);
    refused_with("{session: {dmScope: 'all'}}", &["per-account-channel-peer"]);
}
