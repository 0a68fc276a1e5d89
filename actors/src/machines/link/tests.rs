//! The link against a scripted gateway in virtual time.

mod attempts;
mod connected;
mod detection;
mod grace;
mod invariants;
mod login;
mod probes;
mod sim;
