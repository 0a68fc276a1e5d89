//! What a local process said last, bounded in lines and bytes.

use std::collections::VecDeque;

/// Lines kept.
const MAX_LINES: usize = 500;
/// Bytes kept.
const MAX_BYTES: usize = 256 * 1024;
/// Longest line; the rest of it is dropped.
const MAX_LINE: usize = 4 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// Wall ms at which it was read.
    pub at_ms: i64,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// Its text, without control characters.
    pub text: String,
}

/// The newest lines.
#[derive(Debug, Default)]
pub(super) struct OutputRing {
    lines: VecDeque<OutputLine>,
    bytes: usize,
    dropped: u64,
}

impl OutputRing {
    pub(super) fn push(&mut self, line: OutputLine) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
            self.dropped += 1;
        }
    }

    /// The newest lines, oldest first.
    pub(super) fn newest(&self, most: usize) -> Vec<OutputLine> {
        self.lines.iter().skip(self.lines.len().saturating_sub(most)).cloned().collect()
    }

    /// Lines that are no longer kept.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    part: Vec<u8>,
}

impl LineSplitter {
    /// The lines that these bytes end.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = MAX_LINE.saturating_sub(self.part.len());
            self.part.extend_from_slice(text.get(..text.len().min(room)).unwrap_or_default());
            if ended {
                lines.push(self.take());
            }
        }
        lines
    }

    /// The last line, where it has no end.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!self.part.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.part)
            .chars()
            .map(|char| if char == '\t' { ' ' } else { char })
            .filter(|char| !char.is_control())
            .collect();
        self.part.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: String) -> OutputLine {
        OutputLine { at_ms: 1, stream: "stdout", text }
    }

    #[test]
    fn the_newest_lines_are_kept_within_both_bounds() {
        let mut ring = OutputRing::default();
        for number in 0..MAX_LINES + 7 {
            ring.push(line(number.to_string()));
        }
        assert_eq!(ring.dropped(), 7);
        assert_eq!(ring.newest(2).iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["505", "506"]);
        for _ in 0..200 {
            ring.push(line("x".repeat(MAX_LINE)));
        }
        assert!(ring.bytes <= MAX_BYTES);
        assert_eq!(ring.newest(usize::MAX).len(), MAX_BYTES / MAX_LINE);
    }

    #[test]
    fn lines_come_whole_however_they_were_written_and_never_too_long() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.push(b"one\ntw"), ["one"]);
        assert_eq!(splitter.push(b"o\r\n\n\x1b[31mred\xff"), ["two", ""]);
        assert_eq!(splitter.finish().as_deref(), Some("[31mred\u{fffd}"));
        assert_eq!(splitter.finish(), None);
        let long = splitter.push(&[&[b'x'; 3 * MAX_LINE][..], b"\nnext\n"].concat());
        assert_eq!((long[0].len(), long[1].as_str()), (MAX_LINE, "next"));
    }
}
