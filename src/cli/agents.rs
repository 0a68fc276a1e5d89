//! `gatewarden agents …` and `gatewarden connections …`: who work is addressed to, and the tools that connect by themselves.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use gatewarden_api::agents::{
    Agent, AgentAnswer, AgentFields, AgentList, Connection, ConnectionList, DisconnectBody, Disconnected, NewAgentBody,
    SyncAnswer, SyncBody,
};
use gatewarden_api::gateways::Deleted;
use serde_json::{Map, Value, json};

use super::EXIT_OK;
use super::confirmation::YesArgs;
use super::daemon::{Daemon, OfDaemon, now_s, path_part, some_change, with_query};
use super::error::CliError;
use super::output::{Details, ago, at, counted};
use super::table::{Cell, Table};

/// Agents that this daemon knows.
#[derive(Debug, Subcommand)]
pub(super) enum AgentsCommand {
    /// List them by name
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show everything about one
    Show(OneArgs),
    /// Make one known
    Add(AddArgs),
    /// Change one
    Update(UpdateArgs),
    /// Forget some
    Rm(RemoveArgs),
    /// Read the agents of a gateway, or of the acting primary, and make them known
    Sync(SyncArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
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
    #[arg(long, short = 'n', value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// From 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    page: u64,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// Name or id
    #[arg(value_name = "AGENT")]
    agent: String,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Names or ids
    #[arg(value_name = "AGENT", required = true)]
    agents: Vec<String>,
    #[command(flatten)]
    yes: YesArgs,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Its name, not in use yet
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    fields: FieldArgs,
}

#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
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
pub(super) struct SyncArgs {
    /// The gateway; the acting primary where none is named
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
}

/// Tools that connect by themselves.
#[derive(Debug, Subcommand)]
pub(super) enum ConnectionsCommand {
    /// List those that are open
    #[command(visible_alias = "ls")]
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
pub(super) fn run(args: &OfDaemon<AgentsCommand>) -> u8 {
    args.run(|daemon, command| match command {
        AgentsCommand::List(args) => list(daemon, args),
        AgentsCommand::Show(args) => {
            let answer = daemon.get(&path_of(&args.agent))?;
            daemon.show(&answer, |AgentAnswer { agent, .. }| match daemon.output.is_quiet() {
                true => agent.status.clone(),
                false => page(agent, &gateway_names(daemon)),
            })
        }
        AgentsCommand::Add(args) => add(daemon, args),
        AgentsCommand::Update(args) => update(daemon, args),
        AgentsCommand::Rm(args) => {
            args.yes.confirm("Forget", "the agent", &args.agents)?;
            for agent in &args.agents {
                let answer = daemon.call("DELETE", &path_of(agent), None).map_err(|error| error.about(agent))?;
                daemon.done(&answer, |_: &Deleted| format!("removed {agent}"))?;
            }
            Ok(EXIT_OK)
        }
        AgentsCommand::Sync(args) => sync(daemon, args),
    })
}

fn path_of(agent: &str) -> String {
    format!("/api/agents/{}", path_part(agent))
}

fn list(daemon: &Daemon, args: &ListArgs) -> Result<u8, CliError> {
    let query = [
        ("limit", Some(args.limit.to_string())),
        ("page", Some(args.page.to_string())),
        ("status", args.status.clone()),
        ("role", args.role.clone()),
        ("search", args.search.clone()),
        ("gateway_id", daemon.maybe_gateway_id(args.gateway.as_deref())?.map(|id| id.to_string())),
    ];
    let answer = daemon.get(&with_query("/api/agents", &query))?;
    let names = gateway_names(daemon);
    daemon.list(&answer, "agents", |list: &AgentList| {
        let now_s = now_s();
        let row = |agent: &Agent| {
            vec![
                Cell::new(&agent.name),
                Cell::new(agent.id.to_string()),
                Cell::status(&agent.status),
                Cell::maybe(Some(&agent.role)),
                Cell::maybe(agent.gateway_id.map(|id| name_of(id, &names))),
                Cell::maybe(Some(&agent.source)),
                Cell::maybe(agent.last_seen.map(|then| format!("{} ago", ago(now_s, then)))),
            ]
        };
        let heading = ["NAME", "ID", "STATUS", "ROLE", "GATEWAY", "SOURCE", "SEEN"];
        Table::of(&heading, list.agents.iter().map(row), "No agent was found.")
            .cutting(&[("NAME", 16), ("ROLE", 12)])
            .leaving_out(&["SOURCE", "SEEN", "ID"])
    })
}

/// What people call gateways; nothing where only ids are shown anyway.
fn gateway_names(daemon: &Daemon) -> BTreeMap<i64, String> {
    let gateways = if daemon.output.is_for_people() { daemon.gateways().unwrap_or_default() } else { Vec::new() };
    gateways.into_iter().map(|gateway| (gateway.id, gateway.name)).collect()
}

fn name_of(id: i64, names: &BTreeMap<i64, String>) -> String {
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

fn page(agent: &Agent, names: &BTreeMap<i64, String>) -> String {
    let config = agent.config.as_object().filter(|config| !config.is_empty()).map(|_| agent.config.to_string());
    Details::new(14)
        .put("name", &agent.name)
        .put("role", &agent.role)
        .put("status", &agent.status)
        .put("source", &agent.source)
        .maybe("last activity", agent.last_activity.as_deref())
        .put("id", agent.id)
        .maybe("gateway", agent.gateway_id.map(|id| name_of(id, names)))
        .maybe("last seen", agent.last_seen.map(at))
        .put("changed", at(agent.updated_at))
        .maybe("config", config)
        .shown()
}

/// A configuration, which is replaced as a whole, with another preferred gateway.
fn preferring(mut config: Map<String, Value>, preferred: &str) -> Map<String, Value> {
    let section = config.entry("gateway_config").or_insert_with(|| json!({}));
    if let Some(section) = section.as_object_mut() {
        section.insert("preferred_gateway".to_owned(), preferred.into());
    }
    config
}

fn add(daemon: &Daemon, args: &AddArgs) -> Result<u8, CliError> {
    let FieldArgs { role, status, gateway, prefer } = &args.fields;
    let body = NewAgentBody {
        name: args.name.clone(),
        role: role.clone(),
        status: status.clone(),
        gateway_id: daemon.maybe_gateway_id(gateway.as_deref())?,
        config: prefer.as_deref().map(|preferred| preferring(Map::new(), preferred)),
    };
    let answer = daemon.send("POST", "/api/agents", &body)?;
    daemon.warn(daemon.read::<AgentAnswer>(&answer)?.warning.as_deref());
    daemon.done(&answer, |said| format!("added {} with id {}", args.name, said.agent.id))
}

fn update(daemon: &Daemon, args: &UpdateArgs) -> Result<u8, CliError> {
    let path = path_of(&args.agent);
    let FieldArgs { role, status, gateway, prefer } = &args.fields;
    let stored =
        || Ok::<_, CliError>(daemon.fetch::<AgentAnswer>(&path)?.agent.config.as_object().cloned().unwrap_or_default());
    let prefer = prefer.as_deref().map(|preferred| Ok::<_, CliError>(preferring(stored()?, preferred)));
    let gateway = daemon.maybe_gateway_id(gateway.as_deref())?;
    let fields = some_change(AgentFields {
        name: args.name.clone(),
        role: role.clone(),
        status: status.clone(),
        gateway_id: (gateway.is_some() || args.no_gateway).then_some(gateway),
        config: prefer.transpose()?,
        ..AgentFields::default()
    })?;
    let answer = daemon.send("PUT", &path, &fields)?;
    daemon.warn(daemon.read::<AgentAnswer>(&answer)?.warning.as_deref());
    daemon.done(&answer, |said| format!("changed {}", said.agent.name))
}

fn sync(daemon: &Daemon, args: &SyncArgs) -> Result<u8, CliError> {
    let body = SyncBody { gateway_id: daemon.maybe_gateway_id(args.gateway.as_deref())? };
    let answer = daemon.send("POST", "/api/agents/sync", &body)?;
    daemon.done(&answer, |said: &SyncAnswer| {
        format!(
            "{} read: {} new, {} changed, {} left alone as somebody else's",
            counted(said.synced as u64, "agent"),
            said.created,
            said.updated,
            said.skipped
        )
    })
}

/// Lists or closes direct connections.
pub(super) fn connections(args: &OfDaemon<ConnectionsCommand>) -> u8 {
    args.run(|daemon, command| match command {
        ConnectionsCommand::List { all } => {
            let path = if *all { "/api/connect" } else { "/api/connect?status=connected" };
            daemon.list(&daemon.get(path)?, "connections", connection_table)
        }
        ConnectionsCommand::Close { ids } => {
            for id in ids {
                let answer =
                    daemon.send("DELETE", "/api/connect", &DisconnectBody { connection_id: Some(id.clone()) })?;
                daemon.done(&answer, |_: &Disconnected| format!("closed {id}"))?;
            }
            Ok(EXIT_OK)
        }
    })
}

fn connection_table(list: &ConnectionList) -> Table {
    let now_s = now_s();
    let row = |connection: &Connection| {
        let tool = match &connection.tool_version {
            Some(version) => format!("{} {version}", connection.tool_name),
            None => connection.tool_name.clone(),
        };
        vec![
            Cell::new(&connection.connection_id),
            Cell::new(tool),
            Cell::maybe(Some(&connection.agent_name)),
            Cell::status(&connection.status),
            Cell::maybe(connection.last_heartbeat.map(|then| format!("{} ago", ago(now_s, then)))),
            Cell::maybe(connection.end_reason.as_ref()),
        ]
    };
    let heading = ["ID", "TOOL", "AGENT", "STATUS", "LAST HEARTBEAT", "ENDED BECAUSE"];
    Table::of(&heading, list.connections.iter().map(row), "No tool is connected.")
        .cutting(&[("TOOL", 12), ("AGENT", 12)])
        .leaving_out(&["LAST HEARTBEAT", "TOOL"])
        .below("ENDED BECAUSE")
}
