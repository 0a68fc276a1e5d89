//! What the command says: its status, its routes, who has an address; and what keeps it from serving, with the cure.

use std::fmt;

use gatewarden_protocol::words::shown;
use serde_json::{Map, Value};

use crate::config::TailscaleMode;

/// Why there is no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    NotInstalled,
    /// It couldn't be executed.
    NotStarted(String),
    /// This command took too long.
    NoAnswer(String),
    /// tailscaled doesn't run.
    Unreachable,
    /// It is coming up.
    Starting,
    LoggedOut,
    NeedsApproval,
    Stopped,
    NoHttps,
    NoFunnel,
    /// Serve or Funnel has to be allowed at this address.
    NotEnabled(Option<String>),
    NotPermitted,
    PortTaken,
    /// The command said that it serves, and its status doesn't show the route.
    NotShown,
    /// What a command said last.
    Other(String, String),
}

impl Fault {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotInstalled => "not_installed",
            Self::NotStarted(_) => "not_started",
            Self::NoAnswer(_) => "no_answer",
            Self::Unreachable => "daemon_unreachable",
            Self::Starting => "starting",
            Self::LoggedOut => "logged_out",
            Self::NeedsApproval => "needs_approval",
            Self::Stopped => "stopped",
            Self::NoHttps => "no_https",
            Self::NoFunnel => "funnel_not_allowed",
            Self::NotEnabled(_) => "not_enabled",
            Self::NotPermitted => "not_permitted",
            Self::PortTaken => "port_taken",
            Self::NotShown => "route_not_shown",
            Self::Other(..) => "failed",
        }
    }

    /// What helps.
    pub(crate) fn cure(&self) -> String {
        match self {
            Self::NotInstalled => {
                "install it (https://tailscale.com/download), or have the gateway's PATH lead to it".to_owned()
            }
            Self::NotStarted(_) => "see that the gateway's user may run it".to_owned(),
            Self::NoAnswer(command) => {
                format!("see what `{command}` says, and restart tailscaled: sudo systemctl restart tailscaled")
            }
            Self::Unreachable => "start it: sudo systemctl enable --now tailscaled".to_owned(),
            Self::Starting => "nothing is to be done; it is tried again".to_owned(),
            Self::LoggedOut => "log in: sudo tailscale up".to_owned(),
            Self::NeedsApproval => {
                "have an admin of the tailnet approve it at https://login.tailscale.com/admin/machines".to_owned()
            }
            Self::Stopped => "connect it: sudo tailscale up".to_owned(),
            Self::NoHttps => {
                "enable MagicDNS and HTTPS certificates at https://login.tailscale.com/admin/dns".to_owned()
            }
            Self::NoFunnel => {
                "give this machine the node attribute \"funnel\" at https://login.tailscale.com/admin/acls".to_owned()
            }
            Self::NotEnabled(Some(url)) => format!("allow it at {url}"),
            Self::NotEnabled(None) => "allow it in the tailnet's admin console".to_owned(),
            Self::NotPermitted => "let the gateway's user do it: sudo tailscale set --operator=USER".to_owned(),
            Self::PortTaken => {
                "see which with `tailscale serve status`; if it is of no use, `tailscale serve --https=443 off` removes it".to_owned()
            }
            Self::NotShown => "see what `tailscale serve status --json` says".to_owned(),
            Self::Other(command, _) => format!("see what `{command}` says"),
        }
    }

    /// What the words of a command that failed mean.
    pub(super) fn of_words(text: &str, command: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|words| lower.contains(words));
        if has(&["failed to connect to local tailscale", "connection refused", "503 service unavailable"]) {
            Self::Unreachable
        } else if has(&["listener already exists", "foreground already exists"]) {
            Self::PortTaken
        } else if has(&["not enabled on your tailnet"]) {
            Self::NotEnabled(link_in(text))
        } else if has(&["\"funnel\" node attribute", "funnel not available"]) && !has(&["https must be enabled"]) {
            Self::NoFunnel
        } else if has(&["https is not enabled", "https must be enabled", "does not support getting tls certs"]) {
            Self::NoHttps
        } else if has(&["needslogin", "logged out", "not logged in"]) {
            Self::LoggedOut
        } else if has(&["tailscale is stopped"]) {
            Self::Stopped
        } else if has(&[
            "access denied",
            "permission denied",
            "operation not permitted",
            "not permitted",
            "requires root",
            "must be run as root",
            "must be root",
            "requires sudo",
        ]) {
            Self::NotPermitted
        } else {
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
            Self::Other(command.to_owned(), shown(last))
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str("there is no command `tailscale`"),
            Self::NotStarted(reason) => write!(f, "the command `tailscale` could not be run: {reason}"),
            Self::NoAnswer(command) => write!(f, "`{command}` took too long and was given up"),
            Self::Unreachable => f.write_str("tailscaled does not run"),
            Self::Starting => f.write_str("tailscaled is starting"),
            Self::LoggedOut => f.write_str("this machine is not logged in to Tailscale"),
            Self::NeedsApproval => f.write_str("this machine waits for the approval of its tailnet"),
            Self::Stopped => f.write_str("this machine is disconnected from its tailnet"),
            Self::NoHttps => f.write_str("the tailnet has no HTTPS certificates for this machine"),
            Self::NoFunnel => f.write_str("the tailnet doesn't allow this machine to use Funnel"),
            Self::NotEnabled(_) => f.write_str("the tailnet has not enabled it for this machine"),
            Self::NotPermitted => f.write_str("the gateway's user may not change what Tailscale serves"),
            Self::PortTaken => f.write_str("Tailscale serves something else at port 443, which was left as it is"),
            Self::NotShown => f.write_str("`tailscale serve status` doesn't show the route"),
            Self::Other(command, said) => write!(f, "`{command}` failed: {said}"),
        }
    }
}

/// Where the admin's console is asked for, if that is Tailscale's.
fn link_in(text: &str) -> Option<String> {
    let link = text.split_whitespace().find(|word| word.starts_with("https://login.tailscale.com/"))?;
    (link.len() <= 200 && link.bytes().all(|byte| byte.is_ascii_graphic())).then(|| link.to_owned())
}

/// The object in an output that may have warnings before and after it.
fn object(text: &str) -> Option<Map<String, Value>> {
    let text = text.get(text.find('{')?..=text.rfind('}')?)?;
    serde_json::from_str(text).ok()
}

fn has_capability(own: &Value, name: &str) -> Option<bool> {
    let map = own.get("CapMap").and_then(Value::as_object);
    let list = own.get("Capabilities").and_then(Value::as_array);
    // Older commands tell neither.
    (map.is_some() || list.is_some()).then(|| {
        map.is_some_and(|map| map.contains_key(name))
            || list.is_some_and(|list| {
                let is_it = |one: &str| one == name || one.strip_prefix("https://tailscale.com/cap/") == Some(name);
                list.iter().filter_map(Value::as_str).any(is_it)
            })
    })
}

/// The name of this machine in `tailscale status --json`, where it can serve.
pub(super) fn ready(status: &str, mode: TailscaleMode) -> Result<String, Fault> {
    let unreadable = || Fault::Other("tailscale status --json".to_owned(), "its answer can't be read".to_owned());
    let status = object(status).ok_or_else(unreadable)?;
    match status.get("BackendState").and_then(Value::as_str) {
        Some("NoState" | "Starting") => return Err(Fault::Starting),
        Some("NeedsLogin") => return Err(Fault::LoggedOut),
        Some("NeedsMachineAuth") => return Err(Fault::NeedsApproval),
        Some("Stopped") => return Err(Fault::Stopped),
        _ => {}
    }
    let own = status.get("Self").ok_or_else(unreadable)?;
    let name = own.get("DNSName").and_then(Value::as_str).unwrap_or_default().trim_end_matches('.');
    // A null or an empty list: certificates are off. Without the key nothing is known.
    let domains = status.get("CertDomains").map(|domains| domains.as_array().is_some_and(|list| !list.is_empty()));
    if name.is_empty() || domains == Some(false) || has_capability(own, "https") == Some(false) {
        return Err(Fault::NoHttps);
    }
    if mode == TailscaleMode::Funnel && has_capability(own, "funnel") == Some(false) {
        return Err(Fault::NoFunnel);
    }
    let plain = name.len() <= 253 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if plain { Ok(name.to_ascii_lowercase()) } else { Err(unreadable()) }
}

/// Whether `tailscale serve status --json` shows that `name` leads to this port of loopback, and to the internet just where it is meant to.
pub(super) fn shows_route(status: &str, name: &str, port: u16, mode: TailscaleMode) -> bool {
    let Some(status) = object(status) else { return false };
    let sessions = status.get("Foreground").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let configs: Vec<_> = std::iter::once(&status).chain(sessions.filter_map(Value::as_object)).collect();
    let host = format!("{name}:443");
    let targets = [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")];
    let leads_here = |config: &&Map<String, Value>| {
        let at = |path: [&str; 4]| path.iter().try_fold(config.get("Web")?, |value, key| value.get(key));
        let target = at([&host, "Handlers", "/", "Proxy"]).and_then(Value::as_str);
        target.is_some_and(|target| targets.iter().any(|known| target.trim_end_matches('/') == known))
    };
    // Whoever has allowed it, it holds for the name, and with it for every route at this port.
    let is_allowed = |allowed: &Value| allowed.get(&host) == Some(&Value::Bool(true));
    let is_public = configs.iter().any(|config| config.get("AllowFunnel").is_some_and(is_allowed));
    configs.iter().any(leads_here) && is_public == (mode == TailscaleMode::Funnel)
}

/// The login in `tailscale whois --json`.
pub(super) fn login(whois: &str) -> Option<String> {
    let profile = object(whois)?.remove("UserProfile")?;
    let login = profile.get("LoginName")?.as_str()?.trim();
    (!login.is_empty()).then(|| login.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SERVE: TailscaleMode = TailscaleMode::Serve;
    const FUNNEL: TailscaleMode = TailscaleMode::Funnel;

    fn status(change: impl Fn(&mut Value)) -> String {
        let mut status = json!({
            "BackendState": "Running", "CertDomains": ["box.tail.ts.net"],
            "Self": {"DNSName": "Box.tail.ts.net.", "CapMap": {"https": null, "funnel": null}},
        });
        change(&mut status);
        format!("# Health check:\n{status}\n")
    }

    #[test]
    fn a_machine_that_can_serve_has_a_name() {
        assert_eq!(ready(&status(|_| {}), FUNNEL).unwrap(), "box.tail.ts.net");
        let older = status(|status| status["Self"] = json!({"DNSName": "box.tail.ts.net."}));
        assert_eq!(ready(&older, FUNNEL).unwrap(), "box.tail.ts.net");
    }

    #[test]
    fn what_a_machine_lacks_is_said() {
        for (state, fault) in [
            ("NoState", Fault::Starting),
            ("Starting", Fault::Starting),
            ("NeedsLogin", Fault::LoggedOut),
            ("NeedsMachineAuth", Fault::NeedsApproval),
            ("Stopped", Fault::Stopped),
        ] {
            assert_eq!(ready(&status(|status| status["BackendState"] = state.into()), SERVE), Err(fault));
        }
        assert_eq!(ready(&status(|status| status["CertDomains"] = Value::Null), SERVE), Err(Fault::NoHttps));
        assert_eq!(ready(&status(|status| status["Self"]["DNSName"] = "".into()), SERVE), Err(Fault::NoHttps));
        let without = status(|status| status["Self"]["CapMap"] = json!({"https": null}));
        assert_eq!(ready(&without, FUNNEL), Err(Fault::NoFunnel));
        assert!(ready(&without, SERVE).is_ok());
        for strange in ["", "{", "[]", "{}", r#"{"Self": {"DNSName": "a b\u0000.ts.net"}}"#] {
            assert!(ready(strange, SERVE).is_err(), "{strange}");
        }
    }

    #[test]
    fn words_of_the_command_become_causes_with_a_cure() {
        let link = "https://login.tailscale.com/f/serve?node=n1";
        for (words, fault) in [
            ("failed to connect to local tailscaled; it doesn't appear to be running", Fault::Unreachable),
            ("error: foreground listener already exists for port 443", Fault::PortTaken),
            (
                "Serve is not enabled on your tailnet.\nTo enable, visit:\n\n  https://login.tailscale.com/f/serve?node=n1",
                Fault::NotEnabled(Some(link.to_owned())),
            ),
            ("not enabled on your tailnet: https://evil.example/", Fault::NotEnabled(None)),
            ("Funnel not available; \"funnel\" node attribute not set.", Fault::NoFunnel),
            ("Funnel not available; HTTPS must be enabled.", Fault::NoHttps),
            ("Access denied: serve config denied", Fault::NotPermitted),
        ] {
            assert_eq!(Fault::of_words(words, "tailscale serve"), fault, "{words}");
        }
        let odd = Fault::of_words("first\n\u{1b}[31mlast\u{202e}\n\n", "tailscale serve");
        assert_eq!(odd.to_string(), "`tailscale serve` failed: [31mlast");
        assert!(!odd.cure().is_empty());
    }

    #[test]
    fn a_route_is_there_only_if_it_leads_here_and_as_far_as_it_was_meant() {
        let config = |proxy: &str, funnel: bool| {
            json!({
                "TCP": {"443": {"HTTPS": true}},
                "Web": {"box.ts.net:443": {"Handlers": {"/": {"Proxy": proxy}}}},
                "AllowFunnel": {"box.ts.net:443": funnel},
            })
        };
        let own = config("http://127.0.0.1:4000", false);
        let foreground = json!({"Foreground": {"session": own}}).to_string();
        assert!(shows_route(&own.to_string(), "box.ts.net", 4_000, SERVE));
        assert!(shows_route(&foreground, "box.ts.net", 4_000, SERVE));
        assert!(!shows_route(&foreground, "box.ts.net", 4_000, FUNNEL), "nobody else reaches it");
        assert!(!shows_route(&foreground, "box.ts.net", 4_001, SERVE));
        assert!(!shows_route(&foreground, "other.ts.net", 4_000, SERVE));
        let public = config("http://localhost:4000/", true).to_string();
        assert!(shows_route(&public, "box.ts.net", 4_000, FUNNEL));
        assert!(!shows_route(&public, "box.ts.net", 4_000, SERVE), "everybody would reach it");
        // Somebody else may have opened the port, before or beside this route.
        let open = json!({"box.ts.net:443": true});
        let before = json!({"AllowFunnel": open, "Foreground": {"session": own}}).to_string();
        let beside = json!({"Foreground": {"session": own, "other": {"AllowFunnel": open}}}).to_string();
        for opened in [before, beside] {
            assert!(!shows_route(&opened, "box.ts.net", 4_000, SERVE), "{opened}");
            assert!(shows_route(&opened, "box.ts.net", 4_000, FUNNEL), "{opened}");
        }
        let other_port = json!({"AllowFunnel": {"box.ts.net:8443": true}, "Foreground": {"session": own}}).to_string();
        assert!(
            shows_route(&other_port, "box.ts.net", 4_000, SERVE),
            "what is shown at another port is no matter here"
        );
        for strange in ["", "{}", "null", r#"{"Web": []}"#] {
            assert!(!shows_route(strange, "box.ts.net", 4_000, SERVE));
        }
    }

    #[test]
    fn the_login_of_an_address_is_that_of_its_user() {
        assert_eq!(login(r#"{"Node": {}, "UserProfile": {"LoginName": "a@example.com"}}"#).unwrap(), "a@example.com");
        for nobody in ["", "{}", r#"{"UserProfile": {"LoginName": " "}}"#, r#"{"UserProfile": {"DisplayName": "a"}}"#] {
            assert_eq!(login(nobody), None);
        }
    }
}
