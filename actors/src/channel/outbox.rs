//! The outbox: where frames wait, for a moment, until the channel's actor takes all there is.
//!
//! It batches by itself and without a timer: the first frame wakes the actor, and whatever is appended before the
//! actor runs goes with it. An idle channel sends at once, a busy one in big batches.

use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::{
    credit::Gate,
    error::StreamError,
    message::Flush,
    unit::{COPY_LIMIT, FRAME_OVERHEAD, Frames, FramesBuilder},
};

/// Size of the first block of an outbox; blocks double while a batch grows.
const FIRST_BLOCK: usize = 1 << 10;
/// Size of the largest block.
const LAST_BLOCK: usize = 64 << 10;

/// What a handle asks of the channel's actor, in order with the frames before it.
pub(super) enum Control {
    Flush(Flush),
    Finish,
    Close(oneshot::Sender<Result<(), StreamError>>),
    Abort,
    /// The last handle is gone.
    HandlesGone,
}

#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    builder: FramesBuilder,
    block_size: usize,
    /// Credit taken for what is in the builder.
    owed: usize,
    controls: Vec<Control>,
    waker: Option<Waker>,
    /// The actor was woken and did not come yet.
    notified: bool,
    /// Why frames are refused: a finish or a close stands in line, a write failed, or the actor is gone.
    refused: Option<StreamError>,
    /// Why requests are refused, too: the actor is gone.
    closed: Option<StreamError>,
}

/// What the actor takes.
pub(super) struct Taken {
    pub(super) frames: Frames,
    pub(super) owed: usize,
    pub(super) controls: Vec<Control>,
}

/// What can be appended to the outbox.
pub(super) trait Append {
    /// Bytes it takes in the outbox's block.
    fn room(&self) -> usize;
    fn append(self, builder: &mut FramesBuilder);
}

impl Append for &[u8] {
    fn room(&self) -> usize {
        self.len() + FRAME_OVERHEAD
    }

    fn append(self, builder: &mut FramesBuilder) {
        builder.push_slice(self);
    }
}

impl Append for Bytes {
    fn room(&self) -> usize {
        if self.len() <= COPY_LIMIT {
            self.len() + FRAME_OVERHEAD
        } else {
            FRAME_OVERHEAD
        }
    }

    fn append(self, builder: &mut FramesBuilder) {
        builder.push(self);
    }
}

impl Append for Frames {
    fn room(&self) -> usize {
        0
    }

    fn append(self, builder: &mut FramesBuilder) {
        builder.append(self);
    }
}

impl Outbox {
    /// Appends something for which `owed` bytes of credit were taken from `gate`.
    ///
    /// # Errors
    ///
    /// Gives the item back, with the reason; the credit is given back, too.
    #[inline]
    pub(super) fn push<A: Append>(
        &self,
        item: A,
        owed: usize,
        gate: &Gate,
    ) -> Result<(), (A, StreamError)> {
        let mut state = self.state.lock();
        if let Some(error) = &state.refused {
            let error = error.clone();
            drop(state);
            gate.give_back(owed);
            return Err((item, error));
        }
        let room = item.room();
        if state.builder.room() < room {
            state.owed += state.new_block(room, gate);
        }
        item.append(&mut state.builder);
        state.owed += owed;
        wake_actor(state);
        Ok(())
    }

    /// Asks the actor for something.
    ///
    /// # Errors
    ///
    /// Gives the request back when the actor is gone, with the reason.
    pub(super) fn control(&self, control: Control) -> Result<(), (Control, StreamError)> {
        let mut state = self.state.lock();
        if let Some(error) = &state.closed {
            let error = error.clone();
            return Err((control, error));
        }
        if matches!(control, Control::Finish | Control::Close(_)) {
            // A frame whose credit was taken before must not come behind the end.
            state.refused.get_or_insert(StreamError::Closed);
        }
        state.controls.push(control);
        wake_actor(state);
        Ok(())
    }

    /// Refuses frames from now on, but no requests; the first reason stays.
    pub(super) fn refuse(&self, error: StreamError) {
        self.state.lock().refused.get_or_insert(error);
    }

    /// Refuses frames and requests from now on; the first reason stays.
    pub(super) fn close(&self, error: StreamError) {
        let mut state = self.state.lock();
        state.refused.get_or_insert_with(|| error.clone());
        state.closed.get_or_insert(error);
    }

    /// Takes all there is, and sees to it that the next append wakes the task.
    pub(super) fn take(&self, cx: &Context<'_>) -> Taken {
        let mut state = self.state.lock();
        state.notified = false;
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        state.take()
    }

    /// Takes what nobody will send any more.
    pub(super) fn abandon(&self) -> Taken {
        let mut state = self.state.lock();
        state.waker = None;
        state.take()
    }
}

/// Lets go of the lock, and wakes the actor if it does not know yet that there is something.
#[inline]
fn wake_actor(mut state: MutexGuard<'_, State>) {
    if !state.notified {
        state.notified = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    /// Starts a block with at least `room` bytes. Gives what the old one's unused tail costs.
    #[cold]
    fn new_block(&mut self, room: usize, gate: &Gate) -> usize {
        self.block_size = (self.block_size * 2).clamp(FIRST_BLOCK, LAST_BLOCK);
        let abandoned = if self.builder.is_empty() {
            0
        } else {
            self.builder.room()
        };
        gate.overdraw(abandoned);
        self.builder
            .set_block(BytesMut::with_capacity(self.block_size.max(room)));
        abandoned
    }

    fn take(&mut self) -> Taken {
        let frames = self.builder.take();
        // Sized for the next batch if that is like this one; a channel that falls idle holds next to nothing.
        if frames.wire_len() <= FIRST_BLOCK {
            self.block_size = 0;
        }
        Taken {
            frames,
            owed: std::mem::take(&mut self.owed),
            controls: std::mem::take(&mut self.controls),
        }
    }
}
