//! An upgraded connection as two halves: a stream that reads frames under a cap, and a queue with a task that writes what is in it.
//! Both are bounded: a peer that sends too much, or doesn't read, can't make memory grow. Masking and close frames are left to
//! actix-http's codec.

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
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use gatewarden_protocol::decoding::Excess;
use gatewarden_protocol::message_reader::{FrameSender, MessageReader, ReadFault, WsMessage};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::failure::SocketError;
use super::memory_budget::{COUNTED_FROM, Connected, MemoryAccount, MemoryPermit};

/// A message from a gateway, with what covers it in the gateway's memory budget.
pub type Incoming = WsMessage<MemoryPermit>;

/// Largest message before the connect reply: real gateways apply the same to us.
pub(super) const CAP_BEFORE_CONNECT: usize = 64 * 1024;

/// Memory that a message is given at first.
const FIRST_RESERVE: usize = 16 * 1024;

/// How large a message may be, in bytes; shared between a socket and whoever owns it.
#[derive(Debug, Clone)]
pub struct FrameCap(Arc<AtomicUsize>);

impl FrameCap {
    /// The cap of a connection that isn't authenticated yet.
    pub fn before_connect() -> Self {
        Self(Arc::new(AtomicUsize::new(CAP_BEFORE_CONNECT)))
    }

    /// The cap now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes the cap; counts from the next frame header on.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Turns bytes into messages. After an error nothing more must be read from it.
#[derive(Debug)]
pub(super) struct FrameReader {
    cap: FrameCap,
    memory: MemoryAccount,
    reader: MessageReader<MemoryPermit>,
}

impl FrameReader {
    /// A reader at the start of the stream of frames.
    pub(super) fn new(cap: FrameCap, memory: MemoryAccount) -> Self {
        Self { cap, memory, reader: MessageReader::new(FrameSender::Server, FIRST_RESERVE) }
    }

    /// Bytes held for a message that isn't whole yet.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.reader.held_bytes()
    }

    /// Takes what it can from `source`: the next message, or nothing while it isn't whole. What stays in `source` is at most
    /// an incomplete header or control frame.
    pub(super) fn read(&mut self, source: &mut BytesMut) -> Result<Option<Incoming>, SocketError> {
        let memory = &self.memory;
        let cover = |permit: &mut Option<MemoryPermit>, bytes: usize| {
            if bytes <= COUNTED_FROM { Ok(()) } else { permit.get_or_insert_with(|| memory.permit()).grow_to(bytes) }
        };
        self.reader.read(source, self.cap.get(), cover).map_err(|fault| match fault {
            ReadFault::TooLarge { announced, cap } => SocketError::FrameTooLarge { announced, cap },
            ReadFault::Protocol(reason) => SocketError::Protocol { reason },
            ReadFault::Memory(excess) => SocketError::OutOfMemory(excess),
        })
    }
}

/// Messages that may wait for one gateway.
const MAX_QUEUED: usize = 1024;

/// Bytes that may wait for one gateway.
pub(super) const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;

/// One message on its way to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// A text message.
    Text(String),
    /// A ping.
    Ping(Bytes),
    /// The answer to a ping.
    Pong(Bytes),
    /// Goodbye: nothing is sent after it.
    Close {
        /// The close code.
        code: u16,
        /// The reason, cut to 123 bytes on the wire.
        reason: String,
    },
}

impl Sent {
    /// What it counts against [`MAX_QUEUED_BYTES`].
    fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ping(bytes) | Self::Pong(bytes) => bytes.len(),
            Self::Close { reason, .. } => reason.len(),
        }
    }
}

/// The sending half of a socket. Nothing here waits: a message is queued, or the socket is of no use any more.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Boxed: a queue has room for 32 at a time, and ten thousand quiet connections one each.
    queue: mpsc::Sender<Box<Sent>>,
    queued_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

impl Outgoing {
    /// A queue, its end, and the count of bytes that the end must lower once they are written.
    pub(super) fn bounded(max_bytes: usize) -> (Self, mpsc::Receiver<Box<Sent>>, Arc<AtomicUsize>) {
        let (queue, end) = mpsc::channel(MAX_QUEUED);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        (Self { queue, queued_bytes: Arc::clone(&queued_bytes), max_bytes }, end, queued_bytes)
    }

    /// Queues a text message.
    ///
    /// # Errors
    /// [`SocketError::SlowPeer`] when the queue is full (drop the connection), [`SocketError::Closed`] when it is gone.
    pub fn try_send_text(&self, text: String) -> Result<(), SocketError> {
        self.push(Sent::Text(text))
    }

    /// Queues a ping of at most 125 bytes; longer ones are cut.
    ///
    /// # Errors
    /// As [`Outgoing::try_send_text`].
    pub fn ping(&self, payload: Bytes) -> Result<(), SocketError> {
        self.push(Sent::Ping(control_payload(payload)))
    }

    /// Queues the answer to a ping.
    ///
    /// # Errors
    /// As [`Outgoing::try_send_text`].
    pub fn pong(&self, payload: Bytes) -> Result<(), SocketError> {
        self.push(Sent::Pong(control_payload(payload)))
    }

    /// Queues a close frame; whatever is queued after it is not sent.
    ///
    /// # Errors
    /// As [`Outgoing::try_send_text`].
    pub fn close(&self, code: u16, reason: impl Into<String>) -> Result<(), SocketError> {
        self.push(Sent::Close { code, reason: reason.into() })
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    fn push(&self, message: Sent) -> Result<(), SocketError> {
        let weight = message.weight();
        let fits = |queued: usize| queued.checked_add(weight).filter(|sum| *sum <= self.max_bytes);
        if self.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(SocketError::SlowPeer);
        }
        self.queue.try_send(Box::new(message)).map_err(|refused| {
            self.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => SocketError::SlowPeer,
                mpsc::error::TrySendError::Closed(_) => SocketError::Closed,
            }
        })
    }
}

fn control_payload(payload: Bytes) -> Bytes {
    payload.slice(..payload.len().min(125))
}

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
async fn write_queued(
    mut queue: mpsc::Receiver<Box<Sent>>,
    queued_bytes: Arc<AtomicUsize>,
    mut io: WriteHalf<BoxedSocket>,
) {
    let mut codec = ws::Codec::new().client_mode();
    while let Some(message) = queue.recv().await {
        let weight = message.weight();
        let is_last = matches!(*message, Sent::Close { .. });
        let mut bytes = BytesMut::new();
        if codec.encode(on_the_wire(*message), &mut bytes).is_err()
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

#[cfg(test)]
mod tests;
