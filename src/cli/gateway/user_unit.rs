//! The systemd user unit: where it is, and asking `systemctl --user` about it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use gatewarden_embedded_gateway::config::Inputs;

/// Its name.
pub(super) const UNIT: &str = "gatewarden-gateway.service";

/// Where it is installed.
pub(super) fn path(inputs: &Inputs) -> Option<PathBuf> {
    let base = inputs
        .variable("XDG_CONFIG_HOME")
        .filter(|dir| dir.starts_with('/'))
        .map(PathBuf::from)
        .or_else(|| inputs.home().map(|home| home.join(".config")))?;
    Some(base.join("systemd/user").join(UNIT))
}

/// Whether it is installed.
pub(super) fn is_installed(inputs: &Inputs) -> bool {
    path(inputs).is_some_and(|path| path.is_file())
}

/// The unit's main process; none where it doesn't run or there is no user manager.
pub(super) fn main_pid() -> Option<u32> {
    let output = Command::new("systemctl")
        .args(["--user", "show", "--property=MainPID", "--value", UNIT])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|pid| *pid > 0)
}

/// `systemctl --user WORDS`; a sentence where it fails.
pub(super) fn systemctl(words: &[&str]) -> Result<(), String> {
    let said = || format!("systemctl --user {}", words.join(" "));
    let output = Command::new("systemctl")
        .arg("--user")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{}` cannot be run: {error}", said()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{}` failed: {}", said(), String::from_utf8_lossy(&output.stderr).trim()))
}
