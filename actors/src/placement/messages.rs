//! What goes over the connection between the node that acts and one that carries gateways for it. JSON: both ends have the same types,
//! of the same release ([`VERSION`]).

use std::time::Duration;

use gatewarden_protocol::secret::exposed;
use gatewarden_protocol::{Secret, nested_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Failure;
use crate::gateway_record::{DeviceToken, SharedRecord};
use crate::gateway_report::ProbeOutcome;
use crate::ids::GatewayId;
use crate::log_watch::{LogDelivery, LogRequest};
use crate::machines::connection::GatewayNotice;
use crate::machines::log_tail::LogCursor;
use crate::spawn::{ControlSession, LookUpRun, LookedUp, NotAccepted, SpawnRecord, SpawnRequest};

/// Both ends are of one release, so that a field more or less means the same to both.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A question and its answer, by this number.
pub(super) type AskId = u64;

/// From the node that acts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToCarried {
    /// The first message: who acts.
    Hello {
        /// See [`VERSION`].
        version: String,
        /// The epoch of the role.
        epoch: i64,
        /// The seed of the installation's device, in hexadecimal digits.
        #[serde(with = "exposed")]
        device_seed: Secret,
    },
    /// Hold the connection of this gateway.
    Start {
        record: SharedRecord,
        incarnation: u64,
    },
    /// Hold it no longer.
    Stop(GatewayId),
    /// See `GatewayCommand`, as those that follow.
    Update(SharedRecord),
    Reconnect(GatewayId),
    Permit(GatewayId, Permit),
    ForgetRun(GatewayId, String),
    Ask {
        gateway: GatewayId,
        ask: AskId,
        question: Question,
    },
    /// Nobody follows this log any more.
    LeaveLog(AskId),
    /// The answer to [`FromCarried::Alive`]: how much longer the node that acts may act, and its wall time.
    Right {
        asked: u64,
        remaining_ms: i64,
        wall_ms: i64,
    },
}

/// An `AuthPermit` whose times are spans.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Permit {
    Granted { address: String, device_token: Option<DeviceToken> },
    Denied { address: String, wait: Duration },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    Probe {
        timeout: Duration,
    },
    Call {
        method: String,
        #[serde(deserialize_with = "nested_json::deserialize")]
        params: Value,
        timeout: Duration,
    },
    StartRun(Box<SpawnRequest>),
    LookUpRun(LookUpRun),
    Control(ControlSession),
    WatchLogs(LogRequest),
}

/// From a node that carries gateways.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromCarried {
    /// A sign of life, and the wish to know whether the node that acts still may.
    Alive {
        asked: u64,
    },
    Notice {
        gateway: GatewayId,
        incarnation: u64,
        notice: GatewayNotice,
    },
    Answer {
        ask: AskId,
        answer: Answer,
    },
    /// The next delivery of a log that is followed; none: it was the last.
    Log {
        ask: AskId,
        delivery: Option<LogDelivery>,
    },
    /// Its actor is gone though nobody stopped it.
    Died {
        gateway: GatewayId,
        incarnation: u64,
    },
}

/// The answer to a [`Question`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Probe(Box<ProbeOutcome>),
    Value(Result<Apart, Failure>),
    Run(Result<Box<SpawnRecord>, NotAccepted>),
    LookUp(Result<LookedUp, Failure>),
    Logs(Result<Option<LogCursor>, Failure>),
    /// The gateway's actor ended before it answered: nobody knows what came of it.
    Ended,
    /// There is no actor of the gateway: nothing was asked.
    Nobody,
}

/// A value of a gateway, however deep it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Apart(#[serde(deserialize_with = "nested_json::deserialize")] pub(super) Value);
