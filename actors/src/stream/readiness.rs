//! [`Readiness`]: whether a transport may have something to read.
//!
//! A stream is woken by its messages as well as by its transport. Asking the transport each time costs as much as
//! passing a message, so its wake-ups come with a note.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::{Transport, ring};

#[derive(Default)]
pub(super) struct Readiness {
    /// The transport has our waker, and was not ready when it got it.
    armed: bool,
    note: Option<(Arc<Note>, Waker)>,
}

/// Wakes the task of the stream, and notes that it was the transport that did.
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

impl Readiness {
    /// Reads once, unless the transport was not ready last time and has not called since.
    pub(super) fn poll_read<T: Transport>(
        &mut self,
        io: &mut T,
        cx: &Context<'_>,
    ) -> Poll<io::Result<ring::Piece>> {
        let (note, waker) = match &mut self.note {
            Some(note) if note.0.task.will_wake(cx.waker()) => note,
            note => {
                self.armed = false;
                note.insert(Note::new(cx.waker()))
            }
        };
        if self.armed && !note.woken.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let read = ring::poll_read(io, &mut Context::from_waker(waker));
        self.armed = read.is_pending();
        read
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
