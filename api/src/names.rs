//! Lists of names from which answers take their words. Most are enums of the daemon that this crate doesn't see; their names come
//! into the document from there (`src/http/openapi.rs`). Clients read them as text, because a later release may add some.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! lists {
    ($($(#[doc = $doc:literal])* $list:ident $([$($word:literal),*])?)*) => {
        $($(#[doc = $doc])* pub enum $list {}

        impl PartialSchema for $list {
            fn schema() -> RefOr<Schema> {
                let list = ObjectBuilder::new().schema_type(Type::String).description(Some(concat!($($doc),*).trim()));
                $(let list = list.enum_values(Some([$($word),*]));)?
                list.into()
            }
        }

        impl ToSchema for $list {})*
    };
}

lists! {
    /// What a gateway is like, as the daemon sees it.
    HealthStatus
    /// Where a gateway's connection is.
    ConnectionPhase
    /// Where a circuit breaker is.
    BreakerState
    /// Where the knowledge of a status came from.
    StatusSource ["heartbeat", "probe", "event"]
    /// What a check found: `offline` gave no answer, `error` was reached, but refused or is not a gateway.
    ProbeOutcome ["online", "offline", "error"]
    /// Why nothing was observed: the daemon did not run, or got no time (the machine was suspended, the process stopped).
    GapReason ["stopped", "frozen"]
    /// Which dialects may be tried with a gateway.
    Transport ["auto", "ws", "http"]
    /// What runs a process of this machine: the system's service manager or a command of the configuration.
    ProcessKind ["unit", "command"]
    /// Which of the protocols a gateway speaks.
    Dialect
    /// Where a spawn is in its life.
    SpawnState
    /// What was asked for.
    SpawnKind
    /// Why a gateway was chosen for a spawn.
    RouteReason
    /// Whether a session is at work.
    SessionState
    /// Where a process of this machine is.
    ProcessState
    /// What an agent is doing, as last heard.
    AgentState
    /// Who made an agent known.
    AgentSource
    /// How a direct connection ended.
    EndReason
    /// What a key may do.
    Role
    /// What came of something that was tried.
    AuditResult
    /// Stable code of an error.
    ErrorCode
    /// How grave a log entry is.
    LogLevel
    /// Whom a TLS connection trusts.
    TlsTrust ["system", "ca", "pins", "none"]
    /// What happened to a session.
    SessionChange ["created", "changed", "ended", "deleted"]
    /// That more sessions changed than are told singly.
    RestOfSessions ["more"]
    /// What happened to a process of this machine.
    ProcessChange [
        "started", "verified", "unverified", "exited", "restarted_itself", "killed", "stopped", "gave_up", "orphan_ended",
        "unknown"
    ]
    /// How a direct connection ended, or that its agent was deleted.
    ConnectionEnd ["closed", "replaced", "silent", "agent_deleted"]
    /// What can be wrong.
    Condition
    /// What a notification is about.
    NotificationKind ["down", "blocked", "crash_loop", "failover", "network_doubt", "recovered"]
}
