//! A request's body, read from the socket only as fast as somebody asks for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

use crate::connection::Connection;

/// Bytes read ahead of the question for them: most bodies are that small.
const AT_FIRST: u64 = 4 * 1024;
/// Bytes read at a time from then on.
const AT_ONCE: u64 = 16 * 1024;

/// The body of a request that is being served.
#[derive(Debug)]
pub struct RequestPayload<S> {
    body: S,
    connection: Arc<Connection>,
    /// What is still to come, where the client said so.
    left: Option<u64>,
    next: u64,
}

impl<S> RequestPayload<S> {
    /// `length` is what the client announced.
    pub fn new(body: S, connection: Arc<Connection>, length: Option<u64>) -> Self {
        connection.awaits_body();
        let payload = Self { body, connection, left: length, next: AT_FIRST };
        payload.ask();
        payload
    }

    fn ask(&self) {
        let bytes = self.next.min(self.left.unwrap_or(u64::MAX));
        self.connection.want(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for RequestPayload<S> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_next(cx);
        match &polled {
            Poll::Pending => {
                this.ask();
                this.next = AT_ONCE;
            }
            Poll::Ready(Some(Ok(bytes))) => {
                let came = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                this.left = this.left.map(|left| left.saturating_sub(came));
            }
            Poll::Ready(None) => {
                this.left = None;
                this.connection.body_is_over(0);
            }
            Poll::Ready(Some(Err(_))) => this.connection.want(0),
        }
        polled
    }
}

impl<S> Drop for RequestPayload<S> {
    fn drop(&mut self) {
        // Of a body in chunks nobody knows; after a head's length of it the connection ends.
        self.connection.body_is_over(self.left.unwrap_or_default());
    }
}
