//! `gatewarden sessions …` and `gatewarden control`: the sessions of all gateways.

use clap::{Args, Subcommand};
use gatewarden_api::request::Request as _;
use gatewarden_api::sessions::{
    ChangeBody, ControlBody, DeleteBody, HistoryEntry, MessageBody, MessageTaken, Session, SessionDeleted, SessionDone,
    SessionHistory, SessionList,
};
use serde_json::Value;

use super::EXIT_OK;
use super::confirmation::YesArgs;
use super::daemon::{Daemon, DaemonArgs, OfDaemon, now_s, path_part, with_query};
use super::error::CliError;
use super::files::read_text;
use super::output::{Tone, ago, at_ms, complain, indented, plain};
use super::table::{Cell, Table};

/// Sessions of all gateways.
#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// List them, newest first
    #[command(visible_alias = "ls")]
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
pub(super) struct ListArgs {
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
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
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
pub(super) struct HistoryArgs {
    #[command(flatten)]
    one: OneArgs,
    /// The newest so many entries
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct MessageArgs {
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
pub(super) struct SetArgs {
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
pub(super) struct RemoveArgs {
    /// Their keys
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// The gateway that holds them; needed only where several hold a session of such a key
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
    #[command(flatten)]
    yes: YesArgs,
}

/// Pause, resume or end a session.
#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    one: OneArgs,
    /// What to do with it; terminate is kill
    #[arg(value_name = "ACTION", value_parser = ["pause", "resume", "kill", "terminate"])]
    action: String,
}

/// Carries out a command.
pub(super) fn run(args: &OfDaemon<SessionsCommand>) -> u8 {
    args.run(|daemon, command| match command {
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
        let body = ControlBody { action: args.action.clone(), gateway_id: args.one.gateway_id(daemon)? };
        let answer = daemon.send("POST", &args.one.path("control"), &body)?;
        daemon.done(&answer, |said: &SessionDone| outcome(&args.action, said))
    })
}

/// What a gateway did with a session, in a sentence; with its own words where they tell more.
fn outcome(action: &str, said: &SessionDone) -> String {
    let SessionDone { session, gateway, result, .. } = said;
    let text = |name: &str| result.get(name).and_then(Value::as_str);
    let found_nothing =
        text("status") == Some("no-active-run") || result.get("aborted").and_then(Value::as_bool) == Some(false);
    let run = text("abortedRunId").map(|run| format!(" (run {run})")).unwrap_or_default();
    let done = match action {
        "pause" => format!("{gateway} paused session {session}."),
        "resume" => format!("{gateway} resumed session {session}."),
        _ if found_nothing => format!("Nothing was running in session {session} on {gateway}."),
        _ => format!("{gateway} ended what ran in session {session}{run}."),
    };
    let words = text("message").or_else(|| text("note")).filter(|_| !found_nothing);
    words.map_or_else(|| done.clone(), |words| format!("{done} It says: {words}"))
}

impl OneArgs {
    fn path(&self, what: &str) -> String {
        format!("/api/sessions/{}/{what}", path_part(&self.key))
    }

    fn gateway_id(&self, daemon: &Daemon) -> Result<Option<i64>, CliError> {
        daemon.maybe_gateway_id(self.gateway.as_deref())
    }
}

fn list(daemon: &Daemon, args: &ListArgs) -> Result<u8, CliError> {
    let query = [
        ("limit", Some(args.limit.to_string())),
        ("offset", Some(args.offset.to_string())),
        ("agent", args.agent.clone()),
        ("gateway", args.gateway.clone()),
        ("status", args.status.clone()),
    ];
    let answer = daemon.get(&with_query("/api/sessions", &query))?;
    daemon.list(&answer, "sessions", |list| table(list, now_s()))?;
    if daemon.output.is_for_people() {
        remark(&daemon.read(&answer)?, args);
    }
    Ok(EXIT_OK)
}

fn table(list: &SessionList, now_s: i64) -> Table {
    let row = |session: &Session| {
        vec![
            Cell::new(&session.key),
            Cell::maybe(Some(&session.gateway)),
            Cell::maybe(session.agent.as_ref()),
            session.status.as_ref().map_or_else(|| Cell::toned("", Tone::Faint), |status| Cell::status(status)),
            Cell::maybe(session.model.as_ref()),
            Cell::maybe(session.total_tokens),
            Cell::maybe(session.updated_at.map(|ms| format!("{} ago", ago(now_s, ms / 1000)))),
            Cell::maybe(session.label.as_ref()),
        ]
    };
    let heading = ["KEY", "GATEWAY", "AGENT", "STATUS", "MODEL", "TOKENS", "CHANGED", "LABEL"];
    Table::of(&heading, list.sessions.iter().map(row), "No session was found.")
        .cutting(&[("KEY", 58), ("GATEWAY", 10), ("LABEL", 12)])
        .leaving_out(&["AGENT", "LABEL", "MODEL", "TOKENS", "CHANGED"])
}

/// What the list can't show: more pages, and gateways that don't tell all of theirs.
fn remark(list: &SessionList, args: &ListArgs) {
    let shown = u64::try_from(list.sessions.len()).unwrap_or_default();
    let after = args.offset.saturating_add(shown);
    let more = u64::try_from(list.part.total).unwrap_or_default().saturating_sub(after);
    if more > 0 {
        complain(&format!("{more} more: --offset {after}"));
    }
    let partial = list.gateways.iter().flatten().filter(|gateway| !gateway.complete);
    let partial: Vec<&str> = partial.map(|gateway| gateway.name.as_str()).collect();
    if !partial.is_empty() {
        let why = match partial.len() {
            1 => "it is not connected, or has not told them yet",
            _ => "they are not connected, or have not told them yet",
        };
        complain(&plain(&format!("the sessions of {} are not known in full: {why}", partial.join(", "))));
    }
}

fn history(daemon: &Daemon, args: &HistoryArgs) -> Result<u8, CliError> {
    let gateway_id = args.one.gateway_id(daemon)?.map(|id| id.to_string());
    let query = [("limit", Some(args.limit.to_string())), ("gateway_id", gateway_id)];
    let answer = daemon.get(&with_query(&args.one.path("history"), &query))?;
    daemon.show(&answer, |seen: &SessionHistory| seen.history.iter().map(entry).collect::<Vec<_>>().join("\n"))
}

fn entry(entry: &HistoryEntry) -> String {
    let when = entry.timestamp.map(at_ms).unwrap_or_default();
    let said = Some(entry.content.as_str()).filter(|content| !content.is_empty());
    let said = said.or(entry.error_message.as_deref()).unwrap_or_default();
    let tools = if entry.tools.is_empty() { String::new() } else { format!(" [{}]", entry.tools.join(", ")) };
    format!("{when} {}{}: {}", plain(&entry.role), plain(&tools), indented(said)).trim().to_owned()
}

fn message(daemon: &Daemon, args: &MessageArgs) -> Result<u8, CliError> {
    let body = MessageBody { content: read_text(&args.text)?, gateway_id: args.one.gateway_id(daemon)? };
    let answer = daemon.once("POST", &args.one.path("message"), Some(&body.json()), args.idempotency_key.as_deref())?;
    daemon.done(&answer, |said: &MessageTaken| {
        let run = said.run_id.as_ref().map(|run| format!(" as run {run}")).unwrap_or_default();
        format!("{} took it{run}", said.gateway)
    })
}

fn set(daemon: &Daemon, args: &SetArgs) -> Result<u8, CliError> {
    let gateway_id = args.one.gateway_id(daemon)?;
    let change = || ChangeBody { session_key: args.one.key.clone(), gateway_id, ..ChangeBody::default() };
    let level = |level: &String| ChangeBody { level: Some(level.clone()), ..change() };
    let label = args.label.clone().or_else(|| args.no_label.then(String::new));
    let changes = [
        ("thinking", args.thinking.as_ref().map(level)),
        ("verbose", args.verbose.as_ref().map(level)),
        ("label", label.map(|label| ChangeBody { label: Some(Some(label)), ..change() })),
    ];
    for (setting, body) in changes {
        let Some(body) = body else { continue };
        let answer = daemon.send("POST", &format!("/api/sessions?action=set-{setting}"), &body)?;
        daemon.done(&answer, |said: &SessionDone| {
            format!("{} changed the {setting} of session {}.", said.gateway, args.one.key)
        })?;
    }
    Ok(EXIT_OK)
}

fn remove(daemon: &Daemon, args: &RemoveArgs) -> Result<u8, CliError> {
    args.yes.confirm("Delete", "the session", &args.keys)?;
    let gateway_id = daemon.maybe_gateway_id(args.gateway.as_deref())?;
    for key in &args.keys {
        let body = DeleteBody { session_key: key.clone(), gateway_id };
        let answer = daemon.send("DELETE", "/api/sessions", &body)?;
        daemon.done(&answer, |said: &SessionDeleted| {
            format!("{} {key}", if said.deleted { "deleted" } else { "was not there any more:" })
        })?;
    }
    Ok(EXIT_OK)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_gateway_did_is_said_in_a_sentence() {
        let said = |action, result| {
            let (session, gateway) = ("agent:main:main".to_owned(), "prod".to_owned());
            outcome(
                action,
                &SessionDone { success: true, action: String::new(), session, gateway, gateway_id: 1, result },
            )
        };
        let killed = said("kill", json!({"ok": true, "abortedRunId": "r-1", "status": "aborted"}));
        assert_eq!(killed, "prod ended what ran in session agent:main:main (run r-1).");
        for nothing in [json!({"status": "no-active-run"}), json!({"aborted": false, "note": "nothing was running"})] {
            assert_eq!(said("kill", nothing), "Nothing was running in session agent:main:main on prod.");
        }
        let paused = said("pause", json!({"message": "at the next tool call"}));
        assert_eq!(paused, "prod paused session agent:main:main. It says: at the next tool call");
    }

    #[test]
    fn an_entry_of_several_lines_stays_one_entry_and_steers_nothing() {
        let said = serde_json::json!({"role": "assistant", "content": "one\ntwo\u{1b}[2J", "timestamp": 1_795_284_345_000_i64, "tools": ["read"]});
        let said = serde_json::from_value(said).unwrap();
        assert_eq!(entry(&said), "2026-11-21 18:05:45Z assistant [read]: one\n    two\u{fffd}[2J");
    }
}
