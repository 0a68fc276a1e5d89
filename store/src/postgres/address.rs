//! `store.url` of a PostgreSQL: where the server is, as whom, and how its connection is protected.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use gatewarden_protocol::Secret;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use url::Url;

use super::tls::{Protection, Tls};
use super::trouble::Trouble;

/// Under which right a session writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fence {
    /// The run of the daemon.
    pub(crate) node: String,
    /// Under which it has the role.
    pub(crate) epoch: i64,
}

/// Where a PostgreSQL is. It is shown without its password.
#[derive(Clone)]
pub struct ServerAddress {
    config: Box<Config>,
    pub(super) protection: Protection,
    /// Under which right what is written is written.
    pub(crate) fence: Option<Fence>,
}

impl PartialEq for ServerAddress {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.protection == other.protection
    }
}

impl Eq for ServerAddress {}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerAddress({self})")
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        });
        let user = self.config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
        let hosts = hosts.collect::<Vec<_>>().join(",");
        write!(f, "postgres://{user}{hosts}/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl ServerAddress {
    /// The same with another name to the server.
    #[cfg(test)]
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.config.application_name(name);
        self
    }

    /// Whether a text is meant to be one.
    pub fn is_meant_by(url: &str) -> bool {
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }

    /// Reads a URL; what is wrong with it is said without its value.
    pub fn parse(url: &Secret) -> Result<Self, String> {
        const FORM: &str = "must be postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        let (plain, mut mode, mut authorities) = (url.expose(), None, None);
        let (start, query) = plain.split_once('?').unwrap_or((plain, ""));
        // The URL may name several hosts, which only the query's reader of a URL doesn't mind.
        let read = Url::parse(&format!("postgres://host/?{query}")).map_err(|_| FORM.to_owned())?;
        let mut kept = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in read.query_pairs() {
            match name.as_ref() {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" => authorities = Some(PathBuf::from(value.into_owned())),
                "application_name"
                | "options"
                | "host"
                | "hostaddr"
                | "port"
                | "user"
                | "password"
                | "dbname"
                | "target_session_attrs" => {
                    kept.append_pair(&name, &value);
                }
                _ => {
                    return Err("has a parameter that is not known; docs/postgresql.md lists those that are".to_owned());
                }
            }
        }
        // The other reader knows %20 and not + for a space.
        let kept = kept.finish().replace('+', "%20");
        let mut config: Config = format!("{start}?{kept}").parse().map_err(|_| FORM.to_owned())?;
        if config.get_hosts().is_empty() || config.get_dbname().is_none_or(str::is_empty) {
            return Err(FORM.to_owned());
        }
        if config.get_application_name().is_none() {
            config.application_name("gatewarden");
        }
        let is_here = config.get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        });
        let protection = match mode.as_deref() {
            Some("disable") => Protection::Plain,
            None if is_here && authorities.is_none() => Protection::Plain,
            Some("require" | "verify-full") | None => Protection::Tls { authorities },
            Some("prefer" | "allow" | "verify-ca") => {
                let expected = "has an sslmode that lets anybody on the way read along; take verify-full, or disable";
                return Err(expected.to_owned());
            }
            Some(_) => return Err("has an unknown sslmode; it must be verify-full, require or disable".to_owned()),
        };
        config.ssl_mode(if protection == Protection::Plain { SslMode::Disable } else { SslMode::Require });
        Ok(Self { config: Box::new(config), protection, fence: None })
    }

    /// Connects and logs in. The limit is shared by the hosts' connections, with two addresses each; looking names up has none.
    pub(super) async fn connect(&self, limit: Duration) -> Result<AsyncPgConnection, Trouble> {
        let tls = Tls::new(&self.protection)?;
        let mut config = self.config.clone();
        let limit = limit / (2 * u32::try_from(config.get_hosts().len()).unwrap_or(1).max(1));
        let (client, connection) =
            config.connect_timeout(limit).connect(tls).await.map_err(|error| Trouble::of_login(&error))?;
        AsyncPgConnection::try_from_client_and_connection(client, connection)
            .await
            .map_err(|error| Trouble::Unreachable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<ServerAddress, String> {
        ServerAddress::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = parse("postgres://gw:tok-secret@db.example:6432/fleet?application_name=a%20b").unwrap();
        assert_eq!(address.to_string(), "postgres://gw@db.example:6432/fleet");
        assert!(!format!("{address:?}").contains("tok-secret"));
        assert_eq!(address.config.get_application_name(), Some("a b"));
        let two = parse("postgresql://gw@one,two:5433/fleet?target_session_attrs=read-write").unwrap();
        assert!(two.to_string().contains("one") && two.to_string().contains("two"), "{two}");
    }

    #[test]
    fn a_server_elsewhere_must_show_a_good_certificate_unless_that_is_switched_off() {
        let tls = |url| parse(url).unwrap().protection != Protection::Plain;
        assert!(tls("postgres://gw@db.example/fleet"));
        assert!(tls("postgres://gw@127.0.0.1/fleet?sslmode=verify-full"));
        assert!(tls("postgres://gw@localhost/fleet?sslrootcert=/etc/ca.pem"));
        assert!(!tls("postgres://gw@db.example/fleet?sslmode=disable"));
        assert!(!tls("postgres://gw@127.0.0.1/fleet") && !tls("postgres:///fleet?host=/run/postgresql"));
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_repeated() {
        for url in [
            "postgres://gw:tok-secret@db.example/",
            "postgres://gw:tok-secret@db.example/fleet?sslmode=prefer",
            "postgres://gw:tok-secret@db.example/fleet?sslmode=tok-secret",
            "postgres://gw:tok-secret@db.example/fleet?passwort=tok-secret",
            "postgres://gw:tok-secret@db.example:port/fleet",
        ] {
            let expected = parse(url).unwrap_err();
            assert!(!expected.contains("tok-secret"), "{expected}");
        }
    }
}
