//! A request over a connection to another node, and its answer: both are passed on as they come, no faster than they are taken.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_codec::Framed;
use actix_http::body::BodySize;
use actix_http::h1::{ClientCodec, ClientPayloadCodec, Message, MessageType};
use actix_http::{ConnectionType, RequestHead, RequestHeadType, ResponseHead};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::LocalBoxStream;
use futures_util::{FutureExt as _, Stream as AsyncStream};
use gatewarden_listener::Place;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::{Mesh, Peer, Stream};

/// How long connections wait for the next request, which is less than the other end keeps them.
const MAX_IDLE_MS: i64 = 30_000;
/// How long another node may think: longer than any request takes there.
const PATIENCE: Duration = Duration::from_secs(360);
/// Bytes read at a time once a connection has another protocol.
const AT_ONCE: usize = 16 * 1024;

const ACTS_NO_LONGER: &str = "it acts no longer";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Nothing of the request was sent.
    #[error("the node was not reached: {0}")]
    NotReached(io::Error),
    /// It was sent, in part at least, and what became of it is not known: in words.
    #[error("{0}")]
    Broken(String),
    /// The client broke off in its body.
    #[error("the client broke off: {0}")]
    ClientLeft(PayloadError),
}

/// An answer that begins.
pub(crate) struct Reply {
    pub(crate) head: ResponseHead,
    /// What follows the head; none where nothing does.
    pub(crate) body: Option<ReplyBody>,
}

/// Connections of one worker that wait for their next request, and how many may. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Pool(Rc<RefCell<Vec<Idle>>>, usize);

struct Idle {
    stream: Stream,
    node: String,
    since_ms: i64,
}

impl Idle {
    fn is_fresh(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.since_ms) < MAX_IDLE_MS
    }
}

impl Pool {
    pub(crate) fn of_at_most(idle: usize) -> Self {
        Self(Rc::default(), idle)
    }

    /// Gives it for as long as the worker has it.
    pub(crate) fn while_there(&self) -> impl Fn() -> Option<Self> + use<> {
        let (weak, most) = (Rc::downgrade(&self.0), self.1);
        move || weak.upgrade().map(|idle| Self(idle, most))
    }

    /// Closes those that nobody asked for in time.
    pub(crate) fn sweep(&self, now_ms: i64) {
        self.0.borrow_mut().retain(|one| one.is_fresh(now_ms));
    }

    /// One to this node that its other end has not closed.
    fn take(&self, node: &str, now_ms: i64) -> Option<Stream> {
        let mut idle = self.0.borrow_mut();
        idle.retain(|one| one.node == node && one.is_fresh(now_ms));
        while let Some(Idle { mut stream, .. }) = idle.pop() {
            let mut byte = [0; 1];
            // Nothing is to be read of one that waits, not even its end.
            if stream.read(&mut byte).now_or_never().is_none() {
                return Some(stream);
            }
        }
        None
    }

    fn give_back(&self, node: String, stream: Stream, since_ms: i64) {
        let mut idle = self.0.borrow_mut();
        if idle.len() < self.1 {
            idle.push(Idle { stream, node, since_ms });
        }
    }
}

impl Mesh {
    /// Passes a request on. `length` is that of the body; with an upgrade, the body is what the client says afterwards.
    pub(crate) async fn exchange<B>(
        &self,
        pool: &Pool,
        now_ms: i64,
        peer: &Peer,
        mut head: RequestHead,
        length: BodySize,
        body: B,
    ) -> Result<Reply, NoAnswer>
    where
        B: AsyncStream<Item = Result<Bytes, PayloadError>> + Unpin + 'static,
    {
        let mut gone: LocalBoxFuture<'static, ()> = self.until_gone(&peer.node).boxed_local();
        let stream = match pool.take(&peer.node, now_ms) {
            Some(stream) => stream,
            None => tokio::select! {
                biased;
                dialled = self.dial(peer) => dialled.map_err(NoAnswer::NotReached)?,
                () = &mut gone => return Err(NoAnswer::NotReached(io::Error::other(ACTS_NO_LONGER))),
            },
        };
        let upgrades = head.connection_type() == ConnectionType::Upgrade;
        if !upgrades {
            head.set_connection_type(ConnectionType::KeepAlive);
        }
        let mut framed = Framed::new(stream, ClientCodec::default());
        let message = Message::Item((RequestHeadType::Owned(head), length));
        Pin::new(&mut framed).write(message).map_err(|error| NoAnswer::Broken(error.to_string()))?;
        let is_over = upgrades || matches!(length, BodySize::None | BodySize::Sized(0));
        let mut sending = Sending { body, is_over, is_flushed: false };
        let answered = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                biased;
                head = std::future::poll_fn(|cx| poll_answer(&mut framed, &mut sending, cx)) => head,
                () = &mut gone => Err(NoAnswer::Broken(ACTS_NO_LONGER.to_owned())),
            }
        });
        let head = answered.await.unwrap_or_else(|_elapsed| Err(NoAnswer::Broken("it did not answer".to_owned())))?;
        let Sending { body, is_over, is_flushed } = sending;
        if upgrades && head.status == StatusCode::SWITCHING_PROTOCOLS {
            let parts = framed.into_parts();
            let tunnel = Tunnel {
                stream: parts.io,
                came: parts.read_buf,
                upload: Upload::Goes(Box::pin(body)),
                to_send: Bytes::new(),
                needs_flush: false,
                broken: None,
            };
            let kind = Kind::Tunnel(Box::new(tunnel));
            return Ok(Reply { head, body: Some(ReplyBody { kind, gone, place: None }) });
        }
        // What is not sent yet of a body would be lost, and the next request be taken for it.
        let reuse = is_over && is_flushed && framed.codec_ref().keep_alive();
        let home = reuse.then(|| Home { pool: pool.clone(), node: peer.node.clone(), since_ms: now_ms });
        if framed.codec_ref().message_type() == MessageType::None {
            if let Some(home) = home {
                home.take_back(framed.into_parts().io);
            }
            return Ok(Reply { head, body: None });
        }
        let framed = framed.into_map_codec(ClientCodec::into_payload_codec);
        let kind = Kind::Message { framed: Some(Box::new(framed)), home };
        Ok(Reply { head, body: Some(ReplyBody { kind, gone, place: None }) })
    }
}

/// The body on its way to the other node.
struct Sending<B> {
    body: B,
    /// All of it was handed over.
    is_over: bool,
    /// And what was handed over is with the kernel.
    is_flushed: bool,
}

/// Sends what there is of the body, and looks for the head of the answer: that may come before the body's end.
fn poll_answer<B>(
    framed: &mut Framed<Stream, ClientCodec>,
    sending: &mut Sending<B>,
    cx: &mut Context<'_>,
) -> Poll<Result<ResponseHead, NoAnswer>>
where
    B: AsyncStream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let flush = |framed: &mut Framed<Stream, ClientCodec>, cx: &mut Context<'_>| {
        Pin::new(framed).flush::<Message<(RequestHeadType, BodySize)>>(cx)
    };
    let mut broken = None;
    loop {
        let (is_over, is_full) = (sending.is_over, framed.is_write_buf_full());
        let chunk = if is_over || is_full { None } else { Some(Pin::new(&mut sending.body).poll_next(cx)) };
        let message = match chunk {
            Some(Poll::Ready(Some(Ok(chunk)))) => Message::Chunk(Some(chunk)),
            Some(Poll::Ready(Some(Err(error)))) => return Poll::Ready(Err(NoAnswer::ClientLeft(error))),
            Some(Poll::Ready(None)) => {
                sending.is_over = true;
                Message::Chunk(None)
            }
            // All that there is of it waits, or nothing more has room.
            Some(Poll::Pending) | None => {
                if sending.is_flushed {
                    break;
                }
                match flush(framed, cx) {
                    Poll::Ready(Ok(())) => sending.is_flushed = true,
                    Poll::Ready(Err(error)) => {
                        // It may have answered before it closed.
                        broken = Some(error.to_string());
                        break;
                    }
                    Poll::Pending => break,
                }
                if is_full && !is_over {
                    continue;
                }
                break;
            }
        };
        sending.is_flushed = false;
        if let Err(error) = Pin::new(&mut *framed).write(message) {
            broken = Some(error.to_string());
            break;
        }
    }
    match Pin::new(framed).next_item(cx) {
        Poll::Ready(Some(Ok(head))) => Poll::Ready(Ok(head)),
        Poll::Ready(Some(Err(error))) => Poll::Ready(Err(NoAnswer::Broken(error.to_string()))),
        Poll::Ready(None) => {
            let why = broken.unwrap_or_else(|| "it closed the connection".to_owned());
            Poll::Ready(Err(NoAnswer::Broken(why)))
        }
        Poll::Pending => match broken {
            Some(why) => Poll::Ready(Err(NoAnswer::Broken(why))),
            None => Poll::Pending,
        },
    }
}

/// Where a connection goes when its answer is over.
struct Home {
    pool: Pool,
    node: String,
    since_ms: i64,
}

impl Home {
    fn take_back(self, stream: Stream) {
        self.pool.give_back(self.node, stream, self.since_ms);
    }
}

/// The body of an answer. It ends in an error when the other node acts no longer.
pub(crate) struct ReplyBody {
    kind: Kind,
    gone: LocalBoxFuture<'static, ()>,
    /// Given back at its end.
    pub(crate) place: Option<Place>,
}

enum Kind {
    Message { framed: Option<Box<Framed<Stream, ClientPayloadCodec>>>, home: Option<Home> },
    Tunnel(Box<Tunnel<Stream>>),
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyBody").finish_non_exhaustive()
    }
}

impl AsyncStream for ReplyBody {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let polled = match &mut this.kind {
            Kind::Message { framed, home } => poll_message(framed, home, cx),
            Kind::Tunnel(tunnel) => tunnel.poll(cx),
        };
        if polled.is_pending() && this.gone.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        polled
    }
}

fn poll_message(
    framed: &mut Option<Box<Framed<Stream, ClientPayloadCodec>>>,
    home: &mut Option<Home>,
    cx: &mut Context<'_>,
) -> Poll<Option<io::Result<Bytes>>> {
    let Some(open) = framed else { return Poll::Ready(None) };
    match ready!(Pin::new(&mut **open).next_item(cx)) {
        Some(Ok(Some(chunk))) => Poll::Ready(Some(Ok(chunk))),
        Some(Ok(None)) => {
            if let Some((framed, home)) = framed.take().zip(home.take()) {
                home.take_back(framed.into_parts().io);
            }
            Poll::Ready(None)
        }
        Some(Err(error)) => {
            *framed = None;
            Poll::Ready(Some(Err(io::Error::other(error))))
        }
        None => {
            *framed = None;
            Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())))
        }
    }
}

/// A connection that speaks another protocol from here on: bytes in both directions. Both are moved whenever the client takes bytes.
struct Tunnel<S> {
    stream: S,
    /// Read, and not handed over yet.
    came: BytesMut,
    upload: Upload,
    to_send: Bytes,
    needs_flush: bool,
    /// Why nothing more can be sent. What came before that is still to be read.
    broken: Option<io::Error>,
}

/// What the client says.
enum Upload {
    Goes(LocalBoxStream<'static, Result<Bytes, PayloadError>>),
    /// It has said all, and the other node is to learn that.
    Ends,
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tunnel<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Poll::Ready(Err(why)) = self.poll_send(cx) {
            (self.upload, self.to_send, self.needs_flush) = (Upload::Over, Bytes::new(), false);
            match why {
                NotSent::ClientLeft(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                NotSent::Broken(error) => self.broken = Some(error),
            }
        }
        if !self.came.is_empty() {
            return Poll::Ready(Some(Ok(self.came.split().freeze())));
        }
        let mut bytes = vec![0; AT_ONCE];
        let mut read = ReadBuf::new(&mut bytes);
        if Pin::new(&mut self.stream).poll_read(cx, &mut read)?.is_pending() {
            return self.broken.take().map_or(Poll::Pending, |error| Poll::Ready(Some(Err(error))));
        }
        let count = read.filled().len();
        bytes.truncate(count);
        Poll::Ready((count > 0).then(|| Ok(Bytes::from(bytes))))
    }

    /// Ready where all that the client had to say is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotSent>> {
        loop {
            while !self.to_send.is_empty() {
                let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.to_send))?;
                if sent == 0 {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
                }
                self.to_send.advance(sent);
                self.needs_flush = true;
            }
            match &mut self.upload {
                Upload::Goes(body) => match body.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(bytes))) => self.to_send = bytes,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(NotSent::ClientLeft(error))),
                    Poll::Ready(None) => self.upload = Upload::Ends,
                    Poll::Pending => {
                        if self.needs_flush {
                            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                            self.needs_flush = false;
                        }
                        return Poll::Pending;
                    }
                },
                // Flushes, too.
                Upload::Ends => {
                    ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                    self.upload = Upload::Over;
                }
                Upload::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Why the client's words don't get on.
enum NotSent {
    ClientLeft(PayloadError),
    Broken(io::Error),
}

impl From<io::Error> for NotSent {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

#[cfg(test)]
mod tests;
