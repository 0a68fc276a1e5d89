//! WebSocket connections: one task each, which owns its socket.

mod outbound;

pub use outbound::{Outbound, OutboundItem, Outgoing, Overflow};
