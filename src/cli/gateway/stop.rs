//! `gatewarden gateway stop`: the process of the lock file, and no other.

use std::path::Path;
use std::time::Duration;

use gatewarden_embedded_gateway::lock_file::Holder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::super::{EXIT_FAILURE, EXIT_OK, fail, terminal};
use super::{PlaceArgs, holder_of, state_dir, user_unit};

/// The gateway's own stop takes 20 s at most.
const PATIENCE: Duration = Duration::from_secs(25);

/// Stops it and waits for its end.
pub(super) fn run(place: &PlaceArgs) -> u8 {
    let state_dir = match state_dir(&place.inputs()) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    match stop(&state_dir) {
        Ok(Some(holder)) => {
            terminal::print(&format!("stopped the gateway (process {})", holder.pid));
            EXIT_OK
        }
        Ok(None) => {
            terminal::print(&format!("no gateway runs on {}", state_dir.display()));
            EXIT_OK
        }
        Err(code) => code,
    }
}

/// Stops whoever has the lock; who that was.
pub(super) fn stop(state_dir: &Path) -> Result<Option<Holder>, u8> {
    let Some(holder) = holder_of(state_dir)? else { return Ok(None) };
    if user_unit::main_pid() == Some(holder.pid) {
        // Else its manager would take the end for a failure.
        user_unit::systemctl(&["stop", user_unit::UNIT]).map_err(|sentence| fail(EXIT_FAILURE, sentence))?;
        return Ok(Some(holder));
    }
    end(&holder).map_err(|sentence| fail(EXIT_FAILURE, sentence))?;
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
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
        Ok(1..) => Ok(()),
        _ => Err(format!(
            "The gateway (process {}) got SIGTERM and has not ended within {} s. Look at its log; `kill -KILL {}` ends it \
             without its agents.",
            holder.pid,
            PATIENCE.as_secs(),
            holder.pid
        )),
    }
}
