//! A checked way to a gateway for bytes: resolved, connected and, where the address says so, encrypted.

use std::net::SocketAddr;

use gatewarden_protocol::GatewayAddress;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::DialTimings;
use super::connect::connect;
use super::failure::{DialFailure, DialStep};
use super::resolver::Resolver;
use super::tls::{TlsConfigs, handshake_failure};
use crate::gateway_record::TlsTrust;

/// Bytes both ways.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) struct Channel {
    pub(super) io: Box<dyn Io>,
    pub(super) peer: SocketAddr,
    pub(super) timings: DialTimings,
}

/// Ends at `deadline`; each step that is cut off by it is named.
pub(super) async fn open(
    resolver: &Resolver,
    configs: &TlsConfigs,
    address: &GatewayAddress,
    trust: &TlsTrust,
    deadline: Instant,
) -> Result<Channel, DialFailure> {
    let late = |step| move |_| DialFailure::Timeout { step };
    let mut timings = DialTimings::default();

    let started = Instant::now();
    let addresses = timeout_at(deadline, resolver.resolve(address)).await.map_err(late(DialStep::Resolve))??;
    timings.resolve = address.ip().is_none().then(|| started.elapsed());

    let started = Instant::now();
    let tcp = timeout_at(deadline, connect(addresses)).await.map_err(late(DialStep::Connect))??;
    timings.connect = Some(started.elapsed());
    let peer =
        tcp.peer_addr().map_err(|error| DialFailure::Other { step: DialStep::Connect, reason: error.to_string() })?;
    if !address.is_tls() {
        return Ok(Channel { io: Box::new(tcp), peer, timings });
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
    timings.tls = Some(started.elapsed());
    Ok(Channel { io: Box::new(tls), peer, timings })
}
