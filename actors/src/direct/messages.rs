//! What the HTTP front tells of CLI tools.

use actix::prelude::*;

use crate::agent_book::AgentKey;
use crate::error::Failure;
use crate::store::records::{AgentHeartbeat, AgentRecord, ConnectionRecord, NewConnection, Opened};

/// From HTTP: a tool connects. Its agent is made where it is unknown, and the connection that the agent had ends.
/// `unavailable` where there are too many connections, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Opened, Failure>")]
pub struct OpenConnection(pub NewConnection);

/// From HTTP: a tool, or an operator for it, ends a connection; one that had ended before stays so. The connection as it
/// is now. `connection_not_found`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<ConnectionRecord, Failure>")]
pub struct CloseConnection(pub String);

/// From HTTP: an agent reports in. `agent_not_found`, `connection_not_found` where the agent never had that connection,
/// `connection_ended` where it was closed or replaced; then nothing is noted. `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Heard, Failure>")]
pub struct Heartbeat {
    /// Whose.
    pub agent: AgentKey,
    /// Over which connection, and what it is doing.
    pub beat: AgentHeartbeat,
    /// What it used since the last report.
    pub tokens: Option<TokensUsed>,
}

/// Tokens that an agent used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensUsed {
    /// The model.
    pub model: String,
    /// Tokens read.
    pub input: i64,
    /// Tokens written.
    pub output: i64,
}

/// A heartbeat that was noted.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The agent now.
    pub agent: AgentRecord,
    /// Over which connection, if it has one.
    pub connection: Option<ConnectionRecord>,
    /// Whether the connection had been given up for silence and is open again.
    pub revived: bool,
    /// Whether the tokens are stored. False where none were told, or the store could not take them; the heartbeat counts
    /// all the same.
    pub tokens_recorded: bool,
}

/// From HTTP: delete an agent, and its connections with it. The agent as it was. `agent_not_found`, `store_unavailable`.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<AgentRecord, Failure>")]
pub struct DeleteAgent(pub AgentKey);
