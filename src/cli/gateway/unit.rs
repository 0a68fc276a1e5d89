//! The systemd user unit of a gateway: `gatewarden gateway install-daemon`, hardened as far as a user's own manager can, and asking
//! `systemctl --user` about it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gatewarden_embedded_gateway::config::Inputs;

use super::super::EXIT_OK;
use super::super::error::CliError;
use super::super::output::print;
use super::{InstallArgs, absolute, load_draft};

/// Its name.
pub(super) const NAME: &str = "gatewarden-gateway.service";

/// Where it is installed.
fn path(inputs: &Inputs) -> Option<PathBuf> {
    let base = inputs
        .variable("XDG_CONFIG_HOME")
        .filter(|dir| dir.starts_with('/'))
        .map(PathBuf::from)
        .or_else(|| inputs.home().map(|home| home.join(".config")))?;
    Some(base.join("systemd/user").join(NAME))
}

/// Whether it is installed.
pub(super) fn is_installed(inputs: &Inputs) -> bool {
    path(inputs).is_some_and(|path| path.is_file())
}

/// The unit's main process; none where it doesn't run or there is no user manager.
pub(super) fn main_pid() -> Option<u32> {
    let output = Command::new("systemctl")
        .args(["--user", "show", "--property=MainPID", "--value", NAME])
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

/// Writes the unit and enables it, or prints it.
pub(super) fn install(args: &InstallArgs) -> Result<u8, CliError> {
    let inputs = args.place.inputs();
    let program = std::env::current_exe()
        .map_err(|error| CliError::new(format!("The path of this program cannot be found: {error}.")))?;
    let mut words = args.place.words();
    if args.place.config.is_none()
        && let Ok(Some(file)) = inputs.file()
    {
        words.extend(["--config".to_owned(), absolute(&file)]);
    }
    let unit = unit(&program, &words);
    if args.print {
        print(&unit);
        return Ok(EXIT_OK);
    }
    // A unit that fails at its first start is found out now.
    let draft = load_draft(&inputs)?;
    let path = path(&inputs).ok_or_else(|| {
        CliError::new("There is no $HOME to install the unit in. Use --print and put it where it belongs.")
    })?;
    write(&path, &unit)
        .map_err(|error| CliError::new(format!("The unit cannot be written to {}: {error}.", path.display())))?;
    print(&format!("installed {}", path.display()));
    for words in [&["daemon-reload"] as &[&str], &["enable", NAME]] {
        let advice = "The unit is in place; enable it in a session that has a user manager.";
        systemctl(words).map_err(|sentence| CliError::new(format!("{sentence}. {advice}")))?;
    }
    print(&format!(
        "start it with `gatewarden gateway start`; it keeps its state in {}\nit runs while you are logged in; \
         `loginctl enable-linger` keeps it running after that",
        draft.settings().state_dir.display()
    ));
    Ok(EXIT_OK)
}

fn write(path: &Path, unit: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(unit.as_bytes())
}

/// Restrictions that need privileges (users, devices, kernel settings) belong to the system manager and would make a
/// user's unit fail. Agents are children of the gateway: what binds it binds them, so the home directory stays writable,
/// and memory may be made executable (JavaScript engines do).
fn unit(program: &Path, words: &[String]) -> String {
    let command = std::iter::once(program.display().to_string())
        .chain(["gateway".to_owned(), "run".to_owned()])
        .chain(words.iter().cloned())
        .map(|word| quoted(&word))
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        "[Unit]
Description=OpenClaw-compatible gateway of gatewarden
Documentation=https://docs.openclaw.ai/gateway
After=network.target
# Five failures within five minutes are not chance.
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
# Its configuration's file is read anew.
ExecReload=/bin/sh -c 'kill -HUP $MAINPID'
Restart=on-failure
RestartSec=5
# Wrong usage, bad configuration, or another gateway on the same state: restarting doesn't help.
RestartPreventExitStatus=64 78
# The gateway ends its agents within their grace; then the manager ends what is left.
TimeoutStopSec=30
KillMode=mixed
UMask=0077
LimitCORE=0
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
KeyringMode=private

[Install]
WantedBy=default.target
"
    )
}

/// A word of ExecStart: systemd expands `%` and `$` and splits at spaces.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-:%$".contains(&byte)) {
        escaped
    } else {
        format!("\"{escaped}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_systemd() {
        let unit = unit(Path::new("/opt/my tools/gatewarden"), &["--config".to_owned(), "/a%b/$c.json".to_owned()]);
        assert!(
            unit.contains("ExecStart=\"/opt/my tools/gatewarden\" gateway run --config /a%%b/$$c.json\n"),
            "{unit}"
        );
    }
}
