//! [`Desks`]: where a thread lays down the connection it is done with, for itself to take up again.
//!
//! The books have one lock, at which threads that only get and return would meet each time. So a connection that comes back while
//! nobody waits stays on a desk: one of a few small places, each with a lock of its own on cache lines of its own, and each thread keeps to one of
//! them. For the books such a connection is in use until they gather it, which they do before anything is said or decided by what is idle.
//!
//! Desks are open only while what is idle may simply be taken: nobody waits, nothing is surplus. Whoever changes that closes them under the lock
//! of the books, and then empties each one. A user looks at the flag under the lock of its desk, so either sees it fall, or has
//! laid its connection down in time for it to be gathered: no connection lies on a desk while somebody stands in line.

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread::available_parallelism,
    time::Instant,
};

use parking_lot::Mutex;

use super::{
    config::Check,
    recipe::Retired,
    site::Member,
    state::{Phase, State, Woken},
};

/// More threads than this share desks: those that meet at one are then few, and there is an end to what has to be gathered.
const MOST_DESKS: usize = 16;

/// Something on cache lines of its own. Processors fetch them in pairs of 64 bytes.
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

/// The desks of a pool. Locked after the books, or without them.
pub(super) struct Desks<C> {
    /// Changed under the lock of the books only. All desks are empty while it is false and the books are not locked.
    are_open: AtomicBool,
    desks: Box<[Apart<Mutex<Desk<C>>>]>,
}

struct Desk<C> {
    /// The connection that came back last, in order and of use.
    member: Option<Member<C>>,
    /// Connections that were taken from here since the books counted them.
    acquired: u64,
    /// The coarse clock of the books, as of their last visit.
    now: Instant,
}

impl<C> Desks<C> {
    pub(super) fn new(now: Instant) -> Self {
        // Twice the processors: numbers of threads that run together may leave gaps.
        let threads = available_parallelism().map_or(1, NonZeroUsize::get);
        let count = (2 * threads).next_power_of_two().min(MOST_DESKS);
        let desk = || {
            Apart(Mutex::new(Desk {
                member: None,
                acquired: 0,
                now,
            }))
        };
        Self {
            are_open: AtomicBool::new(false),
            desks: (0..count).map(|_| desk()).collect(),
        }
    }

    /// How many there are: a power of two.
    pub(super) fn count(&self) -> usize {
        self.desks.len()
    }

    #[inline]
    pub(super) fn are_open(&self) -> bool {
        self.are_open.load(Relaxed)
    }

    /// Takes what lies there.
    #[inline]
    pub(super) fn take(&self, at: usize) -> Option<Member<C>> {
        if !self.are_open() {
            return None;
        }
        let mut desk = self.desks[at].0.lock();
        if !self.are_open() {
            return None;
        }
        let member = desk.member.take()?;
        desk.acquired += 1;
        Some(member)
    }

    /// Lays down a connection that is in order. Gives what is for the books: this one, or the one that lay there, so that what came back last is
    /// taken first.
    #[inline]
    pub(super) fn put(&self, at: usize, mut member: Member<C>) -> Option<Member<C>> {
        // Whether it is of use to others is news for the books.
        if !self.are_open() || !member.is_proven {
            return Some(member);
        }
        let mut desk = self.desks[at].0.lock();
        if !self.are_open() || member.expires_at.is_some_and(|at| at <= desk.now) {
            return Some(member);
        }
        member.idle_since = desk.now;
        desk.member.replace(member)
    }

    /// Empties the desks for the books, which are locked. Gives what lay there and the counts, one desk after the other.
    pub(super) fn gather(&self, now: Instant, mut each: impl FnMut(Option<Member<C>>, u64)) {
        if self.are_open() {
            self.empty(now, &mut each);
        }
    }

    /// As `gather`, and nothing is laid there from now on. The books are locked.
    #[cold]
    pub(super) fn close(&self, now: Instant, mut each: impl FnMut(Option<Member<C>>, u64)) {
        if self.are_open() {
            // Whoever locks a desk after it was emptied sees this.
            self.are_open.store(false, Relaxed);
            self.empty(now, &mut each);
        }
    }

    fn empty(&self, now: Instant, each: &mut impl FnMut(Option<Member<C>>, u64)) {
        for desk in &self.desks {
            let mut desk = desk.0.lock();
            desk.now = now;
            let (member, acquired) = (desk.member.take(), std::mem::take(&mut desk.acquired));
            drop(desk);
            each(member, acquired);
        }
    }

    /// Connections may be laid there from now on. The books are locked.
    pub(super) fn open(&self, now: Instant) {
        if !self.are_open() {
            for desk in &self.desks {
                desk.0.lock().now = now;
            }
            self.are_open.store(true, Relaxed);
        }
    }
}

impl<C> State<C> {
    /// Takes what lay idle on a desk, and counts how often that desk gave something.
    pub(super) fn gathered(&mut self, member: Option<Member<C>>, acquired: u64, woken: &mut Woken) {
        self.counts.acquired += acquired;
        match member {
            Some(member) if self.is_over() => self.retire(member, Retired::Closed, woken),
            Some(member) => self.give(member, false, woken),
            None => {}
        }
    }

    /// True while what is idle may be taken without a look at the books: no more than the fate of the connection itself hangs on it.
    pub(super) fn allows_desks(&self) -> bool {
        self.phase == Phase::Open
            && !self.is_abandoned
            && self.line.is_empty()
            && self.live() <= self.max_size
            // Several are balanced by what is in use.
            && self.sites.len() == 1
            && self.check != Check::Always
    }
}

/// The number of this thread among those that ever used a pool.
#[inline]
pub(super) fn number_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Relaxed));
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests;
