//! What a scripted gateway saw, for tests to assert.

use std::time::{Duration, Instant};

use serde_json::Value;

/// The head of one HTTP request, upgrades included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a request head.
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let method = first.next().unwrap_or_default().to_owned();
        let path = first.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { method, path, headers }
    }

    /// The first header of this name (lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether it asks for a WebSocket.
    pub(crate) fn is_upgrade(&self) -> bool {
        self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    }
}

/// One authentication attempt that reached the gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attempt {
    /// When, on the clock of this process.
    pub(crate) at: Instant,
    /// Whether it was let in.
    pub(crate) accepted: bool,
    /// The details' code of its refusal (or its message where there is none).
    pub(crate) refused_as: Option<String>,
    /// Everything that the client sent as `params`.
    pub(crate) params: Value,
}

impl Attempt {
    /// The device id that it signed with.
    pub(crate) fn device_id(&self) -> Option<&str> {
        self.params["device"]["id"].as_str()
    }

    /// The token that it came with, in whichever place.
    pub(crate) fn token(&self) -> Option<&str> {
        [&self.params["auth"]["token"], &self.params["auth"]["deviceToken"], &self.params["deviceToken"]]
            .into_iter()
            .chain([&self.params["token"]])
            .find_map(Value::as_str)
    }
}

/// Everything seen so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// Times of TCP accepts.
    pub(crate) accepts: Vec<Instant>,
    /// Heads of HTTP requests in order.
    pub(crate) heads: Vec<Head>,
    /// Authentication attempts in order.
    pub(crate) attempts: Vec<Attempt>,
    /// Requests after the hello: method and params.
    pub(crate) requests: Vec<(String, Value)>,
    /// Pings of the client.
    pub(crate) pings: usize,
    /// Pongs of the client.
    pub(crate) pongs: usize,
    /// Close frames of the client.
    pub(crate) closes: Vec<(Option<u16>, String)>,
    /// Connections that are open right now.
    pub(crate) open: usize,
    /// Connections that have had their hello and are open right now.
    pub(crate) ready: usize,
}

impl Record {
    /// The largest number of refused attempts within any span of this length.
    pub(crate) fn most_refusals_within(&self, span: Duration) -> usize {
        let refused: Vec<Instant> = self.attempts.iter().filter(|one| !one.accepted).map(|one| one.at).collect();
        refused
            .iter()
            .enumerate()
            .map(|(first, start)| refused[first..].iter().take_while(|at| at.duration_since(*start) < span).count())
            .max()
            .unwrap_or(0)
    }

    /// Attempts that were let in.
    pub(crate) fn accepted(&self) -> usize {
        self.attempts.iter().filter(|one| one.accepted).count()
    }

    /// How often a method was asked for.
    pub(crate) fn asked(&self, method: &str) -> usize {
        self.requests.iter().filter(|(name, _)| name == method).count()
    }
}
