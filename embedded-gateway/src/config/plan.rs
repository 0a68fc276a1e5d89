//! What a changed configuration means for a gateway that runs: which settings it takes over at once, and which wait for its next
//! start because what they decide was made at this one (sockets, routes, logs, budgets).
//!
//! [`plan`] makes the new configuration field by field, without a rest: each setting is of exactly one class, and a new one
//! doesn't compile until it has one.

use super::{ConfiguredAgent, GatewayConfig, Limits, Log, Tailscale};

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// What counts from now on.
    pub(crate) config: GatewayConfig,
    /// Keys of settings that changed and count at once.
    pub(crate) applied: Vec<&'static str>,
    /// Keys of settings that changed and wait for the next start.
    pub(crate) waiting: Vec<&'static str>,
}

/// From the configuration that counts, and the one that the file says now.
pub(crate) fn plan(old: &GatewayConfig, new: GatewayConfig) -> Plan {
    let mut steps = Steps::default();
    let config = GatewayConfig {
        // A gateway keeps to its places. (A file that it has made itself is the one that it looks for.)
        file: new.file,
        state_dir: old.state_dir.clone(),
        // What a port of 0 became stays.
        port: if new.port == 0 { old.port } else { steps.waits("gateway.port", &old.port, &new.port) },
        bind: steps.waits("gateway.bind", &old.bind, &new.bind),
        allowed_hosts: steps.at_once("gatewarden.allowedHosts", &old.allowed_hosts, new.allowed_hosts),
        trusted_proxies: steps.at_once("gateway.trustedProxies", &old.trusted_proxies, new.trusted_proxies),
        real_ip_fallback: steps.at_once("gateway.allowRealIpFallback", &old.real_ip_fallback, new.real_ip_fallback),
        // Who is in keeps what it showed; at a start all show their credentials again.
        auth: steps.waits("gateway.auth", &old.auth, &new.auth),
        control_ui: super::ControlUi {
            enabled: steps.waits("gateway.controlUi.enabled", &old.control_ui.enabled, &new.control_ui.enabled),
            base_path: steps.waits("gateway.controlUi.basePath", &old.control_ui.base_path, &new.control_ui.base_path),
            allowed_origins: steps.at_once(
                "gateway.controlUi.allowedOrigins",
                &old.control_ui.allowed_origins,
                new.control_ui.allowed_origins,
            ),
            require_device_auth: steps.at_once(
                "gateway.controlUi.requireDeviceAuth",
                &old.control_ui.require_device_auth,
                new.control_ui.require_device_auth,
            ),
        },
        device_auth: steps.at_once("gateway.auth.deviceAuth", &old.device_auth, new.device_auth),
        tls: steps.waits("gateway.tls", &old.tls, &new.tls),
        webhooks: steps.at_once("hooks.webhooks", &old.webhooks, new.webhooks),
        audit: steps.waits("audit", &old.audit, &new.audit),
        log: Log {
            file: steps.waits("logging.file", &old.log.file, &new.log.file),
            level: steps.at_once("logging.level", &old.log.level, new.log.level),
            max_bytes: steps.waits("gatewarden.logMaxBytes", &old.log.max_bytes, &new.log.max_bytes),
            stderr: old.log.stderr,
        },
        metrics: steps.waits("gatewarden.metrics", &old.metrics, &new.metrics),
        remote_programs: steps.at_once("gatewarden.remotePrograms", &old.remote_programs, new.remote_programs),
        commands: steps.at_once("gatewarden.commands", &old.commands, new.commands),
        agents: steps.at_once("agents", &old.agents, new.agents),
        default_agent: steps.at_once("agents.default", &old.default_agent, new.default_agent),
        channels: steps.at_once("channels", &old.channels, new.channels),
        bindings: steps.at_once("bindings", &old.bindings, new.bindings),
        dm_scope: steps.at_once("session.dmScope", &old.dm_scope, new.dm_scope),
        cron: steps.at_once("cron", &old.cron, new.cron),
        mdns: steps.waits("discovery.mdns", &old.mdns, &new.mdns),
        wide_area: steps.waits("discovery.wideArea", &old.wide_area, &new.wide_area),
        tailscale: Tailscale {
            mode: steps.waits("gateway.tailscale.mode", &old.tailscale.mode, &new.tailscale.mode),
            allow_logins: steps.at_once(
                "gateway.auth.allowTailscale",
                &old.tailscale.allow_logins,
                new.tailscale.allow_logins,
            ),
            folders: old.tailscale.folders.clone(),
        },
        node_commands: steps.at_once("gateway.nodes.commands", &old.node_commands, new.node_commands),
        limits: limits(&mut steps, &old.limits, new.limits),
    };
    Plan { config, applied: steps.applied, waiting: steps.waiting }
}

/// Changed settings that no client may change unless the file allows it (`gatewarden.remotePrograms`): all but the log's level, the
/// default agent, and an agent's name, model and command. The others say what runs, which files are read and written, who is let in and
/// how much the gateway takes: who holds its token can't widen what the token is worth.
pub(crate) fn decided_on_the_machine(old: &GatewayConfig, new: &GatewayConfig) -> Vec<&'static str> {
    let agents_stay = new.agents.iter().all(|(id, agent)| {
        let unknown = || ConfiguredAgent {
            name: String::new(),
            command: None,
            acp: None,
            workspace: new.state_dir.join("workspaces").join(id),
            model: None,
        };
        // Its name, its model, and which of the commands runs for it are the clients' to choose.
        let ConfiguredAgent { name, command, model, .. } = agent.clone();
        let known = old.agents.get(id).cloned().unwrap_or_else(unknown);
        *agent == ConfiguredAgent { name, command, model, ..known }
    });
    let Plan { applied, waiting, .. } = plan(old, new.clone());
    let is_local = |key: &&str| match *key {
        "logging.level" | "agents.default" => false,
        "agents" => !agents_stay,
        _ => true,
    };
    applied.into_iter().chain(waiting).filter(is_local).collect()
}

fn limits(steps: &mut Steps, old: &Limits, new: Limits) -> Limits {
    macro_rules! limits {
        (waits: $($waits:ident $waits_key:literal),*; at_once: $($at_once:ident $at_once_key:literal),* $(,)?) => {
            Limits {
                $($waits: steps.waits(concat!("gatewarden.limits.", $waits_key), &old.$waits, &new.$waits),)*
                $($at_once: steps.at_once(concat!("gatewarden.limits.", $at_once_key), &old.$at_once, new.$at_once),)*
            }
        };
    }
    limits! {
        waits: connections "connections", unauthenticated "unauthenticated", handshake "handshake",
            max_buffered_total "maxBufferedTotal", tick "tick";
        // Bounds of a connection count for the next ones.
        at_once: max_payload "maxPayload", max_buffered "maxBuffered", ping "ping", auth_failures "authFailures",
            lockout "lockout", processes "processes", kill_grace "killGrace", process_open_files "processOpenFiles",
            process_memory "processMemory", output_bytes_per_second "outputBytesPerSecond", output_line "outputLine",
            sessions "sessions", session_age "sessionAge", history_messages "historyMessages",
            finished_runs "finishedRuns",
    }
}

#[derive(Debug, Default)]
struct Steps {
    applied: Vec<&'static str>,
    waiting: Vec<&'static str>,
}

impl Steps {
    fn at_once<T: PartialEq>(&mut self, key: &'static str, old: &T, new: T) -> T {
        if *old != new {
            self.applied.push(key);
        }
        new
    }

    fn waits<T: PartialEq + Clone>(&mut self, key: &'static str, old: &T, new: &T) -> T {
        if old != new {
            self.waiting.push(key);
        }
        old.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use gatewarden_protocol::Secret;

    use super::*;
    use crate::config::{AcpAgent, Auth, CommandTemplate, Permissions};
    use crate::log_kinds::LogLevel;

    fn config() -> GatewayConfig {
        GatewayConfig::defaults(PathBuf::from("/state"), Auth::Token(Secret::new("one-of-sixteen-chars")))
    }

    #[test]
    fn what_didnt_change_is_in_no_class() {
        let plan = plan(&config(), GatewayConfig { port: 0, ..config() });
        assert_eq!((plan.applied, plan.waiting), (vec![], vec![]));
        assert_eq!(plan.config.port, crate::config::DEFAULT_PORT, "the port that it has counts as any");
    }

    #[test]
    fn what_counts_at_once_is_taken_and_what_waits_stays_as_it_is() {
        let mut new = config();
        new.log.level = LogLevel::Debug;
        new.limits.processes = 1;
        new.allowed_hosts = vec!["a.example".to_owned()];
        new.port = 1;
        new.auth = Auth::Token(Secret::new("another-of-sixteen"));
        new.limits.connections = 7;
        let plan = plan(&config(), new);
        assert_eq!(plan.applied, ["gatewarden.allowedHosts", "logging.level", "gatewarden.limits.processes"]);
        assert_eq!(plan.waiting, ["gateway.port", "gateway.auth", "gatewarden.limits.connections"]);
        assert_eq!((plan.config.log.level, plan.config.limits.processes), (LogLevel::Debug, 1));
        assert_eq!((plan.config.port, plan.config.limits.connections), (18_789, 500));
        assert_eq!(plan.config.auth, config().auth);
    }

    #[test]
    fn what_runs_what_is_written_and_who_is_let_in_is_decided_on_the_machine() {
        let agent = |workspace: &str, command: &str| ConfiguredAgent {
            name: "A".to_owned(),
            command: Some(command.to_owned()),
            acp: None,
            workspace: PathBuf::from(workspace),
            model: None,
        };
        let mut old = config();
        old.agents = [("a".to_owned(), agent("/srv/a", "one"))].into();
        let mut new = old.clone();
        // These are the clients': which command, and an agent whose folder is the gateway's own.
        new.agents =
            [("a".to_owned(), agent("/srv/a", "two")), ("b".to_owned(), agent("/state/workspaces/b", "one"))].into();
        new.log.level = LogLevel::Debug;
        assert_eq!(decided_on_the_machine(&old, &new), Vec::<&str>::new());
        let command = CommandTemplate {
            program: PathBuf::from("/bin/sh"),
            args: Vec::new(),
            allowed_args: Vec::new(),
            env: [].into(),
            allowed_env: [].into(),
            working_dirs: Vec::new(),
            json_lines: true,
            timeout: None,
        };
        let acp = AcpAgent { command, permissions: Permissions::Allow, idle_timeout: Duration::from_secs(1) };
        let runs = ConfiguredAgent { acp: Some(acp), command: None, ..agent("/srv/a", "one") };
        let mut of_acp = new.clone();
        of_acp.agents.insert("a".to_owned(), runs);
        assert_eq!(decided_on_the_machine(&old, &of_acp), ["agents"]);
        new.agents.insert("c".to_owned(), agent("/etc", "one"));
        new.log.file = PathBuf::from("/srv/.profile");
        new.remote_programs = true;
        new.auth = Auth::None;
        assert_eq!(
            decided_on_the_machine(&old, &new),
            ["gatewarden.remotePrograms", "agents", "gateway.auth", "logging.file"]
        );
    }

    #[test]
    fn a_gateway_keeps_its_state_and_what_its_flags_said_of_its_log() {
        let mut old = config();
        old.log.stderr = true;
        let plan = plan(&old, GatewayConfig { state_dir: PathBuf::from("/other"), ..config() });
        assert!(plan.config.log.stderr);
        assert_eq!(plan.config.state_dir, config().state_dir);
    }
}
