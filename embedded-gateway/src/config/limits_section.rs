//! `gatewarden.limits`, `gatewarden.metrics` and the rest of our own section.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::{Others, Reader, Section};
use super::{GatewayConfig, Limits, Metrics};

pub(super) fn read(reader: &mut Reader<'_>, ours: &mut Section<'_>, config: &mut GatewayConfig) {
    limits(reader, ours, &mut config.limits);
    let mut metrics = ours.section(reader, "metrics");
    let enabled = metrics.switch(reader, "enabled").unwrap_or(true);
    let port = metrics.number(reader, "port", 0..=65_535).and_then(|port| u16::try_from(port).ok());
    let address = metrics.address(reader, "address");
    metrics.close(reader, Others::RefusedBut(&[]));
    config.metrics = config
        .metrics
        .filter(|_| enabled)
        .map(|default| Metrics { port: port.unwrap_or(default.port), address: address.unwrap_or(default.address) });
    for (at, host) in ours.texts(reader, "allowedHosts").into_iter().enumerate() {
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        if plain && !host.is_empty() {
            config.allowed_hosts.push(host.to_ascii_lowercase());
        } else {
            let cure = "must be a host name without port, such as gateway.example.com; no wildcards";
            reader.wrong(&format!("gatewarden.allowedHosts[{at}]"), Some(&host.into()), cure);
        }
    }
    if let Some(bytes) = ours.number(reader, "logMaxBytes", 64 * 1024..=1024 * 1024 * 1024) {
        config.log.max_bytes = bytes;
    }
}

fn limits(reader: &mut Reader<'_>, ours: &mut Section<'_>, limits: &mut Limits) {
    let mut section = ours.section(reader, "limits");
    let counts: [(&'static str, RangeInclusive<u64>, &mut usize); 10] = [
        ("connections", 1..=100_000, &mut limits.connections),
        ("unauthenticated", 1..=10_000, &mut limits.unauthenticated),
        ("maxPayload", 64 * 1024..=256 * 1024 * 1024, &mut limits.max_payload),
        ("maxBuffered", 64 * 1024..=1024 * 1024 * 1024, &mut limits.max_buffered),
        ("maxBufferedTotal", 1024 * 1024..=64 * 1024 * 1024 * 1024, &mut limits.max_buffered_total),
        ("processes", 0..=10_000, &mut limits.processes),
        ("outputLine", 256..=1024 * 1024, &mut limits.output_line),
        ("sessions", 1..=1_000_000, &mut limits.sessions),
        ("historyMessages", 2..=100_000, &mut limits.history_messages),
        ("finishedRuns", 1..=100_000, &mut limits.finished_runs),
    ];
    for (name, range, field) in counts {
        if let Some(number) = section.number(reader, name, range) {
            *field = usize::try_from(number).unwrap_or(usize::MAX);
        }
    }
    if let Some(failures) = section.number(reader, "authFailures", 1..=10_000) {
        limits.auth_failures = u32::try_from(failures).unwrap_or(u32::MAX);
    }
    // Less is too little for a program to be loaded.
    limits.process_open_files = section.number(reader, "processOpenFiles", 16..=1_048_576);
    limits.process_memory = section.number(reader, "processMemory", 16 * 1024 * 1024..=1 << 50);
    if let Some(bytes) = section.number(reader, "outputBytesPerSecond", 1024..=1024 * 1024 * 1024) {
        limits.output_bytes_per_second = bytes;
    }
    let (ms, second) = (Duration::from_millis, Duration::from_secs);
    let durations: [(&'static str, RangeInclusive<Duration>, &mut Duration); 6] = [
        ("handshake", ms(100)..=second(300), &mut limits.handshake),
        ("tick", ms(100)..=second(3_600), &mut limits.tick),
        ("ping", ms(100)..=second(3_600), &mut limits.ping),
        ("lockout", second(1)..=second(86_400), &mut limits.lockout),
        ("killGrace", ms(10)..=second(300), &mut limits.kill_grace),
        ("sessionAge", second(60)..=second(10 * 366 * 86_400), &mut limits.session_age),
    ];
    for (name, range, field) in durations {
        if let Some(duration) = section.duration(reader, name, range) {
            *field = duration;
        }
    }
    section.close(reader, Others::RefusedBut(&[]));
}
