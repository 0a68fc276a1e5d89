//! Starting a gateway that outlives this command, and waiting until it listens.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway that listens.
#[derive(Debug)]
pub(super) struct Started {
    /// Its process.
    pub(super) pid: u32,
    /// What it said: `ws://127.0.0.1:18789`.
    pub(super) url: String,
}

/// Starts `gatewarden gateway run WORDS` in a session of its own. Its standard error goes to `logs/gateway.stderr` of the
/// state directory.
pub(super) fn start(state_dir: &Path, words: &[String]) -> Result<Started, String> {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}.");
    let program = std::env::current_exe().map_err(|error| failed("The path of this program cannot be found", error))?;
    let logs = state_dir.join("logs");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&logs)
        .map_err(|error| failed(&format!("{} cannot be made", logs.display()), error))?;
    let errors_path = logs.join("gateway.stderr");
    let errors = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&errors_path)
        .map_err(|error| failed(&format!("{} cannot be written", errors_path.display()), error))?;
    let before = errors.metadata().map_or(0, |metadata| metadata.len());
    // It starts in the root directory.
    let paths = ["OPENCLAW_CONFIG", "OPENCLAW_CONFIG_PATH", "OPENCLAW_STATE_DIR"].into_iter().filter_map(|name| {
        let path =
            std::env::var_os(name).filter(|path| !path.is_empty() && !path.as_encoded_bytes().starts_with(b"~"))?;
        Some((name, std::path::absolute(path).ok()?))
    });
    let mut child = Command::new(program)
        .envs(paths)
        .args(["gateway", "run", "--detached"])
        .args(words)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|error| failed("The gateway cannot be started", error))?;
    let said = child.stdout.take().and_then(first_line);
    match said.as_deref().and_then(|line| line.strip_prefix("listening on ")) {
        Some(url) => Ok(Started { pid: child.id(), url: url.trim().to_owned() }),
        None => {
            let ended = child.try_wait().ok().flatten();
            let words = tail_from(&errors_path, before);
            let reason = if words.is_empty() { "it said nothing".to_owned() } else { words };
            match ended.or_else(|| {
                let _ = child.kill();
                child.wait().ok()
            }) {
                Some(status) => Err(format!("The gateway did not start ({status}): {reason}")),
                None => Err(format!("The gateway did not start: {reason}")),
            }
        }
    }
}

/// The first line, its end, or nothing in time.
fn first_line(from: impl std::io::Read + Send + 'static) -> Option<String> {
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(from.take(4096)).read_line(&mut line);
        let _ = give.send(line);
    });
    take.recv_timeout(PATIENCE).ok().filter(|line| !line.is_empty())
}

/// What was written to a file after a place, at most some kilobytes.
fn tail_from(path: &Path, place: u64) -> String {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(place))?;
        file.take(8 * 1024).read_to_string(&mut text)
    });
    read.map_or_else(|_| String::new(), |_| text.trim().to_owned())
}
