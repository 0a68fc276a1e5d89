//! A gateway, or something else, as a command of the configuration, and a daemon's setup for it.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::daemon::{Daemon, Setup};
use super::ports::free_port;

/// A command of the configuration, and the daemon's setup for it.
pub(crate) struct Local {
    home: tempfile::TempDir,
    port: u16,
    pub(crate) setup: Setup,
}

/// The gateway's token.
const TOKEN: &str = "local-gateway-token-0123";

impl Local {
    /// The embedded gateway, as the configuration's command `local`.
    pub(crate) fn gateway() -> Self {
        let port = free_port();
        let home = tempfile::Builder::new().prefix("gatewarden-test-").tempdir().expect("a temporary directory");
        let config = home.path().join("openclaw.json");
        std::fs::write(
            &config,
            format!(
                "{{gateway: {{bind: \"loopback\", auth: {{mode: \"token\", token: \"{TOKEN}\"}}}}, \
                 gatewarden: {{metrics: {{enabled: false}}}}}}"
            ),
        )
        .expect("written");
        private(&config);
        let program = env!("CARGO_BIN_EXE_gatewarden");
        let args = format!(
            "[\"gateway\", \"run\", \"--port\", \"{port}\", \"--config\", {:?}, \"--state-dir\", {:?}]",
            config.display().to_string(),
            home.path().join("gateway").display().to_string()
        );
        Self::of(home, port, program, &args)
    }

    /// A shell script, which is no gateway.
    pub(crate) fn script(text: &str) -> Self {
        let home = tempfile::Builder::new().prefix("gatewarden-test-").tempdir().expect("a temporary directory");
        let args = format!("[\"-c\", {:?}]", text.replace("HOME_DIR", &home.path().display().to_string()));
        Self::of(home, free_port(), "/bin/sh", &args)
    }

    fn of(home: tempfile::TempDir, port: u16, program: &str, args: &str) -> Self {
        let file = home.path().join("gatewarden.toml");
        let text = format!(
            "[commands.local]\nprogram = {program:?}\nargs = {args}\ndirectory = {:?}\n[commands.local.env]\nPLAIN = \"seen\"\n\
             TEST_HOME = {:?}\n",
            home.path().display().to_string(),
            home.path().display().to_string()
        );
        std::fs::write(&file, text).expect("written");
        private(&file);
        let setup = Setup::new()
            .args(&["--config", &file.display().to_string()])
            .env("GATEWARDEN_PROCESSES__BACKOFF", "100ms")
            .env("GATEWARDEN_PROCESSES__VERIFY_WITHIN", "40s")
            .env("GATEWARDEN_PROCESSES__STOP_GRACE", "5s")
            .env("GATEWARDEN_PROCESSES__SAMPLE_INTERVAL", "200ms");
        Self { home, port, setup }
    }

    /// With this in the daemon's environment.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.setup = self.setup.clone().env(key, value);
        self
    }

    /// A file beside the configuration.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What it listens at, and a file with its token.
    pub(crate) fn address(&self) -> (String, String) {
        let file = self.path("token");
        std::fs::write(&file, TOKEN).expect("written");
        private(&file);
        (format!("127.0.0.1:{}", self.port), file.display().to_string())
    }

    /// Registers it as `local`.
    pub(crate) fn register(&self, daemon: &Daemon) -> i64 {
        daemon.register_with(
            &json!({"name": "local", "host": "127.0.0.1", "port": self.port, "token": TOKEN, "command": "local"}),
        )
    }
}

/// A daemon that a test leaves is killed, and what it ran goes on: it ends with the test.
impl Drop for Local {
    fn drop(&mut self) {
        let mark = format!("TEST_HOME={}", self.home.path().display());
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if let Some(pid) = pid.filter(|_| environ.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())) {
                let _ = std::process::Command::new("kill").arg("-KILL").arg(pid.to_string()).status();
            }
        }
    }
}

fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("ours");
}
