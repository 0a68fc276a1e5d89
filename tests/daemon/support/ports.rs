//! Loopback ports for peers that go away and come back on the same port: taken below the range from which the kernel
//! gives out ports by itself, so that nobody else gets one meanwhile.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Set where a test runs in a network namespace of its own.
pub(crate) const OWN_NETWORK: &str = "GATEWARDEN_TEST_IN_OWN_NETWORK";

/// Whether nobody else is in this process's network.
pub(crate) fn is_alone() -> bool {
    std::env::var_os(OWN_NETWORK).is_some()
}

/// A loopback port that was free a moment ago and is not handed out twice by this process.
pub(crate) fn free_port() -> u16 {
    // Alone a process has the same each time.
    let start = if is_alone() { 0 } else { u16::try_from(std::process::id() % 400).expect("small") * 50 };
    for _ in 0..20_000 {
        let offset = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 12_000 + offset;
        if !(18_700..19_500).contains(&port) && TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok() {
            return port;
        }
    }
    panic!("no free loopback port");
}
