//! Section `channels.whatsapp`.

use std::os::unix::fs::PermissionsExt as _;

use gatewarden_protocol::Secret;

use super::{Home, json, refused_with, secrets_of};
use crate::config::{ChannelAccount, DmPolicy, Draft, load};

const CLOUD: &str =
    "cloudApi: {phoneNumberId: '1065', accessToken: 'EAAx', appSecret: '0123456789abcdef', verifyToken: 'a word'}";

fn whatsapp(keys: &str) -> String {
    format!("{{channels: {{whatsapp: {{{keys}}}}}, agents: {{entries: {{main: {{}}}}}}}}")
}

fn accounts(draft: &Draft) -> &[ChannelAccount] {
    &draft.settings().channels
}

fn texts<'a>(account: &'a ChannelAccount) -> [Option<&'a str>; 4] {
    let cloud = &account.cloud;
    let secret = |secret: &'a Option<Secret>| secret.as_ref().map(Secret::expose);
    [cloud.phone_number_id.as_deref(), secret(&account.token), secret(&cloud.app_secret), secret(&cloud.verify_token)]
}

#[test]
fn its_secrets_are_known() {
    assert_eq!(
        secrets_of("whatsapp"),
        [
            "accounts.*.cloudApi.accessToken",
            "accounts.*.cloudApi.appSecret",
            "accounts.*.cloudApi.verifyToken",
            "cloudApi.accessToken",
            "cloudApi.appSecret",
            "cloudApi.verifyToken"
        ]
    );
}

#[test]
fn real_openclaws_keys_are_read_and_those_without_effect_are_named() {
    let draft = json(&whatsapp(&format!(
        "{CLOUD}, dmPolicy: 'allowlist', allowFrom: ['+1 (555) 123-4567', 'whatsapp:+4915112345678', 15551234568],
         sendReadReceipts: false, textChunkLimit: 4000, groupPolicy: 'open', groups: {{'*': {{}}}}, selfChatMode: true, authDir: '/x'"
    )));
    let [account] = accounts(&draft) else { panic!("{:?}", accounts(&draft)) };
    assert_eq!(texts(account), [Some("1065"), Some("EAAx"), Some("0123456789abcdef"), Some("a word")]);
    assert_eq!(account.access.dm_policy, DmPolicy::Allowlist);
    assert_eq!(account.access.allow_from, ["+15551234567", "+4915112345678", "+15551234568"]);
    assert_eq!((account.cloud.read_receipts, account.text_limit), (Some(false), Some(4_000)));
    assert_eq!(account.api_root, "https://graph.facebook.com/v25.0");
    assert_eq!(draft.warnings.len(), 1, "{:?}", draft.warnings);
    for key in ["groupPolicy", "groups", "selfChatMode", "authDir"] {
        assert!(draft.warnings[0].contains(&format!("channels.whatsapp.{key}")), "{key}: {:?}", draft.warnings);
    }
    assert!(!format!("{draft:?}").contains("EAAx"));
}

#[test]
fn an_account_that_lacks_a_part_is_not_used_and_the_part_is_named() {
    for (keys, lacks) in [
        ("", "phoneNumberId, accessToken, appSecret, verifyToken"),
        ("dmPolicy: 'pairing', selfChatMode: false", "phoneNumberId, accessToken, appSecret, verifyToken"),
        ("cloudApi: {phoneNumberId: '1', accessToken: 'E', verifyToken: 'x'}", "no appSecret:"),
    ] {
        let draft = json(&whatsapp(keys));
        assert!(accounts(&draft)[0].token.is_none());
        assert!(draft.warnings.iter().any(|warning| warning.contains(lacks)), "{keys}: {:?}", draft.warnings);
    }
    assert!(json(&whatsapp("enabled: false")).warnings.is_empty());
}

#[test]
fn secrets_are_read_from_private_files_and_from_the_environment() {
    let keys = "cloudApi: {phoneNumberId: '1', accessTokenFile: '~/token', accessToken: 'EAAold'}";
    let home = Home::with("openclaw.json", &whatsapp(keys))
        .env("WHATSAPP_APP_SECRET", "0123456789abcdef")
        .env("WHATSAPP_VERIFY_TOKEN", "word");
    let file = home.path().join("token");
    std::fs::write(&file, "EAAfile\n").unwrap();
    let read = |mode: u32| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        load(&home.inputs)
    };
    let draft = read(0o600).unwrap();
    let account = &accounts(&draft)[0];
    assert_eq!(texts(account), [Some("1"), Some("EAAfile"), Some("0123456789abcdef"), Some("word")]);
    assert_eq!(account.token_source, "tokenFile");
    let said = read(0o644).unwrap_err().to_string();
    assert!(said.contains("accessTokenFile") && said.contains("chmod 600"), "{said}");
    let home = Home::with("openclaw.json", &whatsapp(CLOUD));
    let file = home.inputs.config_file.clone().unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = load(&home.inputs).unwrap_err().to_string();
    assert!(said.contains("chmod 600") && !said.contains("EAAx"), "{said}");
}

#[test]
fn accounts_inherit_all_but_the_phone_number() {
    let draft = json(&whatsapp(&format!(
        "{CLOUD}, accounts: {{work: {{cloudApi: {{phoneNumberId: '2', appSecret: 'fedcba9876543210'}}}}, bare: {{}}}}"
    )));
    let [default, bare, work] = accounts(&draft) else { panic!("{:?}", accounts(&draft)) };
    assert_eq!(texts(default)[0], Some("1065"));
    assert_eq!(texts(work), [Some("2"), Some("EAAx"), Some("fedcba9876543210"), Some("a word")]);
    assert!(bare.token.is_none() && draft.warnings.iter().any(|warning| warning.contains("account bare isn't used")));
    let shared = CLOUD.replace("phoneNumberId: '1065', ", "");
    let only = json(&whatsapp(&format!("{shared}, accounts: {{work: {{cloudApi: {{phoneNumberId: '2'}}}}}}")));
    assert_eq!(accounts(&only).len(), 1, "what is shared is no account");
}

#[test]
fn what_would_let_in_others_than_meant_is_refused() {
    for (keys, words) in [
        ("cloudApi: {phoneNumberId: '+15551234567'}", &["phoneNumberId", "API Setup"][..]),
        ("cloudApi: {appSecret: 'short'}", &["appSecret", "32 characters"]),
        ("cloudApi: {accessToken: 'a b'}", &["accessToken"]),
        ("cloudApi: {apiRoot: 'http://graph.example.com'}", &["apiRoot", "https://"]),
        ("cloudApi: {phoneNumber: '1'}", &["did you mean channels.whatsapp.cloudApi.phoneNumberId?"]),
        ("cloudapi: {}", &["did you mean channels.whatsapp.cloudApi?"]),
        ("allowFrom: ['eve']", &["allowFrom[0]", "+15551234567"]),
        ("dmPolicy: 'open'", &["allowFrom: [\"*\"]"]),
        ("textChunkLimit: 3", &["textChunkLimit"]),
    ] {
        refused_with(&whatsapp(keys), words);
    }
}
