//! The pure decisions: no actor, socket, clock, randomness or database. They take `now` and an input and say what to do.

pub mod auth_budget;
pub mod backoff;
pub mod connection;
pub mod election;
pub mod event_places;
pub(crate) mod flap;
pub mod heartbeat;
pub mod latency_fold;
pub mod log_tail;
pub mod login_attempt;
pub(crate) mod login_queue;
pub mod notification;
pub mod notification_outbox;
pub mod placement;
pub mod process_supervision;
pub mod process_verification;
pub mod provisioning;
pub mod replay;
pub mod restart_intensity;
pub mod routing;
pub mod self_doubt;
pub mod sequence;
pub mod silence;
pub(crate) mod spawn_tracker;
pub mod sync_schedule;
