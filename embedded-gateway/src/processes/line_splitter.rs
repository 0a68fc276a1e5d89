//! Cuts a stream of bytes into lines of bounded length.

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

/// Keeps at most one line's beginning.
#[derive(Debug)]
pub struct LineSplitter {
    most: usize,
    kept: Vec<u8>,
    length: u64,
}

impl LineSplitter {
    /// Lines of at most `most` bytes (at least 1).
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), kept: Vec::new(), length: 0 }
    }

    /// Takes the next bytes in and hands out the lines that they end.
    pub fn push(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(Line)) {
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
    pub fn finish(&mut self) -> Option<Line> {
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
}
