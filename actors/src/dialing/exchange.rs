//! One HTTP/1.1 request and its answer on a connection of its own, with actix-http's client codec.
//!
//! awc's own client is not used for it: it keeps neither headers nor body of a refused upgrade, resolves names by itself, and
//! shares connections between requests.

use std::io;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::body::BodySize;
use actix_http::error::{ParseError, PayloadError};
use actix_http::h1::{ClientCodec, ClientPayloadCodec, Message, MessageType};
use actix_http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use actix_http::{RequestHead, RequestHeadType, ResponseHead, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;

use super::channel::Io;
use super::failure::{DialFailure, DialStep};

/// A `Retry-After` beyond a day is taken for a day.
const MAX_RETRY_AFTER: u64 = 24 * 60 * 60;

/// Interim answers (1xx) that are skipped.
const MAX_INTERIM: usize = 8;

/// An answer's head, and the connection with what came after it.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    framed: Framed<Box<dyn Io>, ClientCodec>,
}

/// Sends a request and reads the answer's head. No deadline: the caller has one.
pub(super) async fn exchange(
    io: Box<dyn Io>,
    head: RequestHead,
    body: Option<Bytes>,
    step: DialStep,
) -> Result<Answer, DialFailure> {
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
    for _ in 0..MAX_INTERIM {
        match framed.next().await {
            Some(Ok(head)) if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {}
            Some(Ok(head)) => return Ok(Answer { head, framed }),
            Some(Err(ParseError::Io(error))) => return Err(io_failure(&error, step)),
            Some(Err(error)) => return Err(DialFailure::NotHttp { reason: error.to_string() }),
            None => return Err(DialFailure::Reset { step }),
        }
    }
    Err(DialFailure::NotHttp { reason: "it never gives a final answer".to_owned() })
}

impl Answer {
    /// `Content-Type`, lower-case, at most 200 characters.
    pub(super) fn content_type(&self) -> Option<String> {
        content_type(&self.head.headers)
    }

    /// `Retry-After` in seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.head.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(MAX_RETRY_AFTER)))
    }

    /// After a 101: the connection, and what the peer has already sent on it.
    pub(super) fn into_upgraded(self) -> (Box<dyn Io>, BytesMut) {
        let parts = self.framed.into_parts();
        (parts.io, parts.read_buf)
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
    ToTheEnd { io: Box<dyn Io>, first: BytesMut },
    Framed { framed: Box<Framed<Box<dyn Io>, ClientPayloadCodec>>, has_length: bool },
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
