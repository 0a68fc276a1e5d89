//! `gatewarden gateway start`, `stop` and `restart`: in the background, as a service where it is installed as one. What is stopped is
//! the process of the lock file, and no other.

use std::path::Path;
use std::time::Duration;

use gatewarden_embedded_gateway::lock_file::Holder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::super::EXIT_OK;
use super::super::error::CliError;
use super::super::output::print;
use super::{PlaceArgs, RunArgs, absolute, detached, holder_of, load_draft, state_dir, unit};

/// The gateway's own stop takes 20 s at most.
const PATIENCE: Duration = Duration::from_secs(25);

/// Starts it and says what was done.
pub(super) fn start(args: &RunArgs) -> Result<u8, CliError> {
    let inputs = args.inputs();
    let draft = load_draft(&inputs)?;
    let state_dir = &draft.settings().state_dir;
    if let Some(holder) = holder_of(state_dir)? {
        let address = holder.address.unwrap_or_else(|| "an address that it does not have yet".to_owned());
        print(&format!("a gateway runs already: process {}, at {address}", holder.pid));
        return Ok(EXIT_OK);
    }
    let words = args.words();
    // The unit has its own arguments; whoever gives others means another gateway.
    if unit::is_installed(&inputs) && words.is_empty() {
        let failed =
            |sentence| CliError::new(format!("{sentence}. `gatewarden gateway run` starts it without systemd."));
        unit::systemctl(&["start", unit::NAME]).map_err(failed)?;
        let name = unit::NAME;
        print(&format!("started the systemd user unit {name}; `systemctl --user status {name}` shows it"));
        return Ok(EXIT_OK);
    }
    let started = detached::start(state_dir, &words).map_err(CliError::new)?;
    let log = draft.settings().log.file.display();
    print(&format!("started a gateway in the background: process {}, {}\nlog: {log}", started.pid, started.url));
    Ok(EXIT_OK)
}

/// Stops it and waits for its end.
pub(super) fn stop(place: &PlaceArgs) -> Result<u8, CliError> {
    let state_dir = state_dir(&place.inputs())?;
    print(&match stop_holder(&state_dir)? {
        Some(holder) => format!("stopped the gateway (process {})", holder.pid),
        None => format!("no gateway runs on {}", state_dir.display()),
    });
    Ok(EXIT_OK)
}

/// Stops it and starts it with the same arguments.
pub(super) fn restart(place: &PlaceArgs) -> Result<u8, CliError> {
    // First: a gateway that runs isn't stopped for a configuration that wouldn't start.
    let (state_dir, holder, inputs) = place.with_holder()?;
    load_draft(&inputs)?;
    if holder.is_some_and(|holder| unit::main_pid() == Some(holder.pid)) {
        unit::systemctl(&["restart", unit::NAME]).map_err(CliError::new)?;
        print(&format!("restarted the systemd user unit {}", unit::NAME));
        return Ok(EXIT_OK);
    }
    let words = match stop_holder(&state_dir)? {
        None => place.words(),
        Some(holder) if holder.supervised => {
            print(&format!(
                "stopped the gateway (process {}); the program that supervises it, gatewarden up, starts it again at once",
                holder.pid
            ));
            return Ok(EXIT_OK);
        }
        Some(holder) => {
            let mut words = holder.arguments;
            if !words.iter().any(|word| word == "--state-dir") {
                words.extend(["--state-dir".to_owned(), state_dir.display().to_string()]);
            }
            if let (Some(file), false) = (&inputs.config_file, words.iter().any(|word| word == "--config")) {
                words.extend(["--config".to_owned(), absolute(file)]);
            }
            words
        }
    };
    let started = detached::start(&state_dir, &words).map_err(CliError::new)?;
    print(&format!("restarted the gateway: process {}, {}", started.pid, started.url));
    Ok(EXIT_OK)
}

/// Stops whoever has the lock; who that was.
fn stop_holder(state_dir: &Path) -> Result<Option<Holder>, CliError> {
    let Some(holder) = holder_of(state_dir)? else { return Ok(None) };
    if unit::main_pid() == Some(holder.pid) {
        // Else its manager would take the end for a failure.
        unit::systemctl(&["stop", unit::NAME]).map_err(CliError::new)?;
    } else {
        end(&holder).map_err(CliError::new)?;
    }
    Ok(Some(holder))
}

fn end(holder: &Holder) -> Result<(), String> {
    let unverified = || {
        format!(
            "Process {} of the lock file is not the gateway that wrote it (another machine or container, or it has just \
             ended). Nothing was stopped.",
            holder.pid
        )
    };
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw).ok_or_else(unverified)?;
    // Opened before it is verified: from here on the number can't come to mean another process.
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| unverified())?;
    if !holder.is_alive() {
        return Err(unverified());
    }
    pidfd_send_signal(&process, Signal::TERM)
        .map_err(|error| format!("Process {} cannot be signalled: {error}.", holder.pid))?;
    let timeout = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap_or(25), tv_nsec: 0 };
    let wait = || poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout));
    // Who was stopped himself meanwhile waits anew.
    let waited = std::iter::repeat_with(wait).find(|waited| *waited != Err(Errno::INTR));
    match waited {
        Some(Ok(1..)) => Ok(()),
        _ => Err(format!(
            "The gateway (process {}) got SIGTERM and has not ended within {} s. Look at its log; `kill -KILL {}` ends it \
             without its agents.",
            holder.pid,
            PATIENCE.as_secs(),
            holder.pid
        )),
    }
}
