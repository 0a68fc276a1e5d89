//! `gatewarden events` and `gatewarden logs`: what happens, line by line as it comes.

use clap::Args;
use gatewarden_actors::event::EventKind;
use gatewarden_api::gateways::{GatewayLogs, LogEntry};
use serde_json::Value;

use super::daemon::{Daemon, DaemonArgs, with_query};
use super::error::CliError;
use super::output::{Paint, Tone, at_ms, complain, indented, plain, try_print};
use super::stream::{self, StreamUpdate};
use super::{EXIT_FAILURE, EXIT_OK};
use crate::event_stream::StreamEvent;

/// What to follow.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Only these types, separated by commas; all but log and gateway.vitals where none is named
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = EventKind::ALL.map(EventKind::as_str))]
    types: Vec<String>,
    /// Log entries of this gateway only; several may be given
    #[arg(long = "gateway", value_name = "GATEWAY")]
    gateways: Vec<String>,
    /// Go on after the event of this number
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// End after so many events
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    /// Go on until it is interrupted: so it is anyway, where no --count is given
    #[arg(long, short, conflicts_with = "count")]
    follow: bool,
}

/// Whose log, and how much of it.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Name or id
    #[arg(value_name = "GATEWAY")]
    gateway: String,
    /// Go on with new entries as they come
    #[arg(long, short)]
    follow: bool,
    /// The newest so many entries
    #[arg(long, short = 'n', value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5000))]
    limit: u32,
    /// Only this level and graver ones
    #[arg(long, value_name = "LEVEL", value_parser = ["fatal", "error", "warn", "info", "debug", "trace"])]
    level: Option<String>,
}

/// Prints events until it is interrupted. A stream that ends is opened again where it ended.
pub(super) fn run(args: &EventsArgs) -> u8 {
    args.daemon.run(|daemon| {
        let gateways = daemon.all_gateways(&args.gateways)?;
        let ids: Vec<String> = gateways.iter().map(|gateway| gateway.id.to_string()).collect();
        let joined = |all: &[String]| (!all.is_empty()).then(|| all.join(","));
        let path = with_query("/api/events", &[("types", joined(&args.types)), ("gateway_id", joined(&ids))]);
        let mut left = args.count;
        follow(daemon, &path, args.since.map(|id| id.to_string()), |event| {
            if event.name.is_empty() || left == Some(0) {
                return left != Some(0);
            }
            let shown = if daemon.output.is_json() { line_of_json(event) } else { line(event, daemon.output.paint) };
            left = left.map(|left| left.saturating_sub(1));
            try_print(&shown) && left != Some(0)
        })
    })
}

/// Prints the newest entries, and goes on where that is wished for.
pub(super) fn logs(args: &LogsArgs) -> u8 {
    args.daemon.run(|daemon| {
        let path = format!("/api/gateways/{}/logs", daemon.gateway_id(&args.gateway)?);
        let query = [
            ("limit", Some(args.limit.to_string())),
            ("level", args.level.clone()),
            ("follow", args.follow.then(|| "true".to_owned())),
        ];
        let path = with_query(&path, &query);
        let paint = daemon.output.paint;
        if !args.follow {
            return daemon.show(&daemon.get(&path)?, |seen: &GatewayLogs| {
                seen.logs.iter().map(|entry| log_line(entry, paint)).collect::<Vec<_>>().join("\n")
            });
        }
        let mut ended = false;
        let code = follow(daemon, &path, None, |event| {
            let said = event.json();
            let data = said.get("data").unwrap_or(&said);
            let entry = serde_json::from_value::<LogEntry>(data.clone());
            ended = event.name == "end";
            let go_on = match (event.name.as_str(), entry) {
                ("", _) => true,
                _ if daemon.output.is_json() => try_print(&line_of_json(event)),
                // Of a gateway that was removed a moment ago the daemon knows no name: the stream's end says the rest.
                (name, _)
                    if name != "log" && word(data, "/message").is_some_and(|said| said.contains("gateway \"\"")) =>
                {
                    true
                }
                ("log", Ok(entry)) => try_print(&log_line(&entry, paint)),
                _ => {
                    let dropped = data.get("dropped").and_then(Value::as_i64);
                    let dropped = dropped.map(|n| format!("{n} entries were dropped: this reader is too slow"));
                    complain(&plain(&word(data, "/message").or(dropped).unwrap_or_else(|| event.name.clone())));
                    true
                }
            };
            go_on && !ended
        })?;
        // The gateway, or our right to read its log, is gone: nobody has asked for that end.
        Ok(if ended { EXIT_FAILURE } else { code })
    })
}

/// Reads a stream for as long as `take` wants more. The daemon may be starting again: it is waited for, for a minute.
fn follow(
    daemon: &Daemon,
    path: &str,
    since: Option<String>,
    mut take: impl FnMut(&StreamEvent) -> bool,
) -> Result<u8, CliError> {
    const ATTEMPTS: u32 = 60;
    let mut was_open = false;
    let mut attempts = 0;
    let mut failed = None;
    stream::follow(daemon, path, since, |update| match update {
        StreamUpdate::Event(event) => take(&event),
        StreamUpdate::Open => {
            (was_open, attempts) = (true, 0);
            true
        }
        StreamUpdate::Ended => {
            if !daemon.output.is_quiet() {
                complain("the stream has ended; it is opened again");
            }
            true
        }
        StreamUpdate::Refused(error) => {
            attempts += 1;
            let go_on = was_open && attempts < ATTEMPTS && error.may_pass();
            failed = (!go_on).then_some(error);
            go_on
        }
    });
    failed.map_or(Ok(EXIT_OK), Err)
}

/// Type, number and content in one line; what the daemon itself says of the stream (`reset`, `lagged`) has no number.
fn line_of_json(event: &StreamEvent) -> String {
    let mut line = match event.json() {
        Value::Object(fields) if fields.contains_key("type") => Value::Object(fields),
        other => serde_json::json!({"type": event.name, "data": other}),
    };
    if let (Some(fields), Some(id)) = (line.as_object_mut(), &event.id) {
        fields.insert("id".to_owned(), id.parse::<u64>().map_or_else(|_| Value::from(id.clone()), Value::from));
    }
    line.to_string()
}

fn line(event: &StreamEvent, paint: Paint) -> String {
    let said = event.json();
    let data = said.get("data").unwrap_or(&said);
    if event.name == "log"
        && let Ok(entry) = serde_json::from_value(data.clone())
    {
        return format!("{} {}", plain(&word(data, "/gateway").unwrap_or_default()), log_line(&entry, paint));
    }
    let name = paint.paint(Tone::Faint, &format!("{:<22}", plain(&event.name)));
    format!("{} {name} {}", paint.paint(Tone::Faint, &time_of(&said)), plain(&words(&event.name, data)))
}

/// When an event happened.
pub(super) fn time_of(event: &Value) -> String {
    event.get("ts").and_then(Value::as_i64).map(at_ms).unwrap_or_default()
}

/// A text of an event: its content depends on its type.
pub(super) fn word(data: &Value, pointer: &str) -> Option<String> {
    data.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What an event says, in one line.
pub(super) fn words(name: &str, data: &Value) -> String {
    let behind = |pointer: &str| word(data, pointer).map(|words| format!(" ({words})")).unwrap_or_default();
    let word = |pointer: &str| word(data, pointer).unwrap_or_default();
    match name {
        "gateway.status" => {
            format!("{}: {} -> {}{}", word("/gateway"), word("/from"), word("/to"), behind("/error/code"))
        }
        "gateway.primary" => {
            let named = |pointer: &str| Some(word(pointer)).filter(|name| !name.is_empty());
            let none = || "none".to_owned();
            let (from, to) = (named("/from/name").unwrap_or_else(none), named("/to/name").unwrap_or_else(none));
            format!("{from} -> {to}{}", behind("/reason"))
        }
        "gateway.blocked" => format!("{}: {}", word("/gateway"), word("/error/message")),
        "session.update" => match data.get("sessions").and_then(Value::as_u64) {
            Some(more) => format!("{}: {more} more sessions changed", word("/gateway")),
            None => format!("{} on {}: {}{}", word("/key"), word("/gateway"), word("/change"), behind("/status")),
        },
        "reset" => "events before this one are gone: what follows is not all".to_owned(),
        "agent.status" => format!("{}: {} -> {}", word("/agent"), word("/from"), word("/to")),
        "spawn_result" => {
            format!("{}: {}{}{}", word("/spawnId"), word("/status"), behind("/gateway/name"), behind("/error"))
        }
        "audit" => format!("{} {} {}: {}", word("/actor/name"), word("/action"), word("/target"), word("/result")),
        // The rest, and what later releases may tell: as it is.
        _ => data.to_string(),
    }
}

fn log_line(entry: &LogEntry, paint: Paint) -> String {
    let when = entry.timestamp.map_or_else(|| "-".to_owned(), at_ms);
    let level = entry.level.as_deref().unwrap_or_default();
    let tone = match level {
        "fatal" | "error" => Tone::Bad,
        "warn" => Tone::Warning,
        "debug" | "trace" => Tone::Faint,
        _ => Tone::Good,
    };
    let source = entry.source.as_ref().map(|source| format!(" {}", plain(source))).unwrap_or_default();
    format!(
        "{} {}{source} {}",
        paint.paint(Tone::Faint, &when),
        paint.paint(tone, &format!("{:<5}", plain(level))),
        indented(&entry.message)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_said_in_words_and_unknown_ones_as_they_are() {
        for (name, data, said) in [
            (
                "gateway.status",
                json!({"gateway": "lab", "from": "online", "to": "offline", "error": {"code": "x"}}),
                "lab: online -> offline (x)",
            ),
            (
                "gateway.primary",
                json!({"from": null, "to": {"name": "lab"}, "reason": "it is back"}),
                "none -> lab (it is back)",
            ),
            ("later", json!({"a": 1}), "{\"a\":1}"),
        ] {
            assert_eq!(words(name, &data), said);
        }
    }

    #[test]
    fn a_line_of_json_has_type_and_number() {
        let event = StreamEvent {
            name: "gateway.status".to_owned(),
            id: Some("7".to_owned()),
            text: r#"{"type":"gateway.status","ts":1,"data":{}}"#.to_owned(),
        };
        let line: Value = serde_json::from_str(&line_of_json(&event)).unwrap();
        assert_eq!((&line["type"], &line["id"]), (&json!("gateway.status"), &json!(7)));
        let reset = StreamEvent { name: "reset".to_owned(), id: None, text: r#"{"last_id":9}"#.to_owned() };
        assert_eq!(line_of_json(&reset), r#"{"data":{"last_id":9},"type":"reset"}"#);
    }

    #[test]
    fn a_log_entry_keeps_its_lines_and_steers_nothing() {
        let entry =
            json!({"timestamp": 1_795_284_345_000_i64, "level": "warn", "source": "ws", "message": "a\n\u{1b}b"});
        let entry = serde_json::from_value(entry).unwrap();
        assert_eq!(log_line(&entry, Paint::none()), "2026-11-21 18:05:45Z warn  ws a\n    \u{fffd}b");
    }
}
