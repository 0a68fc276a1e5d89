//! `gatewarden gateway run`: the story of a run, from configuration to exit code.

use std::io::IsTerminal as _;
use std::time::Duration;

use gatewarden_embedded_gateway::clock::Now;
use gatewarden_embedded_gateway::config::{ConfigFile, GatewayConfig, Inputs};
use gatewarden_embedded_gateway::effect::{AuditEntry, LogLevel, LogLine};
use gatewarden_embedded_gateway::lock_file::{Holder, LockError, LockFile};
use gatewarden_embedded_gateway::log_sinks::LogSinks;
use gatewarden_embedded_gateway::processes;
use gatewarden_embedded_gateway::server::{self, StartError};
use gatewarden_processes::subreaper::adopt_descendants;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::super::error::CliError;
use super::super::output::print;
use super::super::serve::listen_for_signals;
use super::super::{EXIT_CONFIG, EXIT_FAILURE, EXIT_OK};
use super::{RunArgs, load_draft, log_layer};
use crate::app;
use crate::shutdown::{Request, Signals};
use crate::systemd::Notifier;

/// All of a stop, kills of children included; whatever isn't done by then is left to the kernel.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// What is queued for the logs is written.
const FLUSH: Duration = Duration::from_secs(2);

/// Runs the gateway to its end.
pub(super) fn run(args: &RunArgs) -> Result<u8, CliError> {
    if args.detached || args.supervised {
        // With it go the agents: none of them can reach the terminal. Fails where this process leads a group already.
        let _ = rustix::process::setsid();
    }
    let inputs = args.inputs();
    let draft = load_draft(&inputs)?;
    let warnings = draft.warnings.clone();
    let mut holder = Holder {
        bind: draft.settings().bind.describe(),
        scheme: if draft.settings().tls.is_some() { "wss" } else { "ws" }.to_owned(),
        config: draft.settings().file.clone(),
        arguments: args.words(),
        supervised: args.supervised,
        ..Holder::this(Now::read().wall_ms)
    };
    let mut lock = LockFile::claim(&draft.settings().state_dir, &holder, args.force).map_err(|error| {
        let code = if matches!(error, LockError::Io { .. }) { EXIT_FAILURE } else { EXIT_CONFIG };
        CliError::coded(code, error)
    })?;
    // The lock is ours: of two first starts at one time, one makes the token.
    let mut config = draft.settle().map_err(|error| CliError::coded(EXIT_CONFIG, error))?;
    // A service manager keeps what comes there. In the background it would be a second log, and `up` has words of its own there.
    let is_service = !args.detached && !args.supervised && !std::io::stderr().is_terminal();
    config.log.stderr = args.verbose || is_service;
    let outlets = LogSinks::open(&config).map_err(CliError::new)?;
    if let Some(log) = &outlets.log {
        log_layer::start(log.clone());
    }
    app::raise_file_limit();
    say_first(&inputs, &lock, &warnings);
    let state_dir = config.state_dir.clone();
    let config = (config, ConfigFile::new(inputs));
    let code = actix_rt::System::new().block_on(until_stopped(args, config, outlets.clone(), &mut holder, &mut lock));
    // A stop that was cut short must not leave children behind.
    let killed = processes::end_everything(&state_dir);
    if killed > 0 {
        tracing::warn!(killed, "processes that were still there were killed");
    }
    outlets.flush(FLUSH);
    lock.release();
    code
}

/// What an operator should know of this start, in the log.
fn say_first(inputs: &Inputs, lock: &LockFile, warnings: &[String]) {
    if let Some(crashed) = &lock.crashed {
        tracing::warn!(pid = crashed.pid, "the gateway before this one ended without stopping properly");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    tracing::debug!(home = ?inputs.home(), "configuration read");
}

async fn until_stopped(
    args: &RunArgs,
    (config, config_file): (GatewayConfig, ConfigFile),
    outlets: LogSinks,
    holder: &mut Holder,
    lock: &mut LockFile,
) -> Result<u8, CliError> {
    // Before anything is written: a stop during the start must not be lost.
    let mut signals = listen_for_signals()?;
    if let Err(error) = adopt_descendants() {
        tracing::warn!(%error, "processes that leave their parents won't become children of the gateway");
    }
    let running = match server::start_with(config, Some(config_file), outlets.clone()).await {
        Ok(running) => running,
        Err(error) => {
            let code = if matches!(error, StartError::Tls(_)) { EXIT_CONFIG } else { EXIT_FAILURE };
            // Both: whoever starts it reads standard error, whoever looks later reads the log.
            let line = LogLine {
                level: LogLevel::Error,
                source: "gateway".to_owned(),
                session: None,
                message: error.to_string(),
                extra: Value::Null,
            };
            outlets.log(&line, Now::read().wall_ms);
            return Err(CliError::coded(code, error));
        }
    };
    holder.address = Some(running.address.to_string());
    if let Err(error) = lock.record(holder) {
        tracing::warn!(%error, "the lock file does not say where this gateway listens");
    }
    audit(&outlets, "gateway.started", json!({"address": running.address.to_string(), "pid": std::process::id()}));
    print(&format!("listening on {}", running.websocket_url()));
    let notifier = Notifier::of_process();
    notifier.ready();

    let reason = tokio::select! {
        signal = stop_signal(&mut signals, &running) => signal,
        () = supervisor_gone(args.supervised) => "the end of its supervisor",
    };
    tracing::info!(reason, "the gateway stops");
    notifier.stopping("stopping: agents are ended");
    audit(&outlets, "gateway.stopped", json!({"reason": reason}));
    tokio::select! {
        stopped = tokio::time::timeout(STOP_WITHIN, running.stop()) => match stopped {
            Ok(()) => Ok(EXIT_OK),
            Err(_) => Err(CliError::new("The gateway did not stop in time; what was left is given up.")),
        },
        signal = signals.stop() => {
            tracing::warn!(signal, "stopping at once");
            Ok(EXIT_FAILURE)
        }
    }
}

fn audit(outlets: &LogSinks, event: &'static str, fields: Value) {
    outlets.audit(&AuditEntry { event, fields }, Now::read().wall_ms);
}

/// SIGTERM or SIGINT. At a SIGHUP the configuration is read anew.
async fn stop_signal(signals: &mut Signals, running: &server::Running) -> &'static str {
    loop {
        match signals.next().await {
            Request::Stop(signal) => return signal,
            Request::Reload => running.reload().await,
        }
    }
}

/// The supervisor holds the other end of standard input: its end is seen however it ends.
async fn supervisor_gone(supervised: bool) {
    if !supervised {
        return std::future::pending().await;
    }
    let Ok(input) = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned() else {
        return std::future::pending().await;
    };
    let Ok(mut pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(input) else {
        tracing::warn!("standard input is no pipe: the end of the supervisor cannot be seen");
        return std::future::pending().await;
    };
    let mut bytes = [0_u8; 64];
    while pipe.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}
