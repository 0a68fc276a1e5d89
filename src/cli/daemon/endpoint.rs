//! Where the daemon is, and which API key is shown to it. Never one from the command line: everybody on the machine can read that.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use gatewarden_protocol::Secret;
use url::{Host, Url};

use super::PlaceArgs;
use super::contexts::Context;
use crate::app::StateDir;
use crate::cli::EXIT_DENIED;
use crate::cli::error::CliError;
use crate::cli::files::{read_secret, read_secret_file};
use crate::config::{API_KEY_VARIABLE, Config, Inputs, URL_VARIABLE};

/// Where the service keeps its state.
const SERVICE_STATE: &str = "/var/lib/gatewarden";
/// The file in it that holds the key that the daemon made for itself.
const ADMIN_KEY: &str = "admin.key";
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// A daemon's URL, resolved.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Endpoint {
    /// Scheme, host, and what stands before `/api`, without a slash at its end.
    base: String,
    pub(super) addresses: Vec<SocketAddr>,
    /// The context that names it, where one does.
    context: Option<String>,
}

impl Endpoint {
    /// The flag, else the context, else where the daemon said that it listens whose state directory is named, else the variable, else
    /// where the daemon listens that is configured on this machine.
    pub(super) fn find(
        flag: Option<&str>,
        context: Option<&Context>,
        inputs: &Inputs,
        config: Option<&Config>,
    ) -> Result<Self, CliError> {
        if let Some(url) = flag {
            return Self::parse(url).map_err(|reason| CliError::usage(format!("--url {reason}")));
        }
        if let Some(Context { name, url, .. }) = context {
            let found = Self::parse(url).map_err(|reason| {
                CliError::usage(format!("The URL of the context {name} {reason}"))
                    .cure(format!("`gatewarden context add {name} URL` changes it."))
            })?;
            return Ok(Self { context: Some(name.clone()), ..found });
        }
        if let Some(noted) = inputs.state_dir.as_deref().and_then(StateDir::noted_address) {
            return Ok(Self::at(reachable(noted)));
        }
        if let Some(url) = inputs.variable(URL_VARIABLE) {
            return Self::parse(url).map_err(|reason| CliError::usage(format!("$GATEWARDEN_URL {reason}")));
        }
        let listen = config.map(|config| config.listen).filter(|listen| listen.port() != 0);
        Ok(Self::at(reachable(listen.unwrap_or(DEFAULT))))
    }

    fn at(address: SocketAddr) -> Self {
        Self { base: format!("http://{address}"), addresses: vec![address], context: None }
    }

    /// The context that names it, where one does.
    pub(in crate::cli) fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Err: what is wrong with it, to stand behind its name.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        let wanted = "must be HOST:PORT or an http or https URL, such as 127.0.0.1:3000 or http://127.0.0.1:3000";
        // HOST:PORT means http, as it does to other clients of HTTP.
        let has_port = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let place = text.split('/').next().unwrap_or_default();
        let bare = !text.contains("://") && has_port(place);
        let url =
            Url::parse(&if bare { format!("http://{text}") } else { text.to_owned() }).map_err(
                |error| match error {
                    url::ParseError::RelativeUrlWithoutBase => wanted.to_owned(),
                    error => format!("{wanted} ({error})"),
                },
            )?;
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
        Ok(Self { base, addresses, context: None })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// Where to connect; none behind TLS.
    pub(in crate::cli) fn plain_address(&self) -> Option<SocketAddr> {
        self.addresses.first().copied().filter(|_| !self.base.starts_with("https:"))
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

/// The named file, else the context's, else the variable, else, for a daemon on this machine and for no other, its own admin key.
pub(super) fn find_key(
    args: &PlaceArgs,
    context: Option<&Context>,
    inputs: &Inputs,
    config: Option<&Config>,
    endpoint: &Endpoint,
) -> Result<Secret, CliError> {
    if let Some(file) = &args.key_file {
        return read_secret(file);
    }
    let named = args.state_dir.as_ref().filter(|_| endpoint.is_this_machine());
    if let Some(key) = named.and_then(|dir| read_secret_file(&dir.join(ADMIN_KEY)).ok()) {
        return Ok(key);
    }
    if let Some(key) = context.map(Context::key).transpose()?.flatten() {
        return Ok(key);
    }
    if let Some(key) = inputs.variable(API_KEY_VARIABLE) {
        return Ok(Secret::new(key.trim()));
    }
    let denied = |what: String| {
        let cure = format!("Give a file that holds one with --key-file, or the key itself in ${API_KEY_VARIABLE}.");
        CliError::coded(EXIT_DENIED, format!("No API key for {endpoint}{what}.")).cure(cure)
    };
    if !endpoint.is_this_machine() {
        return Err(denied(String::new()));
    }
    if let Some(key) = config.and_then(|config| config.api_key.clone()) {
        return Ok(key);
    }
    let places = config.map(|config| config.state_dir.clone()).into_iter().chain([PathBuf::from(SERVICE_STATE)]);
    let places = args.state_dir.clone().map_or_else(|| places.collect(), |dir| vec![dir]).into_iter();
    let mut reason = match &args.state_dir {
        Some(dir) => format!(": no admin key lies in {}", dir.display()),
        None => ": no admin key lies in the state directory of a daemon; --state-dir names another".to_owned(),
    };
    for path in places.map(|dir| dir.join(ADMIN_KEY)) {
        match read_secret_file(&path) {
            Ok(key) => return Ok(key),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                reason = format!(": the daemon's own in {} may not be read", path.display());
            }
            Err(_) => {}
        }
    }
    Err(denied(reason))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn urls_are_taken_with_scheme_port_and_a_proxys_prefix() {
        for (url, shown, first, here) in [
            ("http://127.0.0.1:3111", "http://127.0.0.1:3111", "127.0.0.1:3111", true),
            ("https://192.0.2.7/warden/", "https://192.0.2.7/warden", "192.0.2.7:443", false),
            ("http://[::1]:80/", "http://[::1]", "[::1]:80", true),
            ("127.0.0.1:3000", "http://127.0.0.1:3000", "127.0.0.1:3000", true),
            ("[::1]:3000/warden", "http://[::1]:3000/warden", "[::1]:3000", true),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(endpoint.addresses[0].to_string(), first);
            assert_eq!(endpoint.is_this_machine(), here);
        }
    }

    #[test]
    fn what_is_no_place_of_a_daemon_is_refused_without_repeating_a_secret() {
        for url in [
            "127.0.0.1",
            "mailto:3000",
            "u:hush@127.0.0.1:3000",
            "ws://127.0.0.1",
            "http://u:hush@127.0.0.1",
            "http://127.0.0.1/?key=hush",
            "",
        ] {
            let said = Endpoint::parse(url).unwrap_err();
            assert!(!said.contains("hush"), "{said}");
        }
        assert!(Endpoint::parse("127.0.0.1").unwrap_err().contains("must be HOST:PORT or an http or https URL"));
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
            Endpoint::find(None, None, &inputs, config.as_ref()).unwrap().to_string()
        };
        assert_eq!(found(&[("HOME", "/h"), ("GATEWARDEN_HTTP__LISTEN", "0.0.0.0:3111")]), "http://127.0.0.1:3111");
        assert_eq!(found(&[("HOME", "/h"), ("GATEWARDEN_HTTP__LISTEN", "127.0.0.1:0")]), "http://127.0.0.1:3000");
        assert_eq!(found(&[]), "http://127.0.0.1:3000", "a configuration that can't be used is no reason to fail");
        assert_eq!(found(&[("GATEWARDEN_URL", "http://127.0.0.1:9")]), "http://127.0.0.1:9");
    }

    #[test]
    fn a_state_directory_tells_where_its_daemon_listens() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = Inputs {
            state_dir: Some(dir.path().to_owned()),
            environment: [(URL_VARIABLE.to_owned(), "http://127.0.0.1:9".into())].into(),
            ..Inputs::default()
        };
        let found = || Endpoint::find(None, None, &inputs, None).unwrap().to_string();
        assert_eq!(found(), "http://127.0.0.1:9", "it says nothing");
        let claimed = StateDir::claim(dir.path()).unwrap();
        claimed.note_address("0.0.0.0:3111".parse().unwrap());
        assert_eq!(found(), "http://127.0.0.1:3111");
        assert_eq!(
            Endpoint::find(Some("h.invalid:1"), None, &inputs, None).ok().map(|e| e.to_string()),
            None,
            "the flag counts"
        );
        drop(claimed);
        assert_eq!(found(), "http://127.0.0.1:9", "what listens there by now may be anything");
        std::fs::write(dir.path().join(StateDir::LOCK_FILE), format!("{} 127.0.0.1:3111", u32::MAX)).unwrap();
        assert_eq!(found(), "http://127.0.0.1:9", "it was killed");
    }

    fn key(pairs: &[(&str, &str)], url: &str, file: Option<&Path>) -> Result<Secret, CliError> {
        let inputs = Inputs {
            environment: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
            ..Inputs::default()
        };
        let config = Config::load(&inputs).ok();
        let endpoint = Endpoint::find(Some(url), None, &inputs, config.as_ref()).unwrap();
        let args = PlaceArgs { key_file: file.map(Path::to_owned), ..PlaceArgs::default() };
        find_key(&args, None, &inputs, config.as_ref(), &endpoint)
    }

    const HERE: &str = "http://127.0.0.1:1";

    #[test]
    fn the_file_comes_before_the_variable_and_both_before_the_daemons_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let (state, file) = (dir.path().display().to_string(), dir.path().join("key"));
        std::fs::write(&file, "of-the-file\n").unwrap();
        std::fs::write(dir.path().join("admin.key"), "of-the-daemon\n").unwrap();
        let own = [("GATEWARDEN_STATE_DIR", state.as_str())];
        let all = [own[0], ("GATEWARDEN_API_KEY", "of-the-variable")];
        assert_eq!(key(&all, HERE, Some(&file)).unwrap().expose(), "of-the-file");
        assert_eq!(key(&all, HERE, None).unwrap().expose(), "of-the-variable");
        assert_eq!(key(&own, HERE, None).unwrap().expose(), "of-the-daemon");
        assert_eq!(key(&[own[0], ("API_KEY", "configured")], HERE, None).unwrap().expose(), "configured");
    }

    #[test]
    fn the_daemons_own_key_is_sent_to_no_other_machine() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("admin.key"), "hush\n").unwrap();
        let state = dir.path().display().to_string();
        let pairs = [("GATEWARDEN_STATE_DIR", state.as_str()), ("API_KEY", "hush")];
        let error = key(&pairs, "http://192.0.2.7:3000", None).unwrap_err();
        assert_eq!(error.exit_code, EXIT_DENIED);
        assert!(!error.to_string().contains("hush"));
    }
}
