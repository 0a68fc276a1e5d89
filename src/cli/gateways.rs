//! `gatewarden gateways …`: the gateways of a running daemon.
//!
//! | file | does |
//! | --- | --- |
//! | `show` | the table, everything about one, and checks |
//! | `change` | add and update |
//! | `process` | start, stop, restart and examine those that run on the daemon's machine |
//! | `watch` | a live table |

mod change;
mod process;
pub(super) mod show;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use gatewarden_actors::clock::Clock;
use gatewarden_api::gateway_record::{Gateway, GatewayAnswer};
use gatewarden_api::gateways::Deleted;

use super::confirmation::YesArgs;
use super::daemon::{Daemon, OfDaemon, address_of, now_s};
use super::error::CliError;
use super::output::{complain_as_is, plain, plain_lines};
use super::{EXIT_FAILURE, EXIT_OK, Looks, wording};

/// Gateways of a running daemon.
#[derive(Debug, Subcommand)]
pub(super) enum GatewaysCommand {
    /// List them: status, address, version, latency, sessions, and what is wrong
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show everything about one, with the cure for what is wrong
    Show(OneArgs),
    /// Register one; it is dialled at once
    Add(change::AddArgs),
    /// Change what is stored of one
    Update(change::UpdateArgs),
    /// Remove some
    Rm(RemoveArgs),
    /// Check some now, or all at the same time; ends with 1 unless all that were checked are online
    Probe(ProbeArgs),
    /// Drop connections and dial again at once
    Reconnect(ReconnectArgs),
    /// Route no new work to some
    Drain(SomeArgs),
    /// Route work to some again
    Undrain(SomeArgs),
    /// Start the processes of some; done once each is connected
    Start(process::OrderArgs),
    /// Stop the processes of some; they stay stopped
    Stop(process::OrderArgs),
    /// Stop and start the processes of some; done once each is connected anew
    Restart(process::OrderArgs),
    /// Examine the process of one: what is wrong, what to do, what it said last; ends with 1 unless it runs and its last start was verified
    Diagnose(OneArgs),
    /// Follow them: a table that stays true on a terminal, lines elsewhere
    Watch,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// Name or id
    #[arg(value_name = "GATEWAY")]
    gateway: String,
}

#[derive(Debug, Args)]
pub(super) struct SomeArgs {
    /// Names or ids
    #[arg(value_name = "GATEWAY", required = true)]
    gateways: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    some: SomeArgs,
    #[command(flatten)]
    yes: YesArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those with this status
    #[arg(long, value_name = "STATUS", value_parser = ["online", "degraded", "timeout", "offline", "unknown"])]
    status: Option<String>,
    /// Only those with this label; several may be given
    #[arg(long = "label", short = 'l', value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// Names or ids; without one all are checked
    #[arg(value_name = "GATEWAY")]
    gateways: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReconnectArgs {
    /// Names or ids
    #[arg(value_name = "GATEWAY", required = true)]
    gateways: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Clone, Args)]
struct WaitArgs {
    /// Wait until it is online, so many seconds at most; ends with 1 and the cure if it isn't then
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30", require_equals = true)]
    wait: Option<u32>,
}

/// A label, or what one must be.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Carries out a command.
pub(super) fn run(args: &OfDaemon<GatewaysCommand>) -> u8 {
    args.run(|daemon, command| match command {
        GatewaysCommand::List(args) => show::list(daemon, args),
        GatewaysCommand::Show(args) => show::one(daemon, &args.gateway),
        GatewaysCommand::Add(args) => change::add(daemon, args),
        GatewaysCommand::Update(args) => change::update(daemon, args),
        GatewaysCommand::Rm(RemoveArgs { some, yes }) => remove(daemon, &some.gateways, yes),
        GatewaysCommand::Probe(args) => show::probe(daemon, args),
        GatewaysCommand::Reconnect(args) => {
            let words = if args.wait.wait.is_some() { "" } else { "is dialled again" };
            let gateways = each(daemon, &args.gateways, "reconnect", words)?;
            if words.is_empty() { until_online(daemon, &gateways, &args.wait) } else { Ok(EXIT_OK) }
        }
        GatewaysCommand::Drain(args) => each(daemon, &args.gateways, "drain", "gets no new work").map(|_| EXIT_OK),
        GatewaysCommand::Undrain(args) => each(daemon, &args.gateways, "undrain", "gets work again").map(|_| EXIT_OK),
        GatewaysCommand::Start(args) => process::order(daemon, "start", args),
        GatewaysCommand::Stop(args) => process::order(daemon, "stop", args),
        GatewaysCommand::Restart(args) => process::order(daemon, "restart", args),
        GatewaysCommand::Diagnose(args) => process::diagnose(daemon, &args.gateway),
        GatewaysCommand::Watch => watch::run(daemon),
    })
}

/// Removes each. What can't be removed is said, and the others go all the same.
fn remove(daemon: &Daemon, named: &[String], yes: &YesArgs) -> Result<u8, CliError> {
    let mut code = EXIT_OK;
    let mut say = |named: &str, error: CliError| {
        if !error.is_of_one() {
            return Err(error);
        }
        error.about(named).say(daemon.output);
        code = EXIT_FAILURE;
        Ok(())
    };
    let mut found = Vec::new();
    for named in named {
        match daemon.gateway(named) {
            // Named twice.
            Ok(gateway) if found.iter().any(|(_, other): &(_, Gateway)| other.id == gateway.id) => {}
            Ok(gateway) => found.push((named, gateway)),
            Err(error) => say(named, error)?,
        }
    }
    let words = |(_, Gateway { id, name, host, port, .. }): &(&String, Gateway)| {
        format!("{name} (id {id}, {})", address_of(host, Some(*port)))
    };
    if !found.is_empty() {
        yes.confirm("Remove", "the gateway", &found.iter().map(words).collect::<Vec<_>>())?;
    }
    for (named, gateway) in found {
        let removed = daemon.call("DELETE", &format!("/api/gateways/{}", gateway.id), None);
        let removed = removed.and_then(|answer| {
            daemon.done(&answer, |said: &Deleted| match said.deleted {
                true => format!("removed {}", gateway.name),
                false => format!("{} was gone already", gateway.name),
            })
        });
        if let Err(error) = removed {
            say(named, error)?;
        }
    }
    Ok(code)
}

/// A name that could be taken for the id of another gateway.
fn warn_of_digits(daemon: &Daemon, name: &str) {
    let is_number = name.parse::<i64>().is_ok_and(|id| id > 0);
    let warning =
        is_number.then(|| format!("the name {name} looks like an id; a gateway with that id makes it ambiguous"));
    daemon.warn(warning.as_deref());
}

/// The same action for each that is named, in turn; without `words` nothing is said of it.
fn each(daemon: &Daemon, named: &[String], action: &str, words: &str) -> Result<Vec<Gateway>, CliError> {
    let of = |Gateway { id, name, .. }: Gateway| {
        let answer = daemon.call("POST", &format!("/api/gateways/{id}/{action}"), None);
        let answer = answer.map_err(|error| error.about(&name))?;
        if !words.is_empty() {
            daemon.done(&answer, |said: &GatewayAnswer| format!("{} {words}", said.gateway.name))?;
        }
        Ok(daemon.read(&answer)?.gateway)
    };
    daemon.all_gateways(named)?.into_iter().map(of).collect()
}

/// Waits until all of them are online. A refusal that only a change can cure ends it sooner.
fn until_online(daemon: &Daemon, gateways: &[Gateway], args: &WaitArgs) -> Result<u8, CliError> {
    let clock = Clock::system();
    let deadline = clock.now() + Duration::from_secs(u64::from(args.wait.unwrap_or_default()));
    let mut code = EXIT_OK;
    for gateway in gateways {
        let mut said = String::new();
        let mut looks = Looks::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            let answer = daemon.get(&format!("/api/gateways/{}", gateway.id))?;
            let Gateway { name, status, phase, last_error, .. } = daemon.read::<GatewayAnswer>(&answer)?.gateway;
            let reason = last_error.filter(|_| status != "online").map(|error| format!(" ({})", error.code));
            let now = format!("{name}: {status}, {phase}{}", reason.unwrap_or_default());
            if now != said && daemon.output.is_for_people() {
                complain_as_is(&plain(&now));
            }
            said = now;
            let is_settled = status == "online" || phase == "blocked" || phase == "parked";
            if is_settled || clock.now() >= deadline {
                if status != "online" {
                    code = EXIT_FAILURE;
                }
                if !daemon.output.is_quiet() {
                    daemon.show(&answer, |said| plain_lines(&outcome(&said.gateway)))?;
                }
                break;
            }
            looks.wait();
        }
    }
    Ok(code)
}

fn outcome(gateway: &Gateway) -> String {
    let again =
        show::next_attempt(gateway, now_s()).map_or_else(String::new, |when| format!(" It is tried again {when}."));
    match &gateway.last_error {
        _ if gateway.status == "online" => format!("{} is online", gateway.name),
        None => format!("{} is not online.{again}", gateway.name),
        Some(error) if error.help.is_empty() => format!("{}{again}", error.message),
        Some(error) => format!("{}\n  {}{again}", error.message, wording::of_gateway(&error.help, &gateway.name)),
    }
}
