//! Numbers that README and `docs/` name are those of the code: limits, defaults and intervals.

use std::path::Path;

/// A number of the code and a sentence of a page that says it: the file and the constant, how it is said, the page, and the words with
/// `{}` in place of the number.
type Row = (&'static str, &'static str, Unit, &'static str, &'static str);

#[derive(Debug, Clone, Copy)]
enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
    KiB,
    MiB,
    Count,
}
use Unit::{Count, Days, Hours, KiB, MiB, Minutes, Seconds};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("src/http/input.rs", "SMALL", KiB, "api.md", "that of a login larger than {} KiB"),
    ("src/http/input.rs", "SMALL", KiB, "operations.md", "1 MiB each (a login: {} KiB)"),
    ("src/http/input.rs", "PATIENCE", Seconds, "operations.md", "KiB), {} s, 64 MiB for all together"),
    ("src/http/limits.rs", "BODY_MEMORY", MiB, "operations.md", "15 s, {} MiB for all together"),
    ("src/http.rs", "FIRST_HEAD", Seconds, "operations.md", "16 KiB (431); {} s, on a reused"),
    ("listener/src/stream.rs", "MAX_HEAD", KiB, "operations.md", "{} KiB (431)"),
    ("listener/src/connections.rs", "MAX_STALL_MS", Seconds, "operations.md", "64 KiB of an answer within {} s"),
    ("listener/src/connections.rs", "MAX_STALL_MS", Seconds, "events.md", "A client that reads nothing for {} s while"),
    ("src/app/upkeep.rs", "TRY_WRITING_EVERY", Seconds, "operations.md", "the daemon retries the write every {} s"),
    ("store/src/tables.rs", "MOST_LOGGED", Count, "operations.md", "`store.audit_retention`, up to {} entries"),
    ("store/src/tables.rs", "MOST_SPAWNS", Count, "operations.md", "after their end, up to {} ended ones"),
    ("store/src/tables/spawns.rs", "IDEMPOTENCY_KEPT", Hours, "operations.md", "| idempotency keys | {} h |"),
    ("store/src/tables/token_usage.rs", "TOKENS_KEPT", Days, "operations.md", "| token usage | {} days, up to"),
    ("store/src/tables/direct_connections.rs", "CONNECTIONS_KEPT", Days, "operations.md", "| ended direct connections | {} days |"),
    ("src/mesh.rs", "HANDSHAKE", Seconds, "security.md", "that say nothing are ended after {} s"),
    ("src/http.rs", "MOST_STRANGERS", Count, "security.md", "There are at most {} of them, of one address a quarter"),
    ("src/mesh.rs", "DIAL", Seconds, "cluster.md", "503 `node_unreachable` after {} s at most"),
    ("src/mesh.rs", "LOOK_AROUND", Seconds, "cluster.md", "last tried, about every {} s"),
    ("src/http/events.rs", "QUEUE", Count, "events.md", "A client that reads too slowly ({} events wait)"),
    ("src/http/events.rs", "HEARTBEAT", Seconds, "events.md", "A comment line is sent every {} s"),
    ("src/http/events.rs", "PULSE", Seconds, "events.md", "(every {} s if log entries were requested)"),
    ("src/http/events.rs", "RETRY_MS", Seconds, "events.md", "Reconnect after {} s; a 401"),
    ("src/http/events/socket.rs", "PING", Seconds, "events.md", "The daemon pings every {} s."),
    ("src/http/events/socket.rs", "PATIENCE", Seconds, "events.md", "no pong for {} s"),
    ("src/http/events/socket.rs", "MAX_FRAME", KiB, "events.md", "a frame above {} KiB"),
    ("actors/src/event_hub.rs", "RING_EVENTS", Count, "events.md", "keeps the newest {} events"),
    ("actors/src/event_hub.rs", "RING_BYTES", MiB, "events.md", "events (up to {} MiB), and separately"),
    ("actors/src/registry/session_news.rs", "MAX_TOLD", Count, "events.md", "More than {} of them"),
    ("actors/src/log_watch.rs", "QUEUE_ENTRIES", Count, "events.md", "reads too slowly ({} entries or"),
    ("actors/src/log_watch.rs", "QUEUE_BYTES", MiB, "events.md", "entries or {} MiB wait)"),
    ("actors/src/log_watch.rs", "QUEUE_BYTES", MiB, "security.md", "queues of log followers ({} MiB each,"),
    ("core/src/machines/log_tail.rs", "MAX_WATCHERS", Count, "security.md", "MiB each, {} per gateway)"),
    ("core/src/dialing/memory_budget.rs", "COUNTED_FROM", KiB, "security.md", "values of gateways below {} KiB"),
    ("protocol/src/sessions.rs", "RUNNING_BELIEVED_MS", Minutes, "sessions.md", "without that, after {} minutes without news"),
    ("protocol/src/limits.rs", "MAX_LOG_MESSAGE", Count, "api.md", "`message` (at most {} characters)"),
    ("protocol/src/limits.rs", "MAX_LOG_EXTRA", KiB, "api.md", "`extra`? (at most {} KiB)"),
    ("protocol/src/limits.rs", "MAX_FRAME", MiB, "protocol.md", "| frame afterwards | {} MiB"),
    ("protocol/src/limits.rs", "MAX_SESSIONS", Count, "protocol.md", "| sessions | {} rows,"),
    ("protocol/src/limits.rs", "MAX_SESSIONS_BYTES", MiB, "protocol.md", "rows, {} MiB |"),
    ("protocol/src/limits.rs", "MAX_AGENTS", Count, "protocol.md", "| agents | {}, "),
    ("protocol/src/limits.rs", "MAX_NAME", Count, "protocol.md", "| a name | {} bytes |"),
    ("protocol/src/limits.rs", "MAX_LOG_LINES", Count, "protocol.md", "| one `logs.tail` | {} lines"),
    ("actors/src/dialing/socket.rs", "CAP_BEFORE_CONNECT", KiB, "protocol.md", "| frame before connect | {} KiB |"),
    ("core/src/machines/auth_budget.rs", "MAX_FAILURES", Count, "protocol.md", "makes at most {} failed logins a minute"),
    ("core/src/machines/auth_budget.rs", "WINDOW", Minutes, "operations.md", "| failed logins at gateways | {} min |"),
    ("core/src/machines/spawn_tracker.rs", "FIRST_CHECK", Seconds, "api.md", "asked about a silent spawn after {} s"),
    ("core/src/machines/spawn_tracker.rs", "QUIET_CHECK", Minutes, "api.md", "as long each time, up to every {} minutes"),
    ("core/src/machines/notification_outbox.rs", "FIRST_WAIT", Seconds, "notifications.md", "it is paused for {} s,"),
    ("core/src/machines/notification_outbox.rs", "MAX_PAUSE", Seconds, "notifications.md", "then {} s. Any other answer"),
    ("core/src/machines/notification_outbox.rs", "MAX_WAIT", Minutes, "notifications.md", "doubling to {} min."),
    ("actors/src/processes/view.rs", "MAX_OUTPUT_LINES", Count, "local-gateways.md", "the last {} lines"),
    ("actors/src/processes/view.rs", "MAX_OUTPUT_BYTES", KiB, "local-gateways.md", "lines (up to {} KiB)"),
    ("src/templates.rs", "MAX_FILES", Count, "templates.md", "At most {} files in each folder"),
    ("src/templates.rs", "MAX_FILE_BYTES", KiB, "templates.md", "folder, {} KiB per file"),
    ("src/mcp.rs", "MAX_TEXT", KiB, "mcp.md", "answer of more than {} KiB is cut"),
    ("src/mcp/tools.rs", "EVENTS_UNASKED", Count, "mcp.md", "`max_events` at most ({}, up to"),
    ("src/mcp/tools.rs", "MAX_EVENTS", Count, "mcp.md", "(50, up to {})"),
    ("src/mcp/tools.rs", "LONGEST_WAIT_S", Count, "mcp.md", "`wait_seconds` (0, up to {})"),
    ("src/cli/spawn.rs", "GRACE", Seconds, "command-line.md", "it waits {} s longer than the gateway may take"),
];

/// The value of `const NAME: ... = ...;`: a product of numbers; of a time in milliseconds.
fn value(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file);
    let declared = format!("const {name}: ");
    let (_, rest) = text.split_once(&declared).unwrap_or_else(|| panic!("{file} has no {name}"));
    let said = rest.split_once(" = ").and_then(|(_, rest)| rest.split_once(';')).expect("a value").0;
    let (said, factor) = match said.strip_prefix("Duration::from_") {
        Some(span) => {
            let (unit, number) = span.trim_end_matches(')').split_once('(').expect("a call");
            (number, if unit == "secs" { 1_000 } else { 1 })
        }
        None => (said, 1),
    };
    let factors = said.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>());
    factors.map(|factor| factor.unwrap_or_else(|error| panic!("{file}: {name} = {said}: {error}"))).product::<u64>()
        * factor
}

fn said(value: u64, unit: Unit) -> String {
    let divisor = match unit {
        Seconds => 1_000,
        Minutes => 60_000,
        Hours => 3_600_000,
        Days => 86_400_000,
        KiB => 1_024,
        MiB => 1_048_576,
        Count => 1,
    };
    assert_eq!(value % divisor, 0, "{value} is no whole number of {unit:?}");
    let digits = (value / divisor).to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[test]
fn the_pages_name_the_numbers_of_the_code() {
    let mut wrong = Vec::new();
    for (file, name, unit, page, words) in ROWS {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).expect(page);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let sentence = words.replace("{}", &said(value(file, name), *unit));
        if !text.contains(&sentence) {
            wrong.push(format!("docs/{page} must say \"{sentence}\": {name} of {file}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
