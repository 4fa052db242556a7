//! Receiving on a supervised connection, where a loss has its place between two frames.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;

use super::{
    handle::SupervisedChannel,
    line::{Generation, Line, Reading},
};
use crate::{
    channel::Receiver,
    error::{ConnectionLostError, StreamError},
    unit::Frames,
};

/// What a supervised connection gives: frames, and at its place among them the loss of each generation.
#[derive(Clone, Debug)]
pub enum Received<T = Bytes> {
    /// What came.
    Frame(T),
    /// The connection that gave what came before is lost: what comes next comes from a new one, and frames may be
    /// missing in between. Where several were lost with nothing received, this is the last of them.
    Lost(ConnectionLostError),
}

impl<T> Received<T> {
    /// What came, if it is not a loss.
    pub fn frame(self) -> Option<T> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::Lost(_) => None,
        }
    }
}

/// What the end of a generation's frames is for a receiver.
fn end_of<T>(
    line: &Line,
    generation: &Generation,
    ending: Result<(), StreamError>,
) -> Result<Received<T>, StreamError> {
    match ending {
        _ if line.is_closed() => Err(StreamError::Closed),
        // The connection is there; somebody else receives from it.
        Err(error @ StreamError::ApiMisuse(_)) => Err(error),
        ending => Ok(Received::Lost(generation.loss(ending))),
    }
}

impl SupervisedChannel {
    /// Receives one frame, or learns that a connection was lost: each clone of the handle once for each loss, behind the
    /// frames that came before it. Each frame goes to one of those who receive.
    ///
    /// # Errors
    ///
    /// `Closed` after a close. The reason, while the connection is taken for broken: receive again to wait for a probe
    /// that finds it well, after [`connected`](Self::connected) for example.
    ///
    /// # Cancellation
    ///
    /// A dropped receive took nothing.
    pub async fn recv(&self) -> Result<Received, StreamError> {
        let line = &self.shared.line;
        loop {
            let cursor = self.cursor.load(Ordering::Relaxed);
            let generation = match line.reading(cursor).await? {
                Reading::From(generation) => generation,
                Reading::Lost(lost) => {
                    if self.advance(cursor, lost.generation + 1) {
                        return Ok(Received::Lost(lost));
                    }
                    continue;
                }
            };
            let number = generation.number;
            if number != cursor && !self.advance(cursor, number) {
                continue;
            }
            let ending = match generation.channel.recv().await {
                Ok(Some(frame)) => return Ok(Received::Frame(frame)),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            let end = end_of(line, &generation, ending)?;
            // Another task on this very handle may have been told.
            if self.advance(number, number + 1) {
                return Ok(end);
            }
        }
    }

    fn advance(&self, from: u64, to: u64) -> bool {
        self.cursor
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Waits until [`recv`](Self::recv) would not wait, for at most `timeout`. With zero it only looks.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn poll(&self, timeout: Duration) -> bool {
        let cursor = self.cursor.load(Ordering::Relaxed);
        let line = &self.shared.line;
        if line.is_readable(cursor) || timeout.is_zero() {
            return line.is_readable(cursor);
        }
        tokio::select! {
            () = line.readable(cursor) => true,
            () = Line::sleep(&self.shared.arbiter, timeout) => false,
        }
    }

    /// The one receiver of the connection, which takes frames without a lock, or whole batches. While it lives,
    /// [`recv`](Self::recv) is refused.
    pub fn receiver(&self) -> SupervisedReceiver {
        SupervisedReceiver {
            cursor: self.cursor.load(Ordering::Relaxed),
            channel: self.clone(),
            current: None,
        }
    }

    /// [`recv`](Self::recv) for plain threads.
    ///
    /// # Errors
    ///
    /// As `recv`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn recv_blocking(&self) -> Result<Received, StreamError> {
        crate::runtime::block_on(self.recv())?
    }

    /// [`poll`](Self::poll) for plain threads.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn poll_blocking(&self, timeout: Duration) -> Result<bool, StreamError> {
        crate::runtime::block_on(self.poll(timeout))
    }
}

/// The unique receiver of a [`SupervisedChannel`].
#[derive(Debug)]
pub struct SupervisedReceiver {
    channel: SupervisedChannel,
    cursor: u64,
    current: Option<(Generation, Receiver)>,
}

impl SupervisedReceiver {
    /// The receiver of the generation whose turn it is.
    async fn turn(&mut self) -> Result<Result<&mut Receiver, ConnectionLostError>, StreamError> {
        if self.current.is_none() {
            match self.channel.shared.line.reading(self.cursor).await? {
                Reading::From(generation) => {
                    self.cursor = generation.number;
                    let receiver = generation.channel.receiver()?;
                    self.current = Some((generation, receiver));
                }
                Reading::Lost(lost) => {
                    self.cursor = lost.generation + 1;
                    return Ok(Err(lost));
                }
            }
        }
        let (_, receiver) = self.current.as_mut().expect("it was just set");
        Ok(Ok(receiver))
    }

    /// The generation whose turn it was gives nothing more.
    fn end<T>(&mut self, ending: Result<(), StreamError>) -> Result<Received<T>, StreamError> {
        let (generation, _) = self.current.take().expect("its receiver gave the end");
        self.cursor = generation.number + 1;
        end_of(&self.channel.shared.line, &generation, ending)
    }

    /// Receives one frame, or learns that a connection was lost.
    ///
    /// # Errors
    ///
    /// As [`SupervisedChannel::recv`]; `ApiMisuse` when there is another unique receiver.
    ///
    /// # Cancellation
    ///
    /// A dropped receive took nothing.
    pub async fn recv(&mut self) -> Result<Received, StreamError> {
        let receiver = match self.turn().await? {
            Ok(receiver) => receiver,
            Err(lost) => return Ok(Received::Lost(lost)),
        };
        match receiver.recv().await {
            Ok(Some(frame)) => Ok(Received::Frame(frame)),
            Ok(None) => self.end(Ok(())),
            Err(error) => self.end(Err(error)),
        }
    }

    /// Receives all frames that are there, at least one, or learns that a connection was lost. No batch holds frames of two
    /// generations. Its credit returns with the next call.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancellation
    ///
    /// A dropped receive took nothing.
    pub async fn recv_batch(&mut self) -> Result<Received<Frames>, StreamError> {
        let receiver = match self.turn().await? {
            Ok(receiver) => receiver,
            Err(lost) => return Ok(Received::Lost(lost)),
        };
        match receiver.recv_batch().await {
            Ok(Some(frames)) => Ok(Received::Frame(frames)),
            Ok(None) => self.end(Ok(())),
            Err(error) => self.end(Err(error)),
        }
    }
}
