//! What a child writes: cut into lines of bounded length, and passed on within a rate.

use std::future::pending;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Duration, Instant};

/// What is read at once.
const CHUNK: usize = 16 * 1024;
/// Between two reports of what was dropped.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Lines passed on per second at most, whatever the bytes allow: each costs its readers far more than its bytes, which for an
/// empty line is one.
const MAX_LINES: u64 = 2_048;

/// One of a child's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Both streams of one child.
pub(crate) struct Output {
    stdout: Pipe,
    stderr: Pipe,
}

/// What was read at once.
pub(crate) struct Chunk {
    pub(crate) stream: Stream,
    pub(crate) lines: Vec<Line>,
    /// There was as much as could be read: probably more follows.
    pub(crate) is_full: bool,
}

struct Pipe {
    from: Option<Box<dyn AsyncRead + Send + Unpin>>,
    splitter: LineSplitter,
    chunk: Vec<u8>,
}

impl Output {
    pub(crate) fn new(child: &mut tokio::process::Child, max_line: usize) -> Self {
        let pipe = |from| Pipe { from, splitter: LineSplitter::new(max_line), chunk: vec![0; CHUNK] };
        Self {
            stdout: pipe(child.stdout.take().map(|from| Box::new(from) as _)),
            stderr: pipe(child.stderr.take().map(|from| Box::new(from) as _)),
        }
    }

    /// Whether a stream hasn't ended yet.
    pub(crate) fn is_open(&self) -> bool {
        self.stdout.from.is_some() || self.stderr.from.is_some()
    }

    /// The next lines of either. Never resolves once both have ended; nothing is lost where it is dropped before.
    pub(crate) async fn next(&mut self) -> Chunk {
        let (stream, (lines, is_full)) = tokio::select! {
            read = self.stdout.read() => (Stream::Stdout, read),
            read = self.stderr.read() => (Stream::Stderr, read),
        };
        Chunk { stream, lines, is_full }
    }
}

impl Pipe {
    async fn read(&mut self) -> (Vec<Line>, bool) {
        let Some(from) = &mut self.from else { return pending().await };
        let count = from.read(&mut self.chunk).await.unwrap_or(0);
        let mut lines = Vec::new();
        if count == 0 {
            self.from = None;
            lines.extend(self.splitter.finish());
        } else {
            self.splitter.push(self.chunk.get(..count).unwrap_or_default(), |line| lines.push(line));
        }
        (lines, count == CHUNK)
    }
}

/// A line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its text; what isn't UTF-8 is replaced, and so are NULs.
    pub text: String,
    /// Its length on the stream, in bytes, with its end.
    pub bytes: u64,
    /// It was longer than allowed; the rest is lost.
    pub cut: bool,
}

/// Cuts a stream of bytes into lines. Keeps at most one line's beginning.
#[derive(Debug)]
struct LineSplitter {
    most: usize,
    kept: Vec<u8>,
    length: u64,
}

impl LineSplitter {
    fn new(most: usize) -> Self {
        Self { most: most.max(1), kept: Vec::new(), length: 0 }
    }

    fn push(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(Line)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.keep(line);
            self.length += 1;
            on_line(self.take());
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    /// The stream has ended: what is left without an end is a line too.
    fn finish(&mut self) -> Option<Line> {
        (self.length > 0).then(|| self.take())
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let room = self.most.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    fn take(&mut self) -> Line {
        let kept = std::mem::take(&mut self.kept);
        let bytes = std::mem::take(&mut self.length);
        let text = kept.strip_suffix(b"\r").unwrap_or(&kept);
        // Its end counts for one byte; a last line without end is never longer than what was kept of it.
        let cut = bytes > u64::try_from(kept.len()).unwrap_or(u64::MAX).saturating_add(1);
        Line { text: String::from_utf8_lossy(text).replace('\0', "\u{fffd}"), bytes, cut }
    }
}

/// How much of a child's output is passed on per second: a bucket that holds one second's worth of bytes. What exceeds it is
/// read all the same, dropped and counted: a flood costs the child nothing and its readers little, and is never kept.
#[derive(Debug)]
pub(crate) struct OutputBudget {
    per_second: u64,
    left: u64,
    filled_at: Instant,
    dropped: u64,
    reported_at: Option<Instant>,
}

impl OutputBudget {
    /// A full bucket.
    pub(crate) fn new(per_second: u64, now: Instant) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, left: per_second, filled_at: now, dropped: 0, reported_at: None }
    }

    /// Whether a line of this many bytes may pass; else it counts as dropped. A line passes while anything is left, so one
    /// that is larger than a second's worth passes too, now and then.
    pub(crate) fn pass(&mut self, bytes: u64, now: Instant) -> bool {
        self.fill(now);
        if self.left == 0 {
            self.dropped = self.dropped.saturating_add(bytes);
            return false;
        }
        self.left = self.left.saturating_sub(bytes.max(self.per_second / MAX_LINES));
        true
    }

    /// What was dropped since the last report, where it is time to tell: once a second.
    pub(crate) fn report(&mut self, now: Instant) -> Option<u64> {
        let due = self.reported_at.is_none_or(|at| now.saturating_duration_since(at) >= REPORT_EVERY);
        if self.dropped == 0 || !due {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.dropped))
    }

    /// What was dropped and not yet told, at the end.
    pub(crate) fn last_report(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.dropped)).filter(|bytes| *bytes > 0)
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled_at);
        let gained = u128::from(self.per_second).saturating_mul(since.as_millis()) / 1_000;
        if gained > 0 {
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            self.left = self.left.saturating_add(gained).min(self.per_second);
            self.filled_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(most: usize, parts: &[&[u8]]) -> Vec<Line> {
        let mut splitter = LineSplitter::new(most);
        let mut lines = Vec::new();
        for part in parts {
            splitter.push(part, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        lines
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_come_whole_however_they_were_written() {
        assert_eq!(
            texts(&split(99, &[b"one\ntwo\r\n", b"th", b"ree", b"\n\nlast"])),
            ["one", "two", "three", "", "last"]
        );
        assert!(split(99, &[b""]).is_empty());
        assert_eq!(texts(&split(99, &[b"\n"])), [""]);
    }

    #[test]
    fn a_long_line_is_cut_and_says_so_and_the_next_one_is_whole() {
        let lines = split(4, &[b"123456", b"789\nabcd\nxy\n123456"]);
        assert_eq!(texts(&lines), ["1234", "abcd", "xy", "1234"]);
        assert_eq!(lines.iter().map(|line| line.cut).collect::<Vec<_>>(), [true, false, false, true]);
        assert_eq!(lines.iter().map(|line| line.bytes).collect::<Vec<_>>(), [10, 5, 3, 6]);
    }

    #[test]
    fn what_isnt_utf_8_is_replaced() {
        assert_eq!(texts(&split(99, &[b"a\xffb\0c\n"])), ["a\u{fffd}b\u{fffd}c"]);
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_allowed_and_no_byte_goes_uncounted(
            parts in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'x'), any::<u8>()], 0..40), 0..8),
            most in 1_usize..20,
        ) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let lines = split(most, &slices);
            let all: usize = parts.iter().map(Vec::len).sum();
            prop_assert_eq!(lines.iter().map(|line| line.bytes).sum::<u64>(), all as u64);
            // A replaced byte takes up to three.
            prop_assert!(lines.iter().all(|line| line.text.len() <= most * 3));
        }
    }

    #[test]
    fn what_exceeds_a_seconds_worth_is_dropped_and_counted_until_the_next() {
        let start = Instant::now();
        let mut budget = OutputBudget::new(100, start);
        assert!(budget.pass(60, start));
        assert!(budget.pass(60, start), "a line passes while anything is left");
        assert!(!budget.pass(10, start));
        assert!(!budget.pass(5, start));
        assert_eq!(budget.report(start), Some(15));
        assert!(!budget.pass(7, start));
        assert_eq!(budget.report(start + Duration::from_millis(1)), None, "told once a second");
        let later = start + Duration::from_secs(1);
        assert!(budget.pass(100, later));
        assert!(!budget.pass(1, later));
        assert_eq!(budget.report(later), Some(8));
        assert_eq!(budget.last_report(), None);
    }

    #[test]
    fn a_flood_of_empty_lines_is_a_flood() {
        let start = Instant::now();
        let mut budget = OutputBudget::new(256 * 1024, start);
        let passed = (0..1_000_000).filter(|_| budget.pass(1, start)).count();
        assert_eq!(passed, 2_048);
        assert_eq!(budget.last_report(), Some(1_000_000 - 2_048));
    }

    #[test]
    fn a_quiet_hour_saves_up_one_second() {
        let start = Instant::now();
        let mut budget = OutputBudget::new(100, start);
        let later = start + Duration::from_secs(3_600);
        assert!(budget.pass(100, later));
        assert!(!budget.pass(100, later));
        assert_eq!(budget.last_report(), Some(100));
    }
}
