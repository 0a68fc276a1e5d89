//! Commands that talk to a running daemon: which daemon, with which key, and typed answers.

pub(super) mod contexts;
pub(super) mod endpoint;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, Subcommand};
use gatewarden_actors::clock::Clock;
use gatewarden_api::gateway_record::{Gateway, GatewayAnswer, GatewayList};
use gatewarden_api::request::Request;
use gatewarden_protocol::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::endpoint::{Endpoint, find_key};
use super::EXIT_OK;
use super::error::CliError;
use super::http_client::{Ask, HttpClient, Reply};
use super::output::{Format, Output, complain, plain, print};
use super::table::Table;
use crate::config::{Config, Inputs};
use crate::event_stream::EventStream;

/// Longest wait for an answer: the daemon may ask several gateways before it gives one.
const PATIENCE: Duration = Duration::from_secs(120);
/// A stream that says nothing for so long is dead: a comment comes every 15 s.
const STREAM_PATIENCE: Duration = Duration::from_secs(45);

/// The options of every command that talks to a daemon stand together in its help.
const PLACE: &str = "The daemon";
const SHOWN: &str = "Output";

/// What every command takes that talks to a daemon.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct DaemonArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    form: FormArgs,
}

/// One of several commands that talk to a daemon.
#[derive(Debug, Args)]
pub(super) struct OfDaemon<C: Subcommand> {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: C,
}

/// How it is shown, and how much.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct FormArgs {
    #[command(flatten)]
    shown: ShownArgs,
    /// How it is shown: table (as the terminal is wide), wide (all columns, nothing cut), json (the API's own), or jsonl (a line of
    /// JSON for each element of a list)
    #[arg(long, short = 'o', global = true, value_name = "FORMAT", help_heading = SHOWN, conflicts_with_all = ["json", "quiet"])]
    format: Option<Format>,
}

/// Which daemon, and with which key.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PlaceArgs {
    /// Where the daemon is: an http or https URL, or HOST:PORT for http [env: GATEWARDEN_URL] [default: the context in use, else as configured on this machine,
    /// else http://127.0.0.1:3000]
    #[arg(long, global = true, value_name = "URL", help_heading = PLACE)]
    pub(super) url: Option<String>,
    /// A daemon that `gatewarden context add` has named
    #[arg(long, global = true, value_name = "NAME", help_heading = PLACE, conflicts_with = "url")]
    pub(super) context: Option<String>,
    /// File that holds the API key, - for standard input [env: GATEWARDEN_API_KEY holds the key itself] [default for a daemon
    /// on this machine: its own admin key, where it may be read]
    #[arg(long, global = true, value_name = "FILE", help_heading = PLACE)]
    pub(super) key_file: Option<PathBuf>,
    /// State directory of a daemon on this machine: its address and its admin key are taken
    #[arg(long, global = true, value_name = "DIR", help_heading = PLACE, conflicts_with = "key_file")]
    pub(super) state_dir: Option<PathBuf>,
}

/// How much is shown.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ShownArgs {
    /// Print the API's own JSON
    #[arg(long, global = true, help_heading = SHOWN)]
    json: bool,
    /// Print names or ids alone, and nothing about changes that went well
    #[arg(long, short, global = true, conflicts_with = "json", help_heading = SHOWN)]
    quiet: bool,
}

/// A daemon to talk to.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    endpoint: Endpoint,
    key: Secret,
    /// Longest wait for an answer.
    patience: Duration,
    /// What gateways were called on the command line, by their ids: the daemon may name them otherwise.
    typed: Arc<Mutex<BTreeMap<i64, String>>>,
    pub(super) output: Output,
}

/// An answer of the API that has this shape.
#[derive(Debug, Clone)]
pub(super) struct Answer<T> {
    pub(super) text: String,
    shape: PhantomData<T>,
}

impl<T> Answer<T> {
    pub(super) fn of(text: String) -> Self {
        Self { text, shape: PhantomData }
    }
}

/// A change that changes something.
pub(super) fn some_change<T: Request + PartialEq>(fields: T) -> Result<T, CliError> {
    if fields == T::default() {
        return Err(CliError::usage("There is nothing to change: give at least one of the options."));
    }
    Ok(fields)
}

impl DaemonArgs {
    /// Whether the key is to be read from standard input.
    pub(super) fn reads_key_from_input(&self) -> bool {
        self.place.key_file.as_deref() == Some(Path::new("-"))
    }

    /// Carries out a command, says what went wrong, and gives the exit code.
    pub(super) fn run(&self, command: impl FnOnce(&Daemon) -> Result<u8, CliError>) -> u8 {
        self.place.run(self.form.output(), command)
    }
}

impl<C: Subcommand> OfDaemon<C> {
    /// Carries out the one that was given.
    pub(super) fn run(&self, command: impl FnOnce(&Daemon, &C) -> Result<u8, CliError>) -> u8 {
        self.daemon.run(|daemon| command(daemon, &self.command))
    }
}

impl FormArgs {
    pub(super) fn output(&self) -> Output {
        let output = self.shown.output();
        self.format.map_or(output, |format| output.formatted(format))
    }
}

impl ShownArgs {
    pub(super) fn output(&self) -> Output {
        Output::of_process(self.json, self.quiet)
    }
}

impl PlaceArgs {
    /// The same for a command that shows things its own way.
    pub(super) fn run(&self, output: Output, command: impl FnOnce(&Daemon) -> Result<u8, CliError>) -> u8 {
        let ended = Daemon::find(self, output, PATIENCE).and_then(|daemon| command(&daemon));
        ended.unwrap_or_else(|error| error.say(output))
    }
}

impl Daemon {
    /// `patience` is the longest wait for an answer.
    pub(super) fn find(args: &PlaceArgs, output: Output, patience: Duration) -> Result<Self, CliError> {
        let inputs = Inputs { state_dir: args.state_dir.clone(), ..Inputs::of_process() };
        // Whoever isn't the daemon's user often can't read its configuration: then defaults have to do.
        let config = Config::load(&inputs).ok();
        let context = contexts::chosen(args, &inputs)?;
        let endpoint = Endpoint::find(args.url.as_deref(), context.as_ref(), &inputs, config.as_ref())?;
        let key = find_key(args, context.as_ref(), &inputs, config.as_ref(), &endpoint);
        let mut daemon = Self { endpoint, key: Secret::default(), patience, typed: Arc::default(), output };
        daemon.key = key.map_err(|denied| daemon.is_there().err().unwrap_or(denied))?;
        let endpoint = &daemon.endpoint;
        if !endpoint.is_encrypted() && !endpoint.is_this_machine() && !output.is_quiet() {
            complain(&format!(
                "the API key travels unencrypted to {endpoint}; use https, or a tunnel to the daemon's machine"
            ));
        }
        Ok(daemon)
    }

    /// Nobody needs a key for a daemon that doesn't run.
    fn is_there(&self) -> Result<(), CliError> {
        let asked = self.client(self.patience).and_then(|client| client.get("/health"));
        asked.map(drop).map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &ureq::Error) -> CliError {
        let unreachable = CliError::unreachable(&self.endpoint, error);
        match self.endpoint.context() {
            None => unreachable,
            Some(name) => unreachable.and(&format!(
                "The context {name} names it: `gatewarden context add {name} URL` changes that, `gatewarden context use` takes another."
            )),
        }
    }

    /// The same, which waits so long for an answer.
    pub(super) fn patient(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The same, which waits no longer than this for an answer.
    pub(super) fn within(&self, patience: Duration) -> Self {
        self.patient(self.patience.min(patience))
    }

    pub(super) fn is_on_this_machine(&self) -> bool {
        self.endpoint.is_this_machine()
    }

    pub(super) fn url(&self) -> String {
        self.endpoint.to_string()
    }

    pub(super) fn get<T>(&self, path: &str) -> Result<Answer<T>, CliError> {
        self.call("GET", path, None)
    }

    /// Any request. Whatever isn't a success is an error.
    pub(super) fn call<T>(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer<T>, CliError> {
        self.once(method, path, body, None)
    }

    pub(super) fn send<T>(&self, method: &str, path: &str, body: &impl Request) -> Result<Answer<T>, CliError> {
        self.call(method, path, Some(&body.json()))
    }

    /// A request that is safe to repeat by its key, where there is one.
    pub(super) fn once<T>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Answer<T>, CliError> {
        let mut headers = vec![("X-API-Key", self.key.expose())];
        headers.extend(key.map(|key| ("Idempotency-Key", key)));
        let reply: Reply = self
            .client(self.patience)
            .and_then(|client| client.send(method, path, Ask { headers: &headers, body }))
            .map_err(|error| self.unreachable(&error))?;
        if (200..300).contains(&reply.status) { Ok(Answer::of(reply.text)) } else { Err(self.refused(&reply)) }
    }

    /// With gateways called as they were on the command line.
    fn refused(&self, reply: &Reply) -> CliError {
        let typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        let error = CliError::refused(&self.endpoint, reply);
        typed.iter().fold(error, |error, (id, named)| error.naming(*id, named, typed.len() == 1))
    }

    fn client(&self, patience: Duration) -> Result<HttpClient, ureq::Error> {
        HttpClient::new(self.endpoint.to_string(), &self.endpoint.addresses, patience)
    }

    /// Opens a stream of the events after one, which ends after so long.
    pub(super) fn stream(
        &self,
        path: &str,
        after: Option<&str>,
        longest: Option<Duration>,
    ) -> Result<EventStream, CliError> {
        let mut headers = vec![("X-API-Key", self.key.expose())];
        headers.extend(after.map(|id| ("Last-Event-ID", id)));
        self.client(STREAM_PATIENCE)
            .and_then(|client| client.stream(path, &headers, longest))
            .map_err(|error| self.unreachable(&error))?
            .map_err(|reply| self.refused(&reply))
    }

    /// What an answer says.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Answer<T>) -> Result<T, CliError> {
        let what = |error| format!("its answer cannot be read ({error})");
        serde_json::from_str(&answer.text).map_err(|error| CliError::foreign(&self.endpoint, what(error)))
    }

    pub(super) fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.read(&self.get(path)?)
    }

    pub(super) fn gateways(&self) -> Result<Vec<Gateway>, CliError> {
        Ok(self.fetch::<GatewayList>("/api/gateways")?.gateways)
    }

    /// A gateway by its name or its id; what is the name of one and the id of another names neither.
    pub(super) fn gateway(&self, named: &str) -> Result<Gateway, CliError> {
        let gateway = self.find_gateway(named)?;
        self.typed.lock().unwrap_or_else(PoisonError::into_inner).insert(gateway.id, named.to_owned());
        Ok(gateway)
    }

    /// All of them or an error: a name that is wrong must not leave half of them done.
    pub(super) fn all_gateways(&self, named: &[String]) -> Result<Vec<Gateway>, CliError> {
        named.iter().map(|named| self.gateway(named)).collect()
    }

    fn find_gateway(&self, named: &str) -> Result<Gateway, CliError> {
        if let Some(id) = named.parse::<i64>().ok().filter(|id| *id > 0) {
            match self.fetch::<GatewayAnswer>(&format!("/api/gateways/{id}")) {
                Ok(GatewayAnswer { gateway: found, .. }) => {
                    let called = self.gateways()?.into_iter().find(|other| other.name == named && other.id != found.id);
                    let Some(called) = called else { return Ok(found) };
                    let (name, other) = (plain(&found.name), called.id);
                    let sentence = format!("{named} is the id of {name} and the name of gateway {other}.");
                    return Err(
                        CliError::new(sentence).cure(format!("Name one by what only it is: {name} or {other}."))
                    );
                }
                Err(error) if error.is_code("gateway_not_found") => {}
                Err(error) => return Err(error),
            }
        }
        self.gateways()?.into_iter().find(|gateway| gateway.name == named).ok_or_else(|| {
            CliError::new(format!("No gateway is called {}, and none has this id.", plain(named)))
                .cure("`gatewarden gateways list` shows all.")
        })
    }

    /// The id of a gateway by its name or id.
    pub(super) fn gateway_id(&self, named: &str) -> Result<i64, CliError> {
        Ok(self.gateway(named)?.id)
    }

    /// The same where one may be named.
    pub(super) fn maybe_gateway_id(&self, named: Option<&str>) -> Result<Option<i64>, CliError> {
        named.map(|named| self.gateway_id(named)).transpose()
    }

    /// Prints an answer: as it came with `--json`, else as `people` puts it.
    pub(super) fn show<T: DeserializeOwned>(
        &self,
        answer: &Answer<T>,
        people: impl FnOnce(&T) -> String,
    ) -> Result<u8, CliError> {
        if self.output.is_json() {
            print(&answer.text);
        } else {
            let text = people(&self.read(answer)?);
            if !text.is_empty() {
                print(&text);
            }
        }
        Ok(EXIT_OK)
    }

    /// Prints a list: its elements are in `field` of the answer.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        answer: &Answer<T>,
        field: &str,
        table: impl FnOnce(&T) -> Table,
    ) -> Result<u8, CliError> {
        if !self.output.is_json_lines() {
            return self.show(answer, |list| table(list).shown(self.output));
        }
        let list: Value = self.read(&Answer::of(answer.text.clone()))?;
        let rows = list.get(field).and_then(Value::as_array).into_iter().flatten().map(Value::to_string);
        let lines = rows.collect::<Vec<_>>().join("\n");
        if !lines.is_empty() {
            print(&lines);
        }
        Ok(EXIT_OK)
    }

    /// Says that a change went well, unless nobody wants to know; with `--json` the answer itself.
    pub(super) fn done<T: DeserializeOwned>(
        &self,
        answer: &Answer<T>,
        people: impl FnOnce(&T) -> String,
    ) -> Result<u8, CliError> {
        if self.output.is_quiet() { Ok(EXIT_OK) } else { self.show(answer, |said| plain(&people(said))) }
    }

    /// Says what the daemon finds worth knowing.
    pub(super) fn warn(&self, warning: Option<&str>) {
        if let Some(warning) = warning.filter(|_| !self.output.is_quiet()) {
            complain(&plain(warning));
        }
    }
}

pub(super) fn now_s() -> i64 {
    Clock::system().wall_ms() / 1000
}

/// A path with a query of those values that there are.
pub(super) fn with_query(path: &str, values: &[(&str, Option<String>)]) -> String {
    let given = values.iter().filter_map(|(name, value)| Some(format!("{name}={}", path_part(value.as_ref()?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// A value as one part of a path.
pub(super) fn path_part(value: &str) -> String {
    url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20")
}

/// `host:port` of a gateway, or its URL, as it can be typed again.
pub(super) fn address_of(host: &str, port: Option<u16>) -> String {
    match port {
        Some(_) if host.contains("://") => host.to_owned(),
        Some(port) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_can_be_typed_again() {
        for (host, port, shown) in [
            ("192.0.2.7", 18789, "192.0.2.7:18789"),
            ("wss://a.example/x", 443, "wss://a.example/x"),
            ("fd00::1", 18789, "[fd00::1]:18789"),
        ] {
            assert_eq!(address_of(host, Some(port)), shown);
        }
    }

    #[test]
    fn a_part_of_a_path_stays_one_part() {
        assert_eq!(path_part("agent:main/x y?\u{e4}%"), "agent%3Amain%2Fx%20y%3F%C3%A4%25");
        assert_eq!(
            with_query("/p", &[("a", None), ("b", Some("x,y".to_owned())), ("c", Some("1".to_owned()))]),
            "/p?b=x%2Cy&c=1"
        );
    }
}
