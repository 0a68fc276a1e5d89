//! Gateways that a DNS domain names (DNS-SD, RFC 6763): the domain's instances, and of each its host, port, texts and addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use gatewarden_actors::error::{ErrorCode, Failure};
use simple_dns::rdata::RData;
use simple_dns::{Label, Name, TYPE};
use tokio::time::{Instant, timeout_at};

use super::resolver::{Fault, Resolver};
use super::{Announced, MAX_FOUND, TEXTS};

/// Instances that are asked about at a time.
const AT_ONCE: usize = 8;
/// Addresses of one host that are looked at.
const MOST_ADDRESSES: usize = 16;

/// What the resolver says within `wait`. An instance that isn't told in time is left out.
pub(super) async fn find(domain: &str, wait: Duration) -> Result<Vec<Announced>, Failure> {
    let until = Instant::now() + wait;
    let resolver = Resolver::of_system().await;
    let service = format!("_openclaw-gw._tcp.{domain}");
    let service = Name::new_unchecked(&service);
    let asked = timeout_at(until, resolver.ask(&service, TYPE::PTR)).await.unwrap_or(Err(Fault::NoAnswer));
    let instances = asked.map_err(|fault| failure(domain, fault))?;
    let instances: Vec<Name<'_>> = instances.into_iter().filter_map(|data| instance_in(data, &service)).collect();
    let mut found = Vec::new();
    let mut told = stream::iter(instances.iter().take(MAX_FOUND).map(|instance| look_up(&resolver, instance)))
        .buffer_unordered(AT_ONCE);
    while let Ok(Some(one)) = timeout_at(until, told.next()).await {
        found.extend(one);
    }
    Ok(found)
}

fn failure(domain: &str, fault: Fault) -> Failure {
    let said = match fault {
        Fault::NoAnswer => "no resolver of the daemon's machine (/etc/resolv.conf) answered in time",
        Fault::Refused => "the resolver of the daemon's machine (/etc/resolv.conf) can't answer for it",
    };
    Failure::new(ErrorCode::Unavailable, format!("The domain {domain} could not be asked for gateways: {said}"))
        .with_help(format!("See what `dig _openclaw-gw._tcp.{domain} PTR` says there, and try again."))
}

/// What a domain calls its instance, unless that is another domain's.
fn instance_in(data: RData<'static>, service: &Name<'_>) -> Option<Name<'static>> {
    let RData::PTR(name) = data else { return None };
    let [_, rest @ ..] = name.0.get_labels() else { return None };
    (Name::new_with_labels(rest) == *service).then_some(name.0)
}

async fn look_up(resolver: &Resolver, instance: &Name<'_>) -> Option<Announced> {
    // Of several, the one that comes first: gateways have one.
    let services = resolver.ask(instance, TYPE::SRV).await.ok()?;
    let (port, host) = services.into_iter().find_map(|data| match data {
        RData::SRV(service) => Some((service.port, service.target)),
        _ => None,
    })?;
    let (texts, four, six) =
        tokio::join!(resolver.ask(instance, TYPE::TXT), resolver.ask(&host, TYPE::A), resolver.ask(&host, TYPE::AAAA));
    let addresses = four.into_iter().chain(six).flatten().filter_map(|data| match data {
        RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from_bits(a.address))),
        RData::AAAA(a) => Some(IpAddr::V6(Ipv6Addr::from_bits(a.address))),
        _ => None,
    });
    Some(Announced {
        instance: instance.get_labels().first().map(text_of)?,
        host: host.get_labels().iter().map(text_of).collect::<Vec<_>>().join("."),
        port,
        addresses: addresses.take(MOST_ADDRESSES).collect(),
        texts: texts_in(&texts.unwrap_or_default()),
    })
}

fn text_of(label: &Label<'_>) -> String {
    String::from_utf8_lossy(label.as_ref()).into_owned()
}

/// The texts that are of interest; of several with one key the first counts.
fn texts_in(records: &[RData<'_>]) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for data in records {
        let RData::TXT(text) = data else { continue };
        for (key, value) in text.iter_raw() {
            if let Some(known) = TEXTS.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(key)) {
                let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
                texts.entry((*known).to_owned()).or_insert(value);
            }
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{PTR, TXT};

    use super::*;

    #[test]
    fn an_instance_is_one_label_before_its_own_domains_service() {
        let service = Name::new_unchecked("_openclaw-gw._tcp.a.example");
        let is_one = |name: &'static str| instance_in(RData::PTR(PTR(Name::new_unchecked(name))), &service).is_some();
        assert!(is_one("studio._OpenClaw-gw._tcp.A.example"));
        for other in
            ["studio._openclaw-gw._tcp.b.example", "a.b._openclaw-gw._tcp.a.example", "_openclaw-gw._tcp.a.example"]
        {
            assert!(!is_one(other), "{other}");
        }
    }

    #[test]
    fn only_texts_that_are_known_are_kept_and_the_first_of_each() {
        let mut text = TXT::new();
        for part in ["gatewayTls=1", "GATEWAYTLS=0", "displayName=x", "gatewayTlsSha256", "=nothing"] {
            text.add_string(part).unwrap();
        }
        let texts = texts_in(&[RData::TXT(text)]);
        let expected = [("gatewayTls", "1"), ("gatewayTlsSha256", "")];
        assert_eq!(texts, expected.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
    }
}
