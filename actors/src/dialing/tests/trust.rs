use std::sync::Arc;

use futures_util::StreamExt;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::peer::*;
use crate::dialing::resolver::Resolver;
use crate::dialing::tls::{TlsConfigs, sha256_hex};
use crate::dialing::{DialFailure, DialRequest, DialStep, Dialer, HttpRequest, Incoming, NetworkDialer};
use crate::dialing::{MemoryAccount, MemoryBudget};
use crate::gateway_record::TlsTrust;

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pin: String,
}

impl Identity {
    fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        let der = certificate.der().clone();
        let pin = sha256_hex(&der);
        Self { certificate: der, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(), pin }
    }

    /// As gateways make them: self-signed, often without any name.
    fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Self::new(&certificate, &key)
    }

    fn issued(authority: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
        Self::new(&certificate, &key)
    }
}

/// As OpenClaw makes its own: self-signed, and marked as an authority's.
fn as_gateways_make_it() -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Identity::new(&certificate, &key)
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A TLS gateway that says "hello" on each socket, and health over HTTP.
async fn gateway(identity: &Identity) -> u16 {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key());
    let mut config = config.unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (port, _) = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let head = read_head(&mut stream).await;
            if head.starts_with("GET /health") {
                let body = r#"{"ok":true,"status":"live"}"#;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            let _ = stream.write_all(accept_answer(&head).as_bytes()).await;
            let _ = stream.write_all(&frame(0x81, b"hello")).await;
            let _ = stream.read_u8().await;
        }
    })
    .await;
    port
}

async fn dial_with(dialer: &NetworkDialer, port: u16, tls: TlsTrust) -> Result<(), DialFailure> {
    let address = address("wss://127.0.0.1", port);
    let mut dialed =
        dialer.dial(DialRequest { address, tls, timeout: PATIENCE, origin: None }, &MemoryAccount::default()).await?;
    assert!(dialed.timings.tls.is_some());
    assert_eq!(soon(dialed.incoming.next()).await, Some(Ok(Incoming::text("hello"))));
    Ok(())
}

fn pins(pins: &[&str]) -> TlsTrust {
    TlsTrust::Pins { pins: pins.iter().map(|&pin| pin.to_owned()).collect() }
}

fn refused_with(outcome: Result<(), DialFailure>, pin: &str, word: &str) {
    match outcome {
        Err(failure @ DialFailure::TlsNotTrusted { .. }) => {
            assert_eq!(failure.step(), DialStep::Tls);
            let text = failure.to_string();
            assert!(text.contains(pin) && failure.help().contains(pin), "the pin is not told: {text}");
            assert!(text.contains(word), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn a_pin_trusts_its_certificate_without_names_and_no_other() {
    let identity = Identity::self_signed(&[]);
    let renewed = Identity::self_signed(&[]);
    let port = gateway(&identity).await;
    let dialer = NetworkDialer::new();
    dial_with(&dialer, port, pins(&[&identity.pin])).await.unwrap();
    dial_with(&dialer, port, pins(&[&renewed.pin, &identity.pin.to_uppercase()])).await.unwrap();
    refused_with(dial_with(&dialer, port, pins(&[&renewed.pin])).await, &identity.pin, "none of the pinned");
    let port = gateway(&renewed).await;
    dial_with(&dialer, port, pins(&[&renewed.pin, &identity.pin])).await.unwrap();
}

#[actix::test]
async fn an_authority_trusts_what_it_issued_for_this_host_and_nothing_else() {
    let (ours, other) = (authority(), authority());
    let trust = TlsTrust::Ca { ca_pem: ours.pem() };
    let dialer = NetworkDialer::new();

    let identity = Identity::issued(&ours, &["127.0.0.1"]);
    dial_with(&dialer, gateway(&identity).await, trust.clone()).await.unwrap();
    let both = TlsTrust::Ca { ca_pem: format!("{}{}", other.pem(), ours.pem()) };
    dial_with(&dialer, gateway(&identity).await, both).await.unwrap();

    let elsewhere = Identity::issued(&ours, &["gateway.example.com"]);
    refused_with(dial_with(&dialer, gateway(&elsewhere).await, trust.clone()).await, &elsewhere.pin, "not made out");
    let foreign = Identity::issued(&other, &["127.0.0.1"]);
    refused_with(dial_with(&dialer, gateway(&foreign).await, trust.clone()).await, &foreign.pin, "issuer");
    let own = Identity::self_signed(&["127.0.0.1"]);
    refused_with(dial_with(&dialer, gateway(&own).await, trust).await, &own.pin, "issuer");
}

#[actix::test]
async fn the_systems_authorities_trust_what_they_issued_and_nothing_else() {
    let ours = authority();
    let roots = vec![ours.der().clone()];
    let dialer =
        NetworkDialer::with_parts(Resolver::system(), TlsConfigs::with_system_roots(roots), MemoryBudget::default());
    let identity = Identity::issued(&ours, &["127.0.0.1"]);
    dial_with(&dialer, gateway(&identity).await, TlsTrust::System).await.unwrap();
    let own = Identity::self_signed(&["127.0.0.1"]);
    refused_with(dial_with(&dialer, gateway(&own).await, TlsTrust::System).await, &own.pin, "issuer");
    let self_made = as_gateways_make_it();
    let refused = dial_with(&dialer, gateway(&self_made).await, TlsTrust::System).await;
    refused_with(refused, &self_made.pin, "self-made");
}

#[actix::test]
async fn no_trust_at_all_takes_anything() {
    let dialer = NetworkDialer::new();
    dial_with(&dialer, gateway(&Identity::self_signed(&[])).await, TlsTrust::None).await.unwrap();
    dial_with(&dialer, gateway(&Identity::self_signed(&["elsewhere.example"])).await, TlsTrust::None).await.unwrap();
}

#[actix::test]
async fn a_stolen_certificate_without_its_key_is_refused_even_when_pinned_or_untrusted() {
    let real = Identity::self_signed(&[]);
    let thief = KeyPair::generate().unwrap();
    let stolen = rustls::sign::CertifiedKey::new(
        vec![real.certificate.clone()],
        ring::sign::any_supported_type(&PrivatePkcs8KeyDer::from(thief.serialize_der()).into()).unwrap(),
    );
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (port, _) = serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move {
            let _ = accepting.await;
        }
    })
    .await;
    let dialer = NetworkDialer::new();
    for trust in [pins(&[&real.pin]), TlsTrust::None] {
        refused_with(dial_with(&dialer, port, trust).await, &real.pin, "does not hold its key");
    }
}

#[actix::test]
async fn a_port_without_tls_says_so() {
    let dialer = NetworkDialer::new();
    let port = answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    // The answer to a hello that it can't read may come before it would see the end of a request.
    let (plain, _) = serve(|mut stream| async move {
        let mut hello = [0; 16];
        let _ = stream.read_exact(&mut hello).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let failure = dial_with(&dialer, plain, TlsTrust::None).await.unwrap_err();
    assert!(matches!(failure, DialFailure::TlsFailed { .. }), "{failure:?}");
    let mut silent = DialRequest { tls: TlsTrust::None, ..request(address("wss://127.0.0.1", port)) };
    silent.timeout = SHORT;
    assert_eq!(
        dialer.dial(silent, &MemoryAccount::default()).await.err(),
        Some(DialFailure::Timeout { step: DialStep::Tls })
    );
}

#[actix::test]
async fn http_requests_follow_the_same_trust() {
    let identity = Identity::self_signed(&[]);
    let port = gateway(&identity).await;
    let dialer = NetworkDialer::new();
    let get = |tls| HttpRequest::get(address("https://127.0.0.1", port), tls, "/health", PATIENCE, 1000);
    assert_eq!(dialer.http(get(pins(&[&identity.pin])), &MemoryAccount::default()).await.unwrap().status, 200);
    let refused = dialer.http(get(pins(&["00".repeat(32).as_str()])), &MemoryAccount::default()).await;
    assert!(
        matches!(refused, Err(DialFailure::TlsNotTrusted { presented_sha256: Some(pin), .. }) if pin == identity.pin)
    );
}
