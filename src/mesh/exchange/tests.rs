//! A connection that speaks another protocol, over one whose every step may have to wait; and those that wait for a request.

use std::collections::VecDeque;
use std::future::poll_fn;

use super::*;
use crate::mesh::tests::pair;

/// Takes three bytes at every other call, and ends at the third.
#[derive(Default)]
struct Slow {
    calls: usize,
    sent: Vec<u8>,
    is_shut: bool,
    refuses: bool,
    comes: VecDeque<&'static [u8]>,
    /// Behind what comes is the end.
    is_over: bool,
}

impl Slow {
    fn waits(&mut self, cx: &Context<'_>, turns: usize) -> bool {
        self.calls += 1;
        let waits = !self.calls.is_multiple_of(turns);
        if waits {
            cx.waker().wake_by_ref();
        }
        waits
    }
}

impl AsyncRead for Slow {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.comes.pop_front() {
            Some(bytes) => buf.put_slice(bytes),
            None if self.is_over => {}
            None => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refuses {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.waits(cx, 2) {
            return Poll::Pending;
        }
        let taken = bytes.len().min(3);
        self.sent.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waits(cx, 2) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waits(cx, 3) {
            return Poll::Pending;
        }
        self.is_shut = true;
        Poll::Ready(Ok(()))
    }
}

/// `says`: the pieces of what the client says, after which it has said all.
fn tunnel(stream: Slow, says: &[&'static [u8]]) -> Tunnel<Slow> {
    let says: Vec<Result<Bytes, PayloadError>> = says.iter().map(|bytes| Ok(Bytes::from_static(bytes))).collect();
    Tunnel {
        stream,
        came: BytesMut::from(&b"came with the head"[..]),
        upload: Upload::Goes(Box::pin(futures_util::stream::iter(says))),
        to_send: Bytes::new(),
        needs_flush: false,
        broken: None,
    }
}

#[tokio::test]
async fn all_that_a_client_says_and_its_end_reach_the_other_node_in_however_many_steps() {
    let mut tunnel = tunnel(Slow::default(), &[b"0123456789", b"", b"abc"]);
    let first = poll_fn(|cx| tunnel.poll(cx)).await;
    assert_eq!(first.unwrap().unwrap(), "came with the head");
    let until_shut = poll_fn(|cx| {
        assert!(tunnel.poll(cx).is_pending(), "nothing comes");
        if tunnel.stream.is_shut { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::time::timeout(Duration::from_secs(30), until_shut).await.expect("its end is told");
    assert_eq!(tunnel.stream.sent, b"0123456789abc");
}

#[tokio::test]
async fn what_the_other_node_said_before_it_took_nothing_more_is_handed_over() {
    let stream = Slow { refuses: true, comes: [&b"one "[..], b"two"].into(), is_over: true, ..Slow::default() };
    let mut open = tunnel(stream, &[b"x"]);
    let mut got = Vec::new();
    while let Some(bytes) = poll_fn(|cx| open.poll(cx)).await {
        got.extend_from_slice(&bytes.unwrap());
    }
    assert_eq!(got, b"came with the headone two");

    let mut silent = tunnel(Slow { refuses: true, ..Slow::default() }, &[b"x"]);
    assert!(poll_fn(|cx| silent.poll(cx)).await.unwrap().is_ok());
    let end = poll_fn(|cx| silent.poll(cx)).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "it is not waited for without an end");
}

#[actix_web::test]
async fn a_connection_that_no_request_came_for_is_closed_by_the_next_sweep() {
    let (other, peer, mut let_in) = pair().await.serve(40);
    let pool = Pool::of_at_most(64);
    for since_ms in [1_000, 20_000] {
        pool.give_back(peer.node.clone(), other.dial(&peer).await.unwrap(), since_ms);
    }
    let (mut old, mut young) = (let_in.recv().await.unwrap().unwrap(), let_in.recv().await.unwrap().unwrap());
    pool.sweep(30_999);
    let mut byte = [0; 1];
    assert!(old.read(&mut byte).now_or_never().is_none(), "it is good for a moment yet");
    pool.sweep(31_000);
    assert!(matches!(old.read(&mut byte).await, Ok(0) | Err(_)));
    assert!(young.read(&mut byte).now_or_never().is_none());
    assert!(pool.take(&peer.node, 31_000).is_some());
}
