//! [`Receiver`]: the one consumer of a channel, with a batch of its own.

use bytes::Bytes;

use super::{
    Channel,
    inbox::{OpenBatch, State},
};
use crate::{credit::Credit, error::StreamError, message::Read, runtime, unit::Frames};

/// The unique receiver of a [`Channel`].
///
/// It keeps the batch it takes frames from, so that most receives touch neither lock nor atomics. Dropping it gives
/// the frames it did not hand out back to the channel.
#[derive(Debug)]
pub struct Receiver {
    channel: Channel,
    batch: OpenBatch,
    /// Credit of the batch that was handed out last.
    handed_out: Option<Credit>,
}

impl Receiver {
    pub(super) fn new(channel: Channel) -> Result<Self, StreamError> {
        channel.shared.inbox.claim()?;
        Ok(Self {
            channel,
            batch: OpenBatch::default(),
            handed_out: None,
        })
    }

    /// Receives one frame; `None` at the peer's end.
    ///
    /// # Errors
    ///
    /// As [`Channel::recv`].
    ///
    /// # Cancellation
    ///
    /// A dropped receive took nothing.
    #[inline]
    pub async fn recv(&mut self) -> Result<Option<Bytes>, StreamError> {
        loop {
            if let Some(frame) = self.batch.next() {
                return Ok(Some(frame));
            }
            match self.next_batch().await? {
                Some(read) => self.batch.open(read),
                None => return Ok(None),
            }
        }
    }

    /// Receives all frames that are there, at least one; `None` at the peer's end.
    ///
    /// The batch's credit returns with the next call, or when the receiver is dropped.
    ///
    /// # Errors
    ///
    /// As [`Channel::recv`].
    ///
    /// # Cancellation
    ///
    /// A dropped receive took nothing.
    pub async fn recv_batch(&mut self) -> Result<Option<Frames>, StreamError> {
        self.handed_out = None;
        let rest = self.batch.rest().filter(|rest| !rest.unit.is_empty());
        let read = match rest {
            Some(rest) => Some(rest),
            None => self.next_batch().await?,
        };
        Ok(read.map(|read| {
            self.handed_out = Some(read.credit);
            read.unit
        }))
    }

    async fn next_batch(&mut self) -> Result<Option<Read<Frames>>, StreamError> {
        self.channel.shared.receive(State::take_batch).await
    }

    /// [`recv`](Self::recv) for plain threads.
    ///
    /// # Errors
    ///
    /// As `recv`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn recv_blocking(&mut self) -> Result<Option<Bytes>, StreamError> {
        runtime::block_on(self.recv())?
    }

    /// [`recv_batch`](Self::recv_batch) for plain threads.
    ///
    /// # Errors
    ///
    /// As `recv_batch`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn recv_batch_blocking(&mut self) -> Result<Option<Frames>, StreamError> {
        runtime::block_on(self.recv_batch())?
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.channel.shared.inbox.unclaim(self.batch.rest());
    }
}
