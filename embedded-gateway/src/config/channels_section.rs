//! Sections `channels`, `bindings` and `session`: by which services people reach agents, who may, and which agent they get. The
//! keys are those of real releases; what has no meaning here is named in a warning.

use std::collections::BTreeMap;

use gatewarden_protocol::{Secret, named};
use url::Url;

use super::other_sections::secret_file;
use super::section::{Others, Section, set};
use super::{GatewayConfig, is_agent_id};

mod discord;
mod telegram;
mod whatsapp;
pub use discord::{GuildRule, MemberRule};
pub use whatsapp::CloudApi;
pub(crate) use whatsapp::{is_scoped_id, person};

/// Most accounts of all channels, entries of one list, and bindings.
const MOST_ACCOUNTS: usize = 20;
const MOST_ENTRIES: usize = 1_000;

/// The list of channels: each with the file in which it states what is its own.
macro_rules! kinds {
    ($($(#[$meaning:meta])+ $kind:ident: $file:ident,)+) => {
        /// A service that this gateway speaks to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ChannelKind {
            $($(#[$meaning])+ $kind,)+
        }

        impl ChannelKind {
            /// All that there are.
            pub const ALL: [Self; [$(Self::$kind),+].len()] = [$(Self::$kind),+];

            /// What it states of itself.
            pub(crate) fn channel(self) -> &'static Channel {
                match self {
                    $(Self::$kind => &$file::CHANNEL,)+
                }
            }
        }
    };
}

kinds! {
    /// The Bot API.
    Telegram: telegram,
    /// Its gateway and its API, version 10.
    Discord: discord,
    /// The Cloud API.
    WhatsApp: whatsapp,
}

impl ChannelKind {
    /// Its name in the configuration and on the wire.
    pub fn id(self) -> &'static str {
        self.channel().id
    }

    /// Its name for people.
    pub fn label(self) -> &'static str {
        self.channel().label
    }

    /// A bot's name as people see it.
    pub fn named_as(self, name: &str) -> String {
        if self.channel().has_numbers { name.to_owned() } else { format!("@{name}") }
    }

    /// The channel of this name.
    pub fn named(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// The channel of a sender such as `telegram:123`.
    pub(crate) fn of_sender(sender: &str) -> Option<Self> {
        sender.split_once(':').and_then(|(channel, _)| Self::named(channel))
    }
}

/// What a channel states of itself: all in which one differs from another but its service, which is in `channels/`.
pub(crate) struct Channel {
    id: &'static str,
    label: &'static str,
    /// What people may write before ids instead of `id`.
    short: &'static str,
    default_root: &'static str,
    /// Where a token is: of the default account in the environment, and written out.
    token_variable: &'static str,
    token_key: &'static str,
    /// The token that a text is; it becomes part of addresses or headers. Err: how one looks, and where it is from.
    token: fn(&str) -> Result<&str, &'static str>,
    /// Accounts are phone numbers, of which several may have one token, and no bots.
    has_numbers: bool,
    /// A person's id in a list of who may talk. Err: how one looks.
    person: fn(&str) -> Result<String, &'static str>,
    /// Reads what an account says of itself, over what it inherits.
    account: fn(&Section<'_>, &mut ChannelAccount),
    /// Reads what the environment says beside the token.
    from_environment: fn(&Section<'_>, &mut ChannelAccount),
    /// What is missing, so that an account isn't used: a warning.
    lacks: fn(&ChannelAccount) -> Option<String>,
    /// Keys of real releases that mean nothing here.
    unused: &'static str,
    /// Why an account without a token isn't used.
    pub(crate) without_token: &'static str,
    /// How messages come, in the words of `channels.status`.
    pub(crate) mode: &'static str,
    /// Messages come by a connection of its own: that its token is accepted doesn't mean that they do.
    pub(crate) has_connection: bool,
    /// Updates that are remembered, so that one that comes again is known.
    pub(crate) remembered: usize,
    /// Longest part of an answer, in UTF-16 units.
    pub(crate) longest_part: usize,
    /// Texts that only its chats begin with.
    pub(crate) marks: &'static [&'static str],
    /// The chat that is written at `at`, and the thread in it. Err: what is wrong with it.
    pub(crate) chat: fn(at: &str, place: &str, topic: Option<&str>) -> Result<IdAndThread, String>,
    /// What helps where the token isn't accepted, another program uses it, a request is refused; sentences without their stops.
    pub(crate) cure_of_token: &'static str,
    pub(crate) cure_of_conflict: &'static str,
    pub(crate) cure_of_refusal: &'static str,
}

type IdAndThread = (String, Option<i64>);

/// Why no account is used, where none is.
pub(crate) const NOT_BUILT: Option<&str> = not_built(cfg!(feature = "channels"));

pub(super) const fn not_built(has_channels: bool) -> Option<&'static str> {
    if has_channels {
        return None;
    }
    Some(
        "this build of gatewarden has no channels: install one with the cargo feature channels, as releases have it, or say enabled: false",
    )
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

impl ChannelAccount {
    /// Why it isn't used, whatever was done with it. `not_built`: why none is.
    pub(crate) fn off(&self, not_built: Option<&'static str>) -> Option<&'static str> {
        match (&self.token, not_built) {
            _ if !self.enabled => Some("it is disabled (enabled: false)"),
            (_, Some(why)) => Some(why),
            (None, _) => Some(self.kind.channel().without_token),
            _ => None,
        }
    }
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

named! {
    /// Who may send direct messages.
    #[derive(Default)]
    pub enum DmPolicy {
        /// Who was approved, and `allow_from`. Others get a code.
        #[default]
        Pairing = "pairing",
        /// `allow_from` alone.
        Allowlist = "allowlist",
        /// `allow_from`, which must have `*`.
        Open = "open",
        /// Nobody.
        Disabled = "disabled",
    }
}

named! {
    /// Who is heard in groups.
    #[derive(Default)]
    pub enum GroupPolicy {
        /// Who is listed.
        #[default]
        Allowlist = "allowlist",
        /// All members.
        Open = "open",
        /// Nobody.
        Disabled = "disabled",
    }
}

named! {
    /// `session.dmScope`: which direct messages share a session.
    pub enum DmScope {
        /// All, with the agent's main session.
        Main = "main",
        /// Those of one person.
        PerPeer = "per-peer",
        /// Those of one person on one channel.
        PerChannelPeer = "per-channel-peer",
        /// Those of one person with one account.
        PerAccountChannelPeer = "per-account-channel-peer",
    }
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
        let channel = kind.channel();
        let section = channels.section(channel.id);
        if !section.is_written() && section.findings.schema.is_none() {
            continue;
        }
        let accounts = section.entries("accounts");
        let mut base = ChannelAccount {
            kind,
            id: DEFAULT_ACCOUNT.to_owned(),
            name: None,
            enabled: true,
            token: None,
            token_source: "none",
            api_root: channel.default_root.to_owned(),
            message_content: true,
            cloud: CloudApi::default(),
            text_limit: None,
            access: ChannelAccess::default(),
        };
        account(&section, &mut base);
        let _ = section.text("defaultAccount");
        let variable = section.findings.inputs.variable(channel.token_variable);
        if let Some(token) = variable.filter(|_| base.token.is_none()) {
            (base.token, base.token_source) = (token_of(&section, channel.token_variable, channel, token), "env");
        }
        (channel.from_environment)(&section, &mut base);
        let mut found = Vec::new();
        for (id, value) in &accounts {
            let mut own = ChannelAccount { id: (*id).to_owned(), ..base.clone() };
            if *id != DEFAULT_ACCOUNT && channel.has_numbers {
                own.cloud.phone_number_id = None;
            } else if *id != DEFAULT_ACCOUNT {
                (own.token, own.token_source) = (None, "none");
            }
            let below = Section::open(section.findings, Some(value), format!("{}.accounts.{id}", section.path));
            account(&below, &mut own);
            // Closed where the whole channel is off.
            own.enabled &= base.enabled;
            below.close(Others::RefusedBut(channel.unused));
            if is_account_id(id) {
                found.push(own);
            } else if section.findings.schema.is_none() {
                let cure = "is no name of an account: lower-case letters, digits, - and _, at most 64";
                section.wrong(&format!("accounts.{id}"), None, cure);
            }
        }
        let has_default = found.iter().any(|account| account.id == DEFAULT_ACCOUNT);
        let is_account = base.token.is_some() && (!channel.has_numbers || base.cloud.phone_number_id.is_some());
        // Accounts that name the variable are not joined by another one with its token.
        let is_named = base.token_source == "env" && found.iter().any(|account| account.token == base.token);
        if !has_default && (found.is_empty() || is_account && (channel.has_numbers || !is_named)) {
            found.insert(0, base);
        }
        // Only now: an account that says `dm.enabled: true` has the policy that it inherits.
        for access in found.iter_mut().map(|account| &mut account.access).filter(|access| access.direct_off) {
            access.dm_policy = DmPolicy::Disabled;
        }
        for account in &mut found {
            let Some(said) = (channel.lacks)(account) else { continue };
            (account.token, account.token_source) = (None, "none");
            if account.enabled {
                section.findings.warn(said);
            }
        }
        let used: Vec<_> = found.iter().filter(|account| account.enabled && account.token.is_some()).collect();
        let what = if channel.has_numbers { "phone number" } else { "token" };
        for (at, own) in used.iter().enumerate() {
            let has_same = |other: &&&ChannelAccount| {
                (channel.has_numbers || other.token == own.token)
                    && other.cloud.phone_number_id == own.cloud.phone_number_id
            };
            if let Some(other) = used.iter().take(at).find(has_same) {
                let cure = "which would take its messages: give it another one, or say enabled: false";
                let said = format!("has the {what} of the account {}, {cure}", other.id);
                section.wrong(&format!("accounts.{}", own.id), None, said);
            }
        }
        section.close(Others::RefusedBut(channel.unused));
        config.channels.extend(found);
    }
    if config.channels.len() > MOST_ACCOUNTS {
        root.wrong("channels", None, format!("has more than {MOST_ACCOUNTS} accounts"));
    }
    if let Some(said) = none_used(&config.channels, NOT_BUILT) {
        root.findings.warn(said);
    }
    channels.close(Others::Ignored);
}

/// A warning where accounts are to be used and none is.
pub(super) fn none_used(accounts: &[ChannelAccount], not_built: Option<&str>) -> Option<String> {
    let why = not_built.filter(|_| accounts.iter().any(|account| account.enabled))?;
    Some(format!("channels: no account is used, since {why}"))
}

/// What an account says of itself, over what it inherits.
fn account(section: &Section<'_>, into: &mut ChannelAccount) {
    set(&mut into.enabled, section.switch("enabled"));
    into.name = section.text("name").or(into.name.take());
    (into.kind.channel().account)(section, into);
}

/// Who may send direct messages.
fn direct(section: &Section<'_>, into: &mut ChannelAccount) {
    let (channel, access) = (into.kind.channel(), &mut into.access);
    set(&mut access.dm_policy, section.parsed("dmPolicy", parse_dm_policy));
    set(&mut access.allow_from, ids(section, "allowFrom", channel));
    let is_said = section.value("dmPolicy").is_some() || section.value("allowFrom").is_some();
    let anybody = access.allow_from.iter().any(|id| id == "*");
    match access.dm_policy {
        DmPolicy::Open if is_said && !anybody => {
            let cure = "lets everybody in, which allowFrom: [\"*\"] has to say, too";
            section.wrong("dmPolicy", None, cure);
        }
        DmPolicy::Allowlist if is_said && access.allow_from.is_empty() => {
            let cure = "lists nobody, so that dmPolicy \"allowlist\" lets nobody in; write their ids";
            section.wrong("allowFrom", None, cure);
        }
        _ => {}
    }
}

/// The way to a service by a token alone.
fn token_and_root(section: &Section<'_>, into: &mut ChannelAccount) {
    let channel = into.kind.channel();
    // As real releases have it, a file goes before a token that is written out.
    let written = section.secret(channel.token_key).map(|token| (token, channel.token_key, "config"));
    let file = secret_file(section, "tokenFile").map(|token| (token, "tokenFile", "tokenFile"));
    if let Some((token, key, source)) = file.or(written) {
        (into.token, into.token_source) = (token_of(section, key, channel, token.expose()), source);
    }
    set(&mut into.api_root, section.parsed("apiRoot", api_root));
}

fn token_of(section: &Section<'_>, key: &str, channel: &Channel, text: &str) -> Option<Secret> {
    let token = (channel.token)(text).map_err(|look| section.wrong(key, None, look));
    token.map(Secret::new).ok()
}

fn lacks_token(account: &ChannelAccount) -> Option<String> {
    let Channel { id, token_key, token_variable, .. } = account.kind.channel();
    account.token.is_none().then(|| {
        format!(
            "channels.{id} has no token for the account {}, which isn't used: write {token_key} or tokenFile, set {token_variable} for \
             the default account, or say enabled: false",
            account.id
        )
    })
}

/// Ids of people, as numbers or texts; none where the key isn't written.
fn ids(section: &Section<'_>, name: &'static str, channel: &Channel) -> Option<Vec<String>> {
    let items = section.items(name);
    section.value(name)?;
    if items.len() > MOST_ENTRIES {
        section.wrong(name, None, format!("has more than {MOST_ENTRIES} entries"));
    }
    let mut ids = Vec::new();
    for (at, item) in items.iter().take(MOST_ENTRIES).enumerate() {
        let path = format!("{}[{at}]", section.key(name));
        section.findings.may_be_shown(&path);
        let text = item.as_str().map_or_else(|| item.to_string(), |text| text.trim().to_owned());
        let prefixes = [channel.id, channel.short].into_iter();
        let id = prefixes.filter_map(|prefix| text.strip_prefix(prefix)?.strip_prefix(':')).next().unwrap_or(&text);
        match (channel.person)(id) {
            _ if id == "*" => ids.push(id.to_owned()),
            Ok(id) => ids.push(id),
            Err(look) => section.findings.wrong(&path, Some(item), look),
        }
    }
    Some(ids)
}

/// A person who is named by a number.
fn number(id: &str) -> Result<String, &'static str> {
    let is_number = !id.is_empty() && id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        .then(|| id.to_owned())
        .ok_or("must be the numeric id of a person, or \"*\"; names change hands, and groups have a key of their own")
}

fn parse_dm_policy(text: &str) -> Result<DmPolicy, &'static str> {
    DmPolicy::from_name(text).ok_or("must be pairing, allowlist, open or disabled")
}

fn parse_group_policy(text: &str) -> Result<GroupPolicy, &'static str> {
    GroupPolicy::from_name(text).ok_or("must be allowlist, open or disabled")
}

fn parse_dm_scope(text: &str) -> Result<DmScope, &'static str> {
    DmScope::from_name(text).ok_or("must be main, per-peer, per-channel-peer or per-account-channel-peer")
}

/// The root of an API. The token is part of each address below it, so it goes encrypted, or doesn't leave the machine.
fn api_root(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).map_err(|_| "must be an address that begins with https://")?;
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    match url.scheme() {
        _ if !is_plain => Err("must have neither user nor query"),
        _ if url.path().contains("/bot") => Err("is the root alone, without /bot and the token"),
        "https" => Ok(url.as_str().trim_end_matches('/').to_owned()),
        "http" if is_local(&url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        _ => Err("must begin with https://; http:// is for a server on this machine (127.0.0.1, localhost)"),
    }
}

/// Whether an address is one of this machine.
pub(crate) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
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
        let roles = ids(&found, "roles", &discord::CHANNEL).unwrap_or_default();
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
