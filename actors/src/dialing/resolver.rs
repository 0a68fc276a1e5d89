//! Names to addresses, off the arbiter's thread, without the addresses that are never dialled.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use gatewarden_protocol::GatewayAddress;
use gatewarden_protocol::forbidden_address::is_forbidden;
use tokio::sync::Semaphore;

use super::failure::{DialFailure, DialStep};

/// Lookups under way at once. The system's resolver blocks a thread for up to a minute where its name server is silent,
/// long after the dial has given up.
const MAX_LOOKUPS: usize = 64;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Blocking: all addresses of a name with the port.
pub(super) type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Resolves the host of an address once a dial; what comes out is what gets dialled, so that a name can't change between
/// check and use.
pub(super) struct Resolver {
    lookup: Arc<Lookup>,
    slots: Arc<Semaphore>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("free_slots", &self.slots.available_permits()).finish_non_exhaustive()
    }
}

impl Resolver {
    /// The system's resolver.
    pub(super) fn system() -> Self {
        Self::with_lookup(|name, port| Ok((name, port).to_socket_addrs()?.collect()))
    }

    pub(super) fn with_lookup(
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { lookup: Arc::new(lookup), slots: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// The addresses to try, in order, families in turn. No deadline: the caller has one.
    ///
    /// # Errors
    /// Not resolved, or nothing is left once the forbidden addresses are taken out.
    pub(super) async fn resolve(&self, address: &GatewayAddress) -> Result<Vec<SocketAddr>, DialFailure> {
        if let Some(reason) = address.forbidden() {
            return Err(DialFailure::ForbiddenAddress { reason });
        }
        if let Some(ip) = address.ip() {
            return Ok(vec![SocketAddr::new(ip, address.port())]);
        }
        let failed = |reason: String| DialFailure::Other { step: DialStep::Resolve, reason };
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        let (lookup, name, port) = (Arc::clone(&self.lookup), address.host(), address.port());
        let found = tokio::task::spawn_blocking(move || {
            let found = lookup(&name, port);
            drop(slot);
            found
        })
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| DialFailure::NameNotResolved { reason: error.to_string() })?;
        choose(found)
    }
}

fn choose(found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, DialFailure> {
    let mut forbidden = None;
    let mut allowed = Vec::new();
    for address in found {
        match is_forbidden(address.ip()) {
            Some(reason) => forbidden = Some(reason),
            None if allowed.contains(&address) => {}
            None => allowed.push(address),
        }
    }
    match (allowed.first(), forbidden) {
        (Some(first), _) => {
            // The system orders by preference; taking families in turn keeps one dead family from holding up the other.
            let first_is_v6 = first.is_ipv6();
            let (mut preferred, mut others): (Vec<_>, Vec<_>) =
                allowed.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
            preferred.reverse();
            others.reverse();
            let in_turn = std::iter::from_fn(|| {
                std::mem::swap(&mut preferred, &mut others);
                others.pop().or_else(|| preferred.pop())
            });
            Ok(in_turn.take(MAX_ADDRESSES).collect())
        }
        (None, Some(reason)) => Err(DialFailure::ForbiddenAddress { reason }),
        (None, None) => Err(DialFailure::NameNotResolved { reason: "the name has no address".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use gatewarden_protocol::forbidden_address::ForbiddenReason;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn address(host: &str) -> GatewayAddress {
        GatewayAddress::parse(host, Some(1)).unwrap().address
    }

    #[test]
    fn families_take_turns_starting_with_the_systems_first() {
        let chosen = choose(addresses(&[
            "[fd00::1]:1",
            "[fd00::2]:1",
            "10.0.0.1:1",
            "[fd00::1]:1",
            "10.0.0.2:1",
            "[fd00::3]:1",
        ]));
        let wanted = ["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1", "10.0.0.2:1", "[fd00::3]:1"];
        assert_eq!(chosen.unwrap(), addresses(&wanted));
        let many: Vec<_> = (1..=200).map(|last| SocketAddr::from(([10, 0, 0, last], 1))).collect();
        assert_eq!(choose(many).unwrap().len(), MAX_ADDRESSES);
    }

    #[test]
    fn forbidden_addresses_are_left_out_and_refused_where_nothing_else_is() {
        let chosen = choose(addresses(&["169.254.169.254:1", "[fe80::1]:1", "10.0.0.1:1"]));
        assert_eq!(chosen.unwrap(), addresses(&["10.0.0.1:1"]));
        let refused = choose(addresses(&["[::ffff:169.254.169.254]:1"]));
        assert_eq!(refused, Err(DialFailure::ForbiddenAddress { reason: ForbiddenReason::CloudMetadata }));
        assert!(matches!(choose(vec![]), Err(DialFailure::NameNotResolved { .. })));
    }

    #[actix::test]
    async fn an_address_is_not_looked_up() {
        let resolver = Resolver::with_lookup(|_, _| panic!("looked up"));
        assert_eq!(resolver.resolve(&address("127.0.0.1")).await, Ok(addresses(&["127.0.0.1:1"])));
        assert_eq!(resolver.resolve(&address("::1")).await, Ok(addresses(&["[::1]:1"])));
    }

    #[actix::test]
    async fn what_the_resolver_says_is_told() {
        let resolver = Resolver::with_lookup(|_, _| Err(io::Error::other("no such host")));
        let refused = resolver.resolve(&address("gateway.invalid")).await;
        assert_eq!(refused, Err(DialFailure::NameNotResolved { reason: "no such host".into() }));
    }
}
