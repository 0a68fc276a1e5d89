//! Sections `gateway`, `direct`, `election`, `routing` and `supervision`.

use std::time::Duration;

use gatewarden_actors::machines::routing::RoutingPolicy;
use gatewarden_actors::settings::{ElectionSettings, GatewaySettings, RestartSettings, RoutingSettings};

use super::reader::{Reader, or};
use super::{DAY, HOUR, SECOND, SHORTEST};

const MIB: usize = 1024 * 1024;
const NONE: Duration = Duration::ZERO;
/// Longest wait for a step of a connection.
const STEP: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkSettings {
    /// Where work goes that names no gateway, and how much of it one gateway gets.
    pub(crate) routing: RoutingSettings,
    /// How long a CLI tool may be silent, unless it announces longer intervals; 60 s.
    pub(crate) heartbeat_timeout: Duration,
    /// Between automatic syncs of agents; 15 min.
    pub(crate) agent_sync_interval: Duration,
    /// The oldest gateway version that the organization API accepts; 2026.02.9.
    pub(crate) min_version: String,
}

/// Settings of each connection, then the ones of `gateway` that belong to work.
pub(super) fn gateway(reader: &mut Reader<'_>) -> (GatewaySettings, Duration, String) {
    let heartbeat_interval = reader.duration("gateway.heartbeat_interval", "30s", SHORTEST..=HOUR);
    let heartbeat_timeout = reader.duration("gateway.heartbeat_timeout", "10s", SHORTEST..=HOUR);
    let settings = GatewaySettings {
        heartbeat_interval,
        // Where the interval is short, the reply is due within a third of it, whatever the key says.
        heartbeat_timeout: heartbeat_timeout.min(heartbeat_interval / 3),
        missed_heartbeats: reader.number("gateway.missed_heartbeats", 3, 1..=100),
        probe_interval: reader.duration("gateway.probe_interval", "5m", SHORTEST..=DAY),
        probe_timeout: reader.duration("gateway.probe_timeout", "5s", SHORTEST..=60 * SECOND),
        breaker_failures: reader.number("gateway.breaker_failures", 3, 1..=1000),
        backoff: reader.durations("gateway.backoff", "1s,2s,4s,8s,16s,30s", SHORTEST..=HOUR, 32),
        stable_after: reader.duration("gateway.stable_after", "60s", NONE..=DAY),
        starting_grace: reader.duration("gateway.starting_grace", "5m", NONE..=DAY),
        restarting_grace: reader.duration("gateway.restarting_grace", "30s", NONE..=DAY),
        degraded_latency: reader.duration("gateway.degraded_latency", "500ms", Duration::from_millis(1)..=60 * SECOND),
        dial_timeout: reader.duration("gateway.dial_timeout", "10s", SHORTEST..=STEP),
        challenge_timeout: reader.duration("gateway.challenge_timeout", "5s", SHORTEST..=STEP),
        known_challenge_timeout: reader.duration("gateway.known_challenge_timeout", "10s", SHORTEST..=STEP),
        connect_timeout: reader.duration("gateway.connect_timeout", "10s", SHORTEST..=STEP),
        request_timeout: reader.duration("gateway.request_timeout", "30s", SHORTEST..=HOUR),
        blocked_recheck: reader.duration("gateway.blocked_recheck", "10m", SHORTEST..=DAY),
        resync_interval: reader.duration("gateway.resync_interval", "5m", SHORTEST..=DAY),
        memory_each: reader.bytes("gateway.memory_each", "32MiB", 4 * MIB..=1024 * MIB),
        memory_total: reader.bytes("gateway.memory_total", "256MiB", 16 * MIB..=64 * 1024 * MIB),
        ..GatewaySettings::default()
    };
    if settings.memory_each > settings.memory_total {
        reader.wrong("gateway.memory_each", "must not be above gateway.memory_total");
    }
    let agent_sync_interval = reader.duration("gateway.agent_sync_interval", "15m", SECOND..=30 * DAY);
    let oldest = reader.number("gateway.min_protocol", 3, 1..=1000);
    let newest = reader.number("gateway.max_protocol", 4, 1..=1000);
    if oldest > newest {
        reader.wrong("gateway.min_protocol", format!("must not be above gateway.max_protocol ({newest})"));
    }
    let min_version = reader.parsed(
        or("gateway.min_version", &["GATEWAY_MIN_VERSION"]),
        "2026.02.9",
        String::new(),
        calendar_version,
    );
    (GatewaySettings { protocols: oldest..=newest, ..settings }, agent_sync_interval, min_version)
}

pub(super) fn direct_heartbeat_timeout(reader: &mut Reader<'_>) -> Duration {
    reader.duration("direct.heartbeat_timeout", "60s", SECOND..=DAY)
}

pub(super) fn election(reader: &mut Reader<'_>) -> ElectionSettings {
    ElectionSettings {
        auto_failover: reader.switch("election.auto_failover", true),
        failback_after: reader.duration("election.failback_after", "30s", NONE..=DAY),
        startup_hold: reader.duration("election.startup_hold", "10s", NONE..=HOUR),
    }
}

pub(super) fn routing(reader: &mut Reader<'_>) -> RoutingSettings {
    RoutingSettings {
        policy: reader.parsed("routing.policy", "primary", RoutingPolicy::Primary, |text| match text {
            "primary" => Ok(RoutingPolicy::Primary),
            "least_loaded" => Ok(RoutingPolicy::LeastLoaded),
            _ => Err("must be primary or least_loaded".to_owned()),
        }),
        max_in_flight: reader.count("routing.max_in_flight", 64, 1..=100_000),
        lost_after: reader.duration("routing.lost_after", "10m", SECOND..=DAY),
    }
}

pub(super) fn supervision(reader: &mut Reader<'_>) -> RestartSettings {
    RestartSettings {
        max_restarts: reader.number("supervision.max_restarts", 5, 0..=10_000),
        window: reader.duration("supervision.window", "60s", SHORTEST..=DAY),
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
