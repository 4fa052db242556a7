//! The outbox: where frames wait, for a moment, until the channel's actor takes all there is.
//!
//! It batches by itself and without a timer: the first frame wakes the actor, and whatever is appended before the
//! actor runs goes with it. An idle channel sends at once, a busy one in big batches.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{blocks::Blocks, head::Subscribe};
use crate::{
    credit::{BATCH_COST, Gate},
    error::{LossReason, StreamError},
    layer::Above,
    message::Flush,
    unit::{COPY_LIMIT, FRAME_OVERHEAD, Frames, FramesBuilder, RUN_ROOM},
};

/// Credit that is taken ahead for small frames.
const PREPAID: usize = 16 << 10;

/// What a handle asks of the channel's actor, in order with the frames before it.
pub(super) enum Control {
    Flush(Flush),
    Finish,
    Close(oneshot::Sender<Result<(), StreamError>>),
    /// Reset the connection, which is lost for this reason.
    Abort(LossReason),
    Subscribe(Subscribe),
    /// Somebody stands on the channel, and takes what comes up.
    Attach(Box<dyn Above<Frames>>),
    ExpectMore,
    /// No two frames in one TLS record.
    SeparateFrames,
    /// The last handle is gone.
    HandlesGone,
}

#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// The actor left its waker, and nothing was appended since. It becomes true under the lock only.
    idle: AtomicBool,
    /// Wakes the actor's task, which stays the same for its whole life.
    waker: OnceLock<Waker>,
}

#[derive(Default)]
struct State {
    builder: FramesBuilder,
    blocks: Blocks,
    /// Credit taken for what is in the builder.
    owed: usize,
    /// Credit taken ahead, so that not every small frame goes to the gate.
    prepaid: usize,
    controls: Vec<Control>,
    /// Why frames are refused: a finish or a close stands in line, a write failed, or the actor is gone.
    refused: Option<Box<StreamError>>,
    /// Why requests are refused, too: the actor is gone.
    closed: Option<Box<StreamError>>,
    /// Frames appended so far, and frames that the actor took.
    appended: u64,
    taken: u64,
}

/// What the actor takes.
pub(super) struct Taken {
    pub(super) frames: Frames,
    pub(super) owed: usize,
    /// Credit that was taken ahead and is not needed.
    pub(super) spare: usize,
    pub(super) controls: Vec<Control>,
}

/// What can be appended to the outbox.
///
/// It is appended where it stands: moving a frame through the results of three functions cost more than
/// laying it out (the moves straddle the stores before them, so the processor has to wait for each).
pub(super) trait Append {
    /// Bytes it takes in the outbox's block.
    fn room(&self) -> usize;
    /// Frames it is.
    fn count(&self) -> usize {
        1
    }
    /// Appends it. What is not copied is taken out.
    fn append(&mut self, builder: &mut FramesBuilder);
}

impl Append for &[u8] {
    #[inline]
    fn room(&self) -> usize {
        self.len() + FRAME_OVERHEAD
    }

    #[inline]
    fn append(&mut self, builder: &mut FramesBuilder) {
        builder.push_slice(self);
    }
}

impl Append for Bytes {
    #[inline]
    fn room(&self) -> usize {
        if self.len() <= COPY_LIMIT {
            self.len() + FRAME_OVERHEAD
        } else {
            FRAME_OVERHEAD
        }
    }

    #[inline]
    fn append(&mut self, builder: &mut FramesBuilder) {
        if self.len() <= COPY_LIMIT {
            builder.push_slice(self);
        } else {
            builder.push(std::mem::take(self));
        }
    }
}

impl Append for Frames {
    fn room(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn append(&mut self, builder: &mut FramesBuilder) {
        builder.append(std::mem::take(self));
    }
}

/// What became of an attempt to append without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in the outbox, as the frame of this number.
    Done(u64),
    /// It is above the limit of a frame.
    TooLarge,
    /// There is no credit.
    NoCredit,
    /// It will never be sent; [`Outbox::refusal`] says why.
    Refused,
}

impl Outbox {
    /// Appends something of `bytes` bytes if there is credit for it.
    #[inline]
    pub(super) fn try_push<A: Append>(&self, item: &mut A, bytes: usize, gate: &Gate) -> Pushed {
        let mut state = self.state.lock();
        if state.refused.is_some() {
            return Pushed::Refused;
        }
        if state.prepaid >= bytes {
            state.prepaid -= bytes;
            state.owed += bytes;
        } else if !state.prepay(bytes, gate) {
            return Pushed::NoCredit;
        }
        self.append(state, item, gate)
    }

    /// Appends something for which `owed` bytes of credit were taken before.
    pub(super) fn push<A: Append>(&self, item: &mut A, owed: usize, gate: &Gate) -> Pushed {
        let mut state = self.state.lock();
        if state.refused.is_some() {
            drop(state);
            gate.give_back(owed);
            return Pushed::Refused;
        }
        state.owed += owed;
        self.append(state, item, gate)
    }

    /// Why frames are refused.
    pub(super) fn refusal(&self) -> StreamError {
        self.state
            .lock()
            .refused
            .as_deref()
            .cloned()
            .unwrap_or(StreamError::Closed)
    }

    /// Asks the actor for something.
    ///
    /// # Errors
    ///
    /// Gives the request back when the actor is gone, with the reason.
    pub(super) fn control(&self, control: Control) -> Result<(), (Control, StreamError)> {
        let mut state = self.state.lock();
        if let Some(error) = state.closed.as_deref().cloned() {
            return Err((control, error));
        }
        if matches!(control, Control::Finish | Control::Close(_)) {
            // A frame whose credit was taken before must not come behind the end.
            state
                .refused
                .get_or_insert_with(|| StreamError::Closed.into());
        }
        state.controls.push(control);
        self.wake_actor(state);
        Ok(())
    }

    /// Refuses frames from now on, but no requests; the first reason stays.
    pub(super) fn refuse(&self, error: StreamError) {
        let mut state = self.state.lock();
        state.refused.get_or_insert_with(|| error.into());
    }

    /// Refuses frames and requests from now on; the first reason stays.
    pub(super) fn close(&self, error: StreamError) {
        let mut state = self.state.lock();
        let error = Box::new(error);
        state.refused.get_or_insert_with(|| error.clone());
        state.closed.get_or_insert(error);
    }

    /// For the actor, which looks here again before its turn is over: nobody needs to wake it until then.
    pub(super) fn look_soon(&self) {
        self.idle.store(false, Ordering::Relaxed);
    }

    /// True when nothing waits for the actor.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Acquire)
    }

    /// Takes all there is, and sees to it that the next append wakes the task.
    ///
    /// Nothing, without a look at the lock, when nothing was appended since the last time.
    pub(super) fn take(&self, cx: &Context<'_>) -> Option<Taken> {
        if self.idle.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state.lock();
        self.idle.store(true, Ordering::Relaxed);
        self.waker.get_or_init(|| cx.waker().clone());
        state.taken = state.appended;
        Some(state.take())
    }

    #[inline]
    fn append<A: Append>(
        &self,
        mut state: MutexGuard<'_, State>,
        item: &mut A,
        gate: &Gate,
    ) -> Pushed {
        let room = item.room();
        if state.builder.room() < room {
            state.new_block(room, gate);
        }
        state.appended += item.count() as u64;
        let number = state.appended;
        item.append(&mut state.builder);
        self.wake_actor(state);
        Pushed::Done(number)
    }

    /// Lets go of the lock, and wakes the actor if it does not know yet that there is something.
    #[inline]
    fn wake_actor(&self, state: MutexGuard<'_, State>) {
        if self.idle.load(Ordering::Relaxed) {
            self.idle.store(false, Ordering::Release);
            drop(state);
            if let Some(waker) = self.waker.get() {
                waker.wake_by_ref();
            }
        }
    }

    /// The number of the last frame.
    pub(super) fn appended(&self) -> u64 {
        self.state.lock().appended
    }

    /// True when the actor took the frame with this number.
    pub(super) fn has_taken(&self, number: u64) -> bool {
        number <= self.state.lock().taken
    }

    /// Takes what nobody will send any more.
    pub(super) fn abandon(&self) -> Taken {
        let mut state = self.state.lock();
        state.take()
    }
}

impl State {
    /// Takes credit for `bytes`, and some ahead for the frames to come.
    fn prepay(&mut self, bytes: usize, gate: &Gate) -> bool {
        let weight = bytes.min(gate.cap());
        let missing = weight.saturating_sub(self.prepaid);
        // The first frame may well be the only one: what it needs is what the batch will be worth.
        let ahead = if self.owed == 0 { BATCH_COST } else { PREPAID };
        let ahead = if missing + ahead <= gate.cap() {
            ahead
        } else {
            0
        };
        if gate.try_take(missing + ahead) {
            self.prepaid = self.prepaid + missing + ahead - weight;
        } else if ahead > 0 && gate.try_take(missing) {
            self.prepaid = self.prepaid + missing - weight;
        } else {
            return false;
        }
        self.owed += weight;
        true
    }

    /// Starts a block with at least `room` bytes. The old one's unused tail is memory in use, too.
    #[cold]
    fn new_block(&mut self, room: usize, gate: &Gate) {
        let abandoned = if self.builder.is_empty() {
            0
        } else {
            self.builder.room()
        };
        gate.overdraw(abandoned);
        self.owed += abandoned;
        let Self {
            builder, blocks, ..
        } = self;
        blocks.next(room + RUN_ROOM, |block| builder.set_block(block));
    }

    fn take(&mut self) -> Taken {
        let frames = self.builder.take();
        self.blocks.after_batch(frames.wire_len());
        Taken {
            frames,
            owed: std::mem::take(&mut self.owed),
            spare: std::mem::take(&mut self.prepaid),
            controls: std::mem::take(&mut self.controls),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_actor_that_will_look_is_not_woken_and_finds_what_came() {
        let (outbox, gate) = (Outbox::default(), Gate::new(1 << 20));
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let cx = Context::from_waker(&waker);
        let push = |bytes: &[u8]| {
            let mut item = bytes;
            let pushed = outbox.try_push(&mut item, bytes.len() + FRAME_OVERHEAD, &gate);
            assert!(matches!(pushed, Pushed::Done(_)), "{pushed:?}");
        };
        let taken = || outbox.take(&cx).map_or(0, |taken| taken.frames.len());
        let woken = || wakes.0.load(Ordering::Relaxed);

        assert_eq!(taken(), 0);
        outbox.look_soon();
        push(b"one");
        assert_eq!(woken(), 0);
        assert_eq!(taken(), 1);
        push(b"two");
        assert_eq!(woken(), 1, "nobody promised to look after that");
        push(b"three");
        assert_eq!(woken(), 1);
        assert_eq!(taken(), 2);
        // Nothing came: the next one wakes again.
        outbox.look_soon();
        assert_eq!(taken(), 0);
        push(b"four");
        assert_eq!(woken(), 2);
    }
}
