//! How frames get onto a supervised connection, or wait for one.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Generation, Meanwhile, SupervisedChannel,
    line::{Line, Queued},
};
use crate::{
    channel::Channel,
    error::{BufferOverflowError, StreamError, WriteError},
    unit::{FRAME_OVERHEAD, Frames, FramesBuilder},
};

/// Bytes of the batches that [`SupervisedChannel::send_all`] makes.
const BATCH: usize = 64 << 10;

/// What could not be sent at once, from when it was given.
struct Later<'a> {
    since: Instant,
    _queued: Queued<'a>,
}

impl<'a> Later<'a> {
    fn new(line: &'a Line) -> Self {
        Self {
            since: Instant::now(),
            _queued: line.queue(),
        }
    }
}

impl SupervisedChannel {
    /// Waits for a connection to send `bytes` on, as the policy says.
    async fn wait_to_send<'a>(
        &'a self,
        bytes: usize,
        later: &mut Option<Later<'a>>,
    ) -> Result<Generation, StreamError> {
        let line = self.line();
        let up = match later {
            None => line.try_begin()?,
            Some(_) => line.try_up(),
        };
        let reason = match up {
            Ok(generation) => return Ok(generation),
            Err(reason) => reason,
        };
        let timed_out = |after| StreamError::TimedOut {
            what: "waiting for a connection",
            after,
        };
        let Meanwhile::Wait {
            deadline,
            bytes: most,
        } = self.shared.meanwhile
        else {
            return Err(reason.unwrap_or(timed_out(Duration::ZERO)));
        };
        let _waiting = Waiting::new(&self.shared.waiting, bytes, most)?;
        let since = later.get_or_insert_with(|| Later::new(line)).since;
        let left = deadline.saturating_sub(since.elapsed());
        tokio::select! {
            generation = line.wait_up() => generation,
            () = Line::sleep(&self.shared.arbiter, left) => Err(timed_out(deadline)),
        }
    }

    /// Sends on one generation after the other, until one takes it.
    async fn send_item<T, F>(
        &self,
        mut item: T,
        bytes: usize,
        mut send: impl FnMut(Channel, T) -> F,
    ) -> Result<(), WriteError<T>>
    where
        F: Future<Output = Result<(), WriteError<T>>>,
    {
        let mut later = None;
        loop {
            let generation = match self.wait_to_send(bytes, &mut later).await {
                Ok(generation) => generation,
                Err(reason) => return Err(WriteError::new(item, reason)),
            };
            let number = generation.number;
            let mut sending = pin!(send(generation.channel, item));
            // Most are sent at once, and need not know what time it is.
            let sent = match poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await {
                Poll::Ready(sent) => sent,
                Poll::Pending => {
                    later.get_or_insert_with(|| Later::new(self.line()));
                    sending.await
                }
            };
            let error = match sent {
                Ok(()) => {
                    self.took(number);
                    return Ok(());
                }
                Err(error) => error,
            };
            if !matches!(
                error.reason,
                StreamError::ConnectionLost(_) | StreamError::Closed
            ) {
                return Err(error);
            }
            self.line().cannot_write(number);
            if self.shared.meanwhile == Meanwhile::Fail {
                let reason = error.reason.clone().of_generation(number);
                return Err(WriteError::new(error.into_item(), reason));
            }
            item = error.into_item();
        }
    }

    /// Sends one frame. Resolves when a connection took it: if that one is lost, the frame may have arrived or not.
    ///
    /// A frame that no connection took yet waits for the next one, if the policy is to wait.
    ///
    /// # Errors
    ///
    /// With the frame that was not sent: `TimedOut` or `BufferOverflow` as [`Meanwhile::Wait`] says; the reason, when the connection
    /// is taken for broken, or with [`Meanwhile::Fail`]; `Closed`; `LimitExceeded` for a frame above the limit.
    ///
    /// # Cancellation
    ///
    /// A send that waits sent nothing.
    pub async fn send(&self, frame: impl Into<Bytes>) -> Result<(), WriteError<Bytes>> {
        let frame = frame.into();
        let bytes = frame.len() + FRAME_OVERHEAD;
        self.send_item(frame, bytes, |channel, frame| async move {
            channel.send(frame).await
        })
        .await
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
    pub async fn send_slice(&self, frame: &[u8]) -> Result<(), StreamError> {
        let bytes = frame.len() + FRAME_OVERHEAD;
        self.send_item(frame, bytes, |channel, frame| async move {
            let sent = channel.send_slice(frame).await;
            sent.map_err(|reason| WriteError::new(frame, reason))
        })
        .await
        .map_err(|error| error.reason.clone())
    }

    /// Sends many frames, in batches of 64 KiB, each of them whole and on one connection.
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
        let mut batch = FramesBuilder::new();
        for frame in frames {
            batch.push(frame);
            if batch.wire_len() >= BATCH {
                self.send_batch(batch.take()).await?;
            }
        }
        if batch.wire_len() > 0 {
            self.send_batch(batch.take()).await?;
        }
        Ok(())
    }

    /// Sends a batch, whole and on one connection.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with the batch.
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    pub async fn send_batch(&self, frames: Frames) -> Result<(), WriteError<Frames>> {
        let bytes = frames.wire_len();
        self.send_item(frames, bytes, |channel, frames| async move {
            channel.send_batch(frames).await
        })
        .await
    }

    /// [`send`](Self::send) for plain threads.
    ///
    /// # Errors
    ///
    /// As `send`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn send_blocking(&self, frame: impl Into<Bytes>) -> Result<(), WriteError<Bytes>> {
        match crate::runtime::may_block() {
            Ok(()) => pollster::block_on(self.send(frame)),
            Err(reason) => Err(WriteError::new(frame.into(), reason)),
        }
    }
}

/// Bytes that wait for a connection, for as long as they do.
struct Waiting<'a> {
    waiting: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize, bytes: usize, most: usize) -> Result<Self, StreamError> {
        let add = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= most);
        match waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Self { waiting, bytes }),
            Err(now) => Err(BufferOverflowError::new(
                "frames that wait for a connection",
                most,
                now.saturating_add(bytes),
            )
            .into()),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
