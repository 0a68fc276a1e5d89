//! Values of the API as people read them.

use gatewarden_protocol::wall_time;
use serde_json::Value;

use super::Trouble;
use super::output::Tone;

/// Longest text from standard input, bytes.
const LONGEST_INPUT: u64 = 1024 * 1024;

/// A text of an answer by its JSON pointer.
pub(in crate::cli) fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A whole number of an answer by its JSON pointer.
pub(in crate::cli) fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// The colour of a status of gateways, agents, sessions or spawns.
pub(in crate::cli) fn status_tone(status: &str) -> Tone {
    match status {
        "online" | "active" | "connected" | "running" | "ok" | "completed" | "accepted" => Tone::Good,
        "degraded" | "paused" | "busy" | "recorded" | "sent" => Tone::Warning,
        "offline" | "timeout" | "failed" | "lost" | "killed" | "error" => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// `host:port` of a gateway, or its URL.
pub(in crate::cli) fn address_of(gateway: &Value) -> String {
    let host = text(gateway, "/host").unwrap_or_default();
    match number(gateway, "/port") {
        Some(_) if host.contains("://") => host,
        Some(port) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// A span of seconds as people say it: `45s`, `3m`, `2h 5m`, `4d 1h`.
pub(in crate::cli) fn seconds_of(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// How long ago a Unix second was.
pub(in crate::cli) fn ago(now_s: i64, then_s: i64) -> String {
    seconds_of(now_s.saturating_sub(then_s))
}

/// A Unix second as a date: `2026-11-21 18:05:45Z`.
pub(in crate::cli) fn at(unix_s: i64) -> String {
    wall_time::of_seconds(unix_s).replacen('T', " ", 1)
}

/// A value as one part of a path.
pub(in crate::cli) fn path_part(value: &str) -> String {
    let mut part = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => part.push(char::from(byte)),
            other => part.push_str(&format!("%{other:02X}")),
        }
    }
    part
}

/// A text of the command line; `-` is standard input.
pub(in crate::cli) fn read_text(written: &str) -> Result<String, Trouble> {
    use std::io::Read as _;
    if written != "-" {
        return Ok(written.to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(LONGEST_INPUT)
        .read_to_string(&mut text)
        .map_err(|error| Trouble::usage(format!("Standard input cannot be read: {error}.")))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_and_times_read_as_people_say_them() {
        for (seconds, said) in [(-3, "0s"), (59, "59s"), (180, "3m"), (7_500, "2h 5m"), (349_300, "4d 1h")] {
            assert_eq!(seconds_of(seconds), said);
        }
        assert_eq!(at(1_795_284_345), "2026-11-21 18:05:45Z");
    }

    #[test]
    fn an_address_is_written_as_it_can_be_typed_again() {
        for (host, port, shown) in [
            ("192.0.2.7", 18789, "192.0.2.7:18789"),
            ("wss://a.example/x", 443, "wss://a.example/x"),
            ("fd00::1", 18789, "[fd00::1]:18789"),
        ] {
            assert_eq!(address_of(&json!({"host": host, "port": port})), shown);
        }
    }

    #[test]
    fn a_part_of_a_path_stays_one_part() {
        assert_eq!(path_part("agent:main/x y?\u{e4}%"), "agent:main%2Fx%20y%3F%C3%A4%25");
    }
}
