//! `gatewarden gateway install-daemon`: a systemd user unit, hardened as far as a user's own manager can.

use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::super::{EXIT_FAILURE, EXIT_OK, fail, terminal};
use super::{InstallArgs, load_draft, user_unit};

/// Writes the unit and enables it, or prints it.
pub(super) fn run(args: &InstallArgs) -> u8 {
    let inputs = args.place.inputs();
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return fail(EXIT_FAILURE, format!("The path of this program cannot be found: {error}.")),
    };
    let mut words = args.place.words();
    if args.place.config.is_none()
        && let Ok(Some(file)) = inputs.file()
    {
        words.extend(["--config".to_owned(), super::absolute(&file)]);
    }
    let unit = unit(&program, &words);
    if args.print {
        terminal::print(&unit);
        return EXIT_OK;
    }
    // A unit that fails at its first start is found out now.
    let draft = match load_draft(&inputs) {
        Ok(draft) => draft,
        Err(code) => return code,
    };
    let Some(path) = user_unit::path(&inputs) else {
        return fail(
            EXIT_FAILURE,
            "There is no $HOME to install the unit in. Use --print and put it where it belongs.",
        );
    };
    if let Err(error) = write(&path, &unit) {
        return fail(EXIT_FAILURE, format!("The unit cannot be written to {}: {error}.", path.display()));
    }
    terminal::print(&format!("installed {}", path.display()));
    for words in [&["daemon-reload"] as &[&str], &["enable", user_unit::UNIT]] {
        if let Err(sentence) = user_unit::systemctl(words) {
            return fail(
                EXIT_FAILURE,
                format!("{sentence}. The unit is in place; enable it in a session that has a user manager."),
            );
        }
    }
    terminal::print(&format!(
        "start it with `gatewarden gateway start`; it keeps its state in {}\nit runs while you are logged in; \
         `loginctl enable-linger` keeps it running after that",
        draft.settings().state_dir.display()
    ));
    EXIT_OK
}

fn write(path: &Path, unit: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
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
