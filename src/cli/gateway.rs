//! `gatewarden gateway …`: the embedded gateway's commands.
//!
//! | file | does |
//! | --- | --- |
//! | `run`, `log_layer` | runs it, and where its log goes |
//! | `background`, `detached` | start, stop and restart, by a process of its own or by systemd |
//! | `unit` | the systemd user unit |
//! | `running` | calls of a gateway that runs |
//! | `status`, `devices`, `nodes`, `pairing`, `cron`, `doctor`, `logs` | what there is to see of it |
//! | `sample_agent` | what the agent of `up` runs |

mod background;
mod cron;
mod detached;
mod devices;
mod doctor;
mod log_layer;
mod logs;
mod nodes;
mod pairing;
mod run;
mod running;
mod sample_agent;
mod status;
mod unit;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gatewarden_embedded_gateway::config::{Draft, Inputs, load};
use gatewarden_embedded_gateway::lock_file::{Holder, running};

use super::EXIT_CONFIG;
use super::EXIT_OK;
use super::error::CliError;
use super::output::{complain, print};

/// The embedded gateway. Without a command: run it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct GatewayArgs {
    #[command(subcommand)]
    command: Option<GatewayCommand>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// Run the gateway in the foreground
    Run(RunArgs),
    /// Start it in the background: the systemd user unit where it is installed, else a process of its own
    Start(RunArgs),
    /// Say whether it runs, where, and how busy it is
    Status(ShowArgs),
    /// Show its log
    Logs(LogsArgs),
    /// Stop it and start it again, as it was started
    Restart(PlaceArgs),
    /// Stop it
    Stop(PlaceArgs),
    /// Look for what is wrong, and say what helps
    Doctor(PlaceArgs),
    /// Say which devices wait for an approval and which have one; approve, reject and remove them
    Devices {
        #[command(subcommand)]
        command: DevicesCommand,
    },
    /// Say which nodes there are, devices that carry out commands, and approve what they offer
    Nodes {
        #[command(subcommand)]
        command: nodes::NodesCommand,
    },
    /// Say who asks to talk to its agents by a channel such as Telegram, and let them
    Pairing {
        #[command(subcommand)]
        command: PairingCommand,
    },
    /// Manage scheduled jobs, which give agents messages at their times
    Cron {
        #[command(subcommand)]
        command: cron::CronCommand,
    },
    /// Look at its configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Install it as a systemd user service
    InstallDaemon(InstallArgs),
    /// The same, by the words of `openclaw`
    #[command(hide = true)]
    Onboard(OnboardArgs),
    /// What the sample agent of `gatewarden up` runs
    #[command(hide = true)]
    SampleAgent,
}

#[derive(Debug, Subcommand)]
enum DevicesCommand {
    /// Show those that wait and those that are paired
    #[command(visible_alias = "ls")]
    List(ShowArgs),
    /// Let a device in whose request waits
    Approve(RequestArgs),
    /// Forget a request that waits
    Reject(RequestArgs),
    /// Take a device's approval and its tokens away, and close its connections
    Remove(DeviceArgs),
}

#[derive(Debug, Subcommand)]
enum PairingCommand {
    /// Show those who wait, with their codes, and those who are approved
    #[command(visible_alias = "ls")]
    List(ShowArgs),
    /// Let who was told this code talk to the agents
    Approve {
        #[command(flatten)]
        request: CodeArgs,
        /// Tell who asked, by the same channel
        #[arg(long)]
        notify: bool,
    },
    /// Forget a request that waits; who asked is not heard for an hour
    Dismiss(CodeArgs),
    /// Take an approval back
    Revoke(PersonArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with it
    Validate(PlaceArgs),
}

/// Which gateway is meant: its configuration and its state.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PlaceArgs {
    /// Configuration file, openclaw.json or openclaw-gateway.yml [default: in $XDG_CONFIG_HOME/gatewarden, where it exists]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Directory of sessions, devices, token and logs
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

/// How to run it.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// Port of WebSocket and HTTP; 0 takes any free one
    #[arg(long, value_name = "PORT")]
    pub(super) port: Option<u16>,
    /// Where to listen: loopback, lan, tailnet or an address of this machine
    #[arg(long, value_name = "WHERE")]
    pub(super) bind: Option<String>,
    /// Write the log to standard error, too, as it is where that is no terminal
    #[arg(long, short)]
    pub(super) verbose: bool,
    /// Take over a lock file that can't be judged (file systems without locks)
    #[arg(long)]
    pub(super) force: bool,
    /// Leave the terminal's session; `start` uses it
    #[arg(long, hide = true)]
    pub(super) detached: bool,
    /// Leave the terminal's session, and end when standard input ends; `up` uses it
    #[arg(long, hide = true)]
    pub(super) supervised: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub(super) follow: bool,
    /// How many lines from the end
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) tail: usize,
    /// Only this level and above: debug, info, warn, error
    #[arg(long, value_name = "LEVEL")]
    pub(super) level: Option<String>,
    /// Lines as they are in the file (JSON)
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    /// The id of the request, as the list says it
    #[arg(value_name = "REQUEST")]
    pub(super) request: String,
    #[command(flatten)]
    pub(super) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct DeviceArgs {
    /// The id of the device, as `devices list` says it
    #[arg(value_name = "DEVICE")]
    pub(super) device: String,
    #[command(flatten)]
    pub(super) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct CodeArgs {
    /// The channel, such as telegram
    #[arg(value_name = "CHANNEL")]
    pub(super) channel: String,
    /// The code that the bot told
    #[arg(value_name = "CODE")]
    pub(super) code: String,
    /// The account of the channel, where it has several
    #[arg(long, value_name = "ID")]
    pub(super) account: Option<String>,
    #[command(flatten)]
    pub(super) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct PersonArgs {
    /// The channel, such as telegram
    #[arg(value_name = "CHANNEL")]
    pub(super) channel: String,
    /// The id of the person there, as `pairing list` says it
    #[arg(value_name = "PERSON")]
    pub(super) person: String,
    /// The account of the channel, where it has several
    #[arg(long, value_name = "ID")]
    pub(super) account: Option<String>,
    #[command(flatten)]
    pub(super) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// Show the unit and install nothing
    #[arg(long)]
    pub(super) print: bool,
}

#[derive(Debug, Args)]
pub(super) struct OnboardArgs {
    /// There is nothing else to set up
    #[arg(long, required = true)]
    install_daemon: bool,
    #[command(flatten)]
    install: InstallArgs,
}

/// Carries out a command.
pub(super) fn run(args: GatewayArgs) -> Result<u8, CliError> {
    match args.command {
        None => run::run(&args.run),
        Some(GatewayCommand::Run(args)) => run::run(&args),
        Some(GatewayCommand::Start(args)) => background::start(&args),
        Some(GatewayCommand::Status(args)) => status::run(&args),
        Some(GatewayCommand::Logs(args)) => logs::run(&args),
        Some(GatewayCommand::Restart(place)) => background::restart(&place),
        Some(GatewayCommand::Stop(place)) => background::stop(&place),
        Some(GatewayCommand::Doctor(place)) => doctor::run(&place),
        Some(GatewayCommand::Devices { command }) => devices::run(&command),
        Some(GatewayCommand::Nodes { command }) => nodes::run(&command),
        Some(GatewayCommand::Pairing { command }) => pairing::run(&command),
        Some(GatewayCommand::Cron { command }) => cron::run(&command),
        Some(GatewayCommand::Config { command: ConfigCommand::Validate(place) }) => validate(&place),
        Some(GatewayCommand::InstallDaemon(args)) => unit::install(&args),
        Some(GatewayCommand::Onboard(OnboardArgs { install, .. })) => unit::install(&install),
        Some(GatewayCommand::SampleAgent) => sample_agent::run(),
    }
}

/// Says that the configuration is fine and what is odd about it, or everything that is wrong.
fn validate(place: &PlaceArgs) -> Result<u8, CliError> {
    // One that was named must be there, whichever the running gateway has.
    place.inputs().file().map_err(|problem| CliError::coded(EXIT_CONFIG, problem))?;
    let (_, holder, inputs) = place.with_holder()?;
    let draft = load_draft(&inputs)?;
    let file = draft.settings().file.as_ref();
    let is_running = holder.is_some_and(|holder| holder.config.as_ref() == file);
    let what = file.map_or_else(
        || "no configuration file, the defaults count".to_owned(),
        |file| format!("{}{} is fine", file.display(), if is_running { " (of the running gateway)" } else { "" }),
    );
    let (agents, commands) = (draft.settings().agents.len(), draft.settings().commands.len());
    print(&format!("{what}; agents: {agents}, commands: {commands}, warnings: {}", draft.warnings.len()));
    for warning in &draft.warnings {
        complain(warning);
    }
    Ok(EXIT_OK)
}

impl PlaceArgs {
    pub(super) fn inputs(&self) -> Inputs {
        Inputs { config_file: self.config.clone(), state_dir: self.state_dir.clone(), ..Inputs::of_process() }
    }

    /// State directory, who runs on it, and where its settings are: the file that the running gateway was started with counts,
    /// wherever this command would look, unless it names another one.
    fn with_holder(&self) -> Result<(PathBuf, Option<Holder>, Inputs), CliError> {
        let inputs = self.inputs();
        let state_dir = state_dir(&inputs)?;
        let holder = holder_of(&state_dir)?;
        let inputs = inputs.beside(holder.as_ref());
        Ok((state_dir, holder, inputs))
    }

    /// As they are written on a command line.
    fn words(&self) -> Vec<String> {
        let path = |flag: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| [flag.to_owned(), absolute(path)]).into_iter().flatten().collect::<Vec<_>>()
        };
        [path("--config", &self.config), path("--state-dir", &self.state_dir)].concat()
    }
}

impl RunArgs {
    fn inputs(&self) -> Inputs {
        Inputs { port: self.port, bind: self.bind.clone(), ..self.place.inputs() }
    }

    /// As they are written on a command line, so that a restart can repeat them. `--force` is for one start only.
    fn words(&self) -> Vec<String> {
        let mut words = self.place.words();
        if let Some(port) = self.port {
            words.extend(["--port".to_owned(), port.to_string()]);
        }
        if let Some(bind) = &self.bind {
            words.extend(["--bind".to_owned(), bind.clone()]);
        }
        words
    }
}

fn absolute(path: &std::path::Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Reads the configuration, or says what is wrong with it.
fn load_draft(inputs: &Inputs) -> Result<Draft, CliError> {
    load(inputs).map_err(|error| CliError::coded(EXIT_CONFIG, error))
}

/// The state directory alone, for commands that must work with a broken configuration, too.
fn state_dir(inputs: &Inputs) -> Result<PathBuf, CliError> {
    inputs.state_directory().map_err(|problem| CliError::coded(EXIT_CONFIG, problem))
}

/// Who runs on it.
fn holder_of(state_dir: &std::path::Path) -> Result<Option<Holder>, CliError> {
    running(state_dir)
        .map_err(|error| CliError::new(format!("The lock file in {} cannot be read: {error}.", state_dir.display())))
}
