//! Server-sent events, as a client reads them.

use std::io::{BufRead as _, BufReader, Read};

use serde_json::Value;

/// Longest line of a stream (an event is one line of data), in bytes.
const MAX_LINE: u64 = 8 * 1024 * 1024;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct StreamEvent {
    /// Its type; empty for a mere number, with which a stream begins.
    pub(crate) name: String,
    /// Its number, or its place in a log.
    pub(crate) id: Option<String>,
    /// What it says, as it came.
    pub(crate) text: String,
}

impl StreamEvent {
    /// What it says; null where it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// An open stream of events.
pub(crate) struct EventStream {
    from: BufReader<Box<dyn Read + Send>>,
}

impl EventStream {
    pub(crate) fn new(from: Box<dyn Read + Send>) -> Self {
        Self { from: BufReader::new(from) }
    }

    /// The next event; none where the stream has ended. Comments are passed over.
    pub(crate) fn next(&mut self) -> Option<StreamEvent> {
        let mut event = StreamEvent::default();
        let mut begun = false;
        loop {
            let mut line = Vec::new();
            self.from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
            // What was cut off in its midst is no event.
            if line.pop() != Some(b'\n') {
                return None;
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                if begun {
                    return Some(event);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(said: &'static str) -> EventStream {
        EventStream::new(Box::new(said.as_bytes()))
    }

    #[test]
    fn events_are_told_from_comments_and_a_cut_is_no_event() {
        let mut stream_of_two = stream(
            "retry: 3000\nid: 7\n\n: heartbeat\n\nevent: gateway.status\nid: 8\ndata: {\"ts\":1}\n\nevent: x\nda",
        );
        let first = stream_of_two.next().unwrap();
        assert_eq!((first.name.as_str(), first.id.as_deref()), ("", Some("7")));
        let second = stream_of_two.next().unwrap();
        assert_eq!(
            (second.name.as_str(), second.id.as_deref(), second.json()["ts"].as_i64()),
            ("gateway.status", Some("8"), Some(1))
        );
        assert!(stream_of_two.next().is_none());
        assert!(stream("\n\n: x\n").next().is_none());
    }
}
