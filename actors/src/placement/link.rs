//! The bytes between two nodes: frames of JSON behind their length, and what waits to be sent, bounded in bytes for all together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// A frame is this long at most: what one gateway may make the daemon hold, with room for its form as text.
const MAX_FRAME: usize = 64 * 1024 * 1024;
/// What may wait to be sent. More waits only where the other node, or the way to it, is stuck: then the connection is given up.
const MAX_WAITING: usize = 128 * 1024 * 1024;
/// How often a node that carries gives a sign of life.
pub(super) const ALIVE_EVERY: Duration = Duration::from_millis(500);
/// After so long without one, or without an answer to one, the node at the other end counts as gone.
const MAX_SILENCE_MS: i64 = 3_000;

/// Whether whoever says nothing for so long is gone.
pub(super) fn is_too_long(silent_ms: i64) -> bool {
    silent_ms > MAX_SILENCE_MS
}

/// A connection to another node that is encrypted, and whose other end is known to be one.
pub trait Link: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Link for T {}

/// Where what is said to the other node waits.
#[derive(Debug)]
pub(super) struct Outbox {
    frames: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Outbox {
    /// Puts a message behind those that wait. False: the connection is of no use any more.
    pub(super) fn push(&self, message: &impl Serialize) -> bool {
        let mut frame = vec![0; 4];
        if serde_json::to_writer(&mut frame, message).is_err() {
            return false;
        }
        let length = frame.len() - 4;
        let Some(head) = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME) else { return false };
        for (place, byte) in frame.iter_mut().zip(head.to_be_bytes()) {
            *place = byte;
        }
        let before = self.waiting.fetch_add(frame.len(), Ordering::Relaxed);
        before + frame.len() <= MAX_WAITING && self.frames.send(frame.into()).is_ok()
    }
}

/// How much has come of the other end's words, also of one that isn't whole yet.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: Arc<AtomicUsize>,
    seen: usize,
}

impl Received {
    /// Whether more came since this was asked last.
    pub(super) fn is_more(&mut self) -> bool {
        let bytes = self.bytes.load(Ordering::Relaxed);
        std::mem::replace(&mut self.seen, bytes) != bytes
    }
}

/// Both ends of what is said over a connection. It is closed when the outbox is dropped.
pub(super) fn open<T: DeserializeOwned + 'static>(
    link: impl Link,
) -> (Outbox, Received, impl Stream<Item = io::Result<T>> + 'static) {
    let (reader, writer) = tokio::io::split(link);
    let received = Received::default();
    let bytes = received.bytes.clone();
    let (frames, waiting_frames) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    actix_rt::spawn(write(writer, waiting_frames, waiting.clone()));
    let reader = stream::unfold(Some((reader, bytes)), |reader| async move {
        let (mut reader, bytes) = reader?;
        match read(&mut reader, &bytes).await {
            Ok(message) => Some((Ok(message), Some((reader, bytes)))),
            Err(error) => Some((Err(error), None)),
        }
    });
    (Outbox { frames, waiting }, received, Box::pin(reader))
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicUsize>,
) {
    while let Some(frame) = frames.recv().await {
        let written = writer.write_all(&frame).await;
        waiting.fetch_sub(frame.len(), Ordering::Relaxed);
        let flushed = match written {
            Ok(()) if frames.is_empty() => writer.flush().await,
            written => written,
        };
        // Whoever reads learns of it, too.
        if flushed.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

async fn read<T: DeserializeOwned>(reader: &mut (impl AsyncRead + Unpin), received: &AtomicUsize) -> io::Result<T> {
    let length = usize::try_from(reader.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(io::Error::other("a frame is too long"));
    }
    let mut frame = BytesMut::new();
    let mut rest = reader.take(u64::try_from(length).unwrap_or(u64::MAX));
    while frame.len() < length {
        match rest.read_buf(&mut frame).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => received.fetch_add(count, Ordering::Relaxed),
        };
    }
    serde_json::from_slice(&frame).map_err(io::Error::other)
}
