//! What `up` says once everything runs: where things are, and the lines that set the sample agent to work.

use std::net::SocketAddr;
use std::path::PathBuf;

use gatewarden_protocol::Secret;

/// What there is to say.
pub(super) struct Words {
    pub(super) daemon: SocketAddr,
    pub(super) gateway: SocketAddr,
    pub(super) encrypted: bool,
    pub(super) started_here: bool,
    pub(super) agent: Option<String>,
    pub(super) new_key: Option<Secret>,
    pub(super) key_file: PathBuf,
    pub(super) gateway_state: PathBuf,
}

impl Words {
    /// The whole text.
    pub(super) fn text(&self, online: &Result<(), String>) -> String {
        let scheme = if self.encrypted { "wss" } else { "ws" };
        let whose = if self.started_here { "started by this command" } else { "it was there already" };
        let state = match online {
            Ok(()) => "online".to_owned(),
            Err(reason) => format!("NOT online: {reason}"),
        };
        let mut lines = vec![format!("gateway    {scheme}://{} ({whose}), {state}", self.gateway)];
        if self.started_here {
            lines.push(format!("           state and log in {}", self.gateway_state.display()));
        }
        let key_file = self.key_file.display();
        match &self.new_key {
            Some(key) => {
                lines.push(format!("admin key  {} (shown once, kept in {key_file})", key.expose()));
            }
            None if self.key_file.is_file() => lines.push(format!("admin key  in {key_file}")),
            None => lines.push("admin key  as you configured it".to_owned()),
        }
        lines.push(format!("try out    http://{}/docs", self.daemon));
        if let Some(agent) = &self.agent {
            lines.push(self.commands(agent));
        }
        lines.push("Ctrl-C ends everything.".to_owned());
        lines.join("\n")
    }

    fn commands(&self, agent: &str) -> String {
        let base = format!("http://{}/api", self.daemon);
        // The key stays out of the shell's history.
        let key = if self.key_file.is_file() {
            format!("$(cat '{}')", self.key_file.display().to_string().replace('\'', "'\\''"))
        } else {
            "$API_KEY".to_owned()
        };
        let curl = format!("curl -s -H \"X-API-Key: {key}\"");
        let json = "-H 'Content-Type: application/json'";
        let session = format!("{base}/sessions/agent:{agent}:main");
        format!(
            "
set the sample agent to work:
  {curl} {json} {base}/spawn -d '{{\"agent\": \"{agent}\", \"task\": \"count to 60\", \"sessionKey\": \"agent:{agent}:main\"}}'
see what it does, in another terminal, before you spawn it:
  {curl} -N '{base}/events?types=log,spawn_result'
pause it, resume it, kill it:
  {curl} {json} {session}/control -d '{{\"action\": \"pause\"}}'
  {curl} {json} {session}/control -d '{{\"action\": \"resume\"}}'
  {curl} {json} {session}/control -d '{{\"action\": \"kill\"}}'
"
        )
    }
}
