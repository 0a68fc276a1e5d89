//! An upgraded connection as two halves: a stream that reads under the cap, and a task that writes what is queued.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_codec::Encoder;
use actix_http::ws;
use awc::BoxedSocket;
use bytes::BytesMut;
use futures_util::Stream;
use gatewarden_protocol::decoding::Excess;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::Incoming;
use super::failure::SocketError;
use super::frame_cap::{FrameCap, FrameReader};
use super::memory_budget::{Connected, MemoryAccount};
use super::outgoing::{MAX_QUEUED_BYTES, Outgoing, Sent};

/// How long what is queued may take to go out once nobody reads any more.
const LINGER: Duration = Duration::from_secs(1);

/// Longest reason of a close frame, bytes: 125 less the code.
const MAX_CLOSE_REASON: usize = 123;

/// Bytes read at once. The buffer is one for each thread, so that ten thousand quiet connections hold none.
const READ_SIZE: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// Splits a connection; `first` is what has already been read of it. Must be called within an actix system: the writer
/// runs on this arbiter.
pub(super) fn open_halves(
    io: BoxedSocket,
    first: BytesMut,
    cap: FrameCap,
    memory: &MemoryAccount,
) -> (SocketStream, Outgoing) {
    let (read, write) = tokio::io::split(io);
    let (outgoing, queue, queued_bytes) = Outgoing::bounded(MAX_QUEUED_BYTES);
    let (reading, reader_gone) = oneshot::channel::<()>();
    actix_rt::spawn(async move {
        tokio::select! {
            () = write_queued(queue, queued_bytes, write) => {}
            () = async { let _ = reader_gone.await; sleep(LINGER).await } => {}
        }
    });
    let stream = SocketStream {
        io: read,
        source: first,
        reader: FrameReader::new(cap, memory.clone()),
        connected: memory.connect(),
        is_over: false,
        _reading: reading,
    };
    (stream, outgoing)
}

/// Writes until a close frame, an error, or the last sender is gone; then ends our direction of the connection.
async fn write_queued(mut queue: mpsc::Receiver<Sent>, queued_bytes: Arc<AtomicUsize>, mut io: WriteHalf<BoxedSocket>) {
    let mut codec = ws::Codec::new().client_mode();
    while let Some(message) = queue.recv().await {
        let weight = message.weight();
        let is_last = matches!(message, Sent::Close { .. });
        let mut bytes = BytesMut::new();
        if codec.encode(on_the_wire(message), &mut bytes).is_err()
            || io.write_all(&bytes).await.is_err()
            || io.flush().await.is_err()
        {
            return;
        }
        queued_bytes.fetch_sub(weight, Ordering::Relaxed);
        if is_last {
            break;
        }
    }
    queue.close();
    // The peer sees the end either way once the connection is dropped.
    let _ = io.shutdown().await;
}

fn on_the_wire(message: Sent) -> ws::Message {
    match message {
        Sent::Text(text) => ws::Message::Text(text.into()),
        Sent::Ping(payload) => ws::Message::Ping(payload),
        Sent::Pong(payload) => ws::Message::Pong(payload),
        Sent::Close { code, mut reason } => {
            reason.truncate(reason.floor_char_boundary(MAX_CLOSE_REASON));
            ws::Message::Close(Some(ws::CloseReason { code: ws::CloseCode::from(code), description: Some(reason) }))
        }
    }
}

/// The reading half.
pub(super) struct SocketStream {
    io: ReadHalf<BoxedSocket>,
    /// Read and not taken yet: at most one read, nothing while the connection is quiet.
    source: BytesMut,
    reader: FrameReader,
    connected: Connected,
    is_over: bool,
    /// Tells the writer when this half is dropped.
    _reading: oneshot::Sender<()>,
}

impl SocketStream {
    /// Bytes held for what isn't a whole message yet.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.source.capacity() + self.reader.held_bytes()
    }

    /// The number of bytes that were added to `source`; 0 at the end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut chunk = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(context, &mut chunk))?;
            self.source.extend_from_slice(chunk.filled());
            Poll::Ready(Ok(chunk.filled().len()))
        })
    }
}

impl Stream for SocketStream {
    type Item = Result<Incoming, SocketError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.is_over && this.connected.is_chosen(context.waker()) {
            this.is_over = true;
            return Poll::Ready(Some(Err(SocketError::OutOfMemory(Excess::Shared))));
        }
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            match this.reader.read(&mut this.source) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    this.is_over = matches!(message, Incoming::Close { .. });
                    return Poll::Ready(Some(Ok(message)));
                }
                Err(error) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if this.source.is_empty() {
                this.source = BytesMut::new();
            }
            match ready!(this.poll_more(context)) {
                Ok(0) => this.is_over = true,
                Ok(_) => {}
                // TLS that ends without its goodbye: an end like any other, each message has a length of its own.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => this.is_over = true,
                Err(error) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(SocketError::Io { reason: error.to_string() })));
                }
            }
        }
    }
}
