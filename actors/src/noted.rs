//! [`Noted`]: whether it was this source that woke a task.
//!
//! A task with several sources is woken without a word about which of them has something. Asking each of them costs
//! about as much as passing a message, so each gets a waker that leaves a note.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Remembers that a source was pending, until it calls.
#[derive(Default)]
pub(crate) struct Noted {
    /// The source has our waker, and was not ready when it got it.
    armed: bool,
    note: Option<(Arc<Note>, Waker)>,
}

/// Wakes the task, and notes that it was this source that did.
struct Note {
    woken: AtomicBool,
    task: Waker,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Note {
    fn new(task: &Waker) -> (Arc<Self>, Waker) {
        let note = Arc::new(Self {
            woken: AtomicBool::new(false),
            task: task.clone(),
        });
        (note.clone(), note.into())
    }
}

impl Noted {
    /// Polls the source, unless it was pending last time and has not called since.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let (note, waker) = match &mut self.note {
            Some(note) if note.0.task.will_wake(cx.waker()) => note,
            note => {
                self.armed = false;
                note.insert(Note::new(cx.waker()))
            }
        };
        // Looked at first, since a swap costs even if nothing changes.
        if self.armed
            && !(note.woken.load(Ordering::Relaxed) && note.woken.swap(false, Ordering::Acquire))
        {
            return Poll::Pending;
        }
        let polled = poll(&mut Context::from_waker(waker));
        self.armed = polled.is_pending();
        polled
    }
}
