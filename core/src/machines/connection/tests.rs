//! The link against a scripted gateway in virtual time.

mod attempts;
mod connected;
mod control;
mod detection;
mod grace;
mod http_runs;
mod invariants;
mod login;
mod look_ups;
mod probes;
mod run_certainty;
mod run_invariants;
mod run_requests;
mod run_sim;
mod run_stages;
mod sessions;
mod sim;
