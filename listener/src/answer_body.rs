//! An answer's body, handed over in slices: what is longer would go into the write buffer whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use pin_project_lite::pin_project;

use crate::connection::BeingServed;

/// Bytes handed over at a time.
const SLICE: usize = 16 * 1024;

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
