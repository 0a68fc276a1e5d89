//! A connection that another node made, as the HTTP front serves it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use gatewarden_listener::ClientSocket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::CARRIES;

/// An encrypted connection of a node that was let in.
#[derive(Debug)]
pub(crate) struct MeshSocket {
    tls: Box<TlsStream<TcpStream>>,
    certificate: Arc<str>,
}

impl MeshSocket {
    pub(super) fn new(tls: TlsStream<TcpStream>, certificate: String) -> Self {
        Self { tls: Box::new(tls), certificate: certificate.into() }
    }

    /// Whether the other node has gateways carried over it: else it speaks HTTP.
    pub(crate) fn carries(&self) -> bool {
        self.tls.get_ref().1.alpn_protocol() == Some(CARRIES)
    }

    /// SHA-256 of the other node's certificate.
    pub(crate) fn certificate(&self) -> &Arc<str> {
        &self.certificate
    }
}

impl ClientSocket for MeshSocket {
    fn tcp(&self) -> &TcpStream {
        self.tls.get_ref().0
    }
}

impl AsyncRead for MeshSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for MeshSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
