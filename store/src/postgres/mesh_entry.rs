//! What a node of a cluster publishes for the other nodes to reach it: an address, the SHA-256 of its certificate, and a proof.
//!
//! The proof is an HMAC over the node's id, the address and the certificate, with a key that is derived from the sealing key. So whoever
//! can write to the database, but doesn't have the sealing key, can't enter a node of their own, nor give another one's certificate a
//! different address.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What the sealing key is never used for otherwise.
const DERIVED_FOR: &[u8] = b"gatewarden mesh 1";

/// Where a node is reached by others, and its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshFacts {
    /// `host:port`.
    pub address: String,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub certificate: String,
}

/// The columns of a node's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, QueryableByName)]
pub(crate) struct MeshColumns {
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) mesh_address: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) mesh_certificate: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) mesh_proof: Option<String>,
}

/// What is known of a node's mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mesh {
    /// It takes no connections of other nodes: not configured, or an older release.
    None,
    /// There is an entry, which nobody made who has this node's sealing key.
    Unproven,
    /// By the proof it is what a node with the same sealing key says of itself.
    Proven(MeshFacts),
}

impl Mesh {
    /// What may be relied on.
    pub fn proven(&self) -> Option<&MeshFacts> {
        match self {
            Self::Proven(facts) => Some(facts),
            Self::None | Self::Unproven => None,
        }
    }
}

/// Makes and checks proofs.
#[derive(Clone)]
pub(crate) struct MeshKey(Zeroizing<[u8; 32]>);

impl MeshKey {
    pub(crate) fn of(key: &[u8; 32]) -> Self {
        let mut derived = Zeroizing::new([0_u8; 32]);
        if let Some(mut mac) = keyed(key) {
            mac.update(DERIVED_FOR);
            derived.copy_from_slice(&mac.finalize().into_bytes());
        }
        Self(derived)
    }

    /// The proof of a node.
    pub(crate) fn prove(&self, node: &str, facts: &MeshFacts) -> String {
        self.over(node, facts).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default()
    }

    /// Checks the columns of a node's row.
    pub(crate) fn read(&self, node: &str, columns: MeshColumns) -> Mesh {
        let MeshColumns { mesh_address, mesh_certificate, mesh_proof } = columns;
        let (Some(address), Some(certificate)) = (mesh_address, mesh_certificate) else { return Mesh::None };
        let facts = MeshFacts { address, certificate };
        let proof = mesh_proof.and_then(|proof| hex::decode(proof).ok());
        let is_right = proof
            .zip(self.over(node, &facts))
            .is_some_and(|(proof, mac)| !proof.is_empty() && mac.verify_slice(&proof).is_ok());
        if is_right { Mesh::Proven(facts) } else { Mesh::Unproven }
    }

    fn over(&self, node: &str, facts: &MeshFacts) -> Option<Hmac<Sha256>> {
        let mut mac = keyed(&self.0)?;
        // Each with its length, so that nothing can be moved from one to the next.
        for part in [node, &facts.address, &facts.certificate] {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac)
    }
}

/// An HMAC takes keys of any length: there is always one.
fn keyed(key: &[u8; 32]) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MeshKey {
        MeshKey(Zeroizing::new([byte; 32]))
    }

    fn columns(proof: Option<String>) -> MeshColumns {
        MeshColumns {
            mesh_address: Some("warden-a:3001".to_owned()),
            mesh_certificate: Some("ab".repeat(32)),
            mesh_proof: proof,
        }
    }

    #[test]
    fn only_what_was_made_with_the_same_key_for_the_same_node_address_and_certificate_is_proven() {
        let facts = MeshFacts { address: "warden-a:3001".to_owned(), certificate: "ab".repeat(32) };
        let proof = key(1).prove("node-1", &facts);
        assert_eq!(key(1).read("node-1", columns(Some(proof.clone()))), Mesh::Proven(facts.clone()));
        assert_eq!(key(2).read("node-1", columns(Some(proof.clone()))), Mesh::Unproven, "another sealing key");
        assert_eq!(key(1).read("node-2", columns(Some(proof.clone()))), Mesh::Unproven, "another node's");
        let moved = MeshColumns { mesh_address: Some("evil:3001".to_owned()), ..columns(Some(proof.clone())) };
        assert_eq!(key(1).read("node-1", moved), Mesh::Unproven, "another address");
        let other = MeshColumns { mesh_certificate: Some("cd".repeat(32)), ..columns(Some(proof)) };
        assert_eq!(key(1).read("node-1", other), Mesh::Unproven, "another certificate");
        for nonsense in [None, Some(String::new()), Some("zz".to_owned()), Some("ab".to_owned())] {
            assert_eq!(key(1).read("node-1", columns(nonsense)), Mesh::Unproven);
        }
        assert_eq!(key(1).read("node-1", MeshColumns::default()), Mesh::None);
    }

    #[test]
    fn nothing_can_be_moved_from_one_part_to_the_next() {
        let facts = |address: &str, certificate: &str| MeshFacts {
            address: address.to_owned(),
            certificate: certificate.to_owned(),
        };
        assert_ne!(key(1).prove("n", &facts("ab", "c")), key(1).prove("n", &facts("a", "bc")));
        assert_ne!(key(1).prove("na", &facts("b", "c")), key(1).prove("n", &facts("ab", "c")));
    }
}
