//! What the service manager is told: ready, a line of status, alive, stopping. Without `$NOTIFY_SOCKET` nothing happens.
//!
//! The watchdog is fed only while registry *and* store have answered since it was last fed: a timer that feeds it by
//! itself would hide exactly the hang that it is for. The store answers without touching its database, because a locked or
//! full database is no reason to be killed.

pub mod passed_socket;
mod status_line;
mod watchdog;

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

pub use status_line::{StatusLine, describe};
pub use watchdog::{Feeding, feed_interval};

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// The socket of `$NOTIFY_SOCKET`. Where it is set and can't be used, that is logged: the daemon can run all the same.
    pub fn of_process() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        match Self::connect(&path) {
            Ok(notifier) => notifier,
            Err(error) => {
                tracing::warn!(%error, socket = %path.display(), "the service manager's socket cannot be used");
                Self::default()
            }
        }
    }

    /// A socket by its path; a leading `@` means the abstract namespace.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(path: &OsStr) -> std::io::Result<Self> {
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A service manager that doesn't read must not stop the daemon.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(socket) })
    }

    /// Whether anybody is told.
    pub fn is_active(&self) -> bool {
        self.socket.is_some()
    }

    /// The store is migrated, the registry runs, the socket is bound.
    pub fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.send(&[NotifyState::Status(line)]);
    }

    /// The configuration is being read again; [`Self::ready`] ends that.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "the reload is not announced"),
        }
    }

    /// Alive.
    pub fn feed_watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// The stop has begun.
    pub fn stopping(&self, line: &str) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(line)]);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// How often the service manager wants to hear of us, where it does.
pub fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(test)]
mod tests;
