//! The embedded gateway as its users have it: the real binary's `gateway` commands on a state directory of their own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::daemon::PATIENCE;
use super::http::{self, Answer};
use super::wait;

/// A home directory with a state directory and, where wanted, a configuration file.
#[derive(Debug)]
pub(crate) struct GatewayHome {
    dir: tempfile::TempDir,
    config: Option<PathBuf>,
}

impl GatewayHome {
    /// With a configuration file of this name.
    pub(crate) fn with(name: &str, text: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let mut home = Self::new();
        let file = home.dir.path().join(name);
        std::fs::write(&file, text).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
        home.config = Some(file);
        home
    }

    /// Without a configuration file, but for the metrics, whose default port all tests would share.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gatewarden-test-").tempdir().expect("a temporary directory");
        Self { dir, config: None }
    }

    /// A quiet gateway: no metrics.
    pub(crate) fn quiet() -> Self {
        Self::with("openclaw.json", "{gatewarden: {metrics: {enabled: false}}}")
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// `gatewarden gateway WORDS`, on this home.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatewarden"));
        command.arg("gateway").args(words);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("OPENCLAW_STATE_DIR", self.state())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(config) = &self.config {
            command.env("OPENCLAW_CONFIG", config);
        }
        command
    }

    /// Runs a command that ends by itself.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        let Output { status, stdout, stderr } = self.command(words).output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// `gatewarden gateway run` on any free port, and what else is wanted; waits until it listens.
    pub(crate) fn start(&self, words: &[&str]) -> GatewayProcess {
        self.start_command(self.command(&[&["run", "--port", "0"], words].concat()))
    }

    pub(crate) fn start_command(&self, mut command: Command) -> GatewayProcess {
        let mut child = command.spawn().expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let Some(url) = line.trim().strip_prefix("listening on ") else {
            let mut said = String::new();
            child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
            let _ = child.wait();
            panic!("it did not start: {line:?} {said}");
        };
        let (_, address) = url.split_once("://").expect("a URL");
        GatewayProcess { child, url: url.to_owned(), address: address.parse().expect("an address") }
    }

    /// The token of its first start.
    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.state().join("gateway-token")).expect("a token").trim().to_owned()
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.state().join("logs/gateway.log")).unwrap_or_default()
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// The code, else a panic that shows what was said.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// A gateway that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct GatewayProcess {
    child: Child,
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
}

impl GatewayProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait::until_ok("the gateway ends", PATIENCE, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
    }

    /// `GET`, with or without a Bearer token.
    pub(crate) fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        http::request(self.address, "GET", path, &headers, None).expect("an answer")
    }

    /// What it has said on standard error, once it has ended.
    pub(crate) fn stderr(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        said
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
