//! `gatewarden gateways watch`: a table that is drawn again in place whenever an event says that something changed; where
//! nobody can be shown a table, a line for each change.

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use gatewarden_actors::clock::Clock;
use gatewarden_api::gateway_record::{Gateway, GatewayList};
use serde_json::Value;

use super::show::{NONE, table};
use crate::cli::daemon::{Answer, Daemon};
use crate::cli::error::CliError;
use crate::cli::events::{time_of, word};
use crate::cli::output::{Paint, Tone, at_ms, plain, try_print};
use crate::cli::stream::{self, StreamUpdate};
use crate::cli::{EXIT_DENIED, EXIT_OK};
use crate::event_stream::StreamEvent;

/// What is followed.
const STREAM: &str = "/api/events?types=gateway.status,gateway.primary,gateway.blocked,session.update";
/// Latencies come without an event: the table is read again after so long at the latest.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// And not sooner than that, however many events come.
const PAUSE: Duration = Duration::from_secs(1);
/// Of a terminal that doesn't tell its size.
const ROWS: usize = 24;

/// Runs until it is interrupted, or nobody reads any more.
pub(super) fn run(daemon: &Daemon) -> Result<u8, CliError> {
    // What happens between the two must not be missed: first the stream, then the list.
    let updates = follow(daemon.clone());
    if let Ok(StreamUpdate::Refused(error)) = updates.recv() {
        return Err(error);
    }
    let first: Answer<GatewayList> = daemon.get("/api/gateways")?;
    let gateways = daemon.read(&first)?.gateways;
    if std::io::stdout().is_terminal() && daemon.output.is_for_people() && !is_dumb() {
        return draw(daemon, &updates, gateways);
    }
    let begun = match daemon.output.is_json() {
        true => try_print(&first.text),
        false => gateways.iter().all(|gateway| try_print(&plain(&format!("{} {}", gateway.name, gateway.status)))),
    };
    if !begun {
        return Ok(EXIT_OK);
    }
    let mut shown = worth_showing(gateways);
    while let Ok(update) = updates.recv() {
        let go_on = match update {
            StreamUpdate::Event(event) if daemon.output.is_json() => {
                if event.name == "session.update" {
                    continue;
                }
                let answer = daemon.get("/api/gateways")?;
                let now = worth_showing(daemon.read::<GatewayList>(&answer)?.gateways);
                let changed = now != shown;
                shown = now;
                !changed || try_print(&answer.text)
            }
            StreamUpdate::Event(event) => {
                line_of(&event, daemon.output.is_quiet()).is_none_or(|line| try_print(&plain(&line)))
            }
            other => {
                if let Some(error) = trouble(daemon, other) {
                    error.say(daemon.output);
                }
                true
            }
        };
        if !go_on {
            break;
        }
    }
    Ok(EXIT_OK)
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty())
}

/// Reads the stream on a thread of its own, for as long as somebody listens.
fn follow(daemon: Daemon) -> Receiver<StreamUpdate> {
    let (tell, news) = mpsc::sync_channel(256);
    std::thread::spawn(move || stream::follow(&daemon, STREAM, None, |update| tell.send(update).is_ok()));
    news
}

/// What is wrong with the stream.
fn trouble(daemon: &Daemon, update: StreamUpdate) -> Option<CliError> {
    match update {
        StreamUpdate::Ended => {
            Some(CliError::new(format!("The daemon at {} ended the stream of events.", daemon.url())))
        }
        StreamUpdate::Refused(error) => Some(error),
        StreamUpdate::Event(_) | StreamUpdate::Open => None,
    }
}

fn draw(daemon: &Daemon, updates: &Receiver<StreamUpdate>, gateways: Vec<Gateway>) -> Result<u8, CliError> {
    let clock = Clock::system();
    let mut gateways = gateways;
    let mut of_list: Option<String> = None;
    let mut of_stream: Option<String> = None;
    // What has been drawn before is not ours to wipe away: the screen scrolls up by its own height.
    let mut drawn = try_print(&format!("{}\u{1b}[H", "\n".repeat(rows().saturating_sub(1))));
    loop {
        if drawn {
            let problem = of_list.as_deref().or(of_stream.as_deref());
            drawn = try_print(&screen(daemon, &gateways, problem, clock.wall_ms(), rows()));
        }
        if !drawn {
            return Ok(EXIT_OK);
        }
        if let Some(said) = wait(daemon, updates, &clock) {
            of_stream = said;
        }
        match daemon.gateways() {
            Ok(list) => {
                gateways = list;
                of_list = None;
            }
            Err(error) if error.exit_code == EXIT_DENIED => return Err(error),
            Err(error) => of_list = Some(error.to_string()),
        }
    }
}

/// Waits until it is worth reading the list again. Some: what is to be said of the stream from now on.
fn wait(daemon: &Daemon, updates: &Receiver<StreamUpdate>, clock: &Clock) -> Option<Option<String>> {
    let started = clock.now();
    let mut said = None;
    let mut until = started + READ_AGAIN;
    loop {
        match updates.recv_timeout(until.saturating_duration_since(clock.now())) {
            // Whatever else comes until then is in the same list.
            Ok(StreamUpdate::Event(_)) => until = until.min(after_pause(started, clock.now())),
            Ok(other) => {
                said = Some(trouble(daemon, other).map(|error| error.to_string()));
                until = until.min(after_pause(started, clock.now()));
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return said,
        }
    }
}

fn after_pause(started: Instant, now: Instant) -> Instant {
    (started + PAUSE).max(now + PAUSE / 10)
}

fn rows() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(ROWS, |size| usize::from(size.ws_row)).max(4)
}

/// One picture: from the first line of the screen, each line wiped to its end, nothing left below.
fn screen(daemon: &Daemon, gateways: &[Gateway], problem: Option<&str>, now_ms: i64, rows: usize) -> String {
    let paint = daemon.output.paint;
    let mut lines = vec![summary(&daemon.url(), gateways, paint, now_ms)];
    if let Some(problem) = problem {
        lines.push(paint.paint(Tone::Bad, &plain(problem.lines().next().unwrap_or_default())));
    }
    let mut gateways: Vec<&Gateway> = gateways.iter().collect();
    let room = rows.saturating_sub(lines.len() + 2);
    let left_out = gateways.len().saturating_sub(room);
    if left_out > 0 {
        // Those that need somebody's attention must be among those that are seen.
        gateways.sort_by_key(|gateway| gateway.status == "online");
        gateways.truncate(room.saturating_sub(1));
    }
    lines.extend(table(gateways, NONE).lines(paint, daemon.output.room()));
    if left_out > 0 {
        lines.push(paint.paint(Tone::Faint, &format!("and {} more", left_out + 1)));
    }
    // Long lines are cut, not wrapped: a wrapped line would shift all below it.
    let body: Vec<String> = lines.iter().map(|line| format!("{line}\u{1b}[K")).collect();
    format!("\u{1b}[?7l\u{1b}[H{}\n\u{1b}[J\u{1b}[?7h", body.join("\n"))
}

fn summary(url: &str, gateways: &[Gateway], paint: Paint, now_ms: i64) -> String {
    let counts = paint.counts(|status| gateways.iter().filter(|gateway| gateway.status == status).count());
    let counts = if counts.is_empty() { "no gateways".to_owned() } else { counts };
    format!("{}  {counts}  {}", paint.paint(Tone::Strong, url), paint.paint(Tone::Faint, &at_ms(now_ms)))
}

/// What of a list is worth a new one: latencies and times change all the while.
fn worth_showing(gateways: Vec<Gateway>) -> Vec<(String, String, String, bool)> {
    gateways.into_iter().map(|gateway| (gateway.name, gateway.status, gateway.phase, gateway.acting_primary)).collect()
}

/// An event as a line; none for those that change nothing of a gateway's state.
fn line_of(event: &StreamEvent, quiet: bool) -> Option<String> {
    let said = event.json();
    let text = |pointer: &str| word(&said, pointer).unwrap_or_default();
    let line = match event.name.as_str() {
        "gateway.status" if quiet => return Some(format!("{} {}", text("/data/gateway"), text("/data/to"))),
        "gateway.status" => {
            let reason = word(&said, "/data/error/code").map(|code| format!(" ({code})")).unwrap_or_default();
            format!("{} {} -> {}{reason}", text("/data/gateway"), text("/data/from"), text("/data/to"))
        }
        _ if quiet => return None,
        "gateway.primary" => {
            let to = said.pointer("/data/to/name").or_else(|| said.pointer("/data/to"));
            let to = match to {
                Some(Value::String(name)) => name.clone(),
                None | Some(Value::Null) => "none".to_owned(),
                Some(other) => other.to_string(),
            };
            format!("acting primary: {to} ({})", text("/data/reason"))
        }
        "reset" | "lagged" => "some changes were missed: `gatewarden gateways list` has the present state".to_owned(),
        _ => return None,
    };
    Some(format!("{} {line}", time_of(&said)))
}
