//! TLS of the commands' HTTP client: this machine's authorities, or one certificate and no other.

use std::io::{Error, Result};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};

/// Whom to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Trust<'a> {
    /// No TLS.
    Plain,
    /// The service's own certificate (PEM), whatever names it has.
    Only(&'a Path),
    /// The authorities of this machine; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    System,
}

/// Speaks TLS with a peer. `host` is the name to check, with its port.
pub(super) fn encrypted(
    trust: &Trust<'_>,
    host: Option<&str>,
    peer: SocketAddr,
    stream: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?;
    let config = match trust {
        Trust::Only(file) => {
            let certificate = CertificateDer::from_pem_file(file)
                .map_err(|error| Error::other(format!("{}: {error}", file.display())))?;
            let verifier = Arc::new(OnlyThis { certificate, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
        Trust::Plain | Trust::System => builder.with_root_certificates(authorities()?).with_no_client_auth(),
    };
    let name = match host.map(without_port) {
        Some(name) => ServerName::try_from(name.to_owned()).map_err(Error::other)?,
        None => ServerName::from(peer.ip()),
    };
    let connection = ClientConnection::new(Arc::new(config), name).map_err(Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

fn authorities() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Error::other("this machine has no certificate authorities installed; SSL_CERT_FILE can name some"));
    }
    Ok(roots)
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Trusts one certificate, whatever names it has: it comes from a file of this machine's own configuration.
#[derive(Debug)]
struct OnlyThis {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OnlyThis {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("the certificate is not the configured one".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_to_check_is_the_host_without_its_port() {
        for (host, name) in [("a.example", "a.example"), ("a.example:8443", "a.example"), ("[fd00::1]:443", "fd00::1")]
        {
            assert_eq!(without_port(host), name);
        }
    }
}
