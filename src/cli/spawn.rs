//! `gatewarden spawn` and `gatewarden spawns …`: give gateways work, and see what became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use gatewarden_actors::clock::Clock;
use gatewarden_api::request::Request as _;
use gatewarden_api::spawn::{GatewayName, Spawn, SpawnAccepted, SpawnBody, SpawnHistory};
use gatewarden_protocol::Secret;
use serde_json::Value;

use super::daemon::{Answer, Daemon, DaemonArgs, OfDaemon, now_s, path_part};
use super::error::CliError;
use super::files::read_text;
use super::gateways::label;
use super::output::{Details, ago, at_ms, complain_as_is, plain, plain_lines};
use super::table::{Cell, Table};
use super::{EXIT_FAILURE, EXIT_LATER, EXIT_OK, Looks, sleep};

/// How long after its time limit a gateway may tell the end that this brings.
const GRACE: Duration = Duration::from_secs(5);

/// So many times in a row a daemon that doesn't answer is asked again, a second apart.
const SILENT_LOOKS: u32 = 60;
/// How long each of these looks may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);

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
    /// After so many seconds the gateway should give up, and --wait ends a few seconds later with 75 where its end is not known by then
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// The gateway that must take it
    #[arg(long, value_name = "GATEWAY")]
    gateway: Option<String>,
    /// A label that the gateway must have; several may be given
    #[arg(long = "selector", short = 'l', value_name = "NAME=VALUE", value_parser = label)]
    selector: Vec<(String, String)>,
    /// Makes it safe to ask again where the answer was lost
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait for its end and say how it goes; ends with 0 only if it was completed
    #[arg(long)]
    wait: bool,
}

/// What became of work.
#[derive(Debug, Subcommand)]
pub(super) enum SpawnsCommand {
    /// List them, newest first
    #[command(visible_alias = "ls")]
    List {
        /// At most so many
        #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// After so many
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: u64,
    },
    /// Show everything about one
    Show {
        /// Its id
        #[arg(value_name = "ID", id = "spawn")]
        id: String,
    },
}

/// Gives work.
pub(super) fn run(args: &SpawnArgs) -> u8 {
    args.daemon.run(|daemon| {
        let body = body(daemon, args)?;
        let give = |daemon: &Daemon| -> Result<Answer<SpawnAccepted>, CliError> {
            daemon.once("POST", "/api/spawn", Some(&body.json()), args.idempotency_key.as_deref())
        };
        if args.wait {
            let patience = args.timeout.map(|seconds| Duration::from_secs(seconds.into()) + GRACE);
            return wait(daemon, give, patience, body.task.as_ref().or(body.command.as_ref()).map_or("", |work| work));
        }
        let answer = give(daemon)?;
        daemon.show(&answer, |said| {
            if daemon.output.is_quiet() {
                return said.spawn_id.clone();
            }
            plain(&sentence(said))
        })
    })
}

/// What became of the request, in a sentence.
fn sentence(said: &SpawnAccepted) -> String {
    let gateway = name_of(said.gateway.as_ref()).unwrap_or("A gateway");
    let session = said.session_info.as_ref().map(|key| format!(" in session {key}")).unwrap_or_default();
    let id = &said.spawn_id;
    let took = match said.route.as_deref() {
        _ if said.replayed => {
            format!("This work was given before with the same key: {gateway} took it as spawn {id}{session}.")
        }
        Some("preferred") => format!("{gateway}, the agent's preferred gateway, took the work as spawn {id}{session}."),
        Some("primary") => format!("{gateway}, the primary, took the work as spawn {id}{session}."),
        Some("acting_primary") => format!("{gateway}, which acts as primary, took the work as spawn {id}{session}."),
        Some("least_loaded") => format!("{gateway}, which has the least to do, took the work as spawn {id}{session}."),
        _ => format!("{gateway} took the work as spawn {id}{session}."),
    };
    format!("{took} It is {}: `gatewarden spawns show {id}` shows what becomes of it.", said.status)
}

fn name_of(gateway: Option<&GatewayName>) -> Option<&str> {
    gateway?.name.as_deref()
}

/// Lists or shows.
pub(super) fn look(args: &OfDaemon<SpawnsCommand>) -> u8 {
    args.run(|daemon, command| match command {
        SpawnsCommand::List { limit, offset } => {
            let answer = daemon.get(&format!("/api/spawn?limit={limit}&offset={offset}"))?;
            daemon.list(&answer, "history", |seen| table(seen, now_s()))
        }
        SpawnsCommand::Show { id } => show(daemon, &daemon.get(&path_of(id)).map_err(|error| error.about(id))?),
    })
}

fn path_of(id: &str) -> String {
    format!("/api/spawn/{}", path_part(id))
}

fn show(daemon: &Daemon, answer: &Answer<Spawn>) -> Result<u8, CliError> {
    daemon.show(answer, |spawn| if daemon.output.is_quiet() { spawn.status.clone() } else { page(spawn) })
}

fn body(daemon: &Daemon, args: &SpawnArgs) -> Result<SpawnBody, CliError> {
    let mut env = BTreeMap::new();
    for variable in &args.environment {
        let (name, value) = match variable.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let missing = |_| CliError::usage(format!("--env {variable}: this shell has no such variable."));
                (variable.as_str(), std::env::var(variable).map_err(missing)?)
            }
        };
        env.insert(name.to_owned(), Secret::new(value));
    }
    Ok(SpawnBody {
        task: args.task.as_deref().map(read_text).transpose()?,
        command: args.command.clone(),
        args: (!args.args.is_empty()).then(|| args.args.clone()),
        env: (!env.is_empty()).then_some(env),
        cwd: args.cwd.clone(),
        agent: args.agent.clone(),
        model: args.model.clone(),
        label: args.label.clone(),
        session_key: args.session.clone(),
        timeout_seconds: args.timeout,
        gateway_id: daemon.maybe_gateway_id(args.gateway.as_deref())?,
        selector: (!args.selector.is_empty()).then(|| args.selector.iter().cloned().collect()),
    })
}

/// Gives work and looks until it has ended, or `patience` is over: the wait for the gateway that takes it counts too.
fn wait(
    daemon: &Daemon,
    give: impl Fn(&Daemon) -> Result<Answer<SpawnAccepted>, CliError>,
    patience: Option<Duration>,
    work: &str,
) -> Result<u8, CliError> {
    let clock = Clock::system();
    let (began, began_ms) = (clock.now(), clock.wall_ms());
    let is_over = || patience.is_some_and(|patience| clock.now().saturating_duration_since(began) >= patience);
    let given = match patience {
        Some(patience) => give(&daemon.within(patience)),
        None => give(daemon),
    };
    let id = match given {
        Ok(answer) => {
            let taken = daemon.read(&answer)?;
            say_that_it_waits(daemon, &taken, patience);
            taken.spawn_id
        }
        // The gateway may have taken it, and then it says so later.
        Err(error) => match error.unknown_spawn() {
            Some(id) => {
                if daemon.output.is_for_people() {
                    complain_as_is(&plain(&format!("{}. Waiting for news of spawn {id}.", error.sentence())));
                }
                id.to_owned()
            }
            None if is_over() && error.may_pass() => {
                let recorded = daemon.fetch::<SpawnHistory>("/api/spawn?limit=50").ok();
                let id = recorded.as_ref().and_then(|seen| recorded_since(&seen.history, work, began_ms));
                let look = id.map_or("list".to_owned(), |id| format!("show {id}"));
                let cure = format!(
                    "It may be under way: `gatewarden spawns {look}` shows what became of it. With --idempotency-key the same command can be given again without doing the work twice."
                );
                let late = CliError::coded(EXIT_LATER, "No gateway has said in time that it took the work.").cure(cure);
                return Err(late.of_spawn(id));
            }
            None => return Err(error),
        },
    };
    let (mut said, mut silent) = (String::new(), 0);
    let mut looks = Looks::new(Duration::from_millis(200), Duration::from_secs(2));
    loop {
        let answer: Answer<Spawn> = match daemon.within(LOOK_PATIENCE).get(&path_of(&id)) {
            // The daemon may be starting again; work at its gateway doesn't depend on that.
            Err(error) if error.may_pass() && silent < SILENT_LOOKS && !is_over() => {
                if silent == 0 && daemon.output.is_for_people() {
                    complain_as_is(&plain(&format!(
                        "{}. Spawn {id} may be under way; the daemon is asked again.",
                        error.sentence()
                    )));
                }
                silent += 1;
                sleep(Duration::from_secs(1));
                continue;
            }
            Err(error) if error.may_pass() => {
                let end =
                    format!("Spawn {id} may be under way: `gatewarden spawns show {id}` shows what becomes of it.");
                return Err(error.and(&end).of_spawn(Some(&id)));
            }
            answer => answer?,
        };
        silent = 0;
        let Spawn { status, gateway, .. } = daemon.read(&answer)?;
        if status != said && daemon.output.is_for_people() {
            let gateway = name_of(gateway.as_ref()).map(|name| format!(" on {name}")).unwrap_or_default();
            complain_as_is(&plain(&format!("{id}: {status}{gateway}")));
        }
        if ["completed", "failed", "killed", "lost"].contains(&status.as_str()) {
            match daemon.output.is_for_people() {
                true => daemon.show(&answer, |spawn| plain_lines(&ending(spawn)))?,
                false => show(daemon, &answer)?,
            };
            return Ok(if status == "completed" { EXIT_OK } else { EXIT_FAILURE });
        }
        if is_over() {
            let sentence = format!("Spawn {id} has not ended in time: it is {status}.");
            let goes_on = if status == "unknown" { "It may be under way." } else { "It goes on." };
            let cure = format!("{goes_on} `gatewarden spawns show {id}` shows what becomes of it.");
            return Err(CliError::coded(EXIT_LATER, sentence).cure(cure).of_spawn(Some(&id)));
        }
        said = status;
        looks.wait();
    }
}

/// The id of the only spawn of this work since then that no gateway has answered for; none where several could be meant.
fn recorded_since<'a>(history: &'a [Spawn], work: &str, since_ms: i64) -> Option<&'a str> {
    let work: String = work.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut meant = history.iter().filter(|spawn| {
        let is_open = ["recorded", "sent", "unknown"].contains(&spawn.status.as_str());
        is_open && spawn.created_at >= since_ms && !spawn.task.is_empty() && work.starts_with(&spawn.task)
    });
    let only = meant.next().filter(|_| meant.next().is_none())?;
    Some(&only.spawn_id)
}

/// How work ended, in sentences: the gateway's, or the agent's own.
fn ending(spawn: &Spawn) -> String {
    let (id, gateway) = (&spawn.spawn_id, name_of(spawn.gateway.as_ref()).unwrap_or("A gateway"));
    let why = spawn.error.as_ref().or(spawn.reason.as_ref()).map(|why| format!(": {why}")).unwrap_or_default();
    let head = match spawn.status.as_str() {
        "completed" => format!("{gateway} completed spawn {id}."),
        "lost" => format!("Spawn {id} is lost{why}"),
        status => format!("Spawn {id} {} on {gateway}{why}", if status == "killed" { "was killed" } else { status }),
    };
    spawn.result.as_ref().map_or_else(|| head.clone(), |result| format!("{head}\n{}", said_in(result)))
}

/// What a result says to people; all of it where it has no text.
fn said_in(result: &Value) -> String {
    let payloads = result.get("payloads").and_then(Value::as_array).into_iter().flatten();
    let texts: Vec<&str> = payloads.filter_map(|payload| payload.get("text")?.as_str()).collect();
    let whole = || ["text", "summary", "output", "stdout"].into_iter().find_map(|name| result.get(name)?.as_str());
    match result.as_str().or_else(whole) {
        _ if !texts.is_empty() => texts.join("\n"),
        Some(text) => text.to_owned(),
        None => result.to_string(),
    }
}

fn say_that_it_waits(daemon: &Daemon, taken: &SpawnAccepted, patience: Option<Duration>) {
    if !daemon.output.is_for_people() {
        return;
    }
    let id = &taken.spawn_id;
    let gateway = name_of(taken.gateway.as_ref()).unwrap_or("the gateway");
    let run = taken.run_id.as_ref().filter(|run| *run != id).map(|run| format!(" (run {run})")).unwrap_or_default();
    let limit = patience.map(|patience| format!(", for {} s at most", patience.as_secs())).unwrap_or_default();
    complain_as_is(&plain(&format!("Waiting for spawn {id}{run} on {gateway} to end{limit}.")));
}

fn table(seen: &SpawnHistory, now_s: i64) -> Table {
    let row = |spawn: &Spawn| {
        let task: String = spawn.task.chars().take(60).collect();
        let failed = ["failed", "lost", "unknown"].contains(&spawn.status.as_str());
        let problem = spawn.error.as_ref().or(spawn.reason.as_ref()).filter(|_| failed);
        let problem = problem.or(spawn.doubt.as_ref().map(|doubt| &doubt.message));
        vec![
            Cell::new(&spawn.spawn_id),
            Cell::status(&spawn.status),
            Cell::maybe(name_of(spawn.gateway.as_ref())),
            Cell::maybe(spawn.agent.as_ref()),
            Cell::new(format!("{} ago", ago(now_s, spawn.created_at / 1000))),
            Cell::new(task.lines().next().unwrap_or_default()),
            Cell::problem(problem),
        ]
    };
    let heading = ["ID", "STATUS", "GATEWAY", "AGENT", "ASKED FOR", "TASK", "PROBLEM"];
    Table::of(&heading, seen.history.iter().map(row), "No work was given yet.")
        .cutting(&[("TASK", 12), ("GATEWAY", 8)])
        .leaving_out(&["AGENT", "ASKED FOR", "GATEWAY"])
        .below("PROBLEM")
}

fn page(spawn: &Spawn) -> String {
    Details::new(13)
        .put("id", &spawn.spawn_id)
        .put("status", &spawn.status)
        .maybe("reason", spawn.reason.as_deref())
        .maybe("error", spawn.error.as_deref())
        .maybe("doubt", spawn.doubt.as_ref().map(|doubt| format!("{} (since {})", doubt.message, at_ms(doubt.since))))
        .maybe("asked again", spawn.doubt.as_ref().and_then(|doubt| doubt.asked_again_at).map(at_ms))
        .maybe("gateway", name_of(spawn.gateway.as_ref()))
        .maybe("route", spawn.route.as_deref())
        .maybe("agent", spawn.agent.as_deref())
        .maybe("model", spawn.model.as_deref())
        .maybe("label", spawn.label.as_deref())
        .maybe("session", spawn.session_key.as_deref())
        .maybe("run", spawn.run_id.as_deref())
        .put("task", &spawn.task)
        .maybe("result", spawn.result.as_ref().map(said_in))
        .put("asked for", at_ms(spawn.created_at))
        .put("changed", at_ms(spawn.updated_at))
        .maybe("ended", spawn.completed_at.map(at_ms))
        .shown()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn work_that_nobody_answered_for_is_found_where_only_one_spawn_can_be_meant() {
        let spawn = |id: &str, status: &str, task: &str, at: i64| -> Spawn {
            let said = json!({"spawnId": id, "status": status, "kind": "task", "task": task, "createdAt": at,
                "updatedAt": at});
            serde_json::from_value(said).unwrap()
        };
        let mut history = vec![
            spawn("mine", "sent", "first second", 20),
            spawn("other", "sent", "third", 20),
            spawn("before", "sent", "first second", 9),
            spawn("done", "completed", "first second", 20),
        ];
        assert_eq!(recorded_since(&history, "first\nsecond and more", 10), Some("mine"));
        history.push(spawn("twin", "recorded", "first second", 21));
        assert_eq!(recorded_since(&history, "first\nsecond and more", 10), None);
    }

    #[test]
    fn an_end_is_said_in_sentences_with_what_the_agent_said() {
        let ended = |changes: Value| {
            let mut spawn = json!({"spawnId": "s-1", "status": "completed", "kind": "task", "task": "t",
                "gateway": {"id": 1, "name": "lab"}, "createdAt": 0, "updatedAt": 0});
            spawn.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            ending(&serde_json::from_value(spawn).unwrap())
        };
        let result =
            json!({"meta": {"aborted": false}, "payloads": [{"text": "one"}, {"mediaUrl": "x"}, {"text": "two"}]});
        assert_eq!(ended(json!({"result": result})), "lab completed spawn s-1.\none\ntwo");
        assert_eq!(ended(json!({"result": {"code": 3}})), "lab completed spawn s-1.\n{\"code\":3}");
        assert_eq!(ended(json!({"status": "failed", "error": "no model"})), "Spawn s-1 failed on lab: no model");
        assert_eq!(ended(json!({"status": "killed"})), "Spawn s-1 was killed on lab");
    }
}
