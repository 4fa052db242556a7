//! [`StreamHandle`]: what an application holds of a stream that is not part of a channel yet.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Address, ByteStream, CloseStream, Keep, ReadExact, StreamInfo, Transport, Unread};
use crate::{
    credit::Gate,
    error::{BufferOverflowError, ConnectionLostError, LossReason, StreamError, WriteError},
    layer::{Below, Gone},
    mail::WorkAddr,
    message::{Flush, Write},
    runtime,
    side::Side,
    unit::Chunk,
};

/// What a handle can post to its stream, whatever the transport and the layers on it.
pub(crate) trait Door: Send + Sync {
    /// Where everything goes that a layer above would post, too.
    fn lower(&self) -> &dyn Below<Chunk>;
    fn read_exact(&self, message: ReadExact) -> Result<(), Gone>;
    fn unread(&self, message: Unread);
    fn keep(&self, message: Keep);
    fn connected(&self) -> bool;
    /// For a layer that is put on the stream, which is read through that from now on.
    fn below(&self) -> Box<dyn Below<Chunk>>;
}

impl<T: Transport> Door for WorkAddr<ByteStream<T>> {
    fn lower(&self) -> &dyn Below<Chunk> {
        self
    }

    fn read_exact(&self, message: ReadExact) -> Result<(), Gone> {
        self.post(message)
    }

    fn unread(&self, message: Unread) {
        // A stream that is gone has nobody left to read from it.
        let _ = self.post(message);
    }

    fn keep(&self, message: Keep) {
        // A stream that is gone drops it at once.
        let _ = self.post(message);
    }

    fn connected(&self) -> bool {
        Self::connected(self)
    }

    fn below(&self) -> Box<dyn Below<Chunk>> {
        Box::new(self.clone())
    }
}

/// A stream of bytes in both directions.
///
/// It starts paused: nothing is read before [`read`](Self::read) asks for it, or before a
/// [`Channel`](crate::Channel) is built on it. Clones share the stream; dropping the last one flushes what was
/// accepted, ends our direction, and closes after the peer's end or the close timeout.
///
/// Works from any thread and any runtime.
#[derive(Clone)]
pub struct StreamHandle {
    door: Arc<dyn Door>,
    info: Arc<StreamInfo>,
    down_gate: Arc<Gate>,
    up_gate: Arc<Gate>,
    arbiter: actix_rt::ArbiterHandle,
}

impl std::fmt::Debug for StreamHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamHandle")
            .field("endpoint", &self.info.endpoint)
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

impl StreamHandle {
    pub(super) fn new<T: Transport>(
        address: WorkAddr<ByteStream<T>>,
        info: StreamInfo,
        down_gate: Arc<Gate>,
        up_gate: Arc<Gate>,
    ) -> Self {
        Self {
            door: Arc::new(address),
            info: Arc::new(info),
            down_gate,
            up_gate,
            arbiter: actix_rt::Arbiter::current(),
        }
    }

    /// A stream behind any door, with gates of its own, on the current arbiter.
    pub(crate) fn of(
        door: Arc<dyn Door>,
        info: Arc<StreamInfo>,
        down_gate: Arc<Gate>,
        up_gate: Arc<Gate>,
    ) -> Self {
        Self {
            door,
            info,
            down_gate,
            up_gate,
            arbiter: actix_rt::Arbiter::current(),
        }
    }

    /// The same stream behind another door, which gets this one.
    pub(super) fn with_door(self, door: impl FnOnce(Self) -> Arc<dyn Door>) -> Self {
        Self {
            door: door(self.clone()),
            ..self
        }
    }

    pub(crate) fn info(&self) -> &Arc<StreamInfo> {
        &self.info
    }

    pub(crate) fn gates(&self) -> (&Arc<Gate>, &Arc<Gate>) {
        (&self.down_gate, &self.up_gate)
    }

    pub(crate) fn arbiter(&self) -> &actix_rt::ArbiterHandle {
        &self.arbiter
    }

    pub(crate) fn below(&self) -> Box<dyn Below<Chunk>> {
        self.door.below()
    }

    /// Drops `thing` when the actor is gone.
    pub(crate) fn keep_until_gone(&self, thing: impl Send + 'static) {
        self.keep(Keep(Box::new(thing)));
    }

    pub(super) fn keep(&self, message: Keep) {
        self.door.keep(message);
    }

    fn gone(&self) -> StreamError {
        let lost = || ConnectionLostError::new(&self.info.endpoint, LossReason::ActorGone).into();
        self.down_gate.closed().unwrap_or_else(lost)
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Errors
    ///
    /// `BufferOverflow` when `count` is above the buffer limit (1 MiB by default); `ConnectionLost` when the stream
    /// ends before, and the bytes that came stay readable by a shorter read; `Closed` after
    /// [`close`](Self::close).
    ///
    /// # Cancellation
    ///
    /// Nothing is lost: bytes that had come for a dropped read are there for the next one.
    pub async fn read(&self, count: usize) -> Result<Bytes, StreamError> {
        let limit = self.info.limits.max_buffer;
        if count > limit {
            return Err(BufferOverflowError::new("read", limit, count).into());
        }
        let (answer, receiver) = oneshot::channel();
        self.door
            .read_exact(ReadExact { count, answer })
            .map_err(|Gone| self.gone())?;
        let mut reading = Reading {
            door: &*self.door,
            receiver,
        };
        (&mut reading.receiver)
            .await
            .unwrap_or_else(|_| Err(self.gone()))
    }

    /// Writes all of `data`; resolves when the stream took it, which [`flush`](Self::flush) does not wait for.
    ///
    /// # Errors
    ///
    /// With the data that was not sent: `ConnectionLost`, or `Closed` after [`close`](Self::close).
    ///
    /// # Cancellation
    ///
    /// A dropped write wrote nothing.
    pub async fn write(&self, data: impl Into<Bytes>) -> Result<(), WriteError<Bytes>> {
        let item = data.into();
        let credit = match self.down_gate.acquire(item.len()).await {
            Ok(credit) => credit,
            Err(reason) => return Err(WriteError::new(item, reason)),
        };
        match self.door.lower().write(Write {
            unit: item.clone().into(),
            credit,
        }) {
            Ok(()) => Ok(()),
            Err(Gone) => Err(WriteError::new(item, self.gone())),
        }
    }

    /// Resolves when all that was written before has reached the kernel.
    ///
    /// # Errors
    ///
    /// `ConnectionLost` when it never will.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn flush(&self) -> Result<(), StreamError> {
        let (flush, receiver) = Flush::new();
        self.door.lower().flush(flush).map_err(|Gone| self.gone())?;
        receiver.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Ends this end's direction; the peer may go on.
    ///
    /// # Errors
    ///
    /// `ConnectionLost` when the stream is gone.
    pub fn finish(&self) -> Result<(), StreamError> {
        self.down_gate.close(StreamError::Closed);
        self.door.lower().finish().map_err(|Gone| self.gone())
    }

    /// Flushes, ends this end's direction, waits for the peer's end (5 s at most by default), and closes.
    ///
    /// # Errors
    ///
    /// When what was accepted did not reach the kernel.
    ///
    /// # Cancellation
    ///
    /// The stream closes all the same.
    pub async fn close(&self) -> Result<(), StreamError> {
        let (answer, receiver) = oneshot::channel();
        if self.door.lower().close(CloseStream(answer)).is_err() {
            return Ok(());
        }
        receiver.await.unwrap_or(Ok(()))
    }

    /// Drops what is under way and resets the connection.
    pub fn abort(&self) {
        self.door.lower().abort();
    }

    /// True when nothing can be written any more: closed on this end, or lost.
    pub fn closed(&self) -> bool {
        !self.door.connected() || self.down_gate.closed().is_some()
    }

    /// The endpoint in the form in which it was given.
    pub fn endpoint(&self) -> &str {
        &self.info.endpoint
    }

    /// Says which end this is, for layers whose ends differ.
    ///
    /// Streams that a [`Listener`](crate::Listener) accepted know it, and all others count as dialled; so this is for
    /// the accepting end of a transport that somebody else connected.
    #[must_use]
    pub fn with_side(mut self, side: Side) -> Self {
        Arc::make_mut(&mut self.info).side = side;
        self
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        self.info.side
    }

    /// The address of this end, where the transport has one.
    pub fn local_address(&self) -> Option<&Address> {
        self.info.local.as_ref()
    }

    /// The address of the peer, where the transport has one.
    pub fn peer_address(&self) -> Option<&Address> {
        self.info.peer.as_ref()
    }

    /// What TLS's handshake established, the peer's certificate among it; `None` on streams that do not speak it.
    #[cfg(feature = "__tls")]
    pub fn tls(&self) -> Option<&super::tls::TlsInfo> {
        self.info.tls.as_deref()
    }

    /// [`read`](Self::read) for plain threads.
    ///
    /// # Errors
    ///
    /// As `read`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn read_blocking(&self, count: usize) -> Result<Bytes, StreamError> {
        runtime::block_on(self.read(count))?
    }

    /// [`write`](Self::write) for plain threads.
    ///
    /// # Errors
    ///
    /// As `write`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn write_blocking(&self, data: impl Into<Bytes>) -> Result<(), StreamError> {
        Ok(runtime::block_on(self.write(data))??)
    }

    /// [`close`](Self::close) for plain threads.
    ///
    /// # Errors
    ///
    /// As `close`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn close_blocking(&self) -> Result<(), StreamError> {
        runtime::block_on(self.close())?
    }
}

/// A read under way: gives bytes back that came for a caller who went away.
struct Reading<'a> {
    door: &'a dyn Door,
    receiver: oneshot::Receiver<Result<Bytes, StreamError>>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(Ok(bytes)) = self.receiver.try_recv() {
            self.door.unread(Unread(bytes));
        }
    }
}

/// Makes a named kind of stream of a newtype around a [`StreamHandle`].
macro_rules! stream_kind {
    ($name:ident) => {
        impl std::ops::Deref for $name {
            type Target = $crate::stream::StreamHandle;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl From<$name> for $crate::stream::StreamHandle {
            fn from(stream: $name) -> Self {
                stream.0
            }
        }
    };
}

pub(crate) use stream_kind;
