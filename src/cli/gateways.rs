//! `gatewarden gateways …`: the gateways of a running daemon.
//!
//! | file | does |
//! | --- | --- |
//! | `list` | the table, and everything about one |
//! | `change` | add and update |
//! | `act` | remove, reconnect, drain, undrain |
//! | `probe` | check them now |
//! | `process` | start, stop, restart and examine those that run on the daemon's machine |
//! | `watch` | a live table |

mod act;
mod change;
mod list;
mod probe;
mod process;
mod waiting;
mod watch;

use clap::{Args, Subcommand};

use self::process::Order;
use super::EXIT_OK;
use super::client::DaemonArgs;

/// Gateways of a running daemon.
#[derive(Debug, Args)]
pub(super) struct GatewaysArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: GatewaysCommand,
}

#[derive(Debug, Subcommand)]
enum GatewaysCommand {
    /// List them: status, address, version, latency, sessions, and what is wrong
    List(list::ListArgs),
    /// Show everything about one, with the cure for what is wrong
    Show(OneArgs),
    /// Register one; it is dialled at once
    Add(change::AddArgs),
    /// Change what is stored of one
    Update(change::UpdateArgs),
    /// Remove some
    Rm(SomeArgs),
    /// Check some now, or all at the same time; ends with 1 unless all that were checked are online
    Probe(probe::ProbeArgs),
    /// Drop connections and dial again at once
    Reconnect(act::ReconnectArgs),
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
struct OneArgs {
    /// Name or id
    #[arg(value_name = "GATEWAY")]
    gateway: String,
}

#[derive(Debug, Args)]
struct SomeArgs {
    /// Names or ids
    #[arg(value_name = "GATEWAY", required = true)]
    gateways: Vec<String>,
}

/// Carries out a command.
pub(super) fn run(args: &GatewaysArgs) -> u8 {
    args.daemon.run(|daemon| match &args.command {
        GatewaysCommand::List(args) => list::list(daemon, args),
        GatewaysCommand::Show(args) => list::show(daemon, &args.gateway),
        GatewaysCommand::Add(args) => change::add(daemon, args),
        GatewaysCommand::Update(args) => change::update(daemon, args),
        GatewaysCommand::Rm(args) => act::remove(daemon, &args.gateways),
        GatewaysCommand::Probe(args) => probe::run(daemon, args),
        GatewaysCommand::Reconnect(args) => act::reconnect(daemon, args),
        GatewaysCommand::Drain(args) => act::drain(daemon, &args.gateways).map(|()| EXIT_OK),
        GatewaysCommand::Undrain(args) => act::undrain(daemon, &args.gateways).map(|()| EXIT_OK),
        GatewaysCommand::Start(args) => process::order(daemon, Order::Start, args),
        GatewaysCommand::Stop(args) => process::order(daemon, Order::Stop, args),
        GatewaysCommand::Restart(args) => process::order(daemon, Order::Restart, args),
        GatewaysCommand::Diagnose(args) => process::diagnose(daemon, &args.gateway),
        GatewaysCommand::Watch => watch::run(daemon),
    })
}
