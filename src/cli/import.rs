//! `gatewarden import FILE`: registers the gateways that another program knows. Says of each what was done, or why not.
//!
//! | file | does |
//! | --- | --- |
//! | `sources` | reads the file: Mission Control's database, openclaw.json, or a list |

mod sources;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use gatewarden_protocol::GatewayAddress;
use serde_json::{Value, json};

use self::sources::Wanted;
use super::client::{Cell, Daemon, DaemonArgs, Table, Tone, Trouble, address_of, number, text};
use super::{EXIT_FAILURE, EXIT_OK, terminal};

/// A refusal for too many requests is waited for, but not for ever.
const LONGEST_WAIT_S: u64 = 120;

/// What comes in, and how.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// The file, - for standard input (a list or openclaw.json)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What kind of file it is
    #[arg(long, value_name = "KIND", default_value = "auto")]
    from: Kind,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Change gateways of the same name to what the file says, in place of skipping them
    #[arg(long)]
    update: bool,
    /// Let the file say which gateway is the configured primary
    #[arg(long)]
    primary: bool,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// By its content
    Auto,
    /// The SQLite database of builderz Mission Control; read only
    MissionControl,
    /// A gateway's own configuration: the gateway of this machine, and the remote one that it names
    Openclaw,
    /// A list in TOML or JSON, such as `export` writes
    List,
}

/// What became of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    name: String,
    address: String,
    result: &'static str,
    reason: String,
}

/// Imports.
pub(super) fn run(args: &ImportArgs) -> u8 {
    args.daemon.run(|daemon| {
        let wanted = sources::read(&args.file, args.from)?;
        let total = wanted.len();
        let mut known = Known::of(&daemon.get("/api/gateways")?.json());
        let mut outcomes = Vec::new();
        for (index, wanted) in wanted.into_iter().enumerate() {
            if index > 0 && index % 50 == 0 && !daemon.output.is_quiet() {
                terminal::complain(&format!("{index} of {total}"));
            }
            outcomes.push(one(daemon, args, &mut known, wanted)?);
        }
        show(daemon, args.dry_run, &outcomes);
        let failed = outcomes.iter().any(|outcome| outcome.result == "failed");
        Ok(if failed { EXIT_FAILURE } else { EXIT_OK })
    })
}

/// What is registered already: id, name, and canonical address.
struct Known(Vec<(i64, String, Option<String>)>);

impl Known {
    fn of(list: &Value) -> Self {
        let rows = list.get("gateways").and_then(Value::as_array).into_iter().flatten();
        Self(
            rows.map(|row| {
                (number(row, "/id").unwrap_or_default(), text(row, "/name").unwrap_or_default(), key_of(row))
            })
            .collect(),
        )
    }

    fn by_name(&self, name: &str) -> Option<&(i64, String, Option<String>)> {
        self.0.iter().find(|(_, known, _)| known == name)
    }

    fn by_key(&self, key: &str) -> Option<&(i64, String, Option<String>)> {
        self.0.iter().find(|(.., known)| known.as_deref() == Some(key))
    }
}

/// The canonical address of a gateway object or of a body for one.
fn key_of(gateway: &Value) -> Option<String> {
    let port = number(gateway, "/port").and_then(|port| u16::try_from(port).ok());
    GatewayAddress::parse(&text(gateway, "/host")?, port).ok().map(|parsed| parsed.address.key())
}

fn one(daemon: &Daemon, args: &ImportArgs, known: &mut Known, wanted: Wanted) -> Result<Outcome, Trouble> {
    let Wanted { mut body, mut remarks, drained } = wanted;
    if !args.primary && body.remove("is_primary") == Some(Value::Bool(true)) {
        remarks.push("not made the primary: --primary does that".to_owned());
    }
    let body = Value::Object(body);
    let name = text(&body, "/name").unwrap_or_default();
    // A URL may hold a secret in its query.
    let address = address_of(&body).split(['?', '#']).next().unwrap_or_default().to_owned();
    let outcome = |result: &'static str, reason: String| {
        let reason = std::iter::once(reason).chain(remarks.iter().cloned());
        let reason = reason.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        Outcome { name: name.clone(), address: address.clone(), result, reason }
    };
    let Some(key) = key_of(&body) else {
        let port = number(&body, "/port").and_then(|port| u16::try_from(port).ok());
        let why = GatewayAddress::parse(&text(&body, "/host").unwrap_or_default(), port).err();
        return Ok(outcome("failed", why.map(|error| error.to_string()).unwrap_or_default()));
    };
    let request = match known.by_name(&name) {
        Some((id, ..)) if args.update => ("PUT", format!("/api/gateways/{id}")),
        Some((.., there)) if there.as_deref() == Some(key.as_str()) => {
            return Ok(outcome("skipped", "is registered already".to_owned()));
        }
        Some(_) => {
            return Ok(outcome("skipped", "another gateway has this name; --update would change it".to_owned()));
        }
        None => match known.by_key(&key) {
            Some((_, there, _)) => return Ok(outcome("skipped", format!("its address is registered as {there}"))),
            None => ("POST", "/api/gateways".to_owned()),
        },
    };
    let adds = request.0 == "POST";
    if args.dry_run {
        // Two of one name in one file are met here as they would be met for good.
        known.0.push((0, name.clone(), Some(key)));
        return Ok(outcome(if adds { "would add" } else { "would update" }, String::new()));
    }
    match patiently(daemon, request.0, &request.1, Some(&body)) {
        Ok(answer) => {
            let id = number(&answer, "/gateway/id").unwrap_or_default();
            known.0.retain(|(known, ..)| *known != id);
            known.0.push((id, name.clone(), Some(key)));
            if drained {
                patiently(daemon, "POST", &format!("/api/gateways/{id}/drain"), None)?;
            }
            Ok(outcome(if adds { "added" } else { "updated" }, String::new()))
        }
        Err(trouble) if trouble.exit_code() == EXIT_FAILURE => {
            Ok(outcome("failed", trouble.to_string().replace('\n', " ")))
        }
        Err(trouble) => Err(trouble),
    }
}

/// A long list meets the limit on requests: it is waited for.
fn patiently(daemon: &Daemon, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
    loop {
        match daemon.call(method, path, body) {
            Ok(answer) => return Ok(answer.json()),
            Err(trouble) => match trouble.retry_after_s().filter(|seconds| *seconds <= LONGEST_WAIT_S) {
                Some(seconds) if trouble.is_code("rate_limited") => {
                    if !daemon.output.is_quiet() {
                        terminal::complain(&format!("too many requests; it goes on in {seconds} s"));
                    }
                    #[expect(clippy::disallowed_methods, reason = "the daemon said how long")]
                    std::thread::sleep(Duration::from_secs(seconds.max(1)));
                }
                _ => return Err(trouble),
            },
        }
    }
}

fn show(daemon: &Daemon, dry_run: bool, outcomes: &[Outcome]) {
    if daemon.output.is_json() {
        let results: Vec<Value> = outcomes
            .iter()
            .map(|outcome| {
                json!({"name": outcome.name, "address": outcome.address, "result": outcome.result, "reason": outcome.reason})
            })
            .collect();
        terminal::print(&json!({"dry_run": dry_run, "results": results}).to_string());
        return;
    }
    let changed = |outcome: &&Outcome| !["skipped", "failed"].contains(&outcome.result);
    if daemon.output.is_quiet() {
        let names: Vec<String> =
            outcomes.iter().filter(changed).map(|outcome| terminal::plain(&outcome.name)).collect();
        if !names.is_empty() {
            terminal::print(&names.join("\n"));
        }
        for outcome in outcomes.iter().filter(|outcome| outcome.result == "failed") {
            terminal::complain(&terminal::plain(&format!("{}: {}", outcome.name, outcome.reason)));
        }
        return;
    }
    let mut table = Table::new(&["NAME", "RESULT", "ADDRESS", "WHY"], "There is no gateway in this file.");
    for outcome in outcomes {
        let tone = match outcome.result {
            "failed" => Tone::Bad,
            "skipped" => Tone::Faint,
            _ => Tone::Good,
        };
        table.row(vec![
            Cell::new(&outcome.name),
            Cell::toned(outcome.result, tone),
            Cell::new(&outcome.address),
            Cell::new(&outcome.reason),
        ]);
    }
    terminal::print(&table.shown(daemon.output));
}
