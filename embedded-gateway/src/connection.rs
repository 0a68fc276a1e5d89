//! WebSocket connections: one task each, which owns its socket.
//!
//! ```text
//! accepted socket -> upgrade (Host, handshake, limits) -> conversation
//!                                                          listen: frames -> requests -> core
//!                                                          speak:  Outgoing -> wording -> frames
//!                                                          watch:  pings
//! ```

mod conversation;
mod requests;
mod wire;
mod wording;

use std::rc::Rc;

use actix_codec::Framed;
use actix_http::body::BodySize;
use actix_http::{Request, h1, ws};
use futures_util::SinkExt as _;
use gatewarden_listener::{ClientSocket as _, GuardedStream};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::auth::{HOST_NOT_ALLOWED, Ingress, NOT_THROUGH_TAILSCALE, Peer};
use crate::context::GatewayContext;
pub(crate) use wire::Socket;

/// Takes over a connection whose request asked for an upgrade. The path doesn't matter: real gateways take any.
pub(crate) async fn upgrade(
    context: Rc<GatewayContext>,
    request: Request,
    mut framed: Framed<GuardedStream<Socket>, h1::Codec>,
) {
    let ingress = request.conn_data::<Ingress>().copied().unwrap_or_default();
    if !context.host_guard(ingress, &context.config()).allows(request.head()) {
        return refuse(framed, "403 Forbidden", "host_not_allowed", HOST_NOT_ALLOWED).await;
    }
    let Ok(remote) = framed.io_ref().socket().tcp().peer_addr() else { return };
    let mut response = match ws::handshake(request.head()) {
        Ok(response) => response,
        Err(error @ ws::HandshakeError::UnsupportedVersion) => {
            let status = "426 Upgrade Required\r\nsec-websocket-version: 13";
            return refuse(framed, status, "websocket_version", &error.to_string()).await;
        }
        Err(error) => return refuse(framed, "400 Bad Request", "invalid_upgrade", &error.to_string()).await,
    };
    let Some(peer) = Peer::of_request(remote.ip(), ingress, request.head(), &context.config()) else {
        return refuse(framed, "403 Forbidden", "proxy_attribution_required", NOT_THROUGH_TAILSCALE).await;
    };
    let slot = match context.limits.take(peer.remote) {
        Ok(slot) => slot,
        Err(full) => {
            let status = "503 Service Unavailable\r\nretry-after: 5";
            return refuse(framed, status, "too_many_connections", &full.to_string()).await;
        }
    };
    context.metrics.connections_total.inc();
    let accepted = response.finish().drop_body();
    if framed.send(h1::Message::Item((accepted, BodySize::None))).await.is_err() {
        return;
    }
    let parts = framed.into_parts();
    let (socket, held, _occupied) = parts.io.into_parts();
    let mut early = parts.read_buf;
    early.extend_from_slice(&held);
    let connection = context.limits.next_connection();
    conversation::serve(socket, early, peer, connection, slot, context).await;
}

/// Answers with an error instead. The connection isn't used for another request.
async fn refuse(framed: Framed<GuardedStream<Socket>, h1::Codec>, status: &str, kind: &str, message: &str) {
    let body = json!({"error": {"message": message, "type": kind}}).to_string();
    let mut socket = framed.into_parts().io;
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let saying = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(3), saying).await;
}
