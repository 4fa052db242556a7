//! [`Door`]: a thread's way to a pool.

use std::{ops::Deref, sync::Arc};

use super::{
    desk::number_of_thread,
    lease::Lease,
    recipe::{Recipe, Retired},
    shared::Shared,
    site::Member,
    state::Taken,
};

/// What all have in common, and the desk beside this door.
///
/// Threads keep to different ones, so that leases, which hold the pool by its door, do not all count on the same cache line.
#[repr(align(128))]
pub(super) struct Door<R: Recipe> {
    pub(super) shared: Arc<Shared<R>>,
    desk: usize,
}

/// The doors of a pool, one for each desk.
pub(super) struct Doors<R: Recipe>(Box<[Arc<Door<R>>]>);

impl<R: Recipe> Doors<R> {
    pub(super) fn new(shared: &Arc<Shared<R>>) -> Self {
        let door = |desk| {
            let shared = shared.clone();
            Arc::new(Door { shared, desk })
        };
        Self((0..shared.desks.count()).map(door).collect())
    }

    /// The one of this thread.
    #[inline]
    pub(super) fn mine(&self) -> &Arc<Door<R>> {
        // There is a power of two of them.
        &self.0[number_of_thread() & (self.0.len() - 1)]
    }
}

impl<R: Recipe> Deref for Door<R> {
    type Target = Shared<R>;

    #[inline]
    fn deref(&self) -> &Shared<R> {
        &self.shared
    }
}

impl<R: Recipe> Door<R> {
    /// An idle connection, if there is a usable one that nobody waits for.
    #[inline]
    pub(super) fn take(self: &Arc<Self>) -> Taken<Lease<R>> {
        loop {
            let at_hand = self.desks.take(self.desk).map(Taken::Ready);
            let (member, is_ready) = match at_hand.unwrap_or_else(|| self.take_from_books()) {
                Taken::Ready(member) => (member, true),
                Taken::Unchecked(member) => (member, false),
                Taken::None => return Taken::None,
                Taken::Refused => return Taken::Refused,
            };
            let lease = Lease::new(self, member);
            if !lease.is_usable() {
                lease.refuse();
            } else if is_ready {
                return Taken::Ready(lease);
            } else {
                return Taken::Unchecked(lease);
            }
        }
    }

    /// Takes back a connection that its user is done with.
    #[inline]
    pub(super) fn put_back(&self, member: Member<R::Connection>) {
        if std::thread::panicking() {
            self.retire(member, Retired::Discarded);
        } else if !self.is_usable(&member) {
            self.retire(member, Retired::Broken);
        } else if let Some(member) = self.desks.put(self.desk, member) {
            self.change(|state, woken| state.put_back(member, woken));
        }
    }
}
