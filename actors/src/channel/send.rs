//! The ways to send on a [`Channel`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    Channel, TrySendError,
    outbox::{Append, Pushed},
};
use crate::{
    error::{StreamError, WriteError},
    unit::{FRAME_OVERHEAD, Frames, FramesBuilder},
};

/// Bytes that [`Channel::send_all`] gathers before it takes the lock.
const SEND_ALL_BATCH: usize = 64 << 10;

/// A send: over already where there was credit, else waiting for it.
///
/// A frame that finds credit is laid out by the call that sends it. Carrying it into a future first costs more
/// than laying it out, since what was just written in pieces would be read back whole.
#[must_use = "a send that waits for credit sends nothing unless it is awaited"]
pub struct Sending<'a, E>(Option<Waiting<'a, E>>);

type Waiting<'a, E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'a>>;

impl<E> std::fmt::Debug for Sending<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending")
            .field("waits", &self.0.is_some())
            .finish()
    }
}

impl<E> Future for Sending<'_, E> {
    type Output = Result<(), E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        match &mut self.0 {
            None => Poll::Ready(Ok(())),
            Some(waiting) => waiting.as_mut().poll(cx),
        }
    }
}

impl Channel {
    #[inline]
    pub(super) fn is_too_large(&self, bytes: usize) -> bool {
        bytes > self.shared.max_frame
    }

    #[cold]
    pub(super) fn too_large(&self, bytes: usize) -> StreamError {
        StreamError::LimitExceeded {
            what: "frame to send",
            limit: self.shared.info.limits.max_frame as u64,
            got: bytes as u64,
            endpoint: Some(self.shared.info.endpoint.clone()),
        }
    }

    /// Sends at once if there is credit. `longest` is the longest payload of the item, `bytes` what it takes on the wire.
    #[inline]
    fn send_now<A: Append>(&self, item: &mut A, longest: usize, bytes: usize) -> Pushed {
        if self.is_too_large(longest) {
            return Pushed::TooLarge;
        }
        self.shared
            .outbox
            .try_push(item, bytes, &self.shared.down_gate)
    }

    /// Sends what could not be sent at once.
    async fn send_later<A: Append>(
        &self,
        mut item: A,
        longest: usize,
        bytes: usize,
        pushed: Pushed,
    ) -> Result<(), WriteError<A>> {
        let mut pushed = pushed;
        if pushed == Pushed::NoCredit {
            match self.shared.down_gate.acquire(bytes).await {
                Ok(credit) => {
                    let owed = credit.into_amount();
                    let gate = &self.shared.down_gate;
                    pushed = self.shared.outbox.push(&mut item, owed, gate);
                }
                Err(reason) => return Err(WriteError::new(item, reason)),
            }
        }
        match pushed {
            Pushed::Done(_) => Ok(()),
            Pushed::TooLarge => Err(WriteError::new(item, self.too_large(longest))),
            Pushed::NoCredit | Pushed::Refused => {
                Err(WriteError::new(item, self.shared.outbox.refusal()))
            }
        }
    }

    #[cold]
    fn sending_later<'a, A: Append + Send + 'a>(
        &'a self,
        item: A,
        longest: usize,
        bytes: usize,
        pushed: Pushed,
    ) -> Sending<'a, WriteError<A>> {
        Sending(Some(Box::pin(
            self.send_later(item, longest, bytes, pushed),
        )))
    }

    #[cold]
    fn sending_slice_later<'a>(
        &'a self,
        item: &'a [u8],
        bytes: usize,
        pushed: Pushed,
    ) -> Sending<'a, StreamError> {
        Sending(Some(Box::pin(async move {
            let sent = self.send_later(item, item.len(), bytes, pushed).await;
            sent.map_err(|error| error.reason.clone())
        })))
    }

    /// Sends one frame. Resolves when the channel took it; [`flush`](Self::flush) tells when it has left.
    ///
    /// A payload of up to 4 KiB is copied, a larger one travels as it is.
    ///
    /// # Errors
    ///
    /// With the frame that was not sent: `ConnectionLost`; `Closed` after `finish` or `close`; `LimitExceeded` for a
    /// frame above the limit.
    ///
    /// # Cancellation
    ///
    /// Where there is credit the frame is sent by the call, before anything is awaited. A send that waits for credit sent
    /// nothing when it is dropped, and its place in the line is free.
    #[inline]
    pub fn send(&self, frame: impl Into<Bytes>) -> Sending<'_, WriteError<Bytes>> {
        let mut item = frame.into();
        let (longest, bytes) = (item.len(), item.len() + FRAME_OVERHEAD);
        match self.send_now(&mut item, longest, bytes) {
            Pushed::Done(_) => Sending(None),
            other => self.sending_later(item, longest, bytes, other),
        }
    }

    /// Sends one frame whose payload is copied: the fastest way to send a small one.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), without the frame.
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_slice<'a>(&'a self, frame: &'a [u8]) -> Sending<'a, StreamError> {
        let mut item = frame;
        let bytes = frame.len() + FRAME_OVERHEAD;
        match self.send_now(&mut item, frame.len(), bytes) {
            Pushed::Done(_) => Sending(None),
            other => self.sending_slice_later(frame, bytes, other),
        }
    }

    /// Sends many frames, taking the lock once for every 64 KiB.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with the frames of the refused batch; what the iterator had left is not taken from it.
    ///
    /// # Cancellation
    ///
    /// Batches that were taken before are sent, the one under way is not.
    pub async fn send_all(
        &self,
        frames: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), WriteError<Frames>> {
        let mut builder = FramesBuilder::new();
        for frame in frames {
            if self.is_too_large(frame.len()) {
                let reason = self.too_large(frame.len());
                self.send_batch(builder.take()).await?;
                return Err(WriteError::new(Frames::single(frame), reason));
            }
            builder.push(frame);
            if builder.wire_len() >= SEND_ALL_BATCH {
                self.send_batch(builder.take()).await?;
            }
        }
        self.send_batch(builder.take()).await
    }

    /// Sends a batch as it is: no frame of it is copied or looked at.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with the batch.
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    pub fn send_batch(&self, frames: Frames) -> Sending<'_, WriteError<Frames>> {
        if frames.is_empty() {
            return Sending(None);
        }
        let longest = frames.above(self.shared.max_frame).unwrap_or_default();
        let mut item = frames;
        let bytes = item.wire_len();
        match self.send_now(&mut item, longest, bytes) {
            Pushed::Done(_) => Sending(None),
            other => self.sending_later(item, longest, bytes, other),
        }
    }

    /// Sends one frame if that needs no waiting.
    ///
    /// # Errors
    ///
    /// `Full` without credit, else `Closed` with the reason; both give the frame back.
    pub fn try_send(&self, frame: impl Into<Bytes>) -> Result<(), TrySendError<Bytes>> {
        let mut item = frame.into();
        let (longest, bytes) = (item.len(), item.len() + FRAME_OVERHEAD);
        let reason = match self.send_now(&mut item, longest, bytes) {
            Pushed::Done(_) => return Ok(()),
            Pushed::TooLarge => self.too_large(longest),
            Pushed::Refused => self.shared.outbox.refusal(),
            Pushed::NoCredit => match self.shared.down_gate.closed() {
                Some(reason) => reason,
                None => return Err(TrySendError::Full(item)),
            },
        };
        Err(TrySendError::Closed(WriteError::new(item, reason)))
    }
}
