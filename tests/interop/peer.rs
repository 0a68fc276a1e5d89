//! A real gateway, run by `tests/peers/openclaw`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::mock_model::MockModel;

/// The release that speaks protocol 4.
pub(crate) const NEWEST: &str = "2026.9.6";
/// The release that speaks protocol 3.
pub(crate) const OLDER: &str = "2026.3.24";
/// The oldest one, also of protocol 3; calls itself "dev".
pub(crate) const OLDEST: &str = "2026.2.19";

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A base port whose neighbours are free as well: older releases bind PORT+2 and PORT+3 too, so bases are 20 apart.
pub(crate) fn free_base() -> u16 {
    for _ in 0..200 {
        // another run at the same time starts elsewhere
        let step = u32::from(NEXT.fetch_add(1, Ordering::SeqCst)) + std::process::id() * 7;
        let base = 8_000 + 20 * u16::try_from(step % 200).expect("small");
        if (0..4).all(|offset| TcpListener::bind(("127.0.0.1", base + offset)).is_ok()) {
            return base;
        }
    }
    panic!("no free range of loopback ports");
}

/// A running gateway with a state of its own. Dropping it stops it and forgets its state.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) version: &'static str,
    pub(crate) port: u16,
    pub(crate) token: String,
    /// JSON that its configuration has besides.
    config: String,
    /// Whether it speaks TLS.
    tls: bool,
}

impl Peer {
    /// Installs the release if needed and starts it on a free port.
    pub(crate) fn start(version: &'static str) -> Self {
        Self::launch(version, String::new(), false)
    }

    /// One whose configuration has this besides.
    pub(crate) fn start_with(version: &'static str, config: &Value) -> Self {
        Self::launch(version, config.to_string(), false)
    }

    /// One that speaks TLS only, with a certificate that it makes itself.
    pub(crate) fn start_with_tls(version: &'static str) -> Self {
        let config = json!({"gateway": {"tls": {"enabled": true, "autoGenerate": true}}});
        Self::launch(version, config.to_string(), true)
    }

    /// One whose agents have this model, so that their runs run.
    pub(crate) fn start_with_model(version: &'static str, model: &MockModel) -> Self {
        Self::start_with(version, &model.gateway_config())
    }

    fn launch(version: &'static str, config: String, tls: bool) -> Self {
        let port = free_base();
        let peer = Self { version, port, token: format!("interop-token-{port}"), config, tls };
        peer.tool(&["reset"]);
        peer.start_again();
        peer
    }

    /// The scheme of its URL.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "wss" } else { "ws" }
    }

    /// Starts it (again) with the state that it has.
    pub(crate) fn start_again(&self) {
        let output = self.run(&["start", self.version, &self.port.to_string(), &self.token, &self.config]);
        assert!(
            output.status.success(),
            "{} does not start: {}",
            self.version,
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.tool(&["kill"]);
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) {
        self.tool(&["freeze"]);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.tool(&["thaw"]);
    }

    /// SIGTERM.
    pub(crate) fn stop(&self) {
        self.tool(&["stop"]);
    }

    fn tool(&self, arguments: &[&str]) {
        let mut all = arguments.to_vec();
        let port = self.port.to_string();
        all.push(&port);
        self.run(&all);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let tool = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openclaw");
        Command::new(tool).args(arguments).output().expect("the peer tool runs")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // a frozen one takes no SIGTERM
        self.thaw();
        self.stop();
        self.tool(&["reset"]);
    }
}
