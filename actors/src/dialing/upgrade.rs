//! From a connection to a WebSocket: the upgrade request and what its answer means.

use std::time::Duration;

use actix_http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use actix_http::{ConnectionType, Method, RequestHead, StatusCode, Uri, Version, ws};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use gatewarden_protocol::GatewayAddress;
use tokio::time::timeout;

use super::channel::Io;
use super::exchange::{Answer, exchange};
use super::failure::{DialFailure, DialStep};

/// What is kept of a refusal's body, bytes.
const MAX_REFUSAL_BODY: usize = 4 * 1024;

/// How long a refusal's body is waited for: the status alone says enough.
const REFUSAL_BODY_PATIENCE: Duration = Duration::from_millis(500);

/// Asks for the upgrade. No deadline: the caller has one.
///
/// # Errors
/// Any status but 101, also a redirect, is [`DialFailure::UpgradeRefused`].
pub(super) async fn upgrade(
    io: Box<dyn Io>,
    address: &GatewayAddress,
    origin: Option<&str>,
) -> Result<(Box<dyn Io>, BytesMut), DialFailure> {
    let key = random_key()?;
    let head = upgrade_request(address, origin, &key)?;
    let answer = exchange(io, head, None, DialStep::Upgrade).await.map_err(|failure| match failure {
        DialFailure::NotHttp { reason } => DialFailure::NotWebSocket { reason },
        other => other,
    })?;
    if answer.head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer).await);
    }
    check_accepted(answer.head.headers(), &key)?;
    Ok(answer.into_upgraded())
}

fn random_key() -> Result<String, DialFailure> {
    let mut nonce = [0_u8; 16];
    match getrandom::fill(&mut nonce) {
        Ok(()) => Ok(BASE64_STANDARD.encode(nonce)),
        Err(error) => Err(DialFailure::Other { step: DialStep::Upgrade, reason: error.to_string() }),
    }
}

/// Path and host of a request.
pub(super) fn request_head(
    method: Method,
    address: &GatewayAddress,
    path: &str,
    step: DialStep,
) -> Result<RequestHead, DialFailure> {
    let mut head = RequestHead::default();
    head.method = method;
    head.version = Version::HTTP_11;
    head.uri = Uri::try_from(format!("{}{path}", address.path()))
        .map_err(|error| DialFailure::Other { step, reason: error.to_string() })?;
    set_header(&mut head, HOST, &address.host_header(), step)?;
    Ok(head)
}

/// # Errors
/// The value can't stand in a header; the value isn't told, it may be a secret.
pub(super) fn set_header(
    head: &mut RequestHead,
    name: HeaderName,
    value: &str,
    step: DialStep,
) -> Result<(), DialFailure> {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            head.headers.insert(name, value);
            Ok(())
        }
        Err(_) => Err(DialFailure::Other {
            step,
            reason: format!("the value for the header {name} holds characters that no header can carry"),
        }),
    }
}

fn upgrade_request(address: &GatewayAddress, origin: Option<&str>, key: &str) -> Result<RequestHead, DialFailure> {
    let step = DialStep::Upgrade;
    let path = if address.path().is_empty() { "/" } else { "" };
    let mut head = request_head(Method::GET, address, path, step)?;
    set_header(&mut head, UPGRADE, "websocket", step)?;
    set_header(&mut head, SEC_WEBSOCKET_VERSION, "13", step)?;
    set_header(&mut head, SEC_WEBSOCKET_KEY, key, step)?;
    if let Some(origin) = origin {
        set_header(&mut head, ORIGIN, origin, step)?;
    }
    head.set_connection_type(ConnectionType::Upgrade);
    Ok(head)
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

fn check_accepted(headers: &HeaderMap, key: &str) -> Result<(), DialFailure> {
    let has_word = |name: HeaderName, word: &str| {
        headers
            .get_all(name)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let fault = if !has_word(UPGRADE, "websocket") {
        "the 101 answer upgrades to something else"
    } else if !has_word(CONNECTION, "upgrade") {
        "the 101 answer has no Connection: upgrade"
    } else if headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes) != Some(&ws::hash_key(key.as_bytes())) {
        "the 101 answer does not prove that it understood the request"
    } else if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) || headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        "the 101 answer chooses an extension or subprotocol that was not offered"
    } else {
        return Ok(());
    };
    Err(DialFailure::NotWebSocket { reason: fault.to_owned() })
}

/// A refused upgrade's body as one line of text for a person, at most 200 characters.
pub fn refusal_text(body: &Bytes) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(200).collect()
}
