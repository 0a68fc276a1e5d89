//! `gatewarden sessions …` and `gatewarden control`: the sessions of all gateways.

use clap::{Args, Subcommand, ValueEnum};
use gatewarden_actors::clock::Clock;
use serde_json::{Map, Value, json};

use super::client::{
    Cell, Daemon, DaemonArgs, Table, Tone, Trouble, ago, at, number, path_part, read_text, status_tone, text,
};
use super::{EXIT_OK, terminal};

/// Sessions of all gateways.
#[derive(Debug, Args)]
pub(super) struct SessionsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// List them, newest first
    List(ListArgs),
    /// Show what was said in one
    #[command(visible_alias = "show")]
    History(HistoryArgs),
    /// Say something in one
    Message(MessageArgs),
    /// Change the settings of one
    Set(SetArgs),
    /// Delete some
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of this agent
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Only those on this gateway
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
    /// Only those with this status
    #[arg(long, value_name = "STATUS", value_parser = ["active", "paused", "completed"])]
    status: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// After so many
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
}

/// One session; the gateway is needed only where several hold one of this key.
#[derive(Debug, Args)]
struct OneArgs {
    /// Its key, such as agent:main:main
    #[arg(value_name = "KEY")]
    key: String,
    /// The gateway that holds it; needed only where several hold a session of this key
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
}

#[derive(Debug, Args)]
struct HistoryArgs {
    #[command(flatten)]
    one: OneArgs,
    /// The newest so many entries
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

#[derive(Debug, Args)]
struct MessageArgs {
    #[command(flatten)]
    one: OneArgs,
    /// What to say, - for standard input
    #[arg(value_name = "TEXT")]
    text: String,
    /// Makes it safe to say it again where the answer was lost
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "setting", required = true, multiple = true, args = ["thinking", "verbose", "label", "no_label"])]
struct SetArgs {
    #[command(flatten)]
    one: OneArgs,
    /// How much it thinks: off, minimal, low, medium, high, xhigh, or what the gateway lists
    #[arg(long, value_name = "LEVEL")]
    thinking: Option<String>,
    /// How much it tells
    #[arg(long, value_name = "LEVEL", value_parser = ["off", "on", "full"])]
    verbose: Option<String>,
    /// Its name for people
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Forget its name
    #[arg(long, conflicts_with = "label")]
    no_label: bool,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Their keys
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// The gateway that holds them; needed only where several hold a session of such a key
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
}

/// Pause, resume or end a session.
#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    one: OneArgs,
    /// What to do with it
    #[arg(value_name = "ACTION")]
    action: Action,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    Pause,
    Resume,
    Kill,
}

/// Carries out a command.
pub(super) fn run(args: &SessionsArgs) -> u8 {
    args.daemon.run(|daemon| match &args.command {
        SessionsCommand::List(args) => list(daemon, args),
        SessionsCommand::History(args) => history(daemon, args),
        SessionsCommand::Message(args) => message(daemon, args),
        SessionsCommand::Set(args) => set(daemon, args),
        SessionsCommand::Rm(args) => remove(daemon, args),
    })
}

/// Pauses, resumes or kills.
pub(super) fn control(args: &ControlArgs) -> u8 {
    args.daemon.run(|daemon| {
        let action = match args.action {
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Kill => "kill",
        };
        let mut body = Map::new();
        body.insert("action".to_owned(), action.into());
        put_gateway(daemon, &mut body, args.one.gateway.as_deref())?;
        let path = format!("/api/sessions/{}/control", path_part(&args.one.key));
        let answer = daemon.call("POST", &path, Some(&Value::Object(body)))?;
        daemon.done(&answer, |said| {
            let gateway = text(said, "/gateway").unwrap_or_default();
            let result = said.get("result").map(ToString::to_string).unwrap_or_default();
            terminal::plain(&format!("{action} of {} on {gateway}: {result}", args.one.key))
        });
        Ok(EXIT_OK)
    })
}

fn put_gateway(daemon: &Daemon, body: &mut Map<String, Value>, named: Option<&str>) -> Result<(), Trouble> {
    if let Some(named) = named {
        body.insert("gateway_id".to_owned(), daemon.gateway_id(named)?.into());
    }
    Ok(())
}

fn list(daemon: &Daemon, args: &ListArgs) -> Result<u8, Trouble> {
    let mut path = format!("/api/sessions?limit={}&offset={}", args.limit, args.offset);
    for (name, value) in [("agent", &args.agent), ("gateway", &args.gateway), ("status", &args.status)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", path_part(value)));
        }
    }
    let answer = daemon.get(&path)?;
    daemon.show(&answer, |seen| table(seen, Clock::system().wall_ms()).shown(daemon.output));
    if !daemon.output.is_json() && !daemon.output.is_quiet() {
        remark(&answer.json(), args);
    }
    Ok(EXIT_OK)
}

fn table(seen: &Value, now_ms: i64) -> Table {
    let heading = ["KEY", "GATEWAY", "AGENT", "STATUS", "MODEL", "TOKENS", "CHANGED", "LABEL"];
    let mut table = Table::new(&heading, "There is no session of this kind.");
    for row in seen.get("sessions").and_then(Value::as_array).into_iter().flatten() {
        let status = text(row, "/status");
        let changed = number(row, "/updatedAt").map(|ms| format!("{} ago", ago(now_ms / 1000, ms / 1000)));
        table.row(vec![
            Cell::new(text(row, "/key").unwrap_or_default()),
            Cell::maybe(text(row, "/gateway")),
            Cell::maybe(text(row, "/agent")),
            status.map_or_else(|| Cell::toned("", Tone::Faint), |status| Cell::toned(&status, status_tone(&status))),
            Cell::maybe(text(row, "/model")),
            Cell::maybe(number(row, "/totalTokens")),
            Cell::maybe(changed),
            Cell::maybe(text(row, "/label")),
        ]);
    }
    table
}

/// What the list can't show: more pages, and gateways that don't tell all of theirs.
fn remark(seen: &Value, args: &ListArgs) {
    let total = number(seen, "/total").unwrap_or_default();
    let shown = seen.get("sessions").and_then(Value::as_array).map_or(0, Vec::len);
    let after = i64::try_from(args.offset).unwrap_or(i64::MAX).saturating_add(i64::try_from(shown).unwrap_or_default());
    if total > after {
        terminal::complain(&format!("{} more: --offset {after}", total - after));
    }
    let gateways = seen.get("gateways").and_then(Value::as_array).into_iter().flatten();
    let partial: Vec<String> = gateways
        .filter(|gateway| gateway.get("complete") != Some(&Value::Bool(true)))
        .filter_map(|gateway| text(gateway, "/name"))
        .collect();
    if !partial.is_empty() {
        terminal::complain(&terminal::plain(&format!(
            "the sessions of {} are not known in full: it is not connected, or has not told them yet",
            partial.join(", ")
        )));
    }
}

fn history(daemon: &Daemon, args: &HistoryArgs) -> Result<u8, Trouble> {
    let mut path = format!("/api/sessions/{}/history?limit={}", path_part(&args.one.key), args.limit);
    if let Some(named) = &args.one.gateway {
        path.push_str(&format!("&gateway_id={}", daemon.gateway_id(named)?));
    }
    let answer = daemon.get(&path)?;
    daemon.show(&answer, |seen| {
        let entries = seen.get("history").and_then(Value::as_array).into_iter().flatten();
        entries.map(entry).collect::<Vec<_>>().join("\n")
    });
    Ok(EXIT_OK)
}

fn entry(entry: &Value) -> String {
    let when = number(entry, "/timestamp").map(|ms| at(ms / 1000)).unwrap_or_default();
    let role = text(entry, "/role").unwrap_or_default();
    let said = text(entry, "/content").or_else(|| text(entry, "/errorMessage")).unwrap_or_default();
    let tools = entry.get("tools").and_then(Value::as_array).into_iter().flatten();
    let tools: Vec<&str> = tools.filter_map(Value::as_str).collect();
    let tools = if tools.is_empty() { String::new() } else { format!(" [{}]", tools.join(", ")) };
    let said = terminal::plain_lines(&said).replace('\n', "\n    ");
    format!("{} {}{}: {said}", when, terminal::plain(&role), terminal::plain(&tools)).trim().to_owned()
}

fn message(daemon: &Daemon, args: &MessageArgs) -> Result<u8, Trouble> {
    let mut body = Map::new();
    body.insert("content".to_owned(), read_text(&args.text)?.into());
    put_gateway(daemon, &mut body, args.one.gateway.as_deref())?;
    let path = format!("/api/sessions/{}/message", path_part(&args.one.key));
    let headers: Vec<_> = args.idempotency_key.iter().map(|key| ("Idempotency-Key", key.as_str())).collect();
    let answer = daemon.call_with("POST", &path, Some(&Value::Object(body)), &headers)?;
    daemon.done(&answer, |said| {
        let run = text(said, "/runId").map(|run| format!(" as run {run}")).unwrap_or_default();
        terminal::plain(&format!("{} took it{run}", text(said, "/gateway").unwrap_or_default()))
    });
    Ok(EXIT_OK)
}

fn set(daemon: &Daemon, args: &SetArgs) -> Result<u8, Trouble> {
    let label = args.label.as_deref().or_else(|| args.no_label.then_some(""));
    let changes = [
        ("set-thinking", "level", args.thinking.as_deref()),
        ("set-verbose", "level", args.verbose.as_deref()),
        ("set-label", "label", label),
    ];
    for (action, field, value) in changes {
        let Some(value) = value else { continue };
        let mut body = Map::new();
        body.insert("sessionKey".to_owned(), args.one.key.clone().into());
        body.insert(field.to_owned(), value.into());
        put_gateway(daemon, &mut body, args.one.gateway.as_deref())?;
        let answer = daemon.call("POST", &format!("/api/sessions?action={action}"), Some(&Value::Object(body)))?;
        daemon.done(&answer, |said| {
            let gateway = text(said, "/gateway").unwrap_or_default();
            terminal::plain(&format!("{action} of {} on {gateway} is done", args.one.key))
        });
    }
    Ok(EXIT_OK)
}

fn remove(daemon: &Daemon, args: &RemoveArgs) -> Result<u8, Trouble> {
    let gateway = args.gateway.as_deref().map(|named| daemon.gateway_id(named)).transpose()?;
    for key in &args.keys {
        let mut body = json!({"sessionKey": key});
        if let (Some(fields), Some(id)) = (body.as_object_mut(), gateway) {
            fields.insert("gateway_id".to_owned(), id.into());
        }
        let answer = daemon.call("DELETE", "/api/sessions", Some(&body))?;
        daemon.done(&answer, |said| {
            let deleted = said.get("deleted") == Some(&Value::Bool(true));
            let words = if deleted { "deleted" } else { "was not there any more:" };
            terminal::plain(&format!("{words} {key}"))
        });
    }
    Ok(EXIT_OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_several_lines_stays_one_entry_and_steers_nothing() {
        let said = json!({"role": "assistant", "content": "one\ntwo\u{1b}[2J", "timestamp": 1_795_284_345_000_i64, "tools": ["read"]});
        assert_eq!(entry(&said), "2026-11-21 18:05:45Z assistant [read]: one\n    two\u{fffd}[2J");
    }
}
