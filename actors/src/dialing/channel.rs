//! A checked way to a gateway for bytes: resolved, connected and, where the address says so, encrypted.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_rt::net::{ActixStream, Ready};
use gatewarden_protocol::GatewayAddress;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::DialTimings;
use super::connect::connect;
use super::failure::{DialFailure, DialStep};
use super::resolver::Resolver;
use super::tls::{TlsConfigs, handshake_failure, sha256_hex};
use crate::gateway_record::TlsTrust;

pub(super) struct Channel {
    pub(super) wire: Wire,
    pub(super) peer: SocketAddr,
    pub(super) timings: DialTimings,
}

/// How far the way to a gateway was gone: what is there was done, whatever failed after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// What the host resolved to; the address itself where the host is one.
    pub resolved: Vec<SocketAddr>,
    /// The address that took the connection.
    pub peer: Option<SocketAddr>,
    /// SHA-256 of the leaf certificate that was presented and trusted, 64 lowercase hex digits.
    pub certificate_sha256: Option<String>,
    /// How long each step took.
    pub timings: DialTimings,
}

/// Ends at `deadline`; each step that is cut off by it is named.
pub(super) async fn open(
    resolver: &Resolver,
    configs: &TlsConfigs,
    address: &GatewayAddress,
    trust: &TlsTrust,
    deadline: Instant,
) -> Result<Channel, DialFailure> {
    open_noting(resolver, configs, address, trust, deadline, &mut Reached::default()).await
}

/// The same, and notes each step as soon as it is done.
pub(super) async fn open_noting(
    resolver: &Resolver,
    configs: &TlsConfigs,
    address: &GatewayAddress,
    trust: &TlsTrust,
    deadline: Instant,
    reached: &mut Reached,
) -> Result<Channel, DialFailure> {
    let late = |step| move |_| DialFailure::Timeout { step };

    let started = Instant::now();
    let addresses = timeout_at(deadline, resolver.resolve(address)).await.map_err(late(DialStep::Resolve))??;
    reached.timings.resolve = address.ip().is_none().then(|| started.elapsed());
    reached.resolved.clone_from(&addresses);

    let started = Instant::now();
    let tcp = timeout_at(deadline, connect(addresses)).await.map_err(late(DialStep::Connect))??;
    reached.timings.connect = Some(started.elapsed());
    let peer =
        tcp.peer_addr().map_err(|error| DialFailure::Other { step: DialStep::Connect, reason: error.to_string() })?;
    reached.peer = Some(peer);
    if !address.is_tls() {
        return Ok(Channel { wire: Wire::Plain(tcp), peer, timings: reached.timings });
    }

    if *trust == TlsTrust::None {
        tracing::warn!(gateway.address = %address, "TLS trust is off for this gateway: anybody on the way can read its token");
    }
    let name = ServerName::try_from(address.host()).map_err(|error| DialFailure::TrustUnusable {
        reason: format!("the host can stand in no certificate ({error})"),
    })?;
    let started = Instant::now();
    let handshake = async {
        let config = configs.client_config(trust).await?;
        TlsConnector::from(config).connect(name, tcp).await.map_err(|error| handshake_failure(&error))
    };
    let tls = timeout_at(deadline, handshake).await.map_err(late(DialStep::Tls))??;
    reached.timings.tls = Some(started.elapsed());
    reached.certificate_sha256 =
        tls.get_ref().1.peer_certificates().and_then(|certificates| certificates.first()).map(sha256_hex);
    Ok(Channel { wire: Wire::Encrypted(Box::new(tls)), peer, timings: reached.timings })
}

/// An open connection, in the form in which awc takes one.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Encrypted(tls) => tls.get_ref().0,
        }
    }
}

impl ActixStream for Wire {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.tcp(), context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.tcp(), context)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Encrypted(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Encrypted(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Encrypted(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Encrypted(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
