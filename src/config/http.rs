//! Sections `http`, `auth`, `rate_limit`, `metrics` and `organization`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use gatewarden_protocol::Secret;

use super::reader::{Reader, or};
use super::{DAY, HOUR, SECOND, SHORTEST};
use crate::http::settings::HttpSettings;
use crate::http::settings::{MetricsAccess, Network, RateLimits, connection_limits};
use crate::templates::Templates;

pub(super) fn listen(reader: &mut Reader<'_>) -> SocketAddr {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    reader.parsed("http.listen", "127.0.0.1:3000", anywhere, |text| {
        let spelled = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        spelled
            .as_deref()
            .unwrap_or(text)
            .parse()
            .map_err(|_| "must be ADDRESS:PORT, such as 127.0.0.1:3000, 0.0.0.0:3000 or [::1]:3000".to_owned())
    })
}

/// Hosts, proxies, origins, and limits of connections.
pub(super) fn front(reader: &mut Reader<'_>) -> HttpSettings {
    let allowed_hosts = allowed_hosts(reader);
    let trusted_proxies = trusted_proxies(reader);
    let cors_origins = cors_origins(reader);
    let workers = reader.count("http.workers", 2, 1..=64);
    let connections = reader.count("http.max_connections", 4096, 16..=1_000_000);
    let per_address = reader.count("http.max_connections_per_address", 256, 1..=1_000_000);
    let memory = reader.bytes("http.connection_memory", "64MiB", 1 << 20..=1 << 36);
    HttpSettings {
        allowed_hosts,
        trusted_proxies,
        cors_origins,
        workers,
        connections: connection_limits(connections, per_address, memory),
        ..HttpSettings::default()
    }
}

/// The admin key of the configuration: what a header can carry. The rest goes into the settings of the HTTP front.
pub(super) fn auth(reader: &mut Reader<'_>, front: &mut HttpSettings) -> Option<Secret> {
    let key = reader.secret(or("auth.api_key", &["API_KEY"]), "auth.api_key_file", "api_key");
    let fits = |key: &Secret| key.expose().len() <= 512 && key.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if key.as_ref().is_some_and(|key| !fits(key)) {
        let expected = "must be 1 to 512 printable ASCII characters without spaces (the value is not shown)";
        reader.wrong("auth.api_key", expected);
    }
    front.operators_see_tokens = reader.switch("auth.operators_see_tokens", true);
    front.session_lifetime = reader.duration("auth.session_lifetime", "12h", 60 * SECOND..=30 * DAY);
    key
}

pub(super) fn rate_limits(reader: &mut Reader<'_>) -> RateLimits {
    RateLimits {
        enabled: reader.switch(or("rate_limit.enabled", &["MC_DISABLE_RATE_LIMIT"]), true),
        gateway_per_minute: reader.positive("rate_limit.gateway_per_minute", 100, 10_000_000),
        browser_per_minute: reader.positive("rate_limit.browser_per_minute", 1_000, 10_000_000),
        spawn_per_minute: reader.positive("rate_limit.spawn_per_minute", 60, 10_000_000),
        control_per_minute: reader.positive("rate_limit.control_per_minute", 10, 10_000_000),
        wrong_keys_per_minute: reader.positive("rate_limit.wrong_keys_per_minute", 5, 10_000),
        health_interval: reader.duration("rate_limit.health_interval", "10s", SHORTEST..=HOUR),
    }
}

pub(super) fn metrics_access(reader: &mut Reader<'_>) -> MetricsAccess {
    reader.parsed("metrics.access", "loopback", MetricsAccess::default(), MetricsAccess::from_str)
}

/// The operator's templates, else the shipped ones.
pub(super) fn templates(reader: &mut Reader<'_>) -> Arc<Templates> {
    const PATH: &str = "organization.templates_dir";
    let Some(folder) = reader.optional_text(PATH) else { return Arc::default() };
    let loaded = if Path::new(&folder).is_absolute() {
        Templates::load(Path::new(&folder)).map_err(|error| error.to_string())
    } else {
        Err("must be an absolute path".to_owned())
    };
    loaded.map(Arc::new).unwrap_or_else(|expected| {
        reader.wrong(PATH, expected);
        Arc::default()
    })
}

/// Names only: a `Host` header that is an address passes anyway.
fn allowed_hosts(reader: &mut Reader<'_>) -> Vec<String> {
    let hosts = reader.list("http.allowed_hosts", "localhost");
    let hosts: Vec<String> = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
    let is_name = |host: &str| {
        host.len() <= 253
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            && !host.starts_with('.')
    };
    if let Some(wrong) = hosts.iter().find(|host| !is_name(host) && host.parse::<IpAddr>().is_err()) {
        reader.wrong("http.allowed_hosts", format!("{wrong:?} is not a host name; give names without scheme and port"));
    }
    hosts
}

fn trusted_proxies(reader: &mut Reader<'_>) -> Vec<Network> {
    let networks: Result<Vec<Network>, String> =
        reader.list("http.trusted_proxies", "127.0.0.0/8,::1").iter().map(|text| text.parse()).collect();
    networks.unwrap_or_else(|wrong| {
        reader.wrong("http.trusted_proxies", wrong);
        Vec::new()
    })
}

fn cors_origins(reader: &mut Reader<'_>) -> Vec<String> {
    let origins = reader.list("http.cors_origins", "");
    let is_origin = |text: &str| {
        url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text.to_ascii_lowercase()
        })
    };
    if let Some(wrong) = origins.iter().find(|origin| !is_origin(origin)) {
        let advice = "give scheme, host and port alone, such as https://dash.example.com";
        reader.wrong("http.cors_origins", format!("{wrong:?} is not an origin; {advice}"));
    }
    origins
}
