//! The command line: one binary, one file a command.

mod agents;
mod check;
mod cluster;
mod completions;
mod confirmation;
mod context;
mod daemon;
mod dashboard;
mod discover;
mod doctor;
mod error;
mod events;
mod export;
mod files;
mod findings;
mod gateway;
mod gateway_target;
mod gateways;
mod help;
mod http_client;
mod identity;
mod import;
mod installation;
mod keys;
mod mcp;
mod output;
mod serve;
mod sessions;
mod shell;
mod spawn;
mod status;
mod stream;
mod table;
mod up;
mod wording;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::daemon::{DaemonArgs, OfDaemon};
use self::error::CliError;
use self::installation::{BackupArgs, ConfigArgs, CopyArgs, RekeyArgs, RestoreArgs};
use self::output::Output;
use crate::config::Inputs;

/// Clean end.
pub(crate) const EXIT_OK: u8 = 0;
/// Anything that has no code of its own: port in use, database not writable.
pub(crate) const EXIT_FAILURE: u8 = 1;
/// Wrong usage (`EX_USAGE`).
pub(crate) const EXIT_USAGE: u8 = 64;
/// No daemon answers (`EX_UNAVAILABLE`).
pub(crate) const EXIT_UNREACHABLE: u8 = 69;
/// The daemon says that it may work later: too many requests, or something isn't available right now (`EX_TEMPFAIL`).
pub(crate) const EXIT_LATER: u8 = 75;
/// No key, a wrong one, or one of too small a role (`EX_NOPERM`).
pub(crate) const EXIT_DENIED: u8 = 77;
/// Bad configuration, wrong encryption key, corrupt or too new database (`EX_CONFIG`).
pub(crate) const EXIT_CONFIG: u8 = 78;

/// Supervises OpenClaw gateways: connects to each, knows which can be trusted with work, elects the primary.
#[derive(Debug, Parser)]
#[command(name = "gatewarden", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything for a first look: the daemon, a gateway with a sample agent, ready to be used.
    Up(up::UpArgs),
    /// Run the daemon.
    Serve(ServeArgs),
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Show, export, import or replace this installation's device identity.
    Identity(identity::IdentityArgs),
    /// Look at one gateway step by step, without a daemon: what fails first, and what cures it.
    Check(check::CheckArgs),
    /// Make a verified copy of the database, also while the daemon runs.
    Backup(BackupArgs),
    /// Put a backup in the place of the database; the daemon must not run.
    Restore(RestoreArgs),
    /// Seal all stored secrets anew with another encryption key; the daemon must not run.
    Rekey(RekeyArgs),
    /// Look after the database.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Look for what is wrong with the installation, and say what helps; ends with 1 where something is.
    Doctor(doctor::DoctorArgs),
    /// Name daemons, and choose the one that commands talk to.
    Context(context::ContextArgs),
    /// Say how a running daemon is.
    Status(DaemonArgs),
    /// List the nodes that share a running daemon's database, and which of them acts.
    Cluster(DaemonArgs),
    /// Print a link that logs a browser in to the dashboard of a running daemon, once.
    Dashboard(DaemonArgs),
    /// Find gateways in the network of a running daemon, or in a DNS domain.
    Discover(discover::DiscoverArgs),
    /// List, change and follow the gateways of a running daemon.
    Gateways(OfDaemon<gateways::GatewaysCommand>),
    /// List the sessions of all gateways, read them and talk to them.
    Sessions(OfDaemon<sessions::SessionsCommand>),
    /// Pause, resume or end a session.
    Control(sessions::ControlArgs),
    /// Give a gateway work.
    Spawn(spawn::SpawnArgs),
    /// See what became of work.
    Spawns(OfDaemon<spawn::SpawnsCommand>),
    /// List and change the agents that are known.
    Agents(OfDaemon<agents::AgentsCommand>),
    /// See and close the connections of tools without a gateway.
    Connections(OfDaemon<agents::ConnectionsCommand>),
    /// Follow what happens.
    Events(events::EventsArgs),
    /// Read the log of a gateway.
    Logs(events::LogsArgs),
    /// List, create and revoke API keys.
    Keys(OfDaemon<keys::KeysCommand>),
    /// Write the gateways of a running daemon as a list, without their tokens unless asked for.
    Export(export::ExportArgs),
    /// Register the gateways of Mission Control's database, of an openclaw.json or of a list.
    Import(import::ImportArgs),
    /// Run and look after an embedded gateway.
    Gateway(gateway::GatewayArgs),
    /// Let an AI assistant look after the gateways of a running daemon: an MCP server on standard input and output.
    Mcp(DaemonArgs),
    /// Print the version.
    Version,
    /// Print the OpenAPI document of the REST interface.
    Openapi,
    /// Print a script that completes commands in a shell.
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write a page for each command into a directory.
    Man(shell::ManArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting as it counts, and where it came from. Secrets are not shown.
    Check(ServeArgs),
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Move the database from a file to a PostgreSQL, or back; no daemon may run.
    Copy(CopyArgs),
}

/// What the daemon can be told on the command line.
#[derive(Debug, Clone, Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address to listen on, such as 127.0.0.1:3000; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

/// Reads the arguments of this process and carries them out.
pub fn run() -> ExitCode {
    shell::complete();
    let parsed = help::documented(Cli::command()).try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; they are no mistakes.
            let code = if error.use_stderr() { EXIT_USAGE } else { EXIT_OK };
            let _ = error.print();
            return code.into();
        }
    };
    let code = match cli.command {
        Command::Up(args) => finish(up::run(&args)),
        Command::Serve(args) => finish(serve::run(&args.inputs())),
        Command::Config { command: ConfigCommand::Check(args) } => finish(serve::check_config(&args.inputs())),
        Command::Identity(args) => finish(identity::run(&args)),
        Command::Check(args) => check::run(&args),
        Command::Backup(args) => args.installation.run(|config| installation::back_up(&args, config)),
        Command::Restore(args) => args.installation.run(|config| installation::restore(&args, config)),
        Command::Rekey(args) => args.installation.run(|config| installation::rekey(&args, config)),
        Command::Store { command: StoreCommand::Copy(args) } => {
            args.installation.run(|config| installation::copy_store(&args, config))
        }
        Command::Doctor(args) => doctor::run(&args),
        Command::Context(args) => context::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Dashboard(args) => dashboard::run(&args),
        Command::Discover(args) => discover::run(&args),
        Command::Gateways(args) => gateways::run(&args),
        Command::Sessions(args) => sessions::run(&args),
        Command::Control(args) => sessions::control(&args),
        Command::Spawn(args) => spawn::run(&args),
        Command::Spawns(args) => spawn::look(&args),
        Command::Agents(args) => agents::run(&args),
        Command::Connections(args) => agents::connections(&args),
        Command::Events(args) => events::run(&args),
        Command::Logs(args) => events::logs(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Gateway(args) => finish(gateway::run(args)),
        Command::Mcp(args) => mcp::run(&args),
        Command::Version => {
            output::print(concat!("gatewarden ", env!("CARGO_PKG_VERSION")));
            EXIT_OK
        }
        Command::Openapi => finish(shell::openapi()),
        Command::Completions(args) => finish(shell::completions(&args)),
        Command::Man(args) => finish(shell::man(&args)),
    };
    code.into()
}

impl ServeArgs {
    fn inputs(&self) -> Inputs {
        Inputs { listen: self.listen.clone(), ..self.config.inputs() }
    }
}

/// Says what went wrong, if anything; the exit code.
fn finish(ended: Result<u8, CliError>) -> u8 {
    ended.unwrap_or_else(|error| error.say(Output::of_process(false, false)))
}

/// Between two looks at another process or at a file: nothing else runs in a command.
#[expect(clippy::disallowed_methods, reason = "commands are no actors, and what they wait for has no state to await")]
fn sleep(span: Duration) {
    std::thread::sleep(span);
}

/// Looks at something that takes a moment or a while: twice as long between them each time, up to a bound, since looks count against
/// the limit of requests.
struct Looks {
    pause: Duration,
    longest: Duration,
}

impl Looks {
    fn new(pause: Duration, longest: Duration) -> Self {
        Self { pause, longest }
    }

    fn wait(&mut self) {
        sleep(self.pause);
        self.pause = (self.pause * 2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{API_KEY_VARIABLE, URL_VARIABLE};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        help::documented(Cli::command()).debug_assert();
    }

    /// Every command with what it does, as `docs/command-line.md` has them.
    fn listing() -> String {
        fn list(path: &str, command: &clap::Command, lines: &mut Vec<String>) {
            for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
                let path = format!("{path} {}", command.get_name());
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                lines.push(format!("| `{}` | {} |", path.trim(), about.trim_end_matches('.')));
                list(&path, command, lines);
            }
        }
        let mut lines = vec!["| command | does |".to_owned(), "| --- | --- |".to_owned()];
        list("", &Cli::command(), &mut lines);
        lines.join("\n")
    }

    #[test]
    fn the_page_lists_the_commands_that_there_are_and_the_exit_codes() {
        const PAGE: &str = include_str!("../docs/command-line.md");
        let listing = listing();
        assert!(PAGE.contains(&listing), "docs/command-line.md must hold exactly this list:\n\n{listing}\n");
        for code in [EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_LATER, EXIT_DENIED, EXIT_CONFIG] {
            assert!(PAGE.contains(&format!("\n| {code} | ")), "docs/command-line.md says nothing of {code}");
        }
        for variable in [URL_VARIABLE, API_KEY_VARIABLE] {
            assert!(PAGE.contains(variable), "docs/command-line.md says nothing of {variable}");
        }
    }

    /// The words of a line of a shell, as far as examples go: quotes, and an end at a pipe or a remark.
    pub(super) fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for character in line.chars() {
            match character {
                '"' | '\'' => quoted = !quoted,
                '|' | '#' | '>' if !quoted => break,
                ' ' if !quoted => words.push(String::new()),
                other => words.last_mut().unwrap().push(other),
            }
        }
        words.into_iter().filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn every_example_is_a_command_that_there_is() {
        let mut examples = 0;
        for page in [include_str!("../docs/command-line.md"), include_str!("../README.md")] {
            for line in page.lines().filter(|line| line.starts_with("gatewarden ")) {
                let line = words(line);
                // Prose begins so, too.
                if line.get(1).is_some_and(|word| Cli::command().find_subcommand(word).is_none()) {
                    continue;
                }
                examples += 1;
                assert!(Cli::try_parse_from(&line).is_ok(), "{line:?} is documented and no command");
            }
        }
        assert!(examples > 15, "only {examples} examples were found");
    }

    #[test]
    fn help_is_no_mistake_and_everything_unknown_is() {
        for (args, mistake) in [
            (vec!["--help"], false),
            (vec!["--version"], false),
            (vec!["serv"], true),
            (vec!["serve", "--port", "1"], true),
        ] {
            let error = Cli::try_parse_from([vec!["gatewarden"], args].concat()).unwrap_err();
            assert_eq!(error.use_stderr(), mistake, "{error}");
        }
    }
}
