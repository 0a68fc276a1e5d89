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
use super::{Announced, Found, MAX_FOUND, TEXTS};

/// Instances that are asked about at a time.
const AT_ONCE: usize = 8;
/// Addresses of one host that are looked at.
const MOST_ADDRESSES: usize = 16;

/// What the resolver says within `wait`.
pub(super) async fn find(resolver: &Resolver, domain: &str, wait: Duration) -> Result<Found, Failure> {
    let until = Instant::now() + wait;
    let service = format!("_openclaw-gw._tcp.{domain}");
    let service = Name::new_unchecked(&service);
    let asked = timeout_at(until, resolver.ask(&service, TYPE::PTR)).await.unwrap_or(Err(Fault::NoAnswer));
    let instances = asked.map_err(|fault| failure(domain, fault))?;
    let instances: Vec<Name<'_>> = instances.into_iter().filter_map(|data| instance_in(data, &service)).collect();
    let mut told = stream::iter(instances.iter().take(MAX_FOUND).map(|instance| async move {
        // What is over when it begins isn't begun.
        let is_late = Instant::now() >= until;
        let asked = async { if is_late { Err(Fault::NoAnswer) } else { look_up(resolver, instance).await } };
        (instance, timeout_at(until, asked).await.unwrap_or(Err(Fault::NoAnswer)))
    }))
    .buffer_unordered(AT_ONCE);
    let mut found = Found::default();
    while let Some((instance, told)) = told.next().await {
        match told {
            Ok(gateway) => found.gateways.extend(gateway),
            Err(_) => found.left_out.extend(instance.get_labels().first().map(text_of)),
        }
    }
    let beyond = instances.iter().skip(MAX_FOUND);
    found.left_out.extend(beyond.filter_map(|instance| instance.get_labels().first().map(text_of)));
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

/// The gateway, if there is one. With an answer missing nothing is said of it: without its texts it would seem to take no TLS.
async fn look_up(resolver: &Resolver, instance: &Name<'_>) -> Result<Option<Announced>, Fault> {
    // Of several, the one that comes first: gateways have one.
    let services = resolver.ask(instance, TYPE::SRV).await?;
    let service = services.into_iter().find_map(|data| match data {
        RData::SRV(service) => Some((service.port, service.target)),
        _ => None,
    });
    let (Some((port, host)), Some(own)) = (service, instance.get_labels().first()) else { return Ok(None) };
    let (texts, four, six) =
        tokio::join!(resolver.ask(instance, TYPE::TXT), resolver.ask(&host, TYPE::A), resolver.ask(&host, TYPE::AAAA));
    let addresses = match (four, six) {
        // Some servers refuse a question for what they have none of.
        (Ok(known), Err(Fault::Refused)) | (Err(Fault::Refused), Ok(known)) if !known.is_empty() => known,
        (four, six) => four?.into_iter().chain(six?).collect(),
    };
    let addresses = addresses.into_iter().filter_map(|data| match data {
        RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from_bits(a.address))),
        RData::AAAA(a) => Some(IpAddr::V6(Ipv6Addr::from_bits(a.address))),
        _ => None,
    });
    Ok(Some(Announced {
        instance: text_of(own),
        host: host.get_labels().iter().map(text_of).collect::<Vec<_>>().join("."),
        port,
        addresses: addresses.take(MOST_ADDRESSES).collect(),
        texts: texts_in(&texts?),
    }))
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
mod tests;
