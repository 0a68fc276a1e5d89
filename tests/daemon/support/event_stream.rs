//! A reader of server-sent events that shows every block as it came.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::daemon::{ADMIN_KEY, Daemon, PATIENCE};

/// One block of lines between two empty ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) event: String,
    pub(crate) id: Option<u64>,
    /// The id where it is no number: a place in a log.
    pub(crate) place: Option<String>,
    pub(crate) data: Value,
    pub(crate) retry: Option<u64>,
    pub(crate) comment: Option<String>,
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    reader: BufReader<TcpStream>,
    text: String,
    blocks: VecDeque<Block>,
    /// The number after which the stream began.
    pub(crate) start: u64,
}

impl EventStream {
    /// Opens one as admin, from now on.
    #[track_caller]
    pub(crate) fn of(daemon: &Daemon, path: &str) -> Self {
        Self::open(daemon.address(), path, &[("X-API-Key", ADMIN_KEY)])
    }

    /// Opens a stream that must be let through, and reads its opening.
    #[track_caller]
    pub(crate) fn open(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nAccept: text/event-stream\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).expect("sent");
        let mut reader = BufReader::new(stream);
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut answer).expect("an answer") > 0, "{answer}");
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let answer = answer.to_ascii_lowercase();
        for header in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
            assert!(answer.contains(header), "{answer}");
        }
        let mut stream = Self { reader, text: String::new(), blocks: VecDeque::new(), start: 0 };
        let opening = stream.next().expect("an opening");
        assert_eq!(opening.retry, Some(3000), "{opening:?}");
        stream.start = opening.id.unwrap_or_default();
        stream
    }

    /// The next block; `None` at the proper end of the stream.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Block> {
        while self.blocks.is_empty() {
            let mut size = String::new();
            self.reader.read_line(&mut size).expect("a chunk");
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("no chunk: {size:?}"));
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).expect("a whole chunk");
            if size == 0 {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&chunk[..size]).expect("whole blocks in UTF-8"));
            while let Some(at) = self.text.find("\n\n") {
                let rest = self.text.split_off(at + 2);
                let block = std::mem::replace(&mut self.text, rest);
                self.blocks.push_back(parse(&block));
            }
        }
        self.blocks.pop_front()
    }

    /// The next event, past comments.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Block {
        loop {
            let block = self.next().expect("the stream goes on");
            if block.comment.is_none() {
                return block;
            }
        }
    }

    /// The next event that is wanted, past all others.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: impl Fn(&Block) -> bool) -> Block {
        loop {
            let event = self.event();
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Reads on until the daemon ends the stream.
    #[track_caller]
    pub(crate) fn drain_to_end(&mut self) {
        while self.next().is_some() {}
    }
}

fn parse(block: &str) -> Block {
    let mut parsed = Block::default();
    for line in block.lines().filter(|line| !line.is_empty()) {
        match line.split_once(": ").expect("a field") {
            ("", text) => parsed.comment = Some(text.to_owned()),
            ("event", text) => parsed.event = text.to_owned(),
            ("id", text) if text.contains('-') => parsed.place = Some(text.to_owned()),
            ("id", text) => parsed.id = Some(text.parse().expect("a number")),
            ("retry", text) => parsed.retry = Some(text.parse().expect("a number")),
            ("data", text) => parsed.data = serde_json::from_str(text).expect("JSON"),
            other => panic!("{other:?} in {block:?}"),
        }
    }
    parsed
}
