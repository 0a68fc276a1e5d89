//! A small HTTP client for this machine's own services: one request, one answer, everything bounded. Blocking.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::Value;

/// Longest wait for a connection, and for each piece of an answer.
const LIMIT: Duration = Duration::from_secs(15);
/// Longest answer, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    pub(super) to: SocketAddr,
    /// The service's own certificate (PEM): speak TLS, and trust this one alone.
    pub(super) certificate: Option<&'a Path>,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// A header with a credential: name and value.
    pub(super) credential: Option<(&'a str, &'a str)>,
    pub(super) body: Option<&'a Value>,
}

impl Request<'_> {
    /// Sends it; status and body, null where that is no JSON.
    pub(super) fn send(&self) -> std::io::Result<(u16, Value)> {
        let stream = TcpStream::connect_timeout(&self.to, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let answer = match self.certificate {
            None => self.exchange(stream)?,
            Some(certificate) => self.exchange(StreamOwned::new(pinned(certificate, self.to)?, stream))?,
        };
        read_answer(&answer)
    }

    fn exchange(&self, mut stream: impl Read + Write) -> std::io::Result<Vec<u8>> {
        let mut text = format!(
            "{} {} HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\nConnection: close\r\n",
            self.method, self.path, self.to
        );
        if let Some((name, value)) = self.credential {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.map(Value::to_string).unwrap_or_default();
        if self.body.is_some() {
            text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(&body);
        stream.write_all(text.as_bytes())?;
        stream.flush()?;
        let mut answer = Vec::new();
        match stream.take(LONGEST).read_to_end(&mut answer) {
            Ok(_) => {}
            // A TLS peer that closes without saying so; the length of the body is checked.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
            Err(error) => return Err(error),
        }
        Ok(answer)
    }
}

fn read_answer(answer: &[u8]) -> std::io::Result<(u16, Value)> {
    let malformed = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is no HTTP");
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(malformed)?;
    let (head, body) = answer.split_at(split);
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    let body = body.get(4..).unwrap_or_default();
    Ok((status, serde_json::from_slice(body).unwrap_or(Value::Null)))
}

fn pinned(certificate: &Path, to: SocketAddr) -> std::io::Result<ClientConnection> {
    let certificate = CertificateDer::from_pem_file(certificate)
        .map_err(|error| std::io::Error::other(format!("{}: {error}", certificate.display())))?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(OnlyThis { certificate, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::from(to.ip())).map_err(std::io::Error::other)
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
    ) -> Result<ServerCertVerified, rustls::Error> {
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
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_read_and_what_is_none_is_said() {
        let (status, body) = read_answer(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"ok\":true}").unwrap();
        assert_eq!((status, body), (200, json!({"ok": true})));
        assert_eq!(read_answer(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), (204, Value::Null));
        assert!(read_answer(b"SSH-2.0-x\r\n").is_err());
    }
}
