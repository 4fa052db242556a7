//! The twins of a channel's methods for plain threads.

use std::time::Duration;

use bytes::Bytes;

use super::Channel;
use crate::{
    error::{StreamError, WriteError},
    runtime,
    unit::Frames,
};

impl Channel {
    /// [`send`](Self::send) for plain threads.
    ///
    /// # Errors
    ///
    /// As `send`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn send_blocking(&self, frame: impl Into<Bytes>) -> Result<(), WriteError<Bytes>> {
        // Asked first, since a send that finds credit does not wait until it is awaited.
        match runtime::may_block() {
            Ok(()) => pollster::block_on(self.send(frame)),
            Err(reason) => Err(WriteError::new(frame.into(), reason)),
        }
    }

    /// [`send_slice`](Self::send_slice) for plain threads.
    ///
    /// # Errors
    ///
    /// As `send_slice`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn send_slice_blocking(&self, frame: &[u8]) -> Result<(), StreamError> {
        runtime::may_block()?;
        pollster::block_on(self.send_slice(frame))
    }

    /// [`send_all`](Self::send_all) for plain threads.
    ///
    /// # Errors
    ///
    /// As `send_all`; `ApiMisuse` on an arbiter, which would wait for itself: then nothing is taken from the iterator.
    pub fn send_all_blocking(
        &self,
        frames: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), WriteError<Frames>> {
        match runtime::may_block() {
            Ok(()) => pollster::block_on(self.send_all(frames)),
            Err(reason) => Err(WriteError::new(Frames::default(), reason)),
        }
    }

    /// [`send_batch`](Self::send_batch) for plain threads.
    ///
    /// # Errors
    ///
    /// As `send_batch`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn send_batch_blocking(&self, frames: Frames) -> Result<(), WriteError<Frames>> {
        match runtime::may_block() {
            Ok(()) => pollster::block_on(self.send_batch(frames)),
            Err(reason) => Err(WriteError::new(frames, reason)),
        }
    }

    /// [`recv`](Self::recv) for plain threads.
    ///
    /// # Errors
    ///
    /// As `recv`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn recv_blocking(&self) -> Result<Option<Bytes>, StreamError> {
        runtime::block_on(self.recv())?
    }

    /// [`poll`](Self::poll) for plain threads.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn poll_blocking(&self, timeout: Duration) -> Result<bool, StreamError> {
        runtime::block_on(self.poll(timeout))
    }

    /// [`flush`](Self::flush) for plain threads.
    ///
    /// # Errors
    ///
    /// As `flush`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn flush_blocking(&self) -> Result<(), StreamError> {
        runtime::block_on(self.flush())?
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
