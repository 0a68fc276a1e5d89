//! Commands that talk to a running daemon: which daemon, with which key, and how what it says is shown.
//!
//! | file | decides |
//! | --- | --- |
//! | `place` | where the daemon is |
//! | `key` | which key is shown to it |
//! | `trouble` | how a failure is said, and with which exit code the command ends |
//! | `output` | JSON, quiet, colours |
//! | `table` | columns |
//! | `words` | values of the API as people read them |
//! | `event_stream` | server-sent events, read one by one |

mod event_stream;
mod key;
mod output;
mod place;
mod table;
mod trouble;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gatewarden_protocol::Secret;
use serde_json::Value;

pub(super) use self::event_stream::{EventStream, StreamEvent};
pub(super) use self::key::read_secret;
pub(super) use self::output::{Output, Paint, Tone};
use self::place::Place;
pub(super) use self::table::{Cell, Table};
pub(super) use self::trouble::Trouble;
pub(super) use self::words::{address_of, ago, at, number, path_part, read_text, seconds_of, status_tone, text};
use super::http_client::{Answer, Request};
use super::terminal;
use crate::config::{Config, Inputs};

/// Longest wait for an answer: the daemon may ask several gateways before it gives one.
const PATIENCE: Duration = Duration::from_secs(120);
/// A stream that says nothing for so long is dead: a comment comes every 15 s.
const STREAM_PATIENCE: Duration = Duration::from_secs(45);

/// What every command takes that talks to a daemon.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The daemon, and how it is shown")]
pub(super) struct DaemonArgs {
    /// Where the daemon is, http or https [env: GATEWARDEN_URL] [default: as configured here, else http://127.0.0.1:3000]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File that holds the API key, - for standard input [env: GATEWARDEN_API_KEY holds the key itself] [default for a daemon
    /// on this machine: its own admin key, where it may be read]
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print the API's own JSON
    #[arg(long, global = true)]
    json: bool,
    /// Print names or ids alone, and nothing about changes that went well
    #[arg(long, short, global = true, conflicts_with = "json")]
    quiet: bool,
}

/// A daemon to talk to.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    place: Place,
    key: Secret,
    pub(super) output: Output,
}

impl DaemonArgs {
    /// Carries out a command, says what went wrong, and gives the exit code.
    pub(super) fn run(&self, command: impl FnOnce(&Daemon) -> Result<u8, Trouble>) -> u8 {
        let output = Output::of_process(self.json, self.quiet);
        let inputs = Inputs::of_process();
        let ended = Daemon::find(self, &inputs, output).and_then(|daemon| command(&daemon));
        ended.unwrap_or_else(|trouble| trouble.say(output))
    }
}

impl Daemon {
    fn find(args: &DaemonArgs, inputs: &Inputs, output: Output) -> Result<Self, Trouble> {
        // Whoever isn't the daemon's user often can't read its configuration: then defaults have to do.
        let config = Config::load(inputs).ok();
        let place = Place::find(args.url.as_deref(), inputs, config.as_ref())?;
        let key = key::find(args.key_file.as_deref(), inputs, config.as_ref(), &place)?;
        if !place.is_encrypted() && !place.is_this_machine() && !output.is_quiet() {
            terminal::complain(&format!(
                "the API key travels unencrypted to {place}; use https, or a tunnel to the daemon's machine"
            ));
        }
        Ok(Self { place, key, output })
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        self.place.to_string()
    }

    /// Reads something.
    pub(super) fn get(&self, path: &str) -> Result<Answer, Trouble> {
        self.call("GET", path, None)
    }

    /// Any request. Whatever isn't a success is a trouble.
    pub(super) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Trouble> {
        self.call_with(method, path, body, &[])
    }

    /// A request whose answer may take so long.
    pub(super) fn call_patiently(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        patience: Duration,
    ) -> Result<Answer, Trouble> {
        self.ask(method, path, Some(body), &[], patience)
    }

    /// Any request with headers of its own.
    pub(super) fn call_with(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Trouble> {
        self.ask(method, path, body, headers, PATIENCE)
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
        patience: Duration,
    ) -> Result<Answer, Trouble> {
        let headers = [&[("X-API-Key", self.key.expose())], headers].concat();
        let path = self.place.path(path);
        let request = Request { method, path: &path, body, patience, ..self.request(&headers) };
        let answer = request.send().map_err(|error| Trouble::unreachable(&self.place, &error))?;
        if (200..300).contains(&answer.status()) { Ok(answer) } else { Err(Trouble::refused(&self.place, &answer)) }
    }

    /// Opens a stream of events.
    pub(super) fn stream(&self, path: &str, after: Option<&str>) -> Result<EventStream, Trouble> {
        let mut headers = vec![("X-API-Key", self.key.expose()), ("Accept", "text/event-stream")];
        headers.extend(after.map(|id| ("Last-Event-ID", id)));
        let path = self.place.path(path);
        let request = Request { path: &path, patience: STREAM_PATIENCE, ..self.request(&headers) };
        let unreachable = |error: std::io::Error| Trouble::unreachable(&self.place, &error);
        let (head, body) = request.open().map_err(unreachable)?;
        if head.status == 200 {
            return Ok(EventStream::new(body));
        }
        let answer = Answer { text: event_stream::rest_of(body).map_err(unreachable)?, head };
        Err(Trouble::refused(&self.place, &answer))
    }

    fn request<'a>(&'a self, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
        Request {
            host: Some(self.place.host()),
            trust: self.place.trust(),
            headers,
            patience: PATIENCE,
            ..Request::get(self.place.addresses(), "/")
        }
    }

    /// A gateway by its name or its id; where a name looks like an id, the id wins.
    pub(super) fn gateway(&self, named: &str) -> Result<Value, Trouble> {
        let id = named.parse::<i64>().ok().filter(|id| *id > 0);
        if let Some(id) = id {
            match self.get(&format!("/api/gateways/{id}")) {
                Ok(answer) => return Ok(answer.json().get("gateway").cloned().unwrap_or_default()),
                Err(trouble) if trouble.is_code("gateway_not_found") => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let list = self.get("/api/gateways")?.json();
        let rows = list.get("gateways").and_then(Value::as_array);
        let found = rows.into_iter().flatten().find(|row| row.get("name").and_then(Value::as_str) == Some(named));
        found.cloned().ok_or_else(|| {
            Trouble::new(
                format!("No gateway is called {}, and none has this id.", terminal::plain(named)),
                "`gatewarden gateways list` shows all.",
            )
        })
    }

    /// The id of a gateway by its name or id.
    pub(super) fn gateway_id(&self, named: &str) -> Result<i64, Trouble> {
        let gateway = self.gateway(named)?;
        number(&gateway, "/id").ok_or_else(|| Trouble::new("The daemon's answer has no id of the gateway.", ""))
    }

    /// Prints an answer: as it came with `--json`, else as `people` puts it.
    pub(super) fn show(&self, answer: &Answer, people: impl FnOnce(&Value) -> String) {
        if self.output.is_json() {
            terminal::print(&answer.text);
        } else {
            let text = people(&answer.json());
            if !text.is_empty() {
                terminal::print(&text);
            }
        }
    }

    /// Says that a change went well, unless nobody wants to know; with `--json` the answer itself.
    pub(super) fn done(&self, answer: &Answer, people: impl FnOnce(&Value) -> String) {
        if !self.output.is_quiet() {
            self.show(answer, people);
        }
    }
}
