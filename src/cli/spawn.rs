//! `gatewarden spawn` and `gatewarden spawns …`: give gateways work, and see what became of it.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::client::{Cell, Daemon, DaemonArgs, Table, Trouble, at, number, path_part, read_text, status_tone, text};
use super::{EXIT_FAILURE, EXIT_OK, terminal};

/// Between two looks at a spawn.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is to be done, and where.
#[derive(Debug, Args)]
pub(super) struct SpawnArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// What an agent is to do, - for standard input
    #[arg(value_name = "TASK", required_unless_present = "command", conflicts_with = "command")]
    task: Option<String>,
    /// A program on the gateway's host in place of a task; its arguments come after --
    #[arg(long, value_name = "PROGRAM")]
    command: Option<String>,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS", requires = "command")]
    args: Vec<String>,
    /// A variable of the program; without a value the one of this shell is passed on, which nobody else can read
    #[arg(long = "env", value_name = "NAME[=VALUE]", requires = "command")]
    environment: Vec<String>,
    /// Working directory of the program
    #[arg(long, value_name = "DIR", requires = "command")]
    cwd: Option<String>,
    /// The agent; the gateway's default agent where none is named
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// The model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// A label for people
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// The session to run in; a new one where none is named
    #[arg(long, value_name = "KEY")]
    session: Option<String>,
    /// After so many seconds the gateway should give up
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// The gateway that must take it
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
    /// A label that the gateway must have; several may be given
    #[arg(long = "selector", value_name = "NAME=VALUE")]
    selector: Vec<String>,
    /// Makes it safe to ask again where the answer was lost
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait for its end and say how it goes; ends with 0 only if it was completed
    #[arg(long)]
    wait: bool,
}

/// What became of work.
#[derive(Debug, Args)]
pub(super) struct SpawnsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: SpawnsCommand,
}

#[derive(Debug, Subcommand)]
enum SpawnsCommand {
    /// List them, newest first
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// After so many
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: u64,
    },
    /// Show everything about one
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// Gives work.
pub(super) fn run(args: &SpawnArgs) -> u8 {
    args.daemon.run(|daemon| {
        let body = body(daemon, args)?;
        let headers: Vec<_> = args.idempotency_key.iter().map(|key| ("Idempotency-Key", key.as_str())).collect();
        let answer = daemon.call_with("POST", "/api/spawn", Some(&body), &headers)?;
        let said = answer.json();
        let id = text(&said, "/spawnId").unwrap_or_default();
        if args.wait {
            return wait(daemon, &id);
        }
        daemon.show(&answer, |said| {
            if daemon.output.is_quiet() {
                return id.clone();
            }
            let session = text(said, "/sessionInfo").map(|key| format!(", session {key}")).unwrap_or_default();
            terminal::plain(&format!(
                "{id}: {} by {} ({}){session}",
                text(said, "/status").unwrap_or_default(),
                text(said, "/gateway/name").unwrap_or_default(),
                text(said, "/route").unwrap_or_default()
            ))
        });
        Ok(EXIT_OK)
    })
}

fn body(daemon: &Daemon, args: &SpawnArgs) -> Result<Value, Trouble> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("task", args.task.as_deref().map(read_text).transpose()?.map(Value::from));
    for (name, value) in [
        ("command", &args.command),
        ("cwd", &args.cwd),
        ("agent", &args.agent),
        ("model", &args.model),
        ("label", &args.label),
        ("sessionKey", &args.session),
    ] {
        put(name, value.clone().map(Value::from));
    }
    put("args", (!args.args.is_empty()).then(|| args.args.clone().into()));
    put("timeoutSeconds", args.timeout.map(Value::from));
    put("gateway_id", args.gateway.as_deref().map(|named| daemon.gateway_id(named)).transpose()?.map(Value::from));
    let mut environment = Map::new();
    for variable in &args.environment {
        let (name, value) = match variable.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let value = std::env::var(variable)
                    .map_err(|_| Trouble::usage(format!("--env {variable}: this shell has no such variable.")))?;
                (variable.as_str(), value)
            }
        };
        environment.insert(name.to_owned(), value.into());
    }
    put("env", (!environment.is_empty()).then_some(Value::Object(environment)));
    let mut selector = Map::new();
    for label in &args.selector {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| Trouble::usage(format!("--selector {label}: it must be NAME=VALUE.")))?;
        selector.insert(name.to_owned(), value.into());
    }
    put("selector", (!selector.is_empty()).then_some(Value::Object(selector)));
    Ok(Value::Object(body))
}

/// Looks until it has ended.
fn wait(daemon: &Daemon, id: &str) -> Result<u8, Trouble> {
    let mut said = String::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let answer = daemon.get(&format!("/api/spawn/{}", path_part(id)))?;
        let spawn = answer.json();
        let status = text(&spawn, "/status").unwrap_or_default();
        if status != said && !daemon.output.is_quiet() && !daemon.output.is_json() {
            let gateway = text(&spawn, "/gateway/name").map(|name| format!(" on {name}")).unwrap_or_default();
            terminal::complain_as_is(&terminal::plain(&format!("{id}: {status}{gateway}")));
        }
        said.clone_from(&status);
        if ["completed", "failed", "killed", "lost"].contains(&status.as_str()) {
            daemon.show(&answer, |_| if daemon.output.is_quiet() { status.clone() } else { page(&spawn) });
            return Ok(if status == "completed" { EXIT_OK } else { EXIT_FAILURE });
        }
        #[expect(clippy::disallowed_methods, reason = "between two looks at another process's state")]
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Lists or shows.
pub(super) fn look(args: &SpawnsArgs) -> u8 {
    args.daemon.run(|daemon| {
        match &args.command {
            SpawnsCommand::List { limit, offset } => {
                let answer = daemon.get(&format!("/api/spawn?limit={limit}&offset={offset}"))?;
                daemon.show(&answer, |seen| table(seen).shown(daemon.output));
            }
            SpawnsCommand::Show { id } => {
                let answer = daemon.get(&format!("/api/spawn/{}", path_part(id)))?;
                daemon.show(&answer, |spawn| {
                    if daemon.output.is_quiet() { text(spawn, "/status").unwrap_or_default() } else { page(spawn) }
                });
            }
        }
        Ok(EXIT_OK)
    })
}

fn table(seen: &Value) -> Table {
    let mut table = Table::new(&["ID", "STATUS", "GATEWAY", "AGENT", "ASKED FOR", "TASK"], "No work was given yet.");
    for row in seen.get("history").and_then(Value::as_array).into_iter().flatten() {
        let status = text(row, "/status").unwrap_or_default();
        let task: String = text(row, "/task").unwrap_or_default().chars().take(60).collect();
        table.row(vec![
            Cell::new(text(row, "/spawnId").unwrap_or_default()),
            Cell::toned(&status, status_tone(&status)),
            Cell::maybe(text(row, "/gateway/name")),
            Cell::maybe(text(row, "/agent")),
            Cell::maybe(number(row, "/createdAt").map(|ms| at(ms / 1000))),
            Cell::new(task.lines().next().unwrap_or_default()),
        ]);
    }
    table
}

fn page(spawn: &Value) -> String {
    let mut lines = Vec::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<10}{value}"));
        }
    };
    for (name, field) in [
        ("id", "/spawnId"),
        ("status", "/status"),
        ("reason", "/reason"),
        ("error", "/error"),
        ("gateway", "/gateway/name"),
        ("route", "/route"),
        ("agent", "/agent"),
        ("model", "/model"),
        ("label", "/label"),
        ("session", "/sessionKey"),
        ("run", "/runId"),
        ("task", "/task"),
    ] {
        put(name, text(spawn, field));
    }
    put("result", spawn.get("result").filter(|result| !result.is_null()).map(ToString::to_string));
    for (name, field) in [("asked for", "/createdAt"), ("changed", "/updatedAt"), ("ended", "/completedAt")] {
        put(name, number(spawn, field).map(|ms| at(ms / 1000)));
    }
    terminal::plain_lines(&lines.join("\n"))
}
