//! `gatewarden serve`: the story of a run, from configuration to exit code.

use std::io::IsTerminal as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use gatewarden_actors::metrics::Metrics;
use gatewarden_protocol::Secret;

use super::error::CliError;
use super::output::{complain, print};
use super::{EXIT_CONFIG, EXIT_FAILURE, EXIT_OK};
use crate::app::{App, Place};
use crate::config::{Config, Effect, Inputs};
use crate::shutdown::{self, Request, Signals};
use crate::systemd::{Notifier, take_passed_socket};
use crate::telemetry::{self, LogControl};

/// Runs the daemon to its end.
pub(super) fn run(inputs: &Inputs) -> Result<u8, CliError> {
    // First of all: it takes variables out of the environment, while there is one thread.
    let passed = take_passed_socket().map_err(|sentence| CliError::coded(EXIT_CONFIG, sentence))?;
    let config = Config::load(inputs)?;
    let (logs, metrics) = start_log(&config)?;
    let code = actix_rt::System::new().block_on(until_stopped(inputs, config, logs.clone(), metrics, passed));
    logs.flush();
    code
}

async fn until_stopped(
    inputs: &Inputs,
    config: Config,
    logs: LogControl,
    metrics: Arc<Metrics>,
    passed: Option<TcpListener>,
) -> Result<u8, CliError> {
    // Before anything is written: a stop during the start must not be lost.
    let mut signals = listen_for_signals()?;
    let notifier = Arc::new(Notifier::of_process());
    notifier.status("starting");
    // Its failures are said plainly and once: before it runs, the daemon speaks to whoever starts it.
    let mut place = Place::take(&config, &metrics, passed, None)?;
    let mut is_announced = false;
    let stands_by = |address| {
        say_address(address, None);
        is_announced = true;
    };
    if !place.until_acting(&config, &metrics, &notifier, &mut signals, stands_by).await? {
        return Ok(EXIT_OK);
    }
    let mut app = App::build(&config, metrics, notifier.clone(), place).await?;
    if !is_announced {
        say_address(app.address, app.new_admin_key.as_ref());
    }

    let code = work(inputs, config, &logs, &mut app, &mut signals, &notifier).await;
    tokio::select! {
        saved = shutdown::drain(&mut app) => Ok(if saved { code } else { EXIT_FAILURE }),
        signal = signals.stop() => {
            tracing::warn!(signal, "stopping at once");
            Ok(EXIT_FAILURE)
        }
    }
}

/// Starts logging, with what the configuration warns of, and counting.
pub(super) fn start_log(config: &Config) -> Result<(LogControl, Arc<Metrics>), CliError> {
    let logs = telemetry::start(&config.log).map_err(|sentence| CliError::coded(EXIT_CONFIG, sentence))?;
    let metrics = Arc::new(Metrics::new());
    telemetry::watch(&logs, metrics.clone());
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok((logs, metrics))
}

/// Takes the process's signals, from now on.
pub(super) fn listen_for_signals() -> Result<Signals, CliError> {
    Signals::listen().map_err(|error| CliError::new(format!("The system's signals cannot be had: {error}.")))
}

/// `gatewarden config check`: prints every setting with its source, or everything that is wrong.
pub(super) fn check_config(inputs: &Inputs) -> Result<u8, CliError> {
    let config = Config::load(inputs)?;
    print(&config.describe());
    for warning in &config.warnings {
        complain(warning);
    }
    Ok(EXIT_OK)
}

/// The one line of standard output, so that port 0 is of use, and the key that nobody will see again.
fn say_address(address: SocketAddr, new_admin_key: Option<&Secret>) {
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    let mut said = format!("listening on http://{address}\n");
    if let Some(key) = new_admin_key {
        tracing::info!("made an admin key; it stands in admin.key in the state directory");
        if std::io::stdout().is_terminal() {
            said.push_str(&format!("admin key (shown once, kept in admin.key): {}\n", key.expose()));
        }
    }
    // On a thread of its own: whoever has standard output may not read it, and the daemon works all the same.
    let printing = std::thread::Builder::new().name("announce".to_owned()).spawn(move || print(&said));
    if let Err(error) = printing {
        tracing::warn!(%error, "standard output does not say where the daemon listens");
    }
}

/// Works until a signal says stop (0) or a part that nothing can replace has died (1).
pub(super) async fn work(
    inputs: &Inputs,
    mut config: Config,
    logs: &LogControl,
    app: &mut App,
    signals: &mut Signals,
    notifier: &Notifier,
) -> u8 {
    let metrics = app.metrics.clone();
    let mut died = std::pin::pin!(app.watch());
    loop {
        tokio::select! {
            reason = &mut died => {
                tracing::error!(%reason, "the daemon stops; the service manager should start it again");
                return EXIT_FAILURE;
            }
            request = signals.next() => match request {
                Request::Stop(signal) => {
                    tracing::info!(signal, "asked to stop");
                    return EXIT_OK;
                }
                Request::Reload => {
                    notifier.reloading();
                    metrics.set_config_reload(reload(inputs, &mut config, logs));
                    notifier.ready();
                }
            },
        }
    }
}

/// Reads the configuration again. What is wrong with it is logged, and everything stays as it is: then false.
fn reload(inputs: &Inputs, config: &mut Config, logs: &LogControl) -> bool {
    let newer = match Config::load(inputs) {
        Ok(newer) => newer,
        Err(error) => {
            tracing::error!(%error, "the configuration was not reloaded; the present one stays");
            return false;
        }
    };
    let changes = config.changes_to(&newer);
    let is_live = |path| changes.iter().any(|change| change.path == path && change.effect == Effect::Live);
    if is_live("log.level")
        && let Err(error) = logs.set_filter(&newer.log.filter)
    {
        tracing::error!(%error, "log.level stays as it is");
    }
    for change in &changes {
        let (key, before, after) = (change.path, &change.before, &change.after);
        match change.effect {
            Effect::Live => {
                tracing::info!(key, %before, %after, effect = "applied", "reloaded: {key} is {after} from now on")
            }
            Effect::AtRestart => {
                tracing::warn!(key, %before, %after, effect = "needs_restart",
                    "reloaded: {key} was changed to {after}, which takes effect at the next start of the daemon");
            }
        }
    }
    let waiting = changes.iter().filter(|change| change.effect == Effect::AtRestart).count();
    tracing::info!(applied = changes.len() - waiting, needs_restart = waiting, "reloaded the configuration");
    config.take_live(newer);
    true
}
