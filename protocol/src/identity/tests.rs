use super::*;

/// The key of RFC 8032, section 7.1, test 1.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
    0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

/// The same key as OpenSSL writes it: `openssl pkey` of the PKCS#8 version 1 structure.
const PEM_V1: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";

#[test]
fn the_identity_of_a_known_key_is_known() {
    let identity = DeviceIdentity::from_seed(&SEED);
    assert_eq!(identity.public_key(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    assert_eq!(identity.device_id(), "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9");
    assert_eq!(identity.short_id(), "21fe31df");
    assert_eq!(
        identity.sign(""),
        "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc-bRr0lv18FlbviRlUUFDjnoQCw"
    );
}

#[test]
fn the_key_is_exported_as_pkcs8_version_1_and_read_back() {
    let identity = DeviceIdentity::from_seed(&SEED);
    let pem = identity.to_pkcs8_pem().unwrap();
    assert_eq!(pem.expose(), PEM_V1);
    assert_eq!(DeviceIdentity::from_pkcs8_pem(pem.expose()).unwrap().device_id(), identity.device_id());
    assert_eq!(*identity.seed(), SEED);
}

#[test]
fn a_key_of_pkcs8_version_2_is_read_too() {
    let version_2 = SigningKey::from_bytes(&SEED).to_pkcs8_pem(LineEnding::LF).unwrap();
    assert_ne!(version_2.as_str(), PEM_V1);
    let identity = DeviceIdentity::from_pkcs8_pem(&format!("\n{}\n\n", version_2.as_str())).unwrap();
    assert_eq!(*identity.seed(), SEED);
}

#[test]
fn what_is_no_ed25519_key_is_refused_with_a_sentence() {
    let rsa_label = PEM_V1.replace("PRIVATE KEY", "RSA PRIVATE KEY");
    let cut = PEM_V1.replace("MC4C", "MC4");
    for text in ["", "hello", rsa_label.as_str(), cut.as_str()] {
        let error = DeviceIdentity::from_pkcs8_pem(text).unwrap_err();
        assert!(error.to_string().contains("BEGIN PRIVATE KEY"), "{text}");
    }
}

#[test]
fn debug_shows_the_id_and_nothing_of_the_secret() {
    let shown = format!("{:?}", DeviceIdentity::from_seed(&SEED));
    assert!(shown.contains("21fe31df"));
    assert!(!shown.contains("9d61") && !shown.contains("157") && !shown.contains("nWGx"), "{shown}");
}
