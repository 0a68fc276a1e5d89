//! What `up` says once everything runs: where things are, and the lines that set the sample agent to work.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gatewarden_protocol::Secret;

use super::super::daemon::endpoint::reachable;
use super::registration::LINK_SECONDS;
use crate::config::{Config, Inputs};

/// What there is to say.
pub(super) struct Words {
    /// How this program is called for this daemon.
    pub(super) command: Command,
    pub(super) daemon: SocketAddr,
    pub(super) gateway: SocketAddr,
    pub(super) encrypted: bool,
    pub(super) started_here: bool,
    pub(super) agent: Option<String>,
    /// The path of the gateway's own pages.
    pub(super) pages: Option<String>,
    pub(super) new_key: Option<Secret>,
    /// Where the admin key is, if it wasn't configured.
    pub(super) key_file: Option<PathBuf>,
    pub(super) gateway_state: PathBuf,
}

impl Words {
    /// The whole text.
    pub(super) fn text(&self, online: &Result<(), String>, login_link: Option<&str>) -> String {
        let scheme = if self.encrypted { "wss" } else { "ws" };
        let whose = if self.started_here { "started by this command" } else { "it was there already" };
        let state = match online {
            Ok(()) => "online".to_owned(),
            Err(reason) => format!("NOT online: {}", reason.replace('\n', "\n           ")),
        };
        let mut lines = vec![format!("gateway    {scheme}://{} ({whose}), {state}", self.gateway)];
        if online.is_err() && !self.started_here {
            let command = self.command.program.as_str();
            lines.push(format!(
                "           if it is none of yours: `{command} up --gateway-port 0` starts one beside it"
            ));
        }
        if self.started_here {
            lines.push(format!("           state and log in {}", self.gateway_state.display()));
        }
        lines.push(match (&self.new_key, &self.key_file) {
            (Some(key), Some(file)) => {
                format!("admin key  {} (shown once, kept in {})", key.expose(), file.display())
            }
            (_, Some(file)) => format!("admin key  in {}", file.display()),
            (_, None) => "admin key  as you configured it".to_owned(),
        });
        let daemon = reachable(self.daemon);
        lines.push(match login_link {
            Some(path) => {
                let (minutes, another) = (LINK_SECONDS / 60, self.command.line("dashboard"));
                format!(
                    "dashboard  http://{daemon}{path}\n           logs a browser in once, within {minutes} minutes; for another link:\n{another}"
                )
            }
            None => format!("dashboard  http://{daemon}/"),
        });
        lines.push(format!("API        http://{daemon}/docs"));
        if let (Some(path), Ok(())) = (&self.pages, online) {
            let scheme = if self.encrypted { "https" } else { "http" };
            let token = self.gateway_state.join("gateway-token");
            let token = if token.is_file() { format!(" with the token in {}", token.display()) } else { String::new() };
            lines.push(format!("chat       {scheme}://{}{path}\n           talk to an agent{token}", self.gateway));
        }
        if let (Some(agent), Ok(())) = (&self.agent, online) {
            let session = format!("agent:{agent}:main");
            lines.push("\nin another terminal, set the sample agent to work; control also takes kill:".to_owned());
            lines.push(self.command.line(&format!("spawn 'count to 60' --agent {agent} --session {session}")));
            lines.push(self.command.line(&format!("control {session} pause")));
            lines.push(self.command.line(&format!("control {session} resume")));
            lines.push("see what it does:".to_owned());
            lines.push(format!("{}\n", self.command.line("events --types log,spawn_result")));
        }
        lines.push("Ctrl-C ends everything.".to_owned());
        lines.join("\n")
    }
}

/// What `up` says where a daemon runs on its directory, at this address as far as it said.
pub(super) fn runs_already(config: &Config, process: Option<u32>, address: Option<SocketAddr>) -> String {
    let key_file = Some(config.state_dir.join("admin.key")).filter(|file| file.is_file());
    let process = process.map(|pid| format!("process {pid}, ")).unwrap_or_default();
    format!(
        "gatewarden runs already: {process}state in {}\nsee how it is:\n{}\nCtrl-C where it was started ends it.",
        config.state_dir.display(),
        command(address.unwrap_or(config.listen), key_file.as_deref()).line("status")
    )
}

/// How another terminal calls this program for a daemon.
#[derive(Debug)]
pub(super) struct Command {
    program: String,
    /// What it doesn't find by itself: where the daemon is, and its key.
    flags: String,
}

impl Command {
    fn line(&self, words: &str) -> String {
        format!("  {} {words}{}", self.program, self.flags)
    }
}

/// The command for the daemon at an address, with the key of a file where it wasn't configured.
pub(super) fn command(daemon: SocketAddr, key_file: Option<&Path>) -> Command {
    // Another terminal has this one's home, and not the variables that were set for this command.
    let mut inputs = Inputs::of_process();
    inputs.environment.retain(|name, _| ["HOME", "XDG_STATE_HOME"].contains(&name.as_str()));
    let found = Config::load(&inputs).ok();
    let mut flags = String::new();
    let daemon = reachable(daemon);
    // Port 0: whoever starts a daemon so knows where it listens.
    if daemon.port() != 0 && found.as_ref().is_none_or(|config| reachable(config.listen) != daemon) {
        flags.push_str(&format!(" --url http://{daemon}"));
    }
    if let Some(file) = key_file
        && found.is_none_or(|config| config.state_dir.join("admin.key") != file)
    {
        flags.push_str(&format!(" --key-file {}", quoted(file)));
    }
    Command { program: program(), flags }
}

/// Its name where the shell finds it by that, else its path.
fn program() -> String {
    const NAME: &str = "gatewarden";
    let Ok(path) = std::env::current_exe() else { return NAME.to_owned() };
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&directories).map(|dir| dir.join(NAME)).find(|file| file.is_file());
    let is_found = first.and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == path);
    if is_found { NAME.to_owned() } else { quoted(&path) }
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/opt/gatewarden-1.0/bin")), "/opt/gatewarden-1.0/bin");
        assert_eq!(quoted(Path::new("/it's here")), r"'/it'\''s here'");
    }

    #[test]
    fn only_what_another_terminal_does_not_find_is_written_into_the_command() {
        let elsewhere = command("0.0.0.0:4000".parse().unwrap(), Some(Path::new("/elsewhere/admin.key")));
        assert_eq!(elsewhere.flags, " --url http://127.0.0.1:4000 --key-file /elsewhere/admin.key");
        assert_eq!(command("127.0.0.1:3000".parse().unwrap(), None).flags, "");
    }
}
