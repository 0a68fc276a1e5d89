//! What the service manager is told: ready, a line of status, alive, stopping. Without `$NOTIFY_SOCKET` nothing happens.
//!
//! The watchdog is fed only while registry *and* store have answered since it was last fed: a timer that feeds it by
//! itself would hide exactly the hang that it is for. The store answers without touching its database, because a locked or
//! full database is no reason to be killed.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use gatewarden_actors::gateway_report::Status;
use gatewarden_actors::registry::roster::RosterReader;
use listenfd::ListenFd;
use sd_notify::NotifyState;

/// A status line is told never more often than this: a fleet that flaps is no reason to flood the service manager.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// The socket of `$NOTIFY_SOCKET`. Where it is set and can't be used, that is logged: the daemon can run all the same.
    pub(crate) fn of_process() -> Self {
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
    pub(crate) fn connect(path: &OsStr) -> std::io::Result<Self> {
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

    pub(crate) fn is_active(&self) -> bool {
        self.socket.is_some()
    }

    /// The store is migrated, the registry runs, the socket is bound.
    pub(crate) fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`.
    pub(crate) fn status(&self, line: &str) {
        self.send(&[NotifyState::Status(line)]);
    }

    /// The configuration is being read again; [`Self::ready`] ends that.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "the reload is not announced"),
        }
    }

    pub(crate) fn feed_watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    pub(crate) fn stopping(&self, line: &str) {
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
pub(crate) fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Who has answered since the watchdog was last fed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Feeding {
    registry: bool,
    store: bool,
}

impl Feeding {
    /// The registry worked through its mailbox.
    pub(crate) fn on_registry_answer(&mut self) {
        self.registry = true;
    }

    /// All threads of the store are alive.
    pub(crate) fn on_store_answer(&mut self) {
        self.store = true;
    }

    /// Whether to feed now. If so, both must answer anew before the next time.
    pub(crate) fn take(&mut self) -> bool {
        let both = self.registry && self.store;
        if both {
            *self = Self::default();
        }
        both
    }

    /// Who has not answered yet, for the log.
    pub(crate) fn missing(&self) -> &'static str {
        match (self.registry, self.store) {
            (false, false) => "registry and store",
            (false, true) => "registry",
            (true, false) => "store",
            (true, true) => "nobody",
        }
    }
}

/// How often to ask: a third of the time after which the service manager gives up, so that one late answer costs nothing.
pub(crate) fn feed_interval(timeout: Duration) -> Duration {
    (timeout / 3).max(Duration::from_millis(10))
}

/// Holds the line back until it differs from what was told and enough time has passed.
#[derive(Debug, Default)]
pub(crate) struct StatusLine {
    told: Option<(Instant, String)>,
}

impl StatusLine {
    /// The line, if it is to be told now. To be asked again with the present line a second later.
    pub(crate) fn offer(&mut self, now: Instant, line: String) -> Option<String> {
        if let Some((at, told)) = &self.told
            && (*told == line || now.saturating_duration_since(*at) < AT_MOST_EVERY)
        {
            return None;
        }
        self.told = Some((now, line.clone()));
        Some(line)
    }
}

/// "3 of 4 gateways online, primary prod". O(gateways).
pub(crate) fn describe(roster: &RosterReader) -> String {
    let gateways = roster.list();
    let online = gateways.iter().filter(|view| view.report.status == Status::Online).count();
    let plural = if gateways.len() == 1 { "gateway" } else { "gateways" };
    let primary = match roster.acting_primary() {
        Some(acting) => format!("primary {}", one_line(&acting.name)),
        None => "no primary".to_owned(),
    };
    let doubt = if roster.self_doubt().is_some() { ", own network in doubt" } else { "" };
    format!("{online} of {} {plural} online, {primary}{doubt}", gateways.len())
}

/// A name comes from outside; a line break in it would be another field of the notification.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Takes the listening socket that the service manager hands over (`gatewarden.socket`, sd_listen_fds(3)): it stays open while the
/// daemon restarts, so that no connection attempt is refused. None where nothing was handed over to this process. To be called once, before other threads run: what announces the
/// socket is taken out of the environment, so that no child takes it for its own.
pub(crate) fn take_passed_socket() -> Result<Option<TcpListener>, String> {
    let mut passed = ListenFd::from_env();
    let count = passed.len();
    if count > 1 {
        return Err(format!(
            "The service manager handed over {count} sockets, and the daemon serves one: leave one ListenStream= in gatewarden.socket."
        ));
    }
    if count == 0 {
        return Ok(None);
    }
    passed.take_tcp_listener(0).map_err(|error| {
        format!(
            "The service manager handed over something else than a TCP socket ({error}): ListenStream= in gatewarden.socket must be an \
             address with a port."
        )
    })
}

#[cfg(test)]
mod tests;
