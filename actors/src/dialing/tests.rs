//! Dials over real loopback sockets. Peers are scripted by hand; every wait has an event or a deadline of its own.

mod http;
mod peer;
pub(crate) mod scripted;
mod sockets;
mod trust;
mod upgrades;
