//! Addresses of tailnets.

use std::net::{IpAddr, Ipv4Addr};

use crate::interfaces::{self, Unreadable};

/// Why `gateway.bind` can't be `tailnet`.
#[derive(Debug, thiserror::Error)]
pub enum NoTailnet {
    /// This machine is in none.
    #[error(
        "gateway.bind is tailnet, and this machine has no Tailscale IPv4 address (100.64.0.0/10): connect it with `sudo tailscale up` \
         and start the gateway again, or choose another gateway.bind"
    )]
    None,
    /// Whether it is in one can't be read.
    #[error("gateway.bind is tailnet, and {0}")]
    Unreadable(#[from] Unreadable),
}

/// Whether an address is one that Tailscale gives out: 100.64.0.0/10, fd7a:115c:a1e0::/48.
pub(crate) fn is_of_tailnet(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            first == 100 && (64..128).contains(&second)
        }
        IpAddr::V6(address) => {
            let [first, second, third, ..] = address.segments();
            (first, second, third) == (0xfd7a, 0x115c, 0xa1e0)
        }
    }
}

/// This machine's IPv4 address in its tailnet. (A provider that gives its customers shared addresses has the same range: with both,
/// the interface whose name is Tailscale's counts.)
pub(crate) fn tailnet_ipv4() -> Result<Option<Ipv4Addr>, Unreadable> {
    let mut interfaces = interfaces::read()?;
    interfaces.retain(|interface| is_of_tailnet(interface.ip()));
    interfaces.sort_by_key(|interface| !interface.name.starts_with("tailscale"));
    Ok(interfaces.iter().find_map(|interface| match interface.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ranges_of_tailscale_are_a_tailnet() {
        for address in ["100.64.0.0", "100.101.102.103", "100.127.255.255", "::ffff:100.64.0.1", "fd7a:115c:a1e0::1"] {
            assert!(is_of_tailnet(address.parse().unwrap()), "{address}");
        }
        for address in ["100.63.255.255", "100.128.0.0", "10.0.0.1", "127.0.0.1", "fd7a:115c:a1e1::1", "::1"] {
            assert!(!is_of_tailnet(address.parse().unwrap()), "{address}");
        }
    }
}
