//! How commands show things: JSON or for people, how much, in which colours and columns. What comes from elsewhere can't steer the
//! terminal. Logs go elsewhere.

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use gatewarden_protocol::wall_time;
use gatewarden_protocol::words::is_unfit;

/// Prints a text to standard output. A reader that has gone away is no failure of ours.
pub(super) fn print(text: &str) {
    let _ = try_print(text);
}

/// The same for commands that go on for ever. False where nobody reads any more.
pub(super) fn try_print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    let mut written = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        written = written.and_then(|()| out.write_all(b"\n"));
    }
    written.and_then(|()| out.flush()).is_ok()
}

/// Prints a complaint to standard error.
pub(super) fn complain(text: &str) {
    complain_as_is(&format!("gatewarden: {text}"));
}

/// Prints a line to standard error as it is: for programs that read it.
pub(super) fn complain_as_is(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A text that may come from anywhere, as one line that can't steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|character| if is_unfit(character) { '\u{fffd}' } else { character }).collect()
}

/// The same for a text of several lines.
pub(super) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// The same as part of a list: lines after the first one are indented.
pub(super) fn indented(text: &str) -> String {
    plain_lines(text.trim_end()).replace('\n', "\n    ")
}

/// What colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    /// Of less interest.
    Faint,
    /// A heading.
    Strong,
}

impl Tone {
    /// The colour of a status of gateways, agents, sessions or spawns.
    pub(super) fn of_status(status: &str) -> Self {
        match status {
            "online" | "active" | "connected" | "running" | "ok" | "completed" | "accepted" => Self::Good,
            "degraded" | "paused" | "busy" | "recorded" | "sent" => Self::Warning,
            "offline" | "timeout" | "failed" | "lost" | "killed" | "error" => Self::Bad,
            _ => Self::Faint,
        }
    }
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(bool);

impl Paint {
    /// Colours are for terminals that nobody has told otherwise (`NO_COLOR`, `TERM=dumb`).
    pub(super) fn of_process() -> Self {
        let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = said("TERM").is_some_and(|term| term == "dumb");
        Self::chosen(std::io::stdout().is_terminal(), said("NO_COLOR").is_some(), dumb)
    }

    fn chosen(terminal: bool, no_color: bool, dumb: bool) -> Self {
        Self(terminal && !no_color && !dumb)
    }

    pub(super) fn none() -> Self {
        Self(false)
    }

    /// A text in its tone.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => "",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        if self.0 && !code.is_empty() && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// `3 online, 1 offline`: those that there are, each in its colour.
    pub(super) fn counts(self, count_of: impl Fn(&str) -> usize) -> String {
        let counts = ["online", "degraded", "timeout", "offline", "unknown"].map(|status| (status, count_of(status)));
        let some = counts.into_iter().filter(|(_, count)| *count > 0);
        some.map(|(status, count)| self.paint(Tone::of_status(status), &format!("{count} {status}")))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// `--format`, or `--quiet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    // All columns of tables, however wide the terminal is. No doc comment: it would stand in the help.
    Wide,
    Json,
    Jsonl,
    #[value(skip)]
    Quiet,
}

/// How this command shows what it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Output {
    format: Format,
    pub(super) paint: Paint,
}

impl Output {
    pub(super) fn of_process(json: bool, quiet: bool) -> Self {
        let format = match (json, quiet) {
            (true, _) => Format::Json,
            (false, true) => Format::Quiet,
            (false, false) => Format::Table,
        };
        Self { format, paint: Paint::of_process() }
    }

    pub(super) fn formatted(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// How many places a line of a table may take; none where that doesn't matter.
    pub(super) fn room(self) -> Option<usize> {
        if self.format == Format::Wide {
            return None;
        }
        let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let of_terminal = || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
        told.or_else(of_terminal).filter(|columns| *columns > 0)
    }

    /// JSON, in whichever form.
    pub(super) fn is_json(self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    pub(super) fn is_json_lines(self) -> bool {
        self.format == Format::Jsonl
    }

    pub(super) fn is_quiet(self) -> bool {
        self.format == Format::Quiet
    }

    /// Neither for programs nor as little as possible: remarks are welcome.
    pub(super) fn is_for_people(self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }
}

/// Everything about one thing: a name and a value in each line. What isn't known is left out.
#[derive(Debug)]
pub(super) struct Details {
    width: usize,
    lines: Vec<String>,
}

impl Details {
    /// Names have this much room.
    pub(super) fn new(width: usize) -> Self {
        Self { width, lines: Vec::new() }
    }

    pub(super) fn put(&mut self, name: &str, value: impl ToString) -> &mut Self {
        let value = value.to_string();
        if !value.is_empty() {
            self.lines.push(format!("{name:<width$}{value}", width = self.width));
        }
        self
    }

    /// A value that may not be known.
    pub(super) fn maybe(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        if let Some(value) = value {
            self.put(name, value);
        }
        self
    }

    pub(super) fn shown(&self) -> String {
        plain_lines(&self.lines.join("\n"))
    }
}

/// A span of seconds as people say it: `45s`, `3m`, `2h 5m`, `4d 1h`.
pub(super) fn seconds_of(seconds: i64) -> String {
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
pub(super) fn ago(now_s: i64, then_s: i64) -> String {
    seconds_of(now_s.saturating_sub(then_s))
}

/// A Unix second as a date: `2026-11-21 18:05:45Z`.
pub(super) fn at(unix_s: i64) -> String {
    wall_time::of_seconds(unix_s).replacen('T', " ", 1)
}

/// The same of milliseconds.
pub(super) fn at_ms(unix_ms: i64) -> String {
    at(unix_ms / 1000)
}

/// `1 gateway`, `2 gateways`.
pub(super) fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A size as people say it.
pub(super) fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const GIB: u64 = 1024 * MIB;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        MIB..GIB => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
        _ => format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}\u{e4}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{e4}");
        assert_eq!(plain("ad\u{200b}m\u{ad}in"), "ad\u{fffd}m\u{fffd}in", "what hides in a line is seen");
        assert_eq!(plain_lines("a\nb\r\u{7}"), "a\nb\u{fffd}\u{fffd}");
    }

    #[test]
    fn colours_are_for_terminals_that_nobody_told_otherwise() {
        assert_eq!(Paint::chosen(true, false, false).paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        for paint in
            [Paint::chosen(false, false, false), Paint::chosen(true, true, false), Paint::chosen(true, false, true)]
        {
            assert_eq!(paint.paint(Tone::Bad, "x"), "x");
        }
        assert_eq!(Paint::chosen(true, false, false).paint(Tone::Plain, "x"), "x");
    }

    #[test]
    fn spans_times_sizes_and_counts_read_as_people_say_them() {
        for (seconds, said) in [(-3, "0s"), (59, "59s"), (180, "3m"), (7_500, "2h 5m"), (349_300, "4d 1h")] {
            assert_eq!(seconds_of(seconds), said);
        }
        assert_eq!(at(1_795_284_345), "2026-11-21 18:05:45Z");
        for (bytes, said) in [(7, "7 bytes"), (2048, "2 KiB"), (1_600_000, "1.5 MiB"), (5_368_709_120, "5.0 GiB")] {
            assert_eq!(size(bytes), said);
        }
        assert_eq!((counted(1, "gateway"), counted(0, "gateway")), ("1 gateway".to_owned(), "0 gateways".to_owned()));
    }
}
