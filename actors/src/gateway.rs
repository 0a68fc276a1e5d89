//! The `Gateway` actor: one per registered gateway.

pub mod messages;
