//! What can go wrong between a dial and the last frame, told apart as far as it changes what to do.

use std::time::Duration;

use bytes::Bytes;
use gatewarden_protocol::decoding::Excess;
use gatewarden_protocol::forbidden_address::ForbiddenReason;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, UpgradeAnswer, classify_upgrade};

gatewarden_protocol::named! {
    /// The step of a dial that failed.
    pub enum DialStep {
        /// Name resolution.
        Resolve = "resolve",
        /// TCP.
        Connect = "connect",
        /// TLS handshake.
        Tls = "tls",
        /// HTTP upgrade to a WebSocket.
        Upgrade = "upgrade",
        /// A plain HTTP request and its answer.
        Request = "request",
    }
}

/// Why a gateway couldn't be reached. The text is one clause without the gateway's name, to follow "Gateway X at host:port: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFailure {
    /// The host is, or resolves to, an address that is never dialled.
    #[error("the host must not be dialled: it is {reason}")]
    ForbiddenAddress {
        /// What it is.
        reason: ForbiddenReason,
    },
    /// The name has no address, or the name server didn't say.
    #[error("the host name could not be resolved ({reason})")]
    NameNotResolved {
        /// The resolver's words.
        reason: String,
    },
    /// Nothing listens on the port.
    #[error("the connection was refused")]
    Refused,
    /// The peer broke off.
    #[error("the connection was broken off during {}", step.as_str())]
    Reset {
        /// Where.
        step: DialStep,
    },
    /// No way to the host.
    #[error("the host is unreachable ({reason})")]
    Unreachable {
        /// The operating system's words.
        reason: String,
    },
    /// No answer within the budget.
    #[error("no answer in time during {}", step.as_str())]
    Timeout {
        /// Where.
        step: DialStep,
    },
    /// Our own trust setting can't be used: no system authorities, a PEM text without a certificate, a malformed pin.
    #[error("the TLS trust setting cannot be used: {reason}")]
    TrustUnusable {
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate isn't trusted.
    #[error("the TLS certificate is not trusted: {reason}; {}", presented(presented_sha256.as_deref()))]
    TlsNotTrusted {
        /// Why.
        reason: String,
        /// SHA-256 of the leaf certificate that was presented, 64 lowercase hex digits: what an operator would pin.
        presented_sha256: Option<String>,
    },
    /// The TLS handshake failed for another reason than trust: most often the port doesn't speak TLS.
    #[error("the TLS handshake failed ({reason})")]
    TlsFailed {
        /// Why.
        reason: String,
    },
    /// The upgrade was answered with another status than 101.
    #[error("the WebSocket upgrade was answered with HTTP {status}")]
    UpgradeRefused {
        /// The status.
        status: u16,
        /// `Content-Type`, lower-case.
        content_type: Option<String>,
        /// At most 4 KiB of the body, as far as it came.
        body: Bytes,
        /// `Retry-After` in seconds, where given.
        retry_after: Option<Duration>,
    },
    /// The port speaks something else than HTTP, or upgrades to something else than a WebSocket.
    #[error("the port does not speak WebSocket ({reason})")]
    NotWebSocket {
        /// What was wrong.
        reason: String,
    },
    /// The port speaks something else than HTTP.
    #[error("the port does not speak HTTP ({reason})")]
    NotHttp {
        /// What was wrong.
        reason: String,
    },
    /// The response body is longer than allowed.
    #[error("the answer is longer than {limit} bytes")]
    ReplyTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The response body is more than we hold of this gateway, or of all.
    #[error("{}", out_of_memory(*.0))]
    OutOfMemory(Excess),
    /// Anything else.
    #[error("{} failed: {reason}", step.as_str())]
    Other {
        /// Where.
        step: DialStep,
        /// What happened.
        reason: String,
    },
}

/// The code of a gateway that made us hold too much.
pub fn memory_code(excess: Excess) -> RefusalCode {
    match excess {
        Excess::Own => RefusalCode::MemoryExceeded,
        Excess::Shared => RefusalCode::MemorySpent,
    }
}

fn out_of_memory(excess: Excess) -> &'static str {
    match excess {
        Excess::Own => "what the gateway sent takes more memory than is set aside for one gateway",
        Excess::Shared => "the memory set aside for all gateways is spent",
    }
}

fn presented(sha256: Option<&str>) -> String {
    match sha256 {
        Some(sha256) => format!("it presented the certificate with SHA-256 {sha256}"),
        None => "it presented no certificate".to_owned(),
    }
}

impl DialFailure {
    /// The step that failed.
    pub fn step(&self) -> DialStep {
        match self {
            Self::ForbiddenAddress { .. } | Self::NameNotResolved { .. } => DialStep::Resolve,
            Self::Refused | Self::Unreachable { .. } => DialStep::Connect,
            Self::TrustUnusable { .. } | Self::TlsNotTrusted { .. } | Self::TlsFailed { .. } => DialStep::Tls,
            Self::UpgradeRefused { .. } | Self::NotWebSocket { .. } => DialStep::Upgrade,
            Self::NotHttp { .. } | Self::ReplyTooLarge { .. } | Self::OutOfMemory(_) => DialStep::Request,
            Self::Reset { step } | Self::Timeout { step } | Self::Other { step, .. } => *step,
        }
    }

    /// What it means for a gateway. `known` is whether a gateway has been met at this address before: then something that
    /// isn't a gateway's answer is a fault that may pass, else it says that there is none.
    pub fn classify(&self, known: bool) -> UpgradeAnswer {
        let code = match self {
            Self::ForbiddenAddress { .. } => RefusalCode::AddressForbidden,
            Self::NameNotResolved { .. } => RefusalCode::NameNotResolved,
            Self::Refused => RefusalCode::ConnectionRefused,
            Self::Reset { .. } => RefusalCode::ConnectionReset,
            Self::Unreachable { .. } => RefusalCode::HostUnreachable,
            Self::Timeout { step: DialStep::Resolve | DialStep::Connect } => RefusalCode::DialTimeout,
            // Something took the connection: its host is up.
            Self::Timeout { .. } => RefusalCode::ChallengeTimeout,
            Self::TrustUnusable { .. } => RefusalCode::TlsTrustUnusable,
            Self::TlsNotTrusted { .. } => RefusalCode::TlsNotTrusted,
            Self::TlsFailed { .. } => RefusalCode::TlsFailed,
            Self::UpgradeRefused { status, body, retry_after, .. } => {
                let seconds = retry_after.map(|after| after.as_secs());
                return classify_upgrade(*status, None, seconds, body);
            }
            Self::NotWebSocket { .. } | Self::NotHttp { .. } | Self::ReplyTooLarge { .. } => strange(known),
            Self::OutOfMemory(excess) => memory_code(*excess),
            Self::Other { .. } => RefusalCode::LocalFault,
        };
        UpgradeAnswer::Refused(Refusal::new(code, &self.to_string()))
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::ForbiddenAddress { .. } => {
                "Register the gateway under an address of its own; link-local and cloud metadata addresses are never dialled."
            }
            Self::NameNotResolved { .. } => "Check the spelling of the gateway's host and the name server of this machine.",
            Self::Refused => "Start the gateway, or correct its host and port: nothing listens there.",
            Self::Reset { .. } | Self::Other { .. } => {
                "Look into the gateway's log, and check that host and port belong to a gateway."
            }
            Self::Timeout { step: DialStep::Tls | DialStep::Upgrade | DialStep::Request } => {
                RefusalCode::ChallengeTimeout.help()
            }
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                "Check that the gateway's machine is up and that no firewall drops the connection."
            }
            Self::TrustUnusable { .. } => {
                "Correct the gateway's tls setting, or install certificate authorities on this machine."
            }
            Self::TlsNotTrusted { presented_sha256: Some(sha256), .. } => {
                return format!(
                    "If this is the right gateway, pin its certificate with tls {{\"trust\": \"pins\", \"pins\": [\"{sha256}\"]}}, \
                     or give its certificate authority with trust \"ca\"."
                );
            }
            Self::TlsNotTrusted { .. } => "Give the gateway's certificate authority with tls trust \"ca\", or pin its certificate.",
            Self::TlsFailed { .. } => "If the gateway speaks no TLS, register it with ws:// or http:// instead of wss:// or https://.",
            Self::UpgradeRefused { .. } | Self::NotWebSocket { .. } | Self::NotHttp { .. } | Self::ReplyTooLarge { .. } => {
                "Check that host and port belong to a gateway and not to another server or a proxy in front of it."
            }
            Self::OutOfMemory(excess) => memory_code(*excess).help(),
        }
        .to_owned()
    }
}

/// What something means that isn't a gateway's answer.
pub fn strange(known: bool) -> RefusalCode {
    if known { RefusalCode::Garbage } else { RefusalCode::NotAGateway }
}

/// Why an open socket is of no use any more. Nothing comes after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// A frame announced, or fragments summed up to, more than the cap.
    #[error("the gateway sent a message of {announced} bytes, more than the {cap} allowed")]
    FrameTooLarge {
        /// Bytes announced so far.
        announced: u64,
        /// The cap at that time.
        cap: usize,
    },
    /// What the gateway would have us hold is more than is set aside for it, or for all.
    #[error("{}", out_of_memory(*.0))]
    OutOfMemory(Excess),
    /// The peer broke the WebSocket protocol.
    #[error("the gateway broke the WebSocket protocol: {reason}")]
    Protocol {
        /// How.
        reason: &'static str,
    },
    /// The peer doesn't read: our queue is full.
    #[error("the gateway does not read what is sent to it")]
    SlowPeer,
    /// Closed on our side, or the connection is gone.
    #[error("the connection is closed")]
    Closed,
    /// Reading failed. Whoever shows it says that the connection broke: the code's sentence, or the close's.
    #[error("{reason}")]
    Io {
        /// The operating system's words.
        reason: String,
    },
}

impl SocketError {
    /// What it means of a gateway that has not let us in yet; `known` as in [`DialFailure::classify`].
    pub fn before_login(&self, known: bool) -> RefusalCode {
        match self {
            Self::FrameTooLarge { .. } => RefusalCode::FrameTooLarge,
            Self::OutOfMemory(excess) => memory_code(*excess),
            Self::Protocol { .. } => strange(known),
            Self::SlowPeer => RefusalCode::GatewayUnavailable,
            Self::Closed | Self::Io { .. } => RefusalCode::ConnectionReset,
        }
    }
}
