//! How each wish is carried out on a gateway, by what it can do.

use super::{Capabilities, Method};
use crate::dialect::Dialect;
use crate::hello::HelloForm;
use crate::quirks::Quirk;

/// How a heartbeat is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// A `ping` request (document 002). Any reply proves life, also "unknown method".
    PingRequest,
    /// A WebSocket ping frame: what every real release answers.
    WebSocketPing,
    /// A `gateway.info` request (dialect `rpc`).
    GatewayInfo,
    /// `GET /health` (dialect `http`).
    HttpHealth,
}

/// Where the list of sessions comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionsList {
    /// `sessions.list` with `limit` and `offset`, page by page.
    Paged,
    /// `sessions.list` at once; the `count` in the reply is that of the rows, not of all.
    AtOnce,
    /// `GET /sessions`.
    Http,
    /// Only from events.
    Events,
}

/// How the list of sessions is kept current between resyncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionsFeed {
    /// `sessions.changed` events after `sessions.subscribe`.
    Subscribe,
    /// What comes without asking: `tick` snapshots of document 002, `agent` and `chat` events of real releases.
    Unasked,
    /// Nothing: only resyncs (dialect `http`).
    Nothing,
}

/// How the run to be killed was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// By the `agent` method.
    Agent,
    /// By `chat.send` or `sessions.send`.
    Chat,
    /// Unknown: not by us, or before a restart.
    Unknown,
}

/// How a session is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// `sessions.abort {key}`.
    SessionsAbort,
    /// `chat.abort {sessionKey}`.
    ChatAbort,
    /// `control {sessionKey, action}`.
    Control,
    /// `POST /control`.
    Http,
    /// Not at all.
    Impossible,
}

/// How a session is paused and resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseResume {
    /// `control {sessionKey, action}`.
    Control,
    /// `POST /control`.
    Http,
    /// Not at all: no real release can.
    Impossible,
}

/// How a gateway is given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnForm {
    /// `agent`, answered twice: accepted, then the outcome.
    AgentTwoReplies,
    /// `chat.send`, answered once; the outcome comes by events. For releases that can't abort an `agent` run.
    ChatSend,
    /// `agent`, answered once (dialect `rpc`).
    AgentOneReply,
    /// `spawn` with the task or the command (document 002), answered by `spawn_result` events.
    Spawn,
    /// `POST /spawn` with the task or the command.
    Http,
}

/// Where logs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// `logs.tail` with its cursor, asked again and again while somebody watches.
    Tail,
    /// `log` events.
    Events,
    /// Nowhere.
    Nowhere,
}

impl Capabilities {
    /// How to send a heartbeat. A `ping` request is tried once even where it isn't listed: any reply to it proves life,
    /// and "unknown method" teaches ([`Capabilities::learn`]).
    pub fn heartbeat(&self) -> Heartbeat {
        match self.dialect() {
            Dialect::Http => Heartbeat::HttpHealth,
            Dialect::Rpc if self.may_have(Method::GatewayInfo) => Heartbeat::GatewayInfo,
            Dialect::Openclaw if !self.unknown.contains(Method::Ping) => Heartbeat::PingRequest,
            Dialect::Rpc | Dialect::Openclaw => Heartbeat::WebSocketPing,
        }
    }

    /// Where the list of sessions comes from.
    pub fn sessions_list(&self) -> SessionsList {
        if self.dialect() == Dialect::Http {
            SessionsList::Http
        } else if !self.may_have(Method::SessionsList) {
            SessionsList::Events
        } else if self.form() == HelloForm::Release && !self.has(Quirk::SessionsListHasNoOffset) {
            SessionsList::Paged
        } else {
            SessionsList::AtOnce
        }
    }

    /// How the list of sessions is kept current.
    pub fn sessions_feed(&self) -> SessionsFeed {
        match self.dialect() {
            Dialect::Http => SessionsFeed::Nothing,
            Dialect::Openclaw if self.support(Method::SessionsSubscribe) == super::Support::Yes => {
                SessionsFeed::Subscribe
            }
            Dialect::Openclaw | Dialect::Rpc => SessionsFeed::Unasked,
        }
    }

    /// How a run is killed.
    pub fn kill(&self, run: RunKind) -> Kill {
        if self.dialect() == Dialect::Http {
            return Kill::Http;
        }
        if self.form() != HelloForm::Release {
            return if self.may_have(Method::Control) { Kill::Control } else { Kill::Impossible };
        }
        if run == RunKind::Agent && self.has(Quirk::AgentRunsCannotBeAborted) {
            Kill::Impossible
        } else if self.may_have(Method::SessionsAbort) {
            Kill::SessionsAbort
        } else if self.may_have(Method::ChatAbort) {
            Kill::ChatAbort
        } else {
            Kill::Impossible
        }
    }

    /// How a session is paused and resumed.
    pub fn pause_resume(&self) -> PauseResume {
        match (self.dialect(), self.form()) {
            (Dialect::Http, _) => PauseResume::Http,
            // No release of OpenClaw names `control`; a gateway that words its hello alike and names it can.
            (_, HelloForm::Release) if self.support(Method::Control) == super::Support::Yes => PauseResume::Control,
            (_, HelloForm::Release) => PauseResume::Impossible,
            _ if self.may_have(Method::Control) => PauseResume::Control,
            _ => PauseResume::Impossible,
        }
    }

    /// How a command is spawned; no real release can.
    pub fn spawn_command(&self) -> Option<SpawnForm> {
        match (self.dialect(), self.form()) {
            (Dialect::Http, _) => Some(SpawnForm::Http),
            (Dialect::Openclaw, HelloForm::Documented) if self.may_have(Method::Spawn) => Some(SpawnForm::Spawn),
            (Dialect::Openclaw, HelloForm::Release) if self.support(Method::Spawn) == super::Support::Yes => {
                Some(SpawnForm::Spawn)
            }
            _ => None,
        }
    }

    /// How a task is given to an agent, so that it can be killed where that is possible at all.
    pub fn spawn_task(&self) -> Option<SpawnForm> {
        match (self.dialect(), self.form()) {
            (Dialect::Http, _) => Some(SpawnForm::Http),
            (Dialect::Rpc, _) | (_, HelloForm::Rpc) if self.may_have(Method::Agent) => Some(SpawnForm::AgentOneReply),
            (_, HelloForm::Documented) if self.may_have(Method::Spawn) => Some(SpawnForm::Spawn),
            (_, HelloForm::Release) if self.has(Quirk::AgentRunsCannotBeAborted) && self.may_have(Method::ChatSend) => {
                Some(SpawnForm::ChatSend)
            }
            (_, HelloForm::Release) if self.may_have(Method::Agent) => Some(SpawnForm::AgentTwoReplies),
            _ => None,
        }
    }

    /// Where logs come from.
    pub fn logs(&self) -> LogSource {
        match self.form() {
            _ if self.dialect() == Dialect::Http => LogSource::Nowhere,
            HelloForm::Release if self.may_have(Method::LogsTail) => LogSource::Tail,
            HelloForm::Documented => LogSource::Events,
            HelloForm::Release | HelloForm::Rpc => LogSource::Nowhere,
        }
    }
}
