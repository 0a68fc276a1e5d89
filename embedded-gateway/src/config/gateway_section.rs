//! Section `gateway`: where it listens, who is let in, encryption. Document 004's keys and document 002's side by side.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use gatewarden_protocol::Secret;
use serde_json::Value;
use url::Url;

use super::section::{Others, Reader, Section};
use super::{Auth, Bind, ControlUi, DeviceAuth, GatewayConfig, Tls};

/// Real OpenClaw's keys of `gateway` that have no meaning here.
const FOREIGN: &[&str] = &[
    "remote",
    "reload",
    "http",
    "nodes",
    "allowRealIpFallback",
    "tools",
    "channelHealthCheckMinutes",
    "channelStaleEventThresholdMinutes",
    "channelMaxRestartsPerHour",
    "discovery",
    "webchat",
    "push",
    "restart",
    "handshakeTimeoutMs",
    "terminal",
    "cliCommands",
];

pub(super) enum Credential {
    Known(Auth),
    /// The token of the state directory, made at the first start.
    TokenFile,
}

pub(super) fn read(reader: &mut Reader<'_>, root: &mut Section<'_>, config: &mut GatewayConfig) -> Credential {
    let mut gateway = root.section(reader, "gateway");
    if let Some(mode) = gateway.text(reader, "mode")
        && mode != "local"
    {
        reader.wrong("gateway.mode", Some(&mode.into()), "must be local: this gateway runs where it is started");
    }
    refuse_tailscale(reader, &mut gateway);
    let port = gateway.number(reader, "port", 0..=65_535);
    config.tls = tls(reader, &mut gateway, port, config);
    if let Some(port) = port.and_then(|port| u16::try_from(port).ok()) {
        config.port = port;
    }
    bind(reader, &mut gateway, config);
    trusted_proxies(reader, &mut gateway, config);
    control_ui(reader, &mut gateway, &mut config.control_ui);
    let credential = auth(reader, &mut gateway, config);
    gateway.close(reader, Others::RefusedBut(FOREIGN));
    credential
}

fn trusted_proxies(reader: &mut Reader<'_>, gateway: &mut Section<'_>, config: &mut GatewayConfig) {
    if gateway.value("trustedProxies").is_none() {
        return;
    }
    config.trusted_proxies.clear();
    for (at, text) in gateway.texts(reader, "trustedProxies").into_iter().enumerate() {
        match text.parse() {
            Ok(network) => config.trusted_proxies.push(network),
            Err(_) => {
                let cure = "must be an IP address or a network such as 10.0.0.0/8";
                reader.wrong(&format!("gateway.trustedProxies[{at}]"), Some(&text.into()), cure);
            }
        }
    }
}

fn refuse_tailscale(reader: &mut Reader<'_>, gateway: &mut Section<'_>) {
    let mut tailscale = gateway.section(reader, "tailscale");
    if let Some(mode) = tailscale.text(reader, "mode")
        && mode != "off"
    {
        let cure = "Tailscale is not supported by this gateway; write off, and run `tailscale serve` beside it";
        reader.wrong("gateway.tailscale.mode", Some(&mode.into()), cure);
    }
    tailscale.close(reader, Others::RefusedBut(&["resetOnExit"]));
}

fn bind(reader: &mut Reader<'_>, gateway: &mut Section<'_>, config: &mut GatewayConfig) {
    let custom = gateway.address(reader, "customBindHost");
    if let Some(text) = gateway.text(reader, "bind") {
        match (text.as_str(), custom) {
            ("custom", Some(address)) => config.bind = Bind::Custom(address),
            ("custom", None) => {
                let cure = "needs gateway.customBindHost, the IP address to listen on";
                reader.wrong("gateway.bind", Some(&text.into()), cure);
            }
            _ => match parse_bind(&text) {
                Ok(bind) => config.bind = bind,
                Err(cure) => reader.wrong("gateway.bind", Some(&text.into()), cure),
            },
        }
    }
}

pub(super) fn parse_bind(text: &str) -> Result<Bind, String> {
    match text {
        // Real releases prefer loopback for `auto`; this one never leaves it unasked.
        "loopback" | "auto" | "local" => Ok(Bind::Loopback),
        "lan" => Ok(Bind::Lan),
        "tailnet" | "tailscale" => {
            Err("Tailscale is not supported by this gateway; write the tailnet address of this \
                                        machine instead"
                .to_owned())
        }
        other => other
            .parse::<IpAddr>()
            .map(Bind::Custom)
            .map_err(|_| "must be loopback, lan or an IP address of this machine".to_owned()),
    }
}

fn control_ui(reader: &mut Reader<'_>, gateway: &mut Section<'_>, into: &mut ControlUi) {
    let mut section = gateway.section(reader, "controlUi");
    into.enabled = section.switch(reader, "enabled").unwrap_or(into.enabled);
    into.require_device_auth = section.switch(reader, "requireDeviceAuth").unwrap_or(into.require_device_auth);
    if let Some(path) = section.text(reader, "basePath") {
        let trimmed = path.trim_end_matches('/');
        let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        if path.starts_with('/') && plain && !path.contains("//") && !path.contains("..") {
            into.base_path = if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() };
        } else {
            let cure = "must be a plain path that begins with a slash, such as / or /openclaw";
            reader.wrong("gateway.controlUi.basePath", Some(&path.into()), cure);
        }
    }
    for (at, origin) in section.texts(reader, "allowedOrigins").into_iter().enumerate() {
        match parse_origin(&origin) {
            Ok(origin) => into.allowed_origins.push(origin),
            Err(cure) => {
                reader.wrong(&format!("gateway.controlUi.allowedOrigins[{at}]"), Some(&origin.into()), cure);
            }
        }
    }
    let dangerous = "dangerouslyDisableDeviceAuth";
    if section.switch(reader, dangerous) == Some(true) {
        let cure = "is not supported; write gateway.controlUi.requireDeviceAuth: false where you mean that";
        reader.wrong(&format!("gateway.controlUi.{dangerous}"), Some(&Value::Bool(true)), cure);
    }
    section.close(
        reader,
        Others::RefusedBut(&["root", "allowInsecureAuth", "dangerouslyAllowHostHeaderOriginFallback", "embedSandbox"]),
    );
}

/// An origin as browsers write it: scheme, host, port where it isn't the scheme's own.
fn parse_origin(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("a wildcard would let any web page reach this gateway; list each origin".to_owned());
    }
    let expected =
        || "must be an origin: scheme://host[:port] without a path, such as https://mc.example.com".to_owned();
    let url = Url::parse(text).map_err(|_| expected())?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !(bare && matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.username().is_empty()) {
        return Err(expected());
    }
    Ok(url.origin().ascii_serialization())
}

fn auth(reader: &mut Reader<'_>, gateway: &mut Section<'_>, config: &mut GatewayConfig) -> Credential {
    let mut section = gateway.section(reader, "auth");
    let mode = section.text(reader, "mode");
    let token = section.secret(reader, "token");
    let password = section.secret(reader, "password");
    device_auth(reader, &mut section, &mut config.device_auth);
    rate_limit(reader, &mut section, config);
    if section.switch(reader, "allowTailscale") == Some(true) {
        let cure = "Tailscale is not supported by this gateway; leave it out or write false";
        reader.wrong("gateway.auth.allowTailscale", Some(&Value::Bool(true)), cure);
    }
    section.close(reader, Others::RefusedBut(&["trustedProxy"]));
    credential(reader, mode, token, password)
}

/// The file wins over the environment, which every child process would inherit and anybody can forget.
fn credential(
    reader: &mut Reader<'_>,
    mode: Option<String>,
    token: Option<Secret>,
    password: Option<Secret>,
) -> Credential {
    let variable = |name: &str| reader.inputs.variable(name).map(Secret::new);
    let (env_token, env_password) = (variable("OPENCLAW_GATEWAY_TOKEN"), variable("OPENCLAW_GATEWAY_PASSWORD"));
    if let (Some(file), Some(env)) = (&token, &env_token)
        && file != env
    {
        reader.warnings.push(
            "gateway.auth.token of the file counts; OPENCLAW_GATEWAY_TOKEN differs from it and is not used".to_owned(),
        );
    }
    let (token, any_password) = (token.or(env_token), password.clone().or(env_password));
    match mode.as_deref() {
        Some("token") => token.map_or(Credential::TokenFile, |token| Credential::Known(Auth::Token(token))),
        Some("password") => any_password.map_or_else(
            || {
                reader.wrong("gateway.auth.password", None, "is missing: gateway.auth.mode is password");
                Credential::TokenFile
            },
            |password| Credential::Known(Auth::Password(password)),
        ),
        Some("none") => Credential::Known(Auth::None),
        Some(other) => {
            let cure = match other {
                "trusted-proxy" | "tailscale" => "is not supported by this gateway; write token or password",
                _ => "must be token, password or none",
            };
            reader.wrong("gateway.auth.mode", Some(&other.into()), cure);
            Credential::TokenFile
        }
        None => match (token, password) {
            (Some(_), Some(_)) => {
                let cure = "is missing: token and password are both given; write which one counts";
                reader.wrong("gateway.auth.mode", None, cure);
                Credential::TokenFile
            }
            (Some(token), None) => Credential::Known(Auth::Token(token)),
            (None, Some(password)) => Credential::Known(Auth::Password(password)),
            (None, None) => Credential::TokenFile,
        },
    }
}

fn device_auth(reader: &mut Reader<'_>, auth: &mut Section<'_>, into: &mut DeviceAuth) {
    let mut section = auth.section(reader, "deviceAuth");
    into.enabled = section.switch(reader, "enabled").unwrap_or(into.enabled);
    into.require_signature = section.switch(reader, "requireSignature").unwrap_or(into.require_signature);
    into.approve_loopback = section.switch(reader, "approveLoopback").unwrap_or(into.approve_loopback);
    let year = Duration::from_secs(366 * 86_400);
    into.token_ttl = section.duration(reader, "tokenTTL", Duration::from_secs(1)..=year).unwrap_or(into.token_ttl);
    if let Some(most) = section.number(reader, "maxDevicesPerUser", 1..=10_000) {
        into.max_devices_per_user = usize::try_from(most).unwrap_or(usize::MAX);
    }
    section.close(reader, Others::RefusedBut(&[]));
    if into.require_signature && !into.enabled {
        let cure = "needs gateway.auth.deviceAuth.enabled: without devices nobody can sign";
        reader.wrong("gateway.auth.deviceAuth.requireSignature", Some(&Value::Bool(true)), cure);
    }
}

fn rate_limit(reader: &mut Reader<'_>, auth: &mut Section<'_>, config: &mut GatewayConfig) {
    let mut section = auth.section(reader, "rateLimit");
    if let Some(most) = section.number(reader, "maxAttempts", 1..=10_000) {
        config.limits.auth_failures = u32::try_from(most).unwrap_or(u32::MAX);
    }
    if let Some(ms) = section.number(reader, "lockoutMs", 1_000..=86_400_000) {
        config.limits.lockout = Duration::from_millis(ms);
    }
    section.close(reader, Others::RefusedBut(&["windowMs", "exemptLoopback"]));
}

fn tls(
    reader: &mut Reader<'_>,
    gateway: &mut Section<'_>,
    port: Option<u64>,
    config: &mut GatewayConfig,
) -> Option<Tls> {
    let mut section = gateway.section(reader, "tls");
    let enabled = section.switch(reader, "enabled");
    let own_port = section.number(reader, "port", 0..=65_535);
    let cert = either(reader, &mut section, "certPath", "certFile");
    let key = either(reader, &mut section, "keyPath", "keyFile");
    let generate = section.switch(reader, "autoGenerate");
    let written = section.is_written();
    section.close(reader, Others::RefusedBut(&["caPath"]));
    match enabled {
        Some(true) => {}
        Some(false) => return None,
        None => {
            if written {
                reader.wrong(
                    "gateway.tls.enabled",
                    None,
                    "is missing; write whether this section counts: true or false",
                );
            }
            return None;
        }
    }
    if let Some(own) = own_port {
        if port.is_some_and(|port| port != own) {
            reader.wrong("gateway.tls.port", Some(&own.into()), "differs from gateway.port; this gateway has one port");
        }
        config.port = u16::try_from(own).unwrap_or(config.port);
    }
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Tls { cert, key, auto_generate: generate.unwrap_or(false) },
        (None, None) => {
            let dir = config.state_dir.join("tls");
            Tls { cert: dir.join("cert.pem"), key: dir.join("key.pem"), auto_generate: generate.unwrap_or(true) }
        }
        (cert, _) => {
            let missing = if cert.is_some() { "gateway.tls.keyPath" } else { "gateway.tls.certPath" };
            reader.wrong(missing, None, "is missing; certificate and key go together");
            return None;
        }
    };
    for (name, path) in [("certPath", &tls.cert), ("keyPath", &tls.key)] {
        if !tls.auto_generate && !path.is_file() {
            let value = Value::String(path.display().to_string());
            let cure = "there is no such file; name a PEM file, or write gateway.tls.autoGenerate: true";
            reader.wrong(&format!("gateway.tls.{name}"), Some(&value), cure);
        }
    }
    Some(tls)
}

/// A path that the two documents name differently.
fn either(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    one: &'static str,
    other: &'static str,
) -> Option<std::path::PathBuf> {
    let (first, second) = (section.path_of(reader, one), section.path_of(reader, other));
    if let (Some(first), Some(second)) = (&first, &second)
        && first != second
    {
        let value = Value::String(second.display().to_string());
        reader.wrong(&section.key(other), Some(&value), format!("differs from {}; keep one", section.key(one)));
    }
    first.or(second)
}

/// What only the whole tells: an open door needs a lock.
pub(super) fn check_exposure(reader: &mut Reader<'_>, config: &GatewayConfig, auth: Option<&Auth>) {
    if config.bind.is_loopback() {
        return;
    }
    if matches!(auth, Some(Auth::None)) {
        let cure =
            "without authentication this gateway listens on loopback only; write token or password, or bind loopback";
        reader.wrong("gateway.auth.mode", Some(&"none".into()), cure);
    }
    if config.tls.is_none() {
        reader.warnings.push(
            "this gateway listens beyond loopback without TLS: tokens and messages travel in the clear; set \
             gateway.tls.enabled, or put a TLS proxy before it"
                .to_owned(),
        );
    }
    if let Some(auth @ (Auth::Token(_) | Auth::Password(_))) = auth
        && !auth.is_unguessable()
    {
        reader.warnings.push(
            "the shared credential has fewer than 16 characters, or fewer than 8 different ones, and this gateway listens \
             beyond loopback: it can be guessed, and who shares an address with somebody who tries is locked out with him"
                .to_owned(),
        );
    }
}

/// A file that others may read is no place for a secret.
pub(super) fn check_privacy(reader: &mut Reader<'_>, file: &Path, holds_secret: bool) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = std::fs::metadata(file) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o002 != 0 {
        let cure = format!(
            "any user of this machine may change it, and with it which programs are run (mode {mode:04o}); run chmod o-w on it"
        );
        reader.wrong("", None, cure);
    }
    // systemd has made a credential readable for this service alone, whatever its mode says of the access list.
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|dir| file.starts_with(dir));
    if holds_secret && mode & 0o077 != 0 && !credential {
        let cure = format!(
            "other users may read the secrets in it (mode {mode:04o}); run chmod 600 on it, or take the secrets out"
        );
        reader.wrong("", None, cure);
    }
}
