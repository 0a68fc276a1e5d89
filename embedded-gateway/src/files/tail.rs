//! The end of a log file, as `logs.tail` shows it: a cursor is an offset in bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Value, json};

/// Shown at a time where the caller names no number, in bytes.
pub(crate) const DEFAULT_BYTES: u64 = 250_000;
/// Most that is shown at a time, in bytes.
pub(crate) const MOST_BYTES: u64 = 1_000_000;
/// Most lines that are shown at a time.
pub(crate) const MOST_LINES: usize = 5_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u64,
    /// The cursor could not be followed: these aren't the lines after it.
    reset: bool,
    /// There is more before `from`.
    truncated: bool,
}

fn span(size: u64, cursor: Option<u64>, bytes: u64) -> Span {
    let tail = size.saturating_sub(bytes);
    match cursor {
        Some(cursor) if cursor <= size && cursor >= tail => Span { from: cursor, reset: false, truncated: false },
        Some(_) => Span { from: tail, reset: true, truncated: tail > 0 },
        None => Span { from: tail, reset: false, truncated: tail > 0 },
    }
}

/// Reads the lines after the cursor, or the last ones. Only whole lines are shown; one that is just being written comes with
/// the next call.
pub(super) fn tail(path: &Path, cursor: Option<u64>, limit: usize, bytes: u64) -> io::Result<Value> {
    let file = path.display().to_string();
    let mut opened = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let reset = cursor.is_some_and(|cursor| cursor > 0);
            return Ok(json!({
                "file": file, "cursor": 0, "size": 0, "lines": [], "truncated": false, "reset": reset,
            }));
        }
        opened => opened?,
    };
    let size = opened.metadata()?.len();
    let Span { from, reset, mut truncated } = span(size, cursor, bytes);
    // One byte more, to see whether the first line is whole.
    let before = from.saturating_sub(1);
    opened.seek(SeekFrom::Start(before))?;
    let mut read = Vec::new();
    opened.take(size.saturating_sub(before)).read_to_end(&mut read)?;
    let whole = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let end = before.saturating_add(u64::try_from(whole).unwrap_or(u64::MAX));
    let mut text = read.get(..whole).unwrap_or_default();
    if from > 0 {
        let line_begins = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |first| first + 1);
        text = text.get(line_begins..).unwrap_or_default();
    }
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.len() > limit {
        truncated = true;
        lines.drain(..lines.len() - limit);
    }
    // A single line longer than the window has no end in it: go past it, or the cursor would never move.
    let cursor = if whole == 0 && size.saturating_sub(from) >= bytes { size } else { end.max(from) };
    Ok(json!({
        "file": file, "cursor": cursor, "size": size, "lines": lines, "truncated": truncated, "reset": reset,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(shown: &Value) -> Vec<&str> {
        shown["lines"].as_array().expect("lines").iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn the_returned_cursor_gives_only_newer_lines() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "one\ntwo\nthr").expect("write");
        let first = tail(&path, None, 10, 1_000).expect("read");
        assert_eq!(lines(&first), ["one", "two"]);
        std::fs::write(&path, "one\ntwo\nthree\nfour\n").expect("write");
        let second = tail(&path, first["cursor"].as_u64(), 10, 1_000).expect("read");
        assert_eq!(lines(&second), ["three", "four"]);
        assert_eq!((second["reset"].as_bool(), second["cursor"].as_u64()), (Some(false), Some(19)));
        let third = tail(&path, second["cursor"].as_u64(), 10, 1_000).expect("read");
        assert!(lines(&third).is_empty());
        assert_eq!(third["cursor"], second["cursor"]);
    }

    #[test]
    fn a_limit_keeps_the_last_lines_and_says_so() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "one\ntwo\nthree\n").expect("write");
        let shown = tail(&path, None, 2, 1_000).expect("read");
        assert_eq!(lines(&shown), ["two", "three"]);
        assert_eq!(shown["truncated"], true);
    }

    #[test]
    fn a_bound_in_bytes_shows_whole_lines_only() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "one\ntwo\nthree\n").expect("write");
        assert_eq!(lines(&tail(&path, None, 9, 8).expect("read")), ["three"]);
        // Exactly at the begin of a line: that line is whole.
        assert_eq!(lines(&tail(&path, None, 9, 10).expect("read")), ["two", "three"]);
    }

    #[test]
    fn a_cursor_beyond_the_end_or_too_far_back_starts_over_and_says_so() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "one\ntwo\n").expect("write");
        let rotated = tail(&path, Some(500), 9, 1_000).expect("read");
        assert_eq!((lines(&rotated), rotated["reset"].as_bool()), (vec!["one", "two"], Some(true)));
        let far = tail(&path, Some(0), 9, 5).expect("read");
        assert_eq!(
            (lines(&far), far["reset"].as_bool(), far["truncated"].as_bool()),
            (vec!["two"], Some(true), Some(true))
        );
    }

    #[test]
    fn a_missing_file_is_an_empty_one() {
        let folder = tempfile::tempdir().expect("folder");
        let shown = tail(&folder.path().join("none"), Some(7), 9, 1_000).expect("read");
        assert_eq!((lines(&shown).len(), shown["reset"].as_bool()), (0, Some(true)));
    }

    #[test]
    fn a_line_longer_than_the_window_does_not_stop_the_cursor() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "x".repeat(100)).expect("write");
        let shown = tail(&path, None, 9, 10).expect("read");
        assert_eq!((lines(&shown).len(), shown["cursor"].as_u64()), (0, Some(100)));
    }
}
