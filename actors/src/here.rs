//! The actors of this thread, for neighbours that hand a message over instead of posting it.
//!
//! Neighbours of a chain live on one thread. Where the one that gets a message has nothing else to do, the one that
//! has it may as well call it: the message is not put into an envelope, no list is locked, no task woken and polled.
//! That is what most of a question's way through a chain consists of otherwise.
//!
//! Only an actor that has its turn hands over. Whatever else runs on the thread may send many small things in a row, which
//! shall travel as one.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use slab::Slab;

thread_local! {
    static HERE: Here = Here::new();
}

struct Here {
    thread: u64,
    /// An actor of this thread has its turn.
    in_turn: Cell<bool>,
    seats: RefCell<Slab<Rc<dyn Any>>>,
}

impl Here {
    fn new() -> Self {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        Self {
            thread: THREADS.fetch_add(1, Ordering::Relaxed),
            in_turn: Cell::new(false),
            seats: RefCell::default(),
        }
    }
}

/// Where an actor is found, as long as it has its seat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    thread: u64,
    seat: usize,
}

/// An actor is on this thread, until this is dropped.
pub(crate) struct Seat(Place);

impl Seat {
    pub(crate) fn take(actor: Rc<dyn Any>) -> Self {
        HERE.with(|here| {
            Self(Place {
                thread: here.thread,
                seat: here.seats.borrow_mut().insert(actor),
            })
        })
    }

    pub(crate) fn place(&self) -> Place {
        self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Nobody is found on a thread that ends.
        let left = HERE.try_with(|here| here.seats.borrow_mut().try_remove(self.0.seat));
        drop(left);
    }
}

/// Whoever is at `place`, if that is on this thread.
pub(crate) fn find(place: Place) -> Option<Rc<dyn Any>> {
    HERE.try_with(|here| {
        if here.thread != place.thread {
            return None;
        }
        here.seats.borrow().get(place.seat).cloned()
    })
    .ok()
    .flatten()
}

/// True on the thread of `place`.
pub(crate) fn is_on(place: Place) -> bool {
    HERE.try_with(|here| here.thread == place.thread)
        .unwrap_or(false)
}

/// True while an actor of this thread has its turn.
pub(crate) fn has_turn() -> bool {
    HERE.try_with(|here| here.in_turn.get()).unwrap_or(false)
}

/// Lets an actor have its turn.
pub(crate) fn in_turn<T>(turn: impl FnOnce() -> T) -> T {
    HERE.with(|here| {
        let _turn = Turn {
            here,
            before: here.in_turn.replace(true),
        };
        turn()
    })
}

/// A turn, which is over however it ends.
struct Turn<'a> {
    here: &'a Here,
    before: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.here.in_turn.set(self.before);
    }
}
