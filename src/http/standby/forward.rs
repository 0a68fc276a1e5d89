//! Passes a request on to the node that acts, and gives back what that answers.
//!
//! Each request is passed on once, by one node: what comes over the mesh is never passed on again, and what may have been begun is never
//! sent again from here. The node that acts is told the client's address; what the client itself says of where it comes from is left out.

use actix_http::body::{BodySize, SizedStream};
use actix_http::{ConnectionType, RequestHead};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::metrics::Forwarded;
use gatewarden_listener::announced_length;
use serde_json::{Value, json};
use std::time::Duration;

use super::Standby;
use crate::http::peer::{CLIENT, client_address, is_https, mark_held, mark_unknown};
use crate::mesh::exchange::{NoAnswer, Pool, Reply};
use crate::mesh::{Mesh, Peer};

/// What is of one connection only, in both directions.
const OF_ONE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What proxies say of the client: read here, where it is known whom to believe, and left out.
const OF_PROXIES: [&str; 7] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip", "via"];

/// The answer of the node that acts is complete as it is. In the data of the response.
pub(super) struct PassedOn;

/// The answer of the node that acts, or why there is none.
pub(super) async fn pass_on(
    standby: &Standby,
    pool: &Pool,
    mesh: &Mesh,
    acting: &Peer,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Failure> {
    let upgrades = is_websocket(request);
    let head = head_of(standby, request, upgrades);
    let length = match announced_length(request) {
        _ if upgrades => BodySize::None,
        Some(length) => BodySize::Sized(length),
        None if request.headers().contains_key(header::TRANSFER_ENCODING) => BodySize::Stream,
        None => BodySize::None,
    };
    let place = standby.place_of_stranger(request)?;
    match mesh.exchange(pool, standby.clock.uptime_ms(), acting, head, length, body).await {
        Ok(mut reply) => {
            standby.metrics.count_forwarded(Forwarded::Answered);
            let holder = reply.head.headers.remove(CLIENT).next().and_then(|holder| holder.to_str().ok()?.parse().ok());
            match holder {
                Some(holder) => mark_held(request, holder),
                None if reply.head.status == StatusCode::UNAUTHORIZED => mark_unknown(request),
                None => {}
            }
            if let Some(body) = reply.body.as_mut().filter(|_| holder.is_none()) {
                body.place = place;
            }
            Ok(answer(request.method(), reply))
        }
        Err(why) => {
            let (outcome, failure) = no_answer(standby, acting, request.method(), &why);
            standby.metrics.count_forwarded(outcome);
            tracing::debug!(node.name = %acting.name, error = %why, "a request was not passed on, or not answered");
            Err(failure)
        }
    }
}

fn is_websocket(request: &HttpRequest) -> bool {
    let named = |name: &HeaderName, word: &str| {
        let values = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    request.method() == Method::GET && named(&header::CONNECTION, "upgrade") && named(&header::UPGRADE, "websocket")
}

fn head_of(standby: &Standby, request: &HttpRequest, upgrades: bool) -> RequestHead {
    let mut head = RequestHead::default();
    head.method = request.method().clone();
    head.uri = request.uri().clone();
    head.headers = without_hops(request.headers());
    for name in OF_PROXIES {
        head.headers.remove(name);
    }
    // The body was asked for here.
    head.headers.remove(header::EXPECT);
    head.headers.remove(CLIENT);
    let trusted = &standby.settings.trusted_proxies;
    // What a program of this machine is allowed at this node, it isn't at another one: there it comes from this machine's address.
    let client = client_address(request, trusted).filter(|client| !client.to_canonical().is_loopback());
    if let Some(client) = client.and_then(|client| HeaderValue::try_from(client.to_string()).ok()) {
        head.headers.insert(CLIENT, client);
    }
    if is_https(request, trusted) {
        head.headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"));
    }
    head.headers.insert(header::VIA, HeaderValue::from_static("1.1 gatewarden"));
    if upgrades {
        head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        head.set_connection_type(ConnectionType::Upgrade);
    }
    head
}

/// All but what is of one connection, by its own words or by those of `Connection`. Its length is said anew.
fn without_hops(headers: &HeaderMap) -> HeaderMap {
    let named = headers.get_all(header::CONNECTION).filter_map(|value| value.to_str().ok());
    let named: Vec<String> =
        named.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let is_hop = OF_ONE_CONNECTION.contains(name) || named.iter().any(|hop| hop == name.as_str());
        if !is_hop && name != header::CONTENT_LENGTH {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

fn answer(method: &Method, reply: Reply) -> HttpResponse {
    let Reply { head, body } = reply;
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut response = HttpResponse::build(head.status);
    for (name, value) in &without_hops(&head.headers) {
        response.append_header((name.clone(), value.clone()));
    }
    let mut response = match (body, length) {
        (Some(body), None) => {
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                response.upgrade("websocket");
            }
            response.streaming(body)
        }
        (Some(body), Some(length)) => response.body(SizedStream::new(length, body)),
        // What GET would bring is said, and not sent.
        (None, Some(length)) if method == Method::HEAD => {
            response.body(SizedStream::new(length, futures_util::stream::empty::<std::io::Result<Bytes>>()))
        }
        (None, _) => response.finish(),
    };
    response.extensions_mut().insert(PassedOn);
    response
}

/// What is counted and said. Whoever has no key learns names and addresses for clients, and nothing of the network between nodes.
fn no_answer(standby: &Standby, acting: &Peer, method: &Method, why: &NoAnswer) -> (Forwarded, Failure) {
    let own = &standby.member.facts().name;
    let view = standby.member.view().borrow().clone();
    let url = view.nodes.iter().find(|node| node.node == acting.node).map(|node| node.url.clone());
    let details =
        json!({ "node": own, "acting": { "name": acting.name, "url": url.map_or(Value::Null, Value::from) } });
    let only_reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    let (outcome, failure) = match why {
        NoAnswer::NotReached(_) => {
            let sentence = format!("Node {own} stands by and does not reach node {}, which acts", acting.name);
            let help = "Nothing was begun: send it again in a second, or send it to the node that acts.";
            (Forwarded::Unreachable, Failure::new(ErrorCode::NodeUnreachable, sentence).with_help(help))
        }
        NoAnswer::Broken(_) if only_reads => {
            let sentence = format!("The connection to node {}, which acts, broke before it answered", acting.name);
            let help = "The request changes nothing: send it again.";
            (Forwarded::Broken, Failure::new(ErrorCode::NodeUnreachable, sentence).with_help(help))
        }
        NoAnswer::Broken(_) => {
            let sentence = format!(
                "The connection to node {}, which acts, broke before it answered: it may have done what was asked",
                acting.name
            );
            let help = "Send it again with the same Idempotency-Key; without one, read the state before you repeat it.";
            (Forwarded::Broken, Failure::new(ErrorCode::OutcomeUnknown, sentence).with_help(help))
        }
        NoAnswer::ClientLeft(_) => {
            let sentence = "The request body did not arrive";
            return (Forwarded::ClientLeft, Failure::new(ErrorCode::InvalidRequest, sentence));
        }
    };
    (outcome, failure.with_details(details).with_retry_after(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn what_is_of_one_connection_stays_there_and_the_rest_is_passed_on() {
        let request = TestRequest::default()
            .append_header(("connection", "close, X-Secret-Hop"))
            .append_header(("x-secret-hop", "1"))
            .append_header(("te", "trailers"))
            .append_header(("transfer-encoding", "chunked"))
            .append_header(("content-length", "7"))
            .append_header(("idempotency-key", "k"))
            .append_header(("cookie", "a=1"))
            .append_header(("cookie", "b=2"))
            .to_http_request();
        let kept = without_hops(request.headers());
        let mut names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cookie", "idempotency-key"]);
        assert_eq!(kept.get_all("cookie").count(), 2);
    }

    #[test]
    fn only_a_websocket_is_an_upgrade_that_is_passed_on() {
        let asks = |method: Method, connection: &'static str, upgrade: &'static str| {
            let request = TestRequest::default().method(method);
            is_websocket(
                &request
                    .append_header(("connection", connection))
                    .append_header(("upgrade", upgrade))
                    .to_http_request(),
            )
        };
        assert!(asks(Method::GET, "keep-alive, Upgrade", "WebSocket"));
        assert!(!asks(Method::GET, "keep-alive", "websocket"));
        assert!(!asks(Method::GET, "upgrade", "h2c"));
        assert!(!asks(Method::POST, "upgrade", "websocket"));
    }
}
