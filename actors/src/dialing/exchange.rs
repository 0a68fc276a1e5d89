//! One HTTP/1.1 request and its answer on a connection of its own; and the answer to an upgrade, which awc sends.
//!
//! Plain requests are left to actix-http's client codec, which awc is built on too; the [module](super) says why.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_codec::Framed;
use actix_http::body::BodySize;
use actix_http::error::{ParseError, PayloadError};
use actix_http::h1::{ClientCodec, ClientPayloadCodec, Message, MessageType};
use actix_http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderName, HeaderValue, HttpDate, RETRY_AFTER,
    TRANSFER_ENCODING,
};
use actix_http::{Method, RequestHead, RequestHeadType, ResponseHead, StatusCode, Uri, Version};
use awc::BoxedSocket;
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use gatewarden_protocol::GatewayAddress;
use tokio::io::AsyncReadExt;

use super::failure::{DialFailure, DialStep};

/// A `Retry-After` beyond a day is taken for a day.
const MAX_RETRY_AFTER: u64 = 24 * 60 * 60;

/// Interim answers (1xx) that are skipped.
const MAX_INTERIM: usize = 8;

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

/// An answer's head, and the connection with what came after it.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    framed: Framed<BoxedSocket, ClientCodec>,
}

/// Sends a request and reads the answer's head. No deadline: the caller has one.
pub(super) async fn exchange(io: BoxedSocket, head: RequestHead, body: Option<Bytes>) -> Result<Answer, DialFailure> {
    let step = DialStep::Request;
    let mut framed = Framed::new(io, ClientCodec::default());
    let size = match &body {
        Some(body) => BodySize::Sized(u64::try_from(body.len()).unwrap_or(u64::MAX)),
        None => BodySize::None,
    };
    let broken = |error: io::Error| io_failure(&error, step);
    framed.feed(Message::Item((RequestHeadType::from(head), size))).await.map_err(broken)?;
    if let Some(body) = body.filter(|body| !body.is_empty()) {
        framed.feed(Message::Chunk(Some(body))).await.map_err(broken)?;
    }
    // Names the item type, which flushing alone would leave open.
    <Framed<_, _> as SinkExt<Message<(RequestHeadType, BodySize)>>>::flush(&mut framed).await.map_err(broken)?;
    let first = next_head(&mut framed, step).await?;
    Answer::after_interim(first, framed, step).await
}

async fn next_head(framed: &mut Framed<BoxedSocket, ClientCodec>, step: DialStep) -> Result<ResponseHead, DialFailure> {
    match framed.next().await {
        Some(Ok(head)) => Ok(head),
        Some(Err(error)) => Err(parse_failure(error, step)),
        None => Err(DialFailure::Reset { step }),
    }
}

impl Answer {
    /// The final answer, of which `first` is the head unless it is an interim one. No deadline: the caller has one.
    pub(super) async fn after_interim(
        first: ResponseHead,
        mut framed: Framed<BoxedSocket, ClientCodec>,
        step: DialStep,
    ) -> Result<Self, DialFailure> {
        let mut head = first;
        for _ in 0..MAX_INTERIM {
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Self { head, framed });
            }
            head = next_head(&mut framed, step).await?;
        }
        Err(DialFailure::NotHttp { reason: "it never gives a final answer".to_owned() })
    }

    /// `Content-Type`, lower-case, at most 200 characters.
    pub(super) fn content_type(&self) -> Option<String> {
        content_type(&self.head.headers)
    }

    /// `Retry-After` in seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.head.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(MAX_RETRY_AFTER)))
    }

    /// The answering clock, wall ms, where it tells it (`Date`, to the second).
    pub(super) fn date_ms(&self) -> Option<i64> {
        let date: HttpDate = self.head.headers.get(DATE)?.to_str().ok()?.parse().ok()?;
        let since = SystemTime::from(date).duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    }

    /// The head, and the connection with what the peer has already sent on it.
    pub(super) fn into_parts(self) -> (ResponseHead, Framed<BoxedSocket, ClientCodec>) {
        (self.head, self.framed)
    }

    /// The rest of the answer. The codec takes an answer without a length for one without a body; a server may as well mean
    /// that the body goes on to the end of the connection.
    pub(super) fn into_body(self) -> Body {
        let has_length =
            self.head.headers.contains_key(CONTENT_LENGTH) || self.head.headers.contains_key(TRANSFER_ENCODING);
        let has_none = matches!(self.head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match self.framed.codec_ref().message_type() {
            MessageType::None if has_length || has_none => Body::Done,
            MessageType::None => {
                let parts = self.framed.into_parts();
                Body::ToTheEnd { io: parts.io, first: parts.read_buf }
            }
            MessageType::Payload | MessageType::Stream => {
                let framed = self.framed.into_map_codec(ClientCodec::into_payload_codec);
                Body::Framed { framed: Box::new(framed), has_length }
            }
        }
    }
}

/// An answer's body, in parts.
pub(super) enum Body {
    Done,
    ToTheEnd { io: BoxedSocket, first: BytesMut },
    Framed { framed: Box<Framed<BoxedSocket, ClientPayloadCodec>>, has_length: bool },
}

impl Body {
    /// The next part; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, DialFailure> {
        let step = DialStep::Request;
        match self {
            Self::Done => Ok(None),
            Self::ToTheEnd { io, first } => {
                if first.is_empty() && io.read_buf(first).await.map_err(|error| io_failure(&error, step))? == 0 {
                    return Ok(None);
                }
                Ok(Some(first.split().freeze()))
            }
            Self::Framed { framed, has_length } => match framed.next().await {
                Some(Ok(Some(part))) => Ok(Some(part)),
                Some(Ok(None)) => {
                    *self = Self::Done;
                    Ok(None)
                }
                Some(Err(PayloadError::Io(error))) => Err(io_failure(&error, step)),
                Some(Err(error)) => Err(DialFailure::NotHttp { reason: error.to_string() }),
                None if *has_length => Err(DialFailure::Reset { step }),
                // HTTP/1.0 without a length ends with the connection.
                None => Ok(None),
            },
        }
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.chars().take(200).collect::<String>().to_ascii_lowercase())
}

/// What it means that an answer's head can't be read.
pub(super) fn parse_failure(error: ParseError, step: DialStep) -> DialFailure {
    match error {
        ParseError::Io(error) => io_failure(&error, step),
        other => DialFailure::NotHttp { reason: other.to_string() },
    }
}

pub(super) fn io_failure(error: &io::Error, step: DialStep) -> DialFailure {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::WriteZero => DialFailure::Reset { step },
        _ => DialFailure::Other { step, reason: error.to_string() },
    }
}
