//! `gatewarden agents …` and `gatewarden connections …`: who work is addressed to, and the tools that connect by themselves.

use clap::{Args, Subcommand};
use gatewarden_actors::clock::Clock;
use serde_json::{Map, Value, json};

use super::client::{Cell, Daemon, DaemonArgs, Table, Trouble, ago, at, number, path_part, status_tone, text};
use super::{EXIT_OK, terminal};

/// Agents that this daemon knows.
#[derive(Debug, Args)]
pub(super) struct AgentsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
enum AgentsCommand {
    /// List them by name
    List(ListArgs),
    /// Show everything about one
    Show(OneArgs),
    /// Make one known
    Add(AddArgs),
    /// Change one
    Update(UpdateArgs),
    /// Forget some
    Rm(SomeArgs),
    /// Read the agents of a gateway, or of the acting primary, and make them known
    Sync(SyncArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those with this status
    #[arg(long, value_name = "STATUS", value_parser = ["offline", "online", "idle", "busy", "error"])]
    status: Option<String>,
    /// Only those with this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Only those of this gateway
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
    /// Only those with this in their name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// From 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    page: u64,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// Name or id
    #[arg(value_name = "AGENT")]
    agent: String,
}

#[derive(Debug, Args)]
struct SomeArgs {
    /// Names or ids
    #[arg(value_name = "AGENT", required = true)]
    agents: Vec<String>,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Its name, not in use yet
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    fields: FieldArgs,
}

#[derive(Debug, Args)]
struct UpdateArgs {
    /// Name or id
    #[arg(value_name = "AGENT")]
    agent: String,
    /// A new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// It belongs to no gateway
    #[arg(long, conflicts_with = "gateway")]
    no_gateway: bool,
    #[command(flatten)]
    fields: FieldArgs,
}

#[derive(Debug, Args)]
struct FieldArgs {
    /// Its role in its owner's words
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Its status
    #[arg(long, value_name = "STATUS", value_parser = ["offline", "online", "idle", "busy", "error"])]
    status: Option<String>,
    /// The gateway that it belongs to
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
    /// The gateway that its work goes to first
    #[arg(long, value_name = "GATEWAY")]
    prefer: Option<String>,
}

#[derive(Debug, Args)]
struct SyncArgs {
    /// The gateway; the acting primary where none is named
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
}

/// Tools that connect by themselves.
#[derive(Debug, Args)]
pub(super) struct ConnectionsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: ConnectionsCommand,
}

#[derive(Debug, Subcommand)]
enum ConnectionsCommand {
    /// List those that are open
    List {
        /// Those that ended in the last 30 days, too
        #[arg(long)]
        all: bool,
    },
    /// Close some
    Close {
        /// Their ids
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}

/// Carries out a command.
pub(super) fn run(args: &AgentsArgs) -> u8 {
    args.daemon.run(|daemon| match &args.command {
        AgentsCommand::List(args) => list(daemon, args),
        AgentsCommand::Show(args) => show(daemon, &args.agent),
        AgentsCommand::Add(args) => add(daemon, args),
        AgentsCommand::Update(args) => update(daemon, args),
        AgentsCommand::Rm(args) => remove(daemon, &args.agents),
        AgentsCommand::Sync(args) => sync(daemon, args),
    })
}

fn list(daemon: &Daemon, args: &ListArgs) -> Result<u8, Trouble> {
    let mut path = format!("/api/agents?limit={}&page={}", args.limit, args.page);
    for (name, value) in [("status", &args.status), ("role", &args.role), ("search", &args.search)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", path_part(value)));
        }
    }
    if let Some(named) = &args.gateway {
        path.push_str(&format!("&gateway_id={}", daemon.gateway_id(named)?));
    }
    let answer = daemon.get(&path)?;
    daemon.show(&answer, |seen| {
        let mut table = Table::new(
            &["NAME", "ID", "STATUS", "ROLE", "GATEWAY", "SOURCE", "SEEN"],
            "There is no agent of this kind.",
        );
        let now_s = Clock::system().wall_ms() / 1000;
        for row in seen.get("agents").and_then(Value::as_array).into_iter().flatten() {
            let status = text(row, "/status").unwrap_or_default();
            table.row(vec![
                Cell::new(text(row, "/name").unwrap_or_default()),
                Cell::maybe(number(row, "/id")),
                Cell::toned(&status, status_tone(&status)),
                Cell::maybe(text(row, "/role")),
                Cell::maybe(number(row, "/gateway_id")),
                Cell::maybe(text(row, "/source")),
                Cell::maybe(number(row, "/last_seen").map(|then| format!("{} ago", ago(now_s, then)))),
            ]);
        }
        table.shown(daemon.output)
    });
    Ok(EXIT_OK)
}

fn show(daemon: &Daemon, agent: &str) -> Result<u8, Trouble> {
    let answer = daemon.get(&format!("/api/agents/{}", path_part(agent)))?;
    daemon.show(&answer, |seen| {
        let agent = seen.get("agent").unwrap_or(&Value::Null);
        if daemon.output.is_quiet() {
            return text(agent, "/status").unwrap_or_default();
        }
        let mut lines = Vec::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                lines.push(format!("{name:<14}{value}"));
            }
        };
        for (name, field) in [
            ("name", "/name"),
            ("role", "/role"),
            ("status", "/status"),
            ("source", "/source"),
            ("last activity", "/last_activity"),
        ] {
            put(name, text(agent, field));
        }
        put("id", number(agent, "/id").map(|id| id.to_string()));
        put("gateway", number(agent, "/gateway_id").map(|id| id.to_string()));
        put("last seen", number(agent, "/last_seen").map(at));
        put("changed", number(agent, "/updated_at").map(at));
        put(
            "config",
            agent
                .get("config")
                .filter(|config| config.as_object().is_some_and(|map| !map.is_empty()))
                .map(ToString::to_string),
        );
        terminal::plain_lines(&lines.join("\n"))
    });
    Ok(EXIT_OK)
}

fn put_fields(daemon: &Daemon, args: &FieldArgs, config: Value, body: &mut Map<String, Value>) -> Result<(), Trouble> {
    for (name, value) in [("role", &args.role), ("status", &args.status)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.clone().into());
        }
    }
    if let Some(named) = &args.gateway {
        body.insert("gateway_id".to_owned(), daemon.gateway_id(named)?.into());
    }
    if let Some(preferred) = &args.prefer {
        // The rest of it stays: it is replaced as a whole.
        let mut config = config;
        if !config.is_object() {
            config = json!({});
        }
        if let Some(fields) = config.as_object_mut() {
            let section = fields.entry("gateway_config").or_insert_with(|| json!({}));
            if let Some(section) = section.as_object_mut() {
                section.insert("preferred_gateway".to_owned(), preferred.clone().into());
            }
        }
        body.insert("config".to_owned(), config);
    }
    Ok(())
}

fn warn(daemon: &Daemon, said: &Value) {
    if let Some(warning) = text(said, "/warning").filter(|_| !daemon.output.is_quiet()) {
        terminal::complain(&terminal::plain(&warning));
    }
}

fn add(daemon: &Daemon, args: &AddArgs) -> Result<u8, Trouble> {
    let mut body = Map::new();
    body.insert("name".to_owned(), args.name.clone().into());
    put_fields(daemon, &args.fields, json!({}), &mut body)?;
    let answer = daemon.call("POST", "/api/agents", Some(&Value::Object(body)))?;
    warn(daemon, &answer.json());
    daemon.done(&answer, |said| {
        terminal::plain(&format!("added {} with id {}", args.name, number(said, "/agent/id").unwrap_or_default()))
    });
    Ok(EXIT_OK)
}

fn update(daemon: &Daemon, args: &UpdateArgs) -> Result<u8, Trouble> {
    let path = format!("/api/agents/{}", path_part(&args.agent));
    let config = match &args.fields.prefer {
        Some(_) => daemon.get(&path)?.json().pointer("/agent/config").cloned().unwrap_or_default(),
        None => Value::Null,
    };
    let mut body = Map::new();
    if let Some(name) = &args.name {
        body.insert("name".to_owned(), name.clone().into());
    }
    if args.no_gateway {
        body.insert("gateway_id".to_owned(), Value::Null);
    }
    put_fields(daemon, &args.fields, config, &mut body)?;
    if body.is_empty() {
        return Err(Trouble::usage("There is nothing to change: give at least one of the options."));
    }
    let answer = daemon.call("PUT", &path, Some(&Value::Object(body)))?;
    warn(daemon, &answer.json());
    daemon.done(&answer, |said| terminal::plain(&format!("changed {}", text(said, "/agent/name").unwrap_or_default())));
    Ok(EXIT_OK)
}

fn remove(daemon: &Daemon, agents: &[String]) -> Result<u8, Trouble> {
    for agent in agents {
        let answer = daemon.call("DELETE", &format!("/api/agents/{}", path_part(agent)), None)?;
        daemon.done(&answer, |_| terminal::plain(&format!("removed {agent}")));
    }
    Ok(EXIT_OK)
}

fn sync(daemon: &Daemon, args: &SyncArgs) -> Result<u8, Trouble> {
    let mut body = Map::new();
    if let Some(named) = &args.gateway {
        body.insert("gateway_id".to_owned(), daemon.gateway_id(named)?.into());
    }
    let answer = daemon.call("POST", "/api/agents/sync", Some(&Value::Object(body)))?;
    daemon.done(&answer, |said| {
        let count = |name: &str| number(said, name).unwrap_or_default();
        format!(
            "{} agents read: {} are new, {} changed, {} belong to somebody else",
            count("/synced"),
            count("/created"),
            count("/updated"),
            count("/skipped")
        )
    });
    Ok(EXIT_OK)
}

/// Lists or closes direct connections.
pub(super) fn connections(args: &ConnectionsArgs) -> u8 {
    args.daemon.run(|daemon| {
        match &args.command {
            ConnectionsCommand::List { all } => {
                let path = if *all { "/api/connect" } else { "/api/connect?status=connected" };
                let answer = daemon.get(path)?;
                daemon.show(&answer, |seen| connection_table(seen).shown(daemon.output));
            }
            ConnectionsCommand::Close { ids } => {
                for id in ids {
                    let answer = daemon.call("DELETE", "/api/connect", Some(&json!({"connection_id": id})))?;
                    daemon.done(&answer, |_| terminal::plain(&format!("closed {id}")));
                }
            }
        }
        Ok(EXIT_OK)
    })
}

fn connection_table(seen: &Value) -> Table {
    let heading = ["ID", "TOOL", "AGENT", "STATUS", "LAST HEARTBEAT", "ENDED BECAUSE"];
    let mut table = Table::new(&heading, "No tool is connected.");
    let now_s = Clock::system().wall_ms() / 1000;
    for row in seen.get("connections").and_then(Value::as_array).into_iter().flatten() {
        let status = text(row, "/status").unwrap_or_default();
        let tool = match (text(row, "/tool_name"), text(row, "/tool_version")) {
            (Some(name), Some(version)) => format!("{name} {version}"),
            (name, _) => name.unwrap_or_default(),
        };
        table.row(vec![
            Cell::new(text(row, "/connection_id").unwrap_or_default()),
            Cell::new(tool),
            Cell::maybe(text(row, "/agent_name")),
            Cell::toned(&status, status_tone(&status)),
            Cell::maybe(number(row, "/last_heartbeat").map(|then| format!("{} ago", ago(now_s, then)))),
            Cell::maybe(text(row, "/end_reason")),
        ]);
    }
    table
}
