//! Names: enums whose variants have stable ones, and those on the wire that we act on, as one bit each: a gateway lists
//! hundreds, we use a few dozen.

use std::fmt;
use std::marker::PhantomData;

/// Declares an enum whose variants each have one stable name, by which they are shown, read back and serialized:
/// `ALL` in their order, `as_str` and `from_name`.
#[macro_export]
macro_rules! named {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        $vis enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$variant),*];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Reads a stable name back.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|known| known.as_str() == name)
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A closed list of names, at most 64 long.
pub trait KnownName: Copy + 'static {
    /// All of them, in the order of their bits.
    const ALL: &'static [Self];

    /// The name on the wire.
    fn as_str(self) -> &'static str;

    /// Its bit.
    fn bit(self) -> u64;

    /// Finds a name in the list.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name)
    }
}

macro_rules! known_names {
    ($(#[$doc:meta])* $list:ident { $($variant:ident $name:literal)* }) => {
        named! {
            $(#[$doc])*
            pub enum $list { $(#[doc = concat!("`", $name, "`")] $variant = $name,)* }
        }

        impl KnownName for $list {
            const ALL: &'static [Self] = &Self::ALL;

            fn as_str(self) -> &'static str {
                self.as_str()
            }

            fn bit(self) -> u64 {
                1 << (self as u32)
            }
        }
    };
}

known_names! {
    /// Methods that we call.
    Method {
        Ping "ping"
        Health "health"
        Status "status"
        GatewayInfo "gateway.info"
        SessionsList "sessions.list"
        SessionsGet "sessions.get"
        SessionsSubscribe "sessions.subscribe"
        SessionsPatch "sessions.patch"
        SessionsDelete "sessions.delete"
        SessionsReset "sessions.reset"
        SessionsAbort "sessions.abort"
        SessionsCreate "sessions.create"
        SessionsSend "sessions.send"
        SessionsUsage "sessions.usage"
        ChatSend "chat.send"
        ChatAbort "chat.abort"
        ChatHistory "chat.history"
        ChatInject "chat.inject"
        Agent "agent"
        AgentWait "agent.wait"
        AgentsList "agents.list"
        AgentsCreate "agents.create"
        AgentsUpdate "agents.update"
        AgentsDelete "agents.delete"
        AgentsFilesGet "agents.files.get"
        AgentsFilesSet "agents.files.set"
        ConfigGet "config.get"
        ConfigPatch "config.patch"
        LogsTail "logs.tail"
        DevicePairList "device.pair.list"
        DevicePairApprove "device.pair.approve"
        DevicePairReject "device.pair.reject"
        DevicePairRemove "device.pair.remove"
        DeviceTokenRotate "device.token.rotate"
        DeviceTokenRevoke "device.token.revoke"
        ModelsList "models.list"
        ChannelsStatus "channels.status"
        SystemPresence "system-presence"
        SystemInfo "system.info"
        CronList "cron.list"
        CronStatus "cron.status"
        NodeList "node.list"
        GatewaySuspendPrepare "gateway.suspend.prepare"
        GatewaySuspendStatus "gateway.suspend.status"
        GatewaySuspendResume "gateway.suspend.resume"
        Spawn "spawn"
        Control "control"
    }
}

impl Method {
    /// Whether real releases answer it without listing it.
    pub fn is_left_out_of_lists(self) -> bool {
        matches!(self, Self::ChatInject | Self::SessionsGet | Self::SessionsUsage)
    }

    /// Whether it only reads.
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Self::Ping
                | Self::Health
                | Self::Status
                | Self::GatewayInfo
                | Self::SessionsList
                | Self::SessionsGet
                | Self::SessionsSubscribe
                | Self::SessionsUsage
                | Self::ChatHistory
                | Self::AgentWait
                | Self::AgentsList
                | Self::AgentsFilesGet
                | Self::ConfigGet
                | Self::LogsTail
                | Self::DevicePairList
                | Self::ModelsList
                | Self::ChannelsStatus
                | Self::SystemPresence
                | Self::SystemInfo
                | Self::CronList
                | Self::CronStatus
                | Self::NodeList
                | Self::GatewaySuspendStatus
        )
    }
}

known_names! {
    /// Events that we act on.
    Event {
        Challenge "connect.challenge"
        Tick "tick"
        Health "health"
        Presence "presence"
        Shutdown "shutdown"
        SessionsChanged "sessions.changed"
        SessionMessage "session.message"
        Agent "agent"
        Chat "chat"
        AgentStatus "agent.status"
        Log "log"
        SpawnResult "spawn_result"
        Task "task"
        ConfigChanged "config.changed"
        GatewaySuspension "gateway.suspension"
        DevicePairRequested "device.pair.requested"
        DevicePairResolved "device.pair.resolved"
    }
}

/// A set of known names in eight bytes.
pub struct NameSet<N> {
    bits: u64,
    names: PhantomData<N>,
}

impl<N: KnownName> NameSet<N> {
    /// The known ones among these names; unknown ones are dropped.
    pub fn of(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut set = Self::default();
        for name in names {
            if let Some(known) = N::from_name(name.as_ref()) {
                set.insert(known);
            }
        }
        set
    }

    /// Whether a name is in the set.
    pub fn contains(self, name: N) -> bool {
        self.bits & name.bit() != 0
    }

    /// Adds a name.
    pub fn insert(&mut self, name: N) {
        self.bits |= name.bit();
    }

    /// Whether no name is in the set.
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// The names in the set.
    pub fn iter(self) -> impl Iterator<Item = N> {
        N::ALL.iter().copied().filter(move |name| self.contains(*name))
    }
}

impl<N> Clone for NameSet<N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for NameSet<N> {}

impl<N> PartialEq for NameSet<N> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl<N> Eq for NameSet<N> {}

impl<N> Default for NameSet<N> {
    fn default() -> Self {
        Self { bits: 0, names: PhantomData }
    }
}

impl<N: KnownName> fmt::Debug for NameSet<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(KnownName::as_str)).finish()
    }
}
