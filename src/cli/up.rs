//! `gatewarden up`: everything that a first look needs. The daemon in this process; a gateway as a supervised child, where
//! nothing listens at the gateway's address; a sample agent; and the lines that set it to work.

mod child;
mod registration;
mod sample;
mod welcome;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gatewarden_actors::metrics::Metrics;
use gatewarden_embedded_gateway::config::{Inputs as GatewayInputs, load};
use gatewarden_protocol::Secret;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::CliError;
use super::output::{complain, print};
use super::serve::{self, start_log};
use super::{EXIT_CONFIG, EXIT_FAILURE, EXIT_OK};
use crate::app::{App, Place, StartError, StateDir};
use crate::config::{Config, Inputs};
use crate::shutdown::{self, Signals};
use crate::systemd::Notifier;
use crate::telemetry::LogControl;
use child::{Gateway, HEAD_START};

/// How long a listener on loopback may take to answer before there is none.
const PROBE: Duration = Duration::from_secs(2);

/// What `up` can be told.
#[derive(Debug, Clone, Args)]
pub(super) struct UpArgs {
    /// Configuration file of the daemon [default: /etc/gatewarden/gatewarden.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the daemon, such as 127.0.0.1:3000; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Directory of everything: the daemon's database and keys; the gateway's state is in `gateway` below it
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Port of the gateway; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = gatewarden_embedded_gateway::config::DEFAULT_PORT)]
    gateway_port: u16,
    /// Configuration file of the gateway [default: openclaw.json or openclaw-gateway.yml in $XDG_CONFIG_HOME/gatewarden,
    /// where one exists, else one with a sample agent]
    #[arg(long, value_name = "FILE")]
    gateway_config: Option<PathBuf>,
    /// Write the daemon's log at level info, not only what is wrong
    #[arg(long, short)]
    verbose: bool,
}

impl UpArgs {
    fn inputs(&self) -> Inputs {
        let mut inputs = Inputs {
            config_file: self.config.clone(),
            listen: self.listen.clone(),
            state_dir: self.state_dir.clone(),
            ..Inputs::of_process()
        };
        // Somebody sits before this: the lines that count must not drown in a log.
        let chosen = ["LOG_LEVEL", "GATEWARDEN_LOG__LEVEL"].iter().any(|name| inputs.variable(name).is_some());
        if !self.verbose && !chosen {
            inputs.environment.insert("GATEWARDEN_LOG__LEVEL".to_owned(), "warn".into());
        }
        inputs
    }
}

/// Runs everything to its end.
pub(super) fn run(args: &UpArgs) -> Result<u8, CliError> {
    let mut inputs = args.inputs();
    let config = Config::load(&inputs)?;
    // Before a gateway is started for it, and until the daemon has it: of two at once one starts everything.
    let claimed = match StateDir::claim(&config.state_dir) {
        Ok(claimed) => claimed,
        Err(StartError::InUse { holder, address, .. }) => {
            print(&welcome::runs_already(&config, holder, address));
            return Ok(EXIT_OK);
        }
        Err(error) => return Err(error.into()),
    };
    let (logs, metrics) = start_log(&config)?;
    let code = actix_rt::System::new().block_on(async {
        let mut signals = serve::listen_for_signals()?;
        let mut found = tokio::select! {
            found = find_or_start(args, &config) => found?,
            _ = signals.stop() => return Ok(EXIT_FAILURE),
        };
        let code = with_gateway(&mut inputs, &mut found, &logs, metrics, &mut signals, claimed).await;
        if let Some(gateway) = &mut found.gateway {
            gateway.stop().await;
        }
        code
    });
    logs.flush();
    code
}

fn bad_config(error: impl std::fmt::Display) -> CliError {
    CliError::coded(EXIT_CONFIG, error)
}

/// The gateway that is supervised first.
struct Found {
    /// Where it listens.
    address: SocketAddr,
    encrypted: bool,
    /// What lets the daemon in, where it is known.
    credential: Option<Secret>,
    /// Ours, where we started it.
    gateway: Option<Gateway>,
    /// The agent that the printed lines set to work; none: the gateway's default one.
    agent: Option<String>,
    /// The path of its own pages, where it has them and we started it.
    pages: Option<String>,
    state_dir: PathBuf,
}

async fn find_or_start(args: &UpArgs, config: &Config) -> Result<Found, CliError> {
    let state_dir = config.state_dir.join("gateway");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.gateway_port));
    let listens =
        args.gateway_port != 0 && matches!(timeout(PROBE, TcpStream::connect(address)).await, Ok(Ok(_)) | Err(_));
    let inputs = GatewayInputs { state_dir: Some(state_dir.clone()), ..GatewayInputs::of_process() };
    if listens {
        return Ok(already_there(address, inputs, state_dir));
    }

    let named = match &args.gateway_config {
        Some(file) => Some(file.clone()),
        None => inputs.file().map_err(bad_config)?,
    };
    let file = match named {
        Some(file) => file,
        None => sample::write(&state_dir)
            .map_err(|error| CliError::new(format!("{} cannot be used: {error}.", state_dir.display())))?,
    };
    let inputs = GatewayInputs { config_file: Some(file.clone()), ..inputs };
    let draft = load(&inputs).map_err(bad_config)?;
    let agent = draft.settings().agents.contains_key(sample::AGENT).then(|| sample::AGENT.to_owned());
    let control_ui = &draft.settings().control_ui;
    let pages = control_ui.enabled.then(|| control_ui.base_path.clone());
    let mut gateway = Gateway::new(&file, &state_dir, args.gateway_port);
    let listening = match gateway.start().await {
        Ok(listening) => listening,
        Err(sentence) => {
            gateway.stop().await;
            return Err(CliError::new(sentence));
        }
    };
    // Its first start has made the token.
    let credential = match draft.credential() {
        Ok(credential) => credential,
        Err(error) => {
            gateway.stop().await;
            return Err(bad_config(error));
        }
    };
    Ok(Found {
        address: listening.address,
        encrypted: listening.encrypted,
        credential,
        gateway: Some(gateway),
        agent,
        pages,
        state_dir,
    })
}

/// Something listens: perhaps an embedded gateway of ours, whose token is known, perhaps a real one.
fn already_there(address: SocketAddr, inputs: GatewayInputs, state_dir: PathBuf) -> Found {
    let ours = gatewarden_embedded_gateway::lock_file::running(&state_dir).ok().flatten();
    let ours = ours.filter(|holder| {
        holder
            .address
            .as_deref()
            .and_then(|text| text.parse::<SocketAddr>().ok())
            .is_some_and(|own| own.port() == address.port())
    });
    let encrypted = ours.as_ref().is_some_and(|holder| holder.scheme == "wss");
    let credential = match &ours {
        Some(holder) => load(&GatewayInputs { config_file: holder.config.clone(), ..inputs })
            .ok()
            .and_then(|draft| draft.credential().ok().flatten()),
        None => inputs.variable("OPENCLAW_GATEWAY_TOKEN").map(Secret::new),
    };
    Found { address, encrypted, credential, gateway: None, agent: None, pages: None, state_dir }
}

/// The daemon's life beside the gateway's.
async fn with_gateway(
    inputs: &mut Inputs,
    found: &mut Found,
    logs: &LogControl,
    metrics: Arc<Metrics>,
    signals: &mut Signals,
    claimed: StateDir,
) -> Result<u8, CliError> {
    registration::seed(inputs, found.address, found.encrypted, found.credential.as_ref());
    let config = Config::load(inputs)?;
    let notifier = Arc::new(Notifier::of_process());
    let mut place = Place::take(&config, &metrics, None, Some(claimed))?;
    let stands_by = |address| print(&format!("listening on http://{address}, and standing by: another node acts"));
    if !place.until_acting(&config, &metrics, &notifier, signals, stands_by).await? {
        return Ok(EXIT_OK);
    }
    let mut app = App::build(&config, metrics, notifier.clone(), place).await?;
    print(&format!("listening on http://{}", app.address));
    if found.gateway.is_none() {
        print(&format!("something listens at {} already: the daemon connects to it", found.address));
    }
    let welcome = welcome(&app, &config.state_dir, found);
    let supervised = supervise(found.gateway.as_mut());
    let code = tokio::select! {
        code = serve::work(inputs, config, logs, &mut app, signals, &notifier) => code,
        never = async { tokio::join!(welcome, supervised).1 } => never,
    };
    if code == EXIT_OK {
        print("\nStopping. What was accepted is finished; Ctrl-C again ends everything at once.");
    }
    // The daemon leaves first, so that the end of a gateway that it supervises is no news; but both fit into the time of one stop.
    let (left, daemon_left) = oneshot::channel();
    let daemon = async {
        let saved = shutdown::drain(&mut app).await;
        let _ = left.send(());
        saved
    };
    let gateway = async {
        let _ = timeout(HEAD_START, daemon_left).await;
        if let Some(gateway) = &mut found.gateway {
            gateway.stop().await;
        }
    };
    tokio::select! {
        (saved, ()) = async { tokio::join!(daemon, gateway) } => {
            let code = if saved { code } else { EXIT_FAILURE };
            if code == EXIT_OK {
                print("Stopped. `gatewarden up` goes on from here.");
            }
            Ok(code)
        }
        signal = signals.stop() => {
            tracing::warn!(signal, "stopping at once");
            Ok(EXIT_FAILURE)
        }
    }
}

/// Runs for ever: a gateway that is given up is said loudly, and the daemon goes on without it.
async fn supervise(gateway: Option<&mut Gateway>) -> u8 {
    if let Some(gateway) = gateway {
        let sentence = gateway.keep_running().await;
        complain(&sentence);
    }
    std::future::pending().await
}

/// Registers the gateway where it isn't yet, waits until it is online, and says how to go on.
fn welcome(app: &App, state_dir: &Path, found: &Found) -> impl Future<Output = ()> + use<> {
    let key_file = Some(state_dir.join("admin.key")).filter(|file| file.is_file());
    let words = welcome::Words {
        command: welcome::command(app.address, key_file.as_deref()),
        daemon: app.address,
        gateway: found.address,
        encrypted: found.encrypted,
        started_here: found.gateway.is_some(),
        agent: found.agent.clone(),
        pages: found.pages.clone(),
        new_key: app.new_admin_key.clone(),
        key_file,
        gateway_state: found.state_dir.clone(),
    };
    let key = app.admin_key.clone();
    let credential = found.credential.clone();
    async move {
        let (daemon, gateway, encrypted) = (words.daemon, words.gateway, words.encrypted);
        let started_here = words.started_here;
        let (outcome, link) = match key {
            None => (Err("there is no admin key to register it with".to_owned()), None),
            Some(key) => actix_web::web::block(move || {
                let outcome = registration::ensure(daemon, &key, gateway, encrypted, started_here, credential.as_ref());
                (outcome, registration::login_link(daemon, &key))
            })
            .await
            .unwrap_or_else(|error| (Err(error.to_string()), None)),
        };
        print(&words.text(&outcome, link.as_deref()));
    }
}
