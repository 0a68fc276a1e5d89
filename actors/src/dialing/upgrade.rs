//! From a connection to a WebSocket: awc asks for the upgrade and checks the answer.
//!
//! awc is given the open connection, not an address, and one client is made for each: so nothing is resolved again and no
//! connection is shared. A layer between its connector and its WebSocket client sees the answer first, since the client
//! keeps no more of a refusal than the status.

use std::cell::Cell;
use std::future::ready;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix_http::header::{HOST, HeaderMap, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use actix_http::{StatusCode, Uri};
use actix_service::{Service, fn_service, forward_ready};
use actix_tls::connect::{ConnectError as NotConnected, ConnectInfo, Connection};
use awc::error::{ConnectError, SendRequestError, WsClientError};
use awc::middleware::Transform;
use awc::{BoxedSocket, Client, ConnectRequest, ConnectResponse, Connector};
use bytes::BytesMut;
use futures_util::future::{FutureExt, LocalBoxFuture};
use gatewarden_protocol::GatewayAddress;
use tokio::time::timeout;

use super::channel::Wire;
use super::exchange::{Answer, io_failure, parse_failure};
use super::failure::{DialFailure, DialStep};

const STEP: DialStep = DialStep::Upgrade;

/// What is kept of a refusal's body, bytes.
const MAX_REFUSAL_BODY: usize = 4 * 1024;

/// How long a refusal's body is waited for: the status alone says enough.
const REFUSAL_BODY_PATIENCE: Duration = Duration::from_millis(500);

/// Asks for the upgrade; gives the connection and what has already been read of it. No deadline: the caller has one.
///
/// # Errors
/// Any status but 101, also a redirect, is [`DialFailure::UpgradeRefused`].
pub(super) async fn upgrade(
    wire: Wire,
    address: &GatewayAddress,
    origin: Option<&str>,
) -> Result<(BoxedSocket, BytesMut), DialFailure> {
    // `ws` also where the connection is encrypted: at `wss` awc looks for TLS of its own. The scheme isn't sent.
    let url = format!("ws://{address}{}", address.path());
    let mut request = client_over(wire).ws(url).set_header(HOST, address.host_header());
    if let Some(origin) = origin {
        request = request.origin(origin);
    }
    let (answer, framed) = request.connect().await.map_err(failure)?;
    check_nothing_unasked(answer.headers())?;
    let parts = framed.into_parts();
    Ok((parts.io, parts.read_buf))
}

/// A client that has this one connection.
fn client_over(wire: Wire) -> Client {
    let only = Rc::new(Cell::new(Some(wire)));
    let hand_over = fn_service(move |asked: ConnectInfo<Uri>| {
        ready(match only.take() {
            Some(wire) => Ok(Connection::new(asked.request().clone(), wire)),
            None => Err(NotConnected::Io(io::Error::other("the one connection is in use"))),
        })
    });
    Client::builder()
        .connector(Connector::new().connector(hand_over))
        .wrap(KeepRefusals)
        .disable_redirects()
        .disable_timeout()
        .no_default_headers()
        .finish()
}

/// The layer that reads a refusal whole, and skips interim answers.
struct KeepRefusals;

struct KeepingRefusals<S> {
    service: S,
}

impl<S> Transform<S, ConnectRequest> for KeepRefusals
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError> + 'static,
{
    type Transform = KeepingRefusals<S>;

    fn new_transform(self, service: S) -> Self::Transform {
        KeepingRefusals { service }
    }
}

impl<S> Service<ConnectRequest> for KeepingRefusals<S>
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError> + 'static,
{
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = LocalBoxFuture<'static, Result<ConnectResponse, SendRequestError>>;

    forward_ready!(service);

    fn call(&self, request: ConnectRequest) -> Self::Future {
        let answered = self.service.call(request);
        async move {
            match answered.await? {
                ConnectResponse::Tunnel(head, framed) => {
                    let answer = Answer::after_interim(head, framed, STEP).await.map_err(carried)?;
                    if answer.head.status != StatusCode::SWITCHING_PROTOCOLS {
                        return Err(carried(refusal(answer).await));
                    }
                    let (head, framed) = answer.into_parts();
                    Ok(ConnectResponse::Tunnel(head, framed))
                }
                other @ ConnectResponse::Client(_) => Ok(other),
            }
        }
        .boxed_local()
    }
}

/// A failure on its way through awc.
fn carried(failure: DialFailure) -> SendRequestError {
    SendRequestError::Custom(Box::new(failure), Box::new("upgrade"))
}

fn failure(error: WsClientError) -> DialFailure {
    let failure = match error {
        WsClientError::SendRequest(SendRequestError::Custom(carried, _)) => match carried.downcast() {
            Ok(failure) => *failure,
            Err(other) => DialFailure::Other { step: STEP, reason: other.to_string() },
        },
        WsClientError::SendRequest(SendRequestError::Connect(ConnectError::Disconnected)) => {
            DialFailure::Reset { step: STEP }
        }
        WsClientError::SendRequest(SendRequestError::Send(error)) => io_failure(&error, STEP),
        WsClientError::SendRequest(SendRequestError::Response(error)) => parse_failure(error, STEP),
        WsClientError::SendRequest(other) => DialFailure::Other { step: STEP, reason: other.to_string() },
        // awc's words for the rest are headings, or show the peer's bytes.
        WsClientError::InvalidUpgradeHeader => not_websocket("the 101 answer upgrades to something else"),
        WsClientError::InvalidConnectionHeader(_) | WsClientError::MissingConnectionHeader => {
            not_websocket("the 101 answer has no Connection: upgrade")
        }
        WsClientError::MissingWebSocketAcceptHeader | WsClientError::InvalidChallengeResponse(..) => {
            not_websocket("the 101 answer does not prove that it understood the request")
        }
        other => not_websocket(&other.to_string()),
    };
    match failure {
        DialFailure::NotHttp { reason } => DialFailure::NotWebSocket { reason },
        other => other,
    }
}

fn not_websocket(reason: &str) -> DialFailure {
    DialFailure::NotWebSocket { reason: reason.to_owned() }
}

/// awc lets an answer choose what it was not offered.
fn check_nothing_unasked(headers: &HeaderMap) -> Result<(), DialFailure> {
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) || headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Err(not_websocket("the 101 answer chooses an extension or subprotocol that was not offered"));
    }
    Ok(())
}

async fn refusal(answer: Answer) -> DialFailure {
    let (status, content_type, retry_after) =
        (answer.head.status.as_u16(), answer.content_type(), answer.retry_after());
    let mut kept = BytesMut::new();
    let mut body = answer.into_body();
    // What came until the patience ran out is kept.
    let _ = timeout(REFUSAL_BODY_PATIENCE, async {
        while let Ok(Some(part)) = body.next().await {
            let room = MAX_REFUSAL_BODY.saturating_sub(kept.len());
            kept.extend_from_slice(&part.slice(..part.len().min(room)));
            if kept.len() >= MAX_REFUSAL_BODY {
                break;
            }
        }
    })
    .await;
    DialFailure::UpgradeRefused { status, content_type, body: kept.freeze(), retry_after }
}
