//! `POST /api/gateways/discover`: gateways that announce themselves in the daemon's network (mDNS), or that a DNS domain names. Anybody
//! there can announce anything: what is found is shown, and never registered or trusted by itself.

mod resolver;
mod wide_area;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, post};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_api::ErrorBody;
use gatewarden_api::gateways::{DiscoverBody, DiscoveredGateway, DiscoveredGateways};
use gatewarden_embedded_gateway::announcement::SERVICE_TYPE;
use gatewarden_embedded_gateway::config::parse_domain;
use gatewarden_embedded_gateway::interfaces;
use gatewarden_protocol::GatewayAddress;
use gatewarden_protocol::forbidden_address::is_forbidden;
use gatewarden_protocol::words::shown;
use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent};

use crate::http::auth::{Authorized, GatewayAdmin};
use crate::http::context::App;
use crate::http::error::{Answer, invalid_field};
use crate::http::input::OptionalJsonBody;
use resolver::Resolver;

/// What is read of the texts of a service.
const TEXTS: [&str; 2] = ["gatewayTls", "gatewayTlsSha256"];
/// Most gateways of one answer.
const MAX_FOUND: usize = 256;
/// Where the request doesn't say how long.
const LISTEN: Duration = Duration::from_secs(2);
/// The same for a domain: of two resolvers one may not answer.
const ASK: Duration = Duration::from_secs(5);

/// Find gateways
///
/// With a `domain` the daemon's resolver is asked for the gateways that this DNS domain names (DNS-SD). Without one the daemon listens in
/// its own network for gateways that announce themselves over mDNS (`_openclaw-gw._tcp`): embedded gateways with `discovery.mdns.mode`, and
/// OpenClaw with its bonjour plugin. Nothing is registered. Anybody in the network can announce anything, so compare before you trust.
/// An announcement doesn't tell the gateway's version.
#[utoipa::path(
    tag = "Gateways",
    request_body(content = Option<DiscoverBody>, description = "May be left out"),
    responses(
        (status = 200, description = "What was found", body = DiscoveredGateways),
        (status = 503, description = "Other searches and checks are under way, the system takes no multicast or shows no interfaces, or no resolver answers", body = ErrorBody),
    ),
)]
#[post("/api/gateways/discover")]
pub(crate) async fn discover_gateways(_by: Authorized<GatewayAdmin>, app: App, body: OptionalJsonBody) -> Answer {
    let DiscoverBody { timeout_ms, domain } = body.read()?;
    let domain = domain.map(|domain| parse_domain(&domain).map_err(|why| invalid_field("domain", why))).transpose()?;
    let place = Arc::clone(&app.checks).try_acquire_owned();
    let _place = place.map_err(|_all_taken| Failure::unavailable("search for gateways"))?;
    let wait = timeout_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let found = match domain {
        Some(domain) => wide_area::find(&Resolver::of_system().await, &domain, wait.unwrap_or(ASK)).await?,
        None => listen(wait.unwrap_or(LISTEN)).await.map_err(|error| {
            Failure::new(ErrorCode::Unavailable, format!("No gateways can be looked for in the network: {error}"))
        })?,
    };
    let registered = app.roster.list();
    let known = |service: &Announced| {
        let one = registered.iter().find(|view| has_address(service, &view.record.host, view.record.port));
        one.map(|view| view.record.id.0)
    };
    Ok(HttpResponse::Ok().json(listed(found, known)))
}

fn listed(found: Found, known: impl Fn(&Announced) -> Option<i64>) -> DiscoveredGateways {
    let mut left_out: Vec<String> = found.left_out.iter().map(|instance| name_of(instance)).collect();
    let mut gateways = Vec::new();
    for service in &found.gateways {
        match described(service, known(service)) {
            Some(gateway) => gateways.push(gateway),
            None => left_out.push(name_of(&service.instance)),
        }
    }
    gateways.sort_by(|one, other| (&one.name, &one.address).cmp(&(&other.name, &other.address)));
    left_out.sort();
    DiscoveredGateways { total: gateways.len(), gateways, left_out }
}

/// What a search finds.
#[derive(Debug, Default)]
struct Found {
    gateways: Vec<Announced>,
    /// Instances about which too little is known, or for which there is no room.
    left_out: Vec<String>,
}

/// What is said of a gateway, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Announced {
    /// The instance's own label.
    instance: String,
    /// Without the dot at its end.
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
    texts: BTreeMap<String, String>,
}

impl Announced {
    /// The addresses that may be connected to. A stranger's announcement is not to lead to a program of this machine.
    fn reachable(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.addresses.iter().map(IpAddr::to_canonical);
        addresses.filter(|address| !address.is_loopback() && is_forbidden(*address).is_none())
    }
}

impl From<ResolvedService> for Announced {
    fn from(service: ResolvedService) -> Self {
        let instance = service.fullname.strip_suffix(SERVICE_TYPE).unwrap_or(&service.fullname);
        let texts =
            TEXTS.iter().filter_map(|key| Some(((*key).to_owned(), service.get_property_val_str(key)?.to_owned())));
        Self {
            instance: instance.trim_end_matches('.').to_owned(),
            host: service.host.trim_end_matches('.').to_owned(),
            port: service.port,
            addresses: service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).collect(),
            texts: texts.collect(),
        }
    }
}

/// Ends the search, whoever goes away.
struct Search(ServiceDaemon);

impl Drop for Search {
    fn drop(&mut self) {
        let _ = self.0.shutdown();
    }
}

/// What announces itself meanwhile, and is still there at the end.
async fn listen(wait: Duration) -> mdns_sd::Result<Found> {
    interfaces::read().map_err(|error| mdns_sd::Error::Msg(error.to_string()))?;
    let search = Search(ServiceDaemon::new()?);
    search.0.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    let events = search.0.browse(SERVICE_TYPE)?;
    let mut found = BTreeMap::new();
    let collect = async {
        while let Ok(event) = events.recv_async().await {
            match event {
                ServiceEvent::ServiceResolved(service)
                    if found.len() < MAX_FOUND || found.contains_key(&service.fullname) =>
                {
                    found.insert(service.fullname.clone(), *service);
                }
                ServiceEvent::ServiceRemoved(_, name) => {
                    found.remove(&name);
                }
                _ => {}
            }
        }
    };
    let _ = tokio::time::timeout(wait, collect).await;
    Ok(Found { gateways: found.into_values().map(Announced::from).collect(), left_out: Vec::new() })
}

/// The address to connect to: where the service record says, never where a text says. IPv4 first.
fn address_of(service: &Announced) -> Option<IpAddr> {
    service.reachable().min().filter(|_| service.port != 0)
}

/// The instance's name is unique in the network, unlike the one that is meant to be displayed: the second of a name has a number.
fn name_of(instance: &str) -> String {
    let name = shown(&instance.replacen(" (OpenClaw)", "", 1));
    if name.is_empty() { "openclaw".to_owned() } else { name }
}

fn described(service: &Announced, gateway_id: Option<i64>) -> Option<DiscoveredGateway> {
    let address = address_of(service)?;
    let text = |key: &str| service.texts.get(key).map(|text| shown(text)).filter(|text| !text.is_empty());
    let tls = text("gatewayTls").is_some_and(|word| ["1", "true", "yes"].contains(&word.as_str()));
    let scheme = if tls { "wss" } else { "ws" };
    let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(DiscoveredGateway {
        name: name_of(&service.instance),
        address: match address {
            IpAddr::V4(address) => format!("{scheme}://{address}:{}", service.port),
            IpAddr::V6(address) => format!("{scheme}://[{address}]:{}", service.port),
        },
        host: shown(&service.host),
        tls,
        tls_sha256: text("gatewayTlsSha256").map(|text| text.replace(':', "")).filter(is_digest),
        gateway_id,
        already_registered: gateway_id.is_some(),
    })
}

/// Whether a registered gateway's address is the service's.
fn has_address(service: &Announced, host: &str, port: u16) -> bool {
    let Ok(parsed) = GatewayAddress::parse(host, Some(port)) else { return false };
    let is_host = match parsed.address.ip() {
        Some(address) => service.reachable().any(|known| known == address.to_canonical()),
        None => parsed.address.host().eq_ignore_ascii_case(&service.host),
    };
    is_host && parsed.port() == service.port
}

#[cfg(test)]
mod tests {
    use mdns_sd::ServiceInfo;

    use super::*;

    fn named(name: &str, addresses: &str, texts: &[(&str, &str)]) -> Announced {
        let service = ServiceInfo::new(SERVICE_TYPE, name, "studio.local.", addresses, 18_789, texts);
        service.unwrap().as_resolved_service().into()
    }

    fn service(addresses: &str, texts: &[(&str, &str)]) -> Announced {
        named("studio (OpenClaw)", addresses, texts)
    }

    #[test]
    fn the_second_gateway_of_a_machine_has_a_name_of_its_own() {
        let second = described(&named("studio (OpenClaw) (2)", "192.0.2.7", &[("displayName", "studio")]), None);
        assert_eq!(second.unwrap().name, "studio (2)");
    }

    #[test]
    fn the_address_is_the_service_s_and_never_what_a_text_says() {
        let texts = [("gatewayPort", "1"), ("lanHost", "evil.example"), ("gatewayTls", "1")];
        let found = described(&service("192.0.2.7,2001:db8::7", &texts), None).unwrap();
        assert_eq!((found.name.as_str(), found.address.as_str()), ("studio", "wss://192.0.2.7:18789"));
        assert_eq!(found.host, "studio.local");
        let without = described(&service("2001:db8::7", &[]), None).unwrap();
        assert_eq!((without.name.as_str(), without.address.as_str()), ("studio", "ws://[2001:db8::7]:18789"));
    }

    #[test]
    fn what_must_never_be_dialled_is_not_shown() {
        assert_eq!(described(&service("169.254.169.254", &[]), None), None);
        assert_eq!(described(&service("fe80::1", &[]), None), None);
        // A stranger's announcement is not to lead to a program of this machine.
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"] {
            let addresses = vec![address.parse().unwrap()];
            let one = Announced { addresses, ..service("192.0.2.7", &[]) };
            assert_eq!(described(&one, None), None, "{address}");
            assert!(!has_address(&one, address, 18_789), "{address}");
        }
    }

    #[test]
    fn an_address_is_the_same_in_either_notation() {
        let one = Announced { addresses: vec!["::ffff:192.0.2.7".parse().unwrap()], ..service("", &[]) };
        assert_eq!(described(&one, None).unwrap().address, "ws://192.0.2.7:18789");
        assert!(has_address(&one, "192.0.2.7", 18_789) && has_address(&one, "::ffff:192.0.2.7", 18_789));
    }

    #[test]
    fn texts_of_strangers_are_made_fit_to_be_shown() {
        let texts = [("gatewayTlsSha256", "not a digest")];
        let found = described(&named("a\u{1b}[31m\u{202e}b", "192.0.2.7", &texts), Some(3)).unwrap();
        assert_eq!((found.name.as_str(), found.tls_sha256), ("a[31mb", None));
        assert!(found.already_registered);
    }

    #[test]
    fn a_registered_gateway_is_known_by_address_or_name_and_by_port() {
        let one = service("192.0.2.7", &[]);
        assert!(has_address(&one, "192.0.2.7", 18_789) && has_address(&one, "wss://Studio.local:18789", 1));
        assert!(!has_address(&one, "192.0.2.7", 18_790) && !has_address(&one, "192.0.2.8", 18_789));
    }
}
