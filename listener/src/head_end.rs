//! Where the head of a request ends, as the parser of actix-http sees it: at the first empty line, with or without carriage
//! returns; empty lines before the request line don't count.

use memchr::memchr;

/// Follows the bytes of one head after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum HeadEnd {
    /// Nothing but empty lines so far.
    #[default]
    Before,
    /// Within a line.
    Line,
    /// A line has just ended.
    NewLine,
    /// A carriage return stands at the start of a line.
    Return,
}

impl HeadEnd {
    /// How many of these bytes belong to the present head, where it ends among them; the next head begins behind.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            *self = match (*self, byte) {
                (Self::Before, b'\r' | b'\n') => Self::Before,
                (Self::NewLine | Self::Return, b'\n') => {
                    *self = Self::Before;
                    return Some(at + 1);
                }
                (Self::NewLine, b'\r') => Self::Return,
                (_, b'\n') => Self::NewLine,
                _ => {
                    let to_line_end = bytes.get(at..).and_then(|rest| memchr(b'\n', rest));
                    match to_line_end {
                        Some(distance) => {
                            at += distance;
                            Self::NewLine
                        }
                        None => {
                            *self = Self::Line;
                            return None;
                        }
                    }
                }
            };
            at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(text: &str) -> Vec<usize> {
        let (mut head, mut rest, mut at, mut found) = (HeadEnd::default(), text.as_bytes(), 0, Vec::new());
        while let Some(end) = head.find(rest) {
            at += end;
            found.push(at);
            rest = &rest[end..];
        }
        found
    }

    #[test]
    fn a_head_ends_at_the_first_empty_line() {
        assert_eq!(ends("GET / HTTP/1.1\r\nA: b\r\n\r\nrest"), [24]);
        assert_eq!(ends("GET / HTTP/1.1\n\nGET"), [16]);
        assert_eq!(ends("GET / HTTP/1.1\n\r\n"), [17]);
        assert_eq!(ends("GET / HTTP/1.1\r\nA: b\r\n"), Vec::<usize>::new());
        assert_eq!(ends("a\r\n\r\nb\r\n\r\n"), [5, 10]);
    }

    #[test]
    fn empty_lines_before_a_head_are_no_end() {
        assert_eq!(ends("\r\n\r\n\n\r\na\r\n\r\n"), [12]);
        assert_eq!(ends("\r\n\r\n"), Vec::<usize>::new());
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_cut() {
        let text = b"\r\nGET / HTTP/1.1\r\nA: \r b\n\rx\r\n\r\nrest";
        let whole = HeadEnd::default().find(text);
        assert_eq!(whole, Some(31));
        for cut in 0..=text.len() {
            let mut head = HeadEnd::default();
            let found = head.find(&text[..cut]).or_else(|| head.find(&text[cut..]).map(|end| end + cut));
            assert_eq!(found, whole, "cut at {cut}");
        }
    }
}
