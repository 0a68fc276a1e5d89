//! The OpenClaw gateway protocol as data and decisions: frames of three dialects, the handshake, request signing, device
//! identity, refusals, capabilities and the normalising of what gateways report.
//!
//! Nothing here does IO, reads a clock or draws randomness: callers pass bytes, wall times and seeds in. The daemon, the
//! embedded gateway and the tests share this one definition.

pub mod address;
pub mod dialect;
pub mod forbidden_address;
pub mod secret;

pub use address::{AddressError, GatewayAddress, ParsedHost};
pub use dialect::Dialect;
pub use secret::Secret;
