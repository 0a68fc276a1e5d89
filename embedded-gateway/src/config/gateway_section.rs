//! Section `gateway`: where it listens, who is let in, encryption. Document 004's keys and document 002's side by side.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewarden_protocol::Secret;
use url::Url;

use super::section::{Findings, Others, Section, set};
use super::{Auth, Bind, ControlUi, DeviceAuth, GatewayConfig, Limits, NodeCommands, Tls, network_section};

/// Real OpenClaw's keys of `gateway` that have no meaning here.
const FOREIGN: &str = "remote reload http tools channelHealthCheckMinutes \
    channelStaleEventThresholdMinutes channelMaxRestartsPerHour webchat push restart handshakeTimeoutMs terminal \
    cliCommands";

pub(super) enum Credential {
    Known(Auth),
    /// The token of the state directory, made at the first start.
    TokenFile,
}

pub(super) fn read(root: &Section<'_>, config: &mut GatewayConfig) -> Credential {
    let gateway = root.section("gateway");
    let _ = gateway.parsed("mode", |mode| match mode {
        "local" => Ok(()),
        _ => Err("must be local: this gateway runs where it is started"),
    });
    network_section::tailscale(&gateway, &mut config.tailscale);
    let port = gateway.number("port", 0..=65_535);
    config.tls = tls(&gateway, port, config);
    set(&mut config.port, port);
    let custom = gateway.address("customBindHost");
    let bind = gateway.parsed("bind", |text| match (text, custom) {
        ("custom", Some(address)) => Ok(custom_bind(address)),
        ("custom", None) => Err("needs gateway.customBindHost, the IP address to listen on".to_owned()),
        _ => parse_bind(text),
    });
    set(&mut config.bind, bind);
    if gateway.value("trustedProxies").is_some() {
        let cure = "must be an IP address or a network such as 10.0.0.0/8";
        config.trusted_proxies = gateway.list("trustedProxies", |text| text.parse().map_err(|_| cure));
    }
    set(&mut config.real_ip_fallback, gateway.switch("allowRealIpFallback"));
    control_ui(&gateway, &mut config.control_ui);
    network_section::discovery(&gateway, config);
    node_commands(&gateway, &mut config.node_commands);
    let credential = auth(&gateway, config);
    gateway.close(Others::RefusedBut(FOREIGN));
    credential
}

fn node_commands(gateway: &Section<'_>, into: &mut NodeCommands) {
    let nodes = gateway.section("nodes");
    let commands = nodes.section("commands");
    let exact = |name: String| {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if plain && !name.is_empty() {
            Ok(name)
        } else {
            Err("must be the exact name of a command, such as camera.snap")
        }
    };
    into.allow = commands.list("allow", exact);
    into.deny = commands.list("deny", exact);
    commands.close(Others::RefusedBut(""));
    nodes.close(Others::RefusedBut("browser pairing pluginTools allowSkills"));
}

pub(super) fn parse_bind(text: &str) -> Result<Bind, String> {
    match text {
        // Real releases prefer loopback for `auto`; this one never leaves it unasked.
        "loopback" | "auto" | "local" => Ok(Bind::Loopback),
        "lan" => Ok(Bind::Lan),
        "tailnet" | "tailscale" => Ok(Bind::Tailnet),
        other => other
            .parse::<IpAddr>()
            .map(custom_bind)
            .map_err(|_| "must be loopback, lan, tailnet or an IP address of this machine".to_owned()),
    }
}

/// An IPv4 address that is written as one of IPv6 is meant as what it is: with `::ffff:127.0.0.1` only this machine can connect.
fn custom_bind(address: IpAddr) -> Bind {
    Bind::Custom(address.to_canonical())
}

/// Letters, digits and `/._-`, without detours.
pub(super) fn is_plain_path(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    path.starts_with('/') && plain && !path.contains("//") && !path.contains("..")
}

fn control_ui(gateway: &Section<'_>, into: &mut ControlUi) {
    let section = gateway.section("controlUi");
    set(&mut into.enabled, section.switch("enabled"));
    let (required, disabled) = (section.switch("requireDeviceAuth"), section.switch("dangerouslyDisableDeviceAuth"));
    set(&mut into.require_device_auth, required);
    match (required, disabled) {
        (Some(true), Some(true)) => {
            let cure = "contradicts requireDeviceAuth: true; keep one of them";
            section.wrong("dangerouslyDisableDeviceAuth", Some(&true.into()), cure);
        }
        (_, Some(true)) => {
            into.require_device_auth = false;
            let path = section.key("dangerouslyDisableDeviceAuth");
            section.findings.warn(format!("{path}: true is taken as requireDeviceAuth: false: pages need no device"));
        }
        _ => {}
    }
    let base_path = section.parsed("basePath", |path| {
        let trimmed = path.trim_end_matches('/');
        match (is_plain_path(path), trimmed) {
            (true, "") => Ok("/".to_owned()),
            (true, _) => Ok(trimmed.to_owned()),
            (false, _) => Err("must be a plain path that begins with a slash, such as / or /openclaw"),
        }
    });
    set(&mut into.base_path, base_path);
    into.allowed_origins = section.list("allowedOrigins", |origin| parse_origin(&origin));
    let known = "root allowInsecureAuth dangerouslyAllowHostHeaderOriginFallback embedSandbox";
    section.close(Others::RefusedBut(known));
}

/// An origin as browsers write it: scheme, host, port where it isn't the scheme's own.
fn parse_origin(text: &str) -> Result<String, &'static str> {
    if text.contains('*') {
        return Err("a wildcard would let any web page reach this gateway; list each origin");
    }
    let expected = "must be an origin: scheme://host[:port] without a path, such as https://mc.example.com";
    let url = Url::parse(text).map_err(|_| expected)?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !(bare && matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.username().is_empty()) {
        return Err(expected);
    }
    Ok(url.origin().ascii_serialization())
}

fn auth(gateway: &Section<'_>, config: &mut GatewayConfig) -> Credential {
    let section = gateway.section("auth");
    let mode = section.text("mode");
    let (token, password) = (section.secret("token"), section.secret("password"));
    device_auth(&section, &mut config.device_auth);
    rate_limit(&section, &mut config.limits);
    set(&mut config.tailscale.allow_logins, section.switch("allowTailscale"));
    let credential = credential(&section, mode.as_deref(), token, password);
    section.close(Others::RefusedBut("trustedProxy"));
    credential
}

/// The file wins over the environment, which every child process would inherit and anybody can forget.
fn credential(
    section: &Section<'_>,
    mode: Option<&str>,
    token: Option<Secret>,
    password: Option<Secret>,
) -> Credential {
    let variable = |name: &str| section.findings.inputs.variable(name).map(Secret::new);
    let (env_token, env_password) = (variable("OPENCLAW_GATEWAY_TOKEN"), variable("OPENCLAW_GATEWAY_PASSWORD"));
    if let (Some(file), Some(env)) = (&token, &env_token)
        && file != env
    {
        section
            .findings
            .warn("gateway.auth.token of the file counts; OPENCLAW_GATEWAY_TOKEN differs from it and is not used");
    }
    let (token, any_password) = (token.or(env_token), password.clone().or(env_password));
    let auth = match (mode, token, password) {
        (Some("token"), token, _) | (None, token, None) => token.map(Auth::Token),
        (Some("none"), ..) => Some(Auth::None),
        (Some("password"), ..) => {
            if any_password.is_none() {
                section.missing("password", ": gateway.auth.mode is password");
            }
            any_password.map(Auth::Password)
        }
        (Some(other), ..) => {
            let cure = match other {
                "tailscale" => {
                    "must be token or password; gateway.auth.allowTailscale lets logins of the tailnet in beside it"
                }
                "trusted-proxy" => "is not supported by this gateway; write token or password",
                _ => "must be token, password or none",
            };
            section.wrong("mode", None, cure);
            None
        }
        (None, Some(_), Some(_)) => {
            section.missing("mode", ": token and password are both given; write which one counts");
            None
        }
        (None, None, Some(password)) => Some(Auth::Password(password)),
    };
    auth.map_or(Credential::TokenFile, Credential::Known)
}

fn device_auth(auth: &Section<'_>, into: &mut DeviceAuth) {
    let section = auth.section("deviceAuth");
    set(&mut into.enabled, section.switch("enabled"));
    set(&mut into.require_signature, section.switch("requireSignature"));
    set(&mut into.approve_loopback, section.switch("approveLoopback"));
    let year = Duration::from_secs(366 * 86_400);
    set(&mut into.token_ttl, section.duration("tokenTTL", Duration::from_secs(1)..=year));
    set(&mut into.max_devices_per_user, section.number("maxDevicesPerUser", 1..=10_000));
    if into.require_signature && !into.enabled {
        let cure = "needs gateway.auth.deviceAuth.enabled: without devices nobody can sign";
        section.wrong("requireSignature", Some(&true.into()), cure);
    }
    section.close(Others::RefusedBut(""));
}

fn rate_limit(auth: &Section<'_>, limits: &mut Limits) {
    let section = auth.section("rateLimit");
    set(&mut limits.auth_failures, section.number("maxAttempts", 1..=10_000));
    set(&mut limits.lockout, section.number("lockoutMs", 1_000..=86_400_000).map(Duration::from_millis));
    section.close(Others::RefusedBut("windowMs exemptLoopback"));
}

fn tls(gateway: &Section<'_>, port: Option<u16>, config: &mut GatewayConfig) -> Option<Tls> {
    let section = gateway.section("tls");
    let enabled = section.switch("enabled");
    let own_port = section.number::<u16>("port", 0..=65_535);
    let (cert, key) = (either(&section, "certPath", "certFile"), either(&section, "keyPath", "keyFile"));
    let generate = section.switch("autoGenerate");
    if enabled.is_none() && section.is_written() && section.value("enabled").is_none() {
        section.missing("enabled", "; write whether this section counts: true or false");
    }
    let tls = if enabled == Some(true) { encryption(&section, cert, key, generate, config) } else { None };
    if let (Some(own), Some(true)) = (own_port, enabled) {
        if port.is_some_and(|port| port != own) {
            section.wrong("port", Some(&own.into()), "differs from gateway.port; this gateway has one port");
        }
        config.port = own;
    }
    section.close(Others::RefusedBut("caPath"));
    tls
}

fn encryption(
    section: &Section<'_>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    generate: Option<bool>,
    config: &GatewayConfig,
) -> Option<Tls> {
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Tls { cert, key, auto_generate: generate.unwrap_or(false) },
        (None, None) => {
            let dir = config.state_dir.join("tls");
            Tls { cert: dir.join("cert.pem"), key: dir.join("key.pem"), auto_generate: generate.unwrap_or(true) }
        }
        (cert, _) => {
            let missing = if cert.is_some() { "keyPath" } else { "certPath" };
            section.missing(missing, "; certificate and key go together");
            return None;
        }
    };
    for (name, path) in [("certPath", &tls.cert), ("keyPath", &tls.key)] {
        if !tls.auto_generate && !path.is_file() {
            let cure = "there is no such file; name a PEM file, or write gateway.tls.autoGenerate: true";
            section.wrong(name, None, cure);
        }
    }
    Some(tls)
}

/// A path that the two documents name differently.
fn either(section: &Section<'_>, one: &'static str, other: &'static str) -> Option<PathBuf> {
    let (first, second) = (section.path_of(one), section.path_of(other));
    if let (Some(first), Some(second)) = (&first, &second)
        && first != second
    {
        section.wrong(other, None, format!("differs from {}; keep one", section.key(one)));
    }
    first.or(second)
}

/// What only the whole tells: whoever listens beyond this machine has to know who asks.
pub(super) fn check_exposure(findings: &Findings<'_>, config: &GatewayConfig, auth: Option<&Auth>) {
    if config.bind.is_loopback() {
        return;
    }
    if matches!(auth, Some(Auth::None)) {
        let cure =
            "without authentication this gateway listens on loopback only; write token or password, or bind loopback";
        findings.wrong("gateway.auth.mode", None, cure);
    }
    if config.tls.is_none() {
        findings.warn(
            "this gateway listens beyond loopback without TLS: tokens and messages travel in the clear; set \
            gateway.tls.enabled, or put a TLS proxy before it",
        );
    }
    if let Some(auth @ (Auth::Token(_) | Auth::Password(_))) = auth
        && !auth.is_unguessable()
    {
        findings.warn(
            "the shared credential has fewer than 16 characters, or fewer than 8 different ones, and this gateway listens \
            beyond loopback: it can be guessed, and who shares an address with somebody who tries is locked out with him",
        );
    }
}

/// A file that others may read is no place for a secret.
pub(super) fn check_privacy(findings: &Findings<'_>, file: &Path, holds_secret: bool) {
    use std::os::unix::fs::PermissionsExt as _;

    let Ok(metadata) = std::fs::metadata(file) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o002 != 0 {
        let cure = format!(
            "any user of this machine may change it, and with it which programs are run (mode {mode:04o}); run chmod o-w on it"
        );
        findings.wrong("", None, cure);
    }
    // systemd has made a credential readable for this service alone, whatever its mode says of the access list.
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|dir| file.starts_with(dir));
    if holds_secret && mode & 0o077 != 0 && !credential {
        let cure = format!(
            "other users may read the secrets in it (mode {mode:04o}); run chmod 600 on it, or take the secrets out"
        );
        findings.wrong("", None, cure);
    }
}
