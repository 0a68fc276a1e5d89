//! The gateway announced in its network over mDNS (`discovery.mdns`), in the words of real OpenClaw: service type, name and keys are
//! those of its bonjour plugin. What is announced is for anybody to read, and holds no secret.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceInfo};

use crate::config::{GatewayConfig, Mdns};
use crate::interfaces;

/// DNS-SD's type of gateways.
pub const SERVICE_TYPE: &str = "_openclaw-gw._tcp.local.";
/// A label of DNS is no longer, in bytes.
const MAX_LABEL: usize = 63;
/// How long the goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_millis(500);

/// What is announced of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// The instance's name.
    pub(crate) name: String,
    /// The host's name in the domain `local`, without it.
    pub(crate) host: String,
    pub(crate) texts: Vec<(&'static str, String)>,
}

impl Announcement {
    /// That of this machine. `fingerprint`: of the certificate.
    pub(crate) fn of_machine(config: &GatewayConfig, fingerprint: Option<&str>) -> Self {
        let system = rustix::system::uname();
        let host = std::env::var("OPENCLAW_MDNS_HOSTNAME").ok().filter(|name| !name.trim().is_empty());
        let host = host.unwrap_or_else(|| system.nodename().to_string_lossy().into_owned());
        let program = std::env::current_exe().ok();
        Self::of(config, &host, program.as_deref().and_then(std::path::Path::to_str), fingerprint)
    }

    fn of(config: &GatewayConfig, host: &str, program: Option<&str>, fingerprint: Option<&str>) -> Self {
        let host = label_of(host);
        let mut texts = vec![
            ("role", "gateway".to_owned()),
            ("transport", "gateway".to_owned()),
            ("gatewayPort", config.port.to_string()),
            ("lanHost", format!("{host}.local")),
            ("displayName", host.clone()),
            // Only a gateway that other machines reach is announced.
            ("gatewayDirectReachable", "1".to_owned()),
        ];
        if let Some(fingerprint) = fingerprint {
            texts.push(("gatewayTls", "1".to_owned()));
            texts.push(("gatewayTlsSha256", fingerprint.to_owned()));
        }
        if config.mdns == Mdns::Full {
            texts.push(("sshPort", "22".to_owned()));
            // A longer one has no place in a record.
            texts.extend(program.filter(|path| path.len() < 200).map(|path| ("cliPath", path.to_owned())));
        }
        Self { name: format!("{host} (OpenClaw)"), host, texts }
    }
}

/// The first label of a host's name where it is fit for DNS, else `openclaw`.
fn label_of(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default();
    // The instance's name has " (OpenClaw)" behind it.
    let fits = !first.is_empty() && first.len() <= MAX_LABEL - " (OpenClaw)".len();
    let plain = first.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let bare = !first.starts_with('-') && !first.ends_with('-');
    if fits && plain && bare { first.to_owned() } else { "openclaw".to_owned() }
}

/// Announces the gateway until [`Announcer::end`].
pub(crate) struct Announcer {
    responder: ServiceDaemon,
    full_name: String,
}

impl Announcer {
    /// Begins. None where the configuration says so, or nobody else could connect anyway. It takes a thread and sockets at port 5353;
    /// a name that another gateway has gets a number.
    pub(crate) fn begin(config: &GatewayConfig, bound: IpAddr, fingerprint: Option<&str>) -> Option<Self> {
        if config.mdns == Mdns::Off || bound.is_loopback() {
            return None;
        }
        let failed = |error: mdns_sd::Error| {
            tracing::warn!(%error, "the gateway is not announced in its network (discovery.mdns)");
        };
        let responder = ServiceDaemon::new().map_err(failed).ok()?;
        let what = Announcement::of_machine(config, fingerprint);
        match announce(&responder, &what, config.port, bound) {
            Ok(full_name) => Some(Self { responder, full_name }),
            Err(error) => {
                failed(error);
                let _ = responder.shutdown();
                None
            }
        }
    }

    /// Says goodbye, so that nobody finds a gateway that is gone.
    pub(crate) async fn end(self) {
        if let Ok(said) = self.responder.unregister(&self.full_name) {
            let _ = tokio::time::timeout(GOODBYE_WITHIN, said.recv_async()).await;
        }
        let _ = self.responder.shutdown();
    }
}

/// The full name that was announced.
fn announce(responder: &ServiceDaemon, what: &Announcement, port: u16, bound: IpAddr) -> mdns_sd::Result<String> {
    interfaces::read().map_err(|error| mdns_sd::Error::Msg(error.to_string()))?;
    // Whoever listens on loopback is this machine.
    responder.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    let host = format!("{}.local.", what.host);
    let addresses = if bound.is_unspecified() { String::new() } else { bound.to_string() };
    let mut service =
        ServiceInfo::new(SERVICE_TYPE, &what.name, &host, addresses.as_str(), port, what.texts.as_slice())?;
    if bound.is_unspecified() {
        service = service.enable_addr_auto();
        if bound.is_ipv4() {
            service.set_interfaces(vec![IfKind::IPv4]);
        }
    }
    let full_name = service.get_fullname().to_owned();
    let events = responder.monitor()?;
    responder.register(service)?;
    tracing::info!(name = what.name, port, "the gateway is announced in its network");
    // Ends with the responder, which drops the other end.
    actix_rt::spawn(async move {
        while let Ok(event) = events.recv_async().await {
            match event {
                DaemonEvent::NameChange(change) => {
                    let (from, to) = (change.original, change.new_name);
                    tracing::warn!(
                        from,
                        to,
                        "something else in the network has this name; OPENCLAW_MDNS_HOSTNAME gives another"
                    );
                }
                DaemonEvent::Error(error) => tracing::warn!(%error, "mDNS failed"),
                _ => {}
            }
        }
    });
    Ok(full_name)
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").field("full_name", &self.full_name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use gatewarden_protocol::Secret;

    use super::*;
    use crate::config::Auth;

    fn config(mdns: Mdns) -> GatewayConfig {
        let defaults = GatewayConfig::defaults("/nowhere".into(), Auth::Token(Secret::new("t")));
        GatewayConfig { mdns, port: 18_789, ..defaults }
    }

    #[test]
    fn minimal_says_no_more_than_how_to_connect() {
        let said = Announcement::of(&config(Mdns::Minimal), "studio.example.com", Some("/usr/bin/gatewarden"), None);
        assert_eq!(said.name, "studio (OpenClaw)");
        let keys: Vec<&str> = said.texts.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["role", "transport", "gatewayPort", "lanHost", "displayName", "gatewayDirectReachable"]);
        assert!(said.texts.contains(&("lanHost", "studio.local".to_owned())));
    }

    #[test]
    fn full_adds_the_path_of_the_command_and_the_port_of_ssh() {
        let said = Announcement::of(&config(Mdns::Full), "studio", Some("/usr/bin/gatewarden"), Some("ab"));
        assert!(said.texts.contains(&("cliPath", "/usr/bin/gatewarden".to_owned())));
        assert!(said.texts.contains(&("sshPort", "22".to_owned())));
        assert!(said.texts.contains(&("gatewayTlsSha256", "ab".to_owned())));
    }

    #[test]
    fn a_name_that_is_no_label_of_dns_is_replaced() {
        for name in ["", "-x", "x-", "a b", "ünlich", &"x".repeat(60)] {
            assert_eq!(label_of(name), "openclaw", "{name}");
        }
        assert_eq!(label_of("db-1.example.com"), "db-1");
    }

    #[test]
    fn nothing_is_announced_where_nobody_else_can_connect_or_nobody_asked() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(Announcer::begin(&config(Mdns::Full), loopback, None).is_none());
        assert!(Announcer::begin(&config(Mdns::Off), IpAddr::from([0, 0, 0, 0]), None).is_none());
    }
}
