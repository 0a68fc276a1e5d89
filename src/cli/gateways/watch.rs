//! `gatewarden gateways watch`: a table that is drawn again in place whenever an event says that something changed; where
//! nobody can be shown a table, a line for each change.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::show::{NONE, table};
use crate::cli::daemon::{Answer, Daemon};
use crate::cli::error::CliError;
use crate::cli::events::{time_of, word, words};
use crate::cli::output::{Paint, Tone, at, at_ms, plain, try_print};
use crate::cli::stream::{self, StreamUpdate};
use crate::cli::{EXIT_DENIED, EXIT_OK};
use crate::event_stream::StreamEvent;
use gatewarden_actors::clock::Clock;
use gatewarden_api::gateway_record::{Gateway, GatewayList};

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
    let clock = Clock::system();
    let quiet = daemon.output.is_quiet();
    let mut shown = worth_showing(gateways);
    let begun = match daemon.output.is_json() {
        true => try_print(&first.text),
        false => present(&shown, quiet, clock.wall_ms()).iter().all(|line| try_print(line)),
    };
    if !begun {
        return Ok(EXIT_OK);
    }
    // Whether events were missed, and lines of gateways that no list has shown yet.
    let (mut missed, mut waiting) = (false, Vec::new());
    let mut look_at = clock.now() + READ_AGAIN;
    loop {
        match updates.recv_timeout(look_at.saturating_duration_since(clock.now())) {
            Ok(StreamUpdate::Event(event)) if daemon.output.is_json() => {
                if event.name != "session.update" {
                    look_at = clock.now();
                }
            }
            Ok(StreamUpdate::Event(event)) => {
                let line = line_of(&event, quiet, clock.wall_ms()).map(|line| plain(&line));
                if is_gap(&event) {
                    missed = true;
                    look_at = clock.now();
                }
                match line {
                    Some(line) if is_of_unlisted(&event, &shown) => {
                        waiting.push(line);
                        look_at = clock.now();
                    }
                    Some(line) if !try_print(&line) => return Ok(EXIT_OK),
                    _ => {}
                }
            }
            Ok(other) => {
                if let Some(error) = trouble(daemon, other) {
                    error.say(daemon.output);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(EXIT_OK),
        }
        if clock.now() < look_at {
            continue;
        }
        // No event tells that a gateway was registered, renamed or removed.
        look_at = clock.now() + READ_AGAIN;
        let answer: Answer<GatewayList> = match daemon.get("/api/gateways") {
            Ok(answer) => answer,
            // The stream says it too, and is opened again.
            Err(error) if error.may_pass() => continue,
            Err(error) => return Err(error),
        };
        let now = worth_showing(daemon.read(&answer)?.gateways);
        let mut said = match daemon.output.is_json() {
            true if now != shown => vec![answer.text],
            true => Vec::new(),
            false if missed => present(&now, quiet, clock.wall_ms()),
            false => comings_and_goings(&shown, &now, quiet, clock.wall_ms()),
        };
        said.append(&mut waiting);
        missed = false;
        shown = now;
        if !said.iter().all(|line| try_print(line)) {
            return Ok(EXIT_OK);
        }
    }
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

/// What of a gateway is worth a new list: latencies and times change all the while.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    name: String,
    status: String,
    phase: String,
    acting_primary: bool,
    takes_work: bool,
    held_down_until: Option<i64>,
}

fn worth_showing(gateways: Vec<Gateway>) -> BTreeMap<i64, Shown> {
    let shown = |gateway: Gateway| {
        let takes_work = gateway.takes_work();
        let Gateway { name, status, phase, acting_primary, held_down_until, .. } = gateway;
        Shown { name, status, phase, acting_primary, takes_work, held_down_until }
    };
    gateways.into_iter().map(|gateway| (gateway.id, shown(gateway))).collect()
}

/// A line for each gateway.
fn present(now: &BTreeMap<i64, Shown>, quiet: bool, now_ms: i64) -> Vec<String> {
    let when = when(quiet, now_ms);
    now.values().map(|is| plain(&format!("{when}{} {}", is.name, is.status))).collect()
}

fn when(quiet: bool, now_ms: i64) -> String {
    if quiet { String::new() } else { format!("{} ", at_ms(now_ms)) }
}

/// Whether events before this one are missing.
fn is_gap(event: &StreamEvent) -> bool {
    matches!(event.name.as_str(), "reset" | "lagged")
}

/// Whether an event is about a gateway that was registered or renamed since the list.
fn is_of_unlisted(event: &StreamEvent, shown: &BTreeMap<i64, Shown>) -> bool {
    event.name == "gateway.status"
        && word(&event.json(), "/data/gateway").is_some_and(|name| shown.values().all(|is| is.name != name))
}

/// The lines for gateways that were registered, renamed, removed, taken out of routing or held down between two lists.
fn comings_and_goings(
    before: &BTreeMap<i64, Shown>,
    now: &BTreeMap<i64, Shown>,
    quiet: bool,
    now_ms: i64,
) -> Vec<String> {
    let gone = before.iter().filter(|(id, _)| !now.contains_key(id)).map(|(_, was)| format!("{}: removed", was.name));
    let come = now.iter().filter_map(|(id, is)| match before.get(id) {
        None => Some(format!("{}{} {}", is.name, if quiet { "" } else { ": added," }, is.status)),
        Some(was) if was.name != is.name => Some(format!("{}: renamed to {}", was.name, is.name)),
        Some(_) => None,
    });
    let marked = now.iter().filter(|_| !quiet).filter_map(|(id, is)| {
        let was = before.get(id)?;
        let words = match (is.takes_work, is.held_down_until) {
            (false, _) if was.takes_work => "gets no new work".to_owned(),
            (true, _) if !was.takes_work => "gets work again".to_owned(),
            (_, Some(until)) if was.held_down_until != Some(until) => {
                format!("held down until {}: it came and went too often to act as primary", at(until))
            }
            (_, None) if was.held_down_until.is_some() => "no longer held down".to_owned(),
            _ => return None,
        };
        Some(format!("{}: {words}", is.name))
    });
    let when = when(quiet, now_ms);
    gone.chain(come).chain(marked).map(|line| plain(&format!("{when}{line}"))).collect()
}

/// An event as a line; none for those that change nothing of a gateway's state.
fn line_of(event: &StreamEvent, quiet: bool, now_ms: i64) -> Option<String> {
    let said = event.json();
    let data = said.get("data").unwrap_or(&said);
    let text = |pointer: &str| word(data, pointer).unwrap_or_default();
    let line = match event.name.as_str() {
        "gateway.status" if quiet => return Some(format!("{} {}", text("/gateway"), text("/to"))),
        _ if quiet => return None,
        name @ "gateway.status" => words(name, data),
        name @ "gateway.primary" => format!("acting primary: {}", words(name, data)),
        _ if is_gap(event) => {
            return Some(format!("{} some changes were missed; this is the present state:", at_ms(now_ms)));
        }
        _ => return None,
    };
    Some(format!("{} {line}", time_of(&said)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::show::tests::example;
    use super::*;

    fn event(name: &str, said: &serde_json::Value) -> StreamEvent {
        StreamEvent { name: name.to_owned(), id: None, text: said.to_string() }
    }

    #[test]
    fn every_line_begins_with_a_time_also_where_the_event_has_none() {
        let now_ms = 1_795_284_345_000;
        let gap = line_of(&event("reset", &json!({"last_id": 9})), false, now_ms).unwrap();
        assert!(gap.starts_with("2026-11-21 18:05:45Z some changes were missed"), "{gap}");
        let shown = worth_showing(vec![example(json!({"id": 1, "name": "a"}))]);
        assert_eq!(present(&shown, false, now_ms), ["2026-11-21 18:05:45Z a online"]);
        assert_eq!(present(&shown, true, now_ms), ["a online"]);
    }

    #[test]
    fn what_happens_to_a_gateway_that_no_list_has_shown_waits_for_the_list() {
        let shown = worth_showing(vec![example(json!({"id": 1, "name": "a"}))]);
        let of = |name: &str| event("gateway.status", &json!({"data": {"gateway": name, "to": "online"}, "ts": 1}));
        assert!(is_of_unlisted(&of("b"), &shown) && !is_of_unlisted(&of("a"), &shown));
        assert!(!is_of_unlisted(&event("reset", &json!({"last_id": 9})), &shown));
    }

    #[test]
    fn what_was_registered_renamed_or_removed_between_two_lists_is_a_line_each() {
        let list = |rows: &[(i64, &str)]| {
            worth_showing(rows.iter().map(|(id, name)| example(json!({"id": id, "name": name}))).collect())
        };
        let (before, now) = (list(&[(1, "a"), (2, "b"), (3, "c")]), list(&[(1, "a"), (3, "d"), (4, "e")]));
        assert_eq!(comings_and_goings(&before, &now, true, 0), ["b: removed", "c: renamed to d", "e online"]);
        let said = comings_and_goings(&before, &now, false, 1_795_284_345_000);
        assert_eq!(said.first().map(String::as_str), Some("2026-11-21 18:05:45Z b: removed"));
        assert!(comings_and_goings(&now, &now, false, 0).is_empty());
    }

    #[test]
    fn what_is_drained_or_held_down_between_two_lists_is_a_line() {
        let list = |changes: serde_json::Value| worth_showing(vec![example(changes)]);
        let (plain, drained) = (list(json!({})), list(json!({"drained": true})));
        let held = list(json!({"held_down_until": 1_795_284_645}));
        let line = |before, now| comings_and_goings(before, now, false, 1_795_284_345_000).join("|").split_off(21);
        assert_eq!(line(&plain, &drained), "lab: gets no new work");
        assert_eq!(line(&drained, &plain), "lab: gets work again");
        assert!(line(&plain, &held).starts_with("lab: held down until 2026-11-21 18:10:45Z: "));
        assert_eq!(line(&held, &plain), "lab: no longer held down");
        assert!(comings_and_goings(&plain, &held, true, 0).is_empty(), "quiet tells of states alone");
    }
}
