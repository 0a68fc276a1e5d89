//! Who a request really comes from: what proxies say of it counts only where a trusted one said so.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The client of a connection: its peer, or what trusted proxies wrote into `X-Forwarded-For`, read from its end. `hops` are
/// that header's parts in their order, of all its lines.
pub fn client_behind<'a>(peer: IpAddr, hops: impl DoubleEndedIterator<Item = &'a str>, trusted: &[Network]) -> IpAddr {
    let mut address = peer;
    for hop in hops.rev() {
        if !is_trusted(address, trusted) {
            break;
        }
        // Something that isn't an address ends what can be believed.
        let Some(next) = parse_hop(hop.trim()) else {
            break;
        };
        address = next;
    }
    address
}

/// Whether an address is that of a trusted proxy.
pub fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Some proxies write a port behind the address.
fn parse_hop(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

/// One address, or a network in the form `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `127.0.0.0/8` and `::1`.
    pub fn loopback() -> Vec<Self> {
        vec![
            Self { address: IpAddr::from([127, 0, 0, 0]), prefix: 8 },
            Self { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
        ]
    }

    /// Whether an address lies in it. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(self.prefix))).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(self.prefix))).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is neither an IP address nor a network such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u8>().ok().filter(|prefix| *prefix <= longest).ok_or_else(wrong)?,
            None => longest,
        };
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, hops: &[&str]) -> String {
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        client_behind(peer.parse().unwrap(), hops.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        assert_eq!(client("192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(client("127.0.0.1", &["1.2.3.4", " 198.51.100.9", " 10.0.0.7"]), "198.51.100.9");
        assert_eq!(client("127.0.0.1", &["1.2.3.4", "198.51.100.9:4711"]), "198.51.100.9");
        assert_eq!(client("127.0.0.1", &["unknown"]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn a_network_holds_its_addresses_in_every_spelling() {
        let network: Network = "10.0.0.0/8".parse().unwrap();
        assert!(network.contains("10.255.0.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!network.contains("11.0.0.1".parse().unwrap()));
        let single: Network = "2001:db8::1".parse().unwrap();
        assert!(single.contains("2001:db8::1".parse().unwrap()));
        assert!(!single.contains("2001:db8::2".parse().unwrap()));
        let everything: Network = "0.0.0.0/0".parse().unwrap();
        assert!(everything.contains("203.0.113.9".parse().unwrap()));
    }

    #[test]
    fn a_network_that_is_none_is_refused_with_its_text() {
        for wrong in ["proxy.example.com", "10.0.0.0/33", "::1/129", "10.0.0.0/x", ""] {
            assert!(wrong.parse::<Network>().unwrap_err().contains(wrong));
        }
    }
}
