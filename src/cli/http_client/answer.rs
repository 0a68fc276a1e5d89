//! Reading an HTTP/1.1 answer: its head, and a body of a given length, in chunks, or to the end of the connection.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result};

use super::Wire;

/// Longest line of a head or of a chunk's size, and longest head, in bytes.
const LONGEST_LINE: u64 = 16 * 1024;
const MOST_LINES: usize = 200;

/// Status and headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Head {
    pub(in crate::cli) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this lower-case name.
    pub(in crate::cli) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Length(u64),
    /// So much of the present chunk; the first one has not begun yet.
    Chunk {
        left: u64,
        first: bool,
    },
    ToEnd,
    Done,
}

/// An answer's body as it comes in.
pub(in crate::cli) struct Body {
    from: BufReader<Box<dyn Wire>>,
    rest: Rest,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("rest", &self.rest).finish_non_exhaustive()
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("the answer is no HTTP ({what})"))
}

/// Reads the head.
pub(super) fn read(mut from: BufReader<Box<dyn Wire>>) -> Result<(Head, Body)> {
    // Interim answers (1xx) come before the one that counts.
    loop {
        let head = head(&mut from)?;
        if (100..200).contains(&head.status) {
            continue;
        }
        let rest = match (head.header("transfer-encoding"), head.header("content-length")) {
            _ if matches!(head.status, 204 | 304) => Rest::Done,
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Rest::Chunk { left: 0, first: true },
            (Some(_), _) => return Err(malformed("unknown transfer encoding")),
            (None, Some(length)) => Rest::Length(length.parse().map_err(|_| malformed("its length"))?),
            (None, None) => Rest::ToEnd,
        };
        return Ok((head, Body { from, rest }));
    }
}

fn head(from: &mut impl BufRead) -> Result<Head> {
    let first = line(from)?;
    let mut words = first.split(' ');
    let status = match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => status.parse().ok(),
        _ => None,
    };
    let status = status.ok_or_else(|| malformed("its first line"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(from)?;
        if line.is_empty() {
            return Ok(Head { status, headers });
        }
        if headers.len() >= MOST_LINES {
            return Err(malformed("too many headers"));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut bytes = Vec::new();
    from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the connection was closed without an answer"));
    }
    if bytes.pop() != Some(b'\n') {
        return Err(malformed("a line without an end"));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Body {
    fn limited(&mut self, buffer: &mut [u8], left: u64) -> Result<usize> {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let room = buffer.get_mut(..room).unwrap_or_default();
        match self.from.read(room)? {
            0 if !room.is_empty() => {
                Err(Error::new(ErrorKind::UnexpectedEof, "the answer was cut off: the connection ended in its midst"))
            }
            count => Ok(count),
        }
    }

    fn next_chunk(&mut self, first: bool) -> Result<u64> {
        if !first && !line(&mut self.from)?.is_empty() {
            return Err(malformed("a chunk"));
        }
        let line = line(&mut self.from)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(size, 16).map_err(|_| malformed("the size of a chunk"))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.rest {
            Rest::Done | Rest::Length(0) => Ok(0),
            Rest::Length(left) => {
                let count = self.limited(buffer, left)?;
                self.rest = Rest::Length(left.saturating_sub(u64::try_from(count).unwrap_or(left)));
                Ok(count)
            }
            Rest::Chunk { left: 0, first } => match self.next_chunk(first)? {
                0 => {
                    self.rest = Rest::Done;
                    Ok(0)
                }
                left => {
                    self.rest = Rest::Chunk { left, first: false };
                    self.read(buffer)
                }
            },
            Rest::Chunk { left, .. } => {
                let count = self.limited(buffer, left)?;
                let left = left.saturating_sub(u64::try_from(count).unwrap_or(left));
                self.rest = Rest::Chunk { left, first: false };
                Ok(count)
            }
            // A TLS peer that closes without saying so ends a body that has no length as any other end does.
            Rest::ToEnd => match self.from.read(buffer) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    struct Said(Cursor<Vec<u8>>);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn answer(said: &str) -> Result<(u16, String)> {
        let wire: Box<dyn Wire> = Box::new(Said(Cursor::new(said.as_bytes().to_vec())));
        let (head, mut body) = read(BufReader::new(wire))?;
        let mut text = String::new();
        body.read_to_string(&mut text)?;
        Ok((head.status, text))
    }

    #[test]
    fn bodies_of_every_framing_are_read() {
        for (said, status, text) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcmore", 200, "abc"),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end"),
            (
                "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
                202,
                "abc0123456789",
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
            ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 404 No\nContent-Length: 0\n\n", 404, ""),
        ] {
            assert_eq!(answer(said).unwrap(), (status, text.to_owned()), "{said}");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_http_is_said() {
        for said in [
            "",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert!(answer(said).is_err(), "{said}");
        }
    }
}
