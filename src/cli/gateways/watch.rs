//! `gatewarden gateways watch`: a table that is drawn again in place whenever an event says that something changed; where
//! nobody can be shown a table, a line for each change.

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use gatewarden_actors::clock::Clock;
use serde_json::Value;

use super::list;
use crate::cli::client::{Daemon, Paint, StreamEvent, Table, Tone, Trouble, at, number, status_tone, text};
use crate::cli::{EXIT_DENIED, EXIT_OK, terminal};

/// What is followed.
const STREAM: &str = "/api/events?types=gateway.status,gateway.primary,gateway.blocked,session.update";
/// Latencies come without an event: the table is read again after so long at the latest.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// And not sooner than that, however many events come.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two attempts to open a lost stream.
const REOPEN: Duration = Duration::from_secs(3);
/// Of a terminal that doesn't tell its size.
const ROWS: usize = 24;

/// What the reader of the stream tells.
enum News {
    Event(StreamEvent),
    Lost(Trouble),
    Back,
}

/// Runs until it is interrupted, or nobody reads any more.
pub(super) fn run(daemon: &Daemon) -> Result<u8, Trouble> {
    // What happens between the two must not be missed: first the stream, then the list.
    let news = follow(daemon.clone());
    if let Ok(News::Lost(trouble)) = news.recv() {
        return Err(trouble);
    }
    let mut first = daemon.get("/api/gateways")?;
    let drawn = std::io::stdout().is_terminal() && !daemon.output.is_json() && !daemon.output.is_quiet() && !is_dumb();
    if drawn {
        return table(daemon, &news, first.json());
    }
    let mut shown = lines_of(&first.json());
    let line = |gateway: &Value| {
        let status = text(gateway, "/status").unwrap_or_default();
        format!("{} {status}", text(gateway, "/name").unwrap_or_default())
    };
    let begun = if daemon.output.is_json() {
        terminal::try_print(&first.text)
    } else {
        list::rows(&first.json()).all(|gateway| terminal::try_print(&terminal::plain(&line(gateway))))
    };
    if !begun {
        return Ok(EXIT_OK);
    }
    loop {
        match news.recv() {
            Ok(News::Event(event)) if daemon.output.is_json() => {
                if event.name == "session.update" {
                    continue;
                }
                first = daemon.get("/api/gateways")?;
                let now = lines_of(&first.json());
                if now != shown && !terminal::try_print(&first.text) {
                    return Ok(EXIT_OK);
                }
                shown = now;
            }
            Ok(News::Event(event)) => {
                if let Some(line) = line_of(&event, daemon.output.is_quiet())
                    && !terminal::try_print(&terminal::plain(&line))
                {
                    return Ok(EXIT_OK);
                }
            }
            Ok(News::Lost(trouble)) => {
                trouble.say(daemon.output);
            }
            Ok(News::Back) => {}
            Err(_) => return Ok(EXIT_OK),
        }
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty())
}

/// Reads the stream on a thread of its own, for as long as somebody listens, and opens it again when it is lost.
fn follow(daemon: Daemon) -> Receiver<News> {
    let (tell, news) = mpsc::sync_channel(256);
    std::thread::spawn(move || {
        let mut after = None;
        while follow_once(&daemon, &tell, &mut after) {
            #[expect(clippy::disallowed_methods, reason = "before the next attempt to reach another process")]
            std::thread::sleep(REOPEN);
        }
    });
    news
}

/// False where nobody listens any more.
fn follow_once(daemon: &Daemon, tell: &SyncSender<News>, after: &mut Option<String>) -> bool {
    let mut stream = match daemon.stream(STREAM, after.as_deref()) {
        Ok(stream) => stream,
        Err(trouble) => return tell.send(News::Lost(trouble)).is_ok(),
    };
    if tell.send(News::Back).is_err() {
        return false;
    }
    loop {
        match stream.next() {
            Ok(Some(event)) => {
                after.clone_from(&event.id.clone().or_else(|| after.clone()));
                if tell.send(News::Event(event)).is_err() {
                    return false;
                }
            }
            Ok(None) | Err(_) => {
                let lost = Trouble::new(format!("The daemon at {} ended the stream of events.", daemon.url()), "");
                return tell.send(News::Lost(lost)).is_ok();
            }
        }
    }
}

fn table(daemon: &Daemon, news: &Receiver<News>, list: Value) -> Result<u8, Trouble> {
    let clock = Clock::system();
    let mut list = list;
    let mut of_list: Option<String> = None;
    let mut of_stream: Option<String> = None;
    // What has been drawn before is not ours to wipe away: the screen scrolls up by its own height.
    let mut drawn = terminal::try_print(&format!("{}\u{1b}[H", "\n".repeat(rows().saturating_sub(1))));
    loop {
        if drawn {
            let trouble = of_list.as_deref().or(of_stream.as_deref());
            drawn = terminal::try_print(&screen(daemon, &list, trouble, clock.wall_ms(), rows()));
        }
        if !drawn {
            return Ok(EXIT_OK);
        }
        if let Some(said) = wait(news, &clock) {
            of_stream = said;
        }
        match daemon.get("/api/gateways") {
            Ok(answer) => {
                list = answer.json();
                of_list = None;
            }
            Err(failure) if failure.exit_code() == EXIT_DENIED => return Err(failure),
            Err(failure) => of_list = Some(failure.to_string()),
        }
    }
}

/// Waits until it is worth reading the list again. Some: what is to be said of the stream from now on.
fn wait(news: &Receiver<News>, clock: &Clock) -> Option<Option<String>> {
    let started = clock.now();
    let mut said = None;
    let mut until = started + READ_AGAIN;
    loop {
        match news.recv_timeout(until.saturating_duration_since(clock.now())) {
            // Whatever else comes until then is in the same list.
            Ok(News::Event(_)) => until = until.min(after_pause(started, clock.now())),
            Ok(News::Lost(trouble)) => {
                said = Some(Some(trouble.to_string()));
                until = until.min(after_pause(started, clock.now()));
            }
            Ok(News::Back) => said = Some(None),
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
fn screen(daemon: &Daemon, list: &Value, trouble: Option<&str>, now_ms: i64, rows: usize) -> String {
    let paint = daemon.output.paint;
    let mut lines = vec![summary(&daemon.url(), list, paint, now_ms)];
    if let Some(trouble) = trouble {
        let first = trouble.lines().next().unwrap_or_default();
        lines.push(paint.paint(Tone::Bad, &terminal::plain(first)));
    }
    let mut gateways: Vec<&Value> = list::rows(list).collect();
    let room = rows.saturating_sub(lines.len() + 2);
    let left_out = gateways.len().saturating_sub(room);
    if left_out > 0 {
        // Those that need somebody's attention must be among those that are seen.
        gateways.sort_by_key(|gateway| text(gateway, "/status").as_deref() == Some("online"));
        gateways.truncate(room.saturating_sub(1));
    }
    let shown = serde_json::json!({"gateways": gateways});
    lines.extend(Table::lines(&list::table(&shown, None), paint));
    if left_out > 0 {
        lines.push(paint.paint(Tone::Faint, &format!("and {} more", left_out + 1)));
    }
    // Long lines are cut, not wrapped: a wrapped line would shift all below it.
    let body: Vec<String> = lines.iter().map(|line| format!("{line}\u{1b}[K")).collect();
    format!("\u{1b}[?7l\u{1b}[H{}\n\u{1b}[J\u{1b}[?7h", body.join("\n"))
}

fn summary(url: &str, list: &Value, paint: Paint, now_ms: i64) -> String {
    let mut counts: Vec<(&str, usize)> =
        ["online", "degraded", "timeout", "offline", "unknown"].iter().map(|status| (*status, 0)).collect();
    for gateway in list::rows(list) {
        let status = text(gateway, "/status").unwrap_or_default();
        if let Some((_, count)) = counts.iter_mut().find(|(name, _)| *name == status) {
            *count += 1;
        }
    }
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| paint.paint(status_tone(status), &format!("{count} {status}")))
        .collect();
    let counts = if counts.is_empty() { "no gateways".to_owned() } else { counts.join(", ") };
    format!("{}  {counts}  {}", paint.paint(Tone::Strong, url), paint.paint(Tone::Faint, &at(now_ms / 1000)))
}

/// What of a list is worth a new one: latencies and times change all the while.
fn lines_of(list: &Value) -> Vec<[Option<String>; 4]> {
    let flag = |gateway: &Value, name: &str| gateway.get(name).map(Value::to_string);
    let row = |gateway: &Value| {
        [text(gateway, "/name"), text(gateway, "/status"), text(gateway, "/phase"), flag(gateway, "acting_primary")]
    };
    list::rows(list).map(row).collect()
}

/// An event as a line; none for those that change nothing of a gateway's state.
fn line_of(event: &StreamEvent, quiet: bool) -> Option<String> {
    let said = event.json();
    let when = number(&said, "/ts").map(|ms| at(ms / 1000)).unwrap_or_default();
    let word = |pointer: &str| text(&said, pointer).unwrap_or_default();
    let line = match event.name.as_str() {
        "gateway.status" => {
            let reason = text(&said, "/data/error/code").map(|code| format!(" ({code})")).unwrap_or_default();
            if quiet {
                return Some(format!("{} {}", word("/data/gateway"), word("/data/to")));
            }
            format!("{} {} -> {}{reason}", word("/data/gateway"), word("/data/from"), word("/data/to"))
        }
        _ if quiet => return None,
        "gateway.primary" => {
            let to = said.pointer("/data/to/name").or_else(|| said.pointer("/data/to")).map(plain_value);
            format!("acting primary: {} ({})", to.unwrap_or_else(|| "none".to_owned()), word("/data/reason"))
        }
        "reset" | "lagged" => "some changes were missed: `gatewarden gateways list` has the present state".to_owned(),
        _ => return None,
    };
    Some(format!("{when} {line}"))
}

fn plain_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}
