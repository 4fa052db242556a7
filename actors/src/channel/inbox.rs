//! The inbox: batches that came up and wait for a consumer.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

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
    /// Frames may be there. Changed under the lock only.
    filled: AtomicBool,
}

#[derive(Default)]
pub(super) struct State {
    open_batch: OpenBatch,
    queue: VecDeque<Read<Frames>>,
    ending: Option<Result<(), Box<StreamError>>>,
    /// A unique receiver takes everything.
    claimed: bool,
    /// Whoever waits for anything. All are woken by each batch: there is mostly one, and one that went away loses no
    /// wake-up that another one needs.
    wakers: SmallVec<[Waker; 1]>,
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

impl State {
    #[inline]
    fn next_frame(&mut self) -> Option<Bytes> {
        // A unique receiver took the open batch with it, and no new one is opened while it lives.
        loop {
            if let Some(frame) = self.open_batch.next() {
                return Some(frame);
            }
            if self.claimed {
                return None;
            }
            let mut read = self.queue.pop_front()?;
            // A batch of one frame, such as an answer, is not worth opening.
            if let Some(frame) = read.unit.take_only() {
                return Some(frame.into_bytes());
            }
            self.open_batch.open(read);
        }
    }

    /// The next frame, `Ok(None)` at the end, or nothing yet.
    pub(super) fn take_frame(&mut self) -> Option<Result<Option<Bytes>, StreamError>> {
        if let Some(frame) = self.next_frame() {
            return Some(Ok(Some(frame)));
        }
        if self.claimed {
            let what = "a unique receiver takes the frames of this channel";
            return Some(Err(StreamError::misuse(what)));
        }
        Some(self.ending()?.map(|()| None))
    }

    /// The next batch, `Ok(None)` at the end, or nothing yet.
    pub(super) fn take_batch(&mut self) -> Option<Result<Option<Read<Frames>>, StreamError>> {
        let rest = self.open_batch.rest().filter(|rest| !rest.unit.is_empty());
        match rest.or_else(|| self.queue.pop_front()) {
            Some(read) => Some(Ok(Some(read))),
            None => Some(self.ending()?.map(|()| None)),
        }
    }

    /// How the flow of frames ended, though frames may still wait.
    pub(super) fn ending(&self) -> Option<Ending> {
        Some(self.ending.clone()?.map_err(|error| *error))
    }

    /// True while frames wait.
    pub(super) fn holds_frames(&self) -> bool {
        !self.queue.is_empty() || !self.open_batch.frames.is_empty()
    }

    /// True when a receive would not wait.
    pub(super) fn is_ready(&self) -> bool {
        self.holds_frames() || self.ending.is_some()
    }
}

/// Lets go of the lock, and wakes everybody who waits.
fn wake_all(mut state: MutexGuard<'_, State>) {
    if state.wakers.len() > 1 {
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        return;
    }
    let waker = state.wakers.pop();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Inbox {
    pub(super) fn push(&self, read: Read<Frames>) {
        let mut state = self.state.lock();
        if state.ending.is_none() {
            state.queue.push_back(read);
            self.filled.store(true, Ordering::Release);
            wake_all(state);
        }
    }

    /// No frames come after this; the first ending stays.
    pub(super) fn end(&self, ending: Ending) {
        let mut state = self.state.lock();
        state.ending.get_or_insert_with(|| ending.map_err(Box::new));
        wake_all(state);
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

    /// The next frame, if there is one for handles that share the channel. Without one the lock is not looked at.
    #[inline]
    pub(super) fn try_frame(&self) -> Option<Bytes> {
        if !self.filled.load(Ordering::Acquire) {
            return None;
        }
        self.state.lock().next_frame()
    }

    /// The next frame, `Ok(None)` at the end, or nothing yet.
    pub(super) fn try_next(&self) -> Option<Result<Option<Bytes>, StreamError>> {
        self.state.lock().take_frame()
    }

    /// The next batch, `Ok(None)` at the end, or nothing yet.
    pub(super) fn try_next_batch(&self) -> Option<Result<Option<Read<Frames>>, StreamError>> {
        self.state.lock().take_batch()
    }

    /// True when a receive would not wait.
    pub(super) fn is_ready(&self) -> bool {
        self.state.lock().is_ready()
    }

    /// True while frames wait.
    pub(super) fn holds_frames(&self) -> bool {
        self.state.lock().holds_frames()
    }

    /// What `take` gives; without anything the task is woken by what comes.
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        take: impl FnOnce(&mut State) -> Option<T>,
    ) -> Poll<T> {
        let mut state = self.state.lock();
        if let Some(item) = take(&mut state) {
            return Poll::Ready(item);
        }
        self.filled.store(state.holds_frames(), Ordering::Relaxed);
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
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
        if let Some(rest) = state.open_batch.rest().filter(|rest| !rest.unit.is_empty()) {
            state.queue.push_front(rest);
            self.filled.store(true, Ordering::Release);
        }
        // Whoever waits for single frames learns of it.
        wake_all(state);
        Ok(())
    }

    /// Takes back what a unique receiver did not use.
    pub(super) fn unclaim(&self, rest: Option<Read<Frames>>) {
        let mut state = self.state.lock();
        state.claimed = false;
        if let Some(rest) = rest.filter(|rest| !rest.unit.is_empty()) {
            state.queue.push_front(rest);
            self.filled.store(true, Ordering::Release);
        }
        wake_all(state);
    }
}
