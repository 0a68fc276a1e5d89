//! Sections `gateway`, `direct`, `election`, `supervision` and `routing`.

use std::time::Duration;

use gatewarden_actors::machines::routing::RoutingPolicy;
use gatewarden_actors::settings::{ElectionSettings, GatewaySettings, RestartSettings, RoutingSettings};

use super::WorkSettings;
use super::reading::Reader;

const MIB: usize = 1024 * 1024;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Short enough for any test, long enough that a slip of a unit isn't a flood.
const SHORTEST: Duration = Duration::from_millis(10);

/// Settings of each connection.
pub(super) fn gateway(reader: &mut Reader<'_>) -> GatewaySettings {
    let heartbeat_interval = reader.duration("gateway.heartbeat_interval", SHORTEST..=HOUR);
    let heartbeat_timeout = reader.duration("gateway.heartbeat_timeout", SHORTEST..=HOUR);
    let (oldest, newest) =
        (reader.number("gateway.min_protocol", 1..=1000), reader.number("gateway.max_protocol", 1..=1000));
    let memory_each = reader.bytes("gateway.memory_each", 4 * MIB..=1024 * MIB);
    let memory_total = reader.bytes("gateway.memory_total", 16 * MIB..=64 * 1024 * MIB);
    if memory_each > memory_total {
        reader.wrong("gateway.memory_each", "must not be above gateway.memory_total");
    }
    if oldest > newest {
        reader.wrong("gateway.min_protocol", format!("must not be above gateway.max_protocol ({newest})"));
    }
    GatewaySettings {
        heartbeat_interval,
        // Where the interval is short, the reply is due within a third of it, whatever the key says.
        heartbeat_timeout: heartbeat_timeout.min(heartbeat_interval / 3),
        missed_heartbeats: reader.number("gateway.missed_heartbeats", 1..=100),
        probe_interval: reader.duration("gateway.probe_interval", SHORTEST..=DAY),
        probe_timeout: reader.duration("gateway.probe_timeout", SHORTEST..=60 * SECOND),
        breaker_failures: reader.number("gateway.breaker_failures", 1..=1000),
        backoff: reader.durations("gateway.backoff", SHORTEST..=HOUR, 32),
        stable_after: reader.duration("gateway.stable_after", Duration::ZERO..=DAY),
        starting_grace: reader.duration("gateway.starting_grace", Duration::ZERO..=DAY),
        restarting_grace: reader.duration("gateway.restarting_grace", Duration::ZERO..=DAY),
        degraded_latency: reader.duration("gateway.degraded_latency", Duration::from_millis(1)..=60 * SECOND),
        dial_timeout: reader.duration("gateway.dial_timeout", SHORTEST..=300 * SECOND),
        challenge_timeout: reader.duration("gateway.challenge_timeout", SHORTEST..=300 * SECOND),
        known_challenge_timeout: reader.duration("gateway.known_challenge_timeout", SHORTEST..=300 * SECOND),
        connect_timeout: reader.duration("gateway.connect_timeout", SHORTEST..=300 * SECOND),
        request_timeout: reader.duration("gateway.request_timeout", SHORTEST..=HOUR),
        blocked_recheck: reader.duration("gateway.blocked_recheck", SHORTEST..=DAY),
        resync_interval: reader.duration("gateway.resync_interval", SHORTEST..=DAY),
        protocols: oldest..=newest,
        memory_each,
        memory_total,
        ..GatewaySettings::default()
    }
}

/// Settings of the election.
pub(super) fn election(reader: &mut Reader<'_>) -> ElectionSettings {
    ElectionSettings {
        auto_failover: reader.switch("election.auto_failover"),
        failback_after: reader.duration("election.failback_after", Duration::ZERO..=DAY),
        startup_hold: reader.duration("election.startup_hold", Duration::ZERO..=HOUR),
    }
}

/// Settings of supervision.
pub(super) fn restarts(reader: &mut Reader<'_>) -> RestartSettings {
    RestartSettings {
        max_restarts: reader.number("supervision.max_restarts", 0..=10_000),
        window: reader.duration("supervision.window", SHORTEST..=DAY),
    }
}

/// Settings of routing.
pub(super) fn work(reader: &mut Reader<'_>) -> WorkSettings {
    WorkSettings {
        routing: RoutingSettings {
            policy: reader.parsed("routing.policy", RoutingPolicy::Primary, |text| match text {
                "primary" => Ok(RoutingPolicy::Primary),
                "least_loaded" => Ok(RoutingPolicy::LeastLoaded),
                _ => Err("must be primary or least_loaded".to_owned()),
            }),
            max_in_flight: usize::try_from(reader.number("routing.max_in_flight", 1..=100_000)).unwrap_or(usize::MAX),
            lost_after: reader.duration("routing.lost_after", SECOND..=DAY),
        },
        heartbeat_timeout: reader.duration("direct.heartbeat_timeout", SECOND..=DAY),
        agent_sync_interval: reader.duration("gateway.agent_sync_interval", SECOND..=30 * DAY),
        min_version: reader.parsed("gateway.min_version", String::new(), calendar_version),
    }
}

/// `2026.02.9`, or `2026.2.9-1` with a revision.
fn calendar_version(text: &str) -> Result<String, String> {
    let (date, revision) = text.split_once('-').unwrap_or((text, "0"));
    let numbers: Vec<_> = date.split('.').chain([revision]).map(str::parse::<u32>).collect();
    if numbers.len() == 4 && numbers.iter().all(Result::is_ok) {
        Ok(text.to_owned())
    } else {
        Err("must be a version such as 2026.02.9 or 2026.2.9-1".to_owned())
    }
}
