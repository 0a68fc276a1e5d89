//! What the core actor is told. Each says who sends it and what its failure means.

use std::sync::Arc;

use actix::Message;
use gatewarden_protocol::Secret;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::auth::{Admission, Attempt, Peer};
use crate::caller::{Caller, ConnectionId};
use crate::connection::Outbound;
use crate::effect::{ProcessNews, RunId};
use crate::http::Shown;
use crate::reply::CallError;
use crate::turn::Call;

/// From a connection's task, once, after its first frame: may it come in? If so, its queue gets events from now on, and the
/// connection sends the hello before them. `answer` is dropped unanswered only when the gateway stops.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Admit {
    /// Who wants in.
    pub attempt: Box<Attempt>,
    /// The connection's queue.
    pub outbound: Outbound,
    /// Where the decision goes.
    pub answer: oneshot::Sender<Admission>,
}

/// From an HTTP handler: whose bearer token is this? Failures count towards the same lock-out as those of connections.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CheckBearer {
    /// For the caller, for this request alone.
    pub connection: ConnectionId,
    /// Where the request comes from. Its `Origin` and `Host` have been checked.
    pub peer: Peer,
    /// The token of the `Authorization` header.
    pub token: Option<Secret>,
    /// Where the caller or the error goes.
    pub answer: oneshot::Sender<Result<Arc<Caller>, CallError>>,
}

/// From a connection's task: a request of an authenticated caller. Answered through the connection's queue. A full mailbox
/// makes the connection wait, so a flood slows its sender down.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CallMethod(pub Call);

/// From an HTTP handler: one call of a caller that has no socket. `answer` gets the first response; it is dropped
/// unanswered only when the gateway stops.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ask {
    /// The call; its caller's connection id is used for this call alone.
    pub call: Call,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Value, CallError>>,
}

/// From a connection's task, once, at its end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Disconnected(pub ConnectionId);

/// From a child process's task.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct News {
    /// Whose.
    pub run: RunId,
    /// What.
    pub news: ProcessNews,
}

/// From the core actor's alarm clock: a deadline of the machine has passed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Wake;

/// From the server, once: tell everybody, end every child process, close every connection. Answered when that is done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// From a webhook's handler: may it go on? Wrong secrets count towards the same lock-out as failed authentications.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CheckWebhook {
    pub(crate) peer: Peer,
    pub(crate) webhook: String,
    pub(crate) shown: Shown,
    pub(crate) answer: oneshot::Sender<Result<(), CallError>>,
}

/// From a webhook's handler, after [`CheckWebhook`]: start a run for this message.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Trigger {
    pub(crate) webhook: String,
    pub(crate) agent_id: String,
    pub(crate) text: String,
    /// The sender's name for this delivery: sent again, it starts no second run.
    pub(crate) delivery: Option<String>,
    pub(crate) answer: oneshot::Sender<Result<Value, CallError>>,
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Count {
    pub(crate) answer: oneshot::Sender<Numbers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) agents: usize,
    pub(crate) sessions: usize,
    pub(crate) busy_sessions: usize,
}
