//! The inbox: batches that came up and wait for a consumer.

use std::{collections::VecDeque, pin::pin};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    credit::Credit,
    error::StreamError,
    message::Read,
    unit::{Frames, FramesIter},
};

/// How the flow of frames ended: with the peer's orderly end, or with an error.
pub(super) type Ending = Result<(), StreamError>;

/// Batches with their credit, one of them being taken apart.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    open_batch: OpenBatch,
    queue: VecDeque<Read<Frames>>,
    ending: Option<Ending>,
    /// A unique receiver takes everything.
    claimed: bool,
}

/// A batch of which frames are taken one by one; its credit returns with the last one.
#[derive(Debug, Default)]
pub(super) struct OpenBatch {
    frames: FramesIter,
    credit: Option<Credit>,
}

impl OpenBatch {
    #[inline]
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let frame = self.frames.next();
        // Not with the next call: whoever polls before it would wait for what this credit keeps out.
        if self.credit.is_some() && self.frames.is_empty() {
            *self = Self::default();
        }
        frame
    }

    pub(super) fn open(&mut self, read: Read<Frames>) {
        self.frames = read.unit.into_iter();
        self.credit = Some(read.credit);
    }

    /// The frames that are left, as a batch.
    pub(super) fn rest(&mut self) -> Option<Read<Frames>> {
        let credit = self.credit.take()?;
        let unit = std::mem::take(&mut self.frames).into_frames();
        Some(Read { unit, credit })
    }
}

impl Inbox {
    pub(super) fn push(&self, read: Read<Frames>) {
        let mut state = self.state.lock();
        if state.ending.is_none() {
            state.queue.push_back(read);
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// No frames come after this; the first ending stays.
    pub(super) fn end(&self, ending: Ending) {
        self.state.lock().ending.get_or_insert(ending);
        self.arrived.notify_waiters();
        self.arrived.notify_one();
    }

    /// Drops what nobody took, and ends; an orderly end before is forgotten, since frames of it may be missing now.
    pub(super) fn discard(&self, ending: Ending) {
        let mut state = self.state.lock();
        if let Some(Ok(())) = state.ending {
            state.ending = None;
        }
        let dropped = (
            std::mem::take(&mut state.queue),
            std::mem::take(&mut state.open_batch),
        );
        drop(state);
        drop(dropped);
        self.end(ending);
    }

    /// The next frame, `Ok(None)` at the end, or nothing yet.
    #[inline]
    pub(super) fn try_next(&self) -> Option<Result<Option<Bytes>, StreamError>> {
        let mut state = self.state.lock();
        if state.claimed {
            return Some(Err(StreamError::misuse(
                "a unique receiver takes the frames of this channel",
            )));
        }
        loop {
            if let Some(frame) = state.open_batch.next() {
                return Some(Ok(Some(frame)));
            }
            match state.queue.pop_front() {
                Some(read) => state.open_batch.open(read),
                None => return state.ending.clone().map(|ending| ending.map(|()| None)),
            }
        }
    }

    /// The next batch, `Ok(None)` at the end, or nothing yet.
    pub(super) fn try_next_batch(&self) -> Option<Result<Option<Read<Frames>>, StreamError>> {
        let mut state = self.state.lock();
        if let Some(rest) = state.open_batch.rest().filter(|rest| !rest.unit.is_empty()) {
            return Some(Ok(Some(rest)));
        }
        match state.queue.pop_front() {
            Some(read) => Some(Ok(Some(read))),
            None => state.ending.clone().map(|ending| ending.map(|()| None)),
        }
    }

    /// True when a receive would not wait.
    pub(super) fn is_ready(&self) -> bool {
        let state = self.state.lock();
        !state.queue.is_empty() || !state.open_batch.frames.is_empty() || state.ending.is_some()
    }

    /// Waits until `take` gives something.
    pub(super) async fn wait<T>(&self, take: impl Fn() -> Option<T>) -> T {
        loop {
            let mut arrived = pin!(self.arrived.notified());
            arrived.as_mut().enable();
            if let Some(item) = take() {
                // One notification stands for a whole batch: whoever waits beside us has its turn.
                self.arrived.notify_one();
                return item;
            }
            arrived.await;
        }
    }

    /// Gives everything to one receiver from now on.
    pub(super) fn claim(&self) -> Result<(), StreamError> {
        let mut state = self.state.lock();
        if state.claimed {
            return Err(StreamError::misuse(
                "the channel has a unique receiver already",
            ));
        }
        state.claimed = true;
        drop(state);
        // Whoever waits for single frames learns of it.
        self.arrived.notify_waiters();
        Ok(())
    }

    /// Takes back what a unique receiver did not use.
    pub(super) fn unclaim(&self, rest: Option<Read<Frames>>) {
        let mut state = self.state.lock();
        state.claimed = false;
        if let Some(rest) = rest.filter(|rest| !rest.unit.is_empty()) {
            state.queue.push_front(rest);
        }
        drop(state);
        self.arrived.notify_one();
    }
}
