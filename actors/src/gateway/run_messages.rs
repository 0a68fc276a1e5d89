//! What the registry asks of a gateway about runs and sessions.

use std::time::Duration;

use actix::prelude::*;
use serde_json::Value;

use crate::dialing::Held;
use crate::error::Failure;
use crate::run::{Accepted, LookedUp, NotAccepted, RunStage, SessionAction, Work};

/// From the registry: start a run. Sent only after the spawn is recorded, and never twice for one key on a gateway that
/// may have taken it. Replies with the acceptance; what follows comes as [`RunNotice`].
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Accepted, NotAccepted>")]
pub struct StartRun {
    /// The spawn's id: the idempotency key on the wire, and the run's id on real gateways.
    pub spawn_id: String,
    /// What to run.
    pub work: Work,
    /// Deadline of the acceptance.
    pub timeout: Duration,
}

/// From the registry, after a lost connection or a restart: what became of a run? Never starts anything.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<LookedUp, Failure>")]
pub struct LookUpRun {
    /// The run's id.
    pub run_id: String,
    /// Its session, where known.
    pub session_key: Option<String>,
    /// Deadline.
    pub timeout: Duration,
}

/// From the registry: pause, resume or kill what runs in a session. Replies with what the gateway said.
/// `not_supported_by_gateway` names gateway, version and missing method.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Held<Value>, Failure>")]
pub struct ControlSession {
    /// The session's key on this gateway.
    pub session_key: String,
    /// What to do.
    pub action: SessionAction,
    /// Deadline.
    pub timeout: Duration,
}

/// A run moved on, as the gateway said by a second reply or by events. Told once per stage; a final stage is the last.
#[derive(Debug, Clone, PartialEq)]
pub struct RunNotice {
    /// The run's id: the spawn's id on real gateways.
    pub run_id: String,
    /// Its session, where known.
    pub session_key: Option<String>,
    /// How it moved on.
    pub stage: RunStage,
}
