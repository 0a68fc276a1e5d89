//! Server-sent events, read one by one as they come.

use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result};

use serde_json::Value;

use crate::cli::http_client::Body;

/// Longest line, in bytes: an event is one line of data.
const LONGEST: u64 = 8 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::cli) struct StreamEvent {
    /// Its type; empty for a mere number, with which a stream begins.
    pub(in crate::cli) name: String,
    /// Its number, or its place in a log.
    pub(in crate::cli) id: Option<String>,
    /// What it says, as it came.
    pub(in crate::cli) text: String,
}

impl StreamEvent {
    /// What it says; null where it is no JSON.
    pub(in crate::cli) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// An open stream.
#[derive(Debug)]
pub(in crate::cli) struct EventStream<R = Body> {
    from: BufReader<R>,
}

impl<R: std::io::Read> EventStream<R> {
    pub(super) fn new(body: R) -> Self {
        Self { from: BufReader::new(body) }
    }

    /// The next event; none at the end of the stream. Comments are passed over.
    pub(in crate::cli) fn next(&mut self) -> Result<Option<StreamEvent>> {
        let mut event = StreamEvent::default();
        let mut begun = false;
        loop {
            let mut line = Vec::new();
            if self.from.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            if line.last() != Some(&b'\n') {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the stream was cut off in the midst of an event"));
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                if begun {
                    return Ok(Some(event));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.name),
                "id" => event.id = Some(value.to_owned()),
                "data" => value.clone_into(&mut event.text),
                // Comments and the reconnect delay.
                _ => continue,
            }
            begun = true;
        }
    }
}

/// What is left of an answer that is no stream: an error.
pub(super) fn rest_of(body: Body) -> Result<String> {
    let mut text = String::new();
    body.take(1024 * 1024).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_comments_and_a_cut_is_no_end() {
        let said =
            "retry: 3000\nid: 7\n\n: heartbeat\n\nevent: gateway.status\nid: 8\ndata: {\"ts\":1}\n\nevent: x\nda";
        let mut stream = EventStream::new(said.as_bytes());
        let first = stream.next().unwrap().unwrap();
        assert_eq!((first.name.as_str(), first.id.as_deref()), ("", Some("7")));
        let second = stream.next().unwrap().unwrap();
        assert_eq!(
            (second.name.as_str(), second.id.as_deref(), second.json()["ts"].as_i64()),
            ("gateway.status", Some("8"), Some(1))
        );
        assert!(stream.next().is_err());
        assert_eq!(EventStream::new("\n\n: x\n".as_bytes()).next().unwrap(), None);
    }
}
