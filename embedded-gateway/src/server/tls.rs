//! The gateway's certificate: read, or made where the configuration allows that.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::config::{GatewayConfig, Tls};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{what} {path} can't be read: {reason}; check `gateway.tls`, or set `autoGenerate` to make one")]
    Unreadable { what: &'static str, path: PathBuf, reason: String },
    /// Certificate and key don't fit, or are of a kind that can't be used.
    #[error("the certificate {path} can't be used with its key: {reason}")]
    Unusable { path: PathBuf, reason: String },
    /// A certificate could not be made.
    #[error("no certificate could be made at {path}: {reason}")]
    NotMade { path: PathBuf, reason: String },
}

/// What encrypts accepted connections. Where neither file exists and `autoGenerate` is set, both are made first.
pub(super) fn acceptor(tls: &Tls, config: &GatewayConfig, bound: IpAddr) -> Result<TlsAcceptor, TlsError> {
    if tls.auto_generate && !tls.cert.exists() && !tls.key.exists() {
        make(tls, config, bound)?;
    }
    let unreadable = |what, path: &Path, error: rustls::pki_types::pem::Error| TlsError::Unreadable {
        what,
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("the certificate", &tls.cert, error))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| unreadable("the key", &tls.key, error))?;
    let unusable = |error: rustls::Error| TlsError::Unusable { path: tls.cert.clone(), reason: error.to_string() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// SHA-256 of the gateway's own certificate, in hexadecimal digits.
pub(super) fn fingerprint(tls: &Tls) -> Result<String, TlsError> {
    let (path, what) = (tls.cert.clone(), "the certificate");
    let own = CertificateDer::from_pem_file(&path).map_err(|error| TlsError::Unreadable {
        what,
        path,
        reason: error.to_string(),
    })?;
    Ok(hex::encode(Sha256::digest(&own)))
}

/// A self-signed certificate for the gateway's names, fit for development; clients pin it or trust its file.
fn make(tls: &Tls, config: &GatewayConfig, bound: IpAddr) -> Result<(), TlsError> {
    let failed = |path: &Path, reason: String| TlsError::NotMade { path: path.to_owned(), reason };
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(config.allowed_hosts.iter().cloned());
    if !bound.is_unspecified() && !bound.is_loopback() {
        names.push(bound.to_string());
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&tls.cert, error.to_string()))?;
    let write =
        |path: &Path, text: &str, mode| write_new(path, text, mode).map_err(|error| failed(path, error.to_string()));
    write(&tls.key, &made.signing_key.serialize_pem(), 0o600)?;
    write(&tls.cert, &made.cert.pem(), 0o644)?;
    tracing::info!(certificate = %tls.cert.display(), "made a self-signed certificate");
    Ok(())
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
