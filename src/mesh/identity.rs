//! A node's key and certificate for one run, and the check of those of others: by the certificate's SHA-256 alone, and that its key is
//! there. Nothing is resumed, so that every connection is checked.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_actors::clock::Clock;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest as _, Sha256};

use super::CARRIES;

/// Certificates have no names: this one is only asked for by form.
const NAME: &str = "node.invalid";

/// The name that each end asks for.
pub(super) fn server_name() -> io::Result<ServerName<'static>> {
    ServerName::try_from(NAME).map_err(io::Error::other)
}

/// A key and its certificate, in memory only.
pub(crate) struct Identity {
    own: Arc<SingleCertAndKey>,
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new one.
    pub(crate) fn draw() -> io::Result<Self> {
        let key = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        // Whoever asks sees it before they have shown theirs.
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = parameters.self_signed(&key).map_err(io::Error::other)?.der().clone();
        let fingerprint = fingerprint(&certificate);
        let provider = Arc::new(ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let own = CertifiedKey::from_der(vec![certificate], key.into(), &provider).map_err(io::Error::other)?;
        Ok(Self { own: Arc::new(SingleCertAndKey::from(own)), fingerprint, provider })
    }

    /// SHA-256 of the certificate, in hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// For connections to whoever has this certificate, over which this protocol is to be spoken; none: HTTP.
    pub(super) fn client_config(&self, certificate: &str, protocol: Option<&[u8]>) -> io::Result<Arc<ClientConfig>> {
        let expected = certificate.to_owned();
        let verifier = Known::new(&self.provider, move |shown| shown == expected);
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.own.clone());
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocol.map(<[u8]>::to_vec).into_iter().collect();
        Ok(Arc::new(config))
    }

    /// For connections of whoever has a certificate that is known at that moment.
    pub(super) fn server_config(
        &self,
        is_known: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> io::Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_client_cert_verifier(Arc::new(Known::new(&self.provider, is_known)))
            .with_cert_resolver(self.own.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        // Whoever asks for nothing speaks HTTP.
        config.alpn_protocols = vec![CARRIES.to_vec()];
        Ok(Arc::new(config))
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// The certificate that was shown at the other end of a connection.
pub(super) fn shown_certificate(connection: &rustls::ServerConnection) -> Option<String> {
    connection.peer_certificates()?.first().map(fingerprint)
}

/// The SHA-256 of the certificate that is shown at an address: for whoever isn't a node and wants to see whether the one is there that
/// the database names. Tries all addresses of a name, each for its part of the time. Blocks.
pub(crate) fn certificate_shown_at(address: &str, patience: Duration) -> io::Result<String> {
    let resolved: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    certificate_shown_at_one_of(&resolved, patience)
}

fn certificate_shown_at_one_of(addresses: &[SocketAddr], patience: Duration) -> io::Result<String> {
    let until = Deadline::after(patience);
    let mut failed = io::Error::other("the name has no address");
    for (waiting, address) in (1..=addresses.len()).rev().zip(addresses) {
        let Ok(left) = until.left() else { break };
        let part = left / u32::try_from(waiting).unwrap_or(u32::MAX);
        match certificate_of(*address, Deadline::after(part)) {
            Err(error) => failed = error,
            shown => return shown,
        }
    }
    Err(failed)
}

fn certificate_of(address: SocketAddr, until: Deadline) -> io::Result<String> {
    let tcp = std::net::TcpStream::connect_timeout(&address, until.left()?)?;
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Known::new(&provider, |_| true)))
        .with_no_client_auth();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), server_name()?).map_err(io::Error::other)?;
    let mut stream = Hurried { tcp, until };
    // Nothing is said there: it ends the connection when it finds that no certificate comes.
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    shown.map(fingerprint).ok_or_else(|| io::Error::other("it shows no certificate"))
}

#[derive(Debug)]
struct Deadline {
    clock: Clock,
    at: Instant,
}

impl Deadline {
    fn after(time: Duration) -> Self {
        let clock = Clock::system();
        Self { at: clock.now() + time, clock }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.at.saturating_duration_since(self.clock.now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// A connection on which nothing is waited for beyond the deadline, in however small pieces it comes.
struct Hurried {
    tcp: std::net::TcpStream,
    until: Deadline,
}

impl io::Read for Hurried {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.until.left()?))?;
        self.tcp.read(bytes).map_err(too_late)
    }
}

impl io::Write for Hurried {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.until.left()?))?;
        self.tcp.write(bytes).map_err(too_late)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// A socket's timeout is reported as if it didn't block.
fn too_late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// Takes a certificate by its SHA-256, and checks that the other end holds its key.
struct Known {
    is_known: Box<dyn Fn(&str) -> bool + Send + Sync>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

impl Known {
    fn new(provider: &Arc<CryptoProvider>, is_known: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { is_known: Box::new(is_known), provider: provider.clone() }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), TlsError> {
        if (self.is_known)(&fingerprint(certificate)) {
            return Ok(());
        }
        Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
}

/// Checks signatures as the provider does; of servers and of clients, whose traits name the same functions.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Known {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    /// What the client reads of a server that says a word to whoever it lets in.
    async fn met(client: &Identity, expected: &str, server: &Identity, lets_in: &str) -> Result<String, String> {
        let lets_in = lets_in.to_owned();
        let acceptor = TlsAcceptor::from(server.server_config(move |shown| shown == lets_in).unwrap());
        let connector = TlsConnector::from(client.client_config(expected, None).unwrap());
        let (near, far) = duplex(64 * 1024);
        let serving = async {
            let mut tls = acceptor.accept(far).await?;
            assert!(shown_certificate(tls.get_ref().1).is_some());
            tls.write_all(b"word").await?;
            tls.shutdown().await
        };
        let asking = async {
            let mut tls = connector.connect(server_name().unwrap(), near).await?;
            let mut got = String::new();
            tls.read_to_string(&mut got).await?;
            Ok::<_, io::Error>(got)
        };
        let (_, got) = tokio::join!(serving, asking);
        got.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn both_ends_take_exactly_the_certificate_that_they_know() {
        let (a, b, stranger) = (Identity::draw().unwrap(), Identity::draw().unwrap(), Identity::draw().unwrap());
        assert_eq!(met(&a, b.fingerprint(), &b, a.fingerprint()).await.unwrap(), "word");
        assert!(met(&stranger, b.fingerprint(), &b, a.fingerprint()).await.is_err(), "the server lets nobody else in");
        assert!(met(&a, b.fingerprint(), &stranger, a.fingerprint()).await.is_err(), "the client asks nobody else");
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert!(!format!("{a:?}").contains("own"), "its key is shown to nobody");
    }

    fn listener() -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn of_a_name_with_several_addresses_each_is_tried_also_behind_one_that_says_nothing() {
        let own = Identity::draw().unwrap();
        let (fine, at) = listener();
        let config = own.server_config(|_| false).unwrap();
        let serving = std::thread::spawn(move || {
            let (mut tcp, _) = fine.accept().unwrap();
            let mut tls = rustls::ServerConnection::new(config).unwrap();
            while tls.is_handshaking() && tls.complete_io(&mut tcp).is_ok() {}
        });
        let (_silent, says_nothing) = listener();
        let (closed, refuses) = listener();
        drop(closed);
        let shown = certificate_shown_at_one_of(&[refuses, says_nothing, at], Duration::from_secs(4));
        assert_eq!(shown.unwrap(), own.fingerprint());
        serving.join().unwrap();
    }

    #[test]
    fn all_addresses_of_a_name_have_one_deadline() {
        let (_silent, says_nothing) = listener();
        let (clock, patience) = (Clock::system(), Duration::from_secs(1));
        let began = clock.now();
        let error = certificate_shown_at_one_of(&[says_nothing; 20], patience).unwrap_err();
        let took = clock.now().saturating_duration_since(began);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(took < patience * 10, "each has its own: {took:?}");
    }
}
