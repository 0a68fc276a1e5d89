//! What the middleware of a server puts around its requests: a body read only as fast as somebody asks for it, an answer handed
//! over in slices. (What is longer would go into the write buffer whole.)

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_http::body::{BodySize, MessageBody};
use actix_http::error::PayloadError;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpMessage as _, HttpRequest};
use bytes::Bytes;
use futures_util::Stream;
use pin_project_lite::pin_project;

use crate::connection::{BeingServed, Connection};

/// Bytes read ahead of the question for them: most bodies are that small.
const AT_FIRST: usize = 4 * 1024;
/// Bytes read at a time from then on.
const AT_ONCE: usize = 16 * 1024;
/// Bytes of an answer handed over at a time.
const SLICE: usize = 16 * 1024;

/// The request is served from here on; its body is read only as fast as its handler takes it. None where there is no
/// connection, in tests.
pub fn begin(request: &mut ServiceRequest) -> Option<BeingServed> {
    let connection = request.conn_data::<Arc<Connection>>()?.clone();
    let serving = connection.begin();
    match request.take_payload() {
        Payload::None => {}
        body => {
            let body = RequestBody::new(body, connection, announced_length(request.request()));
            request.set_payload(Payload::Stream { payload: Box::pin(body) });
        }
    }
    Some(serving)
}

/// The length of the body, where the client has said it.
pub fn announced_length(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body of a request that is being served.
#[derive(Debug)]
pub(crate) struct RequestBody<S> {
    body: S,
    connection: Arc<Connection>,
    next: usize,
}

impl<S> RequestBody<S> {
    /// `length` is what the client announced.
    pub(crate) fn new(body: S, connection: Arc<Connection>, length: Option<u64>) -> Self {
        connection.await_body(length);
        connection.want(AT_FIRST);
        Self { body, connection, next: AT_FIRST }
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for RequestBody<S> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_next(cx);
        match &polled {
            Poll::Pending => {
                this.connection.want(this.next);
                this.next = AT_ONCE;
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_))) => this.connection.want(0),
            Poll::Ready(None) => this.connection.body_is_over(),
        }
        polled
    }
}

impl<S> Drop for RequestBody<S> {
    fn drop(&mut self) {
        self.connection.abandon_body();
    }
}

pin_project! {
    /// A body in slices. Its end is the end of the request.
    #[derive(Debug)]
    pub struct AnswerBody<B> {
        #[pin]
        body: B,
        rest: Bytes,
        serving: Option<BeingServed>,
    }
}

impl<B> AnswerBody<B> {
    /// The body of the answer to this request; without one where the connection isn't known, in tests.
    pub fn new(body: B, serving: Option<BeingServed>) -> Self {
        Self { body, rest: Bytes::new(), serving }
    }
}

impl<B: MessageBody> MessageBody for AnswerBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        if this.rest.is_empty() {
            match ready!(this.body.poll_next(cx)) {
                Some(Ok(bytes)) => *this.rest = bytes,
                end => return Poll::Ready(end),
            }
        }
        let slice = this.rest.split_to(this.rest.len().min(SLICE));
        Poll::Ready(Some(Ok(slice)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_body_comes_in_slices_and_keeps_its_length() {
        let text: Bytes = (0..40_000_u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>().into();
        let mut body = std::pin::pin!(AnswerBody::new(text.clone(), None));
        assert_eq!(body.size(), BodySize::Sized(40_000));
        let mut slices = Vec::new();
        while let Some(slice) = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            slices.push(slice.unwrap());
        }
        assert_eq!(slices.iter().map(Bytes::len).collect::<Vec<_>>(), [16_384, 16_384, 7_232]);
        assert_eq!(slices.concat(), text);
    }
}
