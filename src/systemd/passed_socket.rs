//! The listening socket that the service manager hands over (`gatewarden.socket`, sd_listen_fds(3)): it stays open while the daemon
//! restarts, so that no connection attempt is refused.

use std::net::TcpListener;

use listenfd::ListenFd;

/// Takes it; none where nothing was handed over to this process. To be called once, before other threads run: what announces the
/// socket is taken out of the environment, so that no child takes it for its own.
///
/// # Errors
/// A sentence: it is no listening TCP socket, or there are several.
pub fn take() -> Result<Option<TcpListener>, String> {
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
