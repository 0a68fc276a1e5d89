//! What the desk is told. Each says who sends it and what its failure means.

use actix::Message;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::caller::ConnectionId;
use crate::effect::{ProcessNews, RunId};
use crate::reply::CallError;
use crate::turn::Call;

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
