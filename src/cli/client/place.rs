//! Where the daemon is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use url::{Host, Url};

use super::Trouble;
use crate::cli::http_client::Trust;
use crate::config::{Config, Inputs};

use crate::config::URL_VARIABLE as VARIABLE;
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// A daemon's URL, resolved.
#[derive(Debug, Clone)]
pub(super) struct Place {
    encrypted: bool,
    /// With the port where it isn't the scheme's own.
    host: String,
    /// What stands before `/api`: empty, or with a slash at its start and none at its end.
    prefix: String,
    addresses: Vec<SocketAddr>,
}

impl Place {
    /// The flag, else the variable, else where the daemon listens that is configured on this machine.
    pub(super) fn find(flag: Option<&str>, inputs: &Inputs, config: Option<&Config>) -> Result<Self, Trouble> {
        if let Some(url) = flag {
            return Self::parse(url).map_err(|reason| Trouble::usage(format!("--url {reason}")));
        }
        if let Some(url) = inputs.variable(VARIABLE) {
            return Self::parse(url).map_err(|reason| Trouble::usage(format!("${VARIABLE} {reason}")));
        }
        let listen = config.map(|config| config.listen).filter(|listen| listen.port() != 0);
        Ok(Self::at(listen.unwrap_or(DEFAULT)))
    }

    fn at(listen: SocketAddr) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let address = SocketAddr::new(ip, listen.port());
        Self { encrypted: false, host: address.to_string(), prefix: String::new(), addresses: vec![address] }
    }

    /// Err: what is wrong with it, to stand behind its name.
    fn parse(text: &str) -> Result<Self, String> {
        let wanted = "must be an http or https URL such as http://127.0.0.1:3000";
        let url = Url::parse(text).map_err(|error| format!("{wanted} ({error})"))?;
        let encrypted = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(wanted.to_owned()),
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err("must hold neither user information nor a query: the key comes from --key-file".to_owned());
        }
        let host = url.host().ok_or_else(|| wanted.to_owned())?;
        let port = url.port_or_known_default().ok_or_else(|| wanted.to_owned())?;
        let addresses = match &host {
            Host::Ipv4(ip) => vec![SocketAddr::from((*ip, port))],
            Host::Ipv6(ip) => vec![SocketAddr::from((*ip, port))],
            Host::Domain(name) => (*name, port)
                .to_socket_addrs()
                .map_err(|error| format!("names a host that cannot be resolved: {name} ({error})"))?
                .collect(),
        };
        let written = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(Self { encrypted, host: written, prefix, addresses })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether requests stay on this machine.
    pub(super) fn is_this_machine(&self) -> bool {
        !self.addresses.is_empty() && self.addresses.iter().all(|address| address.ip().is_loopback())
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn trust(&self) -> Trust<'static> {
        if self.encrypted { Trust::System } else { Trust::Plain }
    }

    /// A path of the API as it is asked for.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.encrypted { "https" } else { "http" }, self.host, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_with_scheme_port_and_a_proxys_prefix() {
        for (url, shown, path, first, here) in [
            ("http://127.0.0.1:3111", "http://127.0.0.1:3111", "/api", "127.0.0.1:3111", true),
            ("https://192.0.2.7/warden/", "https://192.0.2.7/warden", "/warden/api", "192.0.2.7:443", false),
            ("http://[::1]:80/", "http://[::1]", "/api", "[::1]:80", true),
        ] {
            let place = Place::parse(url).unwrap();
            assert_eq!((place.to_string().as_str(), place.path("/api").as_str()), (shown, path));
            assert_eq!(place.addresses()[0].to_string(), first);
            assert_eq!(place.is_this_machine(), here);
        }
    }

    #[test]
    fn what_is_no_place_of_a_daemon_is_refused_without_repeating_a_secret() {
        for url in ["127.0.0.1:3000", "ws://127.0.0.1", "http://u:hush@127.0.0.1", "http://127.0.0.1/?key=hush", ""] {
            let said = Place::parse(url).unwrap_err();
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
            Place::find(None, &inputs, config.as_ref()).unwrap().to_string()
        };
        assert_eq!(found(&[("HOME", "/h"), ("GATEWARDEN_HTTP__LISTEN", "0.0.0.0:3111")]), "http://127.0.0.1:3111");
        assert_eq!(found(&[("HOME", "/h"), ("GATEWARDEN_HTTP__LISTEN", "127.0.0.1:0")]), "http://127.0.0.1:3000");
        assert_eq!(found(&[]), "http://127.0.0.1:3000", "a configuration that can't be used is no reason to fail");
        assert_eq!(found(&[("GATEWARDEN_URL", "http://127.0.0.1:9")]), "http://127.0.0.1:9");
    }
}
