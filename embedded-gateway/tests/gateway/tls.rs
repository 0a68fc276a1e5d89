//! Encryption with a certificate that the gateway made itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_embedded_gateway::config::{Auth, GatewayConfig, Tls};
use gatewarden_embedded_gateway::server;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;

use crate::support::{Gateway, within};

fn with_own_certificate(config: &mut GatewayConfig) {
    let directory = config.state_dir.join("certs");
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    config.tls = Some(Tls { cert, key, auto_generate: true });
}

fn trusting(cert: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[actix::test]
async fn a_certificate_is_made_once_and_serves_http_and_websocket() {
    let gateway = Gateway::start(with_own_certificate).await;
    let cert = gateway.state_dir().join("certs/cert.pem");
    let key = std::fs::metadata(gateway.state_dir().join("certs/key.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let made = std::fs::read(&cert).unwrap();
    let gateway = Gateway::start_in(gateway.stop().await, with_own_certificate).await;
    assert_eq!(std::fs::read(&cert).unwrap(), made, "it is kept");
    assert!(gateway.running().websocket_url().starts_with("wss://"));

    for name in ["localhost", "127.0.0.1"] {
        let tcp = TcpStream::connect(gateway.running().address).await.unwrap();
        let connecting = trusting(&cert).connect(ServerName::try_from(name).unwrap(), tcp);
        let mut tls = within(connecting).await.unwrap();
        tls.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        within(tls.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let tcp = TcpStream::connect(gateway.running().address).await.unwrap();
    let tls = within(trusting(&cert).connect(ServerName::try_from("localhost").unwrap(), tcp)).await.unwrap();
    let (_socket, answer) = within(client_async(gateway.running().websocket_url(), tls)).await.unwrap();
    assert_eq!(answer.status(), 101);
}

#[actix::test]
async fn who_does_not_speak_tls_is_let_go_at_the_deadline() {
    let gateway = Gateway::start(|config| {
        with_own_certificate(config);
        config.limits.handshake = Duration::from_millis(100);
    })
    .await;
    let mut silent = TcpStream::connect(gateway.running().address).await.unwrap();
    let mut plain = TcpStream::connect(gateway.running().address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    for stream in [&mut silent, &mut plain] {
        let mut bytes = Vec::new();
        let _ = within(stream.read_to_end(&mut bytes)).await;
        assert!(!bytes.starts_with(b"HTTP"));
    }
}

#[actix::test]
async fn a_certificate_that_is_not_there_or_no_certificate_is_named() {
    let state = tempfile::TempDir::new().unwrap();
    let (cert, key) = (state.path().join("cert.pem"), state.path().join("key.pem"));
    let mut config = GatewayConfig::defaults(state.path().to_owned(), Auth::None);
    (config.port, config.metrics) = (0, None);
    config.tls = Some(Tls { cert: cert.clone(), key: key.clone(), auto_generate: false });
    let error = server::start(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("cert.pem") && error.contains("autoGenerate"), "{error}");
    std::fs::write(&cert, "nonsense").unwrap();
    std::fs::write(&key, "nonsense").unwrap();
    assert!(server::start(config).await.unwrap_err().to_string().contains(".pem"));
}
