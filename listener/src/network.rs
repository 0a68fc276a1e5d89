//! Whom an address stands for when something is counted by address.

use std::net::{IpAddr, Ipv6Addr};

/// One IPv4 address, or the IPv6 network of 64 bits that an address is of. Loopback stays what it is.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        other => other,
    }
}
