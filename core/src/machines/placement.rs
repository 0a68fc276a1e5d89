//! Which node of a cluster holds a gateway's connection.
//!
//! A gateway that names a node is held by that one alone, and by nobody while that one isn't there: its address may mean another
//! machine's elsewhere. Where no node is named, an address of this machine and a process of it are held here. All others are shared out
//! by rendezvous hashing: of the nodes that are there, the one whose name and the gateway's address together weigh most. A node that
//! comes or goes moves its own share only.

use std::sync::Arc;

use crate::gateway_record::GatewaySpec;

/// Where a gateway's connection is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldBy {
    /// By this daemon.
    Here,
    /// By another node, of this name.
    Node(Arc<str>),
    /// By nobody: the node of this name alone may, and isn't there.
    Nobody(Arc<str>),
}

/// Decides for one gateway. `here` is this node's name; `others` are those that are there and hold connections for this one.
pub fn held_by<'a>(spec: &GatewaySpec, here: &str, others: impl Iterator<Item = &'a Arc<str>> + Clone) -> HeldBy {
    if let Some(named) = &spec.node {
        return match others.clone().find(|other| ***other == **named) {
            _ if named == here => HeldBy::Here,
            Some(other) => HeldBy::Node(other.clone()),
            None => HeldBy::Nobody(named.as_str().into()),
        };
    }
    let address = spec.address().filter(|address| spec.process.is_none() && !address.is_loopback());
    let Some(address) = address.map(|address| address.key()) else { return HeldBy::Here };
    let heaviest = others.max_by_key(|other| (weight(other, &address), (*other).clone()));
    match heaviest {
        Some(other) if (weight(other, &address), &**other) > (weight(here, &address), here) => {
            HeldBy::Node(other.clone())
        }
        _ => HeldBy::Here,
    }
}

/// FNV-1a of both, mixed so that names that differ in their last letter share nothing.
fn weight(node: &str, address: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = node.bytes().chain([0]).chain(address.bytes()).fold(0xcbf2_9ce4_8422_2325, fold);
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(number: usize) -> GatewaySpec {
        GatewaySpec::at("any", format!("192.0.2.{}", number % 250), u16::try_from(1_000 + number).unwrap())
    }

    fn nodes(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn held(spec: &GatewaySpec, here: &str, others: &[&str]) -> HeldBy {
        held_by(spec, here, nodes(others).iter())
    }

    #[test]
    fn gateways_are_shared_out_evenly_whichever_node_asks() {
        let mut counts = [0; 3];
        for number in 0..3_000 {
            let spec = spec(number);
            let as_a = held(&spec, "warden-a", &["warden-b", "warden-c"]);
            let as_b = held(&spec, "warden-b", &["warden-c", "warden-a"]);
            let place = ["warden-a", "warden-b", "warden-c"].iter().position(|name| match &as_a {
                HeldBy::Here => *name == "warden-a",
                HeldBy::Node(node) => **node == **name,
                HeldBy::Nobody(_) => false,
            });
            let place = place.unwrap();
            counts[place] += 1;
            assert_eq!(as_b == HeldBy::Here, place == 1, "both say the same of {}", spec.address_key());
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_node_that_goes_or_comes_moves_its_own_share_only() {
        for number in 0..1_000 {
            let spec = spec(number);
            let with = held(&spec, "a", &["b", "c"]);
            let without = held(&spec, "a", &["b"]);
            assert!(with == without || with == HeldBy::Node("c".into()));
        }
    }

    #[test]
    fn what_is_of_this_machine_is_held_here_and_what_names_a_node_there_alone() {
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            let local = GatewaySpec::at("any", host, 18_789);
            assert!((0..50).all(|port| held(&GatewaySpec { port, ..local.clone() }, "a", &["b", "c"]) == HeldBy::Here));
            let named = |node: &str| GatewaySpec { node: Some(node.to_owned()), ..local.clone() };
            assert_eq!(held(&named("b"), "a", &["b", "c"]), HeldBy::Node("b".into()));
            assert_eq!(held(&named("a"), "a", &["b", "c"]), HeldBy::Here);
            assert_eq!(held(&named("d"), "a", &["b", "c"]), HeldBy::Nobody("d".into()));
        }
        let process = Some(crate::gateway_record::ProcessSource::Command("x".to_owned()));
        assert!((0..50).all(|number| {
            held(&GatewaySpec { process: process.clone(), ..spec(number) }, "a", &["b"]) == HeldBy::Here
        }));
    }
}
