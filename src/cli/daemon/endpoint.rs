//! Where the daemon is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use url::{Host, Url};

use crate::cli::error::CliError;
use crate::config::{Config, Inputs, URL_VARIABLE};

const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// A daemon's URL, resolved.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Endpoint {
    /// Scheme, host, and what stands before `/api`, without a slash at its end.
    base: String,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Endpoint {
    /// The flag, else the variable, else where the daemon listens that is configured on this machine.
    pub(super) fn find(flag: Option<&str>, inputs: &Inputs, config: Option<&Config>) -> Result<Self, CliError> {
        if let Some(url) = flag {
            return Self::parse(url).map_err(|reason| CliError::usage(format!("--url {reason}")));
        }
        if let Some(url) = inputs.variable(URL_VARIABLE) {
            return Self::parse(url).map_err(|reason| CliError::usage(format!("${URL_VARIABLE} {reason}")));
        }
        let listen = config.map(|config| config.listen).filter(|listen| listen.port() != 0);
        let address = reachable(listen.unwrap_or(DEFAULT));
        Ok(Self { base: format!("http://{address}"), addresses: vec![address] })
    }

    /// Err: what is wrong with it, to stand behind its name.
    fn parse(text: &str) -> Result<Self, String> {
        let wanted = "must be an http or https URL such as http://127.0.0.1:3000";
        let url = Url::parse(text).map_err(|error| format!("{wanted} ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wanted.to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err("must hold neither user information nor a query: the key comes from --key-file".to_owned());
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return Err(wanted.to_owned()) };
        let addresses = match &host {
            Host::Ipv4(ip) => vec![SocketAddr::from((*ip, port))],
            Host::Ipv6(ip) => vec![SocketAddr::from((*ip, port))],
            Host::Domain(name) => (*name, port)
                .to_socket_addrs()
                .map_err(|error| format!("names a host that cannot be resolved: {name} ({error})"))?
                .collect(),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let base = format!("{}://{host}{port}{}", url.scheme(), url.path().trim_end_matches('/'));
        Ok(Self { base, addresses })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// Whether requests stay on this machine.
    pub(super) fn is_this_machine(&self) -> bool {
        !self.addresses.is_empty() && self.addresses.iter().all(|address| address.ip().is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// The address on which this machine reaches a listener: any address is reached by this machine's own.
pub(in crate::cli) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_with_scheme_port_and_a_proxys_prefix() {
        for (url, shown, first, here) in [
            ("http://127.0.0.1:3111", "http://127.0.0.1:3111", "127.0.0.1:3111", true),
            ("https://192.0.2.7/warden/", "https://192.0.2.7/warden", "192.0.2.7:443", false),
            ("http://[::1]:80/", "http://[::1]", "[::1]:80", true),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(endpoint.addresses[0].to_string(), first);
            assert_eq!(endpoint.is_this_machine(), here);
        }
    }

    #[test]
    fn what_is_no_place_of_a_daemon_is_refused_without_repeating_a_secret() {
        for url in ["127.0.0.1:3000", "ws://127.0.0.1", "http://u:hush@127.0.0.1", "http://127.0.0.1/?key=hush", ""] {
            let said = Endpoint::parse(url).unwrap_err();
            assert!(!said.contains("hush"), "{said}");
        }
    }

    #[test]
    fn without_a_word_it_is_where_the_daemon_of_this_machine_listens() {
        let inputs = |pairs: &[(&str, &str)]| Inputs {
            environment: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
            ..Inputs::default()
        };
        let found = |pairs: &[(&str, &str)]| {
            let inputs = inputs(pairs);
            let config = Config::load(&inputs).ok();
            Endpoint::find(None, &inputs, config.as_ref()).unwrap().to_string()
        };
        assert_eq!(found(&[("HOME", "/h"), ("GATEWARDEN_HTTP__LISTEN", "0.0.0.0:3111")]), "http://127.0.0.1:3111");
        assert_eq!(found(&[("HOME", "/h"), ("GATEWARDEN_HTTP__LISTEN", "127.0.0.1:0")]), "http://127.0.0.1:3000");
        assert_eq!(found(&[]), "http://127.0.0.1:3000", "a configuration that can't be used is no reason to fail");
        assert_eq!(found(&[("GATEWARDEN_URL", "http://127.0.0.1:9")]), "http://127.0.0.1:9");
    }
}
