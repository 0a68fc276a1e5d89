//! The OpenClaw gateway protocol as data and decisions: frames of three dialects, the handshake, request signing, device
//! identity, refusals, capabilities and the normalising of what gateways report.
//!
//! Nothing here does IO, reads a clock or draws randomness: callers pass bytes, wall times and seeds in. The daemon, the
//! embedded gateway and the tests share this one definition. Beside the protocol stands what both sides must judge alike: for
//! whom a proxy speaks ([`forwarded`]), and how old things are though a clock was set ([`steady_time`]).

#[macro_use]
pub mod names;

pub mod address;
pub mod agents;
pub mod capabilities;
pub mod decoding;
pub mod dialect;
mod fields;
pub mod forbidden_address;
pub mod forwarded;
pub mod frame;
pub mod handshake;
pub mod health_document;
pub mod hello;
pub mod identity;
pub mod limits;
pub mod logs;
pub mod message_reader;
pub mod nested_json;
pub mod pending;
pub mod quirks;
pub mod refusal;
pub mod secret;
pub mod sessions;
pub mod signing;
pub mod steady_time;
pub mod strict_json;
pub mod version;
pub mod wall_time;
pub mod words;

pub use address::{AddressError, GatewayAddress, ParsedHost};
pub use agents::{AgentRow, read_agents, read_config_agents};
pub use capabilities::{Capabilities, Method, Support};
pub use dialect::Dialect;
pub use frame::{Event, Frame, FrameError, Response, WireError, encode_request};
pub use handshake::{Handshake, HandshakeConfig, Step};
pub use health_document::HealthDocument;
pub use hello::{HealthSnapshot, Hello, HelloForm, IssuedToken};
pub use identity::DeviceIdentity;
pub use logs::{LogEntry, LogLevel, LogTail, read_log_event, read_log_line, read_log_tail};
pub use pending::{PendingRequests, Settled, Unmatched};
pub use quirks::Quirk;
pub use refusal::{
    Pairing, Refusal, RefusalClass, RefusalCode, UpgradeAnswer, classify_close, classify_error, classify_http_reply,
    classify_upgrade,
};
pub use secret::Secret;
pub use sessions::{
    RowRules, RunEnd, SessionPage, SessionRow, SessionStatus, SessionTable, SessionsEvent, read_sessions,
    read_sessions_event,
};
pub use version::CalendarVersion;
