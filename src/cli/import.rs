//! `gatewarden import FILE`: registers the gateways that another program knows. Says of each what was done, or why not.
//!
//! | file | does |
//! | --- | --- |
//! | `sources` | reads the file: Mission Control's database, openclaw.json, or a list |

#[cfg(test)]
mod fuzz_tests;
mod sources;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use gatewarden_api::gateway_record::{GatewayAnswer, NewGatewayBody};
use gatewarden_api::request::Request as _;
use gatewarden_protocol::GatewayAddress;
use serde::Serialize;
use serde_json::{Value, json};

use self::sources::Wanted;
use super::daemon::{Daemon, DaemonArgs, address_of};
use super::error::CliError;
use super::output::{Tone, complain, plain, print};
use super::table::{Cell, Table};
use super::{EXIT_FAILURE, EXIT_OK, sleep};

/// A refusal for too many requests is waited for, but not for ever.
const MAX_WAIT_S: u64 = 120;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Outcome {
    name: String,
    address: String,
    result: &'static str,
    reason: String,
}

/// A gateway that is registered already. None of them: what a dry run would add.
struct Known {
    id: Option<i64>,
    name: String,
    /// Its canonical address.
    key: Option<String>,
    /// What registers the same again, without its secrets.
    request: Value,
}

/// Imports.
pub(super) fn run(args: &ImportArgs) -> u8 {
    args.daemon.run(|daemon| {
        let wanted = sources::read(&args.file, args.from)?;
        let total = wanted.len();
        let known = daemon.gateways()?.into_iter().map(|gateway| Known {
            id: Some(gateway.id),
            key: key_of(&gateway.host, Some(gateway.port)).ok(),
            name: gateway.name.clone(),
            request: gateway.into_request().json(),
        });
        let mut known: Vec<Known> = known.collect();
        let mut outcomes = Vec::new();
        for (index, wanted) in wanted.into_iter().enumerate() {
            if index > 0 && index % 50 == 0 && !daemon.output.is_quiet() {
                complain(&format!("{index} of {total}"));
            }
            outcomes.push(one(daemon, args, &mut known, wanted)?);
        }
        show(daemon, args.dry_run, &outcomes);
        let failed = outcomes.iter().any(|outcome| outcome.result == "failed");
        Ok(if failed { EXIT_FAILURE } else { EXIT_OK })
    })
}

fn key_of(host: &str, port: Option<u16>) -> Result<String, String> {
    GatewayAddress::parse(host, port).map(|parsed| parsed.address.key()).map_err(|error| error.to_string())
}

fn one(daemon: &Daemon, args: &ImportArgs, known: &mut Vec<Known>, wanted: Wanted) -> Result<Outcome, CliError> {
    let Wanted { name, host, body, mut remarks } = wanted;
    let body = body.map(|mut body| {
        let is_so = |known: &Known| known.name == name && known.request.get("is_primary") == Some(&Value::Bool(true));
        if !args.primary && body.settings.is_primary.take() == Some(true) && !known.iter().any(is_so) {
            remarks.push("not made the primary: --primary does that".to_owned());
        }
        body
    });
    let port = body.as_ref().ok().and_then(|body| body.settings.port);
    // A URL may hold a secret in its query.
    let address = address_of(&host, port).split(['?', '#']).next().unwrap_or_default().to_owned();
    let outcome = |result: &'static str, reason: String| {
        let reason = std::iter::once(reason).chain(remarks.iter().cloned());
        let reason = reason.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        Outcome { name: name.clone(), address: address.clone(), result, reason }
    };
    let (body, key) = match body.and_then(|body| Ok((body, key_of(&host, port)?))) {
        Ok(read) => read,
        Err(reason) => return Ok(outcome("failed", reason)),
    };
    let changes = match known.iter().find(|known| known.name == name) {
        Some(known)
            if args.update && known.key.as_deref() == Some(key.as_str()) && says_the_same(&body, &known.request) =>
        {
            return Ok(outcome("skipped", "nothing differs".to_owned()));
        }
        Some(known) if args.update => Some(known.id.unwrap_or_default()),
        Some(known) => {
            let same = known.key.as_deref() == Some(key.as_str());
            let why =
                if same { "is registered already" } else { "another gateway has this name; --update would change it" };
            return Ok(outcome("skipped", why.to_owned()));
        }
        None => match known.iter().find(|known| known.key.as_deref() == Some(key.as_str())) {
            Some(known) => return Ok(outcome("skipped", format!("its address is registered as {}", known.name))),
            None => None,
        },
    };
    if args.dry_run {
        // Two of one name in one file are met here as they would be met for good.
        known.retain(|known| known.name != name);
        known.push(Known { id: None, name: name.clone(), key: Some(key), request: body.json() });
        return Ok(outcome(if changes.is_none() { "would add" } else { "would update" }, String::new()));
    }
    let (method, path, done) = match changes {
        None => ("POST", "/api/gateways".to_owned(), "added"),
        Some(id) => ("PUT", format!("/api/gateways/{id}"), "updated"),
    };
    match patiently(daemon, method, &path, &body) {
        Ok(GatewayAnswer { gateway, .. }) => {
            known.retain(|known| known.id != Some(gateway.id));
            known.push(Known { id: Some(gateway.id), name: name.clone(), key: Some(key), request: body.json() });
            Ok(outcome(done, String::new()))
        }
        // The file is what has to be corrected, not an option.
        Err(error) if error.is_code("validation_failed") => Ok(outcome("failed", error.sentence().to_owned())),
        Err(error) if error.is_of_one() => Ok(outcome("failed", error.to_string().replace('\n', " "))),
        Err(error) => Err(error),
    }
}

/// Whether a gateway at the same address has all these settings already. Secrets aren't shown, so they always may differ.
fn says_the_same(body: &NewGatewayBody, present: &Value) -> bool {
    let wanted = body.json();
    let mut fields = wanted.as_object().into_iter().flatten().filter(|(name, _)| *name != "host" && *name != "port");
    fields.all(|(name, value)| present.get(name) == Some(value))
}

/// A long list meets the limit on requests: it is waited for.
fn patiently(daemon: &Daemon, method: &str, path: &str, body: &NewGatewayBody) -> Result<GatewayAnswer, CliError> {
    loop {
        match daemon.send(method, path, body) {
            Ok(answer) => return daemon.read(&answer),
            Err(error) => match error.retry_after_s.filter(|seconds| *seconds <= MAX_WAIT_S) {
                Some(seconds) if error.is_code("rate_limited") => {
                    if !daemon.output.is_quiet() {
                        complain(&format!("too many requests; it goes on in {seconds} s"));
                    }
                    sleep(Duration::from_secs(seconds.max(1)));
                }
                _ => return Err(error),
            },
        }
    }
}

fn show(daemon: &Daemon, dry_run: bool, outcomes: &[Outcome]) {
    if daemon.output.is_json() {
        return print(&json!({"dry_run": dry_run, "results": outcomes}).to_string());
    }
    if daemon.output.is_quiet() {
        let changed = outcomes.iter().filter(|outcome| !["skipped", "failed"].contains(&outcome.result));
        let names: Vec<String> = changed.map(|outcome| plain(&outcome.name)).collect();
        if !names.is_empty() {
            print(&names.join("\n"));
        }
        for outcome in outcomes.iter().filter(|outcome| outcome.result == "failed") {
            complain(&plain(&format!("{}: {}", outcome.name, outcome.reason)));
        }
        return;
    }
    let row = |outcome: &Outcome| {
        let tone = match outcome.result {
            "failed" => Tone::Bad,
            "skipped" => Tone::Faint,
            _ => Tone::Good,
        };
        vec![
            Cell::new(&outcome.name),
            Cell::toned(outcome.result, tone),
            Cell::new(&outcome.address),
            Cell::new(&outcome.reason),
        ]
    };
    let heading = ["NAME", "RESULT", "ADDRESS", "WHY"];
    let table = Table::of(&heading, outcomes.iter().map(row), "There is no gateway in this file.")
        .cutting(&[("NAME", 16), ("ADDRESS", 20)])
        .below("WHY");
    print(&table.shown(daemon.output));
}
