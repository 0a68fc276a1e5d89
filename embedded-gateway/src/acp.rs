//! Agents that speak the Agent Client Protocol: JSON-RPC, one message a line, over the standard streams of a child.
//!
//! Each session has a child of its own ([`children`]), which lives on between two prompts. A prompt is a run like any other: what
//! the agent says is told in the lines that other agents write themselves (docs/embedded-gateway-agents.md, "Agents that speak
//! JSON lines"), so nothing beyond this module knows the protocol. [`conversation`] decides, [`child`] carries out.
//!
//! The messages are read from plain JSON here. The crate `agent-client-protocol-schema` would bring 20 more crates and turn on
//! `preserve_order` of `serde_json` for the whole workspace, and `agent-client-protocol` an executor of its own.

mod child;
mod children;
mod conversation;
mod places;
mod restarts;
mod settings;
#[cfg(test)]
mod tests;
mod updates;
mod wire;

pub(crate) use children::AcpChildren;
