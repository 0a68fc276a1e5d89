//! The pure decisions: no actor, socket, clock, randomness or database. They take `now` and an input and say what to do.

pub mod election;
pub mod flap;
pub mod restart_intensity;
pub mod self_doubt;
