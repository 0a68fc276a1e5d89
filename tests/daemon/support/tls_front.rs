//! TLS in front of a loopback port, with a certificate made for the purpose.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::background::runtime;

/// A running TLS front. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct TlsFront {
    port: u16,
    pem: String,
    pin: String,
    task: AbortHandle,
}

impl TlsFront {
    /// Starts one before a loopback port; its self-signed certificate is for these names or addresses.
    pub(crate) fn before(target: u16, names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).expect("good names").self_signed(&key).expect("signed");
        let der: CertificateDer<'static> = certificate.der().clone();
        let pin = Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("default versions")
            .with_no_client_auth()
            .with_single_cert(vec![der], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .expect("the key is the certificate's");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("a plain option");
        let port = listener.local_addr().expect("bound").port();
        let task = runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("inside a runtime");
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        connections.spawn(carry(client, target, acceptor.clone()));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { port, pem: certificate.pem(), pin, task: task.abort_handle() }
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its certificate, lowercase hex.
    pub(crate) fn pin(&self) -> &str {
        &self.pin
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, target: u16, acceptor: TlsAcceptor) {
    let Ok(mut client) = acceptor.accept(client).await else { return };
    let Ok(mut server) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target))).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
