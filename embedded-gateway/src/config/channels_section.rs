//! Sections `channels`, `bindings` and `session`: by which services people reach agents, who may, and which agent they get. The
//! keys are those of real releases; what has no meaning here is named in a warning.

use std::collections::BTreeMap;

use gatewarden_protocol::Secret;
use serde_json::Value;
use url::Url;

use super::other_sections::secret_file;
use super::section::{Others, Section, set};
use super::{GatewayConfig, is_agent_id};

mod discord;
mod whatsapp;
pub use discord::{GuildRule, MemberRule};
pub use whatsapp::CloudApi;
pub(crate) use whatsapp::{is_scoped_id, person};

/// Most accounts of all channels, entries of one list, and bindings.
const MOST_ACCOUNTS: usize = 20;
const MOST_ENTRIES: usize = 1_000;

/// A service that this gateway speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelKind {
    /// The Bot API.
    Telegram,
    /// Its gateway and its API, version 10.
    Discord,
    /// The Cloud API.
    WhatsApp,
}

impl ChannelKind {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Telegram, Self::Discord, Self::WhatsApp];

    /// Its name in the configuration and on the wire.
    pub fn id(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::Discord => "discord",
            Self::WhatsApp => "whatsapp",
        }
    }

    /// Its name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Telegram => "Telegram",
            Self::Discord => "Discord",
            Self::WhatsApp => "WhatsApp",
        }
    }

    /// The channel of this name.
    pub fn named(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// The channel of a sender such as `telegram:123`.
    pub(crate) fn of_sender(sender: &str) -> Option<Self> {
        sender.split_once(':').and_then(|(channel, _)| Self::named(channel))
    }

    fn default_root(self) -> &'static str {
        match self {
            Self::Telegram => "https://api.telegram.org",
            Self::Discord => "https://discord.com/api/v10",
            Self::WhatsApp => whatsapp::DEFAULT_ROOT,
        }
    }

    fn token_variable(self) -> &'static str {
        match self {
            Self::Telegram => "TELEGRAM_BOT_TOKEN",
            Self::Discord => "DISCORD_BOT_TOKEN",
            Self::WhatsApp => whatsapp::ACCESS_TOKEN,
        }
    }

    /// The key of a token that is written out.
    fn token_key(self) -> &'static str {
        match self {
            Self::Telegram => "botToken",
            Self::Discord => "token",
            Self::WhatsApp => "cloudApi.accessToken",
        }
    }

    /// How a token looks, and where it is from.
    fn token_look(self) -> &'static str {
        match self {
            Self::Telegram => "is no token of a bot, which looks like 123456:ABC-DEF; @BotFather shows it",
            Self::Discord => {
                "is no token of a bot, which looks like MTk4NjIy.Cl2FMQ.ZnCjm1; https://discord.com/developers/applications shows it \
                 (the application, Bot, Reset Token)"
            }
            Self::WhatsApp => {
                "is no access token, which has letters and digits alone; a system user of the business has one"
            }
        }
    }

    /// Why an account without a token isn't used.
    pub(crate) fn without_token(self) -> &'static str {
        match self {
            Self::Telegram => "it has no token: write botToken or tokenFile",
            Self::Discord => "it has no token: write token or tokenFile",
            Self::WhatsApp => "its section cloudApi isn't complete; the gateway's log says what is missing",
        }
    }

    /// Messages come by a connection of its own: that its token is accepted doesn't mean that they do.
    pub(crate) fn has_connection(self) -> bool {
        match self {
            Self::Telegram | Self::WhatsApp => false,
            Self::Discord => true,
        }
    }

    /// How messages come, in the words of `channels.status`.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Self::Telegram => "polling",
            Self::Discord => "gateway",
            Self::WhatsApp => "webhook",
        }
    }

    /// A bot's name as people see it.
    pub fn named_as(self, name: &str) -> String {
        match self {
            Self::Telegram | Self::Discord => format!("@{name}"),
            Self::WhatsApp => name.to_owned(),
        }
    }

    /// Updates that are remembered, so that one that comes again is known. WhatsApp's service calls again for days.
    pub(crate) fn remembered(self) -> usize {
        match self {
            Self::Telegram | Self::Discord => 200,
            Self::WhatsApp => 2_000,
        }
    }

    /// Whether a text can be a token at all. It becomes part of addresses, so nothing else may.
    fn is_token(self, text: &str) -> bool {
        match self {
            Self::Telegram => text.split_once(':').is_some_and(|(id, rest)| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
                !id.is_empty()
                    && id.bytes().all(|byte| byte.is_ascii_digit())
                    && !rest.is_empty()
                    && rest.bytes().all(plain)
            }),
            // It goes into a header.
            Self::Discord => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                (20..=200).contains(&text.len()) && text.contains('.') && text.bytes().all(plain)
            }
            Self::WhatsApp => text.len() <= 2_048 && text.bytes().all(|byte| byte.is_ascii_graphic()),
        }
    }

    /// Keys of real releases that mean nothing here.
    fn unused(self) -> &'static str {
        match self {
            Self::Telegram => {
                "capabilities markdown configWrites defaultTo mentionPatterns contextVisibility historyLimit dmHistoryLimit dms \
                 textChunkLimit streaming heartbeatVisibility healthMonitor responsePrefix mediaMaxMb replyToMode joinIntro \
                 execApprovals commands customCommands direct richMessages network proxy webhookUrl webhookSecret webhookPath \
                 webhookHost webhookPort webhookCertPath actions threadBindings reactionNotifications reactionLevel ackReaction \
                 linkPreview silentErrorReplies errorPolicy trustedLocalFileRoots autoTopicLabel"
            }
            Self::Discord => discord::UNUSED,
            Self::WhatsApp => whatsapp::UNUSED,
        }
    }
}

/// One account (bot) of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelAccount {
    /// Of which channel.
    pub kind: ChannelKind,
    /// Its name; `default` where there is only one.
    pub id: String,
    /// Shown to people.
    pub name: Option<String>,
    /// Whether it is used.
    pub enabled: bool,
    /// What it logs in with; none: it isn't configured yet.
    pub token: Option<Secret>,
    /// Where the token is from: `config`, `tokenFile`, `env` or `none`.
    pub token_source: &'static str,
    /// The root of the service's API, without a slash at its end.
    pub api_root: String,
    /// Of Discord: the privileged intent by which the words of all messages are read is asked for.
    pub message_content: bool,
    /// Of WhatsApp: the way to its phone number.
    pub cloud: CloudApi,
    /// Longest part of an answer; none: as long as the service takes.
    pub text_limit: Option<usize>,
    /// Who may talk.
    pub access: ChannelAccess,
}

/// Who may talk by an account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelAccess {
    /// In direct messages.
    pub dm_policy: DmPolicy,
    /// Of Discord: direct messages are switched off (`dm.enabled`), so that `dm_policy` is [`DmPolicy::Disabled`] whatever is written.
    pub direct_off: bool,
    /// Ids of people, or `*`.
    pub allow_from: Vec<String>,
    /// In groups.
    pub group_policy: GroupPolicy,
    /// The same of groups; none: `allow_from`.
    pub group_allow_from: Option<Vec<String>>,
    /// Which groups, by id or `*`; none: as `group_policy` says.
    pub groups: Option<BTreeMap<String, GroupRule>>,
    /// Of Discord: which servers, by id or `*`.
    pub guilds: BTreeMap<String, GuildRule>,
}

/// What is different in one group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupRule {
    /// False: nobody is heard in it.
    pub enabled: Option<bool>,
    /// Only messages that name the bot or answer it; default: yes.
    pub require_mention: Option<bool>,
    /// Instead of the account's.
    pub group_policy: Option<GroupPolicy>,
    /// Instead of the account's.
    pub allow_from: Option<Vec<String>>,
}

/// Who may send direct messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DmPolicy {
    /// Who was approved, and `allow_from`. Others get a code.
    #[default]
    Pairing,
    /// `allow_from` alone.
    Allowlist,
    /// `allow_from`, which must have `*`.
    Open,
    /// Nobody.
    Disabled,
}

impl DmPolicy {
    /// Its word in the configuration and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pairing => "pairing",
            Self::Allowlist => "allowlist",
            Self::Open => "open",
            Self::Disabled => "disabled",
        }
    }
}

/// Who is heard in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupPolicy {
    /// Who is listed.
    #[default]
    Allowlist,
    /// All members.
    Open,
    /// Nobody.
    Disabled,
}

/// `session.dmScope`: which direct messages share a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmScope {
    /// All, with the agent's main session.
    Main,
    /// Those of one person.
    PerPeer,
    /// Those of one person on one channel.
    PerChannelPeer,
    /// Those of one person with one account.
    PerAccountChannelPeer,
}

/// One of `bindings[]`: which agent gets what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The agent.
    pub agent_id: String,
    /// A channel's name, of one that this gateway has or of another.
    pub channel: String,
    /// An account; `*` for all. None: `default`.
    pub account: Option<String>,
    /// `direct` or not, and the id of the person or group; `*` for all of the kind.
    pub peer: Option<(bool, String)>,
    /// A server of Discord.
    pub guild: Option<String>,
    /// Roles there, one of which is enough; none: all members.
    pub roles: Vec<String>,
    /// Instead of `session.dmScope`.
    pub dm_scope: Option<DmScope>,
}

/// The account that there is where none is named.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";

/// `channels`.
pub(super) fn channels(root: &Section<'_>, config: &mut GatewayConfig) {
    let channels = root.section("channels");
    for kind in ChannelKind::ALL {
        let section = channels.section(kind.id());
        let is_read = section.is_written() || section.findings.schema.is_some();
        let accounts = section.entries("accounts");
        let mut base = ChannelAccount {
            kind,
            id: DEFAULT_ACCOUNT.to_owned(),
            name: None,
            enabled: true,
            token: None,
            token_source: "none",
            api_root: kind.default_root().to_owned(),
            message_content: true,
            cloud: CloudApi::default(),
            text_limit: None,
            access: ChannelAccess::default(),
        };
        account(&section, &mut base);
        let _ = section.text("defaultAccount");
        if base.token.is_none()
            && is_read
            && let Some(token) = section.findings.inputs.variable(kind.token_variable())
        {
            (base.token, base.token_source) = (token_of(&section, kind.token_variable(), kind, token), "env");
        }
        if kind == ChannelKind::WhatsApp && is_read {
            whatsapp::from_environment(&section, &mut base.cloud);
        }
        let mut found = Vec::new();
        for (id, value) in &accounts {
            let mut own = ChannelAccount { id: (*id).to_owned(), ..base.clone() };
            if *id != DEFAULT_ACCOUNT && kind == ChannelKind::WhatsApp {
                // Several phone numbers may be of one app and have one token.
                own.cloud.phone_number_id = None;
            } else if *id != DEFAULT_ACCOUNT {
                (own.token, own.token_source) = (None, "none");
            }
            let below = Section::open(section.findings, Some(value), format!("{}.accounts.{id}", section.path));
            account(&below, &mut own);
            // Closed where the whole channel is off.
            own.enabled &= base.enabled;
            below.close(Others::RefusedBut(kind.unused()));
            if is_account_id(id) {
                found.push(own);
            } else if section.findings.schema.is_none() {
                let cure = "is no name of an account: lower-case letters, digits, - and _, at most 64";
                section.wrong(&format!("accounts.{id}"), None, cure);
            }
        }
        let has_default = found.iter().any(|account| account.id == DEFAULT_ACCOUNT);
        let is_account =
            base.token.is_some() && (kind != ChannelKind::WhatsApp || base.cloud.phone_number_id.is_some());
        // Accounts that name the variable are not joined by another one with its token.
        let is_named = base.token_source == "env" && found.iter().any(|account| account.token == base.token);
        if !has_default && (found.is_empty() || is_account && (kind == ChannelKind::WhatsApp || !is_named)) {
            found.insert(0, base);
        }
        // Only now: an account that says `dm.enabled: true` has the policy that it inherits.
        for access in found.iter_mut().map(|account| &mut account.access).filter(|access| access.direct_off) {
            access.dm_policy = DmPolicy::Disabled;
        }
        if kind == ChannelKind::WhatsApp && is_read {
            found.iter_mut().for_each(|account| whatsapp::complete(&section, account));
        }
        let used: Vec<_> = found.iter().filter(|account| account.enabled && account.token.is_some()).collect();
        // Phone numbers of WhatsApp may have one token.
        let is_numbered = kind == ChannelKind::WhatsApp;
        let what = if is_numbered { "phone number" } else { "token" };
        for (at, own) in used.iter().enumerate() {
            let has_same = |other: &&&ChannelAccount| {
                (is_numbered || other.token == own.token) && other.cloud.phone_number_id == own.cloud.phone_number_id
            };
            if let Some(other) = used.iter().take(at).find(has_same) {
                let cure = "which would take its messages: give it another one, or say enabled: false";
                section.wrong(
                    &format!("accounts.{}", own.id),
                    None,
                    format!("has the {what} of the account {}, {cure}", other.id),
                );
            }
        }
        section.close(Others::RefusedBut(kind.unused()));
        if !is_read {
            continue;
        }
        let is_bare = |account: &&ChannelAccount| account.enabled && account.token.is_none();
        for account in found.iter().filter(is_bare).filter(|_| kind != ChannelKind::WhatsApp) {
            channels.findings.warn(format!(
                "channels.{} has no token for the account {}, which isn't used: write {} or tokenFile, set {} for the default \
                 account, or say enabled: false",
                kind.id(),
                account.id,
                kind.token_key(),
                kind.token_variable()
            ));
        }
        config.channels.extend(found);
    }
    if config.channels.len() > MOST_ACCOUNTS {
        root.wrong("channels", None, format!("has more than {MOST_ACCOUNTS} accounts"));
    }
    channels.close(Others::Ignored);
}

/// What an account says of itself, over what it inherits.
fn account(section: &Section<'_>, into: &mut ChannelAccount) {
    let kind = into.kind;
    set(&mut into.enabled, section.switch("enabled"));
    into.name = section.text("name").or(into.name.take());
    if kind == ChannelKind::WhatsApp {
        whatsapp::account(section, into);
    } else {
        // As real releases have it, a file goes before a token that is written out.
        let written = section.secret(kind.token_key()).map(|token| (token, "config"));
        let file = secret_file(section, "tokenFile").map(|token| (token, "tokenFile"));
        if let Some((token, source)) = file.or(written) {
            let key = if source == "config" { kind.token_key() } else { "tokenFile" };
            (into.token, into.token_source) = (token_of(section, key, kind, token.expose()), source);
        }
        set(&mut into.api_root, section.parsed("apiRoot", api_root));
    }
    if kind == ChannelKind::Discord {
        discord::direct(section, &mut into.access);
    }
    let access = &mut into.access;
    set(&mut access.dm_policy, section.parsed("dmPolicy", parse_dm_policy));
    set(&mut access.allow_from, ids(section, "allowFrom", kind));
    if kind != ChannelKind::WhatsApp {
        set(&mut access.group_policy, section.parsed("groupPolicy", parse_group_policy));
    }
    if kind == ChannelKind::Telegram {
        access.group_allow_from = ids(section, "groupAllowFrom", kind).or(access.group_allow_from.take());
        if section.value("groups").is_some() || section.findings.schema.is_some() {
            access.groups = Some(groups(section, kind));
        }
    }
    let is_said = section.value("dmPolicy").is_some() || section.value("allowFrom").is_some();
    let anybody = access.allow_from.iter().any(|id| id == "*");
    match access.dm_policy {
        DmPolicy::Open if is_said && !anybody => {
            section.wrong(
                "dmPolicy",
                Some(&"open".into()),
                "lets everybody in, which allowFrom: [\"*\"] has to say, too",
            );
        }
        DmPolicy::Allowlist if is_said && access.allow_from.is_empty() => {
            section.wrong(
                "allowFrom",
                None,
                "lists nobody, so that dmPolicy \"allowlist\" lets nobody in; write their ids",
            );
        }
        _ => {}
    }
    if kind == ChannelKind::Discord {
        discord::account(section, into);
    }
}

fn token_of(section: &Section<'_>, key: &str, kind: ChannelKind, text: &str) -> Option<Secret> {
    let text = text.strip_prefix("Bot ").filter(|_| kind == ChannelKind::Discord).unwrap_or(text);
    if kind.is_token(text) {
        return Some(Secret::new(text));
    }
    section.wrong(key, None, kind.token_look());
    None
}

fn groups(section: &Section<'_>, kind: ChannelKind) -> BTreeMap<String, GroupRule> {
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
            allow_from: ids(&group, "allowFrom", kind),
        };
        group.close(Others::RefusedBut(
            "ingest disableAudioPreflight topics errorPolicy tools toolsBySender skills systemPrompt",
        ));
        rules.insert(id.to_owned(), rule);
    }
    rules
}

/// Ids of people, as numbers or texts; none where the key isn't written.
fn ids(section: &Section<'_>, name: &'static str, kind: ChannelKind) -> Option<Vec<String>> {
    let items = section.items(name);
    section.value(name)?;
    if items.len() > MOST_ENTRIES {
        section.wrong(name, None, format!("has more than {MOST_ENTRIES} entries"));
    }
    let mut ids = Vec::new();
    for (at, item) in items.iter().take(MOST_ENTRIES).enumerate() {
        let path = format!("{}[{at}]", section.key(name));
        section.findings.may_be_shown(&path);
        let text = match item {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        let short = match kind {
            ChannelKind::Telegram => "tg",
            ChannelKind::Discord => "user",
            ChannelKind::WhatsApp => "wa",
        };
        let id =
            [kind.id(), short].iter().find_map(|prefix| text.strip_prefix(prefix)?.strip_prefix(':')).unwrap_or(&text);
        let is_number = !id.is_empty() && id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_digit());
        let known = match kind {
            _ if id == "*" => Some(id.to_owned()),
            ChannelKind::WhatsApp => whatsapp::person(id),
            ChannelKind::Telegram | ChannelKind::Discord => is_number.then(|| id.to_owned()),
        };
        match (known, kind) {
            (Some(known), _) => ids.push(known),
            (None, ChannelKind::WhatsApp) => {
                let cure = "must be a phone number with its country such as \"+15551234567\", or \"*\"";
                section.findings.wrong(&path, Some(item), cure);
            }
            (None, ChannelKind::Telegram | ChannelKind::Discord) => {
                let cure = "must be the numeric id of a person, or \"*\"; names change hands, and groups have a key of their own";
                section.findings.wrong(&path, Some(item), cure);
            }
        }
    }
    Some(ids)
}

fn parse_dm_policy(text: &str) -> Result<DmPolicy, &'static str> {
    match text {
        "pairing" => Ok(DmPolicy::Pairing),
        "allowlist" => Ok(DmPolicy::Allowlist),
        "open" => Ok(DmPolicy::Open),
        "disabled" => Ok(DmPolicy::Disabled),
        _ => Err("must be pairing, allowlist, open or disabled"),
    }
}

fn parse_group_policy(text: &str) -> Result<GroupPolicy, &'static str> {
    match text {
        "allowlist" => Ok(GroupPolicy::Allowlist),
        "open" => Ok(GroupPolicy::Open),
        "disabled" => Ok(GroupPolicy::Disabled),
        _ => Err("must be allowlist, open or disabled"),
    }
}

fn parse_dm_scope(text: &str) -> Result<DmScope, &'static str> {
    match text {
        "main" => Ok(DmScope::Main),
        "per-peer" => Ok(DmScope::PerPeer),
        "per-channel-peer" => Ok(DmScope::PerChannelPeer),
        "per-account-channel-peer" => Ok(DmScope::PerAccountChannelPeer),
        _ => Err("must be main, per-peer, per-channel-peer or per-account-channel-peer"),
    }
}

/// The root of an API. The token is part of each address below it, so it goes encrypted, or doesn't leave the machine.
fn api_root(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).map_err(|_| "must be an address that begins with https://")?;
    let is_local = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    match url.scheme() {
        _ if !is_plain => Err("must have neither user nor query"),
        _ if url.path().contains("/bot") => Err("is the root alone, without /bot and the token"),
        "https" => Ok(url.as_str().trim_end_matches('/').to_owned()),
        "http" if is_local => Ok(url.as_str().trim_end_matches('/').to_owned()),
        _ => Err("must begin with https://; http:// is for a server on this machine (127.0.0.1, localhost)"),
    }
}

fn is_account_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    !id.is_empty() && id.len() <= 64 && id.bytes().all(plain)
}

/// `session`.
pub(super) fn session(root: &Section<'_>, config: &mut GatewayConfig) {
    let section = root.section("session");
    config.dm_scope = section.parsed("dmScope", parse_dm_scope);
    section.close(Others::Ignored);
}

/// `bindings[]`.
pub(super) fn bindings(root: &Section<'_>, config: &mut GatewayConfig) {
    let items = root.items("bindings");
    if items.len() > MOST_ENTRIES {
        root.wrong("bindings", None, format!("has more than {MOST_ENTRIES} entries"));
    }
    for (at, item) in items.iter().take(MOST_ENTRIES).enumerate() {
        let path = format!("bindings[{at}]");
        let section = Section::open(root.findings, Some(item), path.clone());
        let is_route = section.text("type").is_none_or(|kind| kind == "route");
        let agent_id = section.parsed("agentId", |id| {
            if is_agent_id(id) { Ok(id.to_owned()) } else { Err("must be the id of an agent") }
        });
        let _ = section.text("comment");
        let found = section.section("match");
        let (channel, account) = (found.text("channel"), found.text("accountId").filter(|account| !account.is_empty()));
        let peer_section = found.section("peer");
        let kind = peer_section.parsed("kind", |kind| match kind {
            "direct" | "dm" => Ok(true),
            "group" | "channel" => Ok(false),
            _ => Err("must be direct, group or channel"),
        });
        let peer = kind.zip(peer_section.text("id"));
        let has_peer = peer_section.is_written();
        peer_section.close(Others::RefusedBut(""));
        let guild = found.text("guildId");
        let roles = ids(&found, "roles", ChannelKind::Discord).unwrap_or_default();
        // That is Slack's.
        let elsewhere = found.value("teamId").is_some() || (!roles.is_empty() && guild.is_none());
        found.close(Others::RefusedBut(""));
        let own = section.section("session");
        let dm_scope = own.parsed("dmScope", parse_dm_scope);
        own.close(Others::RefusedBut("groupScope"));
        section.close(Others::RefusedBut("acp"));
        if root.findings.schema.is_some() {
            continue;
        }
        if !is_route || elsewhere {
            let why = if is_route { "teamId, or roles without guildId" } else { "another type than route" };
            root.findings.warn(format!("{path} is passed over: this gateway has no channel with {why}"));
            continue;
        }
        match (agent_id, channel) {
            (Some(agent_id), Some(channel)) if peer.is_some() || !has_peer => {
                config.bindings.push(Binding { agent_id, channel, account, peer, guild, roles, dm_scope });
            }
            _ => root.wrong(&path, None, "needs agentId, match.channel and, where there is a peer, its kind and id"),
        }
    }
}
