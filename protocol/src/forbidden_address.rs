//! Addresses that are never dialled: who may register a gateway must not be able to make the daemon read a cloud
//! machine's credentials, or talk to the link's neighbours.
//!
//! Loopback and private networks are allowed, since gateways live there. The check is made twice: on the text when a gateway is
//! registered ([`crate::address::GatewayAddress::parse`]) and on each resolved address at each dial.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is never dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForbiddenReason {
    /// `169.254.0.0/16` or `fe80::/10`.
    LinkLocal,
    /// A cloud provider's metadata service, which gives out credentials.
    CloudMetadata,
    /// `0.0.0.0/8` or `::`.
    Unspecified,
    /// `224.0.0.0/4` or `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
}

impl ForbiddenReason {
    /// What such an address is, to follow "it is" in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LinkLocal => "a link-local address",
            Self::CloudMetadata => "a cloud metadata service",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
        }
    }
}

impl fmt::Display for ForbiddenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Metadata services that are not link-local: Alibaba, Oracle, and Azure's host agent.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Metadata services of Amazon and Google over IPv6.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Names under which cloud networks serve their metadata, whatever they resolve to.
const METADATA_NAMES: [&str; 8] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.packet.net",
    "metadata.platformequinix.com",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Whether this address is never dialled, and why. An IPv4 address inside an IPv6 one (mapped, compatible, translated,
/// NAT64, 6to4, Teredo, ISATAP) counts like the address itself.
pub fn is_forbidden(address: IpAddr) -> Option<ForbiddenReason> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

/// Whether this host name is a metadata service's, in any case and with or without the final dot.
pub fn is_forbidden_name(name: &str) -> Option<ForbiddenReason> {
    let name = name.strip_suffix('.').unwrap_or(name);
    METADATA_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)).then_some(ForbiddenReason::CloudMetadata)
}

fn forbidden_v4(address: Ipv4Addr) -> Option<ForbiddenReason> {
    if METADATA_V4.contains(&address) {
        Some(ForbiddenReason::CloudMetadata)
    } else if address.is_link_local() {
        Some(ForbiddenReason::LinkLocal)
    } else if address.octets().starts_with(&[0]) {
        Some(ForbiddenReason::Unspecified)
    } else if address.is_broadcast() {
        Some(ForbiddenReason::Broadcast)
    } else if address.is_multicast() {
        Some(ForbiddenReason::Multicast)
    } else {
        None
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<ForbiddenReason> {
    if address.is_unspecified() {
        Some(ForbiddenReason::Unspecified)
    } else if address.is_loopback() {
        None
    } else if METADATA_V6.contains(&address) {
        Some(ForbiddenReason::CloudMetadata)
    } else if address.is_multicast() {
        Some(ForbiddenReason::Multicast)
    } else if address.is_unicast_link_local() {
        Some(ForbiddenReason::LinkLocal)
    } else {
        embedded_v4(address).into_iter().flatten().find_map(forbidden_v4)
    }
}

/// The IPv4 addresses that a packet to this address may end up at.
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let bits = address.to_bits();
    let [a, b, c, d, e, f, g, h] = address.segments();
    let last = Some(v4(g, h));
    match [a, b, c, d, e, f] {
        // Compatible, mapped, translated (SIIT) and the well-known NAT64 prefix: the last 32 bits.
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => [last, None],
        // Local-use NAT64 (RFC 8215): a /96 below it, or the /48 form that leaves out bits 64 to 71 (RFC 6052).
        [0x64, 0xff9b, 1, ..] => {
            let around_octet_u = ((bits >> 64) & 0xffff) << 16 | ((bits >> 40) & 0xffff);
            let around_octet_u = u32::try_from(around_octet_u).ok().map(Ipv4Addr::from_bits);
            // Which form it is can't be seen; the place that the other form uses is zero then.
            [around_octet_u, last].map(|found| found.filter(|address| !address.is_unspecified()))
        }
        // 6to4.
        [0x2002, high, low, ..] => [Some(v4(high, low)), None],
        // Teredo: the server, and the client with its bits turned over.
        [0x2001, 0, high, low, ..] => [Some(v4(high, low)), Some(v4(!g, !h))],
        // ISATAP under any prefix.
        [.., 0 | 0x200, 0x5efe] => [last, None],
        _ => [None, None],
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::ForbiddenReason::{Broadcast, CloudMetadata, LinkLocal, Multicast, Unspecified};
    use super::*;

    fn check(text: &str) -> Option<ForbiddenReason> {
        is_forbidden(text.parse().unwrap_or_else(|_| panic!("{text} is no address")))
    }

    #[test]
    fn link_local_metadata_unspecified_multicast_and_broadcast_are_forbidden() {
        for (text, reason) in [
            ("169.254.169.254", CloudMetadata),
            ("100.100.100.200", CloudMetadata),
            ("192.0.0.192", CloudMetadata),
            ("168.63.129.16", CloudMetadata),
            ("fd00:ec2::254", CloudMetadata),
            ("fd20:ce::254", CloudMetadata),
            ("169.254.0.1", LinkLocal),
            ("169.254.255.255", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("224.0.0.251", Multicast),
            ("239.255.255.255", Multicast),
            ("ff02::fb", Multicast),
            ("255.255.255.255", Broadcast),
        ] {
            assert_eq!(check(text), Some(reason), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_counts_like_itself() {
        for text in [
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2001:0:a9fe:a9fe::1",
            "2001:0:808:808:0:0:5601:5601",
            "2001:db8::5efe:169.254.169.254",
            "2001:db8::200:5efe:169.254.169.254",
        ] {
            assert_eq!(check(text), Some(CloudMetadata), "{text}");
        }
        assert_eq!(check("::ffff:0.0.0.0"), Some(Unspecified));
        assert_eq!(check("::ffff:255.255.255.255"), Some(Broadcast));
        assert_eq!(check("64:ff9b::224.0.0.1"), Some(Multicast));
    }

    #[test]
    fn loopback_private_and_public_addresses_are_allowed() {
        for text in [
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.20",
            "100.64.0.1",
            "100.100.100.201",
            "8.8.8.8",
            "169.253.255.255",
            "169.255.0.0",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:192.168.0.1",
            "fd12:3456::1",
            "fec0::1",
            "2001:db8::1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1:808:8:800::",
            "2002:c0a8:0101::1",
        ] {
            assert_eq!(check(text), None, "{text}");
        }
    }

    #[test]
    fn metadata_names_are_forbidden_in_any_spelling_and_others_are_not() {
        for name in ["metadata.google.internal", "Metadata.Google.Internal.", "metadata", "instance-data.ec2.internal"]
        {
            assert_eq!(is_forbidden_name(name), Some(CloudMetadata), "{name}");
        }
        for name in ["gateway.example.com", "metadata.example.com", "google.internal", ""] {
            assert_eq!(is_forbidden_name(name), None, "{name}");
        }
    }
}
