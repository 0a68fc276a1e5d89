//! Reads `tls` and `transport` of a gateway.

use gatewarden_actors::gateway_record::{TlsTrust, Transport};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::http::fields::Fields;

const CA_PEM: usize = 256 * 1024;
const PINS: usize = 16;

/// A transport by a name that has been checked.
pub fn transport(name: &str) -> Transport {
    match name {
        "ws" => Transport::Ws,
        "http" => Transport::Http,
        _ => Transport::Auto,
    }
}

/// Reads the object `tls`, where there is one.
pub fn read(fields: &mut Fields<'_>) -> Option<TlsTrust> {
    let object = fields.object("tls")?;
    let mut tls = Fields::inside(object, "tls");
    if tls.value("trust").is_none() {
        tls.missing("trust");
    }
    let trust = match tls.word("trust", &["system", "ca", "pins", "none"]) {
        Some("system") => Some(TlsTrust::System),
        Some("none") => Some(TlsTrust::None),
        Some("ca") => authorities(&mut tls).map(|ca_pem| TlsTrust::Ca { ca_pem }),
        Some("pins") => pins(&mut tls).map(|pins| TlsTrust::Pins { pins }),
        _ => None,
    };
    fields.absorb(tls);
    trust
}

fn authorities(tls: &mut Fields<'_>) -> Option<String> {
    let Some(value) = tls.value("ca_pem") else {
        tls.wrong("ca_pem", "is missing: with trust \"ca\" it holds the certificates of the authorities");
        return None;
    };
    let text = value.as_str().filter(|text| text.len() <= CA_PEM);
    let Some(text) = text else {
        tls.wrong("ca_pem", format_args!("must be a text of at most {CA_PEM} bytes"));
        return None;
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        if certificate.ok().and_then(|certificate| roots.add(certificate).ok()).is_none() {
            tls.wrong("ca_pem", "holds something that is not a certificate in PEM form");
            return None;
        }
    }
    if roots.is_empty() {
        tls.wrong("ca_pem", "holds no certificate in PEM form");
        return None;
    }
    Some(text.to_owned())
}

fn pins(tls: &mut Fields<'_>) -> Option<Vec<String>> {
    if tls.value("pins").is_none() {
        tls.wrong("pins", "is missing: with trust \"pins\" it lists SHA-256 fingerprints of certificates");
        return None;
    }
    let array = tls.array("pins")?;
    if array.is_empty() || array.len() > PINS {
        tls.wrong("pins", format_args!("must have 1 to {PINS} entries"));
        return None;
    }
    let mut pins = Vec::with_capacity(array.len());
    for (place, value) in array.iter().enumerate() {
        match value.as_str().and_then(pin) {
            Some(pin) => pins.push(pin),
            None => tls.wrong(&format!("pins[{place}]"), "must be a SHA-256 fingerprint: 64 hex digits"),
        }
    }
    Some(pins).filter(|pins: &Vec<String>| pins.len() == array.len())
}

/// Takes the spellings that tools print: upper case, and colons between bytes.
fn pin(text: &str) -> Option<String> {
    // Longer than any spelling of a fingerprint: not worth a copy.
    if text.len() > 128 {
        return None;
    }
    let digits: String = text.chars().filter(|character| *character != ':').collect::<String>().to_ascii_lowercase();
    (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read_tls(tls: Value) -> Result<Option<TlsTrust>, String> {
        let body = json!({ "tls": tls });
        let mut fields = Fields::new(body.as_object().unwrap());
        let trust = read(&mut fields);
        fields.problems.into_result().map(|()| trust).map_err(|error| error.0.message)
    }

    #[test]
    fn pins_are_taken_in_every_usual_spelling() {
        let colons = vec!["AB"; 32].join(":");
        let Ok(Some(TlsTrust::Pins { pins })) = read_tls(json!({"trust": "pins", "pins": [colons]})) else {
            panic!("refused");
        };
        assert_eq!(pins, ["ab".repeat(32)]);
    }

    #[test]
    fn a_certificate_that_parses_is_taken() {
        let certificate = rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
        let pem = certificate.cert.pem();
        assert_eq!(read_tls(json!({"trust": "ca", "ca_pem": pem})), Ok(Some(TlsTrust::Ca { ca_pem: pem })));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (tls, word) in [
            (json!({}), "tls.trust is missing"),
            (json!({"trust": "always"}), "tls.trust must be one of"),
            (json!({"trust": "ca"}), "tls.ca_pem is missing"),
            (json!({"trust": "ca", "ca_pem": "nonsense"}), "tls.ca_pem holds no certificate"),
            (
                json!({"trust": "ca", "ca_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}),
                "ca_pem",
            ),
            (json!({"trust": "pins"}), "tls.pins is missing"),
            (json!({"trust": "pins", "pins": []}), "tls.pins must have"),
            (json!({"trust": "pins", "pins": ["abc"]}), "tls.pins[0] must be"),
            (json!("system"), "tls must be an object"),
        ] {
            assert!(read_tls(tls.clone()).unwrap_err().contains(word), "{tls}");
        }
        assert_eq!(read_tls(Value::Null), Ok(None));
    }
}
