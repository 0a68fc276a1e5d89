//! Many spawns while gateways die and come back at random: each ends exactly once, none is run twice, and every answer
//! agrees with the record. The gateways keep the truth: what they really began, and how it ended.

mod campaign;
mod verdict;

use self::campaign::{Campaign, Plan};
use crate::support::daemon::Setup;
use crate::support::scripted_gateway::{Form, Memory};

/// States that nothing follows.
pub(crate) const FINAL: [&str; 4] = ["completed", "failed", "killed", "lost"];

/// Short timings: nothing here waits for people.
fn setup() -> Setup {
    Setup::new()
        .env("GATEWARDEN_LOG__LEVEL", "info")
        .env("GATEWARDEN_RATE_LIMIT__ENABLED", "true")
        .env("GATEWARDEN_RATE_LIMIT__GATEWAY_PER_MINUTE", "1000000")
        .env("GATEWARDEN_RATE_LIMIT__SPAWN_PER_MINUTE", "1000000")
        .env("GATEWARDEN_ROUTING__POLICY", "least_loaded")
        .env("GATEWARDEN_ROUTING__MAX_IN_FLIGHT", "1000")
        .env("GATEWARDEN_ROUTING__LOST_AFTER", "10s")
        .env("GATEWARDEN_GATEWAY__REQUEST_TIMEOUT", "6s")
        .env("GATEWARDEN_GATEWAY__BACKOFF", "50ms,100ms,200ms")
}

#[test]
fn a_thousand_spawns_while_gateways_die_at_random_end_once_each_and_none_runs_twice() {
    let gateways =
        [(Form::Protocol4, Memory::Keeps), (Form::Protocol3, Memory::Forgets), (Form::Document002, Memory::Forgets)];
    let plan = Plan { jobs: 1_000, clients: 12, keyed_percent: 30, crashes_of_the_daemon: 0 };
    let ended = Campaign::new(setup(), &gateways).fight(&plan);
    let counts = verdict::judge(&ended);
    assert!(counts.ended("completed") > 100, "too little came through to mean anything: {counts:?}");
    assert!(counts.deaths > 5, "too few deaths to mean anything: {counts:?}");
}

#[test]
fn spawns_are_neither_lost_nor_doubled_when_the_daemon_itself_is_killed() {
    let gateways =
        [(Form::Protocol4, Memory::Keeps), (Form::Protocol3, Memory::Keeps), (Form::Protocol4, Memory::Forgets)];
    let plan = Plan { jobs: 300, clients: 8, keyed_percent: 100, crashes_of_the_daemon: 3 };
    let ended = Campaign::new(setup(), &gateways).fight(&plan);
    let counts = verdict::judge(&ended);
    // A tenth, as above: with three deaths of the daemon and as many of gateways as there happen to be, the rest is chance.
    assert!(counts.ended("completed") >= 30, "too little came through to mean anything: {counts:?}");
}
