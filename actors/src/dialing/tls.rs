//! Whom to trust on TLS, as rustls configurations: one for each trust mode, with ring and never a process-wide default.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::failure::{DialFailure, DialStep};
use crate::gateway_record::TlsTrust;

/// Makes configurations. The one for the system's authorities is made once and shared, the others are cheap.
#[derive(Debug)]
pub(super) struct TlsConfigs {
    provider: Arc<CryptoProvider>,
    system: OnceCell<Arc<ClientConfig>>,
}

impl TlsConfigs {
    pub(super) fn new() -> Self {
        Self { provider: Arc::new(ring::default_provider()), system: OnceCell::new() }
    }

    /// As if the system trusted these authorities.
    #[cfg(test)]
    pub(super) fn with_system_roots(roots: Vec<CertificateDer<'static>>) -> Self {
        let configs = Self::new();
        let config = configs.trusting(roots).unwrap();
        configs.system.set(config).unwrap();
        configs
    }

    /// The configuration for this trust.
    ///
    /// # Errors
    /// [`DialFailure::TrustUnusable`] with what is wrong in the setting, or that the system has no authorities.
    pub(super) async fn client_config(&self, trust: &TlsTrust) -> Result<Arc<ClientConfig>, DialFailure> {
        match trust {
            TlsTrust::System => {
                self.system.get_or_try_init(|| async { self.trusting(system_roots().await?) }).await.cloned()
            }
            TlsTrust::Ca { ca_pem } => self.trusting(authorities(ca_pem)?),
            TlsTrust::Pins { pins } => self.config(Check::Pins(parse_pins(pins)?)),
            TlsTrust::None => self.config(Check::Nothing),
        }
    }

    fn trusting(&self, authorities: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, DialFailure> {
        let mut roots = RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(authorities);
        if unusable > 0 {
            tracing::debug!(unusable, "certificate authorities that cannot be read were left out");
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| DialFailure::TrustUnusable { reason: error.to_string() })?;
        self.config(Check::Authorities(verifier))
    }

    fn config(&self, check: Check) -> Result<Arc<ClientConfig>, DialFailure> {
        let verifier = LeafVerifier { check, provider: Arc::clone(&self.provider) };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| DialFailure::TrustUnusable { reason: error.to_string() })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        // A gateway that offers HTTP/2 would take the upgrade for nonsense.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each dial checks the certificate afresh, and thousands of gateways keep no tickets.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

async fn system_roots() -> Result<Vec<CertificateDer<'static>>, DialFailure> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|error| DialFailure::TrustUnusable { reason: error.to_string() })?;
    for error in &loaded.errors {
        tracing::warn!(%error, "some of the system's certificate authorities cannot be read");
    }
    if loaded.certs.is_empty() {
        return Err(DialFailure::TrustUnusable {
            reason: "this machine has no certificate authorities installed".to_owned(),
        });
    }
    Ok(loaded.certs)
}

fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, DialFailure> {
    let unusable = |reason: String| DialFailure::TrustUnusable { reason };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(format!("the certificate authorities are no valid PEM text ({error})")))?;
    if found.is_empty() {
        return Err(unusable("the PEM text holds no certificate".to_owned()));
    }
    Ok(found)
}

/// Pins are 64 hex digits in any case, colons between bytes allowed.
fn parse_pins(pins: &[String]) -> Result<Vec<String>, DialFailure> {
    let unusable = |reason: &str| DialFailure::TrustUnusable { reason: reason.to_owned() };
    if pins.is_empty() {
        return Err(unusable("there is no pin"));
    }
    pins.iter()
        .map(|pin| {
            let pin = pin.trim().replace(':', "").to_ascii_lowercase();
            let is_sound = pin.len() == 64 && pin.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_sound.then_some(pin).ok_or_else(|| unusable("a pin is not a SHA-256 in 64 hex digits"))
        })
        .collect()
}

/// SHA-256 of a certificate's DER in lowercase hex.
pub(super) fn sha256_hex(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

#[derive(Debug)]
enum Check {
    Authorities(Arc<WebPkiServerVerifier>),
    /// By the leaf alone: gateways make self-signed certificates without names, for which a name check can't pass.
    Pins(Vec<String>),
    Nothing,
}

/// Checks the leaf as configured, always checks that the peer holds its key, and says which certificate was presented.
#[derive(Debug)]
struct LeafVerifier {
    check: Check,
    provider: Arc<CryptoProvider>,
}

/// Carries what an operator needs through rustls.
#[derive(Debug)]
struct NotTrusted {
    reason: String,
    presented_sha256: String,
}

impl fmt::Display for NotTrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SHA-256 {})", self.reason, self.presented_sha256)
    }
}

impl Error for NotTrusted {}

fn not_trusted(reason: impl Into<String>, leaf: &CertificateDer<'_>) -> TlsError {
    let carried = NotTrusted { reason: reason.into(), presented_sha256: sha256_hex(leaf) };
    TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(carried))))
}

fn reason(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(fault) => match fault {
            CertificateError::UnknownIssuer => "its issuer is not a trusted authority".to_owned(),
            CertificateError::BadSignature => "its issuer is not the trusted authority of that name".to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is not made out for this host".to_owned()
            }
            // Gateways that make their certificate themselves make it an authority's.
            CertificateError::Other(OtherError(why)) if why.to_string() == "CaUsedAsEndEntity" => {
                "it is an authority's own certificate, as self-made ones are".to_owned()
            }
            CertificateError::Other(OtherError(why)) => why.to_string(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

impl ServerCertVerifier for LeafVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match &self.check {
            Check::Authorities(verifier) => verifier
                .verify_server_cert(leaf, intermediates, name, ocsp_response, now)
                .map_err(|error| not_trusted(reason(&error), leaf)),
            Check::Pins(pins) if pins.contains(&sha256_hex(leaf)) => Ok(ServerCertVerified::assertion()),
            Check::Pins(_) => Err(not_trusted("it is none of the pinned ones", leaf)),
            Check::Nothing => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
            .map_err(|_| not_trusted("the peer does not hold its key", leaf))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
            .map_err(|_| not_trusted("the peer does not hold its key", leaf))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed handshake means.
pub(super) fn handshake_failure(error: &io::Error) -> DialFailure {
    let tls_error = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls_error {
        Some(TlsError::InvalidCertificate(CertificateError::Other(OtherError(carried)))) => {
            match carried.downcast_ref::<NotTrusted>() {
                Some(not_trusted) => DialFailure::TlsNotTrusted {
                    reason: not_trusted.reason.clone(),
                    presented_sha256: Some(not_trusted.presented_sha256.clone()),
                },
                None => DialFailure::TlsNotTrusted { reason: carried.to_string(), presented_sha256: None },
            }
        }
        Some(TlsError::InvalidCertificate(fault)) => {
            DialFailure::TlsNotTrusted { reason: fault.to_string(), presented_sha256: None }
        }
        Some(TlsError::NoCertificatesPresented) => {
            DialFailure::TlsNotTrusted { reason: "there is none".to_owned(), presented_sha256: None }
        }
        Some(TlsError::InvalidMessage(_)) => {
            DialFailure::TlsFailed { reason: "the port does not speak TLS".to_owned() }
        }
        Some(other) => DialFailure::TlsFailed { reason: other.to_string() },
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                DialFailure::Reset { step: DialStep::Tls }
            }
            _ => DialFailure::Other { step: DialStep::Tls, reason: error.to_string() },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn a_trust_setting_that_cannot_work_says_what_is_wrong() {
        let configs = TlsConfigs::new();
        for trust in [
            TlsTrust::Ca { ca_pem: String::new() },
            TlsTrust::Ca { ca_pem: "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".into() },
            TlsTrust::Ca { ca_pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into() },
            TlsTrust::Pins { pins: vec![] },
            TlsTrust::Pins { pins: vec!["ab".repeat(31)] },
            TlsTrust::Pins { pins: vec!["ab".repeat(32), "xy".repeat(32)] },
        ] {
            let outcome = configs.client_config(&trust).await;
            assert!(matches!(outcome, Err(DialFailure::TrustUnusable { .. })), "{trust:?}: {outcome:?}");
        }
        let spelled = TlsTrust::Pins { pins: vec![["AB"; 32].join(":")] };
        assert!(configs.client_config(&spelled).await.is_ok());
    }

    #[actix::test]
    async fn every_mode_offers_http_1_1_only() {
        let configs = TlsConfigs::new();
        for trust in [TlsTrust::None, TlsTrust::Pins { pins: vec!["ab".repeat(32)] }] {
            assert_eq!(configs.client_config(&trust).await.unwrap().alpn_protocols, [b"http/1.1".to_vec()]);
        }
    }
}
