//! The `Registry` actor: roster, supervision of `Gateway` actors, election of the acting primary.

pub mod messages;
pub mod roster;
