use super::*;
use crate::identity::DeviceIdentity;

const SEED: [u8; 32] = [7; 32];

fn fields<'a>(device_id: &'a str, scopes: &'a [String]) -> SignedFields<'a> {
    SignedFields {
        device_id,
        client_id: "gateway-client",
        client_mode: "backend",
        role: "operator",
        scopes,
        signed_at_ms: 1_795_253_714_450,
        token: "SHARED_TOKEN",
        nonce: "6f1e9c0a",
        platform: " Linux ",
        device_family: "",
    }
}

fn scopes() -> Vec<String> {
    ["operator.admin", "operator.read"].map(str::to_owned).to_vec()
}

#[test]
fn the_signed_texts_are_those_of_the_protocol_to_the_letter() {
    let scopes = scopes();
    let fields = fields("DEVICE", &scopes);
    assert_eq!(
        fields.payload(SignatureVersion::V2),
        "v2|DEVICE|gateway-client|backend|operator|operator.admin,operator.read|1795253714450|SHARED_TOKEN|6f1e9c0a"
    );
    assert_eq!(
        fields.payload(SignatureVersion::V3),
        "v3|DEVICE|gateway-client|backend|operator|operator.admin,operator.read|1795253714450|SHARED_TOKEN|6f1e9c0a|linux|"
    );
    let empty = SignedFields { token: "", scopes: &[], ..fields };
    assert_eq!(
        empty.payload(SignatureVersion::V2),
        "v2|DEVICE|gateway-client|backend|operator||1795253714450||6f1e9c0a"
    );
}

#[test]
fn a_signature_of_either_version_verifies_and_says_which_it_is() {
    let identity = DeviceIdentity::from_seed(&SEED);
    let scopes = scopes();
    let fields = fields(identity.device_id(), &scopes);
    for version in [SignatureVersion::V2, SignatureVersion::V3] {
        let signature = identity.sign(&fields.payload(version));
        assert_eq!(verify(&fields, identity.public_key(), &signature), Ok(version));
        assert_eq!(verify(&fields, &format!("{}=", identity.public_key()), &signature), Ok(version));
    }
}

#[test]
fn any_changed_field_breaks_the_signature() {
    let identity = DeviceIdentity::from_seed(&SEED);
    let scopes = scopes();
    let good = fields(identity.device_id(), &scopes);
    let signature = identity.sign(&good.payload(SignatureVersion::V2));
    let swapped: Vec<String> = scopes.iter().rev().cloned().collect();
    let changed = [
        SignedFields { client_id: "cli", ..good },
        SignedFields { client_mode: "cli", ..good },
        SignedFields { role: "node", ..good },
        SignedFields { scopes: &swapped, ..good },
        SignedFields { signed_at_ms: 1, ..good },
        SignedFields { token: "", ..good },
        SignedFields { nonce: "other", ..good },
    ];
    for fields in changed {
        assert_eq!(verify(&fields, identity.public_key(), &signature), Err(ProofError::Signature), "{fields:?}");
    }
}

#[test]
fn a_foreign_id_a_bad_key_and_a_bad_signature_are_told_apart() {
    let identity = DeviceIdentity::from_seed(&SEED);
    let other = DeviceIdentity::from_seed(&[8; 32]);
    let scopes = scopes();
    let good = fields(identity.device_id(), &scopes);
    let signature = identity.sign(&good.payload(SignatureVersion::V2));
    assert_eq!(verify(&good, other.public_key(), &signature), Err(ProofError::DeviceId));
    assert_eq!(verify(&good, "not a key", &signature), Err(ProofError::PublicKey));
    assert_eq!(verify(&good, identity.public_key(), "AAAA"), Err(ProofError::Signature));
}

#[test]
fn a_weak_key_proves_nothing() {
    // The identity point: with it, one signature fits every text.
    let mut weak = [0_u8; 32];
    weak[0] = 1;
    let mut signature = [0_u8; 64];
    signature[0] = 1;
    let (id, scopes) = (device_id_of(&weak), scopes());
    let fields = fields(&id, &scopes);
    let (key, signature) = (URL_SAFE_NO_PAD.encode(weak), URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(verify(&fields, &key, &signature), Err(ProofError::Signature));
}
