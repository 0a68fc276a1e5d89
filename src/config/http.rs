//! Sections `http`, `auth`, `rate_limit` and `metrics`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_actors::settings::GatewaySettings;
use gatewarden_protocol::Secret;

use super::reading::Reader;
use crate::http::settings::HttpSettings;
use crate::http::settings::{MetricsAccess, Network, RateLimits, connection_limits};
use crate::templates::Templates;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// `http.listen`.
pub(super) fn listen(reader: &mut Reader<'_>) -> SocketAddr {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    reader.parsed("http.listen", anywhere, |text| {
        let spelled = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        spelled
            .as_deref()
            .unwrap_or(text)
            .parse()
            .map_err(|_| "must be ADDRESS:PORT, such as 127.0.0.1:3000, 0.0.0.0:3000 or [::1]:3000".to_owned())
    })
}

/// Everything that the HTTP front can be told.
pub(super) fn front(reader: &mut Reader<'_>, gateway: &GatewaySettings) -> HttpSettings {
    HttpSettings {
        allowed_hosts: allowed_hosts(reader),
        cors_origins: cors_origins(reader),
        trusted_proxies: trusted_proxies(reader),
        metrics_access: reader.parsed("metrics.access", MetricsAccess::default(), MetricsAccess::from_str),
        rate_limits: RateLimits {
            enabled: reader.switch("rate_limit.enabled"),
            gateway_per_minute: reader.positive("rate_limit.gateway_per_minute", 10_000_000),
            spawn_per_minute: reader.positive("rate_limit.spawn_per_minute", 10_000_000),
            health_interval: reader.duration("rate_limit.health_interval", Duration::from_millis(10)..=HOUR),
            control_per_minute: reader.positive("rate_limit.control_per_minute", 10_000_000),
            wrong_keys_per_minute: reader.positive("rate_limit.wrong_keys_per_minute", 10_000),
        },
        operators_see_tokens: reader.switch("auth.operators_see_tokens"),
        session_lifetime: reader.duration("auth.session_lifetime", 60 * SECOND..=30 * 24 * HOUR),
        connections: connections(reader),
        workers: usize::try_from(reader.number("http.workers", 1..=64)).unwrap_or(1),
        gateway_timeout: gateway.request_timeout,
        restart_patience: gateway.restarting_grace.min(300 * SECOND),
        probe_timeout: gateway.probe_timeout,
        templates: templates(reader),
        ..HttpSettings::default()
    }
}

/// `http.max_connections`, `http.max_connections_per_address` and `http.connection_memory`.
fn connections(reader: &mut Reader<'_>) -> gatewarden_listener::Limits {
    let mut number = |path, range| usize::try_from(reader.number(path, range)).unwrap_or(usize::MAX);
    let connections = number("http.max_connections", 16..=1_000_000);
    let per_address = number("http.max_connections_per_address", 1..=1_000_000);
    connection_limits(connections, per_address, reader.bytes("http.connection_memory", 1 << 20..=1 << 36))
}

/// `organization.templates_dir`, else the shipped templates.
fn templates(reader: &mut Reader<'_>) -> Arc<Templates> {
    let Some(folder) = reader.optional_text("organization.templates_dir") else { return Arc::default() };
    if !Path::new(&folder).is_absolute() {
        reader.wrong("organization.templates_dir", "must be an absolute path");
        return Arc::default();
    }
    Templates::load(Path::new(&folder)).map(Arc::new).unwrap_or_else(|error| {
        reader.wrong("organization.templates_dir", error.to_string());
        Arc::default()
    })
}

/// `auth.api_key`: what a header can carry.
pub(super) fn api_key(reader: &mut Reader<'_>) -> Option<Secret> {
    let key = reader.optional_text("auth.api_key")?;
    if key.len() > 512 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        reader.wrong(
            "auth.api_key",
            "must be 1 to 512 printable ASCII characters without spaces (the value is not shown)",
        );
    }
    Some(Secret::new(key))
}

/// Names only: a `Host` header that is an address passes anyway.
fn allowed_hosts(reader: &mut Reader<'_>) -> Vec<String> {
    let hosts: Vec<String> =
        reader.list("http.allowed_hosts").into_iter().map(|host| host.to_ascii_lowercase()).collect();
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

fn cors_origins(reader: &mut Reader<'_>) -> Vec<String> {
    let origins = reader.list("http.cors_origins");
    let is_origin = |text: &str| {
        url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text.to_ascii_lowercase()
        })
    };
    if let Some(wrong) = origins.iter().find(|origin| !is_origin(origin)) {
        reader.wrong(
            "http.cors_origins",
            format!("{wrong:?} is not an origin; give scheme, host and port alone, such as https://dash.example.com"),
        );
    }
    origins
}

fn trusted_proxies(reader: &mut Reader<'_>) -> Vec<Network> {
    let networks: Result<Vec<Network>, String> =
        reader.list("http.trusted_proxies").iter().map(|text| text.parse()).collect();
    networks.unwrap_or_else(|wrong| {
        reader.wrong("http.trusted_proxies", wrong);
        Vec::new()
    })
}
